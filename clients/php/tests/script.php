<?php
// SPDX-License-Identifier: MIT
// Spends 2 cents and ends in the way that its argument says.

declare(strict_types=1);

require __DIR__ . '/bootstrap.php';

$tracker = Spendgate\Tracker::fromEnvironment();
$tracker->spend('0.02');
switch ($argv[1] ?? '') {
    case 'exit':
        exit(3);
    case 'exception':
        throw new RuntimeException('broken');
    case 'error':
        no_such_function();
    case 'memory':
        ini_set('memory_limit', '16M');
        for ($kept = []; true;) {
            $kept[] = str_repeat('x', 100000);
        }
    case 'memory-small':
        ini_set('memory_limit', '16M');
        for ($kept = []; true;) {
            $kept[] = [1];
        }
    case 'time':
        set_time_limit(1);
        while (true) {
        }
    case 'fork':
        $pid = pcntl_fork();
        if ($pid === 0) {
            exit(0);
        }
        pcntl_waitpid($pid, $status);
        break;
    case 'twice':
        $tracker->settle();
        break;
    case 'global':
        $GLOBALS['keep'] = $tracker;
        break;
    case 'function':
        (static function (): void {
            $second = Spendgate\Tracker::fromEnvironment();
            $second->spend('0.05');
        })();
        break;
}

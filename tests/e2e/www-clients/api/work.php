<?php
// SPDX-License-Identifier: MIT
// Spends 3 cents in two parts through the PHP client, and ends in the way that ?mode= says.
declare(strict_types=1);

$folder = dirname(__DIR__, 2);
require $folder . '/clients/php/autoload.php';
$port = (string) ($_GET['tracker'] ?? $_SERVER['SERVER_PORT']);
$_SERVER['SPENDGATE_TRACKER_URL'] = "http://127.0.0.1:$port/spendgate";
$_SERVER['SPENDGATE_TRACKER_TOKEN'] = '';
$_SERVER['SPENDGATE_TRACKER_TOKEN_FILE'] = "$folder/etc/tracker_token";
$_SERVER['SPENDGATE_SPOOL_DIR'] = "$folder/spool";
$_SERVER['SPENDGATE_HOLD_TTL'] = $_GET['ttl'] ?? '';
$mode = $_GET['mode'] ?? 'ok';

$tracker = Spendgate\Tracker::fromEnvironment();
if ($mode === 'void') {
    $tracker->void();
    exit('voided');
}
if ($mode === 'extend') {
    echo $tracker->extend('0.10')['amount_usd'], "\n";
}
$tracker->spend('0.02', ['model' => 'work']);
$tracker->spend('0.01');
if ($mode === 'die') {
    throw new RuntimeException('the page breaks after the work');
}
if ($mode === 'stream') {
    // longer than a hold lives
    for ($end = microtime(true) + (float) $_GET['seconds']; microtime(true) < $end; usleep(50000)) {
        echo '.';
        flush();
        if (($_GET['heartbeat'] ?? '1') === '1' && !$tracker->heartbeat()) {
            echo 'the hold is gone';
        }
    }
}
if ($mode === 'hangup') {
    for ($i = 0; $i < 200; $i++) {
        echo str_repeat('x', 65536);
        flush();
        usleep(5000);
    }
}
echo 'done';

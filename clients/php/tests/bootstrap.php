<?php
// SPDX-License-Identifier: MIT

declare(strict_types=1);

require dirname(__DIR__) . '/autoload.php';

spl_autoload_register(static function (string $class): void {
    $file = __DIR__ . '/' . substr($class, strlen('Spendgate\\Tests\\')) . '.php';
    if (strncmp($class, 'Spendgate\\Tests\\', 16) === 0 && is_file($file)) {
        require $file;
    }
});

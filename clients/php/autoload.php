<?php
// SPDX-License-Identifier: MIT
// For sites without Composer: require this file. With Composer its own autoloader does the same.

declare(strict_types=1);

spl_autoload_register(static function (string $class): void {
    if (strncmp($class, 'Spendgate\\', 10) === 0) {
        $file = __DIR__ . '/src/' . strtr(substr($class, 10), '\\', '/') . '.php';
        if (is_file($file)) {
            require $file;
        }
    }
});

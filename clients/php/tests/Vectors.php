<?php
// SPDX-License-Identifier: MIT

declare(strict_types=1);

namespace Spendgate\Tests;

/** Where the vectors are that all clients and the tracker share. */
final class Vectors
{
    public static function folder(): string
    {
        return (string) (getenv('SPENDGATE_VECTORS') ?: dirname(__DIR__, 3) . '/tests/vectors');
    }
}

<?php
// SPDX-License-Identifier: MIT

declare(strict_types=1);

namespace Spendgate;

/**
 * Exact decimal dollars. Money goes in and out as decimal text; inside it is a whole number of
 * nano-dollars, so that costs of one request add up without a float.
 */
final class Money
{
    public const MAX_NANOS = 1000000000000000000;

    private const NANOS_PER_USD = 1000000000;

    /**
     * Nano-dollars of a plain decimal ("0.0123"): digits and at most one point, at most nine decimals.
     *
     * A float is refused: 0.1 + 0.2 is not 0.3, and money must not depend on it.
     *
     * @param string|int $usd
     * @throws \InvalidArgumentException
     */
    public static function toNanos($usd): int
    {
        if (PHP_INT_SIZE < 8) {
            throw new \LogicException('money needs a PHP with 64-bit integers');
        }
        if (is_int($usd)) {
            $usd = (string) $usd;
        }
        if (!is_string($usd) || preg_match('/\A([0-9]+)(?:\.([0-9]{1,9}))?\z/', $usd, $part) !== 1) {
            throw new \InvalidArgumentException(
                'a cost is decimal text such as "0.0123": digits, one point, at most nine decimals'
            );
        }
        $whole = ltrim($part[1], '0');
        if (strlen($whole) > 10) {
            throw new \InvalidArgumentException('a cost is at most one billion dollars');
        }
        return self::add((int) $whole * self::NANOS_PER_USD, (int) str_pad($part[2] ?? '', 9, '0'));
    }

    /**
     * The sum of two amounts.
     *
     * @throws \InvalidArgumentException above one billion dollars
     */
    public static function add(int $nanos, int $more): int
    {
        if ($nanos > self::MAX_NANOS || $more > self::MAX_NANOS - $nanos) {
            throw new \InvalidArgumentException('a cost is at most one billion dollars');
        }
        return $nanos + $more;
    }

    /** Decimal dollars without trailing zeros. */
    public static function fromNanos(int $nanos): string
    {
        $fraction = rtrim(sprintf('%09d', $nanos % self::NANOS_PER_USD), '0');
        return intdiv($nanos, self::NANOS_PER_USD) . ($fraction === '' ? '' : '.' . $fraction);
    }
}

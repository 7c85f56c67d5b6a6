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
    private const DECIMALS = 9;
    private const MAX_USD_DIGITS = 10;

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
        if (is_int($usd)) {
            $usd = (string) $usd;
        }
        if (!is_string($usd) || preg_match('/\A([0-9]+)(?:\.([0-9]{1,9}))?\z/', $usd, $part) !== 1) {
            throw new \InvalidArgumentException(
                'a cost is decimal text such as "0.0123": digits, one point, at most nine decimals'
            );
        }
        $whole = ltrim($part[1], '0');
        if (strlen($whole) >= self::MAX_USD_DIGITS && ($whole !== '1000000000' || (int) ($part[2] ?? '0') !== 0)) {
            throw new \InvalidArgumentException('a cost is at most one billion dollars');
        }
        return (int) ($whole === '' ? '0' : $whole) * 1000000000
            + (int) str_pad($part[2] ?? '', self::DECIMALS, '0');
    }

    /** Decimal dollars without trailing zeros. */
    public static function fromNanos(int $nanos): string
    {
        $fraction = rtrim(sprintf('%09d', $nanos % 1000000000), '0');
        return intdiv($nanos, 1000000000) . ($fraction === '' ? '' : '.' . $fraction);
    }
}

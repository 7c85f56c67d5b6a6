<?php
// SPDX-License-Identifier: MIT

declare(strict_types=1);

namespace Spendgate\Tests;

use PHPUnit\Framework\TestCase;
use Spendgate\Money;

/** tests/vectors/money.json, which the tracker reads as well. */
final class MoneyTest extends TestCase
{
    /** @return array<string,mixed> */
    private static function vectors(): array
    {
        $vectors = json_decode((string) file_get_contents(Vectors::folder() . '/money.json'), true);
        self::assertIsArray($vectors);
        return $vectors;
    }

    public function testParsesWhatTheTrackerParses(): void
    {
        foreach (self::vectors()['parse'] as $case) {
            self::assertSame($case['nanos'], (string) Money::toNanos($case['usd']), $case['usd']);
        }
    }

    public function testRefusesWhatTheTrackerRefuses(): void
    {
        foreach (self::vectors()['refuse'] as $usd) {
            try {
                Money::toNanos($usd);
                self::fail("taken: '$usd'");
            } catch (\InvalidArgumentException $refused) {
                self::assertStringContainsString('a cost is', $refused->getMessage());
            }
        }
    }

    public function testRefusesFloats(): void
    {
        $this->expectException(\InvalidArgumentException::class);
        /** @phpstan-ignore-next-line */
        Money::toNanos(0.1);
    }

    public function testTakesWholeDollarsAsIntegers(): void
    {
        self::assertSame(3000000000, Money::toNanos(3));
    }

    public function testWritesAsTheTrackerWrites(): void
    {
        foreach (self::vectors()['format'] as $case) {
            self::assertSame($case['usd'], Money::fromNanos((int) $case['nanos']));
        }
    }

    public function testAddsUpExactly(): void
    {
        foreach (self::vectors()['sum'] as $case) {
            $sum = 0;
            foreach ($case['usd'] as $usd) {
                $sum = Money::add($sum, Money::toNanos($usd));
            }
            self::assertSame($case['total'], Money::fromNanos($sum));
        }
    }

    public function testRefusesSumsAboveTheMaximum(): void
    {
        foreach (self::vectors()['sum_refused'] as $amounts) {
            $sum = Money::toNanos(array_shift($amounts));
            try {
                Money::add($sum, Money::toNanos($amounts[0]));
                self::fail('taken');
            } catch (\InvalidArgumentException $refused) {
                self::assertSame('a cost is at most one billion dollars', $refused->getMessage());
            }
        }
    }
}

<?php
// SPDX-License-Identifier: MIT

declare(strict_types=1);

namespace Spendgate\Tests;

use PHPUnit\Framework\TestCase;
use Spendgate\Spool;
use Spendgate\TrackerException;

final class SpoolTest extends TestCase
{
    /** @var string */
    private $folder;

    protected function setUp(): void
    {
        $this->folder = sys_get_temp_dir() . '/spendgate-' . bin2hex(random_bytes(8));
        mkdir($this->folder);
    }

    protected function tearDown(): void
    {
        array_map('unlink', glob($this->folder . '/*') ?: []);
        rmdir($this->folder);
    }

    public function testOneFilePerPostWithItsExactBytes(): void
    {
        $spool = new Spool($this->folder . '/');
        $body = '{"cost_usd":"9007199.254740993","metadata":{"a":1.0,"b":{}}}';
        $first = $spool->append('/v1/spend', str_repeat('ab', 32), $body);
        $second = $spool->append('/v1/spend', str_repeat('ab', 32), $body);

        self::assertNotSame($first, $second);
        self::assertCount(2, glob($this->folder . '/*'));
        self::assertMatchesRegularExpression('#/[0-9]{10}-[0-9a-f]{16}\.json\z#', $first);
        self::assertMatchesRegularExpression(
            '#\A\{"version":1,"path":"/v1/spend","token_sha256":"(ab){32}",'
                . '"spooled_at":"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}Z","body":'
                . preg_quote($body, '#') . '\}\n\z#',
            (string) file_get_contents($first)
        );
    }

    public function testNobodyElseMayRead(): void
    {
        $mask = umask(0);
        $file = (new Spool($this->folder))->append('/v1/spend', '', '{}');
        self::assertSame(0, umask($mask), 'the umask is put back');
        self::assertSame(0600, fileperms($file) & 0777);
    }

    public function testAFolderThatIsNotThereIsTold(): void
    {
        $this->expectException(TrackerException::class);
        $this->expectExceptionMessage("cannot write to the spool directory {$this->folder}/none");
        (new Spool($this->folder . '/none'))->append('/v1/spend', '', '{}');
    }
}

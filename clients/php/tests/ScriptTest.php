<?php
// SPDX-License-Identifier: MIT

declare(strict_types=1);

namespace Spendgate\Tests;

/** However a script ends, it posts once. Each runs in a process of its own. */
final class ScriptTest extends ServerTestCase
{
    /** @var string */
    private $output = '';

    /** @param string $shell put before the command */
    private function script(string $how, string $shell = ''): int
    {
        $process = proc_open(
            ['sh', '-c', $shell . ' exec php -d display_errors=0 -d log_errors=1 -d error_log="$1/log" "$2" "$3"', 'sh',
                $this->folder, __DIR__ . '/script.php', $how],
            [['file', '/dev/null', 'r'], ['pipe', 'w'], ['file', $this->folder . '/stderr', 'a']],
            $pipes,
            null,
            [
                'PATH' => (string) getenv('PATH'),
                'SPENDGATE_TRACKER_URL' => $this->url,
                'SPENDGATE_TRACKER_TOKEN' => 'sgt_test',
                'SPENDGATE_SPOOL_DIR' => $this->folder . '/spool',
                'SPENDGATE_HOLD_ID' => 'hld_1',
                'SPENDGATE_SUBJECT' => 'user_1',
            ]
        );
        self::assertIsResource($process);
        $this->output = (string) stream_get_contents($pipes[1]);
        return proc_close($process);
    }

    private function log(): string
    {
        return (string) @file_get_contents($this->folder . '/log');
    }

    /** @return array<string,array{0:string,1:int}> */
    public static function ends(): array
    {
        return [
            'at its end' => ['', 0],
            'exit' => ['exit', 3],
            'an exception that nobody catches' => ['exception', 255],
            'an error' => ['error', 255],
            'out of memory, at once' => ['memory', 255],
            'out of memory, in small pieces' => ['memory-small', 255],
            'out of time' => ['time', 255],
            'settled before' => ['twice', 0],
            'kept to the end' => ['global', 0],
        ];
    }

    /** @dataProvider ends */
    public function testOnePostHoweverTheScriptEnds(string $how, int $code): void
    {
        self::assertSame($code, $this->script($how), $this->log());
        self::assertCount(1, $this->asked(), $this->log());
        self::assertSame(
            '{"cost_usd":"0.02","subject":"user_1","hold_id":"hld_1"}',
            $this->asked()[0]['body']
        );
        self::assertSame('', $this->output);
    }

    public function testASlowTrackerIsWaitedForAfterTheScriptsTimeIsOver(): void
    {
        $this->answer(['wait' => 1.2]);
        $this->script('time');
        self::assertCount(1, $this->asked());
        self::assertSame([], glob($this->folder . '/spool/*'));
    }

    public function testAChildThatIsForkedDoesNotPost(): void
    {
        if (!function_exists('pcntl_fork')) {
            self::markTestSkipped('no pcntl extension');
        }
        self::assertSame(0, $this->script('fork'));
        self::assertCount(1, $this->asked());
    }

    public function testAnObjectOfAFunctionPostsWhenTheFunctionIsOver(): void
    {
        self::assertSame(0, $this->script('function'));
        self::assertSame(['0.05', '0.02'], array_map(static function (array $asked): string {
            return json_decode($asked['body'])->cost_usd;
        }, $this->asked()));
    }

    public function testATrackerThatIsDownLeavesThePostInTheSpool(): void
    {
        $this->stopServer();
        self::assertSame(0, $this->script(''));
        self::assertCount(1, glob($this->folder . '/spool/*.json'));
        self::assertCount(1, glob($this->folder . '/spool/*'));
        self::assertStringContainsString('spendgate: the tracker does not answer; the post is kept in ', $this->log());
    }

    public function testAFullDiskLeavesThePostInTheLog(): void
    {
        $this->stopServer();
        // nothing can be written but what goes to a pipe; the log is one
        posix_mkfifo($this->folder . '/log', 0600);
        $log = fopen($this->folder . '/log', 'r+');
        self::assertIsResource($log);
        stream_set_blocking($log, false);
        self::assertSame(0, $this->script('', 'trap "" XFSZ; ulimit -f 0;'));
        $text = (string) fread($log, 65536);
        fclose($log);
        self::assertStringContainsString('cannot write to the spool directory', $text);
        self::assertStringContainsString('not delivered: {"cost_usd":"0.02"', $text);
        self::assertSame([], glob($this->folder . '/spool/*'), 'nothing half is left');
    }
}

<?php
// SPDX-License-Identifier: MIT

declare(strict_types=1);

namespace Spendgate\Tests;

use PHPUnit\Framework\TestCase;

/** A test with a small tracker on a loopback port and a folder that goes with it. */
abstract class ServerTestCase extends TestCase
{
    /** @var string */
    protected $folder;
    /** @var string */
    protected $url;
    /** @var resource|null */
    private $process;

    protected function setUp(): void
    {
        $this->folder = sys_get_temp_dir() . '/spendgate-' . bin2hex(random_bytes(8));
        mkdir($this->folder);
        mkdir($this->folder . '/spool');
        $this->answer([]);
        $probe = stream_socket_server('tcp://127.0.0.1:0');
        self::assertIsResource($probe);
        $address = (string) stream_socket_get_name($probe, false);
        fclose($probe);
        $this->url = "http://$address";
        $process = proc_open(
            ['php', '-d', 'error_log=' . $this->folder . '/server.log', '-S', $address, __DIR__ . '/server.php'],
            [['file', '/dev/null', 'r'], ['file', '/dev/null', 'w'], ['file', $this->folder . '/server.log', 'a']],
            $pipes,
            null,
            ['SPENDGATE_TEST_FOLDER' => $this->folder, 'PATH' => (string) getenv('PATH')]
        );
        self::assertIsResource($process);
        $this->process = $process;
        $end = microtime(true) + 20;
        while (($connection = @stream_socket_client("tcp://$address", $code, $text, 1.0)) === false) {
            self::assertLessThan($end, microtime(true), "php -S does not listen: $text");
            usleep(10000);
        }
        fclose($connection);
    }

    protected function tearDown(): void
    {
        $this->stopServer();
        foreach (array_merge(glob($this->folder . '/spool/*') ?: [], glob($this->folder . '/*') ?: []) as $file) {
            is_dir($file) ? rmdir($file) : unlink($file);
        }
        rmdir($this->folder);
    }

    protected function stopServer(): void
    {
        if ($this->process !== null) {
            proc_terminate($this->process);
            proc_close($this->process);
            $this->process = null;
        }
    }

    /** @param array<string,mixed> $answer */
    protected function answer(array $answer): void
    {
        file_put_contents($this->folder . '/answer', json_encode($answer));
    }

    /** @return array<int,array<string,mixed>> */
    protected function asked(): array
    {
        $lines = @file($this->folder . '/asked', FILE_IGNORE_NEW_LINES) ?: [];
        return array_map(static function (string $line): array {
            return json_decode($line, true);
        }, $lines);
    }
}

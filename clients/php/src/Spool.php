<?php
// SPDX-License-Identifier: MIT

declare(strict_types=1);

namespace Spendgate;

/**
 * Posts that could not be delivered, one file each, for `spendgate spool replay`.
 *
 * A file appears under its final name only when all of it is on the disk, so a reader never sees half
 * a post and a crash leaves at most a temporary file.
 */
final class Spool
{
    /** @var string */
    private $directory;

    public function __construct(string $directory)
    {
        $this->directory = rtrim($directory, '/');
    }

    /**
     * The post goes in byte for byte as it was sent: encoding it anew could write a number in
     * another way, and the tracker would take it for another post.
     *
     * @param string $json the body, a JSON object
     * @return string the file
     * @throws TrackerException when the post could not be written
     */
    public function append(string $path, string $tokenDigest, string $json): string
    {
        $text = sprintf(
            '{"version":1,"path":"%s","token_sha256":"%s","spooled_at":"%s","body":%s}' . "\n",
            $path,
            $tokenDigest,
            gmdate('Y-m-d\TH:i:s\Z'),
            $json
        );
        $name = sprintf('%s/%d-%s', $this->directory, time(), bin2hex(random_bytes(8)));
        $mask = umask(0077);
        $file = @fopen($name . '.tmp', 'x');
        umask($mask);
        if ($file === false) {
            throw $this->failure('write to');
        }
        try {
            if (@fwrite($file, $text) !== strlen($text) || !fflush($file) || !self::sync($file, $name . '.tmp')) {
                throw $this->failure('write to');
            }
        } catch (TrackerException $failure) {
            // half a post is of no use, and the caller still has the whole
            @unlink($name . '.tmp');
            throw $failure;
        } finally {
            fclose($file);
        }
        if (!@rename($name . '.tmp', $name . '.json')) {
            throw $this->failure('rename in');
        }
        $this->syncDirectory();
        return $name . '.json';
    }

    public function directory(): string
    {
        return $this->directory;
    }

    private function failure(string $what): TrackerException
    {
        $reason = error_get_last()['message'] ?? '';
        return new TrackerException('spool', "cannot $what the spool directory {$this->directory}: $reason", 0);
    }

    /**
     * @param resource $file
     */
    private static function sync($file, string $name): bool
    {
        return function_exists('fsync') ? fsync($file) : self::syncByCommand($name);
    }

    /** So that the new name survives a crash as well. */
    private function syncDirectory(): void
    {
        if (!function_exists('fsync')) {
            self::syncByCommand($this->directory);
            return;
        }
        $directory = @fopen($this->directory, 'r');
        if ($directory !== false) {
            @fsync($directory);
            fclose($directory);
        }
    }

    /**
     * PHP has fsync since 8.1. Before it the "sync" of the GNU coreutils does the same; where that
     * cannot be run either, the file is only as safe as the kernel's own write-back.
     */
    private static function syncByCommand(string $path): bool
    {
        if (function_exists('exec')) {
            @exec('sync -- ' . escapeshellarg($path) . ' 2>/dev/null');
        }
        return true;
    }
}

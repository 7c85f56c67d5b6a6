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
     * @throws TrackerException when the post could not be written
     */
    public function append(string $path, string $tokenDigest, string $json): string
    {
        $text = sprintf(
            '{"version":1,"path":"%s","token_sha256":"%s","spooled_at":"%s","body":%s}',
            $path,
            $tokenDigest,
            gmdate('Y-m-d\TH:i:s\Z'),
            $json
        );
        $name = sprintf('%s/%d-%s', $this->directory, time(), bin2hex(random_bytes(8)));
        $file = @fopen($name . '.tmp', 'x');
        if ($file === false) {
            throw new TrackerException('spool', "cannot write to the spool directory {$this->directory}", 0);
        }
        try {
            chmod($name . '.tmp', 0600);
            $written = fwrite($file, $text . "\n");
            if ($written !== strlen($text) + 1 || !fflush($file) || !self::sync($file)) {
                throw new TrackerException('spool', "cannot write to the spool directory {$this->directory}", 0);
            }
        } finally {
            fclose($file);
        }
        if (!rename($name . '.tmp', $name . '.json')) {
            throw new TrackerException('spool', "cannot rename in the spool directory {$this->directory}", 0);
        }
        $this->syncDirectory();
        return $name . '.json';
    }

    /**
     * PHP has fsync since 8.1; before it the file is only as safe as the kernel's own write-back.
     *
     * @param resource $file
     */
    private static function sync($file): bool
    {
        return !function_exists('fsync') || fsync($file);
    }

    private function syncDirectory(): void
    {
        $directory = @fopen($this->directory, 'r');
        if ($directory !== false) {
            if (function_exists('fsync')) {
                @fsync($directory);
            }
            fclose($directory);
        }
    }
}

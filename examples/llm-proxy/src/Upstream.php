<?php
// SPDX-License-Identifier: MIT

declare(strict_types=1);

namespace LlmProxy;

/**
 * One request to the provider over HTTP/1.1. It waits with select, so that the caller can keep its hold alive meanwhile
 * and sees each byte when it comes. Needs no extension (TLS comes with PHP's own openssl).
 */
final class Upstream
{
    private const HEAD_MAX = 65536;
    private const PIECE = 65536;
    private const TICK_MICROSECONDS = 500000;

    /** @var int */
    public $status = 0;
    /** @var array<string,string> names in lower case */
    public $headers = [];

    /** @var resource|null */
    private $socket;
    /** @var string what was read and not handed out */
    private $buffer = '';
    /** @var bool */
    private $ended = false;
    /** @var int|null bytes of the body, or of the chunk, that are still to come; null: until the connection closes */
    private $left;
    /** @var bool */
    private $chunked = false;
    /** @var bool between two chunks */
    private $atChunkHead = true;
    /** @var callable(): void called at least twice a second while waiting */
    private $tick;
    /** @var float */
    private $idleTimeout;
    /** @var float|null when the silence began */
    private $silentSince;

    /** @param callable(): void $tick */
    public function __construct(Settings $settings, string $path, string $json, bool $stream, callable $tick)
    {
        $this->tick = $tick;
        $this->idleTimeout = $settings->idleTimeout;
        $url = parse_url($settings->upstream . $path);
        $secure = ($url['scheme'] ?? '') === 'https';
        $host = (string) ($url['host'] ?? '');
        $port = (int) ($url['port'] ?? ($secure ? 443 : 80));
        $this->connect($secure, $host, $port, $settings->connectTimeout);
        $this->write(implode("\r\n", array_filter([
            'POST ' . ($url['path'] ?? '/') . ' HTTP/1.1',
            'Host: ' . $host . (isset($url['port']) ? ':' . $port : ''),
            $settings->key === '' ? '' : 'Authorization: Bearer ' . $settings->key,
            'Content-Type: application/json',
            'Accept: ' . ($stream ? 'text/event-stream' : 'application/json'),
            'User-Agent: spendgate-llm-proxy',
            'Content-Length: ' . strlen($json),
            'Connection: close',
        ], 'strlen')) . "\r\n\r\n" . $json);
        $this->readHead();
    }

    public function __destruct()
    {
        $this->close();
    }

    /** Give up: the provider stops when its connection closes. */
    public function close(): void
    {
        if ($this->socket !== null) {
            fclose($this->socket);
            $this->socket = null;
        }
        $this->ended = true;
    }

    /**
     * The next bytes of the body as soon as there are some; '' when half a second passed without; null at the end.
     *
     * @throws UpstreamException when the provider broke off, or is silent for too long
     */
    public function read(): ?string
    {
        $piece = $this->take();
        if ($piece !== '' || $this->ended) {
            return $piece === '' ? null : $piece;
        }
        $this->fill();
        $piece = $this->take();
        return $piece === '' && $this->ended ? null : $piece;
    }

    /** The whole body, up to a size. */
    public function readAll(int $max): string
    {
        $body = '';
        while (($piece = $this->read()) !== null) {
            $body .= $piece;
            if (strlen($body) > $max) {
                throw new UpstreamException("an answer of more than $max bytes");
            }
        }
        return $body;
    }

    private function connect(bool $secure, string $host, int $port, float $timeout): void
    {
        $context = stream_context_create(['ssl' => ['peer_name' => trim($host, '[]'), 'SNI_enabled' => true]]);
        $address = ($secure ? 'tls' : 'tcp') . "://$host:$port";
        $socket = @stream_socket_client($address, $code, $reason, $timeout, STREAM_CLIENT_CONNECT, $context);
        if ($socket === false) {
            throw new UpstreamException("cannot connect to $address: $reason");
        }
        stream_set_blocking($socket, false);
        $this->socket = $socket;
    }

    private function write(string $bytes): void
    {
        $deadline = self::now() + $this->idleTimeout;
        while ($bytes !== '') {
            $written = @fwrite($this->socket, substr($bytes, 0, self::PIECE));
            if ($written === false) {
                throw new UpstreamException('the provider closed the connection');
            }
            $bytes = (string) substr($bytes, $written);
            if ($written > 0) {
                $deadline = self::now() + $this->idleTimeout;
                continue;
            }
            $read = $except = null;
            $write = [$this->socket];
            @stream_select($read, $write, $except, 0, self::TICK_MICROSECONDS);
            ($this->tick)();
            if (self::now() > $deadline) {
                throw new UpstreamException('the provider does not take the request');
            }
        }
    }

    private function readHead(): void
    {
        while (($end = strpos($this->buffer, "\r\n\r\n")) === false) {
            if (strlen($this->buffer) > self::HEAD_MAX) {
                throw new UpstreamException('an answer with a head that has no end');
            }
            if (!$this->fill()) {
                throw new UpstreamException('the provider closed the connection before it answered');
            }
        }
        $lines = explode("\r\n", substr($this->buffer, 0, $end));
        $this->buffer = (string) substr($this->buffer, $end + 4);
        if (preg_match('#\AHTTP/1\.[01] ([0-9]{3})#', (string) array_shift($lines), $part) !== 1) {
            throw new UpstreamException('the provider does not speak HTTP/1.1');
        }
        $this->status = (int) $part[1];
        foreach ($lines as $line) {
            [$name, $value] = array_pad(explode(':', $line, 2), 2, '');
            $this->headers[strtolower(trim($name))] = trim($value);
        }
        $this->chunked = strtolower($this->headers['transfer-encoding'] ?? '') === 'chunked';
        if (!$this->chunked && ctype_digit($this->headers['content-length'] ?? '')) {
            $this->left = (int) $this->headers['content-length'];
        }
        if ($this->status < 200) {
            // 100 Continue and the like; the answer follows
            $this->headers = [];
            $this->left = null;
            $this->chunked = false;
            $this->readHead();
        }
    }

    /** Read once, or wait half a second; false at the end of the connection. */
    private function fill(): bool
    {
        if ($this->socket === null) {
            return false;
        }
        // TLS may hold decrypted bytes that select does not see, so look first
        $bytes = @fread($this->socket, self::PIECE);
        if ($bytes === false || $bytes === '') {
            if (feof($this->socket)) {
                return $this->endOfConnection();
            }
            $write = $except = null;
            $read = [$this->socket];
            @stream_select($read, $write, $except, 0, self::TICK_MICROSECONDS);
            ($this->tick)();
            $bytes = @fread($this->socket, self::PIECE);
        }
        if ($bytes === false || $bytes === '') {
            if (feof($this->socket)) {
                return $this->endOfConnection();
            }
            $this->silentSince = $this->silentSince ?? self::now();
            if (self::now() > $this->silentSince + $this->idleTimeout) {
                throw new UpstreamException("the provider says nothing for {$this->idleTimeout} s");
            }
            return true;
        }
        $this->silentSince = null;
        $this->buffer .= $bytes;
        return true;
    }

    private function endOfConnection(): bool
    {
        $whole = $this->status >= 200 && !$this->chunked && $this->left === null;
        $this->close();
        if (!$whole && $this->status >= 200) {
            throw new UpstreamException('the provider broke off');
        }
        return false;
    }

    /** What of the body lies in the buffer; sets `ended` at its end. */
    private function take(): string
    {
        $body = '';
        while (!$this->ended || $this->buffer !== '') {
            if ($this->chunked && $this->atChunkHead) {
                if (!$this->chunkHead()) {
                    break;
                }
                continue;
            }
            $piece = $this->left === null ? $this->buffer : (string) substr($this->buffer, 0, $this->left);
            $this->buffer = (string) substr($this->buffer, strlen($piece));
            $body .= $piece;
            if ($this->left !== null) {
                $this->left -= strlen($piece);
                if ($this->left === 0) {
                    $this->endOfPart();
                    continue;
                }
            }
            break;
        }
        return $body;
    }

    private function endOfPart(): void
    {
        if ($this->chunked) {
            $this->atChunkHead = true;
            return;
        }
        $this->buffer = '';
        $this->close();
    }

    /** "1a\r\n" before a chunk, "\r\n1a\r\n" between two; false: more bytes are needed, or that was the last. */
    private function chunkHead(): bool
    {
        if (preg_match('/\A(?:\r\n)?([0-9A-Fa-f]{1,8})[^\r\n]{0,1024}\r\n/', $this->buffer, $part) !== 1) {
            if (strlen($this->buffer) > 2048) {
                throw new UpstreamException('the provider sends malformed chunks');
            }
            return false;
        }
        $this->buffer = (string) substr($this->buffer, strlen($part[0]));
        $this->left = (int) hexdec($part[1]);
        $this->atChunkHead = false;
        if ($this->left === 0) {
            $this->buffer = '';
            $this->chunked = false;
            $this->close();
            return false;
        }
        return true;
    }

    private static function now(): float
    {
        return hrtime(true) / 1e9;
    }
}

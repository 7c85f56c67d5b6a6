<?php
// SPDX-License-Identifier: MIT

declare(strict_types=1);

namespace Spendgate;

/** One POST of JSON, with the curl extension when there is one and PHP's streams otherwise. */
final class HttpTransport implements Transport
{
    private const ANSWER_BYTES_MAX = 1048576;

    /** @var string */
    private $url;
    /** @var string */
    private $token;
    /** @var float */
    private $timeout;
    /** @var bool */
    private $useCurl;
    /** @var resource|\CurlHandle|null kept, so that the connection is used again */
    private $curl;

    /**
     * @param string $url where the tracker is mounted, such as http://127.0.0.1/spendgate
     * @param bool|null $useCurl null: when the extension is there
     */
    public function __construct(string $url, string $token, float $timeoutSeconds = 2.0, ?bool $useCurl = null)
    {
        if (preg_match('#\Ahttps?://[^\s/]#', $url) !== 1) {
            throw new \InvalidArgumentException(
                'the tracker URL begins with http:// or https:// (SPENDGATE_TRACKER_URL)'
            );
        }
        if (preg_match('/\A[\x21-\x7e]+\z/', $token) !== 1) {
            throw new \InvalidArgumentException(
                'the tracker token is empty or has characters a header cannot hold (SPENDGATE_TRACKER_TOKEN)'
            );
        }
        if (!($timeoutSeconds > 0.0 && $timeoutSeconds <= 3600.0)) {
            throw new \InvalidArgumentException(
                'the timeout is a number of seconds, more than 0 (SPENDGATE_TRACKER_TIMEOUT)'
            );
        }
        $this->url = rtrim($url, '/');
        $this->token = $token;
        $this->timeout = $timeoutSeconds;
        $this->useCurl = $useCurl ?? function_exists('curl_init');
    }

    public function post(string $path, string $json, ?string $idempotencyKey): array
    {
        $headers = [
            'Authorization: Bearer ' . $this->token,
            'Content-Type: application/json',
            'Accept: application/json',
        ];
        if ($idempotencyKey !== null) {
            $headers[] = 'Idempotency-Key: ' . $idempotencyKey;
        }
        return $this->useCurl
            ? $this->postWithCurl($this->url . $path, $json, $headers)
            : $this->postWithStreams($this->url . $path, $json, $headers);
    }

    public function tokenDigest(): string
    {
        return hash('sha256', $this->token);
    }

    /** The token must not stand in a dump of this object. */
    public function __debugInfo(): array
    {
        return ['url' => $this->url, 'timeout' => $this->timeout, 'useCurl' => $this->useCurl];
    }

    /**
     * @param string[] $headers
     * @return array{0:int,1:string}
     */
    private function postWithCurl(string $url, string $json, array $headers): array
    {
        $this->curl = $this->curl ?? (curl_init() ?: null);
        if ($this->curl === null) {
            return [0, ''];
        }
        curl_setopt_array($this->curl, [
            CURLOPT_URL => $url,
            CURLOPT_POST => true,
            CURLOPT_POSTFIELDS => $json,
            // without "Expect:" curl waits for a 100 before a larger body
            CURLOPT_HTTPHEADER => array_merge($headers, ['Expect:']),
            CURLOPT_RETURNTRANSFER => true,
            CURLOPT_FOLLOWLOCATION => false,
            CURLOPT_NOSIGNAL => true,
            CURLOPT_TIMEOUT_MS => max(1, (int) ($this->timeout * 1000)),
            // the tracker is a neighbour: a proxy from the environment must not see the token
            CURLOPT_PROXY => '',
        ]);
        $body = curl_exec($this->curl);
        $status = (int) curl_getinfo($this->curl, CURLINFO_RESPONSE_CODE);
        return is_string($body) && strlen($body) <= self::ANSWER_BYTES_MAX ? [$status, $body] : [0, ''];
    }

    /**
     * @param string[] $headers
     * @return array{0:int,1:string}
     */
    private function postWithStreams(string $url, string $json, array $headers): array
    {
        $context = stream_context_create(['http' => [
            'method' => 'POST',
            'header' => implode("\r\n", array_merge($headers, ['Connection: close'])),
            'content' => $json,
            'protocol_version' => 1.1,
            'timeout' => $this->timeout,
            'follow_location' => 0,
            'ignore_errors' => true,
        ]]);
        $stream = @fopen($url, 'r', false, $context);
        if ($stream === false) {
            return [0, ''];
        }
        $answer = @stream_get_contents($stream, self::ANSWER_BYTES_MAX);
        $meta = stream_get_meta_data($stream);
        fclose($stream);
        $line = $meta['wrapper_data'][0] ?? '';
        if ($answer === false || $meta['timed_out'] || preg_match('#\AHTTP/\S+ ([0-9]{3})#', (string) $line, $part) !== 1) {
            return [0, ''];
        }
        return [(int) $part[1], $answer];
    }
}

<?php
// SPDX-License-Identifier: MIT

declare(strict_types=1);

namespace LlmProxy;

use Spendgate\TrackerException;

/** An answer in the form of OpenAI's errors, which its libraries turn into the right exception. */
final class ApiError extends \RuntimeException
{
    /** @var int */
    private $status;
    /** @var array<string,mixed> */
    private $error;
    /** @var string[] */
    private $headers;

    /**
     * @param array<string,mixed> $more members beside OpenAI's own
     * @param string[] $headers
     */
    public function __construct(
        int $status,
        string $type,
        ?string $code,
        string $message,
        ?string $param = null,
        array $more = [],
        array $headers = []
    ) {
        parent::__construct($message);
        $this->status = $status;
        $this->error = ['message' => $message, 'type' => $type, 'param' => $param, 'code' => $code] + $more;
        $this->headers = $headers;
    }

    public static function badRequest(string $message, ?string $param = null, ?string $code = null): self
    {
        return new self(400, 'invalid_request_error', $code, $message, $param);
    }

    public static function unknownModel(string $model): self
    {
        return new self(
            404,
            'invalid_request_error',
            'model_not_found',
            "The model `$model` does not exist or you do not have access to it.",
            'model'
        );
    }

    /** Something on this side of the wire; the reason is for the log. */
    public static function unavailable(string $message): self
    {
        return new self(503, 'server_error', 'service_unavailable', $message, null, [], ['Retry-After: 2']);
    }

    /** What the tracker refused, in OpenAI's words and with our numbers. */
    public static function fromTracker(TrackerException $refused): self
    {
        $answer = $refused->getAnswer();
        $more = ['spendgate_error' => $refused->getError()]
            + array_intersect_key($answer, array_flip(['account', 'period', 'limit_usd', 'spent_usd', 'held_usd', 'resets_at']));
        switch ($refused->getError()) {
            case 'budget_exceeded':
                return new self(
                    429,
                    'insufficient_quota',
                    'insufficient_quota',
                    'Your budget has no room for what this request may cost. Ask for fewer tokens, or wait until it resets.',
                    null,
                    $more,
                    ['x-should-retry: false']
                );
            case 'rate_limited':
            case 'concurrency_exceeded':
                return new self(429, 'requests', 'rate_limit_exceeded', 'Too many requests.', null, $more, ['Retry-After: 1']);
            case 'frozen':
            case 'invalid_key':
            case 'expired':
                return new self(403, 'invalid_request_error', $refused->getError(), 'This account may not do that.', null, $more);
            default:
                return self::unavailable('The request could not be accounted for, so it was not made. Please try again.');
        }
    }

    public function getStatus(): int
    {
        return $this->status;
    }

    /** @return array<string,mixed> */
    public function toArray(): array
    {
        return ['error' => $this->error];
    }

    public function send(): void
    {
        if (headers_sent()) {
            return;
        }
        http_response_code($this->status);
        foreach ($this->headers as $header) {
            header($header);
        }
        header('Content-Type: application/json');
        header('Cache-Control: no-store');
        echo Json::encode($this->toArray()), "\n";
    }
}

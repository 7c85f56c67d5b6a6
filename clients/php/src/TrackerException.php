<?php
// SPDX-License-Identifier: MIT

declare(strict_types=1);

namespace Spendgate;

/** The tracker's answer was a refusal, or there was none. */
class TrackerException extends \RuntimeException
{
    /** @var string */
    private $error;
    /** @var int */
    private $status;
    /** @var array<string,mixed> */
    private $answer;

    /** @param array<string,mixed> $answer the tracker's, decoded */
    public function __construct(string $error, string $message, int $status, array $answer = [])
    {
        parent::__construct($message);
        $this->error = $error;
        $this->status = $status;
        $this->answer = $answer;
    }

    /** The tracker's error code ("budget_exceeded"), or "unreachable", "no_hold", "spool". */
    public function getError(): string
    {
        return $this->error;
    }

    /** HTTP status, 0 without an answer. */
    public function getStatus(): int
    {
        return $this->status;
    }

    /** @return array<string,mixed> the tracker's answer, with "limit_usd", "resets_at" and the like */
    public function getAnswer(): array
    {
        return $this->answer;
    }
}

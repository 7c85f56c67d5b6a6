<?php
// SPDX-License-Identifier: MIT

declare(strict_types=1);

namespace Spendgate;

/**
 * The tracker's answer was a refusal, or there was none.
 */
class TrackerException extends \RuntimeException
{
    /** @var string The tracker's error code ("budget_exceeded"), or "unreachable". */
    private $error;

    /** @var int HTTP status, 0 without an answer. */
    private $status;

    public function __construct(string $error, string $message, int $status)
    {
        parent::__construct($message);
        $this->error = $error;
        $this->status = $status;
    }

    public function getError(): string
    {
        return $this->error;
    }

    public function getStatus(): int
    {
        return $this->status;
    }
}

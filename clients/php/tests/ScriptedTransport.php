<?php
// SPDX-License-Identifier: MIT

declare(strict_types=1);

namespace Spendgate\Tests;

use Spendgate\Transport;

/** Answers in turn what it was told to, and keeps what it was asked. */
final class ScriptedTransport implements Transport
{
    /** @var array<int,array{path:string,json:string,key:?string}> */
    public $posts = [];
    /** @var array<int,array{0:int,1:string}> */
    private $answers;

    /** @param array{0:int,1:string} ...$answers the last one is for all further posts */
    public function __construct(array ...$answers)
    {
        $this->answers = $answers === [] ? [[200, '{"charge_id":"chg_1"}']] : $answers;
    }

    public function post(string $path, string $json, ?string $idempotencyKey): array
    {
        $this->posts[] = ['path' => $path, 'json' => $json, 'key' => $idempotencyKey];
        return count($this->answers) > 1 ? array_shift($this->answers) : $this->answers[0];
    }

    public function tokenDigest(): string
    {
        return hash('sha256', 'secret');
    }
}

<?php
// SPDX-License-Identifier: MIT

declare(strict_types=1);

namespace Spendgate;

/** How a post reaches the tracker. HttpTransport is what everybody uses; tests bring their own. */
interface Transport
{
    /**
     * Post JSON once.
     *
     * @return array{0:int,1:string} status and body; status 0: no whole answer came
     */
    public function post(string $path, string $json, ?string $idempotencyKey): array;

    /** SHA-256 of the token in hex, as the tracker's settings name it. */
    public function tokenDigest(): string;
}

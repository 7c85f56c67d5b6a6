<?php
// SPDX-License-Identifier: MIT

declare(strict_types=1);

namespace Spendgate;

/**
 * Posts what one request cost. Costs are noted with spend() and spendUsage() and posted once: by
 * settle(), or else when the script ends, also when it dies or the client has hung up.
 *
 *     $tracker = Spendgate\Tracker::fromEnvironment();
 *     $tracker->spend('0.0123');
 *
 * A post that the tracker does not acknowledge is repeated with the same idempotency key, and then
 * written to the spool directory: it is never lost and never counted twice.
 */
final class Tracker
{
    private const ATTEMPTS = 3;
    private const FIRST_PAUSE_MICROSECONDS = 100000;
    /** Refusals that a repetition cannot change: the request itself is wrong, or was decided before. */
    private const FINAL_STATUSES = [400, 409, 413, 415, 422];

    /** @var Transport */
    private $transport;
    /** @var Spool|null */
    private $spool;
    /** @var array<string,string> subject, key_id and route of every post */
    private $caller;
    /** @var string the hold that the next post settles; empty when there is none, or it was used */
    private $holdId;
    /** @var string also for extend() after the hold was used */
    private $firstHoldId;
    /** @var int sum of spend() that waits to be posted */
    private $pendingNanos = 0;
    /** @var bool spend() was called, if only with 0 */
    private $pendingCost = false;
    /** @var array<string,mixed> details of the pending cost */
    private $pendingDetails = [];
    /** @var array<int,array<string,mixed>> usages that wait to be posted */
    private $pendingUsages = [];

    /**
     * @param array<string,string> $request the gate's variables: SPENDGATE_HOLD_ID, SPENDGATE_SUBJECT,
     *     SPENDGATE_KEY_ID, SPENDGATE_ROUTE
     */
    public function __construct(Transport $transport, ?Spool $spool, array $request)
    {
        $this->transport = $transport;
        $this->spool = $spool;
        $this->firstHoldId = $this->holdId = $request['SPENDGATE_HOLD_ID'] ?? '';
        $this->caller = array_filter([
            'subject' => $request['SPENDGATE_SUBJECT'] ?? '',
            'key_id' => $request['SPENDGATE_KEY_ID'] ?? '',
            'route' => $request['SPENDGATE_ROUTE'] ?? '',
        ], 'strlen');
    }

    /**
     * Settings: SPENDGATE_TRACKER_URL (such as http://127.0.0.1/track), SPENDGATE_TRACKER_TOKEN or
     * SPENDGATE_TRACKER_TOKEN_FILE, SPENDGATE_SPOOL_DIR, SPENDGATE_TRACKER_TIMEOUT (seconds, 2). The
     * caller comes from the gate's variables. The script goes on when the client hangs up.
     */
    public static function fromEnvironment(): self
    {
        $token = self::variable('SPENDGATE_TRACKER_TOKEN');
        $tokenFile = self::variable('SPENDGATE_TRACKER_TOKEN_FILE');
        if ($token === '' && $tokenFile !== '') {
            $token = rtrim((string) @file_get_contents($tokenFile), "\r\n");
        }
        if ($token === '') {
            throw new \InvalidArgumentException(
                'no tracker token: set SPENDGATE_TRACKER_TOKEN or SPENDGATE_TRACKER_TOKEN_FILE'
            );
        }
        $spool = self::variable('SPENDGATE_SPOOL_DIR');
        $request = [];
        foreach (['SPENDGATE_HOLD_ID', 'SPENDGATE_SUBJECT', 'SPENDGATE_KEY_ID', 'SPENDGATE_ROUTE'] as $name) {
            $request[$name] = self::requestVariable($name);
        }
        $tracker = new self(
            new Transport(
                self::variable('SPENDGATE_TRACKER_URL'),
                $token,
                (float) (self::variable('SPENDGATE_TRACKER_TIMEOUT') ?: '2')
            ),
            $spool === '' ? null : new Spool($spool),
            $request
        );
        $tracker->settleAtShutdown();
        return $tracker;
    }

    /** Post what is pending when the script ends, however it ends. fromEnvironment() does this. */
    public function settleAtShutdown(): void
    {
        ignore_user_abort(true);
        register_shutdown_function(function (): void {
            try {
                $this->settle();
            } catch (\Throwable $failure) {
                error_log('spendgate: ' . $failure->getMessage());
            }
        });
    }

    /**
     * Note a cost in dollars, as decimal text. Several are added up.
     *
     * @param string|int $usd
     * @param array<string,mixed> $details model, tags, metadata, occurred_at
     */
    public function spend($usd, array $details = []): void
    {
        $this->pendingNanos += Money::toNanos($usd);
        $this->pendingCost = true;
        $this->pendingDetails = $details + $this->pendingDetails;
    }

    /**
     * Note a usage as the vendor reported it; the tracker prices it.
     *
     * @param array<string,mixed> $usage the vendor's own "usage" object
     * @param array<string,mixed> $details provider, tags, metadata, occurred_at
     */
    public function spendUsage(string $model, array $usage, array $details = []): void
    {
        $this->pendingUsages[] = ['model' => $model, 'usage' => (object) $usage] + $details;
    }

    /**
     * Raise the hold by an amount before spending it; 0 only renews its time to live, and a stream
     * that lasts should do that every third of it.
     *
     * @param string|int $usd
     * @return array<string,mixed> the tracker's answer
     * @throws TrackerException when it does not fit (getError() is "budget_exceeded")
     */
    public function extend($usd): array
    {
        $json = self::encode(['amount_usd' => Money::fromNanos(Money::toNanos($usd))]);
        return $this->postHold('extend', $json, self::newKey());
    }

    /**
     * Give the hold back: nothing was spent.
     *
     * @return array<string,mixed>
     * @throws TrackerException
     */
    public function void(): array
    {
        $answer = $this->postHold('void', '{}', null);
        $this->holdId = '';
        return $answer;
    }

    /**
     * Post what is pending, now. Posts that were not acknowledged are spooled.
     *
     * @return array<int,array<string,mixed>> the tracker's answers, without the spooled ones
     * @throws TrackerException when a post was refused for good, or could not be spooled
     */
    public function settle(): array
    {
        $posts = $this->pendingUsages;
        if ($this->pendingCost) {
            array_unshift($posts, ['cost_usd' => Money::fromNanos($this->pendingNanos)] + $this->pendingDetails);
        }
        $this->pendingUsages = [];
        $this->pendingCost = false;
        $this->pendingNanos = 0;
        $this->pendingDetails = [];

        $answers = [];
        $failure = null;
        foreach ($posts as $post) {
            try {
                $answer = $this->deliver($post);
                if ($answer !== null) {
                    $answers[] = $answer;
                }
            } catch (TrackerException $refused) {
                $failure = $failure ?? $refused;
            }
        }
        if ($failure !== null) {
            throw $failure;
        }
        return $answers;
    }

    /**
     * @param array<string,mixed> $post
     * @return array<string,mixed>|null null when it was spooled
     */
    private function deliver(array $post): ?array
    {
        $post += $this->caller;
        $key = null;
        if ($this->holdId !== '') {
            // a hold is itself an idempotency key
            $post['hold_id'] = $this->holdId;
            $this->holdId = '';
        } else {
            $key = $post['idempotency_key'] = self::newKey();
        }
        $json = self::encode($post);
        [$status, $body] = $this->attempt('/v1/spend', $json, $key);
        if ($status === 200) {
            return self::decode($body);
        }
        if (in_array($status, self::FINAL_STATUSES, true) || $this->spool === null) {
            throw self::refusal($status, $body, $json);
        }
        try {
            $this->spool->append('/v1/spend', $this->transport->tokenDigest(), $json);
        } catch (TrackerException $failure) {
            // the last place where the money is written down
            throw new TrackerException($failure->getError(), $failure->getMessage() . '; not delivered: ' . $json, 0);
        }
        return null;
    }

    /**
     * @return array<string,mixed>
     */
    private function postHold(string $operation, string $json, ?string $key): array
    {
        if ($this->firstHoldId === '') {
            throw new TrackerException('no_hold', 'this request has no hold', 0);
        }
        $path = '/v1/holds/' . rawurlencode($this->firstHoldId) . '/' . $operation;
        [$status, $body] = $this->attempt($path, $json, $key);
        if ($status !== 200) {
            throw self::refusal($status, $body, '');
        }
        return self::decode($body);
    }

    /**
     * @return array{0:int,1:string}
     */
    private function attempt(string $path, string $json, ?string $key): array
    {
        $answer = [0, ''];
        for ($attempt = 0; $attempt < self::ATTEMPTS; $attempt++) {
            if ($attempt > 0) {
                usleep((self::FIRST_PAUSE_MICROSECONDS << ($attempt - 1)) + random_int(0, 50000));
            }
            $answer = $this->transport->post($path, $json, $key);
            $again = $answer[0] === 0 || $answer[0] >= 500
                || ($answer[0] === 409 && (self::decode($answer[1])['error'] ?? '') === 'idempotency_in_progress');
            if (!$again) {
                break;
            }
        }
        return $answer;
    }

    private static function refusal(int $status, string $body, string $json): TrackerException
    {
        if ($status === 0) {
            return new TrackerException(
                'unreachable',
                'the tracker does not answer' . ($json === '' ? '' : '; not delivered: ' . $json),
                0
            );
        }
        $answer = self::decode($body);
        return new TrackerException(
            (string) ($answer['error'] ?? 'unexpected_answer'),
            "the tracker answered $status: " . (string) ($answer['message'] ?? 'no explanation')
                . ($json === '' ? '' : '; not recorded: ' . $json),
            $status
        );
    }

    private static function newKey(): string
    {
        return 'php-' . bin2hex(random_bytes(16));
    }

    /** @param array<string,mixed> $value */
    private static function encode(array $value): string
    {
        return json_encode(
            (object) $value,
            JSON_UNESCAPED_SLASHES | JSON_UNESCAPED_UNICODE | JSON_INVALID_UTF8_SUBSTITUTE | JSON_PRESERVE_ZERO_FRACTION
        ) ?: '{}';
    }

    /** @return array<string,mixed> */
    private static function decode(string $body): array
    {
        $value = json_decode($body, true);
        return is_array($value) ? $value : [];
    }

    private static function variable(string $name): string
    {
        $value = $_SERVER[$name] ?? getenv($name);
        return is_string($value) ? $value : '';
    }

    /** Apache prefixes variables with REDIRECT_ after an internal redirect. */
    private static function requestVariable(string $name): string
    {
        $value = self::variable($name);
        return $value !== '' ? $value : self::variable('REDIRECT_' . $name);
    }
}

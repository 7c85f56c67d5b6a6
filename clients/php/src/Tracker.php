<?php
// SPDX-License-Identifier: MIT

declare(strict_types=1);

namespace Spendgate;

/**
 * Posts what one request cost. Costs are noted with spend() and spendUsage() and posted once: by
 * settle(), or else when the object goes or the script ends, also when it dies or the client has
 * hung up.
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
    /** Seconds into the request at which the first heartbeat asks how long a hold lives. */
    private const FIRST_HEARTBEAT = 5.0;
    private const HOLD_TTL_MAX = 604800.0;
    private const REQUEST_VARIABLES = [
        'SPENDGATE_HOLD_ID', 'SPENDGATE_SUBJECT', 'SPENDGATE_KEY_ID', 'SPENDGATE_ROUTE',
    ];
    /** Refusals that no repetition can change: the post itself is wrong, or was decided before. */
    private const FINAL_ERRORS = [
        'invalid_json', 'invalid_cost', 'missing_field', 'invalid_field', 'body_too_large',
        'unsupported_media_type', 'hold_already_settled', 'hold_voided', 'idempotency_key_reuse',
        'usage_inconsistent',
    ];

    /** @var array<int,\WeakReference<self>> what has to be settled when the script ends */
    private static $open = [];
    /** @var string memory for that, in case the script ended because there was none left */
    private static $reserve = '';

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
    /** @var float|null seconds that a hold lives; null until it is known */
    private $holdTtl;
    /** @var float monotonic seconds */
    private $nextHeartbeat;
    /** @var bool what the last heartbeat was told */
    private $holdLives;
    /** @var int|false a child that was forked must not settle what its parent will */
    private $process;

    /**
     * @param array<string,string> $request the gate's variables: SPENDGATE_HOLD_ID, SPENDGATE_SUBJECT,
     *     SPENDGATE_KEY_ID, SPENDGATE_ROUTE
     * @param float|null $holdTtl seconds, "hold_ttl" of the settings; null: ask
     */
    public function __construct(Transport $transport, ?Spool $spool, array $request, ?float $holdTtl = null)
    {
        $this->transport = $transport;
        $this->spool = $spool;
        $this->firstHoldId = $this->holdId = $request['SPENDGATE_HOLD_ID'] ?? '';
        $this->caller = array_filter([
            'subject' => $request['SPENDGATE_SUBJECT'] ?? '',
            'key_id' => $request['SPENDGATE_KEY_ID'] ?? '',
            'route' => $request['SPENDGATE_ROUTE'] ?? '',
        ], 'strlen');
        $this->holdTtl = $holdTtl;
        $this->holdLives = $this->holdId !== '';
        $this->nextHeartbeat = self::monotonic() + ($holdTtl === null ? self::FIRST_HEARTBEAT : $holdTtl / 3);
        $this->process = getmypid();
    }

    /**
     * Settings: SPENDGATE_TRACKER_URL (such as http://127.0.0.1/spendgate), SPENDGATE_TRACKER_TOKEN or
     * SPENDGATE_TRACKER_TOKEN_FILE, SPENDGATE_SPOOL_DIR, SPENDGATE_TRACKER_TIMEOUT ("2s"),
     * SPENDGATE_HOLD_TTL ("5m"; asked when not given). The caller comes from the gate's variables. The
     * script goes on when the client hangs up.
     *
     * @param Transport|null $transport in place of the one from the environment
     */
    public static function fromEnvironment(?Transport $transport = null): self
    {
        $spool = self::variable('SPENDGATE_SPOOL_DIR');
        $request = [];
        foreach (self::REQUEST_VARIABLES as $name) {
            $request[$name] = self::requestVariable($name);
        }
        $tracker = new self(
            $transport ?? self::transportFromEnvironment(),
            $spool === '' ? null : new Spool($spool),
            $request,
            self::seconds(self::variable('SPENDGATE_HOLD_TTL'))
        );
        $tracker->settleAtShutdown();
        return $tracker;
    }

    /** Post what is pending when the script ends, however it ends. fromEnvironment() does this. */
    public function settleAtShutdown(): void
    {
        if (self::$reserve === '') {
            ignore_user_abort(true);
            self::$reserve = str_repeat("\0", 524288);
            register_shutdown_function([self::class, 'settleAll']);
        }
        self::$open[spl_object_id($this)] = \WeakReference::create($this);
    }

    /** @internal the shutdown function */
    public static function settleAll(): void
    {
        self::$reserve = '';
        // the time of the script may be over; what follows is bounded by the transport's timeout
        @set_time_limit(0);
        foreach (self::$open as $reference) {
            $tracker = $reference->get();
            if ($tracker !== null) {
                $tracker->settleQuietly();
            }
        }
        self::$open = [];
    }

    /** In a process that serves one request after the other, the object goes before the script ends. */
    public function __destruct()
    {
        if (isset(self::$open[spl_object_id($this)])) {
            unset(self::$open[spl_object_id($this)]);
            $this->settleQuietly();
        }
    }

    /** Two of them would post twice. */
    private function __clone()
    {
    }

    /**
     * Note a cost in dollars, as decimal text. Several are added up.
     *
     * @param string|int $usd
     * @param array<string,mixed> $details model, tags, metadata, occurred_at
     */
    public function spend($usd, array $details = []): void
    {
        $this->pendingNanos = Money::add($this->pendingNanos, Money::toNanos($usd));
        $this->pendingCost = true;
        $this->pendingDetails = $details + $this->pendingDetails;
    }

    /**
     * Note a usage as the vendor reported it; the tracker prices it.
     *
     * @param array<string,mixed>|object $usage the vendor's own "usage" object
     * @param array<string,mixed> $details provider, tags, metadata, occurred_at
     */
    public function spendUsage(string $model, $usage, array $details = []): void
    {
        if (!is_array($usage) && !is_object($usage)) {
            throw new \InvalidArgumentException('a usage is the vendor\'s usage object, as an array or object');
        }
        $this->pendingUsages[] = ['model' => $model, 'usage' => (object) $usage] + $details;
    }

    /**
     * Raise the hold by an amount before spending it; 0 only renews its time to live.
     *
     * @param string|int $usd
     * @return array<string,mixed> the hold: "amount_usd", "expires_at", ...
     * @throws TrackerException when it does not fit (getError() is "budget_exceeded")
     */
    public function extend($usd): array
    {
        $json = self::encode(['amount_usd' => Money::fromNanos(Money::toNanos($usd))]);
        $answer = $this->postHold('extend', $json, self::newKey());
        $this->learnTtl($answer);
        return $answer;
    }

    /**
     * What a usage would cost, before it is spent: to be given to extend(). Nothing is recorded.
     *
     * @param array<string,mixed>|object $usage in any vendor's form
     * @param array<string,mixed> $details provider, service_tier
     * @return array<string,mixed> "cost_usd", and how it is made up
     * @throws TrackerException without a price (getError() is "unknown_model")
     */
    public function quote(string $model, $usage, array $details = []): array
    {
        $json = self::encode(['model' => $model, 'usage' => (object) $usage] + $details);
        [$status, $body] = $this->attempt('/v1/quote', $json, null);
        $answer = self::decode($body);
        if ($status !== 200 || !is_string($answer['cost_usd'] ?? null)) {
            throw self::refusal($status, $answer, '');
        }
        return $answer;
    }

    /**
     * Keep the hold alive while the work lasts. Call it as often as you like (in the loop of a stream, in
     * curl's progress function): once in a third of the hold's life it asks the tracker. It never throws.
     *
     * @return bool false when there is no hold, or the tracker says that it is gone
     */
    public function heartbeat(): bool
    {
        if ($this->holdId === '' || self::monotonic() < $this->nextHeartbeat) {
            return $this->holdLives;
        }
        $path = '/v1/holds/' . rawurlencode($this->holdId) . '/extend';
        [$status, $body] = $this->transport->post($path, '{"amount_usd":"0"}', null);
        $answer = self::decode($body);
        if ($status === 200) {
            $this->learnTtl($answer);
        } else {
            $this->nextHeartbeat = self::monotonic() + min(($this->holdTtl ?? 15.0) / 9, 5.0);
            if (isset($answer['error']) && in_array($status, [403, 404, 409, 429], true)) {
                $this->holdLives = false;
            }
        }
        return $this->holdLives;
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
        $this->holdLives = false;
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
        $reachable = true;
        foreach ($posts as $post) {
            try {
                $answer = $this->deliver($post, $reachable);
                if ($answer !== null) {
                    $answers[] = $answer;
                }
            } catch (\Throwable $refused) {
                // the other posts have to go out all the same
                $failure = $failure ?? $refused;
            }
        }
        if ($failure !== null) {
            throw $failure;
        }
        return $answers;
    }

    private function settleQuietly(): void
    {
        if ($this->process !== getmypid()) {
            return;
        }
        try {
            $this->settle();
        } catch (\Throwable $failure) {
            error_log('spendgate: ' . $failure->getMessage());
        }
    }

    /**
     * @param array<string,mixed> $post
     * @param bool $reachable false: an earlier post of this round found nobody, so that this one only waits
     * @return array<string,mixed>|null null when it was spooled
     */
    private function deliver(array $post, bool &$reachable): ?array
    {
        $post += $this->caller;
        $key = null;
        if ($this->holdId !== '') {
            // a hold is itself an idempotency key
            $post['hold_id'] = $this->holdId;
            $this->holdId = '';
            $this->holdLives = false;
        } else {
            $key = $post['idempotency_key'] = self::newKey();
        }
        $json = self::encode($post);
        [$status, $body] = $reachable || $this->spool === null ? $this->attempt('/v1/spend', $json, $key) : [0, ''];
        $answer = self::decode($body);
        if ($status === 200 && isset($answer['charge_id'])) {
            return $answer;
        }
        $reachable = $reachable && $status > 0 && $status < 500;
        $refusal = self::refusal($status, $answer, $json);
        if ($this->spool === null || in_array($refusal->getError(), self::FINAL_ERRORS, true)) {
            if ($status === 400 || $status === 422) {
                // the post was wrong, and the hold is still there for a better one
                $this->holdId = $post['hold_id'] ?? '';
                $this->holdLives = $this->holdId !== '';
            }
            throw $refusal;
        }
        try {
            $file = $this->spool->append('/v1/spend', $this->transport->tokenDigest(), $json);
        } catch (TrackerException $failure) {
            // the last place where the money is written down
            throw new TrackerException($failure->getError(), $failure->getMessage() . '; not delivered: ' . $json, 0);
        }
        $reason = self::refusal($status, $answer, '')->getMessage() . "; the post is kept in $file";
        if ($refusal->getError() === 'unknown_model') {
            throw new TrackerException('unknown_model', $reason, $status, $answer);
        }
        error_log("spendgate: $reason");
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
        $answer = self::decode($body);
        if ($status !== 200 || $answer === []) {
            throw self::refusal($status, $answer, '');
        }
        return $answer;
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
            [$status, $body] = $answer;
            $decoded = self::decode($body);
            // a 200 that is no JSON comes from somebody else, or was cut off
            $again = $status === 0 || $status >= 500 || ($status === 200 && $decoded === [])
                || ($decoded['error'] ?? '') === 'idempotency_in_progress';
            if (!$again) {
                break;
            }
        }
        return $answer;
    }

    /**
     * @param array<string,mixed> $answer
     */
    private static function refusal(int $status, array $answer, string $json): TrackerException
    {
        $post = $json === '' ? '' : '; not recorded: ' . $json;
        if ($status === 0) {
            return new TrackerException('unreachable', 'the tracker does not answer' . $post, 0);
        }
        $error = is_string($answer['error'] ?? null) ? $answer['error'] : 'unexpected_answer';
        $message = is_string($answer['message'] ?? null) ? $answer['message'] : 'this is no answer of a tracker';
        return new TrackerException($error, "the tracker answered $status $error: $message$post", $status, $answer);
    }

    /** @param array<string,mixed> $hold */
    private function learnTtl(array $hold): void
    {
        $expires = is_string($hold['expires_at'] ?? null) ? strtotime($hold['expires_at']) : false;
        if ($this->holdTtl === null && $expires !== false) {
            $this->holdTtl = max(1.0, min((float) $expires - microtime(true), self::HOLD_TTL_MAX));
        }
        $this->holdLives = true;
        $this->nextHeartbeat = self::monotonic() + ($this->holdTtl ?? self::FIRST_HEARTBEAT) / 3;
    }

    private static function monotonic(): float
    {
        return hrtime(true) / 1e9;
    }

    private static function newKey(): string
    {
        return 'php-' . bin2hex(random_bytes(16));
    }

    /** @param array<string,mixed> $value */
    private static function encode(array $value): string
    {
        $json = json_encode(
            (object) $value,
            JSON_UNESCAPED_SLASHES | JSON_UNESCAPED_UNICODE | JSON_INVALID_UTF8_SUBSTITUTE
                | JSON_PRESERVE_ZERO_FRACTION | JSON_PARTIAL_OUTPUT_ON_ERROR
        );
        if ($json === false) {
            throw new \InvalidArgumentException('the details of a cost are no JSON: ' . json_last_error_msg());
        }
        return $json;
    }

    /** @return array<string,mixed> */
    private static function decode(string $body): array
    {
        $value = json_decode($body, true);
        return is_array($value) ? $value : [];
    }

    private static function transportFromEnvironment(): Transport
    {
        $token = self::variable('SPENDGATE_TRACKER_TOKEN');
        $tokenFile = self::variable('SPENDGATE_TRACKER_TOKEN_FILE');
        if ($token === '' && $tokenFile !== '') {
            $token = rtrim((string) @file_get_contents($tokenFile), "\r\n");
            if ($token === '') {
                throw new \InvalidArgumentException("cannot read a token from $tokenFile (SPENDGATE_TRACKER_TOKEN_FILE)");
            }
        }
        if ($token === '') {
            throw new \InvalidArgumentException(
                'no tracker token: set SPENDGATE_TRACKER_TOKEN or SPENDGATE_TRACKER_TOKEN_FILE'
            );
        }
        return new HttpTransport(
            self::variable('SPENDGATE_TRACKER_URL'),
            $token,
            self::timeout(self::variable('SPENDGATE_TRACKER_TIMEOUT'))
        );
    }

    /** Seconds of "2", "1.5", "2s", "500ms". */
    private static function timeout(string $text): float
    {
        if ($text === '') {
            return 2.0;
        }
        if (preg_match('/\A([0-9]{1,9}(?:\.[0-9]{1,9})?)(ms|s|)\z/', $text, $part) !== 1) {
            throw new \InvalidArgumentException("SPENDGATE_TRACKER_TIMEOUT is a time such as 2 or 500ms, and not '$text'");
        }
        return (float) $part[1] * ($part[2] === 'ms' ? 0.001 : 1.0);
    }

    /** Seconds of "300", "300s", "5m", "1h"; null for none. */
    private static function seconds(string $duration): ?float
    {
        $units = ['ms' => 0.001, '' => 1.0, 's' => 1.0, 'm' => 60.0, 'h' => 3600.0, 'd' => 86400.0];
        if ($duration === '') {
            return null;
        }
        if (preg_match('/\A([0-9]{1,9})(ms|s|m|h|d|)\z/', $duration, $part) !== 1 || (int) $part[1] === 0) {
            throw new \InvalidArgumentException("SPENDGATE_HOLD_TTL is a time such as 5m, and not '$duration'");
        }
        return (int) $part[1] * $units[$part[2]];
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

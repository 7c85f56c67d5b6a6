<?php
// SPDX-License-Identifier: MIT

declare(strict_types=1);

namespace LlmProxy;

use Spendgate\Money;
use Spendgate\Tracker;
use Spendgate\TrackerException;

/**
 * One request: bound it, set that much aside, ask the provider, hand its answer on as it comes, and settle with what it
 * reports, whatever becomes of the client.
 */
final class Proxy
{
    private const ENDPOINTS = ['chat/completions', 'responses', 'embeddings', 'completions'];
    private const ANSWER_MAX = 67108864;
    /** Seconds of silence after which a comment asks whether the client is still there. */
    private const KEEP_ALIVE = 10.0;

    /** @var Settings */
    private $settings;
    /** @var Tracker|null */
    private $tracker;
    /** @var Bound|null */
    private $bound;
    /** @var string */
    private $model = '';
    /** @var string what was set aside for it, in dollars */
    private $quoted = '0';
    /** @var bool the provider was asked, so that something was spent */
    private $asked = false;
    /** @var bool */
    private $settled = false;
    /** @var EventStream|null */
    private $events;

    public function __construct(Settings $settings)
    {
        $this->settings = $settings;
    }

    public function run(string $method, string $path): void
    {
        // Before the tracker's own: a script that dies in the middle of a stream pays for what it has handed on.
        register_shutdown_function([$this, 'settleWhatIsOpen']);
        try {
            $this->tracker = Tracker::fromEnvironment();
            $this->answer($method, $path);
        } catch (ApiError $error) {
            $error->send();
        } catch (TrackerException $refused) {
            error_log('llm-proxy: ' . $refused->getMessage());
            ApiError::fromTracker($refused)->send();
        } catch (UpstreamException $broken) {
            error_log('llm-proxy: ' . $broken->getMessage());
            ApiError::unavailable('The provider does not answer. Please try again.')->send();
        } catch (\Throwable $failure) {
            error_log('llm-proxy: ' . $failure->getMessage());
            ApiError::unavailable('The proxy is not set up. Its log says why.')->send();
        }
        $this->settleWhatIsOpen();
    }

    /** Also the shutdown function: nothing that was handed on is free, and a hold that is not needed goes back. */
    public function settleWhatIsOpen(): void
    {
        if ($this->settled || $this->tracker === null) {
            return;
        }
        $this->settled = true;
        if ($this->asked) {
            $this->spendEstimate();
            return;
        }
        if (self::variable('SPENDGATE_HOLD_ID') !== '') {
            try {
                $this->tracker->void();
            } catch (TrackerException $refused) {
                error_log('llm-proxy: the hold stays until it expires: ' . $refused->getMessage());
            }
        }
    }

    private function answer(string $method, string $path): void
    {
        if ($method === 'GET' && preg_match('#\A/models(?:/(.+))?\z#', $path, $part) === 1) {
            $this->models(isset($part[1]) ? rawurldecode($part[1]) : null);
            return;
        }
        $endpoint = (string) substr($path, 1);
        if (!in_array($endpoint, self::ENDPOINTS, true)) {
            throw new ApiError(404, 'invalid_request_error', 'unknown_url', "Unknown request URL: $method $path.");
        }
        if ($method !== 'POST') {
            throw new ApiError(405, 'invalid_request_error', 'method_not_supported', "Not allowed to $method on $path.");
        }
        $request = $this->request();
        $this->bound = Bound::of($endpoint, $request, $this->settings);
        $this->setAside((string) ($request->service_tier ?? ''));
        $this->ask($endpoint, $request);
    }

    private function models(?string $wanted): void
    {
        $list = array_map(static function (string $id): array {
            return ['id' => $id, 'object' => 'model', 'created' => 0, 'owned_by' => 'spendgate'];
        }, $this->settings->models);
        if ($wanted !== null) {
            $list = array_values(array_filter($list, static function (array $model) use ($wanted): bool {
                return $model['id'] === $wanted;
            }));
            if ($list === []) {
                throw ApiError::unknownModel($wanted);
            }
        }
        header('Content-Type: application/json');
        echo Json::encode($wanted !== null ? $list[0] : ['object' => 'list', 'data' => $list]), "\n";
    }

    private function request(): \stdClass
    {
        $body = (string) file_get_contents('php://input', false, null, 0, $this->settings->maxBodyBytes + 1);
        if (strlen($body) > $this->settings->maxBodyBytes) {
            throw new ApiError(413, 'invalid_request_error', null, 'The request is too large.');
        }
        $request = Json::object($body);
        if ($request === null) {
            throw ApiError::badRequest('We could not parse the JSON body of your request.');
        }
        if (!is_string($request->model ?? null) || $request->model === '') {
            throw ApiError::badRequest('you must provide a model parameter', 'model');
        }
        $this->model = $request->model;
        if (!in_array($this->model, $this->settings->models, true)) {
            throw ApiError::unknownModel($this->model);
        }
        foreach (['service_tier' => 'is_string', 'stream_options' => 'is_object', 'stream' => 'is_bool'] as $member => $good) {
            if (isset($request->{$member}) && !$good($request->{$member})) {
                throw ApiError::badRequest("'$member' is of the wrong type.", $member, 'invalid_type');
            }
        }
        if (($request->service_tier ?? null) === 'auto') {
            // which would be the dearest one that the provider's project allows
            $request->service_tier = 'default';
        }
        return $request;
    }

    /** Ask the budget for the most that this can cost. */
    private function setAside(string $tier): void
    {
        if (self::variable('SPENDGATE_HOLD_ID') === '') {
            throw new \RuntimeException('this request has no hold: give its route or plan a hold_usd above 0');
        }
        $details = array_filter(['provider' => $this->settings->provider, 'service_tier' => $tier], 'strlen');
        try {
            $quote = $this->tracker->quote($this->model, $this->bound->usage(), $details);
        } catch (TrackerException $refused) {
            if ($refused->getError() === 'unknown_model') {
                error_log('llm-proxy: ' . $refused->getMessage());
                throw ApiError::unknownModel($this->model);
            }
            if ($refused->getStatus() === 400 || $refused->getStatus() === 422) {
                throw ApiError::badRequest('This request is larger than what can be used here.');
            }
            throw $refused;
        }
        $this->quoted = $quote['cost_usd'];
        $missing = Money::toNanos($this->quoted) - Money::toNanos(self::variable('SPENDGATE_HOLD_USD') ?: '0');
        if ($missing > 0) {
            $this->tracker->extend(Money::fromNanos($missing));
        }
    }

    private function ask(string $endpoint, \stdClass $request): void
    {
        $stream = ($request->stream ?? false) === true;
        $hideUsage = false;
        if ($stream && $endpoint !== 'responses') {
            // without it the last event would not say what was used
            $hideUsage = ($request->stream_options->include_usage ?? false) !== true;
            $request->stream_options = $request->stream_options ?? new \stdClass();
            $request->stream_options->include_usage = true;
        }
        $tick = function (): void {
            $this->tracker->heartbeat();
        };
        $json = Json::encode($request);
        $upstream = new Upstream($this->settings, "/$endpoint", $json, $stream, $tick);
        if ($upstream->status !== 200) {
            throw $this->refusal($upstream);
        }
        $this->asked = true;
        if ($stream) {
            $this->stream($upstream, $hideUsage);
        } else {
            $this->whole($upstream);
        }
    }

    private function whole(Upstream $upstream): void
    {
        $body = $upstream->readAll(self::ANSWER_MAX);
        $answer = Json::object($body);
        if ($answer !== null && is_object($answer->usage ?? null)) {
            $this->spendUsage($answer->usage, is_string($answer->service_tier ?? null) ? $answer->service_tier : '');
        } else {
            $this->spendAll('the answer has no usage');
        }
        header('Content-Type: ' . ($upstream->headers['content-type'] ?? 'application/json'));
        header('Cache-Control: no-store');
        $this->passRequestId($upstream);
        echo $body;
    }

    private function stream(Upstream $upstream, bool $hideUsage): void
    {
        $this->events = new EventStream($hideUsage);
        header('Content-Type: text/event-stream; charset=utf-8');
        header('Cache-Control: no-cache, no-transform');
        header('X-Accel-Buffering: no');
        $this->passRequestId($upstream);
        while (ob_get_level() > 0) {
            ob_end_flush();
        }
        flush();
        $last = hrtime(true);
        try {
            while (($bytes = $upstream->read()) !== null) {
                $events = $this->events->push($bytes);
                if ($events === [] && hrtime(true) - $last > self::KEEP_ALIVE * 1e9) {
                    $events = [": keep-alive\n\n"];
                }
                if ($events !== []) {
                    echo implode('', $events);
                    flush();
                    $last = hrtime(true);
                }
                if (connection_aborted() !== 0) {
                    $upstream->close();
                    $this->settleStream();
                    return;
                }
            }
            if (!$this->events->done && $this->events->usage === null) {
                throw new UpstreamException('the stream ended without its last event');
            }
        } catch (UpstreamException $broken) {
            error_log('llm-proxy: ' . $broken->getMessage());
            echo 'data: ', Json::encode((new ApiError(502, 'server_error', 'upstream_broke_off', 'The provider broke off.'))->toArray()), "\n\n";
            flush();
        }
        $this->settleStream();
    }

    private function settleStream(): void
    {
        if ($this->events->usage !== null) {
            $this->spendUsage($this->events->usage, $this->events->serviceTier);
        } else {
            $this->settled = true;
            $this->spendEstimate();
            $this->post();
        }
    }

    /** What the provider reported. */
    private function spendUsage(object $usage, string $tier): void
    {
        $details = ['provider' => $this->settings->provider];
        if (in_array($tier, ['flex', 'priority', 'batch'], true)) {
            $details['service_tier'] = $tier;
        }
        $this->settled = true;
        $this->tracker->spendUsage($this->model, $usage, array_filter($details, 'strlen'));
        $this->post();
    }

    /** What was handed on, where the provider did not come to report it. */
    private function spendEstimate(): void
    {
        $prompt = min($this->bound->promptEstimate, $this->bound->promptTokens);
        $output = $this->events === null ? 0 : min($this->events->outputEstimate, $this->bound->outputTokens);
        $this->tracker->spendUsage(
            $this->model,
            ['prompt_tokens' => $prompt, 'completion_tokens' => $output, 'total_tokens' => $prompt + $output],
            array_filter(['provider' => $this->settings->provider], 'strlen') + ['metadata' => ['estimated' => true]]
        );
    }

    /** What was set aside, where nothing better is known. */
    private function spendAll(string $why): void
    {
        $this->settled = true;
        $this->tracker->spend($this->quoted, ['model' => $this->model, 'metadata' => ['estimated' => true, 'why' => $why]]);
        $this->post();
    }

    /** A usage that the tracker does not understand must not be free. */
    private function post(): void
    {
        try {
            $this->tracker->settle();
        } catch (TrackerException $refused) {
            error_log('llm-proxy: ' . $refused->getMessage());
            if (in_array($refused->getError(), ['usage_inconsistent', 'invalid_field', 'invalid_cost'], true)) {
                $this->spendAll($refused->getError());
            }
        }
    }

    /** What the provider refused, without anything that is between it and us. */
    private function refusal(Upstream $upstream): ApiError
    {
        $error = Json::object($upstream->readAll(1048576))->error ?? null;
        $message = is_string($error->message ?? null) ? $error->message : '';
        if ($this->settings->key !== '') {
            $message = str_replace($this->settings->key, '[key]', $message);
        }
        // nor the names of our account there
        $message = (string) preg_replace('/\b(org|proj|sk|req)[-_][A-Za-z0-9_-]+/', '[$1]', $message);
        error_log("llm-proxy: the provider answered {$upstream->status}: $message");
        if (in_array($upstream->status, [400, 404, 409, 413, 415, 422], true) && $message !== '') {
            return new ApiError(
                $upstream->status,
                is_string($error->type ?? null) ? $error->type : 'invalid_request_error',
                is_string($error->code ?? null) ? $error->code : null,
                $message,
                is_string($error->param ?? null) ? $error->param : null
            );
        }
        if ($upstream->status === 429 && ($error->code ?? '') !== 'insufficient_quota') {
            $after = $upstream->headers['retry-after'] ?? '';
            return new ApiError(
                429,
                'requests',
                'rate_limit_exceeded',
                'The provider has too many requests.',
                null,
                [],
                [ctype_digit($after) ? "Retry-After: $after" : 'Retry-After: 2']
            );
        }
        return ApiError::unavailable('The provider cannot be used now. Please try again later.');
    }

    private function passRequestId(Upstream $upstream): void
    {
        $id = $upstream->headers['x-request-id'] ?? '';
        if (preg_match('/\A[\x21-\x7e]{1,128}\z/', $id) === 1) {
            header('X-Request-Id: ' . $id);
        }
    }

    private static function variable(string $name): string
    {
        $value = $_SERVER[$name] ?? $_SERVER['REDIRECT_' . $name] ?? '';
        return is_string($value) ? $value : '';
    }
}

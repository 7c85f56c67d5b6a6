<?php
// SPDX-License-Identifier: MIT

declare(strict_types=1);

namespace LlmProxy;

/**
 * A provider's server-sent events on their way through: cut into events, each handed on byte for byte as soon as it is
 * whole, with a look at what it says of usage and how much text it carries.
 */
final class EventStream
{
    private const EVENT_MAX = 16777216;

    /** @var object|null the usage that the provider reported */
    public $usage;
    /** @var string the tier it says it worked in, '' if it does not */
    public $serviceTier = '';
    /** @var int tokens of the text that came by: an event with text is one at least, four bytes are one */
    public $outputEstimate = 0;
    /** @var bool the provider said that this was all */
    public $done = false;

    /** @var string */
    private $buffer = '';
    /** @var bool the client did not ask for the event with the usage, so it does not get it */
    private $hideUsage;

    public function __construct(bool $hideUsage)
    {
        $this->hideUsage = $hideUsage;
    }

    /**
     * @return string[] whole events, to be handed on
     */
    public function push(string $bytes): array
    {
        $this->buffer .= $bytes;
        $events = [];
        while (preg_match('/\r\n\r\n|\n\n|\r\r/', $this->buffer, $end, PREG_OFFSET_CAPTURE) === 1) {
            $length = $end[0][1] + strlen($end[0][0]);
            $event = substr($this->buffer, 0, $length);
            $this->buffer = (string) substr($this->buffer, $length);
            if ($this->look($event)) {
                $events[] = $event;
            }
        }
        if (strlen($this->buffer) > self::EVENT_MAX) {
            throw new UpstreamException('the provider sends an event that has no end');
        }
        return $events;
    }

    /** False for an event that the client is not to see. */
    private function look(string $event): bool
    {
        $data = '';
        foreach (preg_split('/\r\n|\n|\r/', $event) ?: [] as $line) {
            if (strncmp($line, 'data:', 5) === 0) {
                $data .= ltrim(substr($line, 5), ' ');
            }
        }
        if ($data === '[DONE]') {
            $this->done = true;
            return true;
        }
        $object = $data === '' ? null : Json::object($data);
        if ($object === null) {
            return true;
        }
        $this->count($object);
        return !$this->takeUsage($object);
    }

    /** True when it was the event that says nothing but the usage, and the client did not ask for it. */
    private function takeUsage(\stdClass $object): bool
    {
        $response = $object->response ?? $object;
        if (is_object($response) && is_object($response->usage ?? null)) {
            $this->usage = $response->usage;
        }
        if (is_object($response) && is_string($response->service_tier ?? null)) {
            $this->serviceTier = $response->service_tier;
        }
        if (in_array($object->type ?? '', ['response.completed', 'response.incomplete', 'response.failed'], true)) {
            $this->done = true;
        }
        return $this->hideUsage && isset($object->usage) && ($object->choices ?? null) === [];
    }

    private function count(\stdClass $object): void
    {
        $bytes = 0;
        foreach ((array) ($object->choices ?? []) as $choice) {
            $bytes += self::textBytes($choice->delta ?? $choice->text ?? null);
        }
        if (isset($object->type, $object->delta)) {
            $bytes += self::textBytes($object->delta);
        }
        if ($bytes > 0) {
            $this->outputEstimate += intdiv($bytes + 3, 4);
        }
    }

    /**
     * The bytes of what a model wrote: content, refusals, reasoning, and the arguments of calls.
     *
     * @param mixed $value
     */
    private static function textBytes($value, string $name = 'content'): int
    {
        if (is_string($value)) {
            return in_array($name, ['role', 'id', 'type'], true) ? 0 : strlen($value);
        }
        $bytes = 0;
        if (is_array($value) || is_object($value)) {
            foreach ((array) $value as $member => $item) {
                $bytes += self::textBytes($item, is_int($member) ? $name : (string) $member);
            }
        }
        return $bytes;
    }
}

<?php
// SPDX-License-Identifier: MIT

declare(strict_types=1);

namespace LlmProxy;

/**
 * The most that a request can cost, as a usage, and what has to be changed in the request so that it holds. The budget is
 * asked for this much before the provider is.
 *
 * A token stands for at least one byte of the prompt, and JSON's own punctuation is more than what a chat format adds.
 */
final class Bound
{
    private const PROMPT_MARGIN = 64;

    /** @var int */
    public $promptTokens = 0;
    /** @var int what the prompt probably is, for a stream that is given up */
    public $promptEstimate = 0;
    /** @var int */
    public $outputTokens = 0;
    /** @var bool */
    public $audioOutput = false;
    /** @var int */
    private $images = 0;
    /** @var Settings */
    private $settings;

    private function __construct(Settings $settings)
    {
        $this->settings = $settings;
    }

    /**
     * @param \stdClass $request is changed: the limit of its output is set where it was not
     * @throws ApiError for what has no bound
     */
    public static function of(string $endpoint, \stdClass $request, Settings $settings): self
    {
        $bound = new self($settings);
        switch ($endpoint) {
            case 'chat/completions':
                $bound->chat($request);
                break;
            case 'responses':
                $bound->responses($request);
                break;
            case 'completions':
                $bound->completions($request);
                break;
            default:
                $bound->embeddings($request);
        }
        return $bound;
    }

    /** @return array<string,mixed> in the form of OpenAI's chat completions */
    public function usage(): array
    {
        $usage = [
            'prompt_tokens' => $this->promptTokens,
            'completion_tokens' => $this->outputTokens,
            'total_tokens' => $this->promptTokens + $this->outputTokens,
        ];
        if ($this->audioOutput) {
            $usage['completion_tokens_details'] = ['audio_tokens' => $this->outputTokens];
        }
        return $usage;
    }

    private function chat(\stdClass $request): void
    {
        if (!is_array($request->messages ?? null) || $request->messages === []) {
            throw ApiError::badRequest("Missing required parameter: 'messages'.", 'messages', 'missing_required_parameter');
        }
        $this->refuseUnbounded($request, ['web_search_options']);
        $prompt = [$request->messages, $request->tools ?? null, $request->functions ?? null, $request->response_format ?? null];
        $this->prompt($prompt);
        $member = $this->settings->outputTokensMember;
        $limit = max($this->limit($request, 'max_completion_tokens'), $this->limit($request, 'max_tokens'));
        if ($limit === 0) {
            $limit = $request->{$member} = $this->settings->defaultOutputTokens;
        }
        $this->outputTokens = $limit * $this->choices($request, 'n');
        $this->audioOutput = in_array('audio', (array) ($request->modalities ?? []), true);
    }

    private function responses(\stdClass $request): void
    {
        if (!isset($request->input)) {
            throw ApiError::badRequest("Missing required parameter: 'input'.", 'input', 'missing_required_parameter');
        }
        if (($request->background ?? false) === true) {
            throw ApiError::badRequest('A response in the background has no end that its cost could be read from.', 'background');
        }
        $this->refuseUnbounded($request, ['previous_response_id', 'conversation', 'prompt']);
        foreach ((array) ($request->tools ?? []) as $tool) {
            if (!in_array($tool->type ?? '', ['function', 'custom'], true)) {
                $this->unbounded('tools', "The provider's own tools");
            }
        }
        $this->prompt([$request->input, $request->instructions ?? null, $request->tools ?? null, $request->text ?? null]);
        $limit = $this->limit($request, 'max_output_tokens');
        if ($limit === 0) {
            $limit = $request->max_output_tokens = $this->settings->defaultOutputTokens;
        }
        $this->outputTokens = $limit;
    }

    private function completions(\stdClass $request): void
    {
        $this->texts($request->prompt ?? '', 'prompt');
        $this->prompt([$request->suffix ?? null]);
        $limit = $this->limit($request, 'max_tokens');
        if ($limit === 0) {
            $limit = $request->max_tokens = $this->settings->defaultOutputTokens;
        }
        $this->outputTokens = $limit * max($this->choices($request, 'n'), $this->choices($request, 'best_of'));
    }

    private function embeddings(\stdClass $request): void
    {
        if (!isset($request->input)) {
            throw ApiError::badRequest("Missing required parameter: 'input'.", 'input', 'missing_required_parameter');
        }
        $this->texts($request->input, 'input');
    }

    /**
     * A text, tokens, or a list of either.
     *
     * @param mixed $value
     */
    private function texts($value, string $param): void
    {
        foreach (is_array($value) ? $value : [$value] as $item) {
            if (is_string($item)) {
                $this->add(strlen($item) + 1);
            } elseif (is_int($item)) {
                $this->promptTokens++;
                $this->promptEstimate++;
            } elseif (is_array($item)) {
                $this->promptTokens += count($item);
                $this->promptEstimate += count($item);
            } else {
                throw ApiError::badRequest("'$param' has to be a text, an array of texts, or tokens.", $param);
            }
        }
    }

    /**
     * Everything that becomes a part of the prompt.
     *
     * @param mixed[] $parts
     */
    private function prompt(array $parts): void
    {
        $bytes = 0;
        foreach ($parts as $part) {
            $bytes += $part === null ? 0 : strlen(Json::encode($this->withoutImages($part)));
        }
        $this->add($bytes);
        $this->promptTokens += self::PROMPT_MARGIN + $this->images * $this->settings->imageTokens;
        $this->promptEstimate += $this->images * $this->settings->imageTokens;
    }

    private function add(int $bytes): void
    {
        $this->promptTokens += intdiv($bytes - 1, $this->settings->promptBytesPerToken) + 1;
        $this->promptEstimate += intdiv($bytes + 3, 4);
    }

    /**
     * A copy in which images are counted and cut; other content that a request only refers to is refused.
     *
     * @param mixed $value
     * @return mixed
     */
    private function withoutImages($value)
    {
        if (is_array($value)) {
            return array_map([$this, 'withoutImages'], $value);
        }
        if (!$value instanceof \stdClass) {
            return $value;
        }
        $type = $value->type ?? '';
        if ($type === 'image_url' || $type === 'input_image') {
            $this->images++;
            if ($this->settings->imageTokens === 0) {
                $this->unbounded('messages', 'Images');
            }
            return null;
        }
        if (in_array($type, ['input_audio', 'file', 'input_file', 'item_reference'], true)) {
            $this->unbounded('messages', "Content of the type '$type'");
        }
        return (object) array_map([$this, 'withoutImages'], get_object_vars($value));
    }

    /** @param string[] $members */
    private function refuseUnbounded(\stdClass $request, array $members): void
    {
        foreach ($members as $member) {
            if (isset($request->{$member})) {
                $this->unbounded($member, "'$member'");
            }
        }
    }

    private function unbounded(string $param, string $what): void
    {
        if (!$this->settings->allowUnbounded) {
            throw ApiError::badRequest(
                "$what cannot be used here: what it may cost is not known before.",
                $param,
                'unsupported_parameter'
            );
        }
    }

    /** 0: the request does not say. */
    private function limit(\stdClass $request, string $member): int
    {
        $limit = $request->{$member} ?? null;
        if ($limit === null) {
            return 0;
        }
        if (!is_int($limit) || $limit < 1) {
            throw ApiError::badRequest("'$member' has to be a whole number, at least 1.", $member);
        }
        if ($limit > $this->settings->maxOutputTokens) {
            throw ApiError::badRequest("'$member' is at most {$this->settings->maxOutputTokens} here.", $member);
        }
        return $limit;
    }

    private function choices(\stdClass $request, string $member): int
    {
        $count = $request->{$member} ?? 1;
        if (!is_int($count) || $count < 1 || $count > 128) {
            throw ApiError::badRequest("'$member' has to be a whole number from 1 to 128.", $member);
        }
        return $count;
    }
}

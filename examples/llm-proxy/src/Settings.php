<?php
// SPDX-License-Identifier: MIT

declare(strict_types=1);

namespace LlmProxy;

/** settings.php, checked. */
final class Settings
{
    /** @var string without a final slash */
    public $upstream;
    /** @var string */
    public $key = '';
    /** @var string */
    public $provider;
    /** @var string[] */
    public $models;
    /** @var int */
    public $defaultOutputTokens;
    /** @var int */
    public $maxOutputTokens;
    /** @var string */
    public $outputTokensMember;
    /** @var int */
    public $promptBytesPerToken;
    /** @var int */
    public $imageTokens;
    /** @var bool */
    public $allowUnbounded;
    /** @var int */
    public $maxBodyBytes;
    /** @var float */
    public $connectTimeout;
    /** @var float */
    public $idleTimeout;

    public static function load(string $file): self
    {
        $given = is_file($file) ? require $file : null;
        if (!is_array($given)) {
            throw new \RuntimeException("llm-proxy: $file is no settings file (LLM_PROXY_SETTINGS)");
        }
        return new self($given);
    }

    /** @param array<string,mixed> $given */
    private function __construct(array $given)
    {
        $this->upstream = rtrim((string) ($given['upstream'] ?? ''), '/');
        if (preg_match('#\Ahttps?://[^\s/?\#]+(/[^\s?\#]*)?\z#', $this->upstream) !== 1) {
            throw new \RuntimeException("llm-proxy: 'upstream' has to be a URL such as https://api.openai.com/v1");
        }
        $keyFile = (string) ($given['key_file'] ?? '');
        if ($keyFile !== '') {
            $this->key = trim((string) @file_get_contents($keyFile));
            if (preg_match('/\A[\x21-\x7e]+\z/', $this->key) !== 1) {
                throw new \RuntimeException("llm-proxy: no key can be read from 'key_file', $keyFile");
            }
        }
        $this->provider = (string) ($given['provider'] ?? '');
        $this->models = array_values(array_filter((array) ($given['models'] ?? []), 'is_string'));
        $this->defaultOutputTokens = self::positive($given, 'default_output_tokens');
        $this->maxOutputTokens = self::positive($given, 'max_output_tokens');
        $this->outputTokensMember = ($given['output_tokens_member'] ?? '') === 'max_tokens' ? 'max_tokens' : 'max_completion_tokens';
        $this->promptBytesPerToken = self::positive($given, 'prompt_bytes_per_token');
        $this->imageTokens = max(0, (int) ($given['image_tokens'] ?? 0));
        $this->allowUnbounded = ($given['allow_unbounded'] ?? false) === true;
        $this->maxBodyBytes = self::positive($given, 'max_body_bytes');
        $this->connectTimeout = (float) self::positive($given, 'connect_timeout');
        $this->idleTimeout = (float) self::positive($given, 'idle_timeout');
    }

    /**
     * @param array<string,mixed> $given
     */
    private static function positive(array $given, string $name): int
    {
        $value = $given[$name] ?? null;
        if (!is_numeric($value) || $value < 1 || $value > 1000000000) {
            throw new \RuntimeException("llm-proxy: '$name' has to be a number, at least 1");
        }
        return (int) $value;
    }

    /** The key must not stand in a dump. */
    public function __debugInfo(): array
    {
        return ['upstream' => $this->upstream];
    }
}

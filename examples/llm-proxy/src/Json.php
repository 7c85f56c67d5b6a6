<?php
// SPDX-License-Identifier: MIT

declare(strict_types=1);

namespace LlmProxy;

final class Json
{
    private const DEPTH = 64;

    /** @param mixed $value */
    public static function encode($value): string
    {
        // 17 digits would write 0.1 as 0.10000000000000001
        $precision = ini_set('serialize_precision', '-1');
        $json = json_encode(
            $value,
            JSON_UNESCAPED_SLASHES | JSON_UNESCAPED_UNICODE | JSON_PRESERVE_ZERO_FRACTION | JSON_INVALID_UTF8_SUBSTITUTE,
            self::DEPTH
        );
        ini_set('serialize_precision', (string) $precision);
        return $json === false ? '{}' : $json;
    }

    /** Objects stay objects, so that {} is not sent on as []. */
    public static function object(string $text): ?\stdClass
    {
        $value = json_decode($text, false, self::DEPTH);
        return $value instanceof \stdClass ? $value : null;
    }
}

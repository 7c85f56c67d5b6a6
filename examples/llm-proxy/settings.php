<?php
// SPDX-License-Identifier: MIT
// The settings of the proxy. Copy this file, and name the copy in LLM_PROXY_SETTINGS. It must not lie below the document root.
declare(strict_types=1);

return [
    // Any server that speaks OpenAI's API, up to and with its /v1.
    'upstream' => 'https://api.openai.com/v1',
    // A file with the provider's key, which only PHP's user may read. Clients never see it. '' for a provider that wants none.
    'key_file' => '/etc/spendgate/provider_key',
    // As in the price table (`spendgate price list`); '' when the names of your models are unique there.
    'provider' => 'openai',
    // What may be used. Each needs a price: a model without one is answered 404.
    'models' => ['gpt-4o', 'gpt-4o-mini', 'text-embedding-3-small'],

    // What a request may produce when it does not say so itself, and what it may say at most. It is set aside before the
    // provider is asked, so a smaller number lets more requests run at once.
    'default_output_tokens' => 4096,
    'max_output_tokens' => 32768,
    // How the provider calls that member in chat completions; older servers know "max_tokens" only.
    'output_tokens_member' => 'max_completion_tokens',
    // A token is at least one byte, so 1 can never be too little. 3 sets aside a third of it, and a prompt of many rare
    // characters may then cost more than was set aside.
    'prompt_bytes_per_token' => 1,
    // The most that one image costs with your provider; 0 refuses images.
    'image_tokens' => 0,
    // Let through what has no bound that a request shows: files, audio input, the provider's own tools, stored prompts and
    // conversations. Such a request can cost more than is set aside; what it did cost is still recorded in full.
    'allow_unbounded' => false,

    'max_body_bytes' => 8 * 1024 * 1024,
    'connect_timeout' => 10.0,     // seconds
    'idle_timeout' => 300.0,       // without a byte from the provider
];

<?php
// SPDX-License-Identifier: MIT
// Everything below /v1/ comes here, after Spendgate has let it in.
declare(strict_types=1);

$example = dirname(__DIR__, 2);
require getenv('SPENDGATE_PHP') ?: dirname($example, 2) . '/clients/php/autoload.php';      // or vendor/autoload.php, with Composer
spl_autoload_register(static function (string $class) use ($example): void {
    if (strncmp($class, 'LlmProxy\\', 9) === 0) {
        require $example . '/src/' . substr($class, 9) . '.php';
    }
});

try {
    $settings = LlmProxy\Settings::load((string) ($_SERVER['LLM_PROXY_SETTINGS'] ?? getenv('LLM_PROXY_SETTINGS')));
} catch (RuntimeException $problem) {
    error_log($problem->getMessage());
    LlmProxy\ApiError::unavailable('The proxy is not set up. Its log says why.')->send();
    exit;
}
set_time_limit(0);
$path = (string) strtok((string) $_SERVER['REQUEST_URI'], '?#');
(new LlmProxy\Proxy($settings))->run((string) $_SERVER['REQUEST_METHOD'], (string) preg_replace('#\A.*?/v1(?=/|\z)#', '', $path));

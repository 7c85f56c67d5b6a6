<?php
// SPDX-License-Identifier: MIT
// A page that costs 20 cents a call and says so. Spendgate has already let this request in: the variables below were
// set by the authorizer, and no client can forge them. Plain PHP streams; no extension, no library.

$cost = '0.20';

$answer = file_get_contents(getenv('SPENDGATE_TRACKER_URL') . '/v1/spend', false, stream_context_create(['http' => [
    'method' => 'POST',
    'header' => [
        'Authorization: Bearer ' . getenv('SPENDGATE_TRACKER_TOKEN'),
        'Content-Type: application/json',
    ],
    'content' => json_encode([
        'hold_id' => $_SERVER['SPENDGATE_HOLD_ID'],     // settles the money set aside for this request, once
        'subject' => $_SERVER['SPENDGATE_SUBJECT'],     // so that it is recorded even if the hold was lost
        'key_id' => $_SERVER['SPENDGATE_KEY_ID'],
        'cost_usd' => $cost,
        'route' => $_SERVER['SPENDGATE_ROUTE'],
    ]),
    'timeout' => 5,
    'ignore_errors' => true,
]]));
$spend = $answer === false ? null : json_decode($answer, true);
if (!isset($spend['charge_id'])) {
    error_log('poem.php: the spend was not recorded: ' . ($answer === false ? 'no answer' : $answer));
}

header('Content-Type: application/json');
echo json_encode([
    'poem' => 'The gate stood open. I paid, and went through it, and it counted.',
    'for' => $_SERVER['SPENDGATE_SUBJECT'],
    'cost_usd' => $cost,
    'spent_usd' => $spend['budgets'][0]['spent_usd'] ?? null,
    'remaining_usd' => $spend['budgets'][0]['remaining_usd'] ?? null,
], JSON_PRETTY_PRINT | JSON_UNESCAPED_SLASHES), "\n";

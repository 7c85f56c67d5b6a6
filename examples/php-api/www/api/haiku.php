<?php
// SPDX-License-Identifier: MIT
// One call costs one cent. Spendgate has let this request in and set two cents aside for it.
declare(strict_types=1);

require __DIR__ . '/../../../../clients/php/autoload.php';      // or vendor/autoload.php, with Composer

$tracker = Spendgate\Tracker::fromEnvironment();

// The work. Whatever happens from here on, also when the client hangs up: what was spent is posted, once.
$haiku = ['The gate stood open.', 'I paid one cent, and went through.', 'It had been counted.'];
$tracker->spend('0.01', ['model' => 'haiku']);

header('Content-Type: application/json');
echo json_encode([
    'haiku' => $haiku,
    'for' => $_SERVER['SPENDGATE_SUBJECT'],                     // set by the gate; no client can forge it
    'remaining_usd' => $_SERVER['SPENDGATE_REMAINING_USD'],     // after what is set aside for this request
], JSON_UNESCAPED_SLASHES), "\n";

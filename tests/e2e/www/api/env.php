<?php
// SPDX-License-Identifier: MIT
// What a PHP backend sees: its variables, and how much of the body arrived.
$body = file_get_contents('php://input');
$getenv = [];
foreach (array_keys($_SERVER) as $name) {
    if (getenv($name) !== false) {
        $getenv[$name] = getenv($name);
    }
}
header('Content-Type: application/json');
echo json_encode([
    'language' => 'php',
    'method' => $_SERVER['REQUEST_METHOD'],
    'bytes' => strlen($body),
    'sha256' => hash('sha256', $body),
    'env' => $_SERVER,
    'getenv' => $getenv,
]), "\n";

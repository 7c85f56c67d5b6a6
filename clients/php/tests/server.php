<?php
// SPDX-License-Identifier: MIT
// For PHP's own web server: a tracker that answers as its folder's file "answer" says, and keeps what it was asked.

declare(strict_types=1);

$folder = (string) getenv('SPENDGATE_TEST_FOLDER');
$answer = json_decode((string) file_get_contents("$folder/answer"), true);
file_put_contents("$folder/asked", json_encode([
    'method' => $_SERVER['REQUEST_METHOD'],
    'target' => $_SERVER['REQUEST_URI'],
    'authorization' => $_SERVER['HTTP_AUTHORIZATION'] ?? '',
    'type' => $_SERVER['CONTENT_TYPE'] ?? '',
    'key' => $_SERVER['HTTP_IDEMPOTENCY_KEY'] ?? null,
    'body' => file_get_contents('php://input'),
]) . "\n", FILE_APPEND | LOCK_EX);
usleep((int) (($answer['wait'] ?? 0) * 1000000));
http_response_code($answer['status'] ?? 200);
foreach ($answer['headers'] ?? [] as $header) {
    header($header);
}
header('Content-Type: application/json');
echo $answer['body'] ?? '{"charge_id":"chg_1"}';

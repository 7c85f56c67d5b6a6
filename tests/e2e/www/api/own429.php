<?php
// SPDX-License-Identifier: MIT
// A backend with a status of its own, which no gate may change.
http_response_code(429);
header('Content-Type: application/json');
echo '{"error":"the backend\'s own"}', "\n";

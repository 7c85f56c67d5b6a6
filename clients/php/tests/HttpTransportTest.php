<?php
// SPDX-License-Identifier: MIT

declare(strict_types=1);

namespace Spendgate\Tests;

use Spendgate\HttpTransport;

/** Both ways, curl and streams, against a real server. */
final class HttpTransportTest extends ServerTestCase
{
    /** @return array<string,array{0:bool}> */
    public static function ways(): array
    {
        return ['streams' => [false], 'curl' => [true]];
    }

    private function transport(bool $curl, float $timeout = 5.0): HttpTransport
    {
        if ($curl && !function_exists('curl_init')) {
            self::markTestSkipped('no curl extension');
        }
        return new HttpTransport($this->url . '/spendgate/', 'sgt_test', $timeout, $curl);
    }

    /** @dataProvider ways */
    public function testAPostArrivesAsItWasSent(bool $curl): void
    {
        $transport = $this->transport($curl);
        $body = '{"cost_usd":"0.02","note":"' . str_repeat("\u{e9}", 2000) . '"}';
        self::assertSame([200, '{"charge_id":"chg_1"}'], $transport->post('/v1/spend', $body, 'key-1'));
        self::assertSame([200, '{"charge_id":"chg_1"}'], $transport->post('/v1/holds/hld_1/void', '{}', null));
        self::assertSame([
            'method' => 'POST',
            'target' => '/spendgate/v1/spend',
            'authorization' => 'Bearer sgt_test',
            'type' => 'application/json',
            'key' => 'key-1',
            'body' => $body,
        ], $this->asked()[0]);
        self::assertSame('/spendgate/v1/holds/hld_1/void', $this->asked()[1]['target']);
        self::assertNull($this->asked()[1]['key']);
    }

    /** @dataProvider ways */
    public function testRefusalsComeWithTheirBody(bool $curl): void
    {
        foreach ([400, 401, 404, 409, 422, 429, 503] as $status) {
            $this->answer(['status' => $status, 'body' => '{"error":"x"}']);
            self::assertSame([$status, '{"error":"x"}'], $this->transport($curl)->post('/v1/spend', '{}', null));
        }
    }

    /** @dataProvider ways */
    public function testARedirectIsNotFollowed(bool $curl): void
    {
        $this->answer(['status' => 302, 'headers' => ['Location: ' . $this->url . '/elsewhere'], 'body' => '']);
        self::assertSame(302, $this->transport($curl)->post('/v1/spend', '{}', null)[0]);
        self::assertCount(1, $this->asked(), 'the token went to one place only');
    }

    /** @dataProvider ways */
    public function testAnAnswerThatComesTooLateIsNone(bool $curl): void
    {
        $this->answer(['wait' => 1.0]);
        $begin = microtime(true);
        self::assertSame([0, ''], $this->transport($curl, 0.3)->post('/v1/spend', '{}', null));
        self::assertLessThan(0.9, microtime(true) - $begin);
    }

    /** @dataProvider ways */
    public function testNobodyThereIsNoAnswer(bool $curl): void
    {
        $transport = $this->transport($curl);
        $this->stopServer();
        self::assertSame([0, ''], $transport->post('/v1/spend', '{}', null));
    }

    /** @dataProvider ways */
    public function testAProxyOfTheEnvironmentIsNotUsed(bool $curl): void
    {
        putenv('http_proxy=http://127.0.0.1:9');
        try {
            self::assertSame(200, $this->transport($curl)->post('/v1/spend', '{}', null)[0]);
        } finally {
            putenv('http_proxy');
        }
    }

    public function testTheTokenIsNotInADump(): void
    {
        $dump = print_r($this->transport(false), true);
        self::assertStringNotContainsString('sgt_test', $dump);
        self::assertSame(hash('sha256', 'sgt_test'), $this->transport(false)->tokenDigest());
    }
}

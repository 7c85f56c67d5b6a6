<?php
// SPDX-License-Identifier: MIT

declare(strict_types=1);

namespace Spendgate\Tests;

use PHPUnit\Framework\TestCase;
use Spendgate\Spool;
use Spendgate\Tracker;
use Spendgate\TrackerException;

final class TrackerTest extends TestCase
{
    private const DONE = [200, '{"charge_id":"chg_1"}'];
    private const REQUEST = ['SPENDGATE_HOLD_ID' => 'hld_1', 'SPENDGATE_SUBJECT' => 'user_1'];

    /** @var string */
    private $folder;
    /** @var array<string,mixed> */
    private $server;
    /** @var string */
    private $log;

    protected function setUp(): void
    {
        $this->folder = sys_get_temp_dir() . '/spendgate-' . bin2hex(random_bytes(8));
        mkdir($this->folder);
        $this->server = $_SERVER;
        $this->log = (string) ini_get('error_log');
        ini_set('error_log', $this->folder . '/log');
    }

    protected function tearDown(): void
    {
        $_SERVER = $this->server;
        ini_set('error_log', $this->log);
        array_map('unlink', glob($this->folder . '/*') ?: []);
        rmdir($this->folder);
    }

    private function log(): string
    {
        return (string) @file_get_contents($this->folder . '/log');
    }

    /** @return string[] */
    private function spooled(): array
    {
        return glob($this->folder . '/*.json') ?: [];
    }

    private function tracker(ScriptedTransport $transport, ?float $ttl = null): Tracker
    {
        return new Tracker($transport, new Spool($this->folder), self::REQUEST, $ttl);
    }

    public function testPostsWhatTheVectorsSay(): void
    {
        $cases = json_decode((string) file_get_contents(Vectors::folder() . '/posts.json'));
        self::assertIsArray($cases);
        foreach ($cases as $case) {
            $_SERVER = (array) $case->environment;
            $transport = new ScriptedTransport();
            $tracker = Tracker::fromEnvironment($transport);
            foreach ($case->calls as $call) {
                if ($call[0] === 'spend') {
                    $tracker->spend($call[1], (array) $call[2]);
                } else {
                    $tracker->spendUsage($call[1], $call[2], (array) $call[3]);
                }
            }
            $tracker->settle();
            self::assertCount(count($case->posts), $transport->posts, $case->name);
            foreach ($transport->posts as $i => $post) {
                $want = $case->posts[$i];
                $got = json_decode($post['json']);
                self::assertSame('/v1/spend', $post['path']);
                if (isset($want->idempotency_key)) {
                    self::assertMatchesRegularExpression('/\Aphp-[0-9a-f]{32}\z/', $got->idempotency_key);
                    $want->idempotency_key = $got->idempotency_key;
                }
                self::assertSame($want->idempotency_key ?? null, $post['key'], $case->name);
                self::assertEquals($want, $got, $case->name);
            }
        }
    }

    public function testSettlesOnce(): void
    {
        $transport = new ScriptedTransport();
        $tracker = $this->tracker($transport);
        $tracker->spend('0.02');
        self::assertSame([['charge_id' => 'chg_1']], $tracker->settle());
        self::assertSame([], $tracker->settle());
        self::assertCount(1, $transport->posts);
    }

    public function testTheHoldIsSettledByTheFirstPostOnly(): void
    {
        $transport = new ScriptedTransport();
        $tracker = $this->tracker($transport);
        $tracker->spend('0.02');
        $tracker->settle();
        $tracker->spend('0.03');
        $tracker->settle();
        self::assertSame('hld_1', json_decode($transport->posts[0]['json'])->hold_id);
        self::assertFalse(isset(json_decode($transport->posts[1]['json'])->hold_id));
        self::assertNotNull($transport->posts[1]['key']);
    }

    public function testRepeatsTheSameBytesWithTheSameKey(): void
    {
        $transport = new ScriptedTransport([0, ''], [503, '{"error":"store_unavailable"}'], self::DONE);
        $tracker = new Tracker($transport, new Spool($this->folder), ['SPENDGATE_SUBJECT' => 'user_1']);
        $tracker->spend('0.02');
        self::assertCount(1, $tracker->settle());
        self::assertCount(3, $transport->posts);
        self::assertSame($transport->posts[0], $transport->posts[1]);
        self::assertSame($transport->posts[0], $transport->posts[2]);
        self::assertSame([], $this->spooled());
    }

    /** @return array<string,array{0:int,1:string}> */
    public static function answersThatAreNone(): array
    {
        return [
            'nobody' => [0, ''],
            'a store that is away' => [503, '{"error":"store_unavailable","message":"away"}'],
            'another program with a page for everything' => [200, '<html>welcome</html>'],
            'an answer cut off' => [200, '{"charge_id":"chg_'],
            'another JSON' => [200, '{"ok":true}'],
            'a wrong address' => [404, '<html>not found</html>'],
            'a wrong token' => [401, '{"error":"invalid_token","message":"no"}'],
            'a firewall' => [400, '<html>bad request</html>'],
            'still being worked on' => [409, '{"error":"idempotency_in_progress"}'],
        ];
    }

    /** @dataProvider answersThatAreNone */
    public function testWhatIsNotAcknowledgedIsSpooled(int $status, string $body): void
    {
        $transport = new ScriptedTransport([$status, $body]);
        $tracker = $this->tracker($transport);
        $tracker->spend('0.02');
        self::assertSame([], $tracker->settle());
        self::assertCount(1, $this->spooled());
        $spooled = json_decode((string) file_get_contents($this->spooled()[0]));
        self::assertEquals(json_decode($transport->posts[0]['json']), $spooled->body);
        self::assertSame(hash('sha256', 'secret'), $spooled->token_sha256);
        self::assertStringContainsString('the post is kept in ' . $this->spooled()[0], $this->log());
    }

    public function testNobodyIsAskedAgainForTheNextPost(): void
    {
        $transport = new ScriptedTransport([0, '']);
        $tracker = $this->tracker($transport);
        $tracker->spend('0.02');
        $tracker->spendUsage('m', ['input_tokens' => 1]);
        $tracker->spendUsage('m', ['input_tokens' => 2]);
        $tracker->settle();
        self::assertCount(3, $transport->posts, 'three attempts for the first post');
        self::assertCount(3, $this->spooled());
    }

    public function testWhatIsRefusedForGoodIsToldWithThePost(): void
    {
        $transport = new ScriptedTransport([409, '{"error":"hold_voided","message":"This hold was given back."}']);
        $tracker = $this->tracker($transport);
        $tracker->spend('0.02');
        try {
            $tracker->settle();
            self::fail('no exception');
        } catch (TrackerException $refused) {
            self::assertSame('hold_voided', $refused->getError());
            self::assertSame(409, $refused->getStatus());
            self::assertSame(
                'the tracker answered 409 hold_voided: This hold was given back.; not recorded: '
                    . '{"cost_usd":"0.02","subject":"user_1","hold_id":"hld_1"}',
                $refused->getMessage()
            );
        }
        self::assertCount(1, $transport->posts, 'and not repeated');
        self::assertSame([], $this->spooled());
    }

    public function testARefusalDoesNotStopTheOtherPosts(): void
    {
        $transport = new ScriptedTransport([409, '{"error":"hold_voided"}'], self::DONE);
        $tracker = $this->tracker($transport);
        $tracker->spend('0.02');
        $tracker->spendUsage('m', ['input_tokens' => 1]);
        try {
            $tracker->settle();
            self::fail('no exception');
        } catch (TrackerException $refused) {
            self::assertSame('hold_voided', $refused->getError());
        }
        self::assertCount(2, $transport->posts);
    }

    public function testAModelWithoutAPriceWaitsForIt(): void
    {
        $transport = new ScriptedTransport([422, '{"error":"unknown_model","message":"no price"}']);
        $tracker = $this->tracker($transport);
        $tracker->spendUsage('new', ['input_tokens' => 1]);
        try {
            $tracker->settle();
            self::fail('no exception');
        } catch (TrackerException $refused) {
            self::assertSame('unknown_model', $refused->getError());
        }
        self::assertCount(1, $this->spooled());
    }

    public function testWithoutASpoolThePostIsInTheMessage(): void
    {
        $tracker = new Tracker(new ScriptedTransport([0, '']), null, self::REQUEST);
        $tracker->spend('0.02');
        $this->expectException(TrackerException::class);
        $this->expectExceptionMessage('not recorded: {"cost_usd":"0.02","subject":"user_1","hold_id":"hld_1"}');
        $tracker->settle();
    }

    public function testASpoolThatCannotBeWrittenIsToldWithThePost(): void
    {
        $tracker = new Tracker(new ScriptedTransport([0, '']), new Spool($this->folder . '/none'), self::REQUEST);
        $tracker->spend('0.02');
        $this->expectException(TrackerException::class);
        $this->expectExceptionMessage('not delivered: {"cost_usd":"0.02"');
        $tracker->settle();
    }

    public function testAPostThatWasWrongLeavesTheHoldForABetterOne(): void
    {
        $transport = new ScriptedTransport([422, '{"error":"usage_inconsistent"}'], self::DONE);
        $tracker = $this->tracker($transport);
        $tracker->spendUsage('m', ['prompt_tokens' => -1]);
        try {
            $tracker->settle();
            self::fail('no exception');
        } catch (TrackerException $refused) {
            self::assertSame('usage_inconsistent', $refused->getError());
        }
        $tracker->spend('0.02');
        $tracker->settle();
        self::assertSame('hld_1', json_decode($transport->posts[1]['json'])->hold_id);
    }

    public function testQuoteTellsWhatAUsageWouldCost(): void
    {
        $transport = new ScriptedTransport([200, '{"cost_usd":"0.0123","parts":[]}'], [422, '{"error":"unknown_model"}']);
        $tracker = $this->tracker($transport);
        self::assertSame('0.0123', $tracker->quote('m', ['prompt_tokens' => 5], ['provider' => 'p'])['cost_usd']);
        self::assertSame('/v1/quote', $transport->posts[0]['path']);
        self::assertSame('{"model":"m","usage":{"prompt_tokens":5},"provider":"p"}', $transport->posts[0]['json']);
        $this->expectException(TrackerException::class);
        $this->expectExceptionMessage('422 unknown_model');
        $tracker->quote('n', []);
    }

    public function testExtendRaisesTheHold(): void
    {
        $transport = new ScriptedTransport([200, '{"hold_id":"hld_1","amount_usd":"0.15"}']);
        self::assertSame('0.15', $this->tracker($transport)->extend('0.10')['amount_usd']);
        self::assertSame('/v1/holds/hld_1/extend', $transport->posts[0]['path']);
        self::assertSame('{"amount_usd":"0.1"}', $transport->posts[0]['json']);
        self::assertNotNull($transport->posts[0]['key'], 'a repetition must not raise it twice');
    }

    public function testExtendThatDoesNotFitThrows(): void
    {
        $tracker = $this->tracker(new ScriptedTransport([429, '{"error":"budget_exceeded","limit_usd":"1"}']));
        try {
            $tracker->extend('5');
            self::fail('no exception');
        } catch (TrackerException $refused) {
            self::assertSame('budget_exceeded', $refused->getError());
            self::assertSame('1', $refused->getAnswer()['limit_usd']);
        }
    }

    public function testVoidGivesTheHoldBackAndALaterSpendStandsAlone(): void
    {
        $transport = new ScriptedTransport([200, '{"hold_id":"hld_1","state":"voided"}'], self::DONE);
        $tracker = $this->tracker($transport);
        self::assertSame('voided', $tracker->void()['state']);
        $tracker->spend('0.01');
        $tracker->settle();
        self::assertSame('/v1/holds/hld_1/void', $transport->posts[0]['path']);
        self::assertFalse(isset(json_decode($transport->posts[1]['json'])->hold_id));
    }

    public function testWithoutAHoldThereIsNothingToExtend(): void
    {
        $tracker = new Tracker(new ScriptedTransport(), null, []);
        self::assertFalse($tracker->heartbeat());
        $this->expectException(TrackerException::class);
        $this->expectExceptionMessage('this request has no hold');
        $tracker->extend('1');
    }

    public function testHeartbeatAsksOnceInAThirdOfTheTimeToLive(): void
    {
        $transport = new ScriptedTransport([200, '{"hold_id":"hld_1","expires_at":"2000-01-01T00:00:00Z"}']);
        $tracker = $this->tracker($transport, 0.3);
        $end = microtime(true) + 0.55;
        while (microtime(true) < $end) {
            self::assertTrue($tracker->heartbeat());
            usleep(5000);
        }
        self::assertContains(count($transport->posts), [4, 5]);
        self::assertSame('{"amount_usd":"0"}', $transport->posts[0]['json']);
    }

    public function testHeartbeatLearnsHowLongAHoldLives(): void
    {
        $expires = gmdate('Y-m-d\TH:i:s\Z', time() + 2);
        $transport = new ScriptedTransport([200, '{"hold_id":"hld_1","expires_at":"' . $expires . '"}']);
        $tracker = $this->tracker($transport);
        $tracker->extend('0');
        $end = microtime(true) + 0.8;
        while (microtime(true) < $end) {
            $tracker->heartbeat();
            usleep(5000);
        }
        self::assertContains(count($transport->posts), [2, 3]);
    }

    public function testHeartbeatTellsThatTheHoldIsGoneAndNeverThrows(): void
    {
        $transport = new ScriptedTransport([0, ''], [409, '{"error":"hold_already_settled"}']);
        $tracker = $this->tracker($transport, 0.03);
        usleep(15000);
        self::assertTrue($tracker->heartbeat(), 'nobody answers: it may live');
        usleep(15000);
        self::assertFalse($tracker->heartbeat(), 'it is gone');
        self::assertCount(2, $transport->posts);
    }

    public function testAnObjectThatGoesSettles(): void
    {
        $_SERVER = self::REQUEST;
        $transport = new ScriptedTransport();
        $tracker = Tracker::fromEnvironment($transport);
        $tracker->spend('0.02');
        self::assertCount(0, $transport->posts);
        unset($tracker);
        self::assertCount(1, $transport->posts);
    }

    public function testAFailureWhileTheObjectGoesIsLogged(): void
    {
        $_SERVER = self::REQUEST;
        $tracker = Tracker::fromEnvironment(new ScriptedTransport([409, '{"error":"hold_voided"}']));
        $tracker->spend('0.02');
        unset($tracker);
        self::assertStringContainsString('spendgate: the tracker answered 409 hold_voided', $this->log());
        self::assertStringContainsString('not recorded: {"cost_usd":"0.02"', $this->log());
    }

    public function testABadAmountChangesNothing(): void
    {
        $transport = new ScriptedTransport();
        $tracker = $this->tracker($transport);
        $tracker->spend('0.02');
        foreach (['-1', '1e3', '', '1000000000'] as $usd) {
            try {
                $tracker->spend($usd);
                self::fail("taken: $usd");
            } catch (\InvalidArgumentException $refused) {
                self::assertStringContainsString('a cost is', $refused->getMessage());
            }
        }
        $tracker->settle();
        self::assertSame('0.02', json_decode($transport->posts[0]['json'])->cost_usd);
    }

    public function testDetailsThatAreNoTextStillArrive(): void
    {
        $transport = new ScriptedTransport();
        $tracker = $this->tracker($transport);
        $tracker->spend('0.02', ['model' => "caf\xe9", 'metadata' => ['nan' => NAN, 'f' => 2.0]]);
        $tracker->settle();
        $post = json_decode($transport->posts[0]['json']);
        self::assertSame("caf\u{fffd}", $post->model);
        self::assertSame('0.02', $post->cost_usd);
        self::assertStringContainsString('"f":2.0', $transport->posts[0]['json']);
    }

    /** @return array<string,array{0:array<string,string>,1:string}> */
    public static function environmentsThatAreIncomplete(): array
    {
        $good = ['SPENDGATE_TRACKER_URL' => 'http://127.0.0.1/spendgate', 'SPENDGATE_TRACKER_TOKEN' => 'sgt_1'];
        return [
            'no token' => [['SPENDGATE_TRACKER_TOKEN' => ''] + $good, 'no tracker token'],
            'no token in the file' => [
                ['SPENDGATE_TRACKER_TOKEN' => '', 'SPENDGATE_TRACKER_TOKEN_FILE' => '/nowhere'] + $good,
                'cannot read a token from /nowhere',
            ],
            'a token that is none' => [['SPENDGATE_TRACKER_TOKEN' => "a\nb"] + $good, 'SPENDGATE_TRACKER_TOKEN'],
            'no URL' => [['SPENDGATE_TRACKER_URL' => ''] + $good, 'SPENDGATE_TRACKER_URL'],
            'another URL' => [['SPENDGATE_TRACKER_URL' => 'ftp://x'] + $good, 'SPENDGATE_TRACKER_URL'],
            'a timeout of nothing' => [['SPENDGATE_TRACKER_TIMEOUT' => 'x'] + $good, 'SPENDGATE_TRACKER_TIMEOUT'],
            'a timeout of another unit' => [['SPENDGATE_TRACKER_TIMEOUT' => '2 s'] + $good, "not '2 s'"],
            'a timeout of 0' => [['SPENDGATE_TRACKER_TIMEOUT' => '0ms'] + $good, 'SPENDGATE_TRACKER_TIMEOUT'],
            'a time to live that is none' => [['SPENDGATE_HOLD_TTL' => '5 m'] + $good, 'SPENDGATE_HOLD_TTL'],
        ];
    }

    /**
     * @dataProvider environmentsThatAreIncomplete
     * @param array<string,string> $environment
     */
    public function testAnIncompleteEnvironmentIsToldAtOnce(array $environment, string $message): void
    {
        $_SERVER = $environment;
        $this->expectException(\InvalidArgumentException::class);
        $this->expectExceptionMessage($message);
        Tracker::fromEnvironment();
    }

    public function testATimeoutIsSecondsOrHasAUnit(): void
    {
        foreach (['' => 2.0, '3' => 3.0, '1.5' => 1.5, '2s' => 2.0, '500ms' => 0.5] as $text => $seconds) {
            $_SERVER = [
                'SPENDGATE_TRACKER_URL' => 'http://127.0.0.1/spendgate',
                'SPENDGATE_TRACKER_TOKEN' => 'sgt_1',
                'SPENDGATE_TRACKER_TIMEOUT' => (string) $text,
            ];
            self::assertSame($seconds, self::timeoutOf(Tracker::fromEnvironment()), "\"$text\"");
        }
    }

    private static function timeoutOf(Tracker $tracker): float
    {
        $transport = new \ReflectionProperty(Tracker::class, 'transport');
        if (PHP_VERSION_ID < 80100) {
            $transport->setAccessible(true);
        }
        return $transport->getValue($tracker)->__debugInfo()['timeout'];
    }
}

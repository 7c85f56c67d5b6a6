# SPDX-License-Identifier: MIT
# How often Clerk is asked, how soon its word counts, and what happens while it is slow, gone or mad.
# begun first
use strict;
use warnings;
use FindBin qw($Bin);
use lib "$Bin/lib";
use JSON::PP ();
use MIME::Base64 qw(encode_base64);
use Spendgate::E2E;
use Test::More;
use Time::HiRes qw(sleep time);

my $true  = JSON::PP::true();
my $plans = <<'END';
plan "free" { budget "month" { limit_usd = "100.00"  period = "month" }  hold_usd = "0.01" }
default_plan = "free"
END

# ---- how often, how soon -----------------------------------------------------------------------------

my $gate = Spendgate::E2E->new(plans => $plans, clerk => 'cache_ttl = "2s"  negative_ttl = "2s"  failure_rate = "1000/1m"');
$gate->start_web('lighttpd');
my $ivan = $gate->clerk_key(subject => $gate->subject('ivan'));
my %statuses;
# Within cache_ttl: no explain between them.
$statuses{ $gate->get('/api/file.txt', key => $ivan->{secret}, explain => 0)->{status} }++ for 1 .. 100;
is_deeply \%statuses, { 200 => 100 }, '100 requests with one key pass' or diag $gate->logs;
is $gate->clerk_calls, 1, 'and cost Clerk one call';
my $last = $gate->clerk_last;
is $last->{headers}{'content-type'}, 'application/json', 'the call is JSON';
like $last->{headers}{'clerk-api-version'} // '', qr/\A20\d\d-\d\d-\d\d\z/, 'and pins the version of the API';

$gate->clerk_forget_calls;
$gate->get('/api/file.txt', key => 'ak_not_known_to_anyone') for 1 .. 20;
is $gate->clerk_calls, 1, 'an unknown key asked for 20 times costs one call';
$gate->clerk_forget_calls;
$gate->get('/api/file.txt', key => $_) for 'hello', 'ak_', 'Bearer', 'mt_abc', 'oat_abc', 'a.b.c', 'ak_with space', 'x' x 5000;
is $gate->clerk_calls, 0, 'what has no form of an API key costs none';

$gate->get('/api/file.txt', key => $ivan->{secret});
my $revoked_at = time;
$gate->clerk_revoke($ivan->{id});
my ($refused_after, $answer);
until (defined $refused_after || time - $revoked_at > 6) {
    $answer = $gate->get('/api/file.txt', key => $ivan->{secret});
    $refused_after = time - $revoked_at if $answer->{status} == 401;
    sleep 0.05;
}
ok defined $refused_after && $refused_after < 2.5, 'a key revoked at Clerk is refused within cache_ttl'
  or diag 'refused after ', $refused_after // 'never';

my $new = $gate->clerk_key(subject => $gate->subject('judy'), revoked => $true);
is $gate->get('/api/file.txt', key => $new->{secret})->{status}, 401, 'revoked: refused';
$gate->clerk_change($new->{id}, revoked => JSON::PP::false());
my $allowed_at = time;
sleep 0.1 until $gate->get('/api/file.txt', key => $new->{secret})->{status} == 200 || time - $allowed_at > 6;
cmp_ok time - $allowed_at, '<', 3, 'a negative answer is forgotten after negative_ttl';

my $gone = $gate->clerk_key(subject => $gate->subject('judy'), revoked => $true, refuse_with => 404);
is $gate->get('/api/file.txt', key => $gone->{secret})->{status}, 401, 'revoked and answered 404: refused as well';
my $expiring = $gate->clerk_key(subject => $gate->subject('judy'), expiration => int((time + 1) * 1000));
is $gate->get('/api/file.txt', key => $expiring->{secret})->{status}, 200, 'a key that expires in a second passes';
sleep 1.2;
is $gate->get('/api/file.txt', key => $expiring->{secret})->{status}, 401, 'and is refused then, cached or not';
my $machine = $gate->clerk_key(subject => $gate->subject('robot', 'mch'));
is $gate->get('/api/file.txt', key => $machine->{secret})->{status}, 401, 'the key of a machine is refused where m2m is not accepted';

# One flight: 32 clients with one new key make one call.
my $kim = $gate->clerk_key(subject => $gate->subject('kim'));
$gate->clerk_forget_calls;
$gate->clerk_behave(endpoint => 'verify', delay_ms => 300);
my @answers = $gate->parallel(32, sub { return { status => $gate->decided('GET', '/api/file.txt', key => $kim->{secret})->{status} } });
is scalar(grep { ($_->{status} // 0) == 200 } @answers), 32, '32 clients with one new key all pass';
is $gate->clerk_calls, 1, 'after one call to Clerk';

# A flood of unknown keys does not slow known ones.
my @flood = $gate->parallel(24, sub {
    my ($i) = @_;
    if ($i < 8) {
        my $slowest = 0;
        for (1 .. 20) {
            my $start = time;
            my $status = $gate->get('/api/file.txt', key => $kim->{secret})->{status};
            return { status => $status } if $status != 200;
            my $took = time - $start;
            $slowest = $took if $took > $slowest;
        }
        return { known => $slowest };
    }
    return { unknown => [ map { $gate->get('/api/file.txt', key => "ak_flood_${i}_$_")->{status} } 1 .. 3 ] };
});
$gate->clerk_calm;
is scalar(grep { defined $_->{known} } @flood), 8, 'known keys pass during a flood of unknown ones' or diag explain \@flood;
my ($slowest) = sort { $b <=> $a } map { $_->{known} // 99 } @flood[ 0 .. 7 ];
cmp_ok $slowest, '<', 2, 'and are not slowed by it';
is scalar(grep { $_ != 401 && $_ != 429 && $_ != 503 } map { @{ $_->{unknown} // [] } } @flood), 0,
  'an unknown one is 401, 429 or 503, never more';

# ---- an address that guesses --------------------------------------------------------------------------

my $guessed = Spendgate::E2E->new(plans => $plans, clerk => 'failure_rate = "5/1m"');
$guessed->start_web('lighttpd');
my $good = $guessed->key(subject => $guessed->subject('walter'));
is $guessed->get('/api/file.txt', key => $good)->{status}, 200, 'a key passes before the guessing';
my @guesses = map { $guessed->get('/api/file.txt', key => "ak_guess_$_") } 1 .. 8;
is join(' ', map { $_->{status} } @guesses), '401 401 401 401 401 429 429 429', 'five guesses, then 429';
is Spendgate::E2E::body_json($guesses[7])->{error}, 'too_many_attempts', 'too_many_attempts';
ok $guesses[7]{headers}{'retry-after'}, 'with Retry-After';
is $guessed->clerk_calls, 6, 'and Clerk is not asked for them';
is $guessed->get('/api/file.txt', key => $good)->{status}, 200, 'the key that was verified before still passes';
undef $guessed;

# ---- Clerk fails -------------------------------------------------------------------------------------

undef $gate;
my @failures = (
    [ 'slower than the deadline', delay_ms    => 3000 ],
    [ 'hanging',                  hang        => $true ],
    [ 'closing at once',          close       => 'before' ],
    [ 'breaking off',             close       => 'mid-body' ],
    [ '500',                      status      => 500, body => '{}' ],
    [ '502 with HTML',            status      => 502, html => $true ],
    [ '200 with HTML',            html        => $true ],
    [ '200 and no JSON',          body        => 'yes' ],
    [ '200 and an empty object',  body        => '{}' ],
    [ '200 and a list',           body        => '[]' ],
    [ '200 without a subject',    body        => '{"object":"api_key","id":"ak_1","revoked":false,"expired":false}' ],
    [ '200, subject a number',    body => '{"object":"api_key","id":"ak_1","subject":5,"revoked":false,"expired":false,"expiration":null}' ],
    [ '200, revoked a string',    body => '{"object":"api_key","id":"ak_1","subject":"user_1","revoked":"no","expired":false,"expiration":null}' ],
    [ '200, revoked twice',
        body => '{"object":"api_key","id":"ak_1","subject":"user_1","revoked":true,"revoked":false,"expired":false,"expiration":null,"claims":null,"scopes":[]}' ],
    [ '200, subject with a line feed',
        body => '{"object":"api_key","id":"ak_1","subject":"user_1\nStatus: 200","revoked":false,"expired":false,"expiration":null,"claims":null,"scopes":[]}' ],
    [ '200 and ten megabytes',    huge_bytes  => 10 * 1024 * 1024 ],
    [ 'bytes that are no HTTP',   raw_base64  => encode_base64("\0\1\2 hello\r\n\r\n", '') ],
    [ '204',                      status      => 204, body => '' ],
    [ '302',                      status      => 302, headers => { Location => 'http://127.0.0.1:9/' }, body => '' ],
    [ '401, our own key is wrong', status     => 401, body => '{"errors":[{"message":"m","long_message":"l","code":"clerk_key_invalid"}]}' ],
    [ '403',                      status      => 403, body => '{"errors":[]}' ],
    [ '402',                      status      => 402, body => '{"errors":[]}' ],
    [ '429',                      retry_after => 1 ],
);
# A fresh gate for each, so that the circuit breaker and the quota of one case do not answer the next.
for my $case (@failures) {
    my ($name, %how) = @$case;
    my $failing = Spendgate::E2E->new(plans => $plans, clerk => 'timeout = "800ms"  connect_timeout = "300ms"');
    $failing->start_web('lighttpd');
    my $known = $failing->key(subject => $failing->subject('laura'));
    my $fresh = $failing->key(subject => $failing->subject('mallory'));
    is $failing->decided('GET', '/api/file.txt', key => $known)->{status}, 200, "Clerk $name: before, a key passes";
    $failing->clerk_behave(endpoint => 'verify', %how);
    my $start = time;
    my $got = $failing->get('/api/file.txt', key => $fresh);
    my $took = time - $start;
    is $got->{status}, 503, "Clerk $name: 503" or diag $got->{body}, $failing->logs;
    is((Spendgate::E2E::body_json($got) // {})->{error}, 'auth_unavailable', "Clerk $name: auth_unavailable");
    ok $got->{headers}{'retry-after'}, "Clerk $name: Retry-After";
    cmp_ok $took, '<', 3, "Clerk $name: answered in time";
    is $failing->get('/api/file.txt', key => $known)->{status}, 200, "Clerk $name: the known key still passes";
    is index($failing->logs, $_), -1, "Clerk $name: no credential in any log" for $known, $fresh;
    unlike $failing->logs, qr/AddressSanitizer|runtime error:|LeakSanitizer/, "Clerk $name: no sanitizer report";
}

# ---- Clerk gone, and back ----------------------------------------------------------------------------

my $alone = Spendgate::E2E->new(plans => $plans, clerk => 'timeout = "800ms"');
$alone->start_web('lighttpd');
my $known = $alone->key(subject => $alone->subject('nina'));
my $later = $alone->key(subject => $alone->subject('oscar'), secret => 'ak_oscars');
is $alone->get('/api/file.txt', key => $known)->{status}, 200, 'before';
$alone->stop('clerk');
my $start = time;
is $alone->get('/api/file.txt', key => $later)->{status}, 503, 'Clerk gone: 503' for 1 .. 10;
cmp_ok time - $start, '<', 10, 'Clerk gone: no hang, and the breaker keeps it short';
is $alone->get('/api/file.txt', key => $known)->{status}, 200, 'Clerk gone: a known key passes';
$alone->start_clerk;
$alone->key(subject => $alone->subject('oscar'), secret => 'ak_oscars');
is $alone->decided('GET', '/api/file.txt', key => $later)->{status}, 200, 'Clerk back: the key passes, by itself';
my ($code, $out, $err) = $alone->cli('verify');
is $code, 0, 'spendgate verify' or diag $out, $err;
done_testing;

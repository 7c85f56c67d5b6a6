# SPDX-License-Identifier: MIT
# Clerk's stand-in says what clerk-api documents say, for whoever relies on it in the other tests.
# store: sqlite (the store is not asked for anything)
use strict;
use warnings;
use FindBin qw($Bin);
use lib "$Bin/lib";
use Spendgate::E2E;
use Test::More;

my $gate = Spendgate::E2E->new;
$gate->start_clerk;
my ($port) = $gate->{clerk_url} =~ /:(\d+)/;

sub api {
    my ($method, $target, $body, %option) = @_;
    my @headers = ([ 'Authorization', 'Bearer ' . ($option{secret} // Spendgate::E2E::SECRET_KEY) ]);
    push @headers, [ 'Content-Type', $option{type} // 'application/json' ] if defined $body;
    my $answer = Spendgate::E2E::http($method, $port, $target, headers => \@headers, body => $body,
        timeout => $option{timeout} // 10);
    return ($answer->{status}, Spendgate::E2E::body_json($answer), $answer);
}

sub verify { my ($body, %option) = @_; return api('POST', $option{path} // '/v1/api_keys/verify', $body, %option) }

my $key = $gate->clerk_key(subject => $gate->subject('alice'), secret => 'ak_a/b+c==', claims => { tier => 'pro' });
for my $path ('/v1/api_keys/verify', '/api_keys/verify') {
    my ($status, $body) = verify('{"secret":"ak_a/b+c=="}', path => $path);
    is $status, 200, "$path knows the key";
    is $body->{id}, $key->{id}, "$path: its id";
    is $body->{claims}{tier}, 'pro', "$path: its claims";
    ok !exists $body->{secret}, "$path: never the secret";
}
my @refused = (
    [ 404, 'an unknown key',      '{"secret":"ak_nobody"}' ],
    [ 400, 'an extra member',     '{"secret":"ak_a/b+c==","more":1}' ],
    [ 400, 'no secret',           '{}' ],
    [ 400, 'a secret of no form', '{"secret":"hello"}' ],
    [ 400, 'not JSON',            'hello' ],
    [ 400, 'a form',              'secret=ak_a', type => 'application/x-www-form-urlencoded' ],
    [ 401, 'a wrong secret key',  '{"secret":"ak_a/b+c=="}', secret => 'sk_test_other' ],
);
for my $case (@refused) {
    my ($want, $name, $sent, %option) = @$case;
    my ($status, $body) = verify($sent, %option);
    is $status, $want, "$name: $want";
    ok $body->{errors}[0]{code} && $body->{errors}[0]{message} && $body->{errors}[0]{long_message}, "$name: envelope";
}

my ($status, $body) = api('GET', '/v1/api_keys?subject=' . $gate->subject('alice'));
is $body->{total_count}, 1, 'the list of a subject';
($status) = api('GET', '/v1/api_keys');
is $status, 400, 'a list needs a subject';
($status, $body) = api('GET', '/v1/jwks');
is_deeply $body, { keys => [] }, 'an empty key set';
($status) = api('GET', '/jwks');
is $status, 404, 'the key set lives under /v1 only';
($status, $body) = api('POST', '/v1/api_keys', '{"name":"made","subject":"user_x"}');
like $body->{secret}, qr/\Aak_/, 'a created key shows its secret once';
($status) = api('POST', "/v1/api_keys/$key->{id}/revoke", '{"revocation_reason":null}');
is $status, 200, 'revoke';
($status, $body) = verify('{"secret":"ak_a/b+c=="}');
ok $status == 200 && $body->{revoked}, 'a revoked key is 200 with a flag';
$gate->clerk_change($key->{id}, refuse_with => 404);
($status) = verify('{"secret":"ak_a/b+c=="}');
is $status, 404, 'or 404, as told';

$gate->clerk_forget_calls;
$gate->clerk_behave(endpoint => 'verify', times => 1, retry_after => 7);
my (undef, undef, $answer) = verify('{"secret":"ak_nobody"}');
is "$answer->{status} @{ $answer->{headers}{'retry-after'} }", '429 7', 'one 429 with Retry-After';
$gate->clerk_behave(times => 1, close => 'mid-body');
($status) = verify('{"secret":"ak_nobody"}');
is $status, 599, 'an answer that breaks off';
$gate->clerk_behave(times => 1, huge_bytes => 10 * 1024 * 1024);
(undef, undef, $answer) = verify('{"secret":"ak_nobody"}');
is length $answer->{body}, 10 * 1024 * 1024, 'ten megabytes';
$gate->clerk_behave(times => 1, hang => JSON::PP::true);
($status) = verify('{"secret":"ak_nobody"}', timeout => 0.3);
is $status, 599, 'no answer at all';
($status) = verify('{"secret":"ak_nobody"}');
is $status, 404, 'and well again';
is $gate->clerk_calls, 5, 'calls are counted';

my @answers = $gate->parallel(100, sub {
    return [ map { (verify('{"secret":"ak_nobody"}'))[0] } 1 .. 20 ];
});
is scalar(grep { $_ == 404 } map { ref $_ eq 'ARRAY' ? @$_ : 0 } @answers), 2000, '2,000 calls from 100 clients';

my $pid = $gate->pid('clerk');
ok $gate->stop('clerk'), 'ends on SIGTERM';
is $gate->exit_status('clerk'), 0, 'with 0';
done_testing;

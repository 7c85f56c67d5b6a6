# SPDX-License-Identifier: MIT
# Every verdict, behind every kind of web server: status, body, headers, log line, and no credential in any log.
use strict;
use warnings;
use FindBin qw($Bin);
use lib "$Bin/lib";
use JSON::PP ();
use MIME::Base64 qw(decode_base64url);
use Spendgate::E2E;
use Test::More;

my $plans = <<'END';
plan "tiny" {
    match = { "claims.tier=tiny" }
    budget "month" { limit_usd = "0.07"  period = "month" }
    hold_usd = "0.05"
    scopes = { "read" }
}
plan "free" {
    match = { "claims.tier=free" }
    budget "month" { limit_usd = "5.00"  period = "month" }
    hold_usd = "0.05"
    scopes = { "read" }
}
END
my $routes = <<'END';
route "/api/file.txt" { scopes = { "read" } }
route "/api/admin"    { scopes = { "admin" } }
END

my ($gate, $kind);

sub header { my ($answer, $name) = @_; return join ', ', @{ $answer->{headers}{$name} // [] } }

sub denied {
    my ($name, $answer, $status, $error, %member) = @_;
    $name = "$kind: $name";
    is $answer->{status}, $status, "$name: status" or diag $answer->{body}, $gate->logs;
    my $said = decode_base64url(header($answer, 'x-spendgate-denial'));
    my $denial = eval { JSON::PP->new->utf8->decode($said) } // {};
    is $denial->{error}, $error, "$name: error";
    like $denial->{message}, qr/\S/, "$name: a sentence for a person";
    is $denial->{$_}, $member{$_}, "$name: $_" for sort keys %member;
    is $answer->{body}, $said, "$name: the body and the header say the same";
    is header($answer, 'content-type'), 'application/json', "$name: type";
    is header($answer, 'cache-control'), 'no-store', "$name: not stored";
    is header($answer, 'x-spendgate-status'), $status, "$name: X-Spendgate-Status";
    ok !(grep { /\Avariable-/ } keys %{ $answer->{headers} }), "$name: no Variable- header";
    like $gate->logs, qr/\Q$denial->{request_id}\E/, "$name: logged with its request_id" if $denial->{request_id};
    ok $denial->{request_id}, "$name: has a request_id";
    return $denial;
}

for (Spendgate::E2E::server_kinds()) {
    $kind = $_;
    $gate = Spendgate::E2E->new(plans => $plans, routes => $routes, clerk => 'negative_ttl = "1s"  timeout = "1s"');
    $gate->start_web($kind);
    my $alice  = $gate->subject('alice');
    my $secret = $gate->key(subject => $alice, claims => { tier => 'free' });
    my $ok = $gate->get('/api/file.txt', key => $secret);
    is $ok->{status}, 200, "$kind: a good key passes" or diag $ok->{body}, $gate->logs;
    is $ok->{body}, "guarded file\n", "$kind: and gets the file";
    is $gate->get('/open.txt')->{status}, 200, "$kind: what is not guarded stays open";

    my $none = $gate->get('/api/file.txt');
    denied('no credential', $none, 401, 'missing_credential');
    is header($none, 'www-authenticate'), 'Bearer realm="spendgate"', "$kind: no credential: challenge";
    denied('an empty one', $gate->get('/api/file.txt', headers => [ [ Authorization => 'Bearer ' ] ]), 401,
        'missing_credential');
    denied('another scheme', $gate->get('/api/file.txt', headers => [ [ Authorization => 'Basic eDp5' ] ]), 401,
        'missing_credential');
    my $unknown = $gate->get('/api/file.txt', key => 'ak_nobody_has_this_one');
    my $denial = denied('an unknown key', $unknown, 401, 'invalid_key');
    ok !exists $denial->{reason}, "$kind: an unknown key: no reason, so nobody learns whether a key ever existed";
    like header($unknown, 'www-authenticate'), qr/error="invalid_token"/, "$kind: an unknown key: challenge";
    denied('a kind that is not accepted', $gate->get('/api/file.txt', key => 'mt_machine'), 401, 'invalid_key');
    denied('no route', $gate->get('/api/other', key => $secret), 403, 'no_route');
    # The web server or we: nobody answers it with the page.
    cmp_ok $gate->get('/api/%zz', key => $secret)->{status}, '==', 400, "$kind: a malformed path is 400";
    my $scope = $gate->get('/api/admin', key => $secret);
    denied('a scope is missing', $scope, 403, 'insufficient_scope');
    like header($scope, 'www-authenticate'), qr/error="insufficient_scope", scope="admin"/, "$kind: names the scope";
    unlike header($scope, 'www-authenticate') . decode_base64url(header($scope, 'x-spendgate-denial')), qr/"read"/,
      "$kind: and no other scope";
    denied('no plan', $gate->get('/api/file.txt', key => $gate->key(subject => $gate->subject('planless'))), 403,
        'no_plan');

    # Over budget: a cap of 7 cents and holds of 5.
    my $bob      = $gate->subject('bob');
    my $bobs_key = $gate->key(subject => $bob, claims => { tier => 'tiny' });
    is $gate->get('/api/file.txt', key => $bobs_key)->{status}, 200, "$kind: the first hold fits";
    my $over = $gate->get('/api/file.txt', key => $bobs_key);
    $denial = denied('over budget', $over, 429, 'budget_exceeded', account => $bob, period => 'month',
        limit_usd => '0.07', spent_usd => '0', held_usd => '0.05');
    like $denial->{resets_at}, qr/\A\d{4}-\d\d-01T00:00:00Z\z/, "$kind: over budget: resets with the month";
    like header($over, 'retry-after'), qr/\A[1-9]\d*\z/, "$kind: over budget: Retry-After, once";
    is header($over, 'x-should-retry'), 'false', "$kind: over budget: x-should-retry";
    ok header($over, 'ratelimit') ne '', "$kind: over budget: RateLimit";

    # Revoked and frozen here, expired here, gone at Clerk.
    my ($status) = $gate->tracker('POST', "/v1/accounts/$alice/freeze");
    is $status, 200, "$kind: freeze";
    denied('frozen', $gate->get('/api/file.txt', key => $secret), 403, 'frozen');
    $gate->tracker('POST', "/v1/accounts/$alice/unfreeze");
    is $gate->get('/api/file.txt', key => $secret)->{status}, 200, "$kind: unfrozen";
    $gate->tracker('POST', "/v1/accounts/$alice/revoke");
    denied('revoked', $gate->get('/api/file.txt', key => $secret), 401, 'invalid_key', reason => 'revoked');
    my $dead = $gate->clerk_key(subject => $alice, claims => { tier => 'free' }, revoked => JSON::PP::true);
    denied('revoked at Clerk', $gate->get('/api/file.txt', key => $dead->{secret}), 401, 'invalid_key');
    my $late = $gate->clerk_key(subject => $alice, claims => { tier => 'free' }, expired => JSON::PP::true);
    denied('expired at Clerk', $gate->get('/api/file.txt', key => $late->{secret}), 401, 'invalid_key');

    # Clerk does not answer: neither valid nor invalid.
    $gate->clerk_behave(endpoint => 'verify', status => 500, body => '{}');
    my $down = $gate->get('/api/file.txt', key => 'ak_first_seen_while_clerk_fails');
    denied('Clerk fails', $down, 503, 'auth_unavailable');
    like header($down, 'retry-after'), qr/\A\d+\z/, "$kind: Clerk fails: Retry-After";

    my $logs = $gate->logs;
    for my $credential ($secret, $bobs_key, $dead->{secret}, 'ak_nobody_has_this_one', 'ak_first_seen_while_clerk_fails',
        Spendgate::E2E::SECRET_KEY, Spendgate::E2E::ADMIN_TOKEN)
    {
        ok index($logs, substr $credential, 0, 20) < 0, "$kind: no credential in any log";
    }
    unlike $logs, qr/AddressSanitizer|runtime error:|LeakSanitizer/, "$kind: no sanitizer report";
    my ($code, $out, $err) = $gate->cli('verify');
    is $code, 0, "$kind: spendgate verify" or diag $out, $err;
}
done_testing;

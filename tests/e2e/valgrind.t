# SPDX-License-Identifier: MIT
# One request of each kind under valgrind: no bad access, nothing lost, in authorizer and tracker.
use strict;
use warnings;
use FindBin qw($Bin);
use lib "$Bin/lib";
use Spendgate::E2E;
use Test::More;

plan skip_all => 'a sanitizer build checks itself' if Spendgate::E2E::is_sanitizer_build();

my $plans = <<'END';
plan "free" { budget "month" { limit_usd = "0.10"  period = "month" }  hold_usd = "0.05" }
default_plan = "free"
END
my @valgrind = split / /, 'valgrind --quiet --leak-check=full --show-leak-kinds=definite,indirect'
  . ' --errors-for-leak-kinds=definite,indirect --error-exitcode=99';
my $gate = Spendgate::E2E->new(plans => $plans, clerk => 'timeout = "20s"  connect_timeout = "5s"', wrap => \@valgrind);
$gate->start_web('lighttpd-sockets', workers => 1);

my $una    = $gate->subject('una');
my $secret = $gate->key(subject => $una);
my ($first, $second, $third) = map { $gate->get('/api/env.php', key => $secret) } 1 .. 3;
is join(' ', map { $_->{status} } $first, $second, $third), '200 200 429', 'allowed, allowed from the cache, over budget'
  or diag $gate->logs;
is $gate->get('/api/file.txt')->{status}, 401, 'no credential';
is $gate->get('/api/file.txt', key => 'ak_unknown')->{status}, 401, 'an unknown key';
is $gate->get('/api/file.txt', key => 'no key at all')->{status}, 401, 'nonsense';
$gate->clerk_behave(endpoint => 'verify', times => 1, body => '{"subject":5');
is $gate->get('/api/file.txt', key => $gate->key(subject => $una))->{status}, 503, 'Clerk talks nonsense';

my $hold = Spendgate::E2E::body_json($first)->{env}{SPENDGATE_HOLD_ID};
my ($status) = $gate->spend(hold_id => $hold, cost_usd => '0.01');
is $status, 200, 'settle';
($status) = $gate->spend(hold_id => $hold, cost_usd => '0.01');
is $status, 200, 'and again';
($status) = $gate->spend(subject => $una, cost_usd => '0.01', idempotency_key => 'k', metadata => { a => [ 1, 2 ] });
is $status, 200, 'spend';
($status) = $gate->tracker('POST', '/v1/spend', '{"subject":', role => 'post');
is $status, 400, 'no JSON';
for my $call (
    [ 'GET',  "/v1/accounts/$una" ],
    [ 'GET',  '/v1/accounts' ],
    [ 'GET',  '/v1/charges' ],
    [ 'POST', "/v1/accounts/$una/credits", { amount_usd => '1' } ],
    [ 'PUT',  "/v1/accounts/$una/budgets/month", { limit_usd => '2' } ],
    [ 'POST', "/v1/accounts/$una/freeze" ],
    [ 'GET',  '/readyz' ],
  )
{
    ($status) = $gate->tracker(@$call);
    is $status, 200, "$call->[0] $call->[1]";
}
is $gate->get('/api/file.txt', key => $secret)->{status}, 403, 'frozen';
for my $name (qw(authorizer tracker)) {
    ok $gate->stop($name), "$name ends on SIGTERM";
    is $gate->exit_status($name), 0, "$name: with 0";
    unlike $gate->read_file("log/$name.log"), qr/^==\d+==/m, "$name: valgrind has nothing to say"
      or diag $gate->read_file("log/$name.log");
}
done_testing;

# SPDX-License-Identifier: MIT
# Rates and concurrency: per key, subject, organization and route; exact to the request over eight processes; nothing
# is taken by a request that something else refuses.
use strict;
use warnings;
use FindBin qw($Bin);
use lib "$Bin/lib";
use JSON::PP ();
use Spendgate::E2E;
use Test::More;

my $plans = <<'END';
plan "minute" {
    match = { "claims.tier=minute" }
    budget "month" { limit_usd = "100"  period = "month" }
    rate = "60/1m"
    burst = 10
    hold_usd = "0"
}
plan "layers" {
    match = { "claims.tier=layers" }
    budget "month" { limit_usd = "100"  period = "month" }
    key_rate = "3/1h"
    rate = "5/1h"
    org_rate = "7/1h"
    hold_usd = "0"
}
plan "slots" {
    match = { "claims.tier=slots" }
    budget "month" { limit_usd = "100"  period = "month" }
    concurrency = 5
}
plan "hour" {
    match = { "claims.tier=hour" }
    budget "month" { limit_usd = "0.20"  period = "month" }
    rate = "40/1h"
    hold_usd = "0.10"
}
plan "free" { budget "month" { limit_usd = "100"  period = "month" }  hold_usd = "0" }
default_plan = "free"
END
my $routes = <<'END';
route "/api/slow" { rate = "2/1h" }
route "/api/"     { }
END

my $gate = Spendgate::E2E->new(
    plans  => $plans,
    routes => $routes,
    clock  => 1,
    clerk  => 'cache_ttl = "1d"',
    ledger => 'ledger { hold_ttl = "5m" }',
);
$gate->start_clerk;
$gate->start_tracker;
$gate->start_authorizer(workers => 8);

sub key_of { my ($name, %claims) = @_; return $gate->clerk_key(subject => $gate->subject($name), claims => \%claims) }
sub ask { my ($key, $path) = @_; return $gate->authorize($path // '/api/x', key => $key->{secret}) }

# The same again while Clerk is being asked by another process.
sub decided {
    my ($key, $path) = @_;
    for (1 .. 200) {
        my $answer = $gate->authorize($path // '/api/x', key => $key->{secret});
        return $answer if $answer->{status} != 503;
        select undef, undef, undef, 0.02;
    }
    return { status => 503 };
}

# How many of COUNT, asked by 16 clients at once, pass; and what the others were told.
sub passed {
    my ($count, @keys) = @_;
    my @counts = $gate->parallel(16, sub {
        my ($client) = @_;
        my %seen;
        for (1 .. $count / 16) {
            my $answer = decided($keys[ ($client + $_) % @keys ]);
            $seen{ $answer->{error} // $answer->{status} }++;
        }
        return \%seen;
    });
    my %total;
    for my $seen (@counts) { $total{$_} += $seen->{$_} for keys %$seen }
    return join ' ', map { "$total{$_} x $_" } sort keys %total;
}

# ---- exact, over eight processes ---------------------------------------------------------------------

# One more becomes due every 90 seconds: none while they are asked.
my $amy  = $gate->subject('amy');
my $amys = key_of('amy', tier => 'hour');
$gate->tracker('POST', "/v1/accounts/$amy/freeze");
$gate->tracker('POST', "/v1/accounts/$amy/unfreeze");
$gate->tracker('PUT', "/v1/accounts/$amy/budgets/month", { limit_usd => '100' });
is passed(320, $amys), '40 x 200 280 x rate_limited', 'forty an hour: exactly forty of 320, asked by 16 clients of 8 processes';
$gate->travel(90 * 10);
is passed(160, $amys, key_of('amy', tier => 'hour')), '10 x 200 150 x rate_limited',
  'ten in a quarter of an hour, whatever key of the subject is used';

# ---- what it says -----------------------------------------------------------------------------------

my $ben = key_of('ben', tier => 'minute');
my @statuses = map { ask($ben)->{status} } 1 .. 10;
is "@statuses", join(' ', (200) x 10), 'a burst of ten';
# One more is due with every second that passes meanwhile.
my ($refused, $extra) = (undef, -1);
do {
    $refused = $gate->authorize('/api/x', key => $ben->{secret}, explain => 0);
} while (++$extra < 100 && $refused->{status} == 200);
is "$refused->{status} $refused->{error} $refused->{denial}{limit}", '429 rate_limited 60/1m', 'the eleventh';
is $refused->{headers}{'retry-after'}, 1, 'Retry-After, rounded up';
is $refused->{headers}{'ratelimit-policy'}, '"requests";q=60;w=60', 'RateLimit-Policy';
like $refused->{headers}{ratelimit}, qr/\A"requests";r=0;t=1\z/, 'RateLimit';
$gate->travel(3);
my @after = map { $gate->authorize('/api/x', key => $ben->{secret})->{status} } 1 .. 3;
is "@after", '200 200 200', 'three seconds later three more';

# ---- per key, subject, organization and route --------------------------------------------------------

my $org = $gate->subject('acme', 'org');
my @keys = map { key_of($_, tier => 'layers', org_id => $org) } qw(cid cid dee dee);
my @told = map { ask($_)->{status} } ($keys[0]) x 3;
is "@told", '200 200 200', 'three an hour per key';
is ask($keys[0])->{denial}{limit}, '3/1h', 'then the key\'s limit is named';
is join(' ', map { ask($keys[1])->{status} } 1 .. 2), '200 200', 'five an hour per subject: two with the other key';
is ask($keys[1])->{denial}{limit}, '5/1h', 'then the subject\'s';
is join(' ', map { ask($keys[2])->{status} } 1 .. 2), '200 200', 'seven an hour per organization: two by a colleague';
my $answer = ask($keys[2]);
is $answer->{error}, 'rate_limited', 'then the organization\'s';
ok !exists $answer->{denial}{limit}, 'whose number is not told';
$answer = ask($keys[3]);
is $answer->{error}, 'rate_limited', 'for all of its members';
my $eve = key_of('eve');
is join(' ', map { ask($eve, '/api/slow/1')->{status} } 1 .. 3), '200 200 429', 'two an hour per subject on one route';
is ask($eve)->{status}, 200, 'and not on others';
is ask(key_of('fay'), '/api/slow')->{status}, 200, 'nor for others';

# ---- a refusal takes nothing -------------------------------------------------------------------------

my $gil  = $gate->subject('gil');
my $gils = key_of('gil', tier => 'hour');
is ask($gils)->{status}, 200, 'one of forty';
my ($rate) = grep { $_->{rate} eq 'subject' } @{ $gate->cli_json('explain', '--subject', $gil, '--path', '/api/x', '--plan', 'hour')->{rates} };
ok $rate->{left} == 39, 'thirty-nine are left';
is ask($gils)->{status}, 200, 'the second fills the budget';
is ask($gils)->{error}, 'budget_exceeded', "a refusal by the budget" for 1 .. 5;
my ($code, $out) = $gate->cli('explain', '--subject', $gil, '--path', '/api/x', '--plan', 'hour', '--json');
($rate) = grep { $_->{rate} eq 'subject' } @{ JSON::PP->new->decode($out)->{rates} };
is $rate->{left}, 38, 'takes nothing of the rate';

# ---- concurrency -------------------------------------------------------------------------------------

my $hal  = $gate->subject('hal');
my $hals = key_of('hal', tier => 'slots');
is passed(160, $hals, key_of('hal', tier => 'slots')), '5 x 200 155 x concurrency_exceeded', 'five at once: five of 160 pass';
my $full = ask($hals);
is "$full->{error} $full->{denial}{limit} $full->{headers}{'retry-after'}", 'concurrency_exceeded 5 1', 'the limit is named';
my ($hold) = @{ $gate->cli_json('hold', 'list', '--account', $hal)->{holds} };
my ($status) = $gate->spend(hold_id => $hold->{hold_id}, cost_usd => '0.01');
is $status, 200, 'one is settled';
is ask($hals)->{status}, 200, 'and gives its place to another';
is ask($hals)->{error}, 'concurrency_exceeded', 'one';
$gate->travel(301);
is passed(32, $hals), '5 x 200 27 x concurrency_exceeded', 'five that crashed free their places after hold_ttl';

($code, $out, my $err) = $gate->cli('verify');
is $code, 0, 'spendgate verify' or diag $out, $err;
my ($agreed, $disagreed) = Spendgate::Explained::counts();
ok $agreed >= 30, "explain agreed with $agreed verdicts";
is $disagreed, 0, 'and with each of them';
done_testing;

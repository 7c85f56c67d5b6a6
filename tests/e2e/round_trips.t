# SPDX-License-Identifier: MIT
# How often a request waits for PostgreSQL, counted on the wire between the real programs and the server.
# store: postgresql (an SQLite file has no wire)
use strict;
use warnings;
use FindBin qw($Bin);
use lib "$Bin/lib";
BEGIN { $ENV{SPENDGATE_E2E_STORE} = 'postgresql' }
use Spendgate::E2E;
use Spendgate::Wire;
use Test::More;
use Time::HiRes qw(sleep);

my $cluster = Spendgate::Postgres->shared;
my $database = $cluster->database;
my $folder = File::Temp::tempdir('spendgate-wire.XXXXXX', TMPDIR => 1, CLEANUP => 1);
chmod 0755, $folder;
my $wire = Spendgate::Wire->new($cluster, "$folder/wire");
my $gate = Spendgate::E2E->new(
    cluster => $cluster, database => $database, url => "postgresql:///$database?user=" . Spendgate::Postgres::SITE . $wire->option, explain => 0,
    clerk   => 'cache_ttl = "1h"',
    plans   => <<'END',
plan "rated" { match = { "claims.tier=rated" }  budget "month" { limit_usd = "100"  period = "month" }  hold_usd = "0"  rate = "1000/1m" }
plan "free" { budget "month" { limit_usd = "1.00"  period = "month" }  budget "day" { limit_usd = "1.00"  period = "day" } }
default_plan = "free"
END
    routes => qq{route "/hold/" { hold_usd = "0.05" }\nroute "/free/" { hold_usd = "0" }\n},
);
$gate->start_clerk;

# A call made three times, so that the statements are prepared and the periods have their rows; the last one counts.
sub costs {
    my ($name, $want, $call) = @_;
    my $seen;
    for my $time (1 .. 3) { $seen = $wire->during(sub { $call->($time) }) }
    return check($name, $want, $seen);
}

# A number, or "<=" and one: what is not promised, but should not grow unseen.
sub check {
    my ($name, $want, $seen) = @_;
    my $at_most = $want =~ s/\A<=//;
    cmp_ok $seen->{trips}, $at_most ? '<=' : '==', $want, "$name: round trips";
    is $seen->{turns}, $seen->{trips}, "$name: counted another way";
    is "$seen->{sessions} $seen->{left}", '0 ', "$name: on sessions that are there, one after the other";
    note sprintf '%s: %d, %d bytes', $name, $seen->{trips}, $seen->{bytes};
    return;
}

my @keys = map { $gate->clerk_key(subject => $gate->subject($_)) } qw(ann bob);
my $rated = $gate->clerk_key(subject => $gate->subject('cid'), claims => { tier => 'rated' });
my ($ann, $bob) = map { $gate->subject($_) } qw(ann bob);

# Each program has its session, and the proxy counts at all.
my $begin = $wire->during(sub {
    $gate->start_tracker(workers => 1);
    $gate->start_authorizer(workers => 1);
    is $gate->authorize('/hold/', key => $keys[1]{secret})->{status}, 200, 'a first request';
    is(($gate->spend(subject => $bob, cost_usd => '0.01'))[0], 200, 'a first post');
});
is $begin->{sessions}, 2, 'each program opens one session';
cmp_ok $begin->{trips}, '>', 6, 'which is counted too';

my $hold;
my $admit = sub {
    my ($target, $key, $want) = @_;
    my $answer = $gate->authorize($target, key => $key->{secret});
    is $answer->{status}, $want // 200, "$target: the answer" or diag $gate->logs;
    $hold = $answer->{env}{SPENDGATE_HOLD_ID};
};
check('first sight of a key and its subject', '<=12', $wire->during(sub { $admit->('/hold/', $keys[0]) }));
costs('an admission with a hold', 2, sub { $admit->('/hold/', $keys[0]) });
costs('an admission that records nothing', 1, sub { $admit->('/free/', $keys[0]) });
costs('an admission with a rate', 2, sub { $admit->('/free/', $rated) });

my (@holds, $charged);
for (1 .. 3) { $admit->('/hold/', $keys[0]); push @holds, $hold }
costs('a settlement', 2, sub {
    my ($time) = @_;
    my ($status, $answer) = $gate->spend(hold_id => $holds[ $time - 1 ], subject => $ann, cost_usd => '0.01');
    is "$status $answer->{hold}", '200 settled', 'settled';
});
costs('the same post again', '<=5', sub { is(($gate->spend(hold_id => $holds[2], subject => $ann, cost_usd => '0.01'))[0], 200, 'repeated') });
costs('a charge without a hold', '<=8', sub { is(($gate->spend(subject => $ann, cost_usd => '0.01'))[0], 200, 'charged') });
costs('a charge with an idempotency key', '<=8', sub {
    my ($time) = @_;
    is(($gate->spend(subject => $ann, cost_usd => '0.01', idempotency_key => "key-$time"))[0], 200, 'charged');
});
costs('an account', '<=4', sub { is(($gate->tracker('GET', "/v1/accounts/$ann"))[0], 200, 'shown') });

# Refusals.
$gate->tracker('PUT', "/v1/accounts/$ann/budgets/month", { limit_usd => '0.01' });
costs('a refusal for want of money', 2, sub { $admit->('/hold/', $keys[0], 429) });
$gate->tracker('POST', "/v1/accounts/$ann/freeze");
costs('a refusal of a frozen account', 2, sub { $admit->('/hold/', $keys[0], 403) });
costs('a refusal of an unknown key', 0, sub { is $gate->authorize('/hold/', key => 'ak_nobody0000000000000000000000')->{status}, 401, 'refused' });

# ---- nobody asks ------------------------------------------------------------------------------------

# Longer than the database's clock is believed without another look, which comes with what is asked then anyway.
my $idle = $wire->during(sub { sleep 6 });
is "$idle->{bytes} $idle->{trips} $idle->{sessions}", '0 0 0', 'six idle seconds: not a byte';
check('an admission with a hold after them', 2, $wire->during(sub { $admit->('/hold/', $keys[1]) }));
check('an admission that records nothing', 1, $wire->during(sub { $admit->('/free/', $keys[1]) }));
done_testing;

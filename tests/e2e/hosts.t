# SPDX-License-Identifier: MIT
# Two hosts, each with its own authorizer, tracker and verification cache, and one PostgreSQL database: 64 clients on
# both, revocations that reach the other host at once, rates and idempotency keys that hold across hosts.
# store: postgresql (SQLite is for one host)
# SPENDGATE_E2E_SECONDS: how long the 64 clients work (default 6).
# begun first
use strict;
use warnings;
use FindBin qw($Bin);
use lib "$Bin/lib";
BEGIN { $ENV{SPENDGATE_E2E_STORE} = 'postgresql' }
use Spendgate::E2E;
use Spendgate::Load qw(acquaint check_recorded kills merge room_again watch work);
use Test::More;
use Time::HiRes qw(sleep time);

my $seconds = $ENV{SPENDGATE_E2E_SECONDS} // 6;
my %settings = (
    plans => <<'END',
plan "rated" {
    match = { "claims.tier=rated" }
    budget "month" { limit_usd = "100"  period = "month" }
    hold_usd = "0.01"
    rate = "40/1h"
}
plan "slots" {
    match = { "claims.tier=slots" }
    budget "month" { limit_usd = "100"  period = "month" }
    hold_usd = "0.01"
    concurrency = 5
}
plan "free" { budget "month" { limit_usd = "0.80"  period = "month" }  hold_usd = "0.05" }
default_plan = "free"
END
    clerk   => 'cache_ttl = "1h"',
    ledger  => 'ledger { hold_ttl = "20s" }',
);
my $one = Spendgate::E2E->new(%settings);
$one->start_clerk;
my $two = Spendgate::E2E->new(%settings, beside => $one);
my @hosts = ($one, $two);
for my $host (@hosts) {
    $host->start_tracker(workers => 6);
    $host->start_authorizer(workers => 6);
}
isnt $one->path('cache/cache.db'), $two->path('cache/cache.db'), 'two caches';
is $one->database, $two->database, 'one database';

# The same again while Clerk is being asked.
sub ask {
    my ($host, $key) = @_;
    for (1 .. 200) {
        my $answer = $host->authorize('/api/x', key => $key->{secret});
        return $answer if $answer->{status} != 503;
        sleep 0.02;
    }
    return { status => 503, error => 'auth_unavailable' };
}
sub said { my ($answer) = @_; return $answer->{error} // $answer->{status} }

# ---- 64 clients --------------------------------------------------------------------------------------

my @subjects = map { $one->subject($_) } qw(ann bob cid);
my @keys = map { $one->key(subject => $_) } @subjects, @subjects;
acquaint(\@hosts, @keys);
$one->cli('account', 'parent', $_, 'group:both') for @subjects[ 0, 1 ];
$two->tracker('PUT', '/v1/accounts/group:both/budgets/month', { limit_usd => '1.20' });
$two->tracker('PUT', '/v1/accounts/all/budgets/month', { limit_usd => '1.50' });
my @accounts = (@subjects, 'group:both', 'all');
for my $killing (0, 1) {
    my $name = $killing ? '64 clients, workers of both hosts killed' : '64 clients';
    my $until = time + $seconds;
    my @results = $one->parallel(65 + $killing, sub {
        my ($i) = @_;
        return watch(\@hosts, $until, @accounts) if $i == 64;
        return kills(\@hosts, $until) if $i == 65;
        return work(\@hosts, $i + 100 * $killing, $until, @keys);
    });
    my $watched = $results[64];
    my $did = merge(@results[ 0 .. 63 ]);
    my %seen = %{ $did->{seen} };
    note "$name: ", join(', ', map { "$seen{$_} x $_" } sort keys %seen), ", $watched->{looks} looks";
    is_deeply $did->{wrong}, [], "$name: every post was answered";
    cmp_ok $seen{200}, '>', 50, "$name: work was done";
    cmp_ok $watched->{looks}, '>', 5, "$name: watched meanwhile";
    is $watched->{most}, 0, "I1, I2: $name: never one nano-dollar above a hard cap, as seen by either host";
    cmp_ok $results[65]{killed}, '>', $seconds * 2, "$name: workers died" if $killing;
    check_recorded($two, $name, $did->{settled}, 'all');
    $one->tracker('PUT', "/v1/accounts/$_/budgets/month", { limit_usd => '4' }) for @accounts;    # room for the next round
}

# ---- what one host changes, the other acts on --------------------------------------------------------

my $dee = $one->clerk_key(subject => $one->subject('dee'));
is join(' ', map { said(ask($_, $dee)) } @hosts), '200 200', 'both hosts know the key';
my $asked = $one->clerk_calls;
$one->tracker('POST', "/v1/accounts/key:$dee->{id}/revoke");
my $refused = $two->authorize('/api/x', key => $dee->{secret});
is "$refused->{status} $refused->{error} $refused->{denial}{reason}", '401 invalid_key revoked', 'I9: revoked through one host, refused by the other on its next request';
$two->tracker('POST', "/v1/accounts/key:$dee->{id}/unrevoke");
is said($one->authorize('/api/x', key => $dee->{secret})), 200, 'and let in again';
$two->cli('account', 'freeze', $one->subject('dee'));
is said($one->authorize('/api/x', key => $dee->{secret})), 'frozen', 'I9: frozen at the command line of one, refused by the other';
$one->cli('account', 'unfreeze', $one->subject('dee'));
is said($two->authorize('/api/x', key => $dee->{secret})), 200, 'and thawed';
$two->cli('account', 'freeze', 'all');
is join(' ', map { said($_->authorize('/api/x', key => $dee->{secret})) } @hosts), 'frozen frozen', 'I9: all frozen: everybody, everywhere';
$one->cli('account', 'unfreeze', 'all');
is $one->clerk_calls, $asked, 'Clerk was asked nothing for it';
$one->tracker('POST', '/v1/accounts/' . $one->subject('dee') . '/reverify');
is said(ask($two, $dee)), 200, 'reverify through one host';
is $one->clerk_calls, $asked + 1, 'makes the other ask Clerk again';
$one->tracker('PUT', '/v1/accounts/' . $one->subject('dee') . '/budgets/month', { limit_usd => '0' });
is said($two->authorize('/api/x', key => $dee->{secret})), 'budget_exceeded', 'a limit set through one';
$two->cli('account', 'parent', $one->subject('dee'), 'group:west');
$two->tracker('POST', '/v1/accounts/group:west/freeze');
is said($one->authorize('/api/x', key => $dee->{secret})), 'frozen', 'a new parent, and what becomes of it';

# ---- limits hold across hosts ------------------------------------------------------------------------

# How many of 320, asked by 16 clients at both hosts, pass; and what the others were told.
sub passed {
    my (@keys) = @_;
    my %total;
    for my $seen ($one->parallel(16, sub {
        my ($client) = @_;
        my %seen;
        $seen{ said(ask($hosts[ ($client + $_) % 2 ], $keys[ $_ % @keys ])) }++ for 1 .. 20;
        return \%seen;
    })) {
        $total{$_} += $seen->{$_} for keys %$seen;
    }
    return join ' ', map { "$total{$_} x $_" } sort keys %total;
}
my @eve = map { $one->clerk_key(subject => $one->subject('eve'), claims => { tier => 'rated' }) } 1, 2;
is passed(@eve), '40 x 200 280 x rate_limited', 'forty an hour: exactly forty, on two hosts';
my @fay = map { $one->clerk_key(subject => $one->subject('fay'), claims => { tier => 'slots' }) } 1, 2;
is passed(@fay), '5 x 200 315 x concurrency_exceeded', 'five at once: exactly five, on two hosts';

# ---- one key, two hosts ------------------------------------------------------------------------------

my @replies = $one->parallel(16, sub {
    my ($client) = @_;
    my ($status, $body, $answer) = $hosts[ $client % 2 ]->spend(
        subject => $one->subject('eve'), cost_usd => '0.25', idempotency_key => 'order-1');
    return { status => $status, body => $answer->{body} };
});
is scalar(grep { $_->{status} == 200 } @replies), 16, 'one idempotency key, posted at once on both hosts: all are answered';
my %bodies = map { $_->{body} => 1 } @replies;
is scalar(keys %bodies), 1, 'with the same bytes';
is $two->budget($one->subject('eve'), 'month')->{spent_usd}, '0.25', 'I4: and it counts once';

# ---- newest first ------------------------------------------------------------------------------------

# One after the other, to twelve processes of two hosts. Each has its own reading of the database's clock.
my @posted = map { ($hosts[ $_ % 2 ]->spend(subject => $one->subject('eve'), cost_usd => '0'))[1]{charge_id} } 1 .. 60;
my $charges = ($two->tracker('GET', '/v1/charges?limit=60'))[1]{charges};
is_deeply [ map { $_->{charge_id} } @$charges ], [ reverse @posted ], 'charges of two hosts: newest first';
my @second = map { $_->{created_at} =~ /(\d\d):([\d.]+)Z/ ? 60 * $1 + $2 : () } @$charges;
is scalar(grep { my $back = $second[$_] - $second[ $_ - 1 ]; $back > 0.05 && $back < 60 } 1 .. $#second), 0,
    'and their times agree, but for what the clocks are apart' or diag "@second";

my ($code, $out, $err) = $two->cli('verify');
is $code, 0, 'spendgate verify' or diag $out, $err;
for my $host (@hosts) {
    my @errors = grep { /level=error|AddressSanitizer|runtime error:|LeakSanitizer/ && !/max_waiting/ } split /\n/, $host->logs;
    is_deeply \@errors, [], 'no error in the log of a host';
}
done_testing;

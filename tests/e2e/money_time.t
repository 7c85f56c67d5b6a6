# SPDX-License-Identifier: MIT
# Money and time, with a wall clock that the test moves: periods in their own time zones, carried overage, top-ups and
# boosts, prepaid accounts, holds that expire, late posts, accounts that end, and what prune keeps.
use strict;
use warnings;
use FindBin qw($Bin);
use lib "$Bin/lib";
use POSIX ();
use Spendgate::E2E;
use Test::More;
use Time::Local qw(timegm);

my $plans = <<'END';
plan "day" {
    match = { "claims.tier=day" }
    budget "day" { limit_usd = "0.30"  period = "day"  timezone = "America/New_York"  alerts = { 50, 80, 100 } }
    hold_usd = "0.10"
}
plan "hour" {
    match = { "claims.tier=hour" }
    budget "hour" { limit_usd = "0.30"  period = "hour" }
    hold_usd = "0.10"
}
plan "kinds" {
    match = { "claims.tier=kinds" }
    budget "h" { limit_usd = "1"  period = "hour" }
    budget "d" { limit_usd = "2"  period = "day"   timezone = "Asia/Kolkata" }
    budget "w" { limit_usd = "3"  period = "week"  week_start = "thursday" }
    budget "m" { limit_usd = "4"  period = "month" anchor_day = 31 }
    budget "y" { limit_usd = "5"  period = "year" }
    budget "n" { limit_usd = "6"  period = "none" }
    hold_usd = "0.10"
}
plan "carry" {
    match = { "claims.tier=carry" }
    budget "day" { limit_usd = "0.30"  period = "day"  overage = "carry" }
    hold_usd = "0.10"
}
plan "prepaid" {
    match = { "claims.tier=prepaid" }
    budget "balance" { limit_usd = "0"  period = "none" }
    hold_usd = "0.10"
}
plan "trial" {
    match = { "claims.tier=trial" }
    budget "month" { limit_usd = "1"  period = "month" }
    hold_usd = "0.10"
    expires_in = "30d"
}
plan "loose" { match = { "claims.tier=loose" }  budget "month" { limit_usd = "0.30"  period = "month" }  hold_usd = "0" }
END

# A cache that outlives the journeys: what is tested here is not how often Clerk is asked.
my $gate = Spendgate::E2E->new(plans => $plans, clock => 1, clerk => 'cache_ttl = "1h"', ledger => 'ledger { hold_ttl = "5m" }');
$gate->start_clerk;
$gate->start_tracker;
$gate->start_authorizer;

sub key_of { my ($name, %claims) = @_; return $gate->clerk_key(subject => $gate->subject($name), claims => \%claims) }

# While Clerk is asked anew after a journey, other processes of the host answer 503.
sub ask {
    my ($key) = @_;
    my $answer;
    for (1 .. 50) {
        $answer = $gate->authorize('/api/x', key => $key->{secret});
        last if $answer->{status} != 503;
        select undef, undef, undef, 0.05;
    }
    return $answer;
}

sub said {
    my ($answer) = @_;
    my $denial = $answer->{denial} or return $answer->{status};
    return join ' ', grep { defined } $answer->{status}, map { $denial->{$_} } qw(error account period);
}
sub hold_of { return $_[0]{env}{SPENDGATE_HOLD_ID} }
sub settle { my ($answer, $cost) = @_; return $gate->spend(hold_id => hold_of($answer), cost_usd => $cost) }

sub line_of {
    my ($account, $period) = @_;
    my $budget = $gate->budget($account, $period);
    return join ' ', map { $_ // '-' } @{$budget}{qw(limit_usd spent_usd held_usd)};
}
sub resets { my ($account, $period) = @_; return $gate->budget($account, $period)->{resets_at} // 'never' }

# Go to a UTC time on the test's clock.
sub go { my ($year, $month, @rest) = @_; $gate->travel(timegm(@rest[ 3, 2, 1, 0 ], $month - 1, $year) - $gate->now); return }
sub at { return go($_[0], $_[1], $_[2], $_[3] // 0, $_[4] // 0, $_[5] // 0) }

sub events {
    my ($where) = @_;
    my $rows = $gate->sql("SELECT e.kind, a.name, e.percent FROM event e JOIN account a ON a.id = e.account_id WHERE $where ORDER BY e.id");
    return join ', ', split /\n/, $rows;
}

sub verified {
    my ($when) = @_;
    my ($code, $out, $err) = $gate->cli('verify');
    is $code, 0, "spendgate verify $when" or diag $out, $err;
    return;
}

# ---- periods, each in its own time -------------------------------------------------------------------

my $kim = $gate->subject('kim');
at(2027, 1, 31, 12);
my $kims = key_of('kim', tier => 'kinds');
is said(ask($kims)), 200, 'the last day of January 2027';
is resets($kim, 'hour'),  '2027-01-31T13:00:00Z', 'the hour';
is resets($kim, 'day'),   '2027-01-31T18:30:00Z', 'the day of Kolkata';
is resets($kim, 'week'),  '2027-02-04T00:00:00Z', 'a week that starts on Thursday';
is resets($kim, 'month'), '2027-02-28T00:00:00Z', 'anchor_day 31: the last of a short month';
is resets($kim, 'year'),  '2028-01-01T00:00:00Z', 'the year';
is resets($kim, 'none'),  'never',                'none';
at(2027, 2, 28, 0, 0, 1);
is resets($kim, 'month'), '2027-03-31T00:00:00Z', 'and 31 again after it';
is line_of($kim, 'month'), '4 0 0', 'a new period is empty: the hold is in the old one';
is line_of($kim, 'none'),  '6 0 0', 'and in none its time is over';

# ---- a hold whose period, or whose time, is over ----------------------------------------------------

my $lea  = $gate->subject('lea');
my $leas = key_of('lea', tier => 'hour');
at(2027, 3, 10, 10, 58);
my @held = map { ask($leas) } 1 .. 3;
is join(' ', map { said($_) } @held), '200 200 200', 'three holds in the hour from 10:00';
is said(ask($leas)), "429 budget_exceeded $lea hour", 'which is full';
at(2027, 3, 10, 11, 1);
my ($status, $body) = settle($held[0], '0.10');
is "$status $body->{hold}", '200 settled', 'a post at 11:01, within the hold\'s time';
is $body->{budgets}[0]{starts_at}, '2027-03-10T10:00:00Z', 'belongs to the period of the hold';
is $body->{budgets}[0]{spent_usd}, '0.1', 'and is counted there';
is line_of($lea, 'hour'), '0.3 0 0', 'not in the new hour';
at(2027, 3, 10, 11, 2, 30);
($status, $body) = $gate->tracker('POST', '/v1/holds/' . hold_of($held[1]) . '/extend', { amount_usd => '0' }, role => 'post');
is $status, 200, 'a heartbeat at 11:02';
at(2027, 3, 10, 11, 7);
is said(ask($leas)), 200, 'a look at 11:07: the third hold\'s time is over';
is events("e.kind = 3 AND a.name = '$lea'"), "3 $lea 0", 'its expiry is journalled once';
($status, $body) = settle($held[1], '0.10');
is "$status $body->{hold}", '200 settled', 'the one with the heartbeat still stands';
($status, $body) = settle($held[2], '0.10');
is "$status $body->{hold}", '200 expired', 'I5: a post after the expiry is recorded';
my (undef, $again) = settle($held[2], '0.10');
is $again->{charge_id}, $body->{charge_id}, 'once';
is $body->{budgets}[0]{starts_at} . ' ' . $body->{budgets}[0]{spent_usd}, '2027-03-10T10:00:00Z 0.3', 'in the hold\'s own hour';
is events("e.kind = 3 AND a.name = '$lea'"), "3 $lea 0", 'nothing more in the journal of expiries';

# A full budget of holds whose backends died: free again after hold_ttl, without any job, and explain says so too.
at(2027, 3, 11, 9, 0);
my @dead = map { ask($leas) } 1 .. 3;
is said(ask($leas)), "429 budget_exceeded $lea hour", 'three dead backends hold all of it';
$gate->travel(299);
is said(ask($leas)), "429 budget_exceeded $lea hour", 'one second before hold_ttl';
$gate->travel(2);
is said(ask($leas)), 200, 'a hold whose backend died frees its room after hold_ttl';
is line_of($lea, 'hour'), '0.3 0 0.1', 'all three did';
($status, $body) = $gate->tracker('POST', '/v1/holds/' . hold_of($dead[0]) . '/extend', { amount_usd => '0.05' }, role => 'post');
is "$status " . line_of($lea, 'hour'), '200 0.3 0 0.25', 'an expired hold is extended: an admission again, of all of it';
($status, $body) = $gate->tracker('POST', '/v1/holds/' . hold_of($dead[1]) . '/extend', { amount_usd => '0' }, role => 'post');
is "$status $body->{error}", '429 budget_exceeded', 'which does not fit a second time';
($status, $body) = settle($dead[1], '0.12');
is "$status $body->{hold} $body->{over_budget} $body->{overrun_usd}", '200 expired 1 0', 'a late post above its hold is recorded in full';
($status, $body) = $gate->tracker('POST', '/v1/holds/' . hold_of($dead[2]) . '/void', undef, role => 'post');
is $status, 409, 'an expired hold is not voided' or diag explain $body;
verified('after late posts');

# ---- a New York day, thresholds ----------------------------------------------------------------------

my $may  = $gate->subject('may');
my $mays = key_of('may', tier => 'day');
at(2027, 3, 14, 4, 30);    # 23:30 of the 13th in New York; the night to summer time
is said(ask($mays)), 200, 'Saturday evening in New York';
is resets($may, 'day'), '2027-03-14T05:00:00Z', 'its day ends at 5:00 UTC';
at(2027, 3, 14, 5, 30);
my $sunday = ask($mays);
is resets($may, 'day'), '2027-03-15T04:00:00Z', 'Sunday has 23 hours';
settle($sunday, '0.15');
is events("e.kind IN (1, 2) AND a.name = '$may'"), "1 $may 50", 'half of it: one event';
settle(ask($mays), '0.05');
is events("e.kind IN (1, 2) AND a.name = '$may'"), "1 $may 50", 'two thirds: nothing new';
settle(ask($mays), '0.15');
is events("e.kind IN (1, 2) AND a.name = '$may'"), "1 $may 50, 1 $may 80, 1 $may 100, 2 $may 0",
  'all of it and more: 80, 100 and the overrun, in the charge\'s transaction';
($status, $body) = $gate->spend(subject => $may, cost_usd => '0.01');
is "$status $body->{over_budget} $body->{overrun_usd}", '200 1 0.06', 'a charge above the budget is recorded in full';
is events("e.kind IN (1, 2) AND a.name = '$may'"), "1 $may 50, 1 $may 80, 1 $may 100, 2 $may 0", 'each once per budget and period';
is said(ask($mays)), "429 budget_exceeded $may day", 'and the gate is closed';
at(2027, 3, 15, 4, 0, 0);
is said(ask($mays)), 200, 'to the second of New York\'s midnight';
settle(ask($mays), '0.16');
like events("e.kind IN (1, 2) AND a.name = '$may'"), qr/2 $may 0, 1 $may 50\z/, 'a new period tells its thresholds anew';

# ---- carried overage ---------------------------------------------------------------------------------

my $ned  = $gate->subject('ned');
my $neds = key_of('ned', tier => 'carry');
at(2027, 4, 1, 12);
settle(ask($neds), '0.70');
is line_of($ned, 'day'), '0.3 0.7 0', 'forty cents too much';
at(2027, 4, 2, 12);
is said(ask($neds)), "429 budget_exceeded $ned day", 'the next day pays thirty of them';
is line_of($ned, 'day'), '0 0 0', 'has no room';
at(2027, 4, 3, 12);
my @paid = map { ask($neds) } 1 .. 2;
is said($paid[0]) . ' ' . said(ask($neds)), "200 429 budget_exceeded $ned day", 'the day after the last ten';
is $paid[1]{env}{SPENDGATE_LIMIT_USD}, '0.2', 'which is what its limit says';
at(2027, 4, 4, 12);
is ask($neds)->{env}{SPENDGATE_LIMIT_USD}, '0.3', 'then all is paid';

# ---- top-ups, boosts, prepaid ------------------------------------------------------------------------

my $ole  = $gate->subject('ole');
my $oles = key_of('ole', tier => 'prepaid');
is said(ask($oles)), "429 budget_exceeded $ole none", 'nothing is paid yet';
my $broke = $gate->authorize('/api/x', key => $oles->{secret});
ok !defined $broke->{headers}{'retry-after'}, 'and waiting does not help: no Retry-After';
is $broke->{denial}{resets_at}, undef, 'resets_at is null';
($status, $body) = $gate->tracker('POST', "/v1/accounts/$ole/credits", { amount_usd => '0.20', note => 'order 1' });
is $status, 200, 'twenty cents are paid';
is said($_), 200, 'a hold of ten' for my @two = map { ask($oles) } 1 .. 2;
is said(ask($oles)), "429 budget_exceeded $ole none", 'and no third';
settle($_, '0.10') for @two;
at(2028, 1, 1);
is said(ask($oles)), "429 budget_exceeded $ole none", 'a balance does not come back with the year';
is line_of($ole, 'none'), '0.2 0.2 0', 'it is what was paid and what was spent';

my $pia  = $gate->subject('pia');
my $pias = key_of('pia', tier => 'hour');
at(2028, 2, 1, 8);
settle(ask($pias), '0.30');
is said(ask($pias)), "429 budget_exceeded $pia hour", 'used up at eight';
($status) = $gate->tracker('POST', "/v1/accounts/$pia/credits", { amount_usd => '0.10' });
is said(ask($pias)), 200, 'a top-up of the current hour';
at(2028, 2, 1, 9);
is line_of($pia, 'hour'), '0.3 0 0', 'ends with it';
my ($code) = $gate->cli('budget', 'boost', $pia, '0.20', '--until', '2028-02-01T11:30:00Z');
is $code, 0, 'a boost until half past eleven';
is line_of($pia, 'hour'), '0.5 0 0', 'raises this hour';
at(2028, 2, 1, 11, 29);
is line_of($pia, 'hour'), '0.5 0 0', 'and the ones until then';
my $boosted = ask($pias);
at(2028, 2, 1, 11, 31);
is line_of($pia, 'hour'), '0.3 0 0.1', 'and ends by itself, within an hour';
($status) = $gate->tracker('POST', "/v1/accounts/$pia/credits", { amount_usd => '0.10', expires_at => '2028-02-01T11:40:00Z' });
is line_of($pia, 'hour'), '0.4 0 0.1', 'a top-up with an end of its own';
at(2028, 2, 1, 11, 41);
is line_of($pia, 'hour'), '0.3 0 0', 'is over then, and so is the hold';

# ---- the end of an account ---------------------------------------------------------------------------

my $rik  = $gate->subject('rik');
my $riks = key_of('rik', tier => 'trial');
at(2028, 3, 1);
is said(ask($riks)), 200, 'first sight';
at(2028, 3, 30, 23, 59, 30);
is said(ask($riks)), 200, 'thirty days less a moment';
at(2028, 3, 31, 0, 0, 30);
my $ended = ask($riks);
is $ended->{status} . ' ' . $ended->{error}, '401 expired', 'thirty days from first sight, whatever came in between';
like $ended->{denial}{expired_at}, qr/\A2028-03-31T00:00:0\d(?:\.\d+)?Z\z/, 'expired_at';
like $gate->logs, qr/event=deny[^\n]*expired[^\n]*`spendgate account renew \Q$rik\E --until 30d`/, 'the log line says how to renew' or diag $gate->logs;
($code) = $gate->cli('account', 'renew', $rik, '--until', '60d');
is said(ask($riks)), 200, 'renewed';
at(2028, 6, 1);
is ask($riks)->{error}, 'expired', 'for sixty days';
verified('after all of it');

# ---- prune -------------------------------------------------------------------------------------------

my $sue = $gate->subject('sue');
ask(key_of('sue', tier => 'loose'));
my %order = (subject => $sue, cost_usd => '0.01', idempotency_key => 'order-77');
my ($first, $one, $answer) = $gate->spend(%order);
is $first, 200, 'a post with a key';
$gate->travel(32 * 86_400 - 60);
($code) = $gate->cli('prune', '--older-than', '1d');
is $code, 0, 'prune';
my (undef, undef, $repeat) = $gate->spend(%order);
is $repeat->{body}, $answer->{body}, 'thirty-two days later the same bytes';
is $repeat->{headers}{'idempotent-replayed'}[0], 'true', 'as a replay';
$gate->travel(120);
$gate->cli('prune', '--older-than', '1d');
(undef, my $new) = $gate->spend(%order);
isnt $new->{charge_id}, $one->{charge_id}, 'after that the key is free';
verified('after prune');

# ---- on_expiry = "charge" ----------------------------------------------------------------------------

$gate->stop($_) for qw(authorizer tracker);
$gate->write_settings(ledger => 'ledger { hold_ttl = "1m"  on_expiry = "charge" }');
$gate->start_tracker;
$gate->start_authorizer;
my $tom  = $gate->subject('tom');
my $toms = key_of('tom', tier => 'hour');
at(2029, 1, 10, 12, 0);
my $silent = ask($toms);
my $late   = ask($toms);
$gate->travel(61);
is said(ask($toms)), 200, 'a look after a minute';
is line_of($tom, 'hour'), '0.3 0.2 0.1', 'on_expiry = charge: both holds are charged';
($status, $body) = settle($late, '0.03');
is "$status $body->{hold} $body->{cost_usd}", '200 expired 0.03', 'a late post';
is line_of($tom, 'hour'), '0.3 0.13 0.1', 'corrects it';
($status, $body) = settle($late, '0.03');
is line_of($tom, 'hour'), '0.3 0.13 0.1', 'once';
my ($charges) = ($gate->tracker('GET', "/v1/charges?account=$tom", undef, role => 'read'))[1]{charges};
is scalar(@$charges), 4, 'a charge for each expiry, its correction, and the late post';
verified('with charged expiries');

my ($agreed, $disagreed) = Spendgate::Explained::counts();
ok $agreed >= 40, "explain agreed with $agreed verdicts";
is $disagreed, 0, 'and with each of them';
unlike $gate->logs, qr/AddressSanitizer|runtime error:|LeakSanitizer/, 'no sanitizer report';
done_testing;

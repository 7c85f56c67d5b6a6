# SPDX-License-Identifier: MIT
# Plans that leave the settings: nobody's limits leave with them.
use strict;
use warnings;
use FindBin qw($Bin);
use lib "$Bin/lib";
use Spendgate::E2E;
use Test::More;

my $old = 'plan "old" { match = { "claims.tier=old" }  budget "month" { limit_usd = "1.00"  period = "month" }  hold_usd = "0.05" }';
my $new = 'plan "new" { budget "week" { limit_usd = "0.30"  period = "week" }  hold_usd = "0.05" }';
my $gate = Spendgate::E2E->new(plans => $old);
$gate->start_clerk;
$gate->start_tracker;
$gate->start_authorizer;

sub ask  { return $gate->authorize('/api/x', key => $_[0]{secret}) }
sub call {
    my ($path, $body) = @_;
    my ($status, $told) = $gate->tracker('POST', $path, $body, role => 'post');
    return join ' ', grep { defined } $status, @{$told}{qw(error period)};
}
sub settings {
    my (%part) = @_;
    $gate->write_settings(%part);
    for my $name (qw(authorizer tracker)) {
        $gate->stop($name);
        $name eq 'tracker' ? $gate->start_tracker : $gate->start_authorizer;
    }
    return;
}

my ($ann, $bob) = map { $gate->subject($_) } qw(ann bob);
my ($anns, $bobs) = map { $gate->clerk_key(subject => $_, claims => { tier => 'old' }) } $ann, $bob;
my @hold = map { ask($anns)->{env}{SPENDGATE_HOLD_ID} } 1 .. 3;
ask($bobs);

# ---- the plan goes, another is the default -------------------------------------------------------------

settings(plans => "$new\ndefault_plan = \"new\"");
is call("/v1/holds/$hold[0]/extend", { amount_usd => '0.50' }), '429 budget_exceeded week', 'a hold of the old plan is raised by the limits of the default one';
is call("/v1/holds/$hold[0]/extend", { amount_usd => '0.01' }), '200', 'as far as they go';
is call('/v1/holds', { subject => $ann, amount_usd => '0.50' }), '429 budget_exceeded week', 'so is a hold placed by a queue worker';
my ($status, $told) = $gate->spend(hold_id => $hold[0], cost_usd => '0.35');
is "$status " . join(' ', map { "$_->{period} $_->{spent_usd}" } @{ $told->{budgets} }), '200 week 0.35', 'a post tells its budgets';
is "$told->{over_budget} $told->{overrun_usd}", '1 0.05', 'and whether one is passed';
is ask($anns)->{status}, 429, 'the gate says so too';

# ---- the plan goes, and no other is there ----------------------------------------------------------------

settings(plans => $old);
is ask($bobs)->{status}, 200, 'with the old plan';
settings(plans => 'plan "other" { match = { "claims.tier=none" }  hold_usd = "0" }');
is ask($bobs)->{error}, 'no_plan', 'a request is refused';
is call('/v1/holds', { subject => $bob, amount_usd => '0.01' }), '403 no_plan', 'so is a hold placed by a queue worker';
is call("/v1/holds/$hold[1]/extend", { amount_usd => '0.01' }), '403 no_plan', 'and a hold that would be raised';
is call("/v1/holds/$hold[1]/extend", { amount_usd => '0' }), '200', 'a heartbeat takes nothing';
is call('/v1/spend', { hold_id => $hold[1], cost_usd => '0.05' }), '200', 'what was spent is recorded';
is call("/v1/holds/$hold[2]/void", undef), '200', 'and a hold given back';

my ($code, $out, $err) = $gate->cli('verify');
is $code, 0, 'spendgate verify' or diag $out, $err;
done_testing;

# SPDX-License-Identifier: MIT
# The cap holds: call after call, and with everyone at once; a settled dollar counts once.
use strict;
use warnings;
use FindBin qw($Bin);
use lib "$Bin/lib";
use Spendgate::E2E;
use Test::More;

my $plans = <<'END';
plan "thirty" {
    match = { "claims.tier=thirty" }
    budget "month" { limit_usd = "0.30"  period = "month" }
    hold_usd = "0"
}
plan "dollar" { budget "month" { limit_usd = "1.00"  period = "month" }  hold_usd = "0.05" }
default_plan = "dollar"
END

sub env_of { my ($answer) = @_; return (Spendgate::E2E::body_json($answer) // {})->{env} // {} }

for my $kind (Spendgate::E2E::server_kinds()) {
    my $gate = Spendgate::E2E->new(plans => $plans);
    $gate->start_web($kind, workers => 8);

    # A cap of 30 cents, calls of 7: after the fourth 28 are spent, the fifth runs and is recorded whole.
    my $frank  = $gate->subject('frank');
    my $secret = $gate->key(subject => $frank, claims => { tier => 'thirty' });
    my @statuses;
    for my $call (1 .. 8) {
        my $answer = $gate->get('/api/env.php', key => $secret);
        push @statuses, $answer->{status};
        next if $answer->{status} != 200;
        my $env = env_of($answer);
        is $env->{SPENDGATE_HOLD_ID}, '', "$kind: no hold where none is asked for";
        my ($status, $body) = $gate->spend(subject => $env->{SPENDGATE_SUBJECT}, cost_usd => '0.07');
        is $status, 200, "$kind: call $call is recorded" or diag explain $body;
        is $body->{cost_usd}, '0.07', "$kind: in full";
        is $body->{over_budget} ? 'over' : 'under', $call == 5 ? 'over' : 'under', "$kind: over budget only with the fifth";
        is $body->{overrun_usd}, $call == 5 ? '0.05' : '0', "$kind: by how much";
    }
    is "@statuses", '200 200 200 200 200 429 429 429', "$kind: 30 cents and calls of 7: five calls";
    my $budget = $gate->budget($frank);
    is $budget->{spent_usd},     '0.35', "$kind: the fifth was recorded in full";
    is $budget->{remaining_usd}, '0',    "$kind: nothing remains";
    is $gate->get('/api/env.php', key => $secret)->{status}, 429, "$kind: the gate is closed";
    my ($status) = $gate->tracker('POST', "/v1/accounts/$frank/credits", { amount_usd => '0.10' });
    is $status, 200, "$kind: a top-up";
    is $gate->get('/api/env.php', key => $secret)->{status}, 200, "$kind: opens it again";

    # 64 clients at once, on first sight: nobody knows key or account yet. One dollar, holds of 5 cents.
    my $grace  = $gate->subject('grace');
    my $graces = $gate->key(subject => $grace);
    $gate->clerk_forget_calls;
    $gate->clerk_behave(endpoint => 'verify', delay_ms => 100);
    my @answers = $gate->parallel(64, sub {
        my $answer = $gate->decided('GET', '/api/env.php', key => $graces);
        return { status => $answer->{status}, hold => env_of($answer)->{SPENDGATE_HOLD_ID} };
    });
    $gate->clerk_calm;
    my @holds = map { $_->{hold} // '' } grep { ($_->{status} // 0) == 200 } @answers;
    my %distinct = map { $_ => 1 } @holds;
    is scalar(@holds), 20, "$kind: 64 at once, first sight: exactly 20 pass";
    is scalar(keys %distinct), 20, "$kind: each with a hold of its own";
    is scalar(grep { ($_->{status} // 0) == 429 } @answers), 44, "$kind: and 44 are told the budget is used up";
    is $gate->clerk_calls, 1, "$kind: Clerk was asked once";
    $budget = $gate->budget($grace);
    is "$budget->{held_usd} $budget->{spent_usd}", '1 0', "$kind: a dollar is held";

    # Each hold settled twice, both at the same time.
    my @posts = $gate->parallel(scalar @holds, sub {
        my ($i) = @_;
        my @two = map { [ $gate->spend(hold_id => $holds[$i], cost_usd => '0.05') ] } 1 .. 2;
        return { statuses => [ map { $_->[0] } @two ], charges => [ map { $_->[1]{charge_id} } @two ] };
    });
    is scalar(grep { "@{ $_->{statuses} // [] }" eq '200 200' } @posts), 20, "$kind: settling twice is no error"
      or diag explain \@posts;
    is scalar(grep { $_->{charges} && $_->{charges}[0] eq $_->{charges}[1] } @posts), 20, "$kind: and is one charge";
    $budget = $gate->budget($grace);
    is "$budget->{spent_usd} $budget->{held_usd}", '1 0', "$kind: spent is exactly one dollar, nothing is held";
    is $gate->get('/api/env.php', key => $graces)->{status}, 429, "$kind: and the gate stays closed";

    # Again with a known key, and with the settlements racing each other.
    my $heidi  = $gate->subject('heidi');
    my $heidis = $gate->key(subject => $heidi);
    is $gate->get('/api/env.php', key => $heidis)->{status}, 200, "$kind: a first request";
    @answers = $gate->parallel(64, sub {
        my $answer = $gate->decided('GET', '/api/env.php', key => $heidis);
        return { status => $answer->{status}, hold => env_of($answer)->{SPENDGATE_HOLD_ID} };
    });
    @holds = map { $_->{hold} } grep { ($_->{status} // 0) == 200 } @answers;
    is scalar(@holds), 19, "$kind: 64 at once with one hold placed: exactly 19 pass";
    my @races = $gate->parallel(38, sub {
        my ($i) = @_;
        my ($status, $body) = $gate->spend(hold_id => $holds[ $i % 19 ], cost_usd => '0.05');
        return { status => $status, charge => $body->{charge_id} };
    });
    is scalar(grep { ($_->{status} // 0) == 200 } @races), 38, "$kind: 38 posts for 19 holds, all answered";
    my %charges = map { ($_->{charge} // '') => 1 } @races;
    is scalar(keys %charges), 19, "$kind: and are 19 charges";
    is $gate->budget($heidi)->{spent_usd}, '0.95', "$kind: 95 cents";

    my ($code, $out, $err) = $gate->cli('verify');
    is $code, 0, "$kind: spendgate verify" or diag $out, $err;
    unlike $gate->logs, qr/AddressSanitizer|runtime error:|LeakSanitizer/, "$kind: no sanitizer report";
}
done_testing;

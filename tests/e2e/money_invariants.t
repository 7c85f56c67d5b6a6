# SPDX-License-Identifier: MIT
# I1 to I7 with everyone at once: 32 clients on four accounts of one hierarchy, holds settled, voided, extended and
# posted twice at random; then the same while workers of authorizer and tracker are killed at random.
# SPENDGATE_E2E_SECONDS: how long each of the two (default 5).
use strict;
use warnings;
use FindBin qw($Bin);
use lib "$Bin/lib";
use POSIX ();
use Spendgate::E2E;
use Test::More;
use Time::HiRes qw(sleep time);

my $seconds = $ENV{SPENDGATE_E2E_SECONDS} // 5;
my $plans = <<'END';
plan "free" { budget "month" { limit_usd = "0.40"  period = "month" }  hold_usd = "0.05" }
default_plan = "free"
END

# An answer, or nothing when the worker died over it.
sub authorized {
    my ($gate, $key) = @_;
    my $answer = eval { $gate->authorize('/api/x', key => $key) };
    return $answer && $answer->{status} ? $answer : undef;
}

# Post until it is acknowledged, as our clients do: ($status, $body).
sub posted {
    my ($gate, $path, $body) = @_;
    for (1 .. 400) {
        my ($status, $told) = eval { $gate->tracker('POST', $path, $body, role => 'post') };
        return ($status, $told) if $status && $status != 503 && $told;
        sleep 0.01;
    }
    return (0, {});
}

# One client: random work until the time is over. What was acknowledged: { hold_id => cost }, and what went wrong.
sub work {
    my ($gate, $client, $until, @keys) = @_;
    my (%settled, %seen, @wrong);
    srand 1000 + $client;
    while (time < $until) {
        my $answer = authorized($gate, $keys[ rand @keys ]);
        my $kind = $answer ? $answer->{error} // $answer->{status} : 'no answer';
        $seen{$kind}++;
        next if $kind ne '200';
        my $hold = $answer->{env}{SPENDGATE_HOLD_ID};
        my $luck = rand;
        if ($luck < 0.1) {
            my ($status) = posted($gate, "/v1/holds/$hold/void", undef);
            push @wrong, "void: $status" if $status != 200;
            next;
        }
        posted($gate, "/v1/holds/$hold/extend", { amount_usd => $luck < 0.2 ? '0.01' : '0' }) if $luck < 0.3;
        my $cost = sprintf '0.%09d', int rand 20_000;
        for (0 .. ($luck > 0.8)) {
            my ($status, $body) = posted($gate, '/v1/spend', { hold_id => $hold, cost_usd => $cost });
            push @wrong, "spend: $status " . ($body->{error} // '') if $status != 200;
            push @wrong, "an expired hold" if ($body->{hold} // '') eq 'expired';
        }
        $settled{$hold} = $cost;
    }
    return { settled => \%settled, seen => \%seen, wrong => \@wrong };
}

# Looks at all four accounts all the time: the most that was ever spent and held above a limit, in nano-dollars.
sub watch {
    my ($gate, $until, @accounts) = @_;
    my ($looks, $most) = (0, 0);
    while (time < $until) {
        for my $account (@accounts) {
            my $budget = eval { $gate->budget($account, 'month') } or next;
            next unless defined $budget->{limit_usd};
            my ($limit, $spent, $held) = map { nanos($budget->{$_}) } qw(limit_usd spent_usd held_usd);
            $looks++;
            $most = $spent + $held - $limit if $spent + $held - $limit > $most;
        }
        sleep 0.02;
    }
    return { looks => $looks, most => $most };
}

sub nanos {
    my ($whole, $part) = split /\./, $_[0];
    return $whole * 1_000_000_000 + substr(($part // '') . '0' x 9, 0, 9);
}

# Kills a worker every tenth of a second.
sub kills {
    my ($gate, $until) = @_;
    my $killed = 0;
    while (time < $until) {
        my @workers = map { $gate->children_of($gate->pid($_)) } qw(authorizer tracker);
        $killed += kill 'KILL', $workers[ rand @workers ] if @workers;
        sleep 0.1;
    }
    return { killed => $killed };
}

for my $killing (0, 1) {
    my $name = $killing ? 'with workers killed at random' : 'undisturbed';
    my $gate = Spendgate::E2E->new(
        plans  => $plans,
        explain => 0,
        clerk  => 'cache_ttl = "1h"',
        ledger => 'ledger { hold_ttl = "8s" }',
    );
    $gate->start_clerk;
    $gate->start_tracker(workers => 8);
    $gate->start_authorizer(workers => 8);
    my @subjects = map { $gate->subject($_) } qw(ann bob);
    my @keys = map { $gate->key(subject => $_) } @subjects;
    for my $key (@keys) {
        my $answer;
        do { $answer = $gate->authorize('/api/x', key => $key) } while $answer->{status} == 503;
        posted($gate, "/v1/holds/$answer->{env}{SPENDGATE_HOLD_ID}/void", undef);
    }
    $gate->cli('account', 'parent', $_, 'group:both') for @subjects;
    $gate->tracker('PUT', '/v1/accounts/group:both/budgets/month', { limit_usd => '0.60' });
    $gate->tracker('PUT', '/v1/accounts/all/budgets/month', { limit_usd => '0.55' });
    my @accounts = (@subjects, 'group:both', 'all');

    my $until = time + $seconds;
    my @results = $gate->parallel(33 + $killing, sub {
        my ($i) = @_;
        return watch($gate, $until, @accounts) if $i == 32;
        return kills($gate, $until) if $i == 33;
        return work($gate, $i, $until, @keys);
    });
    my ($watched, $killer) = @results[ 32, 33 ];
    my (%seen, %settled, @wrong);
    for my $result (@results[ 0 .. 31 ]) {
        $seen{$_} += $result->{seen}{$_} for keys %{ $result->{seen} };
        %settled = (%settled, %{ $result->{settled} // {} });
        push @wrong, @{ $result->{wrong} // ['a client died'] };
    }
    note "$name: ", join(', ', map { "$seen{$_} x $_" } sort keys %seen), ", $watched->{looks} looks";
    is_deeply \@wrong, [], "$name: every post was answered";
    cmp_ok $seen{200}, '>', 50, "$name: work was done";
    cmp_ok $seen{budget_exceeded} // 0, '>', 20, "$name: and refused";
    cmp_ok $watched->{looks}, '>', 20, "$name: watched meanwhile";
    is $watched->{most}, 0, "I1, I2: $name: never one nano-dollar above a hard cap";
    cmp_ok $killer->{killed}, '>', $seconds * 2, "$name: workers died" if $killing;

    # After hold_ttl whatever the dead left behind is free, and what was acknowledged is there, once.
    sleep 8.2 if $killing;
    my ($answer);
    for (1 .. 100) {
        $answer = authorized($gate, $keys[0]);
        last if $answer && $answer->{status} == 200;
        sleep 0.05;
    }
    is $answer && $answer->{status}, 200, "I5: $name: room again";
    my %recorded;
    my $double = 0;
    for my $row (split /\n/, $gate->sql('SELECT h.id, h.nonce, c.amount_nanos FROM charge c JOIN hold h ON h.id = c.hold_id WHERE c.kind = 0')) {
        my ($id, $nonce, $amount) = split / /, $row;
        my $hold = sprintf 'hld_%012x%012x', $id, $nonce;
        $double++ if exists $recorded{$hold};
        $recorded{$hold} = $amount;
    }
    is $double, 0, "I4: $name: no hold has two charges";
    my @lost = grep { !defined $recorded{$_} || $recorded{$_} != nanos($settled{$_}) } keys %settled;
    is scalar(@lost), 0, "I3: $name: all of " . keys(%settled) . ' acknowledged charges are there, with their amount';
    my $sum = 0;
    $sum += $_ for values %recorded;
    is nanos($gate->budget('all', 'month')->{spent_usd}), $sum, "I6: $name: all of them are on `all`";
    is nanos($gate->budget('group:both', 'month')->{spent_usd}), $sum, "I6: $name: and on the group";
    my ($code, $out, $err) = $gate->cli('verify');
    is $code, 0, "I7: $name: spendgate verify" or diag $out, $err;
    unlike $gate->logs, qr/AddressSanitizer|runtime error:|LeakSanitizer/, "$name: no sanitizer report";
}
done_testing;

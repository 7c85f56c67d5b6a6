# SPDX-License-Identifier: MIT
package Spendgate::Load;

# Random work of many clients at once, on one host or several that share a store, and the proof afterwards that every
# acknowledged charge is there once. For the tests of I1 to I7.
use strict;
use warnings;

use Exporter qw(import);
use Test::More;
use Time::HiRes qw(sleep time);

our @EXPORT_OK = qw(acquaint authorized check_crashed check_recorded kills merge nanos posted room_again start_hosts watch work);

use constant PATIENCE => 40;    # seconds that a client posts one charge again and again

# An answer, or nothing when the worker died over it.
sub authorized {
    my ($gate, $key) = @_;
    my $answer = eval { $gate->authorize('/api/x', key => $key) };
    return $answer && $answer->{status} ? $answer : undef;
}

# Post until it is acknowledged, as our clients do, to whichever host: ($status, $body).
sub posted {
    my ($gates, $path, $body) = @_;
    my $until = time + PATIENCE;
    while (time < $until) {
        my $gate = $gates->[ rand @$gates ];
        my ($status, $told) = eval { $gate->tracker('POST', $path, $body, role => 'post') };
        return ($status, $told) if $status && $status != 503 && $told;
        sleep 0.01;
    }
    return (0, {});
}

# First sight of every key, by every host.
sub acquaint {
    my ($gates, @keys) = @_;
    for my $gate (@$gates) {
        for my $key (@keys) {
            my $answer;
            do { $answer = $gate->authorize('/api/x', key => $key) } while $answer->{status} == 503;
            posted($gates, "/v1/holds/$answer->{env}{SPENDGATE_HOLD_ID}/void", undef);
        }
    }
    return;
}

# One client: random work until the time is over. What was acknowledged: { hold_id => cost }, and what went wrong. With
# crashes => 1 a hold may be lost with the server; then its void is 404, and its post, which names the subject as our
# clients do, is recorded as one for an unknown hold.
sub work {
    my ($gates, $client, $until, @keys) = @_;
    my %option = ref $keys[-1] ? %{ pop @keys } : ();
    my (%settled, %seen, @wrong);
    srand 1000 + $client;
    while (time < $until) {
        my $answer = authorized($gates->[ rand @$gates ], $keys[ rand @keys ]);
        my $kind = $answer ? $answer->{error} // $answer->{status} : 'no answer';
        $seen{$kind}++;
        sleep 0.02 if $kind eq 'auth_unavailable';
        next if $kind ne '200';
        my $hold = $answer->{env}{SPENDGATE_HOLD_ID};
        my @who = $option{crashes} ? (subject => $answer->{env}{SPENDGATE_SUBJECT}, key_id => $answer->{env}{SPENDGATE_KEY_ID}) : ();
        my $luck = rand;
        if ($luck < 0.1) {
            my ($status) = posted($gates, "/v1/holds/$hold/void", undef);
            push @wrong, "void: $status" if $status != 200 && !($option{crashes} && $status == 404);
            next;
        }
        posted($gates, "/v1/holds/$hold/extend", { amount_usd => $luck < 0.2 ? '0.01' : '0' }) if $luck < 0.3;
        my $cost = sprintf '0.%09d', int rand 20_000;
        for (0 .. ($luck > 0.8)) {
            my ($status, $body) = posted($gates, '/v1/spend', { hold_id => $hold, cost_usd => $cost, @who });
            $seen{'hold lost'}++ if ($body->{hold} // '') eq 'unknown';
            push @wrong, "spend: $status " . ($body->{error} // '') if $status != 200;
            push @wrong, 'an expired hold' if ($body->{hold} // '') eq 'expired';
        }
        $settled{$hold} = $cost;
    }
    return { settled => \%settled, seen => \%seen, wrong => \@wrong };
}

# The results of all clients as one.
sub merge {
    my (%seen, %settled, @wrong);
    for my $result (@_) {
        $seen{$_} += $result->{seen}{$_} for keys %{ $result->{seen} };
        %settled = (%settled, %{ $result->{settled} // {} });
        push @wrong, @{ $result->{wrong} // ['a client died'] };
    }
    return { settled => \%settled, seen => \%seen, wrong => \@wrong };
}

# Looks at all the accounts all the time: the most that was ever spent and held above a limit, in nano-dollars.
sub watch {
    my ($gates, $until, @accounts) = @_;
    my ($looks, $most) = (0, 0);
    while (time < $until) {
        for my $account (@accounts) {
            my $budget = eval { $gates->[ rand @$gates ]->budget($account, 'month') } or next;
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
    my ($gates, $until) = @_;
    my $killed = 0;
    while (time < $until) {
        my $gate = $gates->[ rand @$gates ];
        my @workers = map { $gate->children_of($gate->pid($_)) } qw(authorizer tracker);
        $killed += kill 'KILL', $workers[ rand @workers ] if @workers;
        sleep 0.1;
    }
    return { killed => $killed };
}

# Whatever the dead left behind is free again.
sub room_again {
    my ($gate, $name, $key) = @_;
    my ($answer, $end) = (undef, time + 20);
    do {
        $answer = authorized($gate, $key);
        sleep 0.05 if !$answer || $answer->{status} != 200;
    } until ($answer && $answer->{status} == 200) || time > $end;
    is $answer && $answer->{status}, 200, "I5: $name: room again";
    return;
}

# Two hosts on one PostgreSQL database, with room for money that comes and goes: ([HOST, HOST], KEY ...).
sub start_hosts {
    my (%option) = @_;
    my %settings = (
        plans => <<'END',
plan "free" { budget "month" { limit_usd = "40"  period = "month" }  hold_usd = "0.05" }
default_plan = "free"
END
        explain => 0,
        clerk   => 'cache_ttl = "1h"',
        ledger  => 'ledger { hold_ttl = "10m" }',
        %option,
    );
    my $one = Spendgate::E2E->new(%settings);
    $one->start_clerk;
    my @hosts = ($one, Spendgate::E2E->new(%settings, beside => $one));
    for my $host (@hosts) {
        $host->start_tracker(workers => 4);
        $host->start_authorizer(workers => 4);
    }
    my @subjects = map { $one->subject($_) } qw(ann bob);
    my @keys = map { $one->key(subject => $_) } @subjects;
    acquaint(\@hosts, @keys);
    $one->cli('account', 'parent', $_, 'group:both') for @subjects;
    $one->tracker('PUT', "/v1/accounts/$_/budgets/month", { limit_usd => '60' }) for qw(group:both all);
    return (\@hosts, @keys);
}

# The proof of what clients of a server that crashed did.
sub check_crashed {
    my ($hosts, $name, @results) = @_;
    my $did = merge(@results);
    my %seen = %{ $did->{seen} };
    note "$name: ", join ', ', map { "$seen{$_} x $_" } sort keys %seen;
    is_deeply $did->{wrong}, [], "$name: every post was answered in the end";
    cmp_ok $seen{200}, '>', 50, "$name: work was done";
    check_recorded($hosts->[0], $name, $did->{settled}, 'all', 'group:both');
    for my $host (@$hosts) {
        my @strange = grep { /level=error/ && !/ status=(?:unavailable|503) |max_waiting/ } split /\n/, $host->logs;
        is_deeply \@strange, [], "$name: nothing in the log but that the store was away";
    }
    return;
}

# What was acknowledged is in the store, once, with its amount, and counted on each of the accounts.
sub check_recorded {
    my ($gate, $name, $settled, @accounts) = @_;
    my %recorded;
    my $double = 0;
    my $rows = $gate->sql('SELECT coalesce(h.id, 0), coalesce(h.nonce, 0), c.amount_nanos, c.hold_text FROM charge c'
          . ' LEFT JOIN hold h ON h.id = c.hold_id WHERE c.kind = 0 AND (h.id IS NOT NULL OR c.hold_text IS NOT NULL)');
    for my $row (split /\n/, $rows) {
        my ($id, $nonce, $amount, $unknown) = split / /, $row;
        my $hold = $id != 0 ? sprintf 'hld_%012x%012x', $id, $nonce : $unknown;
        $double++ if exists $recorded{$hold};
        $recorded{$hold} = $amount;
    }
    is $double, 0, "I4: $name: no hold has two charges";
    my @lost = grep { !defined $recorded{$_} || $recorded{$_} != nanos($settled->{$_}) } keys %$settled;
    is scalar(@lost), 0, "I3: $name: all of " . keys(%$settled) . ' acknowledged charges are there, with their amount';
    my $sum = 0;
    $sum += $_ for values %recorded;
    is nanos($gate->budget($_, 'month')->{spent_usd}), $sum, "I6: $name: all of them are on $_" for @accounts;
    my ($code, $out, $err) = $gate->cli('verify');
    is $code, 0, "I7: $name: spendgate verify" or diag $out, $err;
    return;
}

1;

# SPDX-License-Identifier: MIT
# I1 to I7 with everyone at once: 32 clients on four accounts of one hierarchy, holds settled, voided, extended and
# posted twice at random; then the same while workers of authorizer and tracker are killed at random.
# SPENDGATE_E2E_SECONDS: how long each of the two (default 5).
use strict;
use warnings;
use FindBin qw($Bin);
use lib "$Bin/lib";
use Spendgate::E2E;
use Spendgate::Load qw(acquaint check_recorded kills merge room_again watch work);
use Test::More;
use Time::HiRes qw(sleep time);

my $seconds = $ENV{SPENDGATE_E2E_SECONDS} // 5;
my $plans = <<'END';
plan "free" { budget "month" { limit_usd = "0.40"  period = "month" }  hold_usd = "0.05" }
default_plan = "free"
END

for my $killing (0, 1) {
    my $name = $killing ? 'with workers killed at random' : 'undisturbed';
    my $gate = Spendgate::E2E->new(
        plans  => $plans,
        clerk  => 'cache_ttl = "1h"',
        ledger => 'ledger { hold_ttl = "8s" }',
    );
    $gate->start_clerk;
    $gate->start_tracker(workers => 8);
    $gate->start_authorizer(workers => 8);
    my @subjects = map { $gate->subject($_) } qw(ann bob);
    my @keys = map { $gate->key(subject => $_) } @subjects;
    acquaint([$gate], @keys);
    $gate->cli('account', 'parent', $_, 'group:both') for @subjects;
    $gate->tracker('PUT', '/v1/accounts/group:both/budgets/month', { limit_usd => '0.60' });
    $gate->tracker('PUT', '/v1/accounts/all/budgets/month', { limit_usd => '0.55' });
    my @accounts = (@subjects, 'group:both', 'all');

    my $until = time + $seconds;
    my @results = $gate->parallel(33 + $killing, sub {
        my ($i) = @_;
        return watch([$gate], $until, @accounts) if $i == 32;
        return kills([$gate], $until) if $i == 33;
        return work([$gate], $i, $until, @keys);
    });
    my ($watched, $killer) = @results[ 32, 33 ];
    my $did = merge(@results[ 0 .. 31 ]);
    my %seen = %{ $did->{seen} };
    note "$name: ", join(', ', map { "$seen{$_} x $_" } sort keys %seen), ", $watched->{looks} looks";
    is_deeply $did->{wrong}, [], "$name: every post was answered";
    cmp_ok $seen{200}, '>', 50, "$name: work was done";
    cmp_ok $seen{budget_exceeded} // 0, '>', 20, "$name: and refused";
    cmp_ok $watched->{looks}, '>', 5, "$name: watched meanwhile";
    is $watched->{most}, 0, "I1, I2: $name: never one nano-dollar above a hard cap";
    cmp_ok $killer->{killed}, '>', $seconds * 2, "$name: workers died" if $killing;

    # After hold_ttl whatever the dead left behind is free, and what was acknowledged is there, once.
    sleep 8.2 if $killing;
    room_again($gate, $name, $keys[0]);
    check_recorded($gate, $name, $did->{settled}, 'all', 'group:both');
    unlike $gate->logs, qr/AddressSanitizer|runtime error:|LeakSanitizer/, "$name: no sanitizer report";
}
done_testing;

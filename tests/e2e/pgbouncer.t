# SPDX-License-Identifier: MIT
# Two hosts behind PgBouncer in transaction mode, with fewer sessions at the server than there are workers: nothing leans
# on a session, also while PgBouncer itself is restarted. One that does not know prepared statements (before 1.21) needs
# prepare=no in the URL, and the log says so to who forgets it.
# store: postgresql (SQLite needs no pooler)
# SPENDGATE_E2E_SECONDS: how long the clients work (default 4).
use strict;
use warnings;
use FindBin qw($Bin);
use lib "$Bin/lib";
BEGIN { $ENV{SPENDGATE_E2E_STORE} = 'postgresql' }
use Spendgate::E2E;
use Spendgate::Load qw(check_recorded merge start_hosts watch work);
use Test::More;
use Time::HiRes qw(sleep time);

my $seconds = $ENV{SPENDGATE_E2E_SECONDS} // 4;
my $version = Spendgate::Postgres::pooler_version();
my $knows_statements = $version >= 1.021;
my $cluster = Spendgate::Postgres->new;
$cluster->start_pooler(default_pool_size => 5, $knows_statements ? (max_prepared_statements => 200) : ());
note "PgBouncer $version, " . ($knows_statements ? 'with' : 'without') . ' prepared statements';

# Clients on two hosts while `meanwhile` happens, and the proof.
sub load {
    my ($name, $hosts, $keys, $meanwhile) = @_;
    my $until = time + $seconds;
    my @results = $hosts->[0]->parallel(26, sub {
        my ($i) = @_;
        return work($hosts, $i, $until, @$keys) if $i < 24;
        return watch($hosts, $until, 'all', 'group:both') if $i == 24;
        $meanwhile->();
        return { done => 1 };
    });
    my $did = merge(@results[ 0 .. 23 ]);
    my %seen = %{ $did->{seen} };
    note "$name: ", join ', ', map { "$seen{$_} x $_" } sort keys %seen;
    is_deeply $did->{wrong}, [], "$name: every post was answered";
    cmp_ok $seen{200}, '>', 50, "$name: work was done";
    is $results[24]{most}, 0, "I1, I2: $name: never above a cap";
    is $results[25]{done}, 1, "$name: what was to happen meanwhile";
    check_recorded($hosts->[1], $name, $did->{settled}, 'all', 'group:both');
    return;
}

for my $prepare ('&prepare=no', $knows_statements ? '' : ()) {
    my $name = $prepare ? 'prepare=no' : 'named statements';
    my $database = $cluster->database;
    my ($hosts, @keys) = start_hosts(cluster => $cluster, database => $database, url => $cluster->pooler_url($database, $prepare));
    my ($sessions) = $cluster->sql('postgres', "SELECT count(*) FROM pg_stat_activity WHERE datname = '$database'") =~ /(\d+)/;
    cmp_ok $sessions, '<=', 6, "$name: sixteen workers share five sessions";
    load($name, $hosts, \@keys, sub { });
    is scalar(grep { /level=error/ && !/max_waiting/ } map { split /\n/, $_->logs } @$hosts), 0, "$name: no error in any log";
    load("$name, PgBouncer restarted", $hosts, \@keys, sub {
        sleep $seconds / 4;
        $cluster->stop_pooler;
        $cluster->start_pooler(default_pool_size => 5, $knows_statements ? (max_prepared_statements => 200) : ());
    });
}

# Without the word that it needs: refusals, and what to do about them.
SKIP: {
    skip 'this PgBouncer knows prepared statements', 3 if $knows_statements;
    my $database = $cluster->database;
    my $gate = Spendgate::E2E->new(cluster => $cluster, database => $database, url => $cluster->pooler_url($database));
    $gate->start_clerk;
    $gate->start_tracker(workers => 8);
    $gate->start_authorizer(workers => 8);
    my $key = $gate->key(subject => $gate->subject('ann'));
    my %statuses;
    $statuses{$_}++ for map { @{ $_->{statuses} } } $gate->parallel(16, sub {
        return { statuses => [ map { $gate->authorize('/api/x', key => $key)->{status} } 1 .. 10 ] };
    });
    note join ', ', map { "$statuses{$_} x $_" } sort keys %statuses;
    is_deeply [ grep { !/\A(?:200|429|503)\z/ } sort keys %statuses ], [], 'forgotten: allowed, over budget or refused';
    like $gate->logs, qr/a pooler [^"]*; add prepare=no to the url/, 'forgotten: the log says what to do';
    my ($code, $out, $err) = $gate->cli({ env => { SPENDGATE_STORE_URL => $cluster->url($database) } }, 'verify');
    is $code, 0, 'forgotten: and the money is right' or diag $out, $err;
}
done_testing;

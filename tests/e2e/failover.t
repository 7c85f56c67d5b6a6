# SPDX-License-Identifier: MIT
# A synchronous standby is promoted while two hosts post, after its primary crashed and after it hung; both servers are in
# the URL. No acknowledged charge is lost and none is doubled.
# store: postgresql (SQLite has no server)
# SPENDGATE_E2E_SECONDS: of load before and after (default 2).
# begun first
use strict;
use warnings;
use FindBin qw($Bin);
use lib "$Bin/lib";
BEGIN { $ENV{SPENDGATE_E2E_STORE} = 'postgresql' }
use Spendgate::E2E;
use Spendgate::Load qw(check_crashed start_hosts work);
use Test::More;
use Time::HiRes qw(sleep time);

my $load = $ENV{SPENDGATE_E2E_SECONDS} // 2;

for my $how (qw(crashes hangs)) {
    my $primary = Spendgate::Postgres->new;
    my $standby = Spendgate::Postgres->new(
        copy_of  => [ $primary, 'standby' ],
        settings => "synchronous_standby_names = ''\n",
    );
    my $database = $primary->database;
    $primary->sql('postgres', "ALTER SYSTEM SET synchronous_standby_names = 'standby'");
    $primary->sql('postgres', 'SELECT pg_reload_conf()');
    my $url = "postgresql:///$database?host=" . join(',', map { $_->folder } $primary, $standby) . '&user=' . Spendgate::Postgres::SITE . '&connect_timeout=2';
    my ($hosts, @keys) = start_hosts(cluster => $primary, database => $database, url => $url);
    like $primary->sql('postgres', 'SELECT sync_state FROM pg_stat_replication'), qr/\Async/, "the primary $how: it has a synchronous standby";
    my $until = time + 2 * $load + ($how eq 'hangs' ? 8 : 4);
    my @results = $hosts->[0]->parallel(17, sub {
        my ($i) = @_;
        return work($hosts, $i, $until, @keys, { crashes => 1 }) if $i < 16;
        sleep $load;
        $how eq 'hangs' ? $primary->freeze : $primary->stop('immediate');
        $standby->promote;
        return { promoted => 1 };
    });
    is $results[16]{promoted}, 1, "the primary $how: the standby was promoted";
    $_->{cluster} = $standby for @$hosts;
    check_crashed($hosts, "the primary $how", @results[ 0 .. 15 ]);
    my ($status) = $hosts->[1]->tracker(GET => '/readyz', undef);
    is $status, 200, "the primary $how: ready on the other server";
    undef @$hosts;
    $primary->thaw if $how eq 'hangs';
}
done_testing;

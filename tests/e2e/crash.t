# SPDX-License-Identifier: MIT
# PostgreSQL crashes (pg_ctl stop -m immediate) again and again while money moves, with workers killed in between: no
# acknowledged charge is lost and none is doubled. While the server is away every answer is 503 with Retry-After.
# store: postgresql (SQLite has no server)
# SPENDGATE_E2E_CRASHES: how often (default 12). SPENDGATE_E2E_CRASH_LOAD: seconds of load before each (default 1).
# begun first
use strict;
use warnings;
use FindBin qw($Bin);
use lib "$Bin/lib";
BEGIN { $ENV{SPENDGATE_E2E_STORE} = 'postgresql' }
use Spendgate::E2E;
use Spendgate::Load qw(authorized check_crashed kills merge room_again start_hosts work);
use Test::More;
use Time::HiRes qw(sleep time);

my $crashes = $ENV{SPENDGATE_E2E_CRASHES} // 12;
my $load    = $ENV{SPENDGATE_E2E_CRASH_LOAD} // 1;

{
    my $cluster = Spendgate::Postgres->new;
    my ($hosts, @keys) = start_hosts(cluster => $cluster);
    my $done = $hosts->[0]->path('run/done');
    # The crashes are one of the children: what they take depends on the machine, and the clients work as long.
    my @results = $hosts->[0]->parallel(18, sub {
        my ($i) = @_;
        if ($i == 16) {
            for (1 .. $crashes) {
                sleep $load;
                $cluster->stop('immediate');
                $cluster->start;
                my $answer;
                sleep 0.05 until ($answer = authorized($hosts->[0], $keys[0])) && $answer->{status} == 200;
            }
            sleep $load;
            $hosts->[0]->write_file('run/done', '');
            return { crashes => $crashes };
        }
        my @parts;
        until (-e $done) {
            push @parts, $i == 17 ? kills($hosts, time + 1) : work($hosts, $i + 100 * @parts, time + 1, @keys, { crashes => 1 });
        }
        return $i == 17 ? { killed => [ map { $_->{killed} } @parts ] } : merge(@parts);
    });
    is $results[16]{crashes}, $crashes, "the server crashed $crashes times";
    my $killed = 0;
    $killed += $_ for @{ $results[17]{killed} };
    cmp_ok $killed, '>', $crashes * $load * 2, 'and workers died in between';
    note "$killed workers were killed";
    check_crashed($hosts, "$crashes crashes", @results[ 0 .. 15 ]);
    room_again($hosts->[1], 'after all crashes', $keys[0]);

    # While it is away.
    $cluster->stop('immediate');
    for my $host (@$hosts) {
        my $answer = $host->authorize('/api/x', key => $keys[0]);
        is "$answer->{status} $answer->{error}", '503 auth_unavailable', 'away: no verdict';
        like $answer->{headers}{'retry-after'}, qr/\A[1-9]\d*\z/, 'away: Retry-After';
        for my $call ([ POST => '/v1/spend', { subject => 'user_x', cost_usd => '1' } ], [ GET => '/v1/charges' ], [ GET => '/readyz' ]) {
            my ($status, $body, $whole) = $host->tracker(@$call);
            is "$status $body->{error}", '503 store_unavailable', "away: $call->[0] $call->[1]";
            like $whole->{headers}{'retry-after'}[0], qr/\A[1-9]\d*\z/, "away: $call->[0] $call->[1]: Retry-After";
        }
        my (undef, $ready) = $host->tracker(GET => '/readyz', undef);
        like $ready->{message}, qr/cannot connect/, 'away: readyz says why';
        my ($status) = $host->tracker(GET => '/healthz', undef);
        is $status, 200, 'away: the process itself is well';
    }
    $cluster->start;
    sleep 2;
    my ($status) = $hosts->[0]->tracker(GET => '/readyz', undef);
    is $status, 200, 'back: ready';
}

done_testing;

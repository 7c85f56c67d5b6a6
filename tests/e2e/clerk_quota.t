# SPDX-License-Identifier: MIT
# How much of Clerk's quota is left: one line in the log for all processes, and metrics of the tracker, which reads
# the authorizer's cache and never depends on it.
use strict;
use warnings;
use FindBin qw($Bin);
use lib "$Bin/lib";
use Spendgate::E2E;
use Test::More;
use Time::HiRes qw(time);

my $file  = '/api/file.txt';
my $plans = <<'END';
plan "free" { budget "month" { limit_usd = "100"  period = "month" }  hold_usd = "0" }
default_plan = "free"
END
my $gate = Spendgate::E2E->new(plans => $plans, clerk => 'rate = "50/1h"  failure_rate = "1000/1m"  timeout = "10s"  connect_timeout = "5s"');
$gate->start_clerk;
$gate->start_tracker;
$gate->start_authorizer(workers => 4);

sub metrics {
    my (undef, undef, $answer) = $gate->tracker('GET', '/metrics', undef, role => 'read');
    is $answer->{status}, 200, 'metrics answer';
    unlike $answer->{body}, qr/^(?!# (?:HELP|TYPE) |\w+(?:\{[^}]*\})? -?[0-9.]+$)./m, 'every line is well formed';
    my %told = map { $_ => 1 } $answer->{body} =~ /^# TYPE (\w+) gauge$/mg;
    my %metric = $answer->{body} =~ /^([a-z]\S*) (\S+)$/mg;
    is_deeply [ grep { !$told{ s/\{.*//r } } sort keys %metric ], [], 'every metric has its type';
    return \%metric;
}

sub warnings { return grep { /event=clerk_quota_low / } split /\n/, $gate->logs }

is_deeply [ grep { /clerk/ } keys %{ metrics() } ], [], 'no cache yet: no metric of Clerk';
ok !-e $gate->path('cache/cache.db'), 'and the tracker makes none';
my ($status, $ready) = $gate->tracker('GET', '/readyz', undef, no_token => 1);
is_deeply $ready, { status => 'ready', store => 'ok', clerk => 'unknown', clock => 'ok' }, 'readyz without a cache';

my $good = $gate->key(subject => $gate->subject('alice'));
is $gate->authorize($file, key => $good)->{status}, 200, 'a key passes';
my $metric = metrics();
is_deeply { map { $_ => $metric->{$_} } grep { /clerk/ } keys %$metric }, {
    'spendgate_clerk_quota_calls{share="all"}'                 => 50,
    'spendgate_clerk_quota_calls{share="new"}'                 => 40,
    'spendgate_clerk_quota_remaining_calls{share="all"}'       => 49,
    'spendgate_clerk_quota_remaining_calls{share="new"}'       => 39,
    'spendgate_clerk_quota_low_timestamp_seconds{share="all"}' => 0,
    'spendgate_clerk_quota_low_timestamp_seconds{share="new"}' => 0,
    'spendgate_clerk_pause_seconds'                            => 0,
    'spendgate_clerk_breaker_open'                             => 0,
}, 'the metrics after one call';
($status, $ready) = $gate->tracker('GET', '/readyz', undef, no_token => 1);
is $ready->{clerk}, 'ok', 'readyz: Clerk is well';

# 35 of the 40 calls for new keys: not less than a tenth is left.
my $guess = 0;
is $gate->authorize($file, key => 'ak_guess_' . $guess++)->{status}, 401, 'an unknown key' for 1 .. 34;
is scalar(warnings()), 0, 'more than a tenth is left: no line';
my @got = $gate->parallel(8, sub {
    my ($i) = @_;
    return { map { ("$i.$_" => $gate->authorize($file, key => "ak_more_${i}_$_")->{status}) } 1 .. 4 };
});
my %seen;
$seen{$_}++ for map { values %$_ } @got;
ok !grep({ !/\A(?:401|503)\z/ } keys %seen), 'unknown keys are 401 or, when the quota is used up, 503' or diag explain \%seen;
cmp_ok $seen{503} // 0, '>=', 27, 'most are 503';
# Some found too many waiting (max_waiting) and used up nothing: what they left.
$gate->authorize($file, key => "ak_last_$_", explain => 0) for 1 .. 5;
my @lines = warnings();
is scalar(@lines), 1, 'one line, of all processes' or diag @lines;
like $lines[0] // '', qr/level=warn event=clerk_quota_low share=new left=[0-3] of=40 message=".*clerk \{ rate \}/, 'with the numbers and what to do';
$metric = metrics();
is $metric->{'spendgate_clerk_quota_remaining_calls{share="new"}'}, 0, 'none left for new keys';
cmp_ok $metric->{'spendgate_clerk_quota_remaining_calls{share="all"}'}, '>=', 10, 'the reserved part is left';
cmp_ok abs($metric->{'spendgate_clerk_quota_low_timestamp_seconds{share="new"}'} - time), '<', 20, 'when it was low';
cmp_ok $gate->clerk_calls, '<=', 41, 'Clerk was not asked more often than that';

# Known keys use up the reserved part.
my @left = 1 .. 12;
for (@left) {
    is +($gate->cli('account', 'reverify', $gate->subject('alice')))[0], 0, 'reverify';
    $gate->authorize($file, key => $good, explain => 0);
}
@lines = grep { /share=all/ } warnings();
is scalar(@lines), 1, 'one line for the whole quota' or diag @lines;
is metrics()->{'spendgate_clerk_quota_remaining_calls{share="all"}'}, 0, 'none left at all';

# A cache that cannot be read is no reason to fail.
$gate->stop('authorizer');
$gate->write_file('cache/cache.db', 'no database ' x 1000, 0600);
is_deeply [ grep { /clerk/ } keys %{ metrics() } ], [], 'a damaged cache: no metric of Clerk';
is +($gate->tracker('GET', '/readyz', undef, no_token => 1))[0], 200, 'readyz with a damaged cache';
is $gate->read_file('cache/cache.db'), 'no database ' x 1000, 'the tracker leaves it alone';
unlink glob $gate->path('cache/cache.db*');

# Clerk fails: the breaker, and a pause.
my $failing = Spendgate::E2E->new(plans => $plans, clerk => 'timeout = "300ms"');
$gate = $failing;
$gate->start_clerk;
$gate->start_tracker;
$gate->start_authorizer(workers => 4);
my @fresh = map { $gate->key(subject => $gate->subject("fresh$_")) } 1 .. 8;
$gate->clerk_behave(endpoint => 'verify', times => 1, retry_after => 30);
is $gate->authorize($file, key => $fresh[0])->{status}, 503, 'Clerk says 429';
my $pause = metrics()->{spendgate_clerk_pause_seconds};
ok $pause > 20 && $pause <= 30, 'the metric tells how long to wait' or diag $pause;
unlink glob $gate->path('cache/cache.db*');    # forget the pause
$gate->clerk_behave(endpoint => 'verify', status => 500, body => '{}');
$gate->authorize($file, key => $_) for @fresh;
is metrics()->{spendgate_clerk_breaker_open}, 1, 'Clerk fails: the breaker is open';
($status, $ready) = $gate->tracker('GET', '/readyz', undef, no_token => 1);
is "$status $ready->{clerk}", '200 breaker_open', 'readyz tells it, and stays ready: posts have to come in';
done_testing;

# SPDX-License-Identifier: MIT
# Many clients at once: how often Clerk is asked, and what those who are known feel of those who guess.
# begun first
use strict;
use warnings;
use FindBin qw($Bin);
use lib "$Bin/lib";
use Spendgate::E2E;
use Test::More;
use Time::HiRes qw(sleep time);

my $plans = <<'END';
plan "free" { budget "month" { limit_usd = "100000"  period = "month" }  hold_usd = "0" }
default_plan = "free"
END
my $file = '/api/file.txt';

# The same until it is decided: 503 means "ask again".
sub patient {
    my ($gate, $key) = @_;
    for (1 .. 600) {
        my $status = eval { $gate->authorize($file, key => $key)->{status} } // 0;
        return $status if $status != 503 && $status != 0;
        sleep 0.02 + rand 0.08;
    }
    return 503;
}

# ---- 2,000 requests for one new key, 8 workers --------------------------------------------------------

my $gate = Spendgate::E2E->new(plans => $plans, clerk => 'timeout = "1500ms"');
$gate->start_clerk;
$gate->start_authorizer(workers => 8);
my $ivan = $gate->key(subject => $gate->subject('ivan'));
$gate->clerk_behave(endpoint => 'verify', delay_ms => 300);
$gate->clerk_forget_calls;
my @asked = $gate->parallel(50, sub { return { map { $_ => patient($gate, $ivan) } 1 .. 40 } });
my %statuses;
$statuses{$_}++ for map { values %$_ } @asked;
is_deeply \%statuses, { 200 => 2000 }, '2,000 requests for one new key over 8 workers all pass' or diag $gate->logs;
is $gate->clerk_calls, 1, 'after one call to Clerk';
undef $gate;

# ---- 16 clients guess keys from many addresses --------------------------------------------------------

my $rate = 50;    # per ten seconds
my $flooded = Spendgate::E2E->new(
    plans => $plans,
    clerk => qq(rate = "$rate/10s"  failure_rate = "5/1m"  cache_ttl = "5s"),
    top   => 'trusted_proxies = { "127.0.0.1/32" }',
);
$flooded->start_clerk;
$flooded->start_authorizer(workers => 8);
my $good = $flooded->key(subject => $flooded->subject('walter'));

# One request after the other for `seconds`: sorted times in milliseconds, and how many were not 200.
sub measure {
    my ($seconds) = @_;
    my ($end, $refused, @took) = (time + $seconds, 0);
    while (time < $end) {
        my $start  = time;
        my $answer = $flooded->authorize($file, key => $good, explain => 0,
            params => { REMOTE_ADDR => '127.0.0.1', HTTP_X_FORWARDED_FOR => '203.0.113.9' });
        push @took, 1000 * (time - $start);
        $refused++ if $answer->{status} != 200;
        sleep 0.002;
    }
    @took = sort { $a <=> $b } @took;
    return { refused => $refused, count => scalar @took, median => $took[ @took / 2 ], p99 => $took[ @took * 0.99 ] };
}

# Clients that answer themselves slowly, as over a network: what is measured is the gate, not this machine's
# processors under sixteen Perl programs.
sub guess {
    my ($client, $seconds) = @_;
    my ($end, %seen) = (time + $seconds);
    srand $client + $$;
    while (time < $end) {
        my $address = join '.', 198, 18 + int rand 2, int rand 256, int rand 256;
        my $answer = eval { $flooded->authorize($file, key => 'ak_guess_' . int rand 1e15,
            params => { REMOTE_ADDR => '127.0.0.1', HTTP_X_FORWARDED_FOR => $address }) };
        $seen{ $answer ? $answer->{status} : 'broken' }++;
        sleep 0.1 + rand 0.1;
    }
    return \%seen;
}

is patient($flooded, $good), 200, 'the good key passes before';
$flooded->clerk_behave(endpoint => 'verify', delay_ms => 30);
my ($steady, $all_passed, %guessed) = (0, 1);
my $begun = time;
$flooded->clerk_forget_calls;
for my $try (1 .. 5) {
    my $quiet = measure(3);
    my @results = $flooded->parallel(17, sub {
        my ($i) = @_;
        return guess($i, 4) if $i < 16;
        sleep 0.5;
        return measure(3);
    });
    my $loud = pop @results;
    for my $seen (@results) { $guessed{$_} += $seen->{$_} for keys %$seen }
    $all_passed &&= !$quiet->{refused} && !$loud->{refused};
    diag sprintf 'quiet: median %.2f ms, p99 %.2f ms (%d); guessed at: median %.2f ms, p99 %.2f ms (%d)',
      @{$quiet}{qw(median p99 count)}, @{$loud}{qw(median p99 count)};
    $steady = $loud->{median} <= 2 * $quiet->{median} && $loud->{p99} <= 2 * $quiet->{p99};
    last if $steady;
}
my $seconds = time - $begun;
ok $steady, 'the good key has median and 99th percentile within twice their quiet values';
ok $all_passed, 'and was never refused, also when Clerk had to be asked about it again';
ok +($guessed{401} // 0) + ($guessed{429} // 0) + ($guessed{503} // 0) > 100, 'many keys were guessed';
is_deeply [ grep { $_ !~ /\A(?:401|429|503)\z/ } keys %guessed ], [], 'none passed' or diag explain \%guessed;
my $calls = $flooded->clerk_calls;
diag sprintf '%d calls to Clerk in %.1f s; answers: %s', $calls, $seconds, join ', ', map { "$_: $guessed{$_}" } sort keys %guessed;
cmp_ok $calls, '<=', $rate + $rate * $seconds / 10, 'the calls to Clerk stay inside the quota';
cmp_ok $calls, '>=', 0.8 * $rate, 'of which the guesses used their part';

# Addresses that have failed too often are stopped, and what was valid before is not.
my $home = '2001:db8:5:6::';
my @tries = map {
    my $n = $_;
    patient_from("$home$n", "ak_house_$n")
} 1 .. 8;
sub patient_from {
    my ($address, $key) = @_;
    for (1 .. 300) {
        my $answer = $flooded->authorize($file, key => $key, explain => 0,
            params => { REMOTE_ADDR => '127.0.0.1', HTTP_X_FORWARDED_FOR => $address });
        return $answer->{status} if $answer->{status} != 503;
        sleep 0.1;
    }
    return 503;
}
is join(' ', @tries), '401 401 401 401 401 429 429 429', 'eight addresses of one IPv6 /64 count as one';
is patient_from('2001:db8:5:7::1', 'ak_neighbour'), 401, 'the next /64 is another';
is patient_from("${home}9", $good), 200, 'a key that was valid before passes from the address that failed';
undef $flooded;

# ---- a 429 stops every process ------------------------------------------------------------------------

my $limited = Spendgate::E2E->new(plans => $plans, clerk => 'timeout = "800ms"');
$limited->start_clerk;
$limited->start_authorizer(workers => 8);
my $known = $limited->key(subject => $limited->subject('laura'));
my @fresh = map { $limited->key(subject => $limited->subject("fresh$_")) } 1 .. 24;
is patient($limited, $known), 200, 'a key passes before the 429';
$limited->clerk_behave(endpoint => 'verify', times => 1, retry_after => 3);
$limited->clerk_forget_calls;
my $told = time;
is $limited->authorize($file, key => $fresh[0], explain => 0)->{status}, 503, 'Clerk says 429: 503';
my @stopped = $limited->parallel(24, sub { my ($i) = @_; return { status => $limited->authorize($file, key => $fresh[$i])->{status} } });
is scalar(grep { $_->{status} == 503 } @stopped), 24, 'and so is every other new key, in every process';
is $limited->clerk_calls, 1, 'without another call';
is $limited->authorize($file, key => $known, explain => 0)->{status}, 200, 'a known key passes meanwhile';
is patient($limited, $fresh[1]), 200, 'after Retry-After a new key passes';
cmp_ok time - $told, '>=', 2.9, 'and not before';
undef $limited;

# ---- old answers while Clerk is gone ------------------------------------------------------------------

my $stale = Spendgate::E2E->new(plans => $plans, clerk => 'cache_ttl = "1s"  stale_if_error = "10m"  timeout = "500ms"  max_waiting = 1');
$stale->start_clerk;
$stale->start_tracker;
$stale->start_authorizer(workers => 4);
my %old = map { $_ => $stale->clerk_key(subject => $stale->subject($_)) } qw(nina reverified revoked frozen);
is patient($stale, $old{$_}{secret}), 200, "$_: passes before" for sort keys %old;
$stale->clerk_behave(endpoint => 'verify', status => 500, body => '{}');
is +($stale->tracker('POST', '/v1/accounts/' . $stale->subject('reverified') . '/reverify'))[0], 200, 'one is reverified';
is +($stale->tracker('POST', "/v1/accounts/key:$old{revoked}{id}/revoke"))[0], 200, 'one is revoked here';
is +($stale->tracker('POST', '/v1/accounts/' . $stale->subject('frozen') . '/freeze'))[0], 200, 'one is frozen';
sleep 1.2;
my $asks = sub { $stale->authorize($file, key => $old{ $_[0] }{secret}, explain => 0)->{status} };
is $asks->('nina'), 200, 'Clerk gone: stale_if_error lets the key pass that was valid' for 1 .. 3;
is $asks->('reverified'), 503, 'but none that is to be verified again';
is $asks->('revoked'), 401, 'nor one that was revoked here';
is $asks->('frozen'), 403, 'nor one whose account is frozen';
like $stale->logs, qr/event=stale_identity/, 'and the log says that an old answer was used';
$stale->clerk_calm;

# ---- max_waiting --------------------------------------------------------------------------------------

sleep 10.5;    # the breaker of what was just tried
$stale->clerk_behave(endpoint => 'verify', delay_ms => 400);
my @new = map { $stale->key(subject => $stale->subject("new$_")) } 1 .. 4;
my @waited = $stale->parallel(4, sub {
    my ($i) = @_;
    my $start = time;
    my $answer = $stale->authorize($file, key => $new[$i]);
    return { status => $answer->{status}, took => time - $start, again => $answer->{headers}{'retry-after'} };
});
my @busy = grep { $_->{status} == 503 } @waited;
is scalar(grep { $_->{status} == 200 } @waited), 1, 'max_waiting = 1: one of four new keys is asked about';
is scalar(grep { $_->{again} && $_->{took} < 0.3 } @busy), 3, 'the others are 503 with Retry-After at once'
  or diag explain \@waited;
done_testing;

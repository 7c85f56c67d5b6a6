# SPDX-License-Identifier: MIT
# What clients send twice, in bulk, for queue workers and back: idempotency, batches, holds through the tracker,
# automatic holds, refunds, reports.
use strict;
use warnings;
use FindBin qw($Bin);
use lib "$Bin/lib";
use JSON::PP ();
use POSIX ();
use Spendgate::E2E;
use Test::More;

my $plans = <<'END';
plan "free" { budget "month" { limit_usd = "10.00"  period = "month" }  hold_usd = "0.10" }
default_plan = "free"
END
my $routes = <<'END';
route "/api/learn" { hold_usd = "auto"  hold_min_usd = "0.02"  hold_max_usd = "0.50" }
route "/api/"      { }
END
my $gate = Spendgate::E2E->new(plans => $plans, routes => $routes);
$gate->start_clerk;
$gate->start_tracker;
$gate->start_authorizer;
my $json = JSON::PP->new->utf8->canonical;
my $kay  = $gate->subject('kay');
my $kays = $gate->clerk_key(subject => $kay);

sub ask { my ($path, $key) = @_; return $gate->authorize($path // '/api/x', key => ($key // $kays)->{secret}) }
sub hold_of { return $_[0]{env}{SPENDGATE_HOLD_ID} }
sub call {
    my ($path, $body, %option) = @_;
    my $headers = [ defined $option{key} ? [ 'Idempotency-Key', $option{key} ] : () ];
    return $gate->tracker('POST', $path, $body, role => $option{role} // 'post', headers => $headers, type => $option{type});
}
sub spent { return $gate->budget($kay, 'month')->{spent_usd} }
sub held  { return $gate->budget($kay, 'month')->{held_usd} }
sub replayed { my ($answer) = @_; return ($answer->{headers}{'idempotent-replayed'} // [''])->[0] }

is ask()->{status}, 200, 'seen once';

# ---- I4: one key, one effect -------------------------------------------------------------------------

my $charge;
for my $case (
    [ 'spend',  '/v1/spend', { subject => $kay, cost_usd => '0.03' }, { subject => $kay, cost_usd => '0.04' }, 'post' ],
    [ 'hold',   '/v1/holds', { subject => $kay, amount_usd => '0.2' }, { subject => $kay, amount_usd => '0.3' }, 'post' ],
    [ 'credit', "/v1/accounts/$kay/credits", { amount_usd => '1' }, { amount_usd => '2' }, 'admin' ],
    [ 'refund', sub { "/v1/charges/$charge/refund" }, { amount_usd => '0.01' }, { amount_usd => '0.02' }, 'admin' ],
) {
    my ($name, $path, $body, $other, $role) = @$case;
    $path = $path->() if ref $path;
    my ($status, $told, $answer) = call($path, $body, role => $role, key => "once-$name");
    is $status, 200, "$name with a key" or diag $answer->{body};
    $charge //= $told->{charge_id};
    my $state = $json->encode($gate->budget($kay, 'month'));
    for my $again (1 .. 3) {
        my ($s, undef, $repeat) = call($path, $body, role => $role, key => "once-$name");
        is $repeat->{body}, $answer->{body}, "$name again: the same bytes";
        is replayed($repeat), 'true', "$name again: says so";
    }
    is $json->encode($gate->budget($kay, 'month')), $state, "I4: one key makes one $name";
    ($status, $told) = call($path, $other, role => $role, key => "once-$name");
    is "$status $told->{error}", '422 idempotency_key_reuse', "$name: the key for something else";
}
# At once: all the same, one effect. Then a restart of the tracker, and once more.
my $before = spent();
my @bodies = map { $_->{body} // '' } $gate->parallel(24, sub {
    my ($status, undef, $answer);
    do { ($status, undef, $answer) = call('/v1/spend', { subject => $kay, cost_usd => '0.5' }, key => 'race') } while $status == 409;
    return { body => $answer->{body} };
});
my %distinct = map { $_ => 1 } @bodies;
is scalar(keys %distinct), 1, 'I4: 24 clients with one key get the same bytes';
is spent() - $before, 0.5, 'and it counts once';
$gate->stop('tracker');
$gate->start_tracker;
my (undef, undef, $after) = call('/v1/spend', { subject => $kay, cost_usd => '0.50' }, key => 'race');
is $after->{body}, $bodies[0], 'I4: also after a restart';

# Who cannot wait for the first any longer does not know whose turn it is: 503, and the same key settles it.
{
    my $writers = $gate->hold_writers;
    my @waited = $gate->parallel(2, sub {
        my ($status, $told, $answer) = call('/v1/spend', { subject => $kay, cost_usd => '0.05' }, key => 'waits');
        return { text => "$status $told->{error} " . ($answer->{headers}{'retry-after'}[0] // '') };
    });
    is join(', ', map { $_->{text} } @waited), '503 store_unavailable 1, 503 store_unavailable 1', 'both wait, and are told to ask again';
}
$before = spent();
is +(call('/v1/spend', { subject => $kay, cost_usd => '0.05' }, key => 'waits'))[0], 200, 'with the same key' for 1 .. 2;
is sprintf('%.2f', spent() - $before), '0.05', 'I4: which counts once';

# ---- batch -------------------------------------------------------------------------------------------

my @hold = map { hold_of(ask()) } 1 .. 2;
$before = spent();
my @batch = (
    { hold_id => $hold[0], cost_usd => '0.10' },
    { subject => $kay, cost_usd => '0.01', idempotency_key => 'b1' },
    { subject => $kay, cost_usd => '-1' },
    { subject => 'user_nobody', cost_usd => '1' },
    { hold_id => 'hld_unknown', cost_usd => '1' },
    { subject => $kay, cost_usd => '0.02' },
);
my ($status, $told, $answer) = call('/v1/spend/batch', $json->encode(\@batch));
is $status, 200, 'a batch of good and bad ones' or diag $answer->{body};
is join(' ', map { $_->{status} . ($_->{error} ? ":$_->{error}" : '') } @{ $told->{results} }),
  '200 200 400:invalid_cost 404:unknown_account 404:unknown_hold 200', 'each has its own result';
is sprintf('%.2f', spent() - $before), '0.13', 'the good ones are recorded';
my $lines = join "\n", map { $json->encode($_) } { hold_id => $hold[1], cost_usd => '0.10' }, { subject => $kay, cost_usd => '0.01', idempotency_key => 'b1' };
($status, $told) = call('/v1/spend/batch', "$lines\n", type => 'application/x-ndjson');
is $status . ' ' . join(' ', map { $_->{status} } @{ $told->{results} // [] }), '200 200 200', 'the same as NDJSON';
is sprintf('%.2f', spent() - $before), '0.23', 'with a key of the first batch: a repeat';

# I6: a batch that ends halfway leaves nothing. The tracker is killed while it records a thousand.
my @thousand = map { { subject => $kay, cost_usd => '0.0001', model => "m$_" } } 1 .. 1000;
($status, undef, $answer) = call('/v1/spend/batch', $json->encode([ @thousand, { subject => $kay, cost_usd => '1' } ]));
is $status, 413, 'more than a thousand';
sub charges {
    my ($row) = grep { $_->{account} eq $kay } @{ $gate->cli_json('report', '--by', 'account')->{rows} };
    return $row->{charges};
}
for my $delay (0.002, 0.01, 0.02, 0.04, 0.08) {
    my $had    = charges();
    my $killer = fork // die "fork: $!";
    if ($killer == 0) {
        select undef, undef, undef, $delay;
        kill 'KILL', $gate->children_of($gate->pid('tracker'));
        POSIX::_exit(0);
    }
    my ($code) = eval { call('/v1/spend/batch', $json->encode(\@thousand)) };
    waitpid $killer, 0;
    my $more = charges() - $had;
    ok $more == 0 || $more == 1000, "I6: a tracker killed after $delay s has recorded all of a batch or nothing" or diag "$more of 1000";
    is $more, 1000, 'I3: and all of it, if it was acknowledged' if ($code // 0) == 200;
}

# ---- holds through the tracker -----------------------------------------------------------------------

($status, $told) = call('/v1/holds', { subject => $kay, key_id => $kays->{id}, amount_usd => '0.40', route => '/api/queue' });
is $status, 200, 'a queue worker places a hold';
my $queued = $told->{hold_id};
my $was = held();
($status, $told) = call("/v1/holds/$queued/extend", { amount_usd => '0.10' });
is sprintf('%.1f', held() - $was), '0.1', 'raises it';
($status, $told) = call('/v1/holds', { subject => $kay, amount_usd => '50' });
is "$status $told->{error}", '429 budget_exceeded', 'one that does not fit';
($status, $told) = call('/v1/holds', { subject => 'user_nobody', amount_usd => '1' });
is "$status $told->{error}", '404 unknown_account', 'for nobody';
$gate->tracker('POST', "/v1/accounts/$kay/freeze");
($status, $told) = call('/v1/holds', { subject => $kay, amount_usd => '0.01' });
is "$status $told->{error}", '403 frozen', 'for a frozen account';
($status) = $gate->spend(hold_id => $queued, cost_usd => '0.45');
is $status, 200, 'work that was done is recorded, frozen or not';
$gate->tracker('POST', "/v1/accounts/$kay/unfreeze");
my $told_of = $gate->sql("SELECT count(*) FROM event e JOIN account a ON a.id = e.account_id WHERE e.kind = 4 AND a.name = '$kay'");
is $told_of + 0, 1, 'the freeze is an event, once';
($status, $told) = $gate->spend(hold_id => $queued, cost_usd => '0.46');
is "$status $told->{error}", '409 hold_already_settled', 'I5: a hold is settled once';
($status, $told) = call("/v1/holds/$queued/void", undef);
is $status, 409, 'I5: and not voided then';

# ---- hold_usd = "auto" -------------------------------------------------------------------------------

is ask('/api/learn')->{env}{SPENDGATE_HOLD_USD}, '0.02', 'auto: the least, while nothing is known';
$gate->spend(subject => $kay, cost_usd => '0.1',  route => '/api/learn') for 1 .. 19;
$gate->spend(subject => $kay, cost_usd => '0.30', route => '/api/learn');
is ask('/api/learn')->{env}{SPENDGATE_HOLD_USD}, '0.1', 'auto: the 95th percentile';
$gate->spend(subject => $kay, cost_usd => '0.30', route => '/api/learn');
is ask('/api/learn')->{env}{SPENDGATE_HOLD_USD}, '0.3', 'auto: moves with the charges';
$gate->tracker('POST', "/v1/accounts/$kay/credits", { amount_usd => '100' });
$gate->spend(subject => $kay, cost_usd => '0.90', route => '/api/learn') for 1 .. 2;
is ask('/api/learn')->{env}{SPENDGATE_HOLD_USD}, '0.5', 'auto: at most hold_max_usd';

# ---- refunds and reports -----------------------------------------------------------------------------

(undef, $told) = $gate->spend(subject => $kay, cost_usd => '0.40', model => 'refunded');
my $id = $told->{charge_id};
$before = spent();
($status, $told) = call("/v1/charges/$id/refund", { amount_usd => '0.15' }, role => 'admin');
is $status, 200, 'a part is given back';
is sprintf('%.2f', $before - spent()), '0.15', 'to the balance';
($status, $told) = call("/v1/charges/$id/refund", { amount_usd => '0.26' }, role => 'admin');
is "$status $told->{error}", '409 refund_exceeds_charge', 'never more than the charge';
($status) = call("/v1/charges/$id/refund", undef, role => 'admin');
is $status, 200, 'the rest';
is sprintf('%.2f', $before - spent()), '0.40', 'all of it';
($status, $told) = $gate->tracker('GET', '/v1/report?by=model', undef, role => 'read');
my ($row) = grep { ($_->{model} // '') eq 'refunded' } @{ $told->{rows} };
is "$status $row->{spent_usd}", '200 0', 'the report of the model: nothing is left of it' or diag explain $told;
($status, $told) = $gate->tracker('GET', '/v1/report?by=account', undef, role => 'read');
is +(grep { $_->{account} eq $kay } @{ $told->{rows} })[0]{spent_usd}, spent(), 'the report of the account is its balance';

my ($code, $out, $err) = $gate->cli('verify');
is $code, 0, 'I7: spendgate verify' or diag $out, $err;
my ($agreed, $disagreed) = Spendgate::Explained::counts();
ok $agreed >= 6, "explain agreed with $agreed verdicts";
is $disagreed, 0, 'and with each of them';
done_testing;

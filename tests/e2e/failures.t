# SPDX-License-Identifier: MIT
# I10: no store, no worker, no authorizer: never an allow, and never a hang.
use strict;
use warnings;
use FindBin qw($Bin);
use lib "$Bin/lib";
use Spendgate::E2E;
use Test::More;
use Time::HiRes qw(sleep time);

my $plans = <<'END';
plan "free" { budget "month" { limit_usd = "100.00"  period = "month" }  hold_usd = "0.01" }
default_plan = "free"
END

# A request that must be answered within the time, and with one of the statuses.
sub answered {
    my ($gate, $name, $want, $seconds, @request) = @_;
    my $start  = time;
    my $answer = $gate->request(@request);
    like $answer->{status}, qr/\A(?:$want)\z/, "$name: $want" or diag $answer->{body}, $gate->logs;
    cmp_ok time - $start, '<', $seconds, "$name: in time";
    return $answer;
}

for my $kind (Spendgate::E2E::server_kinds()) {
    my $gate = Spendgate::E2E->new(plans => $plans);
    $gate->start_web($kind);
    my $secret = $gate->key(subject => $gate->subject('quentin'));
    my @request = ('GET', '/api/file.txt', key => $secret);
    is $gate->decided(@request)->{status}, 200, "$kind: before";

    # The store is gone. A process that has the file of SQLite open may still use it: the money is in that file, nothing
    # is lost.
    $gate->take_store_away;
    my $gone = Spendgate::E2E::on_sqlite() ? qr/\A(?:200|503)\z/ : qr/\A503\z/;
    for my $i (1 .. 5) {
        my $answer = $gate->request(@request);
        like $answer->{status}, $gone, "$kind: store gone: served from the open file, or 503";
        like $answer->{headers}{'retry-after'}[0] // '', qr/\A[1-9]\d*\z/, "$kind: with Retry-After"
          if $answer->{status} == 503 && $kind ne 'fcgid';    # mod_fcgid drops the headers of a denial
    }
    $gate->give_store_back;
    is $gate->decided(@request)->{status}, 200, "$kind: the store is back";

    # The store is no database of ours any more, for processes that start now.
    $gate->stop($_) for qw(lighttpd apache nginx);
    $gate->stop($_) for qw(authorizer tracker);
    $gate->break_store;
    $gate->start_web($kind);
    answered($gate, "$kind: a broken store", 503, 5, @request);
    answered($gate, "$kind: a broken store and a POST", 503, 5, 'POST', '/api/env.php', key => $secret, body => 'x' x 200_000);
    my ($status, $body) = $gate->tracker('POST', '/v1/spend', { subject => $gate->subject('quentin'), cost_usd => '0.01' });
    is $status, 503, "$kind: a broken store: the tracker says so";
    is $body->{error}, 'store_unavailable', "$kind: by its name";
    $gate->stop($_) for qw(lighttpd apache nginx);
    $gate->stop($_) for qw(authorizer tracker);
    $gate->mend_store;
    $gate->start_web($kind);
    is $gate->decided(@request)->{status}, 200, "$kind: the store is whole again";
    is $gate->decided(@request)->{status}, 200, "$kind: and works";

    # Killed workers come back; no request passes that was not checked.
    my @workers = grep { name_of($_) eq 'spendgate-autho' }
      map { ($_, $gate->children_of($_)) } map { $gate->children_of($gate->pid($_)) } grep { $gate->pid($_) } qw(lighttpd apache);
    @workers = $gate->children_of($gate->pid('authorizer')) if $gate->pid('authorizer');
    ok @workers > 0, "$kind: there are workers";
    kill 'KILL', @workers;
    my %after;
    my $end = time + 15;
    do {
        $after{ my $now = $gate->request(@request)->{status} }++;
        sleep 0.1 if $now != 200;
    } until $after{200} || time > $end;
    ok $after{200}, "$kind: killed workers: new ones answer" or diag explain \%after, $gate->logs;
    delete @after{qw(200 500 503)};
    is join(' ', keys %after), '', "$kind: killed workers: nothing but 500 and 503 meanwhile";
    $gate->decided(@request) for 1 .. 3;
    answered($gate, "$kind: killed workers: an unknown key is still refused", 401, 5, 'GET', '/api/file.txt', key => 'ak_nope');
    kill_in_flight($gate, $kind) if $gate->pid('authorizer');

    # The authorizer is down.
    if ($gate->pid('authorizer')) {
        ok $gate->stop('authorizer'), "$kind: the authorizer ends on SIGTERM";
        is $gate->exit_status('authorizer'), 0, "$kind: with 0";
        my $down = answered($gate, "$kind: authorizer down", 503, 5, @request);
        answered($gate, "$kind: authorizer down, no key", 503, 5, 'GET', '/api/file.txt');
        if ($kind eq 'authnz-fcgi' || $kind eq 'nginx') {
            is((Spendgate::E2E::body_json($down) // {})->{error}, 'auth_unavailable', "$kind: authorizer down: JSON");
            is "@{ $down->{headers}{'retry-after'} // [] }", '2', "$kind: authorizer down: Retry-After";
        }
        $gate->start_authorizer(listen => $kind eq 'authnz-fcgi' ? 'tcp' : 'unix');
        is $gate->decided(@request)->{status}, 200, "$kind: it is back";
    }
    my ($code, $out, $err) = $gate->cli('verify');
    is $code, 0, "$kind: spendgate verify" or diag $out, $err;
    is index($gate->logs, $secret), -1, "$kind: no credential in any log";
    unlike $gate->logs, qr/AddressSanitizer|runtime error:|LeakSanitizer/, "$kind: no sanitizer report";
}

sub name_of {
    my ($pid) = @_;
    open my $file, '<', "/proc/$pid/comm" or return '';
    chomp(my $name = <$file> // '');
    return $name;
}

# Workers die while they wait for Clerk: their clients are refused, nobody hangs, nobody passes.
sub kill_in_flight {
    my ($gate, $kind) = @_;
    $gate->clerk_behave(endpoint => 'verify', delay_ms => 1000);
    my $fresh = $gate->key(subject => $gate->subject('rupert'));
    my $killer = fork // die;
    if ($killer == 0) {
        sleep 0.4;
        kill 'KILL', $gate->children_of($gate->pid('authorizer'));
        POSIX::_exit(0);
    }
    my $start = time;
    my @answers = $gate->parallel(4, sub { return { status => $gate->get('/api/file.txt', key => $fresh)->{status} } });
    waitpid $killer, 0;
    $gate->clerk_calm;
    cmp_ok time - $start, '<', 8, "$kind: killed in flight: nobody hangs";
    is scalar(grep { ($_->{status} // 0) !~ /\A(?:500|503)\z/ } @answers), 0, "$kind: killed in flight: 500 or 503"
      or diag explain \@answers;
    is $gate->decided('GET', '/api/file.txt', key => $fresh)->{status}, 200, "$kind: killed in flight: the next one passes";
    return;
}
done_testing;

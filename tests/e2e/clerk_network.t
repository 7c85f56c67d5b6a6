# SPDX-License-Identifier: MIT
# The way to Clerk: TLS and wrong certificates, connections that are kept, proxies.
use strict;
use warnings;
use FindBin qw($Bin);
use lib "$Bin/lib";
use Spendgate::E2E;
use Spendgate::TLS;
use Test::More;
use Time::HiRes qw(sleep time);

my $file  = '/api/file.txt';
my $plans = <<'END';
plan "free" { budget "month" { limit_usd = "100"  period = "month" }  hold_usd = "0.01" }
default_plan = "free"
END
my %proxies = map { $_ => 'http://127.0.0.1:1' } qw(http_proxy https_proxy all_proxy HTTP_PROXY HTTPS_PROXY ALL_PROXY);

sub status_of { my ($gate, $key) = @_; return $gate->authorize($file, key => $key, explain => 0)->{status} }

# The same until it is decided: 503 means "ask again".
sub patient {
    my ($gate, $key) = @_;
    for (1 .. 100) {
        my $status = status_of($gate, $key);
        return $status if $status != 503;
        sleep 0.2;
    }
    return 503;
}

# A new key while Clerk cannot be reached: 503, in time, while a known one passes; and what the log says.
sub check_unavailable {
    my ($gate, $name, $known, $said) = @_;
    my $logged = length $gate->logs;
    my $fresh  = $gate->key(subject => $gate->subject('mallory'));
    my $start  = time;
    my $answer = $gate->authorize($file, key => $fresh, explain => 0);
    cmp_ok time - $start, '<', 3, "$name: answered in time";
    is $answer->{status}, 503, "$name: 503" or diag $gate->logs;
    is $answer->{error}, 'auth_unavailable', "$name: auth_unavailable";
    ok $answer->{headers}{'retry-after'}, "$name: Retry-After";
    is status_of($gate, $known), 200, "$name: the known key still passes";
    like $gate->logs, $said, "$name: the log says what to do" or diag $gate->logs;
    is index($gate->logs, $_), -1, "$name: no secret in any log" for $known, $fresh, Spendgate::E2E::SECRET_KEY();
    return;
}

# ---- never a proxy for this machine ---------------------------------------------------------------------

my $local = Spendgate::E2E->new(plans => $plans);
$local->start_clerk;
my $socket = $local->path('run/authorizer.sock');
my $proxy = Spendgate::TLS::start_proxy($local, 9);
$local->start('authorizer', [ $local->path('bin/spendgate-authorizer'), '--config', $local->config, '--listen', "unix:$socket", '--workers', 1 ],
    env => { map { $_ => $proxy } keys %proxies }, ready => sub { Spendgate::E2E::_accepts($socket) });
$local->{authorizer_address} = $socket;
is status_of($local, $local->key(subject => $local->subject("user$_"))), 200, 'a loopback address with a proxy in the environment' for 1 .. 3;
is $local->read_file('log/proxy.log'), '', 'the proxy was not asked';
undef $local;

# ---- TLS ------------------------------------------------------------------------------------------------

SKIP: {
    skip 'this machine has no user namespaces, so no authority of our own can be trusted', 1 if !Spendgate::TLS::available();
    my $gate = Spendgate::E2E->new(plans => $plans, clerk => 'timeout = "10s"  connect_timeout = "5s"');
    $gate->start_clerk;
    my $tls = Spendgate::TLS->new($gate);
    $gate->write_settings(clerk_url => 'https://localhost:' . $tls->port);
    $tls->start($tls->certificate('good', 'localhost'));
    $tls->start_authorizer(workers => 1, env => \%proxies);
    my @keys = map { $gate->key(subject => $gate->subject("user$_")) } 1 .. 20;
    is_deeply [ map { status_of($gate, $_) } @keys ], [ (200) x 20 ], '20 keys over TLS pass' or diag $gate->logs;
    my @ports = $tls->client_ports;
    is scalar(@ports), 20, 'after 20 calls to Clerk';
    is scalar(keys %{ { map { $_ => 1 } @ports } }), 1, 'over one connection: one TLS handshake';
    is $gate->clerk_calls, 20, 'which the stand-in saw';

    # Clerk closes connections that idle, or restarts.
    $tls->stop;
    $tls->start('good');
    is patient($gate, $gate->key(subject => $gate->subject('late'))), 200, 'a connection that was closed is made anew';

    my @wrong = (
        [ 'a self-signed certificate', $tls->certificate('self', 'localhost', self_signed => 1) ],
        [ 'a certificate for another host', $tls->certificate('other', 'clerk.example') ],
        [ 'a certificate that is over', $tls->certificate('over', 'localhost', days => -1) ],
    );
    for my $case (@wrong) {
        my ($name, $certificate) = @$case;
        $tls->stop;
        $tls->start($certificate);
        my $calls = $gate->clerk_calls;
        check_unavailable($gate, $name, $keys[0], qr/its certificate is not valid here: check clerk \{ api_url \}, this machine's clock and its CA certificates/);
        is $gate->clerk_calls, $calls, "$name: nothing was sent to it";
    }
    $tls->stop;
    $tls->start('good');
    is patient($gate, $gate->key(subject => $gate->subject('again'))), 200, 'the right certificate is back: keys pass';
    $gate->stop('authorizer');

    # Through a proxy: the name is one that no resolver knows.
    $tls->stop;
    $tls->start($tls->certificate('far', 'clerk.invalid'));
    $gate->write_settings(clerk_url => 'https://clerk.invalid', clerk => 'timeout = "2s"  connect_timeout = "1s"');
    $proxy = Spendgate::TLS::start_proxy($gate, $tls->port);
    $tls->start_authorizer(workers => 1, env => { https_proxy => $proxy });
    my @far = map { $gate->key(subject => $gate->subject("far$_")) } 1 .. 10;
    is_deeply [ map { patient($gate, $_) } @far ], [ (200) x 10 ], 'keys pass through https_proxy' or diag $gate->logs;
    is $gate->read_file('log/proxy.log'), "CONNECT clerk.invalid:443 HTTP/1.1\n", 'over one tunnel, and the proxy sees no credential';
    $gate->stop('proxy', 'KILL');    # with its tunnels
    check_unavailable($gate, 'the proxy is gone', $far[0], qr/check clerk \{ api_url \}, the network and its proxy/);
    $gate->stop('authorizer');

    $proxy = Spendgate::TLS::start_proxy($gate, $tls->port, refuse => 1);
    $tls->start_authorizer(workers => 1, env => { all_proxy => $proxy });
    check_unavailable($gate, 'the proxy refuses', $far[0], qr/check clerk \{ api_url \}, the network and its proxy/);
    $gate->stop('authorizer');
    $gate->write_file('log/proxy.log', '');
    $tls->start_authorizer(workers => 1, env => { https_proxy => $proxy, no_proxy => 'clerk.invalid' });
    check_unavailable($gate, 'no_proxy', $far[0], qr/check clerk \{ api_url \}, the network and its proxy/);
    is $gate->read_file('log/proxy.log'), '', 'no_proxy: the proxy was not asked';
}
done_testing;

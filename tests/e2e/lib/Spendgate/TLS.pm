# SPDX-License-Identifier: MIT
package Spendgate::TLS;

# TLS in front of Clerk's stand-in: a certificate authority of this run, an Apache (mod_ssl, mod_proxy) that
# has a certificate of it, and authorizers that see this authority in place of the machine's; a forward proxy.
use strict;
use warnings;

use Carp qw(croak);
use IO::Select ();
use IO::Socket::INET ();
use Spendgate::E2E;
use Time::HiRes qw(sleep);

# A private view of /etc/ssl/certs needs a user namespace.
sub available { return system('unshare -rm true 2>/dev/null') == 0 }

sub _openssl {
    my (@arguments) = @_;
    open my $error, '>&', \*STDERR or die;
    open STDERR, '>', '/dev/null' or die;
    my $status = system 'openssl', @arguments;
    open STDERR, '>&', $error or die;
    croak "openssl @arguments: exit $status" if $status != 0;
    return;
}

# new(GATE): the authority, in the gate's folder.
sub new {
    my ($class, $gate) = @_;
    my $self = bless { gate => $gate, folder => $gate->path('tls'), port => Spendgate::E2E::free_port() }, $class;
    mkdir $self->{folder} or croak "$self->{folder}: $!";
    mkdir "$self->{folder}/certs" or croak "$self->{folder}/certs: $!";
    _openssl('req', '-x509', '-newkey', 'rsa:2048', '-nodes', '-days', 2, '-subj', '/CN=Test authority', '-keyout',
        "$self->{folder}/ca.key", '-out', "$self->{folder}/certs/ca-certificates.crt");
    return $self;
}

sub port { return $_[0]{port} }

# A certificate for `host`; self_signed => 1: by nobody else; days => -1: one that is over.
sub certificate {
    my ($self, $name, $host, %option) = @_;
    my $at = "$self->{folder}/$name";
    _openssl('req', '-new', '-newkey', 'rsa:2048', '-nodes', '-subj', "/CN=$host", '-keyout', "$at.key", '-out', "$at.csr");
    open my $extensions, '>', "$at.ext" or die $!;
    print {$extensions} 'subjectAltName=' . ($host =~ /\A[\d.]+\z/ ? 'IP' : 'DNS') . ":$host\n";
    close $extensions;
    my @signer = $option{self_signed} ? ('-signkey', "$at.key")
      : ('-CA', "$self->{folder}/certs/ca-certificates.crt", '-CAkey', "$self->{folder}/ca.key", '-CAcreateserial');
    _openssl('x509', '-req', '-in', "$at.csr", '-days', $option{days} // 2, '-extfile', "$at.ext", '-out', "$at.crt", @signer);
    system 'chown', '-R', "$self->{gate}{uid}:$self->{gate}{gid}", $self->{folder} if defined $self->{gate}{uid};
    return $name;
}

# Apache with this certificate in front of the stand-in. Its log has the client's port per request.
sub start {
    my ($self, $name) = @_;
    my $gate   = $self->{gate};
    my $load   = join '', map { "LoadModule ${_}_module /usr/lib/apache2/modules/mod_$_.so\n" }
      qw(mpm_event authz_core socache_shmcb ssl proxy proxy_http);
    my $config = $gate->write_file("tls/$name.conf", <<"END");
ServerRoot "$self->{folder}"
ServerName localhost
Listen 127.0.0.1:$self->{port}
PidFile "$self->{folder}/apache.pid"
DefaultRuntimeDir "$self->{folder}"
ErrorLog "@{[ $gate->path('log/tls_error.log') ]}"
$load
LogFormat "%{remote}p %>s %U" requests
CustomLog "@{[ $gate->path('log/tls_access.log') ]}" requests
StartServers 1
ServerLimit 1
ThreadsPerChild 25
MaxRequestWorkers 25
MaxKeepAliveRequests 0
KeepAliveTimeout 60
GracefulShutdownTimeout 1
SSLEngine on
SSLCertificateFile "$self->{folder}/$name.crt"
SSLCertificateKeyFile "$self->{folder}/$name.key"
ProxyPass "/" "$gate->{clerk_url}/"
END
    $gate->start('tls', [ '/usr/sbin/apache2', '-D', 'FOREGROUND', '-f', $config ],
        ready => sub { Spendgate::E2E::_accepts("127.0.0.1:$self->{port}") });
    return;
}

sub stop { my ($self) = @_; return $self->{gate}->stop('tls') }

# Client ports of the requests logged so far, one per request: equal ones came over one connection.
sub client_ports {
    my ($self) = @_;
    return $self->{gate}->read_file('log/tls_access.log') =~ /^(\d+) /mg;
}

# The authorizer, trusting this authority only (in a mount namespace of its own).
sub start_authorizer {
    my ($self, %option) = @_;
    my $gate   = $self->{gate};
    my $socket = $gate->path('run/authorizer.sock');
    $gate->start(
        'authorizer',
        [
            'unshare', '-rm', 'sh', '-c', 'mount --bind "$0" /etc/ssl/certs && exec "$@"', "$self->{folder}/certs",
            $gate->path('bin/spendgate-authorizer'), '--config', $gate->config, '--listen', "unix:$socket",
            '--workers', $option{workers} // 1
        ],
        env   => $option{env},
        ready => sub { Spendgate::E2E::_accepts($socket) },
    );
    $gate->{authorizer_address} = $socket;
    return;
}

# ---- a forward proxy ------------------------------------------------------------------------------------

# A proxy on a loopback port, as a process of the gate: CONNECT anything leads to 127.0.0.1:PORT; what it was asked
# is in log/proxy.log, a line per request. refuse => 1: it answers 403.
sub start_proxy {
    my ($gate, $target_port, %option) = @_;
    my $port = Spendgate::E2E::free_port();
    $gate->start('proxy', [ $^X, '-I' . Spendgate::E2E::checkout() . '/tests/e2e/lib', '-MSpendgate::TLS', '-e',
            'Spendgate::TLS::serve_proxy(@ARGV)', $port, $target_port, $option{refuse} // 0 ],
        ready => sub { Spendgate::E2E::_accepts("127.0.0.1:$port") });
    return "http://127.0.0.1:$port";
}

sub serve_proxy {
    my ($port, $target_port, $refuse) = @_;
    my $listener = IO::Socket::INET->new(LocalAddr => '127.0.0.1', LocalPort => $port, Listen => 50, ReuseAddr => 1) or die $@;
    $SIG{CHLD} = 'IGNORE';
    $| = 1;
    while (my $client = $listener->accept) {
        my $pid = fork // die;
        if ($pid == 0) {
            _serve_one($client, $target_port, $refuse);
            POSIX::_exit(0);
        }
        close $client;
    }
    return;
}

sub _serve_one {
    my ($client, $target_port, $refuse) = @_;
    my $head = '';
    until ($head =~ /\r\n\r\n/) {
        sysread $client, $head, 1, length $head or return;
    }
    my ($line) = $head =~ /\A([^\r\n]*)/;
    my $credential = $head =~ /^authorization:/mi ? ' with a credential' : '';
    syswrite STDOUT, "$line$credential\n";
    return syswrite $client, "HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\n" if $refuse || $line !~ /\ACONNECT /;
    my $server = IO::Socket::INET->new(PeerAddr => '127.0.0.1', PeerPort => $target_port) or return;
    syswrite $client, "HTTP/1.1 200 Connection established\r\n\r\n";
    my $select = IO::Select->new($client, $server);
    while (my @ready = $select->can_read) {
        for my $from (@ready) {
            my $got = sysread $from, my $bytes, 65_536;
            return if !$got;
            syswrite $from == $client ? $server : $client, $bytes;
        }
    }
    return;
}

1;

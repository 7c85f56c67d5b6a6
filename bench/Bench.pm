# SPDX-License-Identifier: MIT
package Bench;

# The set-up that bench/run and bench/profile share: a real lighttpd on a loopback port with four guarded prefixes.
#
#     /bare/     a no-op that answers `Status: 200` (bench/noop, plain libfcgi)
#     /same/     the same no-op, answering the header lines that our authorizer answers
#     /free/     our authorizer, a cached key, no hold
#     /hold/     our authorizer, a cached key, a hold per request
#
# All have the same number of processes. They are started by lighttpd, and each process has a socket of its own (as in
# conf/lighttpd/05-spendgate.conf), or, with `shared', run by themselves on one socket (05-spendgate-sockets.conf).
# Behind each is one small static file.
use strict;
use warnings;

use Cwd qw(abs_path);
use File::Basename qw(dirname);
use File::Path qw(make_path remove_tree);
use POSIX ();
use Time::HiRes qw(sleep time);

use lib dirname(abs_path(__FILE__)) . '/../tests/e2e/lib';
use FastCGI ();
use Spendgate::E2E ();

use constant SUBJECT => 'bench';

sub new {
    my ($class, %option) = @_;
    my $gate = Spendgate::E2E->new;
    my $self = bless {
        gate    => $gate,
        workers => $option{workers} // 4,
        wrap    => $option{wrap} // '',
        shared  => $option{shared},
    }, $class;
    # The cache belongs on tmpfs; the store where the machine's disk is.
    $self->{shm} = -d '/dev/shm' && -w _ ? "/dev/shm/spendgate-bench.$$" : $gate->path('cache');
    make_path($self->{shm});
    chown $gate->{uid}, $gate->{gid}, $self->{shm} if defined $gate->{uid};
    $gate->_copy(Spendgate::E2E::build_folder() . '/bench/noop', 'bin/noop', 0755);
    for my $prefix (qw(bare same free hold)) {
        $gate->write_file("www/$prefix/index.txt", "ok\n");
    }
    $gate->start_clerk;
    $self->_write_settings;
    $self->{key} = $gate->key(subject => $gate->subject(SUBJECT));
    $self->_record_answer;
    $self->_start_lighttpd;
    $self->_warm;
    return $self;
}

sub DESTROY {
    my ($self) = @_;
    local ($?, $@, $!);
    $self->{gate}->stop_all if $self->{gate};
    remove_tree($self->{shm}) if $self->{shm} && $self->{shm} =~ m{\A/dev/shm/};
    return;
}

sub gate { return $_[0]{gate} }
sub key  { return $_[0]{key} }
sub url  { my ($self, $prefix) = @_; return "http://127.0.0.1:$self->{port}/$prefix/index.txt" }

# A plan with one hard monthly budget, as the sample has it; only the amounts are so that nothing is refused.
sub _write_settings {
    my ($self) = @_;
    my $gate   = $self->{gate};
    my $folder = $gate->folder;
    $gate->write_file('etc/spendgate.conf', <<"END");
store { url = "sqlite:$folder/store/spendgate.db" }
cache { path = "$self->{shm}/cache.db" }
clerk {
    secret_key_file = "$folder/etc/clerk_secret_key"
    api_url = "$gate->{clerk_url}"
    cache_ttl = "1h"
}
plan "bench" { budget "month" { limit_usd = "1000000.00"  period = "month" } }
default_plan = "bench"
route "/hold/" { hold_usd = "0.01" }
route "/free/" { hold_usd = "0" }
END
    return;
}

# One request straight to our authorizer: what it answers is what the second no-op will answer.
sub _record_answer {
    my ($self) = @_;
    my $gate = $self->{gate};
    my $socket = $gate->path('run/recording.sock');
    $gate->start(
        'recording',
        [
            $gate->path('bin/spendgate-authorizer'),
            '--config', $gate->config, '--listen', "unix:$socket", '--workers', 1
        ],
        ready => sub { -S $socket },
    );
    my $answer = FastCGI::request(
        $socket,
        {
            REQUEST_METHOD     => 'GET',
            REQUEST_URI        => '/free/index.txt',
            REMOTE_ADDR        => '127.0.0.1',
            HTTP_AUTHORIZATION => "Bearer $self->{key}",
        },
        undef,
        role => FastCGI::AUTHORIZER,
    );
    $gate->stop('recording');
    $answer->{status} == 200 or die "our authorizer answers $answer->{status}:\n$answer->{raw}\n" . $gate->logs;
    $self->{answer} = $answer->{raw};
    $gate->write_file('etc/answer', $answer->{raw});
    return;
}

# Processes of `program` on one socket, which each has as descriptor 0: as spawn-fcgi does it, but they end with us.
sub _start_shared {
    my ($self, $prefix, $program, %environment) = @_;
    my $gate   = $self->{gate};
    my $socket = $gate->path("run/$prefix.sock");
    my @ours = ($gate->path('bin/spendgate-authorizer'), '--listen', "unix:$socket", '--workers', $self->{workers});
    my @noop = ('/usr/bin/perl', '-e', <<'END', $socket, $self->{workers}, $program);
use IO::Socket::UNIX;
use POSIX ();
my $listener = IO::Socket::UNIX->new(Local => $ARGV[0], Listen => 1024) or die "$ARGV[0]: $!";
open STDIN, '<&', $listener or die;
my @pids = map { my $pid = fork // die; $pid || exec { $ARGV[2] } $ARGV[2]; $pid } 1 .. $ARGV[1];
$SIG{TERM} = sub { kill 'TERM', @pids; exit 0 };
wait for @pids;
END
    $gate->start($prefix, $program =~ /noop/ ? \@noop : \@ours, env => \%environment, ready => sub { -S $socket });
    return;
}

sub _guard {
    my ($self, $prefix, $program, %environment) = @_;
    my $socket = $self->{gate}->path("run/$prefix.sock");
    my $how = '';
    if ($self->{shared}) {
        $self->_start_shared($prefix, $program, %environment);
    } else {
        my $list = join ', ', map { qq("$_" => "$environment{$_}") } keys %environment;
        $how = qq(, "bin-path" => "$program", "max-procs" => $self->{workers}, "bin-environment" => ( $list ),)
            . ' "bin-copy-environment" => ( "PATH" )';
    }
    return qq("/$prefix/" => (( "mode" => "authorizer", "check-local" => "disable", "socket" => "$socket"$how ))\n);
}

sub _start_lighttpd {
    my ($self) = @_;
    my $gate   = $self->{gate};
    my $folder = $gate->folder;
    my $port   = $self->{port} = Spendgate::E2E::free_port();
    my $ours   = ($self->{wrap} =~ s/FOLDER/$folder/gr) . "$folder/bin/spendgate-authorizer";
    my @config = (SPENDGATE_CONFIG => $gate->config);
    my $guards = join ', ',
        $self->_guard('bare', "$folder/bin/noop"),
        $self->_guard('same', "$folder/bin/noop", NOOP_ANSWER => "$folder/etc/answer"),
        $self->_guard('free', $ours, @config),
        $self->_guard('hold', $ours, @config);
    my $file = $gate->write_file('etc/lighttpd.conf', <<"END");
server.modules = ( "mod_fastcgi" )
server.document-root = "$folder/www"
server.bind = "127.0.0.1"
server.port = $port
server.errorlog = "$folder/log/error.log"
server.breakagelog = "$folder/log/breakage.log"
server.max-fds = 4096
server.max-keep-alive-requests = 1000000
server.feature-flags += ( "server.h2proto" => "disable" )
mimetype.assign = ( ".txt" => "text/plain" )
fastcgi.server = ( $guards )
END
    $gate->start(
        'lighttpd',
        [ '/usr/sbin/lighttpd', '-D', '-f', $file ],
        ready => sub { Spendgate::E2E::http('GET', $port, '/', timeout => 1)->{status} != 599 },
    );
    return;
}

# Every prefix answers, and every process has asked Clerk or the cache once.
sub _warm {
    my ($self) = @_;
    for my $prefix (qw(bare same free hold)) {
        for (1 .. 4 * $self->{workers}) {
            my $answer;
            for (1 .. 50) {
                $answer = Spendgate::E2E::http(
                    'GET', $self->{port}, "/$prefix/index.txt",
                    headers => [ [ 'Authorization', "Bearer $self->{key}" ] ]
                );
                last if $answer->{status} != 503;
                sleep 0.1;
            }
            $answer->{status} == 200
              or die "/$prefix/ answers $answer->{status}: $answer->{body}\n" . $self->{gate}->logs;
        }
    }
    return;
}

# The processes that serve a prefix.
sub processes {
    my ($self, $prefix) = @_;
    my $gate = $self->{gate};
    return $gate->children_of($gate->pid($prefix)) if $self->{shared};
    my $socket = $gate->path("run/$prefix.sock");
    my %inode;
    open my $unix, '<', '/proc/net/unix' or die "/proc/net/unix: $!";
    while (my $line = <$unix>) {
        my @field = split ' ', $line;
        $inode{ $field[6] } = 1 if defined $field[7] && $field[7] =~ /\A\Q$socket\E-\d+\z/;
    }
    return grep { my $link = readlink "/proc/$_/fd/0"; $link && $link =~ /\[(\d+)\]/ && $inode{$1} }
        $gate->children_of($gate->pid('lighttpd'));
}

# Microseconds of processor that processes have used.
sub processor_us {
    my ($self, @pids) = @_;
    my $us = 0;
    for my $pid (@pids) {
        open my $file, '<', "/proc/$pid/schedstat" or next;
        $us += (split ' ', scalar <$file>)[0] / 1000;
    }
    return $us;
}

# wrk for some seconds: requests per second, and how many; dies when an answer was not 200.
sub load {
    my ($self, $prefix, %option) = @_;
    my $seconds = $option{seconds} // 2;
    my @wrk = (
        'wrk', '-t1', '-c' . ($option{clients} // 16), "-d${seconds}s", '--latency',
        '-H', "Authorization: Bearer $self->{key}", $self->url($prefix)
    );
    open my $pipe, '-|', @wrk or die "wrk: $!\n";
    my $text = do { local $/; <$pipe> };
    close $pipe or die "wrk failed: $text\n";
    $text =~ /Non-2xx|Socket errors/ and die "/$prefix/: $text\n" . $self->{gate}->logs;
    my ($count) = $text =~ /(\d+) requests in/      or die "wrk said: $text\n";
    my ($rate)  = $text =~ m{Requests/sec:\s+([\d.]+)};
    my ($p50, $p99) = map { $text =~ /^\s+$_%\s+([\d.]+)(us|ms|s)/m ? $1 * { us => 1, ms => 1e3, s => 1e6 }->{$2} : 0 } 50, 99;
    return { rate => $rate, requests => $count, p50_us => $p50, p99_us => $p99 };
}

sub machine {
    my $read = sub { my ($file, $pattern) = @_; open my $in, '<', $file or return '?'; local $/; (<$in> // '') =~ $pattern ? $1 : '?' };
    my $cpus = () = do { open my $in, '<', '/proc/cpuinfo' or die; local $/; <$in> } =~ /^processor/mg;
    my ($lighttpd) = `/usr/sbin/lighttpd -v 2>&1` =~ m{(lighttpd/\S+)};
    return sprintf '%d x %s; Linux %s; %s; store on %s', $cpus, $read->('/proc/cpuinfo', qr/model name\s*:\s*(.*)/),
        (POSIX::uname())[2], $lighttpd // 'lighttpd', `stat -f -c %T /tmp` =~ s/\s+\z//r;
}

1;

# SPDX-License-Identifier: MIT
package Spendgate::Wire;

# What travels between our programs and a PostgreSQL server: a proxy on a unix socket that reads the protocol
# (PostgreSQL manual, "Message Formats") and counts, at every session, how often the program says its last word and then
# waits for the server's.
#
#     my $wire = Spendgate::Wire->new($cluster, $gate->path('run/wire'));
#     Spendgate::E2E->new(cluster => $cluster, database => $d, url => $cluster->url($d, undef, $wire->option));
#     my $seen = $wire->during(sub { ... });    # { trips => 2, turns => 2, bytes => 1234, sessions => 0, left => '' }
#
# A round trip ends with ReadyForQuery (Z); what the program sent for it ends with Sync (S), Query (Q) or the startup.
# `turns` counts it another way: how often the program sent something after the server had spoken. `left` says what
# was sent while an answer was still on its way, which would make trips overlap; nothing of ours does.
use strict;
use warnings;

use Carp qw(confess);
use IO::Select ();
use IO::Socket::UNIX ();
use POSIX ();
use Time::HiRes qw(sleep time);

use constant { PORT => 5432, READ => 65_536, SETTLE_SECONDS => 0.05, WAIT_SECONDS => 20 };

sub new {
    my ($class, $cluster, $folder) = @_;
    mkdir $folder or confess "$folder: $!";
    chmod 0777, $folder;
    my $self = bless { folder => $folder, log => "$folder/log", owner => $$ }, $class;
    my $name = '/.s.PGSQL.' . PORT;
    my $listener = IO::Socket::UNIX->new(Local => "$folder$name", Listen => 64) or confess "$folder$name: $!";
    chmod 0777, "$folder$name";
    open my $log, '>>', $self->{log} or confess "$self->{log}: $!";
    $log->autoflush(1);
    # It ends with us, whatever becomes of us.
    pipe my $alive, my $ours or confess "pipe: $!";
    my $pid = fork // confess "fork: $!";
    if ($pid == 0) {
        close $ours;
        setpgrp;
        eval { _serve($listener, $alive, $cluster->folder . $name, $log) };
        print {$log} "broken $@\n" if $@;
        POSIX::_exit(0);
    }
    close $alive;
    @{$self}{qw(pid ours)} = ($pid, $ours);
    return $self;
}

sub DESTROY {
    my ($self) = @_;
    return if $self->{owner} != $$;
    local ($?, $!);
    close $self->{ours};
    waitpid $self->{pid}, 0;
    return;
}

sub option { return "&host=$_[0]{folder}" }

# ---- the proxy --------------------------------------------------------------------------------------

sub _serve {
    my ($listener, $alive, $server, $log) = @_;
    my $select = IO::Select->new($listener, $alive);
    my %side;    # by file number: { to, session, server }
    my $sessions = 0;
    while (1) {
        for my $ready ($select->can_read) {
            return if $ready == $alive;
            if ($ready == $listener) {
                my $client = $listener->accept or next;
                my $upstream = IO::Socket::UNIX->new(Peer => $server) or do { close $client; next };
                my %session = (number => ++$sessions, client => '', server => '', begun => 0, spoke => 'server', waiting => 0);
                print {$log} "session $sessions\n";
                $side{ fileno $client }   = { to => $upstream, from => $client,   session => \%session, who => 'client' };
                $side{ fileno $upstream } = { to => $client,   from => $upstream, session => \%session, who => 'server' };
                $select->add($client, $upstream);
                next;
            }
            my $side = $side{ fileno($ready) // next } or next;
            my $got = sysread $ready, my $bytes, READ;
            if (!$got) {
                for my $end (@{$side}{qw(from to)}) {
                    $select->remove($end);
                    delete $side{ fileno $end };
                }
                close $_ for @{$side}{qw(from to)};
                next;
            }
            _read($side->{session}, $side->{who}, $bytes, $log);    # told before it is passed on
            for (my $sent = 0; $sent < $got;) {
                $sent += syswrite($side->{to}, $bytes, $got - $sent, $sent) // last;
            }
        }
    }
}

# Whole messages of what one side has said so far.
sub _read {
    my ($session, $who, $bytes, $log) = @_;
    my $said = $who eq 'client' && $session->{spoke} eq 'server' ? "turn\n" : '';
    $session->{spoke} = $who;
    $said .= "bytes " . length($bytes) . "\n";
    $session->{$who} .= $bytes;
    while (1) {
        my $plain = $who eq 'client' && !$session->{begun};    # the startup has no type
        last if length $session->{$who} < ($plain ? 4 : 5);
        my ($type, $length) = $plain ? ('startup', unpack 'N', $session->{$who}) : unpack 'a N', $session->{$who};
        last if length $session->{$who} < $length + ($plain ? 0 : 1);
        substr $session->{$who}, 0, $length + ($plain ? 0 : 1), '';
        $session->{begun} = 1;
        if ($who eq 'server') {
            next if $type ne 'Z';
            $session->{waiting} = 0;
            $said .= "trip $session->{number}\n";
        } else {
            $said .= "overlap $type\n" if $session->{waiting};
            $session->{waiting} = 1 if $type =~ /\A(?:S|Q|startup)\z/;
            $said .= "end\n" if $type eq 'X';
        }
    }
    print {$log} $said;
    return;
}

# ---- for the test -----------------------------------------------------------------------------------

sub _lines {
    my ($self) = @_;
    open my $file, '<', $self->{log} or confess "$self->{log}: $!";
    my @lines = <$file>;
    return @lines;
}

# What travelled while CODE ran, and until nothing more did. What the last answer left to do is in it too.
sub during {
    my ($self, $code) = @_;
    my $before = () = $self->_lines;
    $code->();
    my ($count, $end) = (-1, time + WAIT_SECONDS);
    my @lines;
    until ($count == @lines) {
        confess 'it never ends' if time > $end;
        $count = @lines;
        sleep SETTLE_SECONDS;
        @lines = $self->_lines;
    }
    splice @lines, 0, $before;
    confess "the proxy is $_" for grep { /\Abroken/ } @lines;
    my $bytes = 0;
    $bytes += $_ for map { /\Abytes (\d+)/ ? $1 : () } @lines;
    return {
        trips    => scalar(grep { /\Atrip/ } @lines),
        turns    => scalar(grep { /\Aturn/ } @lines) - scalar(grep { /\Aend/ } @lines),
        sessions => scalar(grep { /\Asession/ } @lines),
        bytes    => $bytes,
        left     => join('', map { /\Aoverlap (\S+)/ ? $1 : () } @lines),
    };
}

1;

# SPDX-License-Identifier: MIT
package Server;

# A small tracker on a loopback port: answers as its file "answer" says (status, body, seconds to wait), and keeps what
# it was asked in the file "asked".
use strict;
use warnings;

use File::Temp ();
use IO::Socket::INET;
use JSON::PP;
use POSIX ();
use Time::HiRes qw(sleep);

sub new {
    my ($class) = @_;
    my $self = bless { folder => File::Temp->newdir, pid => 0 }, $class;
    mkdir "$self->{folder}/spool" or die "spool: $!";
    $self->answer;
    my $listener = IO::Socket::INET->new(LocalAddr => '127.0.0.1', Listen => 20) or die "listen: $!";
    $self->{url} = 'http://127.0.0.1:' . $listener->sockport;
    $self->{pid} = fork // die "fork: $!";
    if ($self->{pid} == 0) {
        local $SIG{TERM} = 'DEFAULT';
        while (1) {
            my $client = $listener->accept or next;
            $self->_serve($client);
            close $client;
        }
        POSIX::_exit(0);
    }
    return $self;
}

sub _serve {
    my ($self, $client) = @_;
    my $request = '';
    while ($request !~ /\r\n\r\n/ || length($request) - $+[0] < ($request =~ /^content-length: (\d+)/im ? $1 : 0)) {
        sysread $client, $request, 65_536, length $request or return;
        $request =~ /\r\n\r\n/;
    }
    my ($head, $body) = split /\r\n\r\n/, $request, 2;
    open my $asked, '>>', "$self->{folder}/asked" or die "asked: $!";
    print {$asked} encode_json({ head => $head, body => $body }), "\n";
    close $asked;
    my ($status, $wait, $answer, $headers) = @{ decode_json($self->_file('answer')) }{qw(status wait body headers)};
    sleep $wait if $wait;
    printf {$client} "HTTP/1.1 %d X\r\nContent-Type: application/json\r\nContent-Length: %d\r\n%sConnection: close\r\n\r\n%s",
        $status, length $answer, $headers, $answer;
    return;
}

sub _file {
    my ($self, $name) = @_;
    open my $file, '<', "$self->{folder}/$name" or return '';
    local $/;
    return scalar(<$file>) // '';
}

sub answer {
    my ($self, %answer) = @_;
    open my $file, '>', "$self->{folder}/answer.new" or die "answer: $!";
    print {$file} encode_json({ status => 200, body => '{"charge_id":"chg_1"}', wait => 0, headers => '', %answer });
    close $file;
    rename "$self->{folder}/answer.new", "$self->{folder}/answer" or die "answer: $!";
    return;
}

sub asked {
    my ($self) = @_;
    return map { decode_json($_) } split /\n/, $self->_file('asked');
}

sub forget { my ($self) = @_; unlink "$self->{folder}/asked"; return }
sub url    { return $_[0]{url} }
sub spool  { return "$_[0]{folder}/spool" }

sub spooled {
    my ($self) = @_;
    return sort glob $self->spool . '/*';
}

sub stop {
    my ($self) = @_;
    return if !$self->{pid};
    kill 'TERM', $self->{pid};
    waitpid $self->{pid}, 0;
    $self->{pid} = 0;
    return;
}

sub DESTROY {
    my ($self) = @_;
    local ($?, $!, $@);
    $self->stop if $self->{pid};
    return;
}

1;

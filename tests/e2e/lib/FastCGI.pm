# SPDX-License-Identifier: MIT
package FastCGI;

# A small FastCGI client: what a web server would send, without a web server, so that a test decides about every
# parameter. One request per connection; responder, authorizer and filter role numbers are those of the
# specification (FastCGI 1.0, sections 3.3, 5 and 8).
#
#     my $answer = FastCGI::request('/run/tracker.sock', { REQUEST_METHOD => 'GET', ... }, $body);
#     # { status => 200, headers => { 'content-type' => 'application/json' }, body => '...', raw => '...' }
use strict;
use warnings;

use Carp qw(croak);
use IO::Select ();
use IO::Socket::INET ();
use IO::Socket::UNIX ();
use Time::HiRes qw(time);

use constant {
    FCGI_BEGIN_REQUEST => 1,
    FCGI_END_REQUEST   => 3,
    FCGI_PARAMS        => 4,
    FCGI_STDIN         => 5,
    FCGI_STDOUT        => 6,
    RESPONDER          => 1,
    AUTHORIZER         => 2,
    RECORD_MAX         => 65_528,
};

sub _record {
    my ($type, $content) = @_;
    return pack('CCnnCC', 1, $type, 1, length $content, 0, 0) . $content;
}

# A stream is its records and an empty one.
sub _stream {
    my ($type, $content) = @_;
    my $records = '';
    for (my $at = 0; $at < length $content; $at += RECORD_MAX) {
        $records .= _record($type, substr $content, $at, RECORD_MAX);
    }
    return $records . _record($type, '');
}

sub _length { my ($length) = @_; return $length < 128 ? pack('C', $length) : pack('N', $length | 0x8000_0000) }

sub _params {
    my ($params) = @_;
    return join '', map { _length(length $_) . _length(length $params->{$_}) . $_ . $params->{$_} } sort keys %$params;
}

sub _connect {
    my ($address) = @_;
    my $socket = $address =~ m{\A/}
        ? IO::Socket::UNIX->new(Peer => $address)
        : IO::Socket::INET->new(PeerAddr => $address);
    return $socket // croak "cannot connect to $address: $!";
}

# The records of an answer, up to its end or the end of the connection.
sub _read {
    my ($socket, $seconds) = @_;
    my ($bytes, %stream) = ('');
    my ($select, $until) = (IO::Select->new($socket), time + $seconds);
    while (1) {
        my $left = $until - time;
        croak "no answer within $seconds s" if $left <= 0 || !$select->can_read($left);
        my $got = sysread $socket, $bytes, 65_536, length $bytes;
        last unless $got;
        while (length $bytes >= 8) {
            my (undef, $type, undef, $length, $padding) = unpack 'CCnnC', $bytes;
            last if length $bytes < 8 + $length + $padding;
            $stream{$type} .= substr $bytes, 8, $length;
            substr $bytes, 0, 8 + $length + $padding, '';
            return \%stream if $type == FCGI_END_REQUEST;
        }
    }
    return \%stream;
}

# An answer's head and body, as a web server reads them.
sub parse {
    my ($raw) = @_;
    my ($head, $body) = split /\r?\n\r?\n/, $raw, 2;
    my (%headers, $status);
    for my $line (split /\r?\n/, $head // '') {
        my ($name, $value) = $line =~ /\A([!-9;-~]+):[ \t]*(.*)\z/ or croak "no header line: $line";
        if (lc $name eq 'status') { ($status) = $value =~ /\A([0-9]{3})\b/ }
        else                      { $headers{ lc $name } = $value }
    }
    return { status => $status // 0, headers => \%headers, body => $body // '', raw => $raw };
}

# Ask the program at `address` (a path, or HOST:PORT). Options: role (RESPONDER), seconds (20).
sub request {
    my ($address, $params, $body, %option) = @_;
    local $SIG{PIPE} = 'IGNORE';
    my $socket = _connect($address);
    my $role   = $option{role} // RESPONDER;
    my $bytes  = _record(FCGI_BEGIN_REQUEST, pack 'nCx5', $role, 0) . _stream(FCGI_PARAMS, _params($params));
    # Real servers send no input to an authorizer, so one that reads it hangs.
    $bytes .= _stream(FCGI_STDIN, $body // '') if $role != AUTHORIZER;
    while (length $bytes) {
        my $sent = syswrite $socket, $bytes;
        last unless $sent;    # it answered early; what it said is what counts
        substr $bytes, 0, $sent, '';
    }
    my $stream = _read($socket, $option{seconds} // 20);
    return parse($stream->{ +FCGI_STDOUT } // '');
}

1;

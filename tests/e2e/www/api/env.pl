#!/usr/bin/perl
# SPDX-License-Identifier: MIT
# What a Perl CGI script sees: its variables, and how much of the body arrived.
use strict;
use warnings;
use Digest::SHA qw(sha256_hex);
use JSON::PP ();

binmode STDIN;
my $length = $ENV{CONTENT_LENGTH} || 0;
my $body = '';
while (length $body < $length) {
    read(STDIN, $body, $length - length $body, length $body) or last;
}
print "Content-Type: application/json\r\n\r\n", JSON::PP->new->canonical->encode(
    {
        language => 'perl',
        method   => $ENV{REQUEST_METHOD},
        bytes    => length $body,
        sha256   => sha256_hex($body),
        env      => {%ENV},
    }
), "\n";

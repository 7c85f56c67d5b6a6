#!/usr/bin/perl
# SPDX-License-Identifier: MIT
# Spends 3 cents in two parts through the Perl client, and ends in the way that ?mode= says.
use strict;
use warnings;

use File::Basename qw(dirname);
use Time::HiRes qw(sleep time);

my $folder;

BEGIN {
    $folder = dirname(dirname(dirname($ENV{SCRIPT_FILENAME} // $0)));
    unshift @INC, "$folder/clients/perl/lib";
}
use Spendgate::Tracker;

my %query = map { split /=/, $_, 2 } split /&/, $ENV{QUERY_STRING} // '';
my $port = $query{tracker} // $ENV{SERVER_PORT};
$ENV{SPENDGATE_TRACKER_URL}        = "http://127.0.0.1:$port/spendgate";
$ENV{SPENDGATE_TRACKER_TOKEN}      = '';
$ENV{SPENDGATE_TRACKER_TOKEN_FILE} = "$folder/etc/tracker_token";
$ENV{SPENDGATE_SPOOL_DIR}          = "$folder/spool";
$ENV{SPENDGATE_HOLD_TTL}           = $query{ttl} // '';
my $mode = $query{mode} // 'ok';

$| = 1;
my $tracker = Spendgate::Tracker->from_environment;
print "Content-Type: text/plain\r\n\r\n";
if ($mode eq 'void') {
    $tracker->void;
    print 'voided';
    exit 0;
}
print $tracker->extend('0.10')->{amount_usd}, "\n" if $mode eq 'extend';
$tracker->spend('0.02', model => 'work');
$tracker->spend('0.01');
die "the page breaks after the work\n" if $mode eq 'die';
if ($mode eq 'stream') {
    # longer than a hold lives
    my $end = time + $query{seconds};
    while (time < $end) {
        print '.';
        print 'the hold is gone' if ($query{heartbeat} // 1) && !$tracker->heartbeat;
        sleep 0.05;
    }
}
if ($mode eq 'hangup') {
    for (1 .. 200) {
        print 'x' x 65_536;
        sleep 0.005;
    }
}
print 'done';

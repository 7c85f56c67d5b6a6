# SPDX-License-Identifier: MIT
use strict;
use warnings;
use FindBin qw($Bin);
use lib "$Bin/lib";
use POSIX qw(strftime);
use Scripted;
use Spendgate::Tracker;
use Test::More;
use Time::HiRes qw(sleep time);

sub tracker {
    my ($http, %option) = @_;
    return Spendgate::Tracker->new(url => 'http://127.0.0.1', token => 't', hold_id => 'hld_1', http => $http, %option);
}

my $alive = [ 200, '{"hold_id":"hld_1","expires_at":"2000-01-01T00:00:00Z"}' ];
{
    my $http    = Scripted->new($alive);
    my $tracker = tracker($http, hold_ttl => 0.3);
    my ($end, $dead) = (time + 0.55, 0);
    while (time < $end) {
        $dead++ if !$tracker->heartbeat;
        sleep 0.005;
    }
    like scalar $http->posts, qr/\A[45]\z/, 'it asks once in a third of the time to live';
    is $dead, 0, 'and says that the hold lives';
    is(($http->posts)[0]{json}, '{"amount_usd":"0"}', 'it raises the hold by nothing');
}
{
    my $expires = strftime('%Y-%m-%dT%H:%M:%SZ', gmtime time + 2);
    my $http    = Scripted->new([ 200, qq({"hold_id":"hld_1","expires_at":"$expires"}) ]);
    my $tracker = tracker($http);
    $tracker->extend('0');
    my $end = time + 0.8;
    while (time < $end) {
        $tracker->heartbeat;
        sleep 0.005;
    }
    like scalar $http->posts, qr/\A[23]\z/, 'it learns how long a hold lives';
}
{
    my $http    = Scripted->new([ 599, '' ], [ 409, '{"error":"hold_already_settled"}' ]);
    my $tracker = tracker($http, hold_ttl => 0.03);
    sleep 0.015;
    ok $tracker->heartbeat, 'nobody answers: the hold may live';
    sleep 0.015;
    ok !$tracker->heartbeat, 'it is gone';
    is scalar $http->posts, 2, 'asked twice';
}
ok !tracker(Scripted->new, hold_id => '')->heartbeat, 'without a hold there is nothing to keep';
done_testing;

# SPDX-License-Identifier: MIT
# A listing that would keep a worker of the tracker for long is given up, says what to ask for instead, and leaves the
# worker as it was. Here it waits for a table that somebody locks; with SQLite, tests/test_store_sqlite.c has a long one.
# store: postgresql (nobody can lock what is read of an SQLite file)
use strict;
use warnings;
use FindBin qw($Bin);
use lib "$Bin/lib";
BEGIN { $ENV{SPENDGATE_E2E_STORE} = 'postgresql' }
use Spendgate::E2E;
use Test::More;
use Time::HiRes qw(time);

my $gate = Spendgate::E2E->new;
$gate->start_clerk;
$gate->start_tracker(workers => 3);
$gate->start_authorizer;
my $subject = $gate->subject('ann');
is $gate->authorize('/api/', key => $gate->clerk_key(subject => $subject)->{secret})->{status}, 200, 'a request';
is(($gate->spend(subject => $subject, cost_usd => '0.25'))[0], 200, 'a charge');
my @listings = ('/v1/charges?limit=10', '/v1/report?by=day', '/metrics');

my $lock = $gate->cluster->hold($gate->database, 'LOCK TABLE spendgate.charge IN ACCESS EXCLUSIVE MODE; SELECT 1');
my @answers = $gate->parallel(scalar @listings, sub {
    my ($i) = @_;
    my $begin = time;
    my ($status, $body, $all) = $gate->tracker('GET', $listings[$i], undef, role => 'read');
    return { status => $status, body => $body, retry => $all->{headers}{'retry-after'}[0], seconds => time - $begin };
});
close $lock;
for my $i (0 .. $#listings) {
    my $answer = $answers[$i];
    is $answer->{status}, 503, "$listings[$i]: given up";
    is $answer->{body}{error}, 'store_unavailable', "$listings[$i]: its code";
    like $answer->{body}{message}, qr/\AThis took longer than 15 s and was given up\. Ask for less: /, "$listings[$i]: says why, and what to do";
    is $answer->{retry}, 30, "$listings[$i]: not again at once";
    cmp_ok $answer->{seconds}, '<', 18, "$listings[$i]: in time";
    is(($gate->tracker('GET', $listings[$i], undef, role => 'read'))[0], 200, "$listings[$i]: answered when it can be");
}
like $gate->logs, qr/event=tracker_store status=\S+ message="[^"]*statement timeout \(57014\)/, 'the log has it';
done_testing;

# SPDX-License-Identifier: MIT
# Through a real socket.
use strict;
use warnings;
use FindBin qw($Bin);
use lib "$Bin/lib";
use Server;
use Spendgate::Tracker;
use Test::More;
use Time::HiRes qw(time);

my $server = Server->new;
local $SIG{__WARN__} = sub { };

sub tracker {
    return Spendgate::Tracker->new(url => $server->url . '/spendgate/', token => 'sgt_test', subject => 'user_1', @_);
}

my $tracker = tracker();
$tracker->spend('0.02', model => "\x{e9}" x 2000);
$tracker->settle;
my ($asked) = $server->asked;
like $asked->{head}, qr{\APOST /spendgate/v1/spend HTTP/1\.1\r\n}, 'a post';
like $asked->{head}, qr{^Authorization: Bearer sgt_test\r?$}mi, 'with the token';
like $asked->{head}, qr{^Idempotency-Key: perl-[0-9a-f]{32}\r?$}mi, 'and its key';
is JSON::PP::decode_json($asked->{body})->{model}, "\x{e9}" x 2000, 'arrives as it was sent';

$server->forget;
$server->answer(status => 302, body => '', headers => 'Location: ' . $server->url . "/elsewhere\r\n");
$tracker->spend('0.02');
eval { $tracker->settle };
is scalar(my @once = $server->asked), 1, 'a redirect is not followed: the token goes to one place only';

$server->forget;
{
    local $ENV{http_proxy} = 'http://127.0.0.1:9';
    $server->answer;
    my $direct = tracker();
    $direct->spend('0.02');
    is scalar(my @answers = $direct->settle), 1, 'a proxy of the environment is not used';
}

$server->answer(wait => 1);
my $late  = tracker(timeout => 0.3, spool_dir => $server->spool);
my $begin = time;
$late->spend('0.02');
$late->settle;
cmp_ok time - $begin, '<', 3, 'an answer that comes too late is none';
is scalar(my @files = $server->spooled), 1, 'the post is spooled';
done_testing;

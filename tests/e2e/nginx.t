# SPDX-License-Identifier: MIT
# nginx: what its own habits could do to the gate. The verdicts themselves are in verdicts.t, bodies in backends.t.
# store: sqlite (it is about the web servers)
use strict;
use warnings;
use FindBin qw($Bin);
use lib "$Bin/lib";
use Spendgate::E2E;
use Test::More;

my $gate = Spendgate::E2E->new;
$gate->start_web('nginx');
my $nina   = $gate->subject('nina');
my $secret = $gate->key(subject => $nina);

# An index file is an internal redirect: nginx asks twice, and it is one request all the same.
my $answer = $gate->get('/api/dir/', key => $secret);
my $env = (Spendgate::E2E::body_json($answer) // {})->{env} // {};
is $answer->{status}, 200, 'an index file' or diag $answer->{body}, $gate->logs;
is $env->{SPENDGATE_SUBJECT}, $nina, 'an index file: the page knows who asks';
is $gate->budget($nina)->{held_usd}, '0.05', 'an index file: one hold';
is $gate->get('/api/dir/')->{status}, 401, 'an index file: guarded';

# nginx's own answers in a guarded location keep their status, and are no refusal of ours.
$answer = $gate->get('/api/nice/', key => $secret);
is $answer->{status}, 403, 'a folder without index: nginx says 403';
is $answer->{headers}{'x-spendgate-denial'}, undef, 'a folder without index: not in our name';
is $gate->get('/api/absent.txt', key => $secret)->{status}, 404, 'a missing file is 404';

# No client sees the machinery, nor reaches it.
for my $target ('/.spendgate/authorize', '/%2espendgate/authorize', '//.spendgate/authorize', '/x/../.spendgate/authorize') {
    is $gate->get($target, key => $secret)->{status}, 404, "$target is not for clients";
}

# A hung authorizer: 503 after the time of the snippet, and not after twice that.
my %short = ('fastcgi_read_timeout 10s' => 'fastcgi_read_timeout 1s');
$gate->stop('nginx');
$gate->start_nginx(change => { 'spendgate-server.conf' => \%short });
my @workers = $gate->children_of($gate->pid('authorizer'));
kill 'STOP', @workers;
my $start = Time::HiRes::time();
$answer = $gate->get('/api/file.txt', key => $secret);
my $seconds = Time::HiRes::time() - $start;
kill 'CONT', @workers;
is $answer->{status}, 503, 'a hung authorizer is 503' or diag $answer->{body};
is((Spendgate::E2E::body_json($answer) // {})->{error}, 'auth_unavailable', 'with JSON');
cmp_ok $seconds, '<', 1.9, 'and it is asked once';
is index($gate->logs, $secret), -1, 'no credential in any log';
done_testing;

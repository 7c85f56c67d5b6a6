# SPDX-License-Identifier: MIT
# nginx: what its own habits could do to the gate. The verdicts themselves are in verdicts.t, bodies in backends.t.
use strict;
use warnings;
use FindBin qw($Bin);
use lib "$Bin/lib";
use Spendgate::E2E;
use Test::More;

my @preflight = ([ Origin => 'https://app.example' ], [ 'Access-Control-Request-Method' => 'POST' ]);

# With the client address from a header, so that somebody can come from elsewhere.
my $elsewhere = 'set_real_ip_from 127.0.0.1; real_ip_header X-Test-Address;';

my $gate = Spendgate::E2E->new(top => 'metrics_token = false');
$gate->start_web('nginx', extra => $elsewhere);
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

# The tracker answers this machine only; Clerk's webhooks come from outside.
my @outside = ([ 'X-Test-Address' => '203.0.113.7' ]);
is $gate->get('/spendgate/healthz')->{status}, 200, 'the tracker answers this machine';
is $gate->get('/spendgate/healthz', headers => \@outside)->{status}, 403, 'and nobody else';
is $gate->get('/spendgate/v1/webhooks/../../healthz', headers => \@outside)->{status}, 403, 'by no detour';
$answer = $gate->post('/spendgate/v1/webhooks/clerk', headers => \@outside, body => '{}');
is((Spendgate::E2E::body_json($answer) // {})->{error}, 'webhook_not_configured', 'Clerk reaches the webhooks')
  or diag $answer->{body};
is $gate->post('/spendgate/v1/spend', headers => \@outside, body => '{}')->{status}, 403, 'and nothing beside them';

# CORS: guarded as shipped; with the line in spendgate-server.conf, a preflight and nothing else passes.
is $gate->request('OPTIONS', '/api/env.php', headers => \@preflight)->{status}, 401, 'a preflight is guarded as shipped';
$gate->stop('nginx');
$gate->start_nginx(change => { 'spendgate-server.conf' => { '#if ($spendgate_preflight)' => 'if ($spendgate_preflight)' } });
$answer = $gate->request('OPTIONS', '/api/env.php', headers => \@preflight);
is $answer->{status}, 200, 'with its line a preflight reaches the page' or diag $answer->{body}, $gate->logs;
is((Spendgate::E2E::body_json($answer) // {})->{env}{SPENDGATE_SUBJECT} // '', '', 'as nobody');
is $gate->request('OPTIONS', '/api/env.php')->{status}, 401, 'OPTIONS that is no preflight does not';
is $gate->get('/api/env.php', headers => \@preflight)->{status}, 401, 'nor does GET that looks like one';
is $gate->get('/api/env.php', key => $secret)->{status}, 200, 'and the gate works as before';

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

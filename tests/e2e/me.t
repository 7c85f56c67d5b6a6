# SPDX-License-Identifier: MIT
# GET /v1/me behind the authorizer: a caller sees its own budgets and nobody else's, also from a browser's page, and
# also when everything is spent.
use strict;
use warnings;
use FindBin qw($Bin);
use lib "$Bin/lib";
use Spendgate::E2E;
use Test::More;

my $ME     = '/api/spendgate/v1/me';
my $ORIGIN = 'https://app.example.com';
my $OTHER  = 'https://evil.example.com';

for my $kind (qw(lighttpd-sockets authnz-fcgi fcgid nginx)) {
    my $gate = Spendgate::E2E->new(
        clerk  => qq(authorized_parties = { "https://admin.example.com", "$ORIGIN" }\n)
          . ($kind eq 'authnz-fcgi' ? 'session_cookie = true' : ''),
        routes => qq(route "$ME" { free = true }\nroute "/api/" { }\n),
        plans  => <<'END',
plan "free" {
    budget "month" { limit_usd = "1.00"  period = "month" }
    concurrency = 2
    hold_usd = "0.05"
}
default_plan = "free"
END
    );
    my $extra =
        $kind eq 'nginx' ? ''
      : $kind =~ /lighttpd/
      ? 'include "' . $gate->snippet('lighttpd/06-spendgate-me.conf', 'var.spendgate_me_tracker' => $gate->path('run/tracker.sock')) . '"'
      : 'Include "' . $gate->path('conf/apache/spendgate-me.conf') . '"';
    $gate->start_web($kind, extra => $extra, inside => 'spendgate-me.conf');
    my $alice = $gate->subject('alice');
    my $bob   = $gate->subject('bob');
    my $key   = $gate->clerk_key(subject => $alice);
    my $of_bob = $gate->key(subject => $bob);

    my $me = sub {
        my ($credential, @headers) = @_;
        my $answer = $gate->decided('GET', $ME, key => $credential, headers => \@headers);
        return ($answer->{status}, Spendgate::E2E::body_json($answer) // {}, $answer);
    };

    my ($status, $body, $answer) = $me->($key->{secret});
    is $status, 200, "$kind: who passes the gate sees itself" or diag $answer->{body}, $gate->logs;
    is $body->{account}, $alice, "$kind: its own account";
    is $body->{key}{account}, "key:$key->{id}", "$kind: and its key";
    is $body->{budgets}[0]{held_usd}, '0', "$kind: for which no hold is placed";
    ok !exists $answer->{headers}{'access-control-allow-origin'}, "$kind: without an origin there is no CORS";
    is $answer->{headers}{vary}[0], 'Origin', "$kind: which a cache has to know";

    # Nobody is believed who says who he is.
    my @forged = map { [ $_, $bob ] } 'SPENDGATE_SUBJECT', 'Spendgate-Subject', 'X-Spendgate-Subject', 'REDIRECT_SPENDGATE_SUBJECT',
      'Redirect-Spendgate-Subject', 'Remote-User', 'Variable-SPENDGATE_SUBJECT', 'HTTP-SPENDGATE-SUBJECT';
    $me->($of_bob);
    ($status, $body) = $me->($key->{secret}, @forged);
    is $body->{account}, $alice, "$kind: a header does not make it somebody else's";
    is $gate->get($ME, headers => \@forged)->{status}, 401, "$kind: nor does one pass the gate";
    $answer = $gate->get('/spendgate/v1/me', headers => \@forged);
    is $answer->{status}, 401, "$kind: at the tracker's own mount nobody is identified";
    is Spendgate::E2E::body_json($answer)->{error}, 'missing_credential', "$kind: and that is said";
    is $gate->get("$ME?subject=$bob&SPENDGATE_SUBJECT=$bob", key => $key->{secret})->{status}, 200, "$kind: a query";
    unlike $gate->get("$ME?SPENDGATE_SUBJECT=$bob", key => $key->{secret})->{body}, qr/\Q$bob/, "$kind: does not, either";
    ok !exists $body->{parent} || !defined $body->{parent}, "$kind: its parent is not its to know";

    # Only this call is there.
    for my $path ('/api/spendgate/v1/accounts', "/api/spendgate/v1/accounts/$bob", '/api/spendgate/v1/charges', '/api/spendgate/healthz') {
        my $other = $gate->request('GET', $path, key => $key->{secret}, explain => 0);
        isnt $other->{status}, 200, "$kind: $path is not behind the gate";
        unlike $other->{body}, qr/\Q$bob/, "$kind: $path tells nothing";
    }

    # A page in a browser.
    my @preflight = ([ 'Access-Control-Request-Method', 'GET' ], [ 'Access-Control-Request-Headers', 'authorization' ]);
    $answer = $gate->request('OPTIONS', $ME, headers => [ [ Origin => $ORIGIN ], @preflight ]);
    if ($kind eq 'fcgid') {
        is $answer->{status}, 401, "$kind: a preflight does not pass mod_fcgid";
    }
    else {
        check_preflight($gate, $kind, $answer, \@preflight);
    }
    is $gate->request('OPTIONS', '/api/env.php', headers => [ [ Origin => $ORIGIN ], @preflight ])->{status}, 401,
      "$kind: no other path passes so";
    is $gate->request('OPTIONS', '/api/spendgate/v1/accounts', headers => [ [ Origin => $ORIGIN ], @preflight ])->{status}, 401,
      "$kind: nor another call";
    ($status, $body, $answer) = $me->($key->{secret}, [ Origin => $ORIGIN ]);
    is $answer->{headers}{'access-control-allow-origin'}[0], $ORIGIN, "$kind: the page may read the answer";
    ($status, $body, $answer) = $me->($key->{secret}, [ Origin => $OTHER ]);
    is $status, 200, "$kind: another page's request";
    ok !exists $answer->{headers}{'access-control-allow-origin'}, "$kind: is not for it to read";

    # When everything is spent, and everything that is allowed at once runs.
    $gate->spend(subject => $alice, cost_usd => '1.00');
    is $gate->get('/api/env.pl', key => $key->{secret})->{status}, 429, "$kind: over budget";
    ($status, $body) = $me->($key->{secret});
    is $status, 200, "$kind: a caller who has spent everything still sees it";
    is $body->{budgets}[0]{remaining_usd}, '0', "$kind: nothing remains";
    $gate->cli('account', 'freeze', $alice);
    ($status) = $me->($key->{secret});
    is $status, 403, "$kind: a frozen one does not";
    my ($exit, $out) = $gate->cli('verify');
    is $exit, 0, "$kind: verify is green" or diag $out;
}
done_testing;

sub check_preflight {
    my ($gate, $kind, $answer, $preflight) = @_;
    is $answer->{status}, 200, "$kind: a preflight needs no credential" or diag $gate->logs;
    is_deeply [ map { $answer->{headers}{"access-control-$_"}[0] } qw(allow-origin allow-methods allow-headers max-age) ],
      [ $ORIGIN, 'GET', 'Authorization', '600' ], "$kind: and lets the page of a known origin ask";
    is $answer->{headers}{'access-control-allow-credentials'}[0], $kind eq 'authnz-fcgi' ? 'true' : undef,
      "$kind: with its cookies only where session_cookie is on";
    $answer = $gate->request('OPTIONS', $ME, headers => [ [ Origin => $OTHER ], @$preflight ]);
    is $answer->{status}, 403, "$kind: a page of another origin may not ask";
    ok !exists $answer->{headers}{'access-control-allow-origin'}, "$kind: and its browser is told so";
    return;
}

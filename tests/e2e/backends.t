# SPDX-License-Identifier: MIT
# What PHP and Perl see behind the gate: identity and budget as variables, bodies whole, nothing forged.
use strict;
use warnings;
use FindBin qw($Bin);
use lib "$Bin/lib";
use Digest::SHA qw(sha256_hex);
use Spendgate::E2E;
use Test::More;

my $plans = <<'END';
plan "pro" {
    match = { "claims.tier=pro" }
    budget "month" { limit_usd = "100.00"  period = "month" }
    budget "day"   { limit_usd = "20.00"   period = "day" }
    scopes   = { "proxy.*", "read" }
    hold_usd = "0.05"
}
END
my $routes = 'route "/api/" { }';

for my $kind (Spendgate::E2E::server_kinds()) {
    my $gate = Spendgate::E2E->new(plans => $plans, routes => $routes, clerk => 'pass_claims = { "tier" }');
    $gate->start_clerk;
    my ($upstream) = $gate->{clerk_url} =~ /:(\d+)/;    # a server to proxy to
    # One line for each claim in pass_claims, as the snippet says.
    my $extra = $kind eq 'fcgid' ? 'Header always unset Variable-SPENDGATE_CLAIM_TIER' : '';
    my %uncomment = (
        'spendgate-guard.conf'   => { '#auth_request_set $spendgate_claim_tier' => 'auth_request_set $spendgate_claim_tier' },
        'spendgate-fastcgi.conf' => { '#fastcgi_param SPENDGATE_CLAIM_TIER'     => 'fastcgi_param SPENDGATE_CLAIM_TIER' },
    );
    $gate->start_web($kind, extra => $extra, upstream => $upstream, $kind eq 'nginx' ? (change => \%uncomment) : ());
    my $carol  = $gate->subject('carol');
    my $key    = $gate->clerk_key(subject => $carol, claims => { tier => 'pro', org_id => $gate->subject('acme', 'org') });
    my $secret = $key->{secret};
    my $held   = 0;

    for my $page ('/api/env.php', '/api/env.pl') {
        my $answer = $gate->get($page, key => $secret);
        my $seen = Spendgate::E2E::body_json($answer) // {};
        is $answer->{status}, 200, "$kind $page: passes" or diag $answer->{body}, $gate->logs;
        my $env = $seen->{env} // {};
        $held += 5;
        my %want = (
            REMOTE_USER             => $carol,
            SPENDGATE_SUBJECT       => $carol,
            SPENDGATE_KEY_ID        => $key->{id},
            SPENDGATE_KIND          => 'api_key',
            SPENDGATE_ORG           => $gate->subject('acme', 'org'),
            SPENDGATE_PLAN          => 'pro',
            SPENDGATE_SCOPES        => 'proxy.* read',
            SPENDGATE_ROUTE         => '/api/',
            SPENDGATE_HOLD_USD      => '0.05',
            SPENDGATE_LIMIT_USD     => '20',
            SPENDGATE_REMAINING_USD => sprintf('%.2f', 20 - $held / 100) =~ s/0+\z//r,
            SPENDGATE_CLAIM_TIER    => 'pro',
        );
        is $env->{$_}, $want{$_}, "$kind $page: $_" for sort keys %want;
        like $env->{SPENDGATE_HOLD_ID},    qr/\Ahld_[A-Za-z0-9_-]+\z/, "$kind $page: SPENDGATE_HOLD_ID";
        like $env->{SPENDGATE_REQUEST_ID}, qr/\A\S{8,}\z/,             "$kind $page: SPENDGATE_REQUEST_ID";
        like $env->{SPENDGATE_RESET},      qr/\A\d{10}\z/,             "$kind $page: SPENDGATE_RESET";
        cmp_ok $env->{SPENDGATE_RESET} % 86_400, '==', 0, "$kind $page: the day ends at midnight UTC";
        is $seen->{getenv}{SPENDGATE_SUBJECT}, $carol, "$kind $page: getenv sees it too" if $page =~ /php/;
        my @leaked = grep { /\Avariable|spendgate/ } keys %{ $answer->{headers} };
        is "@leaked", '', "$kind $page: nothing of it reaches the client";

        for my $bytes (4, 200_000, 3_000_000) {
            my $body = join '', map { chr 32 + $_ % 95 } 1 .. $bytes;
            $answer = $gate->post($page, key => $secret, body => $body);
            $seen = Spendgate::E2E::body_json($answer) // {};
            is $seen->{bytes},  $bytes,            "$kind $page: a POST of $bytes bytes arrives" or diag $answer->{body};
            is $seen->{sha256}, sha256_hex($body), "$kind $page: unchanged";
            $held += 5;
            $answer = $gate->post($page, body => $body);
            is $answer->{status}, 401, "$kind $page: without a key a POST of $bytes bytes is refused, not cut off";
        }
    }

    # A client cannot say who it is.
    my @forged = map { [ $_ => 'user_mallory' ] }
      qw(Spendgate-Subject SPENDGATE_SUBJECT X-Spendgate-Subject Variable-SPENDGATE_SUBJECT Remote-User
      Redirect-Spendgate-Subject Spendgate-Hold-Id Variable-REMOTE_USER);
    for my $page ('/api/env.php', '/api/env.pl') {
        my $answer = $gate->get($page, key => $secret, headers => \@forged);
        my $seen = Spendgate::E2E::body_json($answer) // {};
        is $seen->{env}{SPENDGATE_SUBJECT}, $carol, "$kind $page: forged headers change nothing" or diag $answer->{body};
        is $seen->{env}{REMOTE_USER},       $carol, "$kind $page: nor REMOTE_USER";
        my @believed = grep { ($seen->{env}{$_} // '') =~ /mallory/ && !/\AHTTP_/ } sort keys %{ $seen->{env} };
        is "@believed", '', "$kind $page: they stay HTTP_ variables";
        is $gate->get($page, headers => \@forged)->{status}, 401, "$kind $page: and are no credential";
    }

    # The backend's own answers are its own.
    my $own = $gate->get('/api/own429.php', key => $secret);
    is "$own->{status} $own->{body}", qq(429 {"error":"the backend's own"}\n), "$kind: a backend's own 429 is not touched";
    is $gate->get('/api/crash.pl', key => $secret)->{status}, $kind eq 'nginx' ? 502 : 500,
      "$kind: a crashed backend is no 503";

    # A proxied backend is behind the gate as well.
    my $proxied = $gate->get('/api/up/v1/jwks', headers => \@forged);
    like $proxied->{body}, qr/"missing_credential"/, "$kind: a proxied URL is guarded";
    $proxied = $gate->get('/api/up/v1/jwks', key => $secret, headers => \@forged);
    like $proxied->{body}, qr/clerk_key_invalid|resource_not_found/, "$kind: with a key the proxied backend answers";
    if ($kind !~ /lighttpd/) {
        is $gate->clerk_last->{headers}{'x-spendgate-subject'}, $carol, "$kind: and is told who asks, by us";
    }

    # HTTP/2 behind lighttpd before 1.4.77 loses bodies; the snippet switches it off, whatever the client offers.
    if ($kind =~ /lighttpd/) {
        for my $how (qw(--http2 --http2-prior-knowledge)) {
            my $url = 'http://127.0.0.1:' . $gate->port . '/open.txt';
            my $version = `curl -s --max-time 5 $how -o /dev/null -w '%{http_version}' $url`;
            isnt $version, '2', "$kind: HTTP/2 is not spoken ($how)";
        }
    }

    # Other spellings of a guarded path are guarded.
    for my $target ('//api/file.txt', '/./api/file.txt', '/%61pi/file.txt', '/x/../api/file.txt') {
        is $gate->get($target)->{status}, 401, "$kind: $target is guarded";
    }
    for my $method (qw(HEAD PUT DELETE OPTIONS)) {
        is $gate->request($method, '/api/file.txt')->{status}, 401, "$kind: $method is guarded";
    }
    my $logs = $gate->logs;
    ok index($logs, $secret) < 0, "$kind: no credential in any log";
    my ($code, $out, $err) = $gate->cli('verify');
    is $code, 0, "$kind: spendgate verify" or diag $out, $err;
}
done_testing;

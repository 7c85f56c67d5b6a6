# SPDX-License-Identifier: MIT
# Session tokens, M2M tokens and OAuth tokens, as JWTs and opaque: the table of forged and unusual ones, whom they
# are taken for, and what happens when keys change, Clerk is away, or an operator revokes a session.
use strict;
use warnings;
use FindBin qw($Bin);
use lib "$Bin/lib";
use FastCGI;
use JSON::PP ();
use Spendgate::E2E;
use Spendgate::JWT;
use Test::More;
use Time::HiRes qw(sleep time);

my ($true, $false) = (JSON::PP::true(), JSON::PP::false());
my $table = JSON::PP->new->utf8->decode(scalar qx{"$^X" "$Bin/../jwt_table.pl"});
my $all   = '"api_key", "m2m_token", "session_token", "oauth_token"';
my $clerk = qq(accept = { $all }  issuer = "$table->{issuer}"  machine_id = "$table->{machine_id}"
    authorized_parties = { "$table->{authorized_parties}[0]" }  key_scopes = true  session_cookie = true
    cache_ttl = "1s"  negative_ttl = "1s"  timeout = "800ms"  failure_rate = "1000/1m");
my $plans = <<'END';
plan "pro" { match = { "pla=u:pro" }  budget "month" { limit_usd = "50.00"  period = "month" }  hold_usd = "0.01" }
plan "free" { budget "month" { limit_usd = "10.00"  period = "month" }  hold_usd = "0.01"  scopes = { "read" } }
default_plan = "free"
END
my $routes = <<'END';
route "/api/admin"    { scopes = { "org:billing:manage" } }
route "/api/machines" { accept = { "m2m_token" } }
route "/api/"         { }
END

my $gate = Spendgate::E2E->new(plans => $plans, routes => $routes, clerk => $clerk);
$gate->start_web('lighttpd');
$gate->_clerk_control('PUT', 'jwks', $table->{jwks});
$gate->start_authorizer(workers => 2) unless $gate->pid('authorizer');

# The authorizer itself, asked as a web server does: no limit of its on the length of a header.
sub ask {
    my ($token, %option) = @_;
    my %params = (
        REQUEST_METHOD => 'GET', REQUEST_URI => $option{path} // '/api/file.txt', REMOTE_ADDR => '192.0.2.7',
        defined $token ? (HTTP_AUTHORIZATION => "Bearer $token") : (), %{ $option{params} // {} },
    );
    my $until = time + 30;
    while (1) {
        my $answer = FastCGI::request($gate->{authorizer_address}, \%params, undef, role => FastCGI::AUTHORIZER);
        return $answer if $option{once} || $answer->{status} != 503 || time > $until;
        sleep 0.1;
    }
}

sub variable { my ($answer, $name) = @_; return $answer->{headers}{ 'variable-' . lc $name } }
sub log_text { return $gate->logs }

# ---- the table --------------------------------------------------------------------------------------

my ($bad, $good) = (0, 0);
for my $row (grep { !$_->{boundary} } @{ $table->{tokens} }) {
    my $answer = ask($row->{token});
    if ($row->{valid}) {
        $good++;
        is $answer->{status}, 200, "passes: $row->{name}" or diag $answer->{raw}, log_text();
        is_deeply [ map { variable($answer, "SPENDGATE_$_") } qw(SUBJECT KEY_ID ORG) ], [ @$row{qw(subject key_id organization)} ],
          "is who it is: $row->{name}";
        is variable($answer, 'SPENDGATE_SCOPES'), join(' ', 'read', split / /, $row->{scopes}), "scopes: $row->{name}";
    }
    else {
        $bad++;
        is $answer->{status}, 401, "refused: $row->{name}" or diag $answer->{raw};
        is Spendgate::E2E::body_json($answer)->{error}, 'invalid_key', "invalid_key: $row->{name}";
    }
}
cmp_ok $bad,  '>=', 40, 'at least 40 bad ones';
cmp_ok $good, '>=', 10, 'at least 10 good ones';
cmp_ok $gate->clerk_calls('jwks'), '<=', 3, 'for all of them the key set is fetched once in ten seconds';
is $gate->clerk_calls, 0, 'and no key is asked about';
my $logs = log_text();
is scalar(grep { index($logs, $_->{token}) >= 0 } @{ $table->{tokens} }), 0, 'no token is in any log';
like $logs, qr/message="the JWT's signature is wrong"/, 'what is wrong is';

# ---- tokens of our own ------------------------------------------------------------------------------

my $key = Spendgate::JWT::make_key(kid => 'ins_rotated');
my $now = int time;
sub session {
    my (%claims) = @_;
    return Spendgate::JWT::token($key, {
        azp => $table->{authorized_parties}[0], exp => $now + 300, iat => $now, nbf => $now, iss => $table->{issuer},
        sid => 'sess_jwt', sub => $gate->subject('judy'), v => 2, sts => 'active', %claims,
    });
}

my $token = session(pla => 'u:pro');
is ask($token, once => 1)->{status} == 200 ? 'taken' : 'not taken', 'not taken', 'a key that Clerk does not show yet';
$gate->_clerk_control('PUT', 'jwks', { keys => [ Spendgate::JWT::jwk($key), @{ $table->{jwks}{keys} } ] });
my $rotated_at = time;
sleep 0.25 until ask($token, once => 1)->{status} == 200 || time - $rotated_at > 15;
cmp_ok time - $rotated_at, '<', 13, 'after a rotation the new key counts within ten seconds';
is variable(ask($token), 'SPENDGATE_PLAN'), 'pro', 'the plan is chosen by pla';

my $answer = $gate->get('/api/env.php', key => $token);
is $answer->{status}, 200, 'through lighttpd' or diag $answer->{body};
is Spendgate::E2E::body_json($answer)->{env}{SPENDGATE_KIND}, 'session_token', 'the page sees the kind';
$answer = $gate->get('/api/env.php', headers => [ [ 'Cookie', "a=b; __session=$token" ] ]);
is $answer->{status}, 200, 'from the cookie';
my ($machine) = grep { $_->{name} eq 'an M2M token' } @{ $table->{tokens} };
is ask(undef, params => { HTTP_COOKIE => "__session=$machine->{token}" })->{status}, 401, 'a machine has no cookie';

is ask($token, path => '/api/admin')->{status}, 403, 'without the permission: 403';
my $manager = session(fea => 'o:billing', o => { id => 'org_judys', per => 'manage,read', fpm => '1' });
is ask($manager, path => '/api/admin')->{status}, 200, 'with it: 200';
is ask($token,            path => '/api/machines')->{status}, 401, 'a route for machines refuses a session';
is ask($machine->{token}, path => '/api/machines')->{status}, 200, 'and takes a machine';

my ($code, undef, $err) = $gate->cli('account', 'revoke', 'key:sess_jwt');
is $code, 0, 'revoke the session' or diag $err;
$answer = ask($token);
is $answer->{status}, 401, 'a session revoked here is refused at once';
is Spendgate::E2E::body_json($answer)->{reason}, 'revoked', 'and told why';
is ask(session(sid => 'sess_another'))->{status}, 200, 'another of the same user passes';

my $short = session(exp => int(time) - 3, sid => 'sess_short');
is ask($short)->{status}, 200, 'a token in its last seconds passes';
sleep 2.5;
$answer = ask($short);
is $answer->{status}, 401, 'and is refused then, remembered or not';
is Spendgate::E2E::body_json($answer)->{reason}, 'expired', 'as expired';

# ---- opaque tokens ----------------------------------------------------------------------------------

my $add = sub { return $gate->_clerk_control('POST', 'tokens', {@_}) };
$add->(kind => 'm2m', secret => 'mt_ours', subject => $gate->subject('robot', 'mch'), scopes => [ 'mch_x', $table->{machine_id} ]);
$add->(kind => 'm2m', secret => 'mt_others', subject => $gate->subject('robot', 'mch'), scopes => ['mch_x']);
$add->(kind => 'm2m', secret => 'mt_nobodys', subject => $gate->subject('robot', 'mch'));
$add->(kind => 'oauth', secret => 'oat_good', subject => $gate->subject('olga'), client_id => 'client_1', scopes => [ 'profile', '*' ]);
$add->(kind => 'oauth', secret => 'oat_gone', subject => $gate->subject('olga'), active => $false);
$add->(kind => 'oauth', secret => 'oat_revoked', subject => $gate->subject('olga'), revoked => $true);
$add->(kind => 'oauth', secret => 'oat_late', subject => $gate->subject('olga'), expiration => int(time) - 1);
my %want = (mt_ours => 200, mt_others => 401, mt_nobodys => 401, mt_unknown => 401,
    oat_good => 200, oat_gone => 401, oat_revoked => 401, oat_late => 401, oat_unknown => 401);
is ask($_)->{status}, $want{$_}, "$_: $want{$_}" for sort keys %want;
$answer = ask('oat_good');
is variable($answer, 'SPENDGATE_KEY_ID'), 'client_1', 'the key id of an OAuth token is its client';
is variable($answer, 'SPENDGATE_SCOPES'), 'read profile', 'its scopes count, a star does not';
is variable(ask('mt_ours'), 'SPENDGATE_SCOPES'), 'read', 'those of an M2M token are machines';
my $calls = $gate->clerk_calls('oauth');
ask('oat_good') for 1 .. 5;
cmp_ok $gate->clerk_calls('oauth') - $calls, '<=', 1, 'an opaque token is cached';

# ---- Clerk away -------------------------------------------------------------------------------------

$gate->stop('clerk');
is ask(session(sid => 'sess_during'))->{status}, 200, 'Clerk gone: a session token passes';
isnt ask(Spendgate::JWT::token($key, { sub => 'user_1' }, { kid => 'ins_new' }), once => 1)->{status}, 200,
  'Clerk gone: an unknown key is no allow';
undef $gate;

# ---- other settings ---------------------------------------------------------------------------------

$gate = Spendgate::E2E->new(plans => $plans);
$gate->start_clerk;
$gate->start_authorizer(workers => 1);
is ask($_->{token})->{status}, 401, "by default refused: $_->{name}" for grep { $_->{valid} && !$_->{boundary} } @{ $table->{tokens} };
is ask($_)->{status}, 401, "by default refused: $_" for qw(mt_ours oat_good);
is_deeply [ map { $gate->clerk_calls($_) } qw(jwks m2m oauth verify) ], [ 0, 0, 0, 0 ], 'without a question to Clerk';
undef $gate;

$gate = Spendgate::E2E->new(plans => $plans, clerk => qq(accept = { "session_token" }  issuer = "$table->{issuer}"));
$gate->write_file('etc/jwt.pem', $table->{pem} =~ tr/\n//dr, 0600);
$gate->write_settings(clerk => qq(accept = { "session_token" }  issuer = "$table->{issuer}"
    jwt_key_file = "@{[ $gate->path('etc/jwt.pem') ]}"));
$gate->start_authorizer(workers => 1);    # and no Clerk at all
my %of = map { $_->{name} => $_->{token} } @{ $table->{tokens} };
is ask($of{'a session token'})->{status}, 200, 'with a PEM: no network' or diag log_text();
is ask($of{'kid of nobody'})->{status}, 200, 'with a PEM: the kid is not looked at';
is ask($of{'signed by a stranger under our kid'})->{status}, 401, 'with a PEM: the signature is';
undef $gate;
done_testing;

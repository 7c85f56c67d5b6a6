#!/usr/bin/perl
# SPDX-License-Identifier: MIT
#
# The table of JWTs: forged, stale, truncated, misaddressed and malformed ones, each wrong in one way, and unusual
# good ones. Keys are made anew; what comes out is one JSON document:
#
#   { "now", "issuer", "authorized_parties", "machine_id", "jwks", "pem",
#     "tokens": [ { "name", "token", "valid": true, "subject", "key_id", "organization", "scopes" },
#                 { "name", "token", "valid": false, "why" } ] }
#
# "boundary": true stands where a few seconds of delay make it another token.
# `why` is what our authorizer says about it in its log. `scopes` are those with clerk { key_scopes = true }.
# tests/vectors/jwt.json was made with --now 1767225600; the end-to-end test and the comparison with Clerk's SDK
# make theirs at their own time.
#
#   jwt_table.pl [--now SECONDS] > FILE
use strict;
use warnings;

use FindBin qw($Bin);
use lib "$Bin/e2e/lib";
use Getopt::Long qw(GetOptions);
use JSON::PP ();
use Math::BigInt ();
use Spendgate::JWT qw();

my $now = time;
GetOptions('now=i' => \$now) && !@ARGV or die "usage: jwt_table.pl [--now SECONDS]\n";

my $json  = JSON::PP->new->utf8->canonical;
my $true  = JSON::PP::true();
my $false = JSON::PP::false();

my $issuer  = 'https://clerk.example.com';
my $party   = 'https://app.example.com';
my $machine = 'mch_2zyxwvutsrqponmlkjihgfedcba';
my $user    = 'user_2abcdefghijklmnopqrstuvwxyz';
my $org     = 'org_2abcdefghijklmnopqrstuvwxyz';
my $robot   = 'mch_2abcdefghijklmnopqrstuvwxyz';
my $client  = 'client_2abcdefghijklmnopqrstuvwxyz';

my $key      = Spendgate::JWT::make_key(kid => 'ins_2abcdefghijklmnopqrstuvwxyz');
my $second   = Spendgate::JWT::make_key(kid => 'ins_second');
my $large    = Spendgate::JWT::make_key(kid => 'ins_large', bits => 4096);
my $small    = Spendgate::JWT::make_key(kid => 'ins_small', bits => 1024);
my $stranger = Spendgate::JWT::make_key(kid => $key->{kid});

my %jwks = (
    keys => [
        Spendgate::JWT::jwk($key),
        Spendgate::JWT::jwk($second, alg => undef),
        Spendgate::JWT::jwk($large,  alg => 'RS512', x5t => 'ignored'),
        Spendgate::JWT::jwk($small),
        Spendgate::JWT::jwk($stranger, kid => 'ins_encrypts', use => 'enc'),
        Spendgate::JWT::jwk($stranger, kid => 'ins_private', d => 'AQAB'),
        { kty => 'EC', use => 'sig', kid => 'ins_curve', crv => 'P-256', x => 'AA', y => 'AA' },
        { kty => 'oct', use => 'sig', kid => 'ins_secret', k => 'AAAA' },
    ]
);

my %session = (
    azp => $party, exp => $now + 60, iat => $now, nbf => $now - 10, iss => $issuer, jti => '0a1b2c3d',
    sid => 'sess_2abcdefghijklmnopqrstuvwxyz', sub => $user, v => 2, fva => [ 3, -1 ], sts => 'active',
);
my %machine = (
    exp => $now + 3600, iat => $now, nbf => $now, iss => $issuer, jti => 'mt_00112233445566778899aabbccddeeff',
    sub => $robot, scopes => $machine,
);
my %access = (
    exp => $now + 86400, iat => $now, nbf => $now, iss => $issuer, jti => 'oat_1', sub => $user, client_id => $client,
    scp => [qw(profile email)],
);
my @cat    = (session => 'cl_B7d4PD111AAA', template => 'cl_B7d4PD222AAA', machine => 'cl_B7d4PD333AAA');
my %cat    = (@cat, ignored => 'cl_I7d4PD111III');
my %bearer = (typ => 'at+jwt');

my @tokens;

sub bad {
    my ($name, $why, $token, %more) = @_;
    push @tokens, { name => $name, token => $token, valid => $false, why => $why, %more };
    return;
}

sub good {
    my ($name, $token, %identity) = @_;
    push @tokens,
      { name => $name, token => $token, valid => $true, subject => $user, key_id => $session{sid}, organization => '',
        scopes => '', %identity };
    return;
}

# A session token with other claims, other header.
sub session { my ($claims, $header, $with) = @_; return Spendgate::JWT::token($with // $key, { %session, %$claims }, $header) }
sub robot   { my ($claims, $header) = @_; return Spendgate::JWT::token($key, { %machine, %$claims }, $header) }
sub access  { my ($claims, $header) = @_; return Spendgate::JWT::token($key, { %access, %$claims }, { %bearer, %{ $header // {} } }) }

# Claims as bytes: what no JSON encoder would write.
sub raw {
    my ($payload, $header) = @_;
    return Spendgate::JWT::token_of_bytes($key, 'RS256',
        $header // $json->encode({ alg => 'RS256', kid => $key->{kid}, typ => 'JWT' }), $payload);
}

sub encoded { return $json->encode({ %session, @_ }) }

# The payload with one member's value replaced by this text.
sub with_number {
    my ($name, $text) = @_;
    return encoded() =~ s/("$name":)[0-9]+/$1$text/r;
}

sub parts    { my ($token) = @_; return split /\./, $token }
sub unsigned { my ($header) = @_; return join '.', map { Spendgate::JWT::base64url($_) } $json->encode($header), encoded() }

# ---- the header -------------------------------------------------------------------------------------

my $alg = "the JWT's alg is not RS256, RS384 or RS512";
my $shape = 'the credential is malformed, or of no known kind';
my $valid = session({});
my ($head, $body, $signature) = parts($valid);
my $signature_wrong = "the JWT's signature is wrong";
my %names = (alg => 'RS256', kid => $key->{kid}, typ => 'JWT');

bad('alg none, nothing behind the last dot', $shape, unsigned({ alg => 'none', typ => 'JWT' }) . '.');
bad('alg none, with a signature', $alg, unsigned({ alg => 'none', typ => 'JWT', kid => $key->{kid} }) . ".$signature");
bad('alg NONE', $alg, unsigned({ alg => 'NONE', kid => $key->{kid} }) . ".$signature");
bad('HS256 with the public key as the secret', $alg, Spendgate::JWT::hmac_token($key->{pem}, \%session, { kid => $key->{kid} }));
bad('HS256 with the kid as the secret', $alg, Spendgate::JWT::hmac_token($key->{kid}, \%session, { kid => $key->{kid} }));
bad('PS256, well signed', $alg, session({}, { alg => 'PS256' }));
bad('alg in lower case', $alg, raw(encoded(), $json->encode({ %names, alg => 'rs256' })));
bad('no alg', $alg, raw(encoded(), $json->encode({ kid => $key->{kid}, typ => 'JWT' })));
bad('alg a list', $alg, raw(encoded(), $json->encode({ %names, alg => ['RS256'] })));
bad('RS256 signature under an RS512 header', $signature_wrong,
    raw(encoded(), $json->encode({ %names, kid => $second->{kid}, alg => 'RS512' })));
bad('crit', "the JWT's header has crit: no extension is known", session({}, { crit => ['exp'] }));
bad('crit and b64', "the JWT's header has crit: no extension is known", session({}, { crit => ['b64'], b64 => $false }));
my $text = "the JWT's kid, typ or cat is no text";
bad('kid a number', $text, session({}, { kid => 5 }));
bad('cat a number', $text, session({}, { cat => 5 }));
bad('typ a list', $text, raw(encoded(), $json->encode({ %names, typ => ['JWT'] })));
my $kind = "the JWT's typ or cat is that of another kind of token";
bad('typ of something else', $kind, session({}, { typ => 'JOSE' }));
bad('cat of a machine on a session', $kind, session({}, { cat => $cat{machine} }));
bad('cat of a template', $kind, session({}, { cat => $cat{template} }));
bad('cat unknown', $kind, session({}, { cat => 'cl_B7d4PD999AAA' }));
bad('typ at+jwt on a session token', "the JWT's jti or client_id is missing", session({}, { typ => 'at+jwt' }));
bad('alg twice', "the JWT's header is no JSON object",
    raw(encoded(), qq({"alg":"RS256","alg":"RS256","kid":"$key->{kid}","typ":"JWT"})));
bad('header a list', "the JWT's header is no JSON object", raw(encoded(), $json->encode([ \%names ])));
bad('header not JSON', "the JWT's header is no JSON object", raw(encoded(), '{alg:RS256}'));

# ---- the key ----------------------------------------------------------------------------------------

my $unknown = "the JWT's kid is not in Clerk's key set: it is of another instance, or forged";
bad('no kid', $unknown, session({}, { kid => undef }));
bad('kid of nobody', $unknown, session({}, { kid => 'ins_nobody' }));
bad('kid of a key that is too small', $unknown, session({}, {}, $small));
bad('kid of a key for encryption', $unknown, session({}, { kid => 'ins_encrypts' }, $stranger));
bad('kid of a private key', $unknown, session({}, { kid => 'ins_private' }, $stranger));
bad('kid of a symmetric key', $unknown, session({}, { kid => 'ins_secret' }));
bad('RS384 with a key for RS256', $unknown, session({}, { alg => 'RS384' }));
bad('kid of another key of the set', $signature_wrong, session({}, { kid => $second->{kid} }));
bad('signed by a stranger under our kid', $signature_wrong, session({}, {}, $stranger));
bad('brings its own key in jwk', $signature_wrong, session({}, { jwk => Spendgate::JWT::jwk($stranger) }, $stranger));
bad('brings the address of its key in jku', $signature_wrong, session({}, { jku => 'http://127.0.0.1:9/' }, $stranger));

# ---- the parts --------------------------------------------------------------------------------------

bad('header and payload swapped', $alg, join '.', $body, $head, $signature);
bad('signature of another token', $signature_wrong, join '.', $head, $body, (parts(session({ sub => 'user_other' })))[2]);
bad('one letter of the payload changed', $signature_wrong, join '.', $head,
    Spendgate::JWT::base64url(encoded() =~ s/user_2a/user_2b/r), $signature);
bad('signature cut by two letters', $signature_wrong, substr $valid, 0, -2);
bad('four letters behind the signature', $signature_wrong, "${valid}AAAA");
bad('signature of one byte', $signature_wrong, "$head.$body.AA");
bad('no signature', $shape, "$head.$body.");
bad('no payload', $shape, "$head..$signature");
bad('no header', $shape, ".$body.$signature");
bad('two parts', $shape, "$head.$body");
bad('four parts', $shape, "$valid.AAAA");
bad('five parts, as encrypted ones have', $shape, "$valid.AAAA.AAAA");
bad('padding in base64url', $shape, "$head.$body=.$signature");
bad('padding behind the signature', $shape, "$valid=");
bad('the other base64 alphabet', $shape, $valid =~ s{\A(.*\..*\.)}{$1+/}r);
my $loose = substr($signature, -1) =~ tr/AQgw/BRhx/r;
bad('bits behind the end of the signature', "the JWT's signature is no base64url", "$head.$body." . substr($signature, 0, -1) . $loose);
bad('longer than 16,384 bytes', $shape, session({ long => 'x' x 13_000 }));
bad('signature longer than any key', "the JWT's signature is no base64url", "$head.$body." . 'A' x 2000);

# ---- the payload's form -----------------------------------------------------------------------------

my $object = "the JWT's payload is no JSON object";
bad('sub twice', $object, raw(encoded() =~ s/\A\{/{"sub":"user_admin",/r));
bad('payload a list', $object, raw($json->encode([ \%session ])));
bad('payload a text', $object, raw('"user"'));
bad('payload not JSON', $object, raw('sub=user_1'));
bad('bytes behind the payload', $object, raw(encoded() . 'x'));
bad('a NUL behind the payload', $object, raw(encoded() . "\0"));
bad('a byte order mark', $object, raw("\xEF\xBB\xBF" . encoded()));
bad('bytes that are no UTF-8', $object, raw(encoded() =~ s/user_2a/user_2\xff/r));
bad('NaN', $object, raw(with_number('nbf', 'NaN')));
bad('deeper than 32', $object, raw(encoded() =~ s/\A\{/'{"deep":' . '[' x 40 . ']' x 40 . ','/er));

# ---- claims -----------------------------------------------------------------------------------------

my $no_sub = "the JWT's sub is no text";
bad('no sub', $no_sub, session({ sub => undef }));
bad('sub a number', $no_sub, session({ sub => 7 }));
bad('sub a list', $no_sub, session({ sub => [$user] }));
bad('a NUL in sub', $no_sub, session({ sub => "user_1\0x" }));
bad('sub with a line end', 'the subject of this credential is no account\'s name', session({ sub => "user_1\r\nStatus: 200" }));
bad('sub empty', 'the subject of this credential is no account\'s name', session({ sub => '' }));
bad('sub of 200 bytes', "the JWT's sub, sid, jti or client_id is too long for an account's name", session({ sub => 'x' x 200 }));
bad('sub of a machine on a session', 'the M2M token is not for clerk { machine_id }', session({ sub => $robot }));

my $no_exp = "the JWT's exp is no time";
bad('no exp', $no_exp, session({ exp => undef }));
bad('exp a text', $no_exp, session({ exp => $now + 60 . '' }));
bad('exp with a fraction', $no_exp, raw(with_number('exp', $now + 60 . '.5')));
bad('exp with an exponent', $no_exp, raw(with_number('exp', '2e9')));
bad('exp above 2^53', $no_exp, raw(with_number('exp', '9007199254740993')));
bad('exp above 2^64', $no_exp, raw(with_number('exp', '18446744073709551617')));
bad('exp negative', $no_exp, raw(with_number('exp', '-1')));
bad('exp null', $no_exp, raw(with_number('exp', 'null')));
bad('exp true', $no_exp, raw(with_number('exp', 'true')));
my $expired = 'the JWT has expired';
bad('expired, to the second beyond the skew', $expired, session({ exp => $now - 5 }));
bad('expired an hour ago', $expired, session({ exp => $now - 3600 }));
bad('exp 0', $expired, session({ exp => 0 }));
my $early = "the JWT's nbf or iat is no time, or still to come: see clerk { clock_skew }";
bad('nbf a second beyond the skew', $early, session({ nbf => $now + 6 }), boundary => $true);
bad('iat a second beyond the skew', $early, session({ iat => $now + 6 }), boundary => $true);
bad('nbf beyond the skew', $early, session({ nbf => $now + 600 }));
bad('iat beyond the skew', $early, session({ iat => $now + 600 }));
bad('nbf a text', $early, session({ nbf => $now - 10 . '' }));
bad('iat null', $early, raw(with_number('iat', 'null')));
bad('iat in milliseconds', $early, session({ iat => $now * 1000 }));

my $iss = "the JWT's iss is not clerk { issuer }";
bad('another issuer', $iss, session({ iss => 'https://clerk.example.net' }));
bad('no issuer', $iss, session({ iss => undef }));
bad('the issuer with a slash', $iss, session({ iss => "$issuer/" }));
bad('the issuer as the beginning of another', $iss, session({ iss => "$issuer.evil.example" }));
bad('the issuer in a list', $iss, session({ iss => [$issuer] }));
my $azp = "the JWT's azp is not among clerk { authorized_parties }";
bad('another party', $azp, session({ azp => 'https://evil.example.com' }));
bad('no party', $azp, session({ azp => undef }));
bad('the party in a list', $azp, session({ azp => [$party] }));
my $sts = 'the session is not active (sts)';
bad('session pending', $sts, session({ sts => 'pending' }));
bad('session ended', $sts, session({ sts => 'ended' }));
bad('no sid', 'the session token has no sid', session({ sid => undef }));
bad('sid a number', 'the session token has no sid', session({ sid => 9 }));
bad('version 3', 'the session token is of an unknown version', session({ v => 3 }));
bad('version a text', 'the session token is of an unknown version', session({ v => '2' }));
bad('organization without id', "the session token's organization has no id", session({ o => { rol => 'admin' } }));
bad('organization that is a user', 'the organization of this credential is none', session({ o => { id => $user } }));

bad('M2M for another machine', 'the M2M token is not for clerk { machine_id }', robot({ scopes => $robot }));
bad('M2M for nobody', 'the M2M token is not for clerk { machine_id }', robot({ scopes => undef }));
bad('M2M whose scopes only begin like ours', 'the M2M token is not for clerk { machine_id }', robot({ scopes => "${machine}x" }));
bad('M2M with scopes and aud at odds', 'the M2M token is not for clerk { machine_id }', robot({ scopes => $robot, aud => [$machine] }));
bad('M2M with aud as text', 'the M2M token is not for clerk { machine_id }', robot({ scopes => undef, aud => $machine }));
bad('M2M with the cat of a session', $kind, robot({}, { cat => $cat{session} }));
bad('M2M without jti', "the JWT's jti or client_id is missing", robot({ jti => undef }));
bad('M2M expired', $expired, robot({ exp => $now - 10 }));
bad('OAuth without client_id', "the JWT's jti or client_id is missing", access({ client_id => undef }));
bad('OAuth with the cat of a session', $kind, access({}, { cat => $cat{session} }));
bad('OAuth expired', $expired, access({ exp => $now - 10 }));
bad('OAuth of another issuer', $iss, access({ iss => 'https://clerk.example.net' }));

# ---- good ones --------------------------------------------------------------------------------------

my %robot_is  = (subject => $robot, key_id => $machine{jti});
my %access_is = (key_id => $client, scopes => 'profile email');
good('a session token', $valid);
good('version 1, with an organization', session({
    v => undef, sts => undef, jti => undef, org_id => $org, org_slug => 'acme', org_role => 'org:admin',
    org_permissions => [ 'org:billing:manage', 'org:billing:read' ],
}), organization => $org, scopes => 'org:billing:manage org:billing:read');
good('version 2, with an organization', session({
    pla => 'o:pro', fea => 'o:billing,u:export',
    o => { id => $org, slg => 'acme', rol => 'admin', per => 'manage,read', fpm => '3' },
}), organization => $org, scopes => 'o:billing org:billing:manage org:billing:read u:export');
my $bits = Math::BigInt->new(2)->bpow(69)->badd(1)->bstr;
good('70 permissions, the first and the last of them', session({
    fea => 'u:export,ou:reports,o:none',
    o => { id => $org, per => join(',', map { "p$_" } 0 .. 69), fpm => "$bits,0" },
}), organization => $org,
    scopes => 'u:export u:reports o:reports org:reports:p0 org:reports:p69 o:none');
good('RS384', session({}, { alg => 'RS384' }, $second));
good('RS512 with 4,096 bits', session({}, { alg => 'RS512' }, $large));
good('the second key of the set', session({}, {}, $second));
good('no typ', session({}, { typ => undef }));
good('cat of a session', session({}, { cat => $cat{session} }));
good('cat of an instance that ignores it', session({}, { cat => $cat{ignored} }));
good('header members that nobody knows', session({}, { oiat => $now, x5t => 'abc', nonsense => { a => [ 1, undef ] } }));
good('expired within the skew', session({ exp => $now - 4 }), boundary => $true);
good('not yet valid within the skew', session({ nbf => $now + 5, iat => $now + 5 }), boundary => $true);
good('the latest exp there is', session({ exp => 9007199254740992 }));
good('neither nbf nor iat', session({ nbf => undef, iat => undef }));
good('an aud that nobody asks for', session({ aud => 'https://other.example.com' }));
good('an impersonation', session({ act => { iss => 'https://dashboard.clerk.com', sid => 'sess_1', sub => 'user_support' } }));
good('white space in the JSON', raw(JSON::PP->new->utf8->canonical->pretty->encode(\%session)));
good('escapes in the JSON', raw(encoded() =~ s/user_/\\u0075ser_/r));
good('a payload of 10,000 bytes', session({ metadata => 'x' x 10_000 }));
good('an M2M token', robot({}, { cat => $cat{machine} }), %robot_is);
good('an M2M token without cat', robot({}), %robot_is);
good('an M2M token for two machines', robot({ scopes => "$robot $machine" }), %robot_is);
good('an M2M token with aud', robot({ scopes => undef, aud => [ $robot, $machine ] }), %robot_is);
good('an OAuth token', access({}), %access_is);
good('an OAuth token with scope and organization', access({ scp => undef, scope => 'profile  email', org_id => $org }),
    %access_is, organization => $org);
good('an OAuth token, typ with application/', access({}, { typ => 'application/at+jwt' }), %access_is);

print JSON::PP->new->utf8->canonical->pretty->indent_length(1)->encode({
    now => $now, issuer => $issuer, authorized_parties => [$party], machine_id => $machine,
    jwks => \%jwks, pem => $key->{pem}, tokens => \@tokens,
});

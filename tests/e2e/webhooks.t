# SPDX-License-Identifier: MIT
# Clerk's webhooks, signed as Svix does it: who is believed, and what happens then.
use strict;
use warnings;
use FindBin qw($Bin);
use lib "$Bin/lib";
use Digest::SHA qw(hmac_sha256);
use JSON::PP ();
use MIME::Base64 qw(encode_base64);
use Spendgate::E2E;
use Spendgate::JWT;
use Test::More;

my $key    = join '', map { chr } 1 .. 24;
my $secret = 'whsec_' . encode_base64($key, '');
my $plans  = <<'END';
plan "free" { budget "month" { limit_usd = "100.00"  period = "month" } hold_usd = "0" }
default_plan = "free"
END

sub gate {
    my ($clerk) = @_;
    my $gate = Spendgate::E2E->new(plans => $plans, clerk => $clerk);
    $gate->write_file('etc/webhook_secret', "$secret\n", 0600);
    return $gate;
}
my $gate = gate('cache_ttl = "1h"');
$gate->write_settings(clerk => 'cache_ttl = "1h"  webhook_secret_file = "' . $gate->path('etc/webhook_secret') . '"');
$gate->start_clerk;
$gate->write_settings;
$gate->start_tracker;
$gate->start_authorizer;

my $message = 0;
sub hook {
    my ($event, %option) = @_;
    my $body = ref $event ? JSON::PP->new->canonical->encode($event) : $event;
    my $id   = $option{id} // 'msg_' . ++$message;
    my $sent = $option{sent} // time;
    my $signature = $option{signature} // 'v1,' . encode_base64(hmac_sha256("$id.$sent.$body", $option{key} // $key), '');
    my ($status, $answer, $raw) = ($option{gate} // $gate)->tracker('POST', '/v1/webhooks/clerk', $body, no_token => 1,
        headers => [ [ 'Svix-Id', $id ], [ 'Svix-Timestamp', $sent ], [ 'Svix-Signature', $signature ] ]);
    return wantarray ? ($status, $answer, $raw) : $status;
}
sub status { return $gate->authorize('/api/file.txt', key => $_[0]{secret})->{status} }

my %key = map { $_ => $gate->clerk_key(subject => $gate->subject($_)) } qw(deleted banned updated);
my $team = $gate->clerk_key(subject => $gate->subject('team', 'org'));
is status($_), 200, 'a key passes before' for @key{ sort keys %key }, $team;
is $gate->clerk_calls, 4, 'after one call each';

is scalar hook({ type => 'user.deleted', data => { id => $gate->subject('deleted') } }), 200, 'user.deleted: 200';
is status($key{deleted}), 403, 'frozen on the next request';
is scalar hook({ type => 'user.updated', data => { id => $gate->subject('banned'), banned => JSON::PP::true() } }), 200, 'a ban: 200';
is status($key{banned}), 403, 'frozen as well';
is scalar hook({ type => 'organization.deleted', data => { id => $gate->subject('team', 'org') } }), 200, 'organization.deleted: 200';
is status($team), 403, 'frozen as well';
my $calls = $gate->clerk_calls;
is scalar hook({ type => 'user.updated', data => { id => $gate->subject('updated') } }), 200, 'user.updated: 200';
is status($key{updated}), 200, 'the key still passes';
is $gate->clerk_calls, $calls + 1, 'after Clerk was asked again';
is scalar hook({ type => 'session.revoked', data => { id => 'sess_1' } }), 200, 'session.revoked: 200';
my ($denied, $why) = $gate->cli('explain', '--key-id', 'sess_1', '--subject', $gate->subject('updated'), '--path', '/api/file.txt');
is $denied, 1, 'its sid is refused from now on';
like $why, qr/revoked/, 'as revoked';
is scalar hook({ type => 'user.updated', data => { id => 'user_never_seen' } }), 200, 'somebody who was never here: 200';
is scalar hook({ type => 'email.created', data => {} }), 200, 'an unknown event: 200';

# The same message again does nothing: an operator's word after it stays.
my %once = (id => 'msg_once');
my $event = { type => 'user.deleted', data => { id => $gate->subject('updated') } };
is scalar hook($event, %once), 200, 'a message';
is status($key{updated}), 403, 'acts';
$gate->tracker('POST', '/v1/accounts/' . $gate->subject('updated') . '/unfreeze');
my (undef, undef, $again) = hook($event, %once);
is $again->{status}, 200, 'the same message again: 200';
is $again->{headers}{'idempotent-replayed'}[0], 'true', 'told as a repeat';
is status($key{updated}), 200, 'and does nothing';

for my $case (
    [ 'a wrong signature',  signature => 'v1,' . encode_base64('x' x 32, '') ],
    [ 'another key',        key       => 'y' x 24 ],
    [ 'six minutes old',    sent      => time - 360 ],
    [ 'six minutes ahead',  sent      => time + 360 ],
  )
{
    my ($name, %how) = @$case;
    my ($status, $body) = hook($event, %how);
    is "$status $body->{error}", '401 invalid_signature', "$name: 401";
}
is status($key{updated}), 200, 'none of them did anything';
my ($status, $body) = hook({ type => 'user.deleted', data => {} });
is $status, 400, 'signed, and names nobody: 400';
($status) = $gate->tracker('GET', '/v1/webhooks/clerk');
is $status, 405, 'GET: 405';
is index($gate->logs, $secret), -1, 'the secret is in no log';
my ($code, $out, $err) = $gate->cli('verify');
is $code, 0, 'spendgate verify' or diag $out, $err;
undef $gate;

# ---- sessions, memberships, subscriptions ------------------------------------------------------------------

# A session token is checked without asking Clerk, so only the webhook can end it before it expires.
my $issuer = 'https://clerk.example.com';
my $signer = Spendgate::JWT::make_key(kid => 'ins_webhooks');
$gate = gate('');
$gate->write_settings(clerk => qq(accept = { "session_token", "api_key" }  issuer = "$issuer"  cache_ttl = "1h"
    webhook_secret_file = "@{[ $gate->path('etc/webhook_secret') ]}"));
$gate->start_clerk;
$gate->write_settings;
$gate->_clerk_control('PUT', 'jwks', { keys => [ Spendgate::JWT::jwk($signer) ] });
$gate->start_tracker;
$gate->start_authorizer(workers => 4);
my $now = int time;
my %token = map {
    $_ => Spendgate::JWT::token($signer, { exp => $now + 600, iat => $now, nbf => $now, iss => $issuer, sub => $gate->subject('judy'),
            sid => "sess_$_", v => 2, sts => 'active' })
} qw(first second third other);
sub statuses {
    my ($token) = @_;
    my @got = $gate->parallel(8, sub {
        for (1 .. 100) {
            my $answer = $gate->authorize('/api/file.txt', key => $token);
            return { status => $answer->{status} . ' ' . ($answer->{denial}{reason} // '') } if $answer->{status} != 503;
            select undef, undef, undef, 0.1;
        }
        return { status => 503 };
    });
    my %seen = map { ($_->{status} // 'nothing') => 1 } @got;
    return join ', ', sort keys %seen;
}
is statuses($token{$_}), '200 ', "session $_ passes in every process" for sort keys %token;
my %ends = (first => 'session.ended', second => 'session.removed', third => 'session.revoked');
for my $name (sort keys %ends) {
    is scalar hook({ type => $ends{$name}, data => { id => "sess_$name", user_id => $gate->subject('judy'), status => 'ended' } }), 200, "$ends{$name}: 200";
    is statuses($token{$name}), '401 revoked', "$ends{$name}: refused at once by every process";
}
is statuses($token{other}), '200 ', 'the other session of the user goes on';
is scalar hook({ type => 'session.ended', data => { id => 'sess_early' } }), 200, 'a session that was never here ends';
is statuses(Spendgate::JWT::token($signer, { exp => $now + 600, iat => $now, iss => $issuer, sub => $gate->subject('judy'), sid => 'sess_early', v => 2, sts => 'active' })),
  '401 revoked', 'and never gets in';

my %judys = map { $_ => $gate->clerk_key(subject => $gate->subject("payer$_")) } 1 .. 2;
my $payer = $gate->clerk_key(subject => $gate->subject('acme', 'org'));
is status($_), 200, 'a key passes before' for @judys{ 1, 2 }, $payer;
$gate->clerk_forget_calls;
my $member = sub { return { organization => { id => $gate->subject('acme', 'org') }, public_user_data => { user_id => $gate->subject("payer$_[0]") }, role => 'org:member' } };
for my $case (
    [ 'organizationMembership.updated', $member->(1), $judys{1} ],
    [ 'organizationMembership.deleted', $member->(2), $judys{2} ],
    [ 'subscription.updated',        { payer => { user_id => $gate->subject('payer1') } }, $judys{1} ],
    [ 'subscriptionItem.canceled',   { payer => { organization_id => $gate->subject('acme', 'org') } }, $payer ],
  )
{
    my ($type, $data, $whose) = @$case;
    my $calls = $gate->clerk_calls;
    is status($whose), 200, "$type: before";
    is $gate->clerk_calls, $calls, "$type: from the cache";
    is scalar hook({ type => $type, data => $data }), 200, "$type: 200";
    is status($whose), 200, "$type: the key passes";
    is $gate->clerk_calls, $calls + 1, "$type: after Clerk was asked again";
}

# Several signatures, as while a secret is exchanged, and the ways to get them wrong.
my $sign = sub { my ($id, $sent, $body, $with) = @_; return 'v1,' . encode_base64(hmac_sha256("$id.$sent.$body", $with // $key), '') };
my $body_text = '{"type":"user.updated","data":{"id":"' . $gate->subject('payer1') . '"}}';
my $sent = time;
for my $case (
    [ 200, 'msg_s1', 'the second of two', join(' ', $sign->('msg_s1', $sent, $body_text, 'z' x 24), $sign->('msg_s1', $sent, $body_text)) ],
    [ 200, 'msg_s2', 'beside another version', join(' ', 'v2,abc', $sign->('msg_s2', $sent, $body_text)) ],
    [ 401, 'msg_s3', 'another version only', $sign->('msg_s3', $sent, $body_text) =~ s/\Av1/v2/r ],
    [ 401, 'msg_s4', 'of another id', $sign->('msg_other', $sent, $body_text) ],
    [ 401, 'msg_s5', 'of another time', $sign->('msg_s5', $sent - 1, $body_text) ],
    [ 401, 'msg_s6', 'of another body', $sign->('msg_s6', $sent, "$body_text ") ],
    [ 401, 'msg_s7', 'empty', '' ],
  )
{
    my ($want, $id, $name, $signature) = @$case;
    is scalar hook($body_text, id => $id, sent => $sent, signature => $signature), $want, "a signature $name: $want";
}
is scalar hook($body_text, sent => time - 290), 200, 'nearly five minutes old: taken';
is scalar hook($body_text, sent => time + 290), 200, 'nearly five minutes ahead: taken';
undef $gate;

my $bare = gate('');
$bare->start_clerk;
$bare->start_tracker;
($status, $body) = hook($event, gate => $bare);
is "$status $body->{error}", '503 webhook_not_configured', 'without a secret: 503';
done_testing;

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
use Test::More;

my $key    = join '', map { chr } 1 .. 24;
my $secret = 'whsec_' . encode_base64($key, '');
my $plans  = <<'END';
plan "free" { budget "month" { limit_usd = "100.00"  period = "month" } hold_usd = "0" }
default_plan = "free"
END

sub gate {
    my ($clerk) = @_;
    my $gate = Spendgate::E2E->new(plans => $plans, clerk => $clerk, explain => 0);
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

my $bare = gate('');
$bare->start_clerk;
$bare->start_tracker;
($status, $body) = hook($event, gate => $bare);
is "$status $body->{error}", '503 webhook_not_configured', 'without a secret: 503';
done_testing;

# SPDX-License-Identifier: MIT
# I9: a key revoked or an account frozen here is refused by every process on its next request.
# begun first
use strict;
use warnings;
use FindBin qw($Bin);
use lib "$Bin/lib";
use Spendgate::E2E;
use Test::More;

my $plans = <<'END';
plan "free" { budget "month" { limit_usd = "100.00"  period = "month" }  hold_usd = "0.01" }
default_plan = "free"
END

for my $kind (Spendgate::E2E::server_kinds()) {
    # An hour of cache: what is refused below is refused without asking Clerk.
    my $gate = Spendgate::E2E->new(plans => $plans, clerk => 'cache_ttl = "1h"');
    $gate->start_web($kind, workers => 8);
    my $paul   = $gate->subject('paul');
    my $key    = $gate->clerk_key(subject => $paul);
    my $other  = $gate->clerk_key(subject => $paul);
    my $everyone = sub {
        my ($secret) = @_;
        my @answers = $gate->parallel(32, sub {
            my $answer = $gate->decided('GET', '/api/file.txt', key => $secret);
            return { is => "$answer->{status} " . ((Spendgate::E2E::body_json($answer) // {})->{error} // '') };
        });
        my %count;
        $count{ $_->{is} // 'none' }++ for @answers;
        return join ', ', map { "$count{$_} x $_" } sort keys %count;
    };
    my %refusal = (401 => '32 x 401 invalid_key', 403 => '32 x 403 frozen', expired => '32 x 401 expired');
    is $everyone->($_->{secret}), '32 x 200 ', "$kind: every process knows the key" for $key, $other;

    my @steps = (
        [ 'frozen by the tracker', sub { $gate->tracker('POST', "/v1/accounts/$paul/freeze") },   403, 403 ],
        [ 'unfrozen',              sub { $gate->tracker('POST', "/v1/accounts/$paul/unfreeze") }, 200, 200 ],
        [ 'frozen by the command',   sub { $gate->cli('account', 'freeze',   $paul) }, 403, 403 ],
        [ 'unfrozen by the command', sub { $gate->cli('account', 'unfreeze', $paul) }, 200, 200 ],
        [ 'key revoked by the tracker', sub { $gate->tracker('POST', "/v1/accounts/key:$key->{id}/revoke") }, 401, 200 ],
        [ 'key allowed again', sub { $gate->tracker('POST', "/v1/accounts/key:$key->{id}/unrevoke") }, 200, 200 ],
        [ 'key revoked by the command', sub { $gate->cli('account', 'revoke', "key:$key->{id}") }, 401, 200 ],
        [ 'key allowed again by the command', sub { $gate->cli('account', 'unrevoke', "key:$key->{id}") }, 200, 200 ],
        [ 'account revoked', sub { $gate->tracker('POST', "/v1/accounts/$paul/revoke") }, 401, 401 ],
        [ 'account allowed again', sub { $gate->tracker('POST', "/v1/accounts/$paul/unrevoke") }, 200, 200 ],
    );
    for my $step (@steps) {
        my ($name, $act, @want) = @$step;
        my ($status, @rest) = $act->();
        ok $status == 0 || $status == 200, "$kind: $name: done" or diag explain [ $status, @rest ];
        my @got = map { $everyone->($_->{secret}) } $key, $other;
        for my $i (0, 1) {
            is $got[$i], $refusal{ $want[$i] } // '32 x 200 ', "$kind: $name: key " . ($i + 1);
        }
    }
    is $gate->clerk_calls, 2, "$kind: Clerk was asked twice in all of this";

    # Revoked at Clerk and cached for an hour: reverify makes the next request ask.
    $gate->clerk_revoke($key->{id});
    is $everyone->($key->{secret}), '32 x 200 ', "$kind: revoked at Clerk, still cached";
    my ($code, $out, $err) = $gate->cli('account', 'reverify', $paul);
    is $code, 0, "$kind: reverify" or diag $err;
    is $everyone->($key->{secret}), $refusal{401}, "$kind: and every process refuses it at once";
    is $everyone->($other->{secret}), '32 x 200 ', "$kind: the other key passes";
    is $gate->clerk_calls, 4, "$kind: after one more call for each";
    ($code, $out, $err) = $gate->cli('verify');
    is $code, 0, "$kind: spendgate verify" or diag $out, $err;
}
done_testing;

# SPDX-License-Identifier: MIT
# The operator's command on a store that is in use; and I7: verify finds one nano-dollar.
use strict;
use warnings;
use FindBin qw($Bin);
use lib "$Bin/lib";
use Spendgate::E2E;
use Test::More;

my $plans = <<'END';
plan "free" { budget "month" { limit_usd = "1.00"  period = "month" }  hold_usd = "0.05" }
default_plan = "free"
END

my $gate = Spendgate::E2E->new(plans => $plans);
$gate->start_web('lighttpd');
my $tina   = $gate->subject('tina');
my $key    = $gate->clerk_key(subject => $tina);
my $secret = $key->{secret};
my @holds  = map { (Spendgate::E2E::body_json($gate->get('/api/env.php', key => $secret)) // {})->{env}{SPENDGATE_HOLD_ID} } 1 .. 3;
my ($status) = $gate->spend(hold_id => $holds[0], cost_usd => '0.04');
is $status, 200, 'three holds, one settled' or diag $gate->logs;

sub text {
    my ($name, $want, @command) = @_;
    my ($code, $out, $err) = $gate->cli(@command);
    is $code, 0, "$name: exit code" or diag $err;
    like $out, $want, "$name: says so";
    return;
}

text('account list', qr/\Q$tina\E/, 'account', 'list');
text('account show', qr/\Q$tina\E.*0\.04/s, 'account', 'show', $tina);
text('hold list', qr/\Q$holds[1]\E/, 'hold', 'list');
text('charge list', qr/0\.04/, 'charge', 'list');
my $account = $gate->cli_json('account', 'show', $tina);
is $account->{budgets}[0]{spent_usd}, '0.04', 'account show --json';
is $account->{budgets}[0]{held_usd},  '0.1',  'account show --json: held';
text('hold void', qr/./, 'hold', 'void', $holds[1]);
is $gate->budget($tina)->{held_usd}, '0.05', 'a voided hold is given back';
text('budget set', qr/./, 'budget', 'set', $tina, 'month', '0.50', '--note', 'a test');
is $gate->budget($tina)->{limit_usd}, '0.5', 'a limit set by hand';
text('budget topup', qr/./, 'budget', 'topup', $tina, '0.25');
is $gate->budget($tina)->{limit_usd}, '0.75', 'a top-up on it';
text('budget clear', qr/./, 'budget', 'clear', $tina, 'month');
is $gate->budget($tina)->{limit_usd}, '1.25', 'back to the plan, and the top-up stays';
text('token new', qr/sha256/, 'token', 'new', '--name', 'second', '--role', 'read');

my ($code, $out, $err) = $gate->cli('account', 'show', 'user_nobody');
is $code, 1, 'an unknown account is 1';
like $err, qr/user_nobody/, 'and named';
($code, $out, $err) = $gate->cli('no-such-command');
is $code, 2, 'usage is 2';
($code, $out, $err) = $gate->cli('account', 'freeze');
is $code, 2, 'a missing argument too';
if ($> == 0) {
    ($code, $out, $err) = $gate->cli({ root => 1 }, 'account', 'list');
    is $code, 0, 'the command may run as root';
    my @owned = grep { (stat)[4] != $gate->{uid} } glob $gate->path('store/*');
    is "@owned", '', 'and leaves no file that the servers cannot open';
    is $gate->get('/api/file.txt', key => $secret)->{status}, 200, 'which they can';
}

# verify: green, then one nano-dollar, then green again.
($code, $out, $err) = $gate->cli('verify');
is $code, 0, 'verify is green' or diag $out, $err;
$gate->stop('lighttpd');
my @changes = (
    [ 'spent, one nano-dollar more', 'UPDATE budget_period SET spent_nanos = spent_nanos + 1', 'UPDATE budget_period SET spent_nanos = spent_nanos - 1' ],
    [ 'held, one nano-dollar less',  'UPDATE budget_period SET held_nanos = held_nanos - 1 WHERE held_nanos > 0', 'UPDATE budget_period SET held_nanos = held_nanos + 1 WHERE held_nanos > 0' ],
);
for my $change (@changes) {
    my ($name, $there, $back) = @$change;
    $gate->sql($there);
    ($code, $out, $err) = $gate->cli('verify');
    is $code, 1, "$name: verify fails" or diag $out, $err;
    like $out . $err, qr/\Q$tina\E/, "$name: and names the account";
    $gate->sql($back);
    ($code, $out, $err) = $gate->cli('verify');
    is $code, 0, "$name: verify is green again" or diag $out, $err;
}
is index($gate->logs, $secret), -1, 'no credential in any log';
done_testing;

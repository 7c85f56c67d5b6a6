# SPDX-License-Identifier: MIT
# `spendgate clerk sync`: names and expiry of the known keys, revoked ones refused at once, within the host's quota,
# through 429s and breaks.
# begun first
use strict;
use warnings;
use FindBin qw($Bin);
use lib "$Bin/lib";
use JSON::PP ();
use Spendgate::E2E;
use Test::More;
use Time::HiRes qw(sleep time);

my $true  = JSON::PP::true();
my $file  = '/api/file.txt';
my $plans = <<'END';
plan "free" { budget "month" { limit_usd = "100"  period = "month" }  hold_usd = "0.01" }
default_plan = "free"
END
my $gate;

sub new_gate {
    my ($clerk) = @_;
    $gate = Spendgate::E2E->new(plans => $plans, clerk => "cache_ttl = \"1h\"  failure_rate = \"1000/1m\"  $clerk");
    $gate->start_clerk;
    $gate->start_authorizer(workers => 4);
    return $gate;
}

sub answer_of { my ($key, $from) = @_; return ($from // $gate)->authorize($file, key => $key->{secret}) }

# The same until it is decided: 503 means "ask again".
sub status_of {
    my ($key) = @_;
    for (1 .. 200) {
        my $status = answer_of($key)->{status};
        return $status if $status != 503;
        sleep 0.05;
    }
    return 503;
}

sub key_of { my ($name, %key) = @_; return $gate->clerk_key(subject => $gate->subject($name), %key) }

# The summary of a sync, which has to end with this code.
sub sync {
    my ($want) = @_;
    my ($code, $out, $err) = $gate->cli('clerk', 'sync', '--json');
    is $code, $want, "clerk sync: exit $want" or diag $out, $err;
    my $sum = eval { JSON::PP->new->decode($out) } // {};
    $sum->{err} = $err;
    return $sum;
}

sub sums { my ($sum, @names) = @_; return join ' ', map { $sum->{$_} // 'none' } @names }

# ---- names, expiry, revocation -------------------------------------------------------------------------

new_gate('rate = "10000/10s"');
is sync(0)->{subjects}, 0, 'nobody was here yet';
my %key = (
    ci      => key_of('alice', name => 'ci key', expiration => int((time + 86_400) * 1000)),
    laptop  => key_of('alice', name => "K\x{fc}che \x{1F600}\e[2J" . 'x' x 300),
    old     => key_of('alice', name => 'old key'),
    gone    => key_of('alice', name => 'deleted key'),
    short   => key_of('bob', name => 'short-lived'),
    org     => $gate->clerk_key(subject => $gate->subject('acme', 'org'), name => 'of the organization'),
);
is status_of($key{$_}), 200, "$_: passes" for sort keys %key;
# 250 more keys of alice that nobody has used here.
key_of('alice', name => "unused $_") for 1 .. 250;
$gate->clerk_forget_calls;
my $sum = sync(0);
is sums($sum, qw(subjects keys noted revoked reverified subjects_unknown unreadable)), '3 6 6 0 0 0 0', 'three subjects, six keys, six names';
is $gate->clerk_calls('list'), 5, 'three pages of 254 keys, and one of each other subject';
is $gate->clerk_calls, 0, 'nothing is verified for it';
my ($code, $out) = $gate->cli('account', 'list');
like $out, qr/\AACCOUNT  .*  RESETS +NAME$/m, 'account list has a column for it';
like $out, qr/^key:\Q$key{ci}{id}\E +free .* ci key$/m, 'account list has the name';
like $out, qr/^key:\Q$key{laptop}{id}\E +free .* K\xc3\xbcche \xf0\x9f\x98\x80\?\[2Jx{200}/m, 'control characters are not printed, a long name is cut';
($code, $out) = $gate->cli('account', 'show', "key:$key{ci}{id}");
like $out, qr/^Name +ci key\nAt Clerk +20\d\d-\d\d-\d\dT/m, 'account show has name and expiry';
my $shown = $gate->cli_json('account', 'show', "key:$key{ci}{id}");
is "$shown->{clerk}{name} $shown->{clerk}{listed}", 'ci key 1', 'and so has its JSON';
$shown = $gate->cli_json('account', 'show', $gate->subject('alice'));
ok !exists $shown->{clerk}, 'a subject has none';
my $count = sync(0);
is sums($count, qw(resumed subjects keys noted)), '0 3 6 0', 'again: nothing new';

$gate->clerk_revoke($key{old}{id});
$gate->clerk_change($key{old}{id}, revocation_reason => 'lost laptop');
$gate->clerk_delete($key{gone}{id});
$gate->clerk_change($key{short}{id}, expiration => int((time - 1) * 1000), name => 'was short-lived');
is status_of($key{$_}), 200, "$_: the cache still lets it pass" for qw(old gone short);
($code, $out) = $gate->cli('clerk', 'sync');
is $code, 0, 'sync';
like $out, qr/^key:\Q$key{old}{id}\E is revoked here: revoked at Clerk: lost laptop$/m, 'it tells who is revoked and why';
like $out, qr/^3 subjects listed, 5 keys of theirs known here: 1 names or expiries noted, 1 revoked, 2 to be verified again\.$/m, 'and the sums'
  or diag $out;
for my $name (qw(old gone short)) {
    is join(' ', map { $_->{status} } $gate->parallel(8, sub { return { status => status_of($key{$name}) } })), join(' ', (401) x 8), "$name: refused at once by every process";
}
is answer_of($key{old})->{denial}{reason}, 'revoked', 'the revoked one says so';
is status_of($key{$_}), 200, "$_: still passes" for qw(ci laptop org);
my $journal = $gate->sql(q(SELECT text, note FROM event WHERE note LIKE '%Clerk%' ORDER BY id));
like $journal, qr/^revoke revoked at Clerk: lost laptop$/m, 'the journal says why a key was revoked';
like $journal, qr/^reverify not in Clerk's list of keys$/m, 'and one verified again';
unlike $gate->sql(q(SELECT who FROM event WHERE note LIKE '%Clerk%')), qr/^$/m, 'and who did it';
$sum = sync(0);
is sums($sum, qw(revoked reverified noted)), '0 0 0', 'again: each is done once';
is $gate->sql(q(SELECT count(*) FROM event WHERE note LIKE '%Clerk%')), "3\n", 'and journalled once';
($code, $out) = $gate->cli('account', 'show', "key:$key{gone}{id}");
like $out, qr/^Name +deleted key\nAt Clerk +not in its list of keys any more$/m, 'a deleted key keeps its name';
# Unrevoked here by an operator: the next sync sees Clerk's word again.
is +($gate->cli('account', 'unrevoke', "key:$key{old}{id}"))[0], 0, 'unrevoke';
is sync(0)->{revoked}, 1, 'what is revoked at Clerk is revoked again';
is +($gate->cli('verify'))[0], 0, 'spendgate verify';
if ($> == 0) {
    is +($gate->cli({ root => 1 }, 'clerk', 'sync'))[0], 0, 'as root';
    is status_of($key{ci}), 200, 'the servers go on with their files';
    unlike $gate->logs, qr/event=cache_bypassed/, 'the cache among them';
}

# Shapes that Clerk should not send.
my $body = sub { $gate->clerk_behave(endpoint => 'list', times => 1, body => $_[0]); return sync($_[1]) };
like $body->('[]', 1)->{err}, qr/^spendgate: Clerk's list of keys has no array "data"$/m, 'a list of nothing';
like $body->('{"data":[]}', 1)->{err}, qr/has no "total_count"/, 'no sum';
like $body->('<html>', 1)->{err}, qr/Clerk's list of keys is no JSON: /, 'no JSON';
$gate->clerk_behave(endpoint => 'list', times => 1, close => 'mid-body');
is sync(0)->{resumed}, $true, 'an answer that breaks off is asked for again';
my $odd = JSON::PP->new->encode({ total_count => 3, data => [ 7, { id => $key{org}{id}, subject => 'user_other', revoked => $true, expired => $true },
    { id => 'x y', subject => $gate->subject('acme', 'org'), revoked => JSON::PP::false(), expired => JSON::PP::false() } ] });
$sum = $body->($odd, 0);
is sums($sum, qw(unreadable revoked reverified)), '3 0 1', 'entries that cannot be read revoke nobody; the key that is not there is asked about';
is status_of($key{org}), 200, 'and passes when Clerk says so';
$gate->clerk_behave(endpoint => 'list', times => 1, status => 404, body => '{"errors":[]}');
is sums(sync(0), qw(subjects_unknown subjects revoked reverified)), '1 2 0 0', 'a subject that Clerk does not know: its keys are left alone';
$gate->clerk_behave(endpoint => 'list', times => 1, huge_bytes => 20 * 1024 * 1024);
is sums(sync(0), qw(finished subjects)), '1 3', '20 MiB are not read, and asked for again';

# Clerk refuses us; no secret.
is sync(0)->{finished}, $true, 'well again';
my ($refused) = ($gate->cli({ env => { CLERK_SECRET_KEY => 'sk_test_wrong' } }, 'clerk', 'sync'))[2];
like $refused, qr/Clerk refuses our own secret key \(HTTP 401\): correct clerk \{ secret_key_file \}/, 'our own key is wrong';
is index($refused, 'sk_test_wrong'), -1, 'and not shown';
is sync(0)->{resumed}, $true, 'which is a break as well';

# ---- breaks --------------------------------------------------------------------------------------------

new_gate('rate = "10000/10s"');
my @many = map { key_of("u${_}x", name => "key $_") } 1 .. 12;
is join(' ', map { status_of($_) } @many), join(' ', (200) x 12), 'twelve subjects';
$gate->clerk_behave(endpoint => 'list', skip => 5, status => 500, body => '{}');
$gate->clerk_forget_calls;
my $begun = time;
$sum = sync(1);
is sums($sum, qw(finished resumed subjects noted)), '0 0 5 5', 'Clerk fails after five subjects';
like $sum->{err}, qr/^spendgate: Clerk answers HTTP 500$/m, 'it says why';
cmp_ok time - $begun, '>', 3, 'after trying for a while';
is status_of($many[0]), 200, 'the breaker of the servers is not opened by that';
my $new = key_of('newcomer');
is status_of($new), 200, 'a new key is verified';
$gate->clerk_calm;
$gate->clerk_forget_calls;
$sum = sync(0);
is sums($sum, qw(finished resumed subjects noted)), '1 1 8 8', 'it goes on where it stopped';
is $gate->clerk_calls('list'), 8, 'with the seven that were left and the newcomer';
is sync(0)->{subjects}, 13, 'then begins anew';

# Killed in the middle.
$gate->clerk_behave(endpoint => 'list', delay_ms => 200);
my $pid = fork // die;
if ($pid == 0) {
    $gate->cli('clerk', 'sync');    # its child is what is killed
    POSIX::_exit(0);
}
sleep 1.1;
kill 'KILL', $gate->children_of($pid);
waitpid $pid, 0;
$gate->clerk_calm;
$sum = sync(0);
is $sum->{resumed}, $true, 'killed: it goes on';
ok $sum->{subjects} >= 5 && $sum->{subjects} < 13, 'where it was' or diag $sum->{subjects};

# A break of long ago is no place to go on from.
$gate->clerk_behave(endpoint => 'list', skip => 2, status => 403, body => '{}');
is sync(1)->{subjects}, 2, 'broken off';
$gate->clerk_calm;
my $day_us = 86_400 * 1_000_000;
$gate->sql("UPDATE @{[ $gate->database ? 'spendgate.' : '' ]}clerk_note SET listed_us = listed_us - $day_us WHERE listed_us > $day_us");
is sums(sync(0), qw(resumed subjects)), '0 13', 'a day later it begins anew';

# ---- 429, the quota, the terminal ----------------------------------------------------------------------

$gate->clerk_behave(endpoint => 'list', skip => 3, times => 1, retry_after => 3);
$begun = time;
$pid = fork // die;
if ($pid == 0) {
    my $code = ($gate->cli('clerk', 'sync'))[0];
    POSIX::_exit($code);
}
sleep 1;
is status_of(key_of('during')), 200, 'Clerk says 429 to the sync: the servers are not stopped by it';
waitpid $pid, 0;
is $? >> 8, 0, 'the 429 is waited for';
cmp_ok time - $begun, '>=', 2.9, 'as long as Retry-After says';
cmp_ok time - $begun, '<', 20, 'and no longer than need be';

# 100 calls per ten seconds: the sync gets a fifth of that, two in a second.
new_gate('rate = "100/10s"');
@many = map { key_of("u${_}x") } 1 .. 6;
is join(' ', map { status_of($_) } @many), join(' ', (200) x 6), 'six subjects';
$begun = time;
is sync(0)->{subjects}, 6, 'with a small quota';
cmp_ok time - $begun, '>=', 2.2, 'two calls in a second';
$begun = time;
my @alone = $gate->parallel(2, sub {
    my ($i) = @_;
    return { code => ($gate->cli('clerk', 'sync'))[0] } if $i == 0;
    return { statuses => join ' ', map { status_of(key_of("busy${_}x")) } 1 .. 8 };
});
is $alone[0]{code}, 0, 'beside new keys it gets to its end';
is $alone[1]{statuses}, join(' ', (200) x 8), 'and they are verified meanwhile';

# A terminal sees how far it is. `script' gives it one.
$gate->write_settings(clerk => 'rate = "10000/10s"');
system('script -qec ' . join(' ', map { "'$_'" } $gate->path('bin/spendgate') . ' --config ' . $gate->config . ' clerk sync') . ' /dev/null >'
      . $gate->path('tmp/typescript') . ' 2>&1 </dev/null');
my $typed = $gate->read_file('tmp/typescript');
like $typed, qr{\[[^\]]+\] \d+/14  user_}, 'a bar, the count and who is listed' or diag $typed;
like $typed, qr/14 subjects listed/, 'and the sums at the end';

# Without the secret key.
$gate->write_settings;
my $settings = $gate->read_file('etc/spendgate.conf');
$settings =~ s/^ *secret_key_file.*\n//m;
$gate->write_file('etc/spendgate.conf', $settings);
($code, $out, my $err) = $gate->cli('clerk', 'sync');
is $code, 2, 'no secret key: settings';
like $err, qr/clerk \{ secret_key_file \} or CLERK_SECRET_KEY/, 'which one';
is +($gate->cli('clerk'))[0], 2, 'clerk alone: usage';
done_testing;

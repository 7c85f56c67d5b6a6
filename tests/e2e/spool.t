# SPDX-License-Identifier: MIT
# spendgate spool replay: every post counts once, whatever happened before, beside or in the middle of a replay.
use strict;
use warnings;
use FindBin qw($Bin);
use lib "$Bin/lib";
use Digest::SHA qw(sha256_hex);
use JSON::PP ();
use POSIX qw(strftime);
use Spendgate::E2E;
use Test::More;
use Time::HiRes qw(sleep);

my $MANY = 300;

my $json = JSON::PP->new->utf8->canonical;
my $gate = Spendgate::E2E->new(plans => <<'END');
plan "free" {
    budget "month" { limit_usd = "1000.00"  period = "month" }
    hold_usd = "0.05"
}
default_plan = "free"
END
my $spool   = $gate->path('spool');
my $subject = $gate->subject('spooler');
mkdir $spool or die "$spool: $!";
chmod 0700, $spool;
$gate->_own($spool);
$gate->start_clerk;
$gate->start_authorizer;
$gate->start_tracker;
my $key = $gate->clerk_key(subject => $subject);

# A file as the clients write it.
my $number = 0;
sub spooled {
    my ($body, %change) = @_;
    my $age  = $change{age} // 0;
    my $name = $change{name} // sprintf 'spool/%d-%016x.json', time - $age, ++$number;
    my $text = sprintf qq({"version":1,"path":"/v1/spend","token_sha256":"%s","spooled_at":"%s","body":%s}\n),
      sha256_hex($change{token} // Spendgate::E2E::POST_TOKEN()), strftime('%Y-%m-%dT%H:%M:%SZ', gmtime time - $age),
      ref $body ? $json->encode($body) : $body;
    $text = substr $text, 0, $change{cut} if $change{cut};
    my $path = $gate->write_file($name, $text, 0600);
    utime time - $change{touched}, time - $change{touched}, $path if $change{touched};
    return $path;
}

sub post_body { return { subject => $subject, cost_usd => '0.03', idempotency_key => sprintf('k-%05d', ++$number), @_ } }

sub replay {
    my @options = ref $_[0] ? shift : ();
    my ($code, $out, $err) = $gate->cli(@options, 'spool', 'replay', $spool, '--json');
    return ($code, eval { $json->decode($out) } // {}, $err);
}

sub count_is {
    my ($want, $name) = @_;
    my ($status, $body) = $gate->tracker('GET', "/v1/charges?account=$subject&limit=1000", undef, role => 'read');
    local $Test::Builder::Level = $Test::Builder::Level + 1;
    return is scalar @{ $body->{charges} }, $want, $name;
}

sub left { return [ map { s{.*/}{}r } glob "$spool/*" ] }

my $allowed = $gate->authorize('/api/x', key => $key->{secret});
is $allowed->{status}, 200, 'a request with a hold';
my $hold = $allowed->{env}{SPENDGATE_HOLD_ID};
my $want = 0;

# ---- what is normal ----
spooled({ hold_id => $hold, subject => $subject, key_id => $key->{id}, cost_usd => '0.02', model => 'work' });
spooled(post_body());
my ($code, $did, $err) = replay();
is $code, 0, 'a replay' or diag $err;
is_deeply [ @{$did}{qw(recorded counted_before refused corrupt)} ], [ 2, 0, 0, 0 ], 'both are recorded';
is_deeply left(), [], 'and gone from the spool';
count_is($want = 2, 'two charges');
my ($status, $body) = $gate->tracker('GET', "/v1/charges?account=$subject&limit=2", undef, role => 'read');
my ($held) = grep { ($_->{hold_id} // '') eq $hold } @{ $body->{charges} };
is $held->{model}, 'work', 'with their details, and the hold is settled';
is $gate->budget($subject)->{held_usd}, '0', 'nothing is held';
($code, $did) = replay();
is_deeply [ $code, $did->{recorded} ], [ 0, 0 ], 'an empty spool is fine';

# ---- the tracker had recorded it, and only its answer was lost ----
my $known = post_body(metadata => { a => 1.5, b => [ 1, 2 ] }, tags => [ 'x', 'y' ], occurred_at => '2026-11-21T06:12:05Z');
my ($before) = (($gate->spend(%$known))[1]{charge_id});
spooled($known);
spooled({ %$known, idempotency_key => 'other' });
spooled({ hold_id => $hold, subject => $subject, cost_usd => '0.02' });
($code, $did) = replay();
is_deeply [ $code, @{$did}{qw(recorded counted_before)} ], [ 0, 1, 2 ], 'what the tracker knows is not counted again';
count_is($want += 2, 'one charge each');
my ($repeat_status, $repeat, $answer) = $gate->spend(%$known, idempotency_key => 'other');
is $repeat_status, 200, 'and the other way round: a post that was replayed is a repeat for the tracker';
is $answer->{headers}{'idempotent-replayed'}[0], 'true', 'which says so';
isnt $repeat->{charge_id}, $before, 'it is the charge of the replay';
count_is($want, 'still');

# ---- files that no client finished ----
spooled(post_body(), name => 'spool/1-young.tmp', cut => 150);
($code, $did) = replay();
is_deeply [ $code, $did->{unfinished} ], [ 0, 1 ], 'a file in the making is left alone';
is_deeply left(), ['1-young.tmp'], 'in its place';
utime time - 120, time - 120, "$spool/1-young.tmp";
spooled(post_body(), name => 'spool/2-whole.tmp', touched => 120);
($code, $did, $err) = replay();
is_deeply [ $code, @{$did}{qw(recorded corrupt)} ], [ 1, 1, 1 ], 'left by the dead: the whole one counts, the half is kept aside';
like $err, qr{1-young\.tmp: is corrupt and was moved to .*/corrupt: its writer died half-way}, 'and told';
is_deeply left(), ['corrupt'], 'the spool is empty';
ok -e "$spool/corrupt/1-young.tmp", 'nothing is thrown away';
count_is($want += 1, 'one more charge');

# ---- corrupt ----
$gate->write_file('spool/3-noise.json', "\0\377 what is this", 0600);
$gate->write_file('spool/4-empty.json', '', 0600);
spooled({ subject => $subject, cost_usd => '0.03' }, name => 'spool/5-nokey.json');
symlink '/etc/passwd', "$spool/6-link.json" or die "symlink: $!";
mkdir "$spool/7-folder.json" or die "mkdir: $!";
$gate->_own("$spool/7-folder.json");
spooled(post_body(), name => 'spool/8-good.json');
($code, $did, $err) = replay();
is_deeply [ $code, @{$did}{qw(recorded corrupt)} ], [ 1, 1, 5 ], 'corrupt files do not stop the good one' or diag $err;
like $err, qr/5-nokey\.json: .*each replay would count it again/, 'a post without any key is one of them';
is_deeply left(), ['corrupt'], 'all are out of the way';
count_is($want += 1, 'one more charge');
($code) = replay();
is $code, 0, 'and do not disturb the next run';

# ---- refused ----
($status, $body) = $gate->tracker('POST', '/v1/holds', { subject => $subject, amount_usd => '0.05' }, role => 'post');
$gate->tracker('POST', "/v1/holds/$body->{hold_id}/void", undef, role => 'post');
my @kept = (
    spooled({ hold_id => $body->{hold_id}, subject => $subject, cost_usd => '0.02' }, name => 'spool/1-voided.json'),
    spooled({ hold_id => $hold, subject => $subject, cost_usd => '0.99' }, name => 'spool/2-other.json'),
    spooled({ %$known, cost_usd => '0.99' }, name => 'spool/3-reused.json'),
    spooled(post_body(), token => 'sgt_unknown', name => 'spool/4-token.json'),
    spooled(post_body(), token => Spendgate::E2E::READ_TOKEN(), name => 'spool/5-read.json'),
    spooled(post_body(), age => 33 * 86_400, name => 'spool/6-old.json'),
    spooled(post_body(cost_usd => '1000.01'), name => 'spool/7-huge.json'),
    spooled(post_body(subject => 'user_nobody'), name => 'spool/8-nobody.json'),
);
my %why = (
    1 => 'its hold was given back',
    2 => 'settled with another amount',
    3 => 'used for another post',
    4 => 'no token of this SHA-256',
    5 => 'no token of this SHA-256',
    6 => 'older than idempotency_ttl',
    7 => 'above max_charge_usd',
    8 => 'no such account',
);
spooled(post_body(), name => 'spool/9-good.json');
($code, $did, $err) = replay();
is_deeply [ $code, @{$did}{qw(recorded refused)} ], [ 1, 1, scalar @kept ], 'what the store refuses is kept, the rest counts';
like $err, qr/\Q$_\E-\w+\.json: is refused and kept: .*$why{$_}/, "refused: $why{$_}" for sort keys %why;
is scalar @{ left() }, @kept + 1, 'all are in their place';
count_is($want += 1, 'one more charge');
unlink @kept;

# ---- a usage waits for the price of its model ----
my $usage = { subject => $subject, model => 'new-model', usage => { prompt_tokens => 1000, completion_tokens => 100 }, idempotency_key => 'usage-1' };
spooled($usage);
($code, $did, $err) = replay();
is_deeply [ $code, $did->{refused} ], [ 1, 1 ], 'a model without a price: the post is kept';
$gate->cli({ stdin => $gate->write_file('tmp/prices.csv', "model,input,output\nnew-model,2,10\n") }, 'price', 'import', '-');
($code, $did, $err) = replay();
is_deeply [ $code, $did->{recorded} ], [ 0, 1 ], 'after price import it counts' or diag $err;
($status, $body) = $gate->spend(%$usage);
is $body->{cost_usd}, '0.003', 'at that price';
count_is($want += 1, 'once');

# ---- two at once, and killed ----
spooled(post_body()) for 1 .. $MANY;
my @both = $gate->parallel(3, sub { my ($exit, $sum, $told) = replay(); return { exit => $exit, sum => $sum, told => $told } });
is $_->{exit}, 0, 'three replays at once' or diag $_->{told} for @both;
my $recorded = 0;
$recorded += $_->{sum}{recorded} for @both;
is $recorded, $MANY, 'each post is recorded by one of them';
is_deeply left(), ['corrupt'], 'the spool is empty';
count_is($want += $MANY, 'one charge each');

spooled(post_body()) for 1 .. $MANY;
for my $round (1 .. 5) {
    my $pid = fork // die "fork: $!";
    if ($pid == 0) {
        $gate->_become_server_user;
        exec { $gate->path('bin/spendgate') } 'spendgate', '--config', $gate->config, 'spool', 'replay', $spool
          or POSIX::_exit(127);
    }
    sleep 0.004 * $round;
    kill 'KILL', $pid;
    waitpid $pid, 0;
    note 'killed with ' . @{ left() } . ' files left';
}
($code, $did, $err) = replay();
is $code, 0, 'a replay after five that were killed' or diag $err;
count_is($want += $MANY, 'one charge each');

# ---- the store is away ----
spooled(post_body()) for 1 .. 3;
$gate->stop('tracker');
$gate->take_store_away;
($code, $did, $err) = replay();
is $code, 1, 'no store: it fails';
is scalar @{ left() }, 4, 'everything is kept';
$gate->give_store_back;
($code, $did) = replay();
is_deeply [ $code, $did->{recorded} ], [ 0, 3 ], 'it works without the tracker';
($code, $did, $err) = $gate->cli('spool', 'replay', $gate->path('nowhere'));
is $code, 1, 'a folder that is not there';
like $err, qr/nowhere: No such file or directory: it has to be the folder in SPENDGATE_SPOOL_DIR/, 'is told';

# ---- as root, with two owners ----
SKIP: {
    skip 'needs root', 4 if $> != 0;
    my ($uid, $gid) = (getpwnam 'daemon')[ 2, 3 ];
    spooled(post_body()) for 1 .. 70;
    spooled(post_body(), name => 'spool/1-old.json', age => 33 * 86_400);
    $gate->write_file('spool/2-noise.json', 'x', 0600);
    chown $uid, $gid, $spool, glob("$spool/*") or die "chown: $!";
    ($code, $did, $err) = replay({ root => 1 });
    is_deeply [ $code, @{$did}{qw(recorded refused corrupt)} ], [ 1, 70, 1, 1 ], 'root reads one owner\'s spool into another\'s store'
      or diag $err;
    is_deeply left(), [ '1-old.json', 'corrupt' ], 'and removes what is recorded';
    is_deeply [ grep { (stat)[4] == 0 } glob $gate->path('store/*') ], [], 'and leaves no file of root\'s in the store';
    chown $gate->{uid}, $gate->{gid}, $spool, glob("$spool/*") or die "chown: $!";
    chmod 0777, $spool;
    unlink "$spool/1-old.json";
    ($code, $did, $err) = replay();
    like $err, qr/warning: everybody may write into/, 'a folder that everybody may write is told';
}
$gate->start_tracker;
my ($exit, $out) = $gate->cli('verify');
is $exit, 0, 'verify is green' or diag $out;
done_testing;

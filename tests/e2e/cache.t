# SPDX-License-Identifier: MIT
# The verification cache: a file that is missing, foreign, damaged or full costs calls to Clerk, never a wrong
# answer; and `spendgate cache purge`.
use strict;
use warnings;
use File::Path qw(remove_tree);
use FindBin qw($Bin);
use lib "$Bin/lib";
use JSON::PP ();
use Spendgate::E2E;
use Test::More;
use Time::HiRes qw(sleep time);

my $true  = JSON::PP::true();
my $file  = '/api/file.txt';
my $plans = <<'END';
plan "free" { budget "month" { limit_usd = "1.00"  period = "month" }  hold_usd = "0.01" }
default_plan = "free"
END

# The same until it is decided: 503 means "ask again".
sub status_of {
    my ($gate, $key) = @_;
    for (1 .. 200) {
        my $status = $gate->authorize($file, key => $key, explain => 0)->{status};
        return $status if $status != 503;
        sleep 0.02 + rand 0.05;
    }
    return 503;
}

sub new_gate {
    my (%option) = @_;
    my $gate = Spendgate::E2E->new(plans => $plans, clerk => 'cache_ttl = "60s"  failure_rate = "1000/1m"', %option);
    $gate->start_clerk;
    return $gate;
}

# Everybody gets what is due to him, from every worker, and the money is right.
sub check_gate {
    my ($gate, $name) = @_;
    my $key     = $gate->clerk_key(subject => $gate->subject('alice'));
    my $revoked = $gate->key(subject => $gate->subject('bob'), revoked => $true);
    my $frozen  = $gate->clerk_key(subject => $gate->subject('carol'));
    is +($gate->cli('account', 'freeze', $gate->subject('carol')))[0], 0, "$name: an account is frozen";
    my @got = $gate->parallel(6, sub {
        return { map { $_->[0] => join ' ', map { status_of($gate, $_) } ($_->[1]) x 5 }
            [ good => $key->{secret} ], [ revoked => $revoked ], [ frozen => $frozen->{secret} ], [ unknown => 'ak_nobody' ] };
    });
    for my $case ([ good => 200 ], [ revoked => 401 ], [ frozen => 403 ], [ unknown => 401 ]) {
        my ($which, $want) = @$case;
        is join(' ', map { $_->{$which} // 'nothing' } @got), join(' ', ($want) x 30), "$name: 30 requests of a $which key"
          or diag $gate->logs;
    }
    my ($budget) = @{ $gate->cli_json('account', 'show', $gate->subject('alice'))->{budgets} };
    is $budget->{held_usd}, '0.3', "$name: 30 holds of a cent";
    my ($code, $out, $err) = $gate->cli('verify');
    is $code, 0, "$name: spendgate verify" or diag $out, $err;
    unlike $gate->logs, qr/AddressSanitizer|runtime error:|LeakSanitizer|terminate|signal/, "$name: nothing crashed";
    return;
}

sub lines_of {
    my ($gate, $event) = @_;
    return scalar grep { /event=\Q$event\E / } split /\n/, $gate->logs;
}

# ---- broken before the start ---------------------------------------------------------------------------

my @broken = (
    [ 'no folder', 'cache_bypassed', sub { remove_tree($_[0]->path('cache')) } ],
    [ 'a folder that nobody may write', 'cache_bypassed', sub { chmod 0500, $_[0]->path('cache') } ],
    [ 'garbage', 'cache_recreated', sub { $_[0]->write_file('cache/cache.db', 'no database ' x 1000, 0600) } ],
    [ 'half a database', 'cache_recreated', sub { $_[0]->write_file('cache/cache.db', "SQLite format 3\0" . "\x10\0\1\1" . "\xee" x 8000, 0600) } ],
    [ 'a database of something else', 'cache_bypassed', sub {
        system('sqlite3', $_[0]->path('cache/cache.db'), 'CREATE TABLE precious (a); INSERT INTO precious VALUES (7)') == 0 or die;
        chmod 0600, $_[0]->path('cache/cache.db');
        $_[0]->_own($_[0]->path('cache/cache.db'));
    } ],
    [ 'a file that everybody may write', 'cache_bypassed', sub { $_[0]->write_file('cache/cache.db', '', 0666) } ],
);
for my $case (@broken) {
    my ($name, $event, $break) = @$case;
    my $gate = new_gate();
    $break->($gate);
    $gate->start_authorizer(workers => 4);
    check_gate($gate, $name);
    my $lines = lines_of($gate, $event);
    ok $lines >= 1 && $lines <= 4, "$name: $event is told, once per process" or diag $gate->logs;
    if ($name =~ /something else/) {
        chomp(my $kept = qx(sqlite3 @{[ $gate->path('cache/cache.db') ]} 'SELECT a FROM precious'));
        is $kept, 7, "$name: it is left alone";
    }
    chmod 0755, $gate->path('cache');
}

# ---- broken while it is used ---------------------------------------------------------------------------

for my $case (
    [ 'removed', sub { unlink glob $_[0]->path('cache/cache.db*') } ],
    [ 'overwritten', sub {
        for my $path (map { $_[0]->path("cache/cache.db$_") } '', '-wal') {
            open my $out, '+<:raw', $path or die "$path: $!";
            print {$out} "\xee" x -s $path;
            close $out;
        }
    } ],
  )
{
    my ($name, $break) = @$case;
    my $gate = new_gate();
    $gate->start_authorizer(workers => 4);
    my $early = $gate->key(subject => $gate->subject('dave'));
    is status_of($gate, $early), 200, "$name while in use: before";
    $break->($gate);
    check_gate($gate, "$name while in use");
    is status_of($gate, $early), 200, "$name while in use: the known key passes";
}

# ---- a full disk ---------------------------------------------------------------------------------------

# A tmpfs of 192 KiB over the cache's folder, seen by the authorizer only.
sub on_small_disk {
    my ($gate) = @_;
    return if system('unshare -rm true 2>/dev/null') != 0;
    return ('unshare', '-rm', 'sh', '-c', 'mount -t tmpfs -o size=192k,mode=0700 tmpfs "$0" && exec "$@"', $gate->path('cache'));
}

SKIP: {
    my $gate = new_gate();
    my @wrap = on_small_disk($gate) or skip 'this machine has no user namespaces; test_verification_cache has it with a file limit', 1;
    $gate->{option}{wrap} = \@wrap;
    $gate->start_authorizer(workers => 4);
    # More answers than fit.
    my @keys = map { $gate->key(subject => $gate->subject('erin')) } 1 .. 60;
    my @got = $gate->parallel(4, sub { my ($i) = @_; return { map { $_ => status_of($gate, $keys[$_]) } grep { $_ % 4 == $i } 0 .. $#keys } });
    is_deeply [ sort map { values %$_ } @got ], [ (200) x 60 ], 'a full disk: 60 keys pass' or diag $gate->logs;
    check_gate($gate, 'a full disk');
    like $gate->logs, qr/event=cache_bypassed .*full/, 'a full disk: the log says so' or diag $gate->logs;
}

# ---- purge ---------------------------------------------------------------------------------------------

my $gate = new_gate();
$gate->start_authorizer(workers => 4);
my %key = map { $_ => $gate->clerk_key(subject => $gate->subject($_)) } qw(frank grace);
my $ask = sub {
    my ($who) = @_;
    my @got = $gate->parallel(8, sub { return { status => status_of($gate, $key{$who}{secret}) } });
    return join ' ', map { $_->{status} // 0 } @got;
};
is $ask->($_), join(' ', (200) x 8), "purge: $_ passes before" for sort keys %key;
is status_of($gate, 'ak_later'), 401, 'purge: a key that Clerk does not know yet';
$gate->clerk_revoke($key{frank}{id});
my $late = $gate->key(subject => $gate->subject('heidi'), secret => 'ak_later');
is $ask->('frank'), join(' ', (200) x 8), 'purge: revoked at Clerk, the cache still lets it pass';
$gate->clerk_forget_calls;
my $begun = time;
my ($code, $out, $err) = $gate->cli('cache', 'purge');
is $code, 0, 'purge: done' or diag $err;
like $out, qr/\A3 answers of Clerk forgotten\. /, 'purge: and says how much';
cmp_ok time - $begun, '<', 5, 'purge: soon';
is $ask->('frank'), join(' ', (401) x 8), 'purge: every process asks Clerk again, and refuses';
is $ask->('grace'), join(' ', (200) x 8), 'purge: who is good passes';
is status_of($gate, $late), 200, 'purge: a refusal is forgotten as well';
is $gate->clerk_calls, 3, 'purge: one call each';
is $gate->cli_json('cache', 'purge')->{removed}, 3, 'purge: JSON';

# Run by root, which has to become the owner of the file.
if ($> == 0) {
    is +($gate->cli({ root => 1 }, 'cache', 'purge'))[0], 0, 'purge as root';
    is $ask->('grace'), join(' ', (200) x 8), 'purge as root: the servers go on';
    is lines_of($gate, 'cache_bypassed'), 0, 'purge as root: with the same file';
    chown 0, 0, $gate->path('cache/cache.db');
    my ($code, $out, $err) = $gate->cli('cache', 'purge');
    is $code, 1, 'purge: the file of another user is refused';
    like $err, qr/cache\.db belongs to another user: run this as that user, or as root$/, 'purge: with what to do';
    $gate->_own($gate->path('cache/cache.db'));
}

$gate->stop('authorizer');
$gate->write_file('cache/cache.db', 'no database ' x 1000, 0600);
($code, $out, $err) = $gate->cli('cache', 'purge');
is $code, 0, 'purge: a damaged cache is made anew' or diag $err;
like $out, qr/\A0 answers/, 'purge: it held nothing';
unlink glob $gate->path('cache/cache.db*');
($code, $out, $err) = $gate->cli('cache', 'purge');
is $code, 0, 'purge: no cache';
like $out, qr/is not there, so nothing was forgotten/, 'purge: and says so';
ok !-e $gate->path('cache/cache.db'), 'purge: makes none';
is $gate->cli_json('cache', 'purge')->{removed}, 0, 'purge: JSON of nothing';
system('sqlite3', $gate->path('cache/cache.db'), 'CREATE TABLE precious (a)') == 0 or die;
chmod 0600, $gate->path('cache/cache.db');
$gate->_own($gate->path('cache/cache.db'));
($code, $out, $err) = $gate->cli('cache', 'purge');
is $code, 1, 'purge: a database of something else is refused';
like $err, qr/is a database of something else: choose another cache \{ path \}/, 'purge: with what to do';
is +($gate->cli('cache'))[0], 2, 'cache alone: usage';
done_testing;

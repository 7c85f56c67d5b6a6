# SPDX-License-Identifier: MIT
# `spendgate doctor` without an address: each thing that can be wrong on the host is made wrong, found, and its cure told;
# and nothing is changed by looking.
# store: sqlite (what it says of PostgreSQL is in tests/test_store_postgres.c)
use strict;
use warnings;
use FindBin qw($Bin);
use lib "$Bin/lib";
use Fcntl qw(:flock);
use File::Temp ();
use IO::Socket::INET ();
use JSON::PP ();
use POSIX qw(strftime);
use Spendgate::E2E;
use Spendgate::JWT;
use Spendgate::TLS;
use Test::More;
use Time::HiRes qw(sleep time);

my $gate = Spendgate::E2E->new;
$gate->start_clerk;
my $folder  = $gate->folder;
my $db      = "$folder/store/spendgate.db";
my $memory  = File::Temp::tempdir('spendgate-doctor-cache.XXXXXX', DIR => '/dev/shm', CLEANUP => 1);
$gate->_own($memory);
my $plans   = 'plan "free" { budget "month" { limit_usd = "1.00"  period = "month" }  hold_usd = "0.05" }  default_plan = "free"';
my $tracker = 'tracker { token "pages" { sha256 = "' . 'a' x 64 . '"  role = "post" } }';

# The settings, whole: parts that are given take the place of good ones.
sub settings {
    my (%part) = @_;
    my $clerk = $part{clerk} // '';
    my $rate = $clerk =~ /\brate/ ? '' : 'rate = "100/10s"';
    my $key = $part{key} // qq(secret_key_file = "$folder/etc/clerk_secret_key");
    return $gate->write_file('etc/spendgate.conf', <<"END", $part{mode} // 0644);
store { url = "@{[ $part{store} // "sqlite:$db" ]}" }
cache { path = "@{[ $part{cache} // "$memory/cache.db" ]}" }
clerk {
    $key
    api_url = "@{[ $part{api_url} // $gate->{clerk_url} ]}"
    $rate
    $clerk
}
@{[ $part{plans} // $plans ]}
@{[ $part{tracker} // $tracker ]}
@{[ $part{more} // '' ]}
END
}

sub doctor {
    my (@arguments) = @_;
    my %option = ref $arguments[0] ? %{ shift @arguments } : ();
    my ($code, $out, $err) = $gate->cli(\%option, 'doctor', '--json', @arguments);
    my $told = eval { JSON::PP->new->utf8->decode($out) } or diag "no JSON: $out$err";
    unlike $out, qr/@{[ Spendgate::E2E::SECRET_KEY ]}/, 'the secret key is not told';
    return { code => $code, findings => $told->{checks} // [], told => $told };
}

sub show { return join '', map { "$_->{level} $_->{check}: $_->{text}\n   -> " . ($_->{advice} // '-') . "\n" } @{ $_[0]{findings} } }

sub finds {
    my ($run, $level, $check, $text, $advice, $name) = @_;
    my @found = grep { $_->{level} eq $level && $_->{check} eq $check && $_->{text} =~ $text && ($_->{advice} // '') =~ $advice } @{ $run->{findings} };
    ok scalar @found, "$name: found" or diag show($run);
    is $run->{code}, 1, "$name: exit code" if $level eq 'problem';
    return;
}

# One setting wrong: what is found.
sub wrong {
    my ($part, @found) = @_;
    settings(%$part);
    return finds(doctor(), @found);
}

# ---- nothing is wrong -----------------------------------------------------------------------------------------

settings();
{
    my $run = doctor();
    finds($run, 'warning', 'store', qr/there is no such file/, qr/spendgate migrate/, 'no store yet');
    ok !-e $db, 'looking makes no store';
}
is +($gate->cli('migrate'))[0], 0, 'the store is made';
{
    my $run = doctor();
    my @wrong = grep { $_->{level} =~ /problem|warning/ } @{ $run->{findings} };
    is scalar @wrong, 0, 'nothing is wrong' or diag show($run);
    is $run->{code}, 0, 'exit code';
    my %count;
    $count{ $_->{level} }++ for @{ $run->{findings} };
    is_deeply [ @{ $run->{told} }{qw(ok notes warnings problems)} ], [ map { $count{$_} // 0 } qw(ok note warning problem) ], 'the sums';
    finds($run, 'ok', 'sqlite', qr/\ASQLite 3\./, qr//, 'the library');
    finds($run, 'ok', 'sqlite', qr/WAL-reset bug .* one runs at a time/, qr//, 'its bug') if grep { $_->{text} =~ /SQLite 3\.40/ } @{ $run->{findings} };
    finds($run, 'note', 'gate', qr/was not looked at/, qr/--url/, 'the gate');
    my ($code, $out) = $gate->cli('doctor');
    like $out, qr/^ok {7}settings {2}.*can be used$/m, 'lines for people';
    like $out, qr/^note {5}gate .*\n {19}-> spendgate doctor --url/m, 'what to do in a line of its own';
    like $out, qr/^0 problems, 0 warnings, \d+ notes, \d+ ok\.$/m, 'the sum';
}

# ---- its own command line ---------------------------------------------------------------------------------------

for my $arguments (
    [ '--folder', $folder ], [ '--key-file', '/dev/null' ], ['http://127.0.0.1/'], [ '--url', 'ftp://127.0.0.1/' ],
    [ '--url', 'http://user:secret@127.0.0.1/' ], [ '--url', 'http://127.0.0.1/', '--folder', "$folder/absent" ],
    [ '--url', 'http://127.0.0.1/', '--key-file', "$folder/absent" ], [ '--url', 'http://127.0.0.1/', '--folder', '/proc/self/status' ]
  )
{
    my ($code, $out, $err) = $gate->cli('doctor', @$arguments);
    is $code, 2, "doctor @$arguments: usage" or diag $out, $err;
}
$gate->write_file('etc/open_key', "ak_x\n", 0644);
my ($code, $out, $err) = $gate->cli('doctor', '--url', 'http://127.0.0.1:9/', '--key-file', $gate->path('etc/open_key'));
is $code, 2, 'a credential that others may read is not taken';

# ---- settings -------------------------------------------------------------------------------------------------

settings(clerk => qq(cache_ttl = "0s"\n accept = { "session_token" }), more => 'nonsense = 1');
{
    my $run = doctor();
    finds($run, 'problem', 'settings', qr/spendgate\.conf:\d+: .*nonsense/, qr//, 'an unknown key');
}
settings(clerk => qq(cache_ttl = "0s"\n accept = { "session_token" }));
{
    my $run = doctor();
    finds($run, 'problem', 'settings', qr/spendgate\.conf:\d+: clerk\.cache_ttl/, qr//, 'a bad value');
    finds($run, 'problem', 'settings', qr/spendgate\.conf:\d+: clerk\.accept/,    qr//, 'and another');
    ok !(grep { $_->{check} ne 'settings' } @{ $run->{findings} }), 'nothing else without settings';
}
wrong({ key => '' }, 'problem', 'settings', qr/no Clerk secret key/, qr//, 'no secret key');
chmod 0644, "$folder/etc/clerk_secret_key";
wrong({}, 'problem', 'settings', qr/clerk_secret_key/, qr//, 'a secret that others may read');
chmod 0600, "$folder/etc/clerk_secret_key";

wrong({ plans => 'plan "a" { } default_plan = "a"' }, 'warning', 'settings', qr/plan "a" has no budget/, qr/budget/, 'no budget');
wrong({ plans => 'plan "a" { budget "m" { limit_usd = "1"  period = "month" } } default_plan = "a"' },
    'warning', 'settings', qr/hold/, qr//, 'a hard budget without a hold');
wrong({ plans => '' }, 'warning', 'settings', qr/no plan/, qr//, 'no plan');
wrong({ plans => 'plan "a" { budget "m" { limit_usd = "1"  period = "month" }  hold_usd = "1.01" } default_plan = "a"' },
    'problem', 'settings', qr/holds \$1\.01, and the plan "a" allows \$1\.00/, qr/lower hold_usd/, 'a hold above the limit');
wrong({ plans => 'plan "a" { budget "m" { limit_usd = "1"  period = "month" }  hold_usd = "0.3"  concurrency = 4 } default_plan = "a"' },
    'warning', 'settings', qr/4 requests at once/, qr/concurrency/, 'holds above the limit together');
wrong({ more => qq(route "/api/" { }\ndefault_route = "allow") }, 'warning', 'settings', qr/default_route = "allow"/, qr/deny/, 'default_route');
wrong({ tracker => '' }, 'warning', 'settings', qr/no tracker token may post/, qr/spendgate token new/, 'no token');
wrong({ more => 'ledger { hold_ttl = "5s" }' }, 'warning', 'settings', qr/hold_ttl = 5s/, qr/hold_ttl/, 'a short hold_ttl');
wrong({ more => 'trusted_proxies = { "0.0.0.0/0" }' }, 'warning', 'settings', qr/trusted_proxies/, qr/own/, 'everybody is a proxy');
wrong({ clerk => 'stale_if_error = "1h"' }, 'note', 'settings', qr/stale_if_error = 1h/, qr//, 'stale_if_error');
wrong({ clerk => 'key_scopes = true' }, 'note', 'settings', qr/key_scopes/, qr//, 'key_scopes');
my $sessions = qq(accept = { "session_token" }  issuer = "$gate->{clerk_url}");
wrong({ clerk => $sessions }, 'warning', 'settings', qr/from any page of your Clerk instance/, qr/authorized_parties/, 'no azp');
wrong({ clerk => "$sessions session_cookie = true" }, 'warning', 'settings', qr/from a cookie/, qr/authorized_parties/, 'no azp, and cookies');
wrong({ clerk => $sessions }, 'warning', 'settings', qr/no webhook secret.* ended session/, qr{/v1/webhooks/clerk}, 'no webhook');

# ---- the store ------------------------------------------------------------------------------------------------

settings();
sub with_mode {
    my ($path, $mode, @found) = @_;
    my $was = (stat $path)[2] & 07777;
    chmod $mode, $path;
    finds(doctor(), @found);
    return chmod $was, $path;
}
with_mode($db, 0666, 'problem', 'store', qr/others may write it/, qr//, 'a store that others may write');
with_mode($db, 0644, 'warning', 'store', qr/everybody .* may read it/, qr/chmod 0600/, 'a store that others may read');
with_mode("$db.lock", 0622, 'problem', 'store', qr/others may write it/, qr//, 'a lock that others may write');
with_mode("$folder/store", 0777, 'problem', 'store', qr/everybody .* may write this folder/, qr/chmod 0750/, 'its folder');
{
    open my $mark, '>', "$db.failed" or die $!;
    close $mark;
    finds(doctor(), 'problem', 'store', qr/\.failed: a sync of the disk failed/, qr/`spendgate verify', then remove/, 'a store marked as failed');
    unlink "$db.failed";
}
{
    open my $lock, '>', "$db.lock" or die $!;
    flock $lock, LOCK_EX or die $!;
    finds(doctor(), 'problem', 'store', qr/lock/, qr/fuser/, 'a lock that is held for too long');
    close $lock;
}
rename "$db$_", "$folder/store/aside$_" for '', '-wal', '-shm';
$gate->write_file('store/spendgate.db', 'not a database, and long enough to have a header of one hundred bytes; ' x 4, 0600);
finds(doctor(), 'problem', 'store', qr/store .*spendgate\.db/, qr//, 'no database');
unlink "$db-wal", "$db-shm";
rename "$folder/store/aside$_", "$db$_" for '', '-wal', '-shm';
{
    my $other = "$folder/store/other.db";
    system('sqlite3', $other, 'PRAGMA user_version = 7; CREATE TABLE t (a);') == 0 or die 'sqlite3';
    chmod 0600, $other;
    $gate->_own($other);
    wrong({ store => "sqlite:$other" }, 'problem', 'store', qr/another program's database/, qr//, 'the database of another program');
}
wrong({ store => "sqlite:$folder/absent/x.db" }, 'problem', 'store', qr/absent/, qr//, 'no folder');
SKIP: {
    skip 'only root has files of several users', 6 if $> != 0;
    settings();
    chown 0, 0, $db;
    finds(doctor(), 'problem', 'store', qr/owned by user 0, not by the user/, qr//, 'the store of another user');
    $gate->_own($db);
    my $run = doctor({ root => 1 });
    finds($run, 'ok', 'files', qr/the user \S+, who owns .*, can read the settings and the secrets/, qr//, 'as root, the servers\' user');
    is $run->{code}, 0, 'as root: exit code' or diag show($run);
    chown 0, 0, "$folder/etc/clerk_secret_key";
    finds(doctor({ root => 1 }), 'problem', 'files', qr/cannot use the settings: .*clerk_secret_key/, qr/chgrp/, 'a secret that the servers cannot read');
    $gate->_own("$folder/etc/clerk_secret_key");
    chown 0, 0, "$folder/store";
    finds(doctor({ root => 1 }), 'warning', 'files', qr/belongs to root/, qr/chown/, 'a folder of root');
    $gate->_own("$folder/store");
}

# ---- the cache ------------------------------------------------------------------------------------------------

wrong({ cache => "$folder/cache/cache.db" }, 'warning', 'cache', qr/not on a tmpfs/, qr{/run}, 'a cache on a disk');
wrong({ cache => "$folder/absent/cache.db" }, 'problem', 'cache', qr/absent: .*every request asks Clerk/, qr/tmpfiles/, 'no folder for the cache');
settings();
with_mode($memory, 0777, 'problem', 'cache', qr/may write this folder/, qr/chmod 0750/, 'a folder that others may write');
{
    open my $file, '>', "$memory/cache.db" or die $!;
    close $file;
    $gate->_own("$memory/cache.db");
    with_mode("$memory/cache.db", 0666, 'problem', 'cache', qr/written by others, who could invent identities/, qr/remove it/, 'a cache that others may write');
    with_mode("$memory/cache.db", 0602, 'problem', 'cache', qr/written by others, who could invent identities/, qr/remove it/, 'a cache that strangers may write');
    chmod 0666, "$memory/cache.db";
    ok !(grep { $_->{check} eq 'cache' && $_->{level} eq 'ok' } @{ doctor()->{findings} }), 'which is not told to be all right as well';
    chmod 0600, "$memory/cache.db";
    with_mode("$memory/cache.db", 0644, 'warning', 'cache', qr/who your callers are/, qr/chmod 0600/, 'a cache that others may read');
    chown 0, 0, "$memory/cache.db" if $> == 0;
    finds(doctor(), 'problem', 'cache', qr/belongs to another user/, qr/remove it/, 'the cache of another user') if $> == 0;
    $gate->_own("$memory/cache.db");
    with_mode("$memory/cache.db", 0660, 'problem', 'cache', qr/written by others, who could invent identities/, qr/remove it/, 'a cache of a group, without store { group }');
    settings(more => 'store { group = "' . getgrgid((stat "$memory/cache.db")[5]) . '" }');
    chmod 0660, "$memory/cache.db";
    finds(doctor(), 'ok', 'cache', qr/can be used, and is closed to others/, qr//, 'and with it');
    settings();
    chmod 0600, "$memory/cache.db";
    rename "$memory/cache.db", "$memory/elsewhere";
    for my $suffix ('', '-wal', '-shm', '.lock') {
        symlink "$memory/elsewhere", "$memory/cache.db$suffix";
        finds(doctor(), 'problem', 'cache', qr/cache\.db\Q$suffix\E is no regular file/, qr/remove it/, "a link for cache.db$suffix");
        unlink "$memory/cache.db$suffix";
    }
    unlink "$memory/elsewhere";
    with_mode($memory, 01777, 'ok', 'cache', qr/can be used/, qr//, 'a folder that all may write, and nobody may take a file from');
    with_mode($memory, 0500, 'problem', 'cache', qr/this user may not write there/, qr/chown it to the user of the servers/, 'a folder that the servers may not write');
}

# ---- Clerk ----------------------------------------------------------------------------------------------------

$gate->write_file('etc/wrong_key', "sk_test_wrong\n", 0600);
wrong({ key => qq(secret_key_file = "$folder/etc/wrong_key") }, 'problem', 'clerk', qr/401: our own secret key is refused/, qr/Dashboard/, 'a wrong key');
wrong({ api_url => 'http://127.0.0.1:9' }, 'problem', 'clerk', qr/http:\/\/127\.0\.0\.1:9: .*answered 503/, qr/api_url/, 'Clerk is away');
wrong({ clerk => 'rate = "1000/10s"' }, 'warning', 'clerk', qr/development instance, which Clerk lets ask 100/, qr{100/10s}, 'a rate of another instance');
settings();
for my $case (
    [ { status => 404, body => '{}' }, 'problem', qr/answers 404 for its key set/, qr/api\.clerk\.com/ ],
    [ { retry_after => 5 }, 'warning', qr/429: the quota/, qr/clerk \{ rate \}/ ],
    [ { status => 502, html => 1 }, 'problem', qr/answers 502/, qr/status\.clerk\.com/ ],
    [ { close => 'before' }, 'problem', qr/answered 503/, qr/network/ ],
    [ { delay_ms => 2000 }, 'warning', qr/an answer took \d+ ms, and clerk \{ timeout \} is 1500 ms/, qr/timeout/ ],
  )
{
    my ($how, $level, $text, $advice) = @$case;
    $gate->clerk_behave(endpoint => 'jwks', times => 1, %$how);
    finds(doctor(), $level, 'clerk', $text, $advice, 'Clerk: ' . join ' ', %$how);
}
for my $off (-3, 0, 3, -60, 60) {
    $gate->clerk_behave(endpoint => 'jwks', times => 1, headers => { Date => strftime('%a, %d %b %Y %H:%M:%S GMT', gmtime(time - $off)) });
    my $run = doctor();
    if (abs $off < 5) { finds($run, 'ok', 'clock', qr/agrees with Clerk/, qr//, "$off s") }
    else { finds($run, 'problem', 'clock', $off < 0 ? qr/(?:5[5-9]|60) s behind/ : qr/(?:5[5-9]|60) s ahead/, qr/NTP/, "$off s") }
}

# TLS on the way to Clerk.
{
    my $tls = Spendgate::TLS->new($gate);
    $tls->certificate('clerk', '127.0.0.1');
    $tls->start('clerk');
    settings(api_url => 'https://127.0.0.1:' . $tls->port);
    finds(doctor(), 'problem', 'clerk', qr/certificate/, qr/ca-certificates/, 'a certificate that is not trusted');
    finds(doctor({ env => { SSL_CERT_FILE => "$folder/tls/certs/ca-certificates.crt" } }), 'ok', 'clerk', qr/takes our secret key/, qr//, 'one that is');
    settings();
}

# Tokens: the key set, the issuer and the PEM have to be of one instance.
my $key     = Spendgate::JWT::make_key(kid => 'ins_0001');
my $another = Spendgate::JWT::make_key(kid => 'ins_0002');
my $jwts = qq(accept = { "session_token" }  authorized_parties = { "https://a.example" });
settings(clerk => qq($jwts issuer = "$gate->{clerk_url}"));
finds(doctor(), 'problem', 'clerk', qr/no RSA key/, qr/Dashboard/, 'an empty key set');
$gate->_clerk_control('PUT', 'jwks', { keys => [ Spendgate::JWT::jwk($key) ] });
finds(doctor(), 'ok', 'clerk', qr/has 1 key for tokens/, qr//, 'a key set');
finds(doctor(), 'note', 'clerk', qr{no key set at /\.well-known/jwks\.json}, qr//, 'an issuer that publishes none');
$gate->write_file('etc/pem', $another->{pem}, 0600);
settings(clerk => qq($jwts issuer = "$gate->{clerk_url}" jwt_key_file = "$folder/etc/pem"));
finds(doctor(), 'problem', 'clerk', qr/jwt_key_file is none of the 1 keys/, qr/Dashboard/, 'the PEM of another instance');
$gate->write_file('etc/pem', $key->{pem}, 0600);
ok !(grep { $_->{text} =~ /jwt_key_file/ } @{ doctor()->{findings} }), 'our own PEM';
# Two issuers: a page of a few lines that publishes one key each.
for my $case ([ $key, 'ok', qr/belongs to the instance/ ], [ $another, 'problem', qr/has other keys than the instance/ ]) {
    my ($published, $level, $text) = @$case;
    my $port = publish({ keys => [ Spendgate::JWT::jwk($published) ] });
    settings(clerk => qq($jwts issuer = "http://127.0.0.1:$port"));
    finds(doctor(), $level, 'clerk', $text, qr//, "an issuer, $level");
    $gate->stop('issuer');
}

# A server that gives one JSON text to everybody.
sub publish {
    my ($object) = @_;
    my $port = Spendgate::E2E::free_port();
    my $text = JSON::PP->new->utf8->encode($object);
    my $script = $gate->write_file('etc/issuer.pl', <<'END');
use strict; use warnings; use IO::Socket::INET;
my ($port, $text) = @ARGV;
my $listen = IO::Socket::INET->new(LocalAddr => '127.0.0.1', LocalPort => $port, Listen => 5, ReuseAddr => 1) or die $!;
while (my $client = $listen->accept) {
    sysread $client, my $bytes, 65_536;
    print {$client} "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: " . length($text) . "\r\nConnection: close\r\n\r\n$text";
    close $client;
}
END
    $gate->start('issuer', [ '/usr/bin/perl', $script, $port, $text ], ready => sub { Spendgate::E2E::_accepts("127.0.0.1:$port") });
    return $port;
}

# ---- trial pages are removed, however doctor ends ----------------------------------------------------------------

settings();
{
    my $silent = IO::Socket::INET->new(LocalAddr => '127.0.0.1', LocalPort => 0, Listen => 5) or die $!;
    mkdir "$folder/tmp/site";
    $gate->_own("$folder/tmp/site");
    my $pid = $gate->start('doctor', [ $gate->path('bin/spendgate'), '--config', $gate->config, 'doctor', '--url', 'http://127.0.0.1:' . $silent->sockport . '/',
            '--folder', "$folder/tmp/site" ]);
    my $count = sub { my @files = map { glob "$folder/tmp/site/$_" } @_; return scalar @files };
    my $end = time + 20;
    sleep 0.05 until $count->('spendgate-doctor-*/variables/page.txt') || time > $end;
    ok $count->('spendgate-doctor-*/*/.htaccess') > 3, 'trial pages are there while it runs' or diag $gate->read_file('log/doctor.log');
    kill 'KILL', $pid;
    $end = time + 20;
    sleep 0.05 while $count->('*') && time < $end;
    is $count->('*'), 0, 'and gone when it was killed';
    $gate->stop('doctor');
}
done_testing;

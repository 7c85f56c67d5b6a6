# SPDX-License-Identifier: MIT
# A store is dumped and loaded by the operator's command, and goes on where it was: the same bytes, the books in order, a
# hold that waited for its post, an answer that is asked for again. What is no whole dump loads nothing. What is posted
# comes through the tracker as plain CGI.
# store: sqlite (it starts a PostgreSQL of its own beside it)
use strict;
use warnings;
use Cwd qw(abs_path);
use Digest::SHA qw(sha256_hex);
use FindBin qw($Bin);
use File::Temp qw(tempdir);
use JSON::PP;
use POSIX ();
use Test::More;

use lib "$Bin/lib";
use Spendgate::Postgres;

my $build = abs_path($ENV{SPENDGATE_BUILD} // '.');
-x "$build/spendgate" && -x "$build/spendgate-tracker"
  or BAIL_OUT("spendgate and spendgate-tracker are not built in $build: say where in SPENDGATE_BUILD");
my $folder = tempdir('spendgate-move-XXXXXX', TMPDIR => 1, CLEANUP => 1);
my $token  = 'sgt_test_token_of_move_t';
my $json   = JSON::PP->new->canonical->utf8;
my $charges = $ENV{SPENDGATE_MOVE_CHARGES} // 100_000;
my $cluster = Spendgate::Postgres->shared;

sub write_file {
    my ($path, $text) = @_;
    open my $file, '>', $path or die "$path: $!";
    print {$file} $text;
    close $file or die "$path: $!";
    return $path;
}

sub read_file {
    my ($path) = @_;
    open my $file, '<', $path or return '';
    local $/;
    return <$file> // '';
}

# A store of its own, by name.
sub settings {
    my ($name, $url) = @_;
    my $sha256 = sha256_hex($token);
    return write_file("$folder/$name.conf", <<"END");
store { url = "$url" }
cache { path = "$folder/$name.cache" }
plan "free" { budget "month" { limit_usd = "5.00"  period = "month" }  hold_usd = "0.05"  rate = "600/1m" }
default_plan = "free"
tracker { token "php" { sha256 = "$sha256"  role = "admin" } }
END
}

sub sqlite {
    my ($name) = @_;
    return settings($name, "sqlite:$folder/$name.db");
}

# A database with our schema; the programs use it as an ordinary role.
sub postgresql {
    my ($name) = @_;
    my $database = $cluster->database;
    my $config = settings($name, $cluster->url($database));
    my ($code, undef, $err) = as_owner($config, $database, '/dev/null', 'migrate');
    is $code, 0, "$name: migrate" or diag $err;
    return ($config, $database);
}

sub as_owner {
    my ($config, $database, $input, @arguments) = @_;
    return program({ SPENDGATE_STORE_URL => $cluster->url($database, $cluster->owner) },
        $input, "$build/spendgate", '--config', $config, @arguments);
}

sub program {
    my ($environment, $input, @command) = @_;
    my $pid = fork // die "fork: $!";
    if ($pid == 0) {
        delete @ENV{qw(SPENDGATE_STORE_URL SPENDGATE_CONFIG SUDO_USER)};
        @ENV{ keys %$environment } = values %$environment;
        open STDIN,  '<', $input or POSIX::_exit(126);
        open STDOUT, '>', "$folder/out" or POSIX::_exit(126);
        open STDERR, '>', "$folder/err" or POSIX::_exit(126);
        exec { $command[0] } @command or POSIX::_exit(127);
    }
    waitpid $pid, 0;
    my $code = $? & 127 ? 128 + ($? & 127) : $? >> 8;
    return ($code, read_file("$folder/out"), read_file("$folder/err"));
}

sub cli {
    my ($config, @arguments) = @_;
    return program({}, '/dev/null', "$build/spendgate", '--config', $config, @arguments);
}

sub done_ok {
    my ($name, $config, @arguments) = @_;
    my ($code, $out, $err) = cli($config, @arguments);
    is $code, 0, $name or diag $out, $err;
    return $out;
}

# (status, replayed, the body's bytes)
sub post {
    my ($config, $path, $body, $key) = @_;
    my $text = $json->encode($body);
    my ($code, $out, $err) = program(
        {
            GATEWAY_INTERFACE => 'CGI/1.1', REQUEST_METHOD => 'POST', PATH_INFO => $path,
            CONTENT_TYPE => 'application/json', CONTENT_LENGTH => length $text,
            HTTP_AUTHORIZATION => "Bearer $token", SPENDGATE_CONFIG => $config,
            defined $key ? (HTTP_IDEMPOTENCY_KEY => $key) : (),
        },
        write_file("$folder/in", $text), "$build/spendgate-tracker"
    );
    my ($status) = $out =~ /\AStatus: (\d+)/ or diag "no answer: $err";
    my ($head, $bytes) = split /\r?\n\r?\n/, $out, 2;
    return ($status, $head =~ /^Idempotent-Replayed: true/mi ? 1 : 0, $bytes);
}

sub verified {
    my ($name, $config) = @_;
    like done_ok("verify $name", $config, 'verify'), qr/Differences: 0/, "$name: the books are in order";
    return;
}

# Traffic of every kind; what is asked for again later.
sub fill {
    my ($config) = @_;
    my %live;
    done_ok('an account', $config, 'account', $_, 'user_1') for qw(freeze unfreeze);
    done_ok('a plan', $config, 'account', 'plan', 'user_1', 'free');
    done_ok('a limit by hand', $config, 'budget', 'set', 'user_1', 'day', '1000', '--note', "caf\xc3\xa9");
    done_ok('a top-up', $config, 'budget', 'topup', 'user_1', '1.5', '--period', 'month');
    my ($status, undef, $bytes) = post($config, '/v1/holds', { subject => 'user_1', amount_usd => '0.25', ttl => '1h' }, 'hold-1');
    is $status, 200, 'a hold that waits';
    $live{hold} = $json->decode($bytes)->{hold_id};
    (undef, undef, $bytes) = post($config, '/v1/holds', { subject => 'user_1', amount_usd => '0.1' }, 'hold-2');
    my $settled = $json->decode($bytes)->{hold_id};
    ($status, undef, $live{settled_bytes}) =
      post($config, '/v1/spend', { hold_id => $settled, cost_usd => '0.123456789', metadata => { n => "\x{1f4b8}\t" } });
    is $status, 200, 'a settled one';
    $live{settled} = $settled;
    ($status, undef, $live{bytes}) = post($config, '/v1/spend', { subject => 'user_1', cost_usd => '0.02', tags => 'a' }, 'key-1');
    is $status, 200, 'a charge with a key';
    my $charge = $json->decode($live{bytes})->{charge_id};
    post($config, '/v1/spend', { subject => 'user_1', hold_id => 'hld_lost', cost_usd => '0.03' });
    done_ok('a refund', $config, 'charge', 'refund', $charge, '0.01', '--note', 'half');
    return \%live;
}

sub goes_on {
    my ($name, $config, $live) = @_;
    my ($status, $replayed, $bytes) = post($config, '/v1/spend', { subject => 'user_1', cost_usd => '0.02', tags => 'a' }, 'key-1');
    is "$status $replayed $bytes", "200 1 $live->{bytes}", "$name: a repeat gets the bytes of the first answer";
    ($status, $replayed, $bytes) =
      post($config, '/v1/spend', { hold_id => $live->{settled}, cost_usd => '0.123456789', metadata => { n => "\x{1f4b8}\t" } });
    is "$status $replayed $bytes", "200 1 $live->{settled_bytes}", "$name: so does the repeat of a settled hold";
    ($status, undef, $bytes) = post($config, '/v1/spend', { hold_id => $live->{hold}, cost_usd => '0.2' });
    is $status, 200, "$name: the hold that waited is settled" or diag $bytes;
    is $json->decode($bytes)->{hold}, 'settled', "$name: by its id";
    ($status, undef, $bytes) = post($config, '/v1/spend', { subject => 'user_1', cost_usd => '0.5' });
    is $status, 200, "$name: and new charges come" or diag $bytes;
    verified("$name afterwards", $config);
    return;
}

# ---- from one to another -----------------------------------------------------------------------------

my $first = sqlite('first');
my $live = fill($first);
verified('the first', $first);
like done_ok('dump', $first, 'dump', "$folder/dump"), qr{\A\d+ rows written to \Q$folder\E/dump\.\n\z}, 'dump says how much';
my $dump = read_file("$folder/dump");
is sprintf('%04o', (stat "$folder/dump")[2] & 07777), '0600', 'a dump is for its owner only';
is scalar(my ($code, $out, $err) = cli($first, 'dump')), 3, 'dump again';
is "$code $err", '0 ', 'to standard output: done, without a word';
ok $out eq $dump, 'and it is the same bytes';
($code, undef, $err) = cli($first, 'dump', "$folder/dump");
is $code, 1, 'a file that is there';
like $err, qr/is there already/, 'is never written over';
ok read_file("$folder/dump") eq $dump, 'and stays as it was';
unlike $dump, qr/\Q$token\E/, 'no token is in it';

my $second = sqlite('second');
like done_ok('load', $second, 'load', "$folder/dump"),
  qr/\A\d+ rows loaded: counter 2, account 2, .*\. Now run `spendgate verify'\.\n\z/, 'load says what came, and what to do';
verified('the second', $second);
done_ok('dump of the second', $second, 'dump', "$folder/dump.2");
ok read_file("$folder/dump.2") eq $dump, 'the dump of the second is the same bytes';

my $third = sqlite('third');
($code, $out, $err) = program({}, "$folder/dump.2", "$build/spendgate", '--config', $third, 'load', '--json');
is $code, 0, 'load from standard input' or diag $err;
my $loaded = $json->decode($out);
is $loaded->{tables}{hold}, 2, 'load --json counts by table';
my $sum = 0;
$sum += $_ for values %{ $loaded->{tables} };
is $loaded->{rows}, $sum, 'and in all';

# From the SQLite file into a database, and back.
my ($fourth, $database) = postgresql('fourth');
($code, undef, $err) = cli($fourth, 'load', "$folder/dump");
is $code, 1, 'load by the role of the programs';
like $err, qr/run this as the owner of the schema, as `spendgate migrate`$/, 'says who may';
($code, $out, $err) = as_owner($fourth, $database, '/dev/null', 'load', "$folder/dump");
is $code, 0, 'load into PostgreSQL' or diag $err;
verified('the database', $fourth);
done_ok('dump of the database', $fourth, 'dump', "$folder/dump.4");
ok read_file("$folder/dump.4") eq $dump, 'the dump of the database is the same bytes';
my $fifth = sqlite('fifth');
done_ok('load back into SQLite', $fifth, 'load', "$folder/dump.4");
verified('the fifth', $fifth);
done_ok('dump of the fifth', $fifth, 'dump', "$folder/dump.5");
ok read_file("$folder/dump.5") eq $dump, 'and its dump is the same bytes once more';
($code, undef, $err) = as_owner($fourth, $database, '/dev/null', 'load', "$folder/dump");
is $code, 1, 'a database that is not empty';
like $err, qr/it is not empty; only a new one can be filled/, 'is not filled';
{
    my ($damaged, $empty) = postgresql('damaged');
    write_file("$folder/bad", $dump =~ s/123456789/123456780/r);
    ($code, undef, $err) = as_owner($damaged, $empty, '/dev/null', 'load', "$folder/bad");
    is $code, 1, 'a changed dump into a database';
    like $err, qr/the dump was changed or damaged; nothing was loaded$/, 'is refused';
    is $cluster->sql($empty, 'SELECT count(*) FROM charge'), "0\n", 'and nothing of it is there';
}

# Not before: a hold that is settled in one store still waits in the others.
goes_on('the database', $fourth, $live);
goes_on('the fifth', $fifth, $live);
goes_on('the third', $third, $live);
goes_on('the second', $second, $live);

# ---- what loads nothing ------------------------------------------------------------------------------

sub loads_nothing {
    my ($name, $text, $want, $lines) = @_;
    my $config = sqlite('nothing');
    write_file("$folder/bad", $text);
    my ($exit, $said, $error) = cli($config, 'load', "$folder/bad");
    is $exit, 1, "$name: refused";
    like $error, $want, "$name: says why";
    is $said, '', "$name: no success is told";
    if (-e "$folder/nothing.db") {
        is done_ok("$name: look", $config, 'dump') =~ tr/\n//, $lines, "$name: nothing is in the store";
        unlink glob "$folder/nothing.db*";
    }
    return;
}
done_ok('an empty store', sqlite('empty'), 'migrate');
my $empty_lines = done_ok('dump of an empty store', sqlite('empty'), 'dump') =~ tr/\n//;
my $not_whole = qr/the dump was changed or damaged; nothing was loaded$/;
loads_nothing('a dump that lacks its end', $dump =~ s/\{"end".*//sr, qr{\Q$folder\E/bad: line \d+ is the last one, and no end of a dump: it was cut off; nothing was loaded$}, $empty_lines);
loads_nothing('a dump cut in a line', substr($dump, 0, length($dump) / 2), qr/it was cut off; nothing was loaded$/, $empty_lines);
loads_nothing('a changed amount', $dump =~ s/123456789/123456780/r, $not_whole, $empty_lines);
loads_nothing('a row that is missing', $dump =~ s/^\[2,"user_1".*\n//mr, $not_whole, $empty_lines);
loads_nothing('a row that is there twice', $dump =~ s/^(\[2,"user_1".*\n)/$1$1/mr, qr/line \d+: the rows are not in order; nothing was loaded$/, $empty_lines);
loads_nothing('two dumps in one', $dump . $dump, qr/something stands behind the end of the dump; nothing was loaded$/, $empty_lines);
loads_nothing('an endless line', 'x' x 3_000_000, qr/bad: line 1: the line is longer than any of a dump$/, 0);
loads_nothing('another file', "{}\n", qr/bad: line 1: this is no dump of Spendgate$/, 0);
loads_nothing('an empty file', '', qr/bad: the dump is empty$/, 0);
ok !-e "$folder/nothing.db", 'a file that is no dump makes no store';

($code, undef, $err) = cli($second, 'load', "$folder/dump");
is $code, 1, 'a store that is not empty';
like $err, qr/it is not empty; only a new one can be filled/, 'is not filled';
verified('it', $second);
($code, undef, $err) = cli($first, 'load', "$folder/no-such-file");
is $code, 1, 'a file that is not there';
like $err, qr/no-such-file: No such file or directory/, 'is told';
($code, $out, $err) = cli($first, 'dump', '/dev/full');
is $code, 1, 'dump: a device';
like $err, qr/is there already/, 'is there already';
{
    my $pid = fork // die "fork: $!";
    if ($pid == 0) {
        open STDOUT, '>', '/dev/full' or POSIX::_exit(126);
        open STDERR, '>', "$folder/err" or POSIX::_exit(126);
        exec "$build/spendgate", '--config', $first, 'dump' or POSIX::_exit(127);
    }
    waitpid $pid, 0;
    is $? >> 8, 1, 'a full disk';
    like read_file("$folder/err"), qr/standard output: No space left on device/, 'is told';
}

# ---- many charges ------------------------------------------------------------------------------------

# The most memory that a program has had, read while it works: (kilobytes, exit code). Its output is read, or its input
# written, by us, so it cannot be done before we have looked.
sub memory_of {
    my ($direction, $path, @command) = @_;
    my $kilobytes = 0;
    open my $ours, '>&', \*STDOUT or die "stdout: $!";
    open STDOUT, '>', '/dev/null' or die "/dev/null: $!";
    my $pid = open(my $pipe, $direction, @command) // die "$command[0]: $!";
    open STDOUT, '>&', $ours or die "stdout: $!";
    open my $file, $direction eq '-|' ? '>' : '<', $path or die "$path: $!";
    my ($from, $to) = $direction eq '-|' ? ($pipe, $file) : ($file, $pipe);
    while (read $from, my $bytes, 1 << 18) {
        print {$to} $bytes or last;
        my ($now) = read_file("/proc/$pid/status") =~ /^VmHWM:\s*(\d+) kB/m;
        $kilobytes = $now if defined $now && $now > $kilobytes;
    }
    close $file;
    close $pipe;
    return ($kilobytes, $? >> 8);
}

{
    # As if so many posts of a tenth of a cent had come, each with its key.
    my $many = sqlite('many');
    fill($many);
    my $sql = <<"END";
WITH RECURSIVE n (i) AS (VALUES (1) UNION ALL SELECT i + 1 FROM n WHERE i < $charges)
INSERT INTO charge (nonce, kind, chain_id, amount_nanos, at_us, created_us, model, route, token, metadata)
SELECT i * 7919 % 281474976710656, 0, c.chain_id, 1000000, c.at_us, c.at_us + i, 'model-' || i % 9, '/api', 'php', '{"i":' || i || '}'
FROM n, (SELECT * FROM charge WHERE kind = 0 ORDER BY id LIMIT 1) c;
INSERT INTO idempotency (scope, key, fingerprint, reply, created_us)
SELECT 'php', 'many-' || id, randomblob(32), CAST('{"charge_id":"chg_","cost_usd":"0.001","id":' || id || '}' AS BLOB), created_us FROM charge WHERE metadata IS NOT NULL;
UPDATE budget_period SET spent_nanos = spent_nanos + $charges * 1000000;
END
    ($code, undef, $err) = program({}, '/dev/null', '/usr/bin/sqlite3', '-bail', "$folder/many.db", $sql);
    is $code, 0, "$charges charges" or diag $err;
    verified('so many', $many);
    my $copy = sqlite('copy');
    my ($dump_memory, $dump_code) = memory_of('-|', "$folder/many", "$build/spendgate", '--config', $many, 'dump');
    my ($load_memory, $load_code) = memory_of('|-', "$folder/many", "$build/spendgate", '--config', $copy, 'load');
    is "$dump_code $load_code", '0 0', 'are dumped and loaded';
    verified('the copy', $copy);
    done_ok('dump of the copy', $copy, 'dump', "$folder/many.2");
    is system('cmp', "$folder/many", "$folder/many.2"), 0, 'the same bytes again';

    my ($far, $there) = postgresql('far');
    local $ENV{SPENDGATE_STORE_URL} = $cluster->url($there, $cluster->owner);
    my ($in_memory, $in_code) = memory_of('|-', "$folder/many", "$build/spendgate", '--config', $far, 'load');
    my ($out_memory, $out_code) = memory_of('-|', "$folder/many.4", "$build/spendgate", '--config', $far, 'dump');
    is "$in_code $out_code", '0 0', 'into PostgreSQL and out of it';
    verified('the far one', $far);
    is system('cmp', "$folder/many", "$folder/many.4"), 0, 'the same bytes from there';
    unlink "$folder/many.2", "$folder/many.4";
    my %memory = (dump => $dump_memory, load => $load_memory, 'dump from PostgreSQL' => $out_memory, 'load into it' => $in_memory);
    note join ', ', sprintf('%d MB', (-s "$folder/many") / 1e6), map { sprintf '%s: %d MB of memory', $_, $memory{$_} / 1e3 } sort keys %memory;
    if (read_file("$build/spendgate") !~ /__asan_init/) { # a sanitizer keeps memory of its own
        cmp_ok $memory{$_}, '<', 48_000, "$_: with little memory" for sort keys %memory;
    }
}

# ---- while programs write ----------------------------------------------------------------------------

# It waits for us in the middle of its rows, and has to show the store as it was at its beginning.
{
    my $many = "$folder/many.conf";
    open my $pipe, '-|', "$build/spendgate", '--config', $many, 'dump' or die "dump: $!";
    my $start = readline $pipe;
    my ($status, undef, $bytes) = post($many, '/v1/spend', { subject => 'user_1', cost_usd => '0.070000001' });
    is $status, 200, 'a charge while a dump is made' or diag $bytes;
    open my $file, '>', "$folder/snapshot" or die "snapshot: $!";
    print {$file} $start;
    while (read $pipe, $bytes, 1 << 18) { print {$file} $bytes }
    close $file or die "snapshot: $!";
    ok close($pipe), 'the dump is done';
    is system('cmp', "$folder/many", "$folder/snapshot"), 0, 'and knows nothing of it';
    cmp_ok index(done_ok('dump', $many, 'dump'), ',70000001,'), '>', 0, 'which the next one does';
}

# ---- in a terminal -----------------------------------------------------------------------------------

{
    my $config = sqlite('terminal');
    my @script = ('/usr/bin/script', '-qec');
    ($code, $out) = program({ TERM => 'dumb' }, '/dev/null', @script, "$build/spendgate --config $config load $folder/many", '/dev/null');
    is $code, 0, 'load in a terminal' or diag $out;
    like $out, qr/\r\e\[K\[.{10,}\] \d+\/\d+  bytes.*\r\e\[K\d+ rows loaded/s, 'shows how far it has come, and wipes it';
    ($code, $out) = program({ TERM => 'dumb' }, '/dev/null', @script, "$build/spendgate --config $config dump $folder/many.3", '/dev/null');
    like $out, qr/\r\e\[K\[.{10,}\] \d+\/\d+  rows.*\r\e\[K\d+ rows written/s, 'so does dump';
    ($code, $out) = program({ TERM => 'dumb' }, '/dev/null', @script, "$build/spendgate --config $config load", '/dev/null');
    is $code, 2, 'a load without a dump';
    like $out, qr/give a FILE, or a dump on standard input/, 'asks for one';
}

done_testing;

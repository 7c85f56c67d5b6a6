# SPDX-License-Identifier: MIT
# The operator's command on a throwaway store: every sub-command, its tables and its JSON, its exit codes, and what
# it writes to the journal. No web server: what is spent comes through the tracker as plain CGI.
use strict;
use warnings;
use Cwd qw(abs_path);
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
my $folder = tempdir('spendgate-admin-XXXXXX', TMPDIR => 1, CLEANUP => 1);
chmod 0755, $folder or die $!; # the command becomes another user, who has to get in
my $config = "$folder/spendgate.conf";
my $token  = 'sgt_test_token_of_admin_t';
my $json   = JSON::PP->new;
my $cluster  = ($ENV{SPENDGATE_E2E_STORE} // '') eq 'postgresql' ? Spendgate::Postgres->shared : undef;
my $database = $cluster ? $cluster->database : undef;

sub write_file {
    my ($path, $text) = @_;
    open my $file, '>', $path or die "$path: $!";
    print {$file} $text;
    close $file or die "$path: $!";
    return;
}

sub read_file {
    my ($path) = @_;
    open my $file, '<', $path or return '';
    local $/;
    return <$file> // '';
}

# A program with its standard input, output and error in files: (exit code, stdout, stderr).
sub program {
    my ($environment, $input, $output, @command) = @_;
    write_file("$folder/in", $input);
    my $pid = fork // die "fork: $!";
    if ($pid == 0) {
        delete @ENV{qw(SPENDGATE_STORE_URL SPENDGATE_CONFIG SUDO_USER)};
        @ENV{ keys %$environment } = values %$environment;
        open STDIN,  '<', "$folder/in" or POSIX::_exit(126);
        open STDOUT, '>', $output      or POSIX::_exit(126);
        open STDERR, '>', "$folder/err" or POSIX::_exit(126);
        exec { $command[0] } @command or POSIX::_exit(127);
    }
    waitpid $pid, 0;
    my $code = $? & 127 ? 128 + ($? & 127) : $? >> 8;
    return ($code, $output eq '/dev/full' ? '' : read_file($output), read_file("$folder/err"));
}

sub cli {
    my (@arguments) = @_;
    my %environment = ref $arguments[0] ? %{ shift @arguments } : ();
    return program(\%environment, '', "$folder/out", "$build/spendgate", '--config', $config, @arguments);
}

# Exit 0 and output like $want.
sub says {
    my ($name, $want, @arguments) = @_;
    my ($code, $out, $err) = cli(@arguments);
    is $code, 0, "$name: done" or diag $err;
    like $out, $want, "$name: says so";
    return $out;
}

# Exit $code, nothing done, and standard error like $want.
sub refuses {
    my ($name, $want_code, $want, @arguments) = @_;
    my ($code, $out, $err) = cli(@arguments);
    is $code, $want_code, "$name: exit code" or diag $out, $err;
    like $err, $want, "$name: says why";
    return;
}

sub as_json {
    my (@arguments) = @_;
    my ($code, $out, $err) = cli(@arguments, '--json');
    my $value = eval { $json->decode($out) };
    ok defined $value, join(' ', grep { !ref } @arguments) . ' --json: is JSON' or diag $code, $out, $err;
    return $value // {};
}

sub post {
    my ($path, $body) = @_;
    my $text = ref $body ? $json->encode($body) : $body;
    my ($code, $out, $err) = program(
        {
            GATEWAY_INTERFACE => 'CGI/1.1', REQUEST_METHOD => 'POST', PATH_INFO => $path,
            CONTENT_TYPE => 'application/json', CONTENT_LENGTH => length $text,
            HTTP_AUTHORIZATION => "Bearer $token", SPENDGATE_CONFIG => $config,
        },
        $text, "$folder/out", "$build/spendgate-tracker"
    );
    my ($status) = $out =~ /\AStatus: (\d+)/ or diag "no answer: $err";
    return ($status, eval { $json->decode($out =~ s/\A.*?\r?\n\r?\n//sr) } // {});
}

# A row of the store, by the database's own tool: the journal has no listing of its own yet.
sub sql {
    my ($statement) = @_;
    return $cluster->sql($database, $statement, '|') if $cluster;
    my ($code, $out, $err) = program({}, '', "$folder/out", '/usr/bin/sqlite3', '-bail', "$folder/store/spendgate.db", $statement);
    is $code, 0, 'sqlite3' or diag $err;
    return $out;
}

sub budget {
    my ($account, $period) = @_;
    my ($found) = grep { $_->{period} eq $period } @{ as_json('account', 'show', $account)->{budgets} };
    return $found // {};
}

use Digest::SHA qw(sha256_hex);
mkdir "$folder/store" or die $!;
my $url = $cluster ? $cluster->url($database) : "sqlite:$folder/store/spendgate.db";
# Who may change the schema: with PostgreSQL the owner of the database, and not the programs.
my $owner = $cluster ? { SPENDGATE_STORE_URL => $cluster->url($database, $cluster->owner) } : {};
my $sha256 = sha256_hex($token);
write_file($config, <<"END");
store { url = "$url" }
cache { path = "$folder/cache.db" }
plan "free" {
    budget "month" { limit_usd = "1.00"  period = "month" }
    budget "day"   { limit_usd = "0.50"  period = "day"  timezone = "America/New_York" }
    scopes = { "proxy.chat" }
    hold_usd = "0.05"
    rate = "60/1m"  burst = 10
    concurrency = 5
}
plan "pro" { budget "month" { limit_usd = "200.00"  period = "month" }  scopes = { "proxy.*" }  hold_usd = "0.05" }
route "/api/chat"  { scopes = { "proxy.chat" } }
route "/api/admin" { scopes = { "proxy.admin" } }
tracker { token "php" { sha256 = "$sha256"  role = "admin" } }
END

# ---- usage -------------------------------------------------------------------------------------------

{
    my ($code, $out, $err) = cli('--help');
    is $code, 0, '--help is done';
    like $out, qr/^Usage: spendgate /, '--help tells the usage';
    my @commands = $out =~ /^  ([a-z]+(?: [a-z]+)?) {2,}\S/mg;
    cmp_ok scalar @commands, '>=', 24, 'and lists the commands';
    for my $command (@commands) {
        my ($help_code, $help) = cli('help', split / /, $command);
        is $help_code, 0, "help $command";
        like $help, qr/\AUsage: spendgate \Q$command\E/, "help $command: its usage";
        my ($option_code, $option) = cli((split / /, $command), '--help');
        is "$option_code $option", "0 $help", "$command --help is the same";
    }
    my $manual = read_file("$Bin/../../man/spendgate.8");
    my @untold = grep { $manual !~ /^\.It Cm \Q$_\E(?: |$)/m } @commands;
    is "@untold", '', 'spendgate(8) has every command';
    my %options = map { $_ => 1 } map { (cli('help', split / /))[1] =~ /^  --([a-z-]+)/mg } @commands;
    @untold = grep { $manual !~ /Fl Fl \Q$_\E\b/ } sort keys %options;
    is "@untold", '', 'and every option';
    ($code, $out) = cli('--version');
    is $code, 0, '--version is done';
    like $out, qr/\Aspendgate \d+\.\d+/, '--version';
    ($code, $out) = cli('account', '--help');
    is $code, 0, 'account --help';
    like $out, qr/account freeze/, 'lists what there is to do with accounts';
}
refuses('no command', 2, qr/a command is wanted/);
refuses('an unknown command', 2, qr/no command 'frob'/, 'frob');
refuses('help of an unknown command', 2, qr/no command 'frob'/, 'help', 'frob');
refuses('half a command', 2, qr/account what\?.*spendgate account freeze ACCOUNT/s, 'account');
refuses('an unknown half', 2, qr/account what\?/, 'account', 'frob');
refuses('an unknown option', 2, qr/unrecognized option '--frob'.*Try 'spendgate account list --help'/s, 'account', 'list', '--frob');
refuses('an option of another command', 2, qr/unrecognized option '--until'/, 'account', 'list', '--until', '1d');
refuses('an option without its value', 2, qr/option '--limit' requires an argument/, 'account', 'list', '--limit');
refuses('an option of one letter', 2, qr/invalid option -- 'x'/, 'account', 'list', '-xy');
refuses('a flag with a value', 2, qr/unrecognized option '--json=1'/, 'account', 'list', '--json=1');
refuses('a note that is too long', 2, qr/--note: longer than 255 bytes/, 'account', 'freeze', 'a', '--note', 'x' x 256);
refuses('a missing operand', 2, qr/missing operand: ACCOUNT/, 'account', 'freeze');
refuses('an operand too many', 2, qr/extra operand 'b'/, 'account', 'freeze', 'a', 'b');
refuses('no account name', 2, qr/'a b' is no account name/, 'account', 'freeze', 'a b');
{
    my ($code, $out, $err) = program({}, '', "$folder/out", "$build/spendgate", '--config', "$folder/none", 'account', 'list');
    is scalar(() = $err =~ /No such file/g), 1, 'a missing settings file is told once';
    is $code, 2, 'settings that are not there';
    like $err, qr/\Q$folder\E\/none/, 'are named';
    ($code, $out, $err) = program({}, '', "$folder/out", "$build/spendgate", '--frob');
    is $code, 2, 'an unknown option before the command';
    ($code, $out, $err) = program({}, '', "$folder/out", "$build/spendgate", '--config');
    is $code, 2, '--config without a file';
}

# ---- the store ---------------------------------------------------------------------------------------

refuses('a listing makes no store', 1, $cluster ? qr/run `spendgate migrate`/ : qr/\Q$folder\E/, 'account', 'list');
ok !-e "$folder/store/spendgate.db", 'no file is left by it';
refuses('the programs may not change the schema', 1, qr/run this as the owner of the database/, 'migrate') if $cluster;
says('migrate', qr/1 schema step applied|\d+ schema steps applied/, $owner, 'migrate');
says('migrate again', qr/up to date\.$/, $owner, 'migrate');
is as_json($owner, 'migrate')->{applied}, 0, 'migrate --json';
{
    my ($code, $out, $err) = program({}, '', "$folder/out", "$build/spendgate", 'account', 'list', '--config', $config);
    is $code, 0, '--config behind the command' or diag $err;
}
says('an empty store', qr/\AACCOUNT .*\nall /, 'account', 'list');
says('no holds', qr/\AHOLD /, 'hold', 'list');
says('no charges', qr/\APOSTED /, 'charge', 'list');
says('verify of an empty store', qr/Differences: 0/, 'verify');

# ---- init --------------------------------------------------------------------------------------------

{
    my $place = "$folder/new";
    my @init = ({}, '', "$folder/out", "$build/spendgate", 'init', '--dir', $place);
    my ($code, $out, $err) = program(@init);
    is $code, 0, 'init' or diag $err;
    like $out, qr{wrote +\Q$place\E/spendgate\.conf.*made +\Q$place\E/store.*made +\Q$place\E/run}s, 'init: what it made';
    like $out, qr{\Q$place\E/clerk_secret_key.*token new.*--check-config.*migrate}s, 'init: what is next';
    is sprintf('%04o', (stat "$place/store")[2] & 07777), '0750', 'init: the store is closed to others';
    is sprintf('%04o', (stat "$place/spendgate.conf")[2] & 07777), '0640', 'init: and so are the settings';
    my $settings = read_file("$place/spendgate.conf");
    unlike $settings, qr{/(?:etc|var/lib|run)/spendgate}, 'init: every path is in the folder';
    my @run = ({}, '', "$folder/out", "$build/spendgate", '--config', "$place/spendgate.conf");
    ($code, $out, $err) = program(@run, 'migrate');
    is $code, 2, 'init: the secret is still missing';
    like $err, qr{\Q$place\E/clerk_secret_key}, 'init: which is told';
    write_file("$place/clerk_secret_key", "sk_test_of_admin_t\n");
    chmod 0600, "$place/clerk_secret_key" or die $!;
    ($code, $out, $err) = program(@run, 'migrate');
    is $code, 0, 'init: the sample loads with only the secret added' or diag $err;
    ok -e "$place/store/spendgate.db", 'init: the store is where it says';
    write_file("$place/spendgate.conf", "$settings\n# mine\n");
    ($code, $out, $err) = program(@init);
    is $code, 0, 'init again' or diag $err;
    like $out, qr{kept +\Q$place\E/spendgate\.conf.*kept +\Q$place\E/store}s, 'init again: keeps';
    like read_file("$place/spendgate.conf"), qr/# mine\n\z/, 'init again: overwrites nothing';
    ($code, $out, $err) = program({}, '', "$folder/out", "$build/spendgate", 'init', '--dir', "$folder/a\"b");
    is $code, 2, 'init: a path that would break the settings';
    ok !-e "$folder/a\"b", 'init: makes nothing then';
    write_file("$folder/file", '');
    ($code, $out, $err) = program({}, '', "$folder/out", "$build/spendgate", 'init', '--dir', "$folder/file/x");
    is $code, 1, 'init: a folder that cannot be made';
    like $err, qr/Not a directory/, 'init: and why';
  SKIP: {
        skip 'only root gives folders away', 3 if $> != 0;
        ($code, $out, $err) = program({}, '', "$folder/out", "$build/spendgate", 'init', '--dir', "$folder/given", '--user', 'nobody');
        is $code, 0, 'init --user' or diag $err;
        is +(stat "$folder/given/store")[4], scalar getpwnam('nobody'), 'init --user: the store is theirs';
        ($code, $out, $err) = program({}, '', "$folder/out", "$build/spendgate", 'init', '--dir', "$folder/given2", '--user', 'no such');
        is $code, 2, 'init --user of nobody';
    }
}

# ---- tokens ------------------------------------------------------------------------------------------

{
    my $out = says('token new', qr/sgt_[\w-]{43}/, 'token', 'new', '--name', 'web');
    my ($text) = $out =~ /(sgt_[\w-]{43})\n/;
    my ($line) = $out =~ /^ *(token ".*)$/m;
    is $line, 'token "web" { sha256 = "' . sha256_hex($text) . '"  role = "post" }', 'the line has the digest of the text';
    my $made = as_json('token', 'new', 'reader', '--role', 'read');
    is_deeply [ @$made{qw(name role sha256)} ], [ 'reader', 'read', sha256_hex($made->{token}) ], 'token new --json';
    isnt $made->{token}, $text, 'another token each time';
    refuses('an unknown role', 2, qr/'root' is not post, read or admin/, 'token', 'new', '--role', 'root');
    refuses('a name that would break the settings', 2, qr/is no name/, 'token', 'new', 'a"b');
    refuses('two names', 2, qr/twice/, 'token', 'new', 'a', '--name', 'b');
}

# ---- accounts ----------------------------------------------------------------------------------------

my $tina = 'user_tina';
refuses('show of an unknown account', 1, qr/no account \Q$tina\E/, 'account', 'show', $tina);
refuses('unfreeze of an unknown account', 1, qr/no account \Q$tina\E/, 'account', 'unfreeze', $tina);
says('freeze makes the account', qr/\Q$tina\E is frozen/, 'account', 'freeze', $tina, '--note', 'ticket 4711');
is as_json('account', 'show', $tina)->{frozen}, JSON::PP::true, 'frozen';
says('account list tells it', qr/^\Q$tina\E +- +frozen/m, 'account', 'list');
is as_json('account', 'unfreeze', $tina)->{frozen}, JSON::PP::false, 'unfreeze --json shows the account';
says('plan', qr/plan free/, 'account', 'plan', $tina, 'free');
refuses('a plan that the settings do not have', 2, qr/no plan 'gold'/, 'account', 'plan', $tina, 'gold');
is_deeply as_json('account', 'show', $tina)->{scopes}, ['proxy.chat'], 'the scopes of its plan';
says('revoke', qr/is revoked/, 'account', 'revoke', 'key:ak_lost');
is as_json('account', 'show', 'key:ak_lost')->{revoked}, JSON::PP::true, 'revoked';
is as_json('account', 'unrevoke', 'key:ak_lost')->{revoked}, JSON::PP::false, 'unrevoked';
says('reverify', qr/again/, 'account', 'reverify', $tina);
says('renew', qr/expires 2199-01-01T00:00:00Z/, 'account', 'renew', $tina, '--until', '2199-01-01');
is as_json('account', 'show', $tina)->{expires_at}, '2199-01-01T00:00:00Z', 'renewed';
says('renew until never', qr/never expires/, 'account', 'renew', $tina, '--until', 'never');
is as_json('account', 'show', $tina)->{expires_at}, undef, 'never';
refuses('renew without a time', 2, qr/--until is wanted/, 'account', 'renew', $tina);
refuses('renew into the past', 2, qr/over already/, 'account', 'renew', $tina, '--until', '2001-01-01');
refuses('renew for longer than there is time', 2, qr/is no time/, 'account', 'renew', $tina, '--until', '99999999999999d');
refuses('renew until nonsense', 2, qr/'soon' is no time/, 'account', 'renew', $tina, '--until', 'soon');
says('parent', qr/counts on group:family/, 'account', 'parent', $tina, 'group:family');
is as_json('account', 'show', $tina)->{parent}, 'group:family', 'the parent';
refuses('a circle', 1, qr/circle/, 'account', 'parent', 'group:family', $tina);
says('no parent', qr/no parent/, 'account', 'parent', $tina, '--clear');
is as_json('account', 'show', $tina)->{parent}, undef, 'the parent is gone';
refuses('neither a parent nor --clear', 2, qr/either/, 'account', 'parent', $tina);
refuses('both', 2, qr/either/, 'account', 'parent', $tina, 'group:family', '--clear');
is scalar @{ as_json('account', 'list', '--limit', '2')->{accounts} }, 2, '--limit';
refuses('--limit of nothing', 2, qr/--limit: '0'/, 'account', 'list', '--limit', '0');

# More accounts than one page of names.
for my $i (1 .. 3) {
    sql('INSERT INTO account (name) VALUES ' . join ', ', map { sprintf "('user_page${i}_%03d')", $_ } 1 .. 150);
}
is scalar(grep { $_->{account} =~ /^user_page/ } @{ as_json('account', 'list')->{accounts} }), 450, 'listings go on behind a page';
sql("DELETE FROM account WHERE name LIKE 'user_page%'");

# ---- holds and charges -------------------------------------------------------------------------------

my ($status, $first) = post('/v1/spend', { subject => $tina, key_id => 'ak_1', cost_usd => '0.04', model => 'small', route => '/api/chat', tags => ['a'] });
is $status, 200, 'a charge' or BAIL_OUT('the tracker does not answer: ' . $json->encode($first));
($status, my $second) = post('/v1/spend', { subject => $tina, key_id => 'ak_1', cost_usd => '0.000000001', model => 'mo"del,x' });
is $status, 200, 'another, with a model that CSV has to quote';
my @holds = map { (post('/v1/holds', { subject => $tina, amount_usd => '0.05' }))[1]{hold_id} } 1 .. 2;
like "@holds", qr/\Ahld_\w+ hld_\w+\z/, 'two holds';

my $month = budget($tina, 'month');
is_deeply [ @$month{qw(limit_usd spent_usd held_usd remaining_usd enforce origin)} ], [ '1', '0.040000001', '0.1', '0.859999999', 'hard', 'plan' ], 'the numbers of the month';
says('account show', qr/month +UTC +\$0\.040000001 +\$0\.10 +\$1\.00 +\$0\.859999999 .*day +America\/New_York/s, 'account', 'show', $tina);
says('account list names the tightest', qr/^\Q$tina\E +free +ok +day /m, 'account', 'list');
my $list = says('charge list', qr/\Q$first->{charge_id}\E +\Q$tina\E +ak_1 +\$0\.04 +small/, 'charge', 'list');
my $charges = as_json('charge', 'list')->{charges};
is_deeply [ map { $_->{charge_id} } @$charges ], [ $second->{charge_id}, $first->{charge_id} ], 'newest first';
is $charges->[0]{model}, 'mo"del,x', 'JSON has the model as it is';
my $csv = says('charge list --csv', qr/\Acreated_at,charge_id,.*\r\n/, 'charge', 'list', '--csv');
like $csv, qr/,"mo""del,x",/, 'CSV quotes';
is scalar(() = $csv =~ /\r\n/g), 3, 'a title and two rows';
for my $case (
    [ [ '--model', 'small' ], 1 ],
    [ [ '--model', 'none' ], 0 ],
    [ [ '--route', '/api/chat' ], 1 ],
    [ [ '--key-id', 'ak_1' ], 2 ],
    [ [ '--key-id', 'ak_2' ], 0 ],
    [ [ '--account', $tina ], 2 ],
    [ [ '--account', 'all' ], 2 ],
    [ [ '--account', 'group:family' ], 0 ],
    [ [ '--limit', '1' ], 1 ],
    [ [ '--from', '1h' ], 2 ],
    [ [ '--from', '2199-01-01' ], 0 ],
    [ [ '--to', '1h' ], 0 ],
    [ [ '--from', '2001-01-01T00:00:00Z', '--to', '2199-01-01T00:00:00+01:00' ], 2 ],
) {
    my ($filter, $count) = @$case;
    is scalar @{ as_json('charge', 'list', @$filter)->{charges} }, $count, "charge list @$filter";
}
refuses('a filter that is no time', 2, qr/'yesterday' is no time/, 'charge', 'list', '--from', 'yesterday');

says('hold list', qr/\Q$holds[1]\E.*\Q$holds[0]\E/s, 'hold', 'list');
is scalar @{ as_json('hold', 'list', '--account', 'group:family')->{holds} }, 0, 'hold list --account';
says('hold void', qr/\Q$holds[0]\E is voided: \$0\.05/, 'hold', 'void', $holds[0], '--note', 'stuck');
is budget($tina, 'month')->{held_usd}, '0.05', 'given back';
is as_json('hold', 'void', $holds[0])->{account}, as_json('hold', 'list', '--state', 'voided')->{holds}[0]{account}, 'hold void: whose it was';
is as_json('hold', 'list', '--state', 'voided')->{holds}[0]{hold_id}, $holds[0], 'hold list --state';
refuses('an unknown state', 2, qr/'lost' is not held/, 'hold', 'list', '--state', 'lost');
post('/v1/spend', { hold_id => $holds[1], cost_usd => '0.05' });
refuses('void of a settled hold', 1, qr/is settled/, 'hold', 'void', $holds[1]);
refuses('void of an unknown hold', 1, qr/no hold hld_0/, 'hold', 'void', 'hld_0');

says('refund of a part', qr/\$0\.01 of \Q$first->{charge_id}\E is refunded, as chg_/, 'charge', 'refund', $first->{charge_id}, '0.01', '--note', 'goodwill');
is budget($tina, 'month')->{spent_usd}, '0.080000001', 'taken back';
says('refund with a note that would colour a terminal', qr/refunded/, 'charge', 'refund', $first->{charge_id}, '0', '--note', "\x1b[31mred\x{c2}\x{9b}");
refuses('a note that is no text', 2, qr/--note: is not UTF-8/, 'charge', 'refund', $first->{charge_id}, '0', '--note', "red\x{9b}");
unlike says('charge list again', qr/\?\[31mred\?/, 'charge', 'list'), qr/[\x00-\x09\x0b-\x1f\x7f-\x9f]/, 'no control character reaches the terminal';
refuses('a refund of more', 1, qr/cannot be more/, 'charge', 'refund', $first->{charge_id}, '0.04');
my $refund = as_json('charge', 'refund', $first->{charge_id});
is_deeply [ @$refund{qw(cost_usd refund_of)} ], [ '-0.03', $first->{charge_id} ], 'a refund of all that is left';
is budget($tina, 'month')->{spent_usd}, '0.050000001', 'taken back as well';
refuses('refund of an unknown charge', 1, qr/no charge chg_0/, 'charge', 'refund', 'chg_0');
refuses('a refund that is no amount', 2, qr/'-1' is no amount/, 'charge', 'refund', $first->{charge_id}, '--', '-1');

# ---- budgets -----------------------------------------------------------------------------------------

says('budget set', qr/month .*\$2\.50 .* warn +hand/, 'budget', 'set', $tina, 'month', '2.50', '--enforce', 'warn', '--note', 'trial');
is budget($tina, 'month')->{limit_usd}, '2.5', 'set by hand';
says('a line that the plan does not have', qr/week +UTC/, 'budget', 'set', $tina, 'week', '7');
says('budget topup', qr/\$3\.00/, 'budget', 'topup', $tina, '0.5', '--period', 'month');
is budget($tina, 'month')->{limit_usd}, '3', 'topped up';
refuses('a topup of nothing', 2, qr/more than 0/, 'budget', 'topup', $tina, '0.00', '--period', 'month');
refuses('which budget?', 1, qr/several/, 'budget', 'topup', $tina, '1');
says('budget boost', qr/\$5\.50/, 'budget', 'boost', $tina, '5', '--period', 'day', '--until', '2d');
is budget($tina, 'day')->{limit_usd}, '5.5', 'boosted';
refuses('a boost without an end', 2, qr/--until is wanted/, 'budget', 'boost', $tina, '5', '--period', 'day');
refuses('a boost that is over', 2, qr/over already/, 'budget', 'boost', $tina, '5', '--period', 'day', '--until', '2001-01-01');
is as_json('budget', 'clear', $tina, 'month')->{budgets}[0]{limit_usd}, '1.5', 'cleared: the plan again, and the top-up stays';
refuses('clear of what is not there', 1, qr/no budget of that period/, 'budget', 'clear', $tina, 'year');
refuses('no period', 2, qr/'lustrum' is no period/, 'budget', 'set', $tina, 'lustrum', '1');
refuses('no amount', 2, qr/'1e3' is no amount/, 'budget', 'set', $tina, 'month', '1e3');
refuses('no enforcement', 2, qr/'soft' is not hard/, 'budget', 'set', $tina, 'month', '1', '--enforce', 'soft');
refuses('an unknown account', 1, qr/no account user_none/, 'budget', 'set', 'user_none', 'month', '1');
says('amounts are exact above 2^53', qr/\$9007199\.254740993/, 'budget', 'set', $tina, 'year', '9007199.254740993');
is budget($tina, 'year')->{limit_usd}, '9007199.254740993', 'to the last nano-dollar';
says('a budget back', qr/month/, 'budget', 'clear', $tina, 'year');

# ---- who and why -------------------------------------------------------------------------------------

my $me = getlogin || getpwuid $>;
like sql("SELECT text, who, note FROM event WHERE note = 'ticket 4711'"), qr/\Afreeze\|\Q$me\E\|ticket 4711\n/, 'a freeze is in the journal, with who and why';
like sql("SELECT who FROM event WHERE note = 'stuck'"), qr/\A\Q$me\E\n/, 'a void too';
like sql("SELECT who FROM event WHERE note = 'trial'"), qr/\A\Q$me\E\n/, 'a limit set by hand too';
is sql("SELECT token, note FROM charge WHERE note = 'goodwill'"), "$me|goodwill\n", 'a refund carries both itself';
cli({ SUDO_USER => 'bob' }, 'account', 'freeze', 'user_sudo', '--note', 'by sudo');
is sql("SELECT who FROM event WHERE note = 'by sudo'"), ($> == 0 ? "bob\n" : "$me\n"), 'SUDO_USER counts when root says so';

# ---- report ------------------------------------------------------------------------------------------

says('report', qr/\AACCOUNT +SPENT +CHARGES\n\Q$tina\E +\$0\.050000001 +3\nTotal +\$0\.050000001 +3\n/, 'report');
my $report = as_json('report', '--by', 'model');
is $report->{spent_usd}, '0.050000001', 'report --json: the total';
is_deeply { map { ($_->{model} // '', $_->{spent_usd}) } @{ $report->{rows} } }, { '' => '0.05', 'small' => '0', 'mo"del,x' => '0.000000001' }, 'and its rows';
like $report->{from}, qr/-01T00:00:00Z\z/, 'since the first of the month';
my @today = gmtime;
my $today = sprintf '%04d-%02d-%02d', $today[5] + 1900, $today[4] + 1, $today[3];
says('report --by day --csv', qr/\Aday,spent_usd,charges\r\n\Q$today\E,0\.050000001,3\r\n\z/, 'report', '--by', 'day', '--csv');
says("report --by $_", qr/Total/, 'report', '--by', $_) for qw(account key route model day);
is scalar @{ as_json('report', '--by', 'model', '--limit', '1')->{rows} }, 1, 'report --limit';
is as_json('report', '--from', '2001-01-01', '--to', '2001-02-01')->{spent_usd}, '0', 'report of another time';
refuses('report by nonsense', 2, qr/'mood' is not/, 'report', '--by', 'mood');

# ---- explain -----------------------------------------------------------------------------------------

sub explains {
    my ($name, $want_status, $want_error, $failed_check, @arguments) = @_;
    my ($code, $out, $err) = cli('explain', @arguments, '--json');
    my $told = eval { $json->decode($out) } // {};
    is $code, $want_status == 200 ? 0 : 1, "explain $name: exit code" or diag $err;
    is(($told->{status} // 'none') . ' ' . ($told->{error} // 'allowed'), "$want_status " . ($want_error // 'allowed'), "explain $name: the answer");
    my @failed = map { $_->{check} } grep { defined $_->{ok} && !$_->{ok} } @{ $told->{checks} };
    is "@failed", $failed_check // '', "explain $name: the check";
    my ($text_code, $text) = cli('explain', @arguments);
    is $text_code, $code, "explain $name: the same as text";
    like $text, qr/^Answer: $want_status\b/m, "explain $name: which says so too";
    return $told;
}

my @ask = ('--subject', $tina, '--path', '/api/chat/x?y=1');
($status, my $only_held) = post('/v1/holds', { subject => $tina, key_id => 'ak_held', amount_usd => '0' });
cli('hold', 'void', $only_held->{hold_id});
my $before = sql('SELECT count(*), (SELECT count(*) FROM hold), (SELECT count(*) FROM account), (SELECT count(*) FROM chain) FROM event');
my $told = explains('an allow', 200, undef, undef, @ask);
is $told->{path}, '/api/chat/x', 'explain: the path';
is $told->{route}, '/api/chat', 'explain: the route';
is $told->{plan}, 'free', 'explain: the plan';
is $told->{hold_usd}, '0.05', 'explain: the hold';
my ($line) = grep { $_->{period} eq 'day' } @{ $told->{budgets} };
is_deeply [ @$line{qw(base_usd credit_usd carry_usd limit_usd spent_usd held_usd)} ], [ '0.5', '5', '0', '5.5', '0.050000001', '0' ], 'explain: every number of a budget';
is explains('a key alone', 200, undef, undef, '--key-id', 'ak_1', '--path', '/api/chat')->{subject}, $tina, 'explain: whose key';
is explains('a key that only held', 200, undef, undef, '--key-id', 'ak_held', '--path', '/api/chat')->{subject}, $tina, 'explain: whose key';
explains('another plan', 200, undef, undef, @ask, '--plan', 'pro');
# Ten of sixty a minute are used up: the limit is the subject's, whatever key is used.
my $spent_rate = time * 1_000_000_000 + 11_000_000_000;
sql('DELETE FROM rate');
sql("INSERT INTO rate SELECT id, 'subject', $spent_rate FROM account WHERE name = '$tina'");
explains('too fast', 429, 'rate_limited', 'rate', @ask);
explains('too fast with a key that was never seen', 429, 'rate_limited', 'rate', @ask, '--key-id', 'ak_new');
sql('DELETE FROM rate');
explains('no scope', 403, 'insufficient_scope', 'scope', '--subject', $tina, '--path', '/api/admin');
explains('no scope missing with another plan', 200, undef, undef, '--subject', $tina, '--path', '/api/admin', '--plan', 'pro');
explains('no route', 403, 'no_route', 'route', '--subject', $tina, '--path', '/elsewhere');
explains('a malformed path', 400, 'invalid_path', 'path', '--subject', $tina, '--path', '/a/../../b');
explains('no plan', 403, 'no_plan', 'plan', '--subject', 'user_stranger', '--path', '/api/chat');
explains('a stranger with a plan', 200, undef, undef, '--subject', 'user_stranger', '--path', '/api/chat', '--plan', 'free');
is sql('SELECT count(*), (SELECT count(*) FROM hold), (SELECT count(*) FROM account), (SELECT count(*) FROM chain) FROM event'), $before, 'explain: nothing is recorded';
for my $case (
    [ 'frozen',  [ 'account', 'freeze' ], [ 'account', 'unfreeze' ], 403, 'frozen',      'frozen' ],
    [ 'revoked', [ 'account', 'revoke' ], [ 'account', 'unrevoke' ], 401, 'invalid_key', 'revoked' ],
) {
    my ($name, $do, $undo, $want_status, $error, $check) = @$case;
    cli(@$do, $tina);
    explains($name, $want_status, $error, $check, @ask);
    cli(@$undo, $tina);
}
cli('budget', 'set', $tina, 'month', '0.05');
$told = explains('over budget', 200, undef, undef, @ask); # the top-up of 0.5 is still there
cli('budget', 'set', $tina, 'week', '0.1');
$told = explains('over budget', 429, 'budget_exceeded', 'budget', @ask);
is $told->{account}, $tina, 'explain: whose budget';
like +(grep { $_->{check} eq 'budget' } @{ $told->{checks} })[0]{text}, qr/week: \$0\.050000001 spent and \$0\.00 held of \$0\.10/, 'explain: which, and why';
cli('budget', 'clear', $tina, 'week');
my @many = map { (post('/v1/holds', { subject => $tina, amount_usd => '0' }))[1]{hold_id} } 1 .. 5;
explains('too many at once', 429, 'concurrency_exceeded', 'concurrency', @ask);
sql("UPDATE hold SET expires_us = 1 WHERE state = 0");
explains('holds whose time is over', 200, undef, undef, @ask);
is scalar @{ as_json('hold', 'list', '--state', 'expired')->{holds} }, 5, 'explain: which are journalled, as by any look';
refuses('explain nothing', 2, qr/--path, and --subject or --key-id, are wanted/, 'explain');
refuses('explain an unknown plan', 2, qr/no plan 'gold'/, 'explain', @ask, '--plan', 'gold');
refuses('explain a key that nobody knows', 1, qr/name its --subject/, 'explain', '--key-id', 'ak_none', '--path', '/api/chat');
refuses('explain a name that is none', 2, qr/--subject: 'a b' is no name/, 'explain', '--subject', 'a b', '--path', '/');

# ---- prune and verify --------------------------------------------------------------------------------

says('prune', qr/\A\d+ rows removed\.\n\z/, 'prune', '--older-than', '400d');
like as_json('prune')->{removed}, qr/\A\d+\z/, 'prune --json';
refuses('prune by nonsense', 2, qr/'x' is no age/, 'prune', '--older-than', 'x');
refuses('prune by more than there is', 2, qr/nothing is as old/, 'prune', '--older-than', '40000d');

says('verify', qr/Differences: 0/, 'verify');
is as_json('verify')->{differences}, 0, 'verify --json';
sql('UPDATE budget_period SET spent_nanos = spent_nanos + 1 WHERE spent_nanos > 0');
{
    my ($code, $out) = cli('verify');
    is $code, 1, 'verify: one nano-dollar';
    like $out, qr/^I7 .*\Q$tina\E/m, 'is told, with its invariant and its account';
    ($code, $out) = cli('verify', '--json');
    my $found = $json->decode($out);
    is $code, 1, 'verify --json: one nano-dollar';
    cmp_ok $found->{differences}, '>', 0, 'is counted';
    is scalar @{ $found->{findings} }, $found->{differences}, 'and each is told';
}
sql('UPDATE budget_period SET spent_nanos = spent_nanos - 1 WHERE spent_nanos > 0');
says('verify again', qr/Differences: 0/, 'verify');

# ---- the world around --------------------------------------------------------------------------------

{
    my ($code, $out, $err) = program({}, '', '/dev/full', "$build/spendgate", '--config', $config, 'account', 'list');
    is $code, 1, 'a full disk is no success';
    like $err, qr/standard output/, 'and is told';
}
# In a terminal: bars, and a line of progress that is wiped.
{
    my @script = ('/usr/bin/script', '-qec');
    my ($code, $out) = program({ LC_ALL => 'C.UTF-8', TERM => 'dumb' }, '', "$folder/out", @script, "$build/spendgate --config $config report", '/dev/null');
    is $code, 0, 'report in a terminal';
    like $out, qr/^\Q$tina\E +\$0\.050000001  (?:\xe2\x96\x88){10,60}\r?$/m, 'draws bars';
    ($code, $out) = program({ LC_ALL => 'C', TERM => 'dumb' }, '', "$folder/out", @script, "$build/spendgate --config $config report", '/dev/null');
    like $out, qr/^\Q$tina\E +\$0\.050000001  #{10,60}\r?$/m, 'of plain characters where there are no others';
    ($code, $out) = program({ TERM => 'dumb' }, '', "$folder/out", @script, "$build/spendgate --config $config verify", '/dev/null');
    like $out, qr/\ARecomputing .*\r\e\[KChecked: /s, 'verify tells what it does, and wipes it';
}
SKIP: {
    last SKIP if $cluster; # PostgreSQL has no files of ours
    skip 'only root can become another user', 6 if $> != 0;
    my $uid = getpwnam('www-data') // getpwnam('nobody');
    mkdir "$folder/theirs" or die $!;
    chown $uid, -1, "$folder/theirs" or die $!;
    my $text = read_file($config) =~ s{\Q$folder\E/store/}{$folder/theirs/}r;
    write_file("$folder/theirs.conf", $text);
    for my $command ([ 'migrate' ], [ 'account', 'freeze', 'user_x' ], [ 'verify' ]) {
        my ($code, $out, $err) = program({}, '', "$folder/out", "$build/spendgate", '--config', "$folder/theirs.conf", @$command);
        is $code, 0, "root runs @$command" or diag $err;
        my @others = grep { (stat)[4] != $uid } glob "$folder/theirs/*";
        is "@others", '', 'and every file belongs to the owner of the folder';
    }
}

$cluster->drop($database) if $cluster;
done_testing;

# SPDX-License-Identifier: MIT
# spendgate import agentkey: a table as agentkey's own migration makes it, in a real PostgreSQL, taken over into both kinds
# of store: limits, what was used, expiry, revocation; what cannot be taken over is told; again and again, nothing counts
# twice.
# store: sqlite (it imports into both kinds of store by itself)
use strict;
use warnings;
use Cwd qw(abs_path);
use FindBin qw($Bin);
use File::Temp qw(tempdir);
use JSON::PP;
use POSIX ();
use Test::More;
use Time::HiRes qw(time);

use lib "$Bin/lib";
use Spendgate::Postgres;

my $build = abs_path($ENV{SPENDGATE_BUILD} // '.');
-x "$build/spendgate" or BAIL_OUT("spendgate is not built in $build: say where in SPENDGATE_BUILD");
my $folder  = tempdir('spendgate-import-XXXXXX', TMPDIR => 1, CLEANUP => 1);
my $json    = JSON::PP->new->utf8;
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

sub program {
    my ($environment, @command) = @_;
    my $pid = fork // die "fork: $!";
    if ($pid == 0) {
        delete @ENV{qw(SPENDGATE_STORE_URL SPENDGATE_CONFIG SUDO_USER)};
        @ENV{ keys %$environment } = values %$environment;
        open STDIN,  '<', '/dev/null' or POSIX::_exit(126);
        open STDOUT, '>', "$folder/out" or POSIX::_exit(126);
        open STDERR, '>', "$folder/err" or POSIX::_exit(126);
        exec { $command[0] } @command or POSIX::_exit(127);
    }
    waitpid $pid, 0;
    my $code = $? & 127 ? 128 + ($? & 127) : $? >> 8;
    return ($code, read_file("$folder/out"), read_file("$folder/err"));
}

my $config;
sub cli { my (@arguments) = @_; return program({}, "$build/spendgate", '--config', $config, @arguments) }

sub as_json {
    my (@arguments) = @_;
    my ($code, $out, $err) = cli(@arguments, '--json');
    is $code, 0, "@arguments[0, 1]: done" or diag $out, $err;
    return eval { $json->decode($out) } // {};
}

sub budget {
    my ($account, $period) = @_;
    my ($found) = grep { $_->{period} eq $period } @{ as_json('account', 'show', $account)->{budgets} };
    return $found // {};
}

# ---- agentkey's table --------------------------------------------------------------------------------

# As agentkey's test and its migrate() make it.
my $table = <<'END';
CREATE TABLE sdk_api_keys (
    id SERIAL PRIMARY KEY, account_id TEXT, key_hash TEXT NOT NULL UNIQUE, key_prefix TEXT NOT NULL,
    name TEXT NOT NULL DEFAULT 'default', created_at TIMESTAMPTZ DEFAULT NOW(), last_used_at TIMESTAMPTZ, revoked_at TIMESTAMPTZ);
ALTER TABLE sdk_api_keys ADD COLUMN user_id TEXT, ADD COLUMN scopes TEXT[], ADD COLUMN budget_cents INTEGER,
    ADD COLUMN budget_used_cents INTEGER DEFAULT 0, ADD COLUMN budget_period TEXT, ADD COLUMN budget_reset_at TIMESTAMPTZ,
    ADD COLUMN expires_at TIMESTAMPTZ, ADD COLUMN delegated_by TEXT, ADD COLUMN external_subject TEXT;
CREATE UNIQUE INDEX sdk_api_keys_external_subject_key ON sdk_api_keys (external_subject) WHERE external_subject IS NOT NULL;
END
my $next_month = POSIX::strftime('%Y-%m-01T00:00:00Z', gmtime(POSIX::mktime(0, 0, 12, 1, (gmtime)[4] + 1, (gmtime)[5])));
my $rows = <<"END";
INSERT INTO sdk_api_keys (id, key_hash, key_prefix, external_subject, scopes, budget_cents, budget_used_cents, budget_period, budget_reset_at, expires_at, revoked_at, created_at) VALUES
(1, 'h1', 'p', 'user_month', NULL, 5000, 1234, 'month', '$next_month', NULL, NULL, now()),
(2, 'h2', 'p', 'user_day', '{proxy.chat,usage.read}', 300, 100, 'day', date_trunc('day', now() at time zone 'UTC') at time zone 'UTC' + interval '1 day', NULL, NULL, now()),
(3, 'h3', 'p', 'org_lifetime', NULL, 100000, 6000, NULL, NULL, '2031-02-03T04:05:06+01', NULL, '2025-03-04T00:00:00Z'),
(4, 'h4', 'p', 'user_unlimited', '{admin}', NULL, 700, 'month', '$next_month', NULL, NULL, now()),
(5, 'h5', 'p', 'user_over', NULL, 2000, 2000, 'month', now() - interval '1 hour', NULL, NULL, now()),
(6, 'h6', 'p', NULL, NULL, 900, 100, 'month', '$next_month', NULL, NULL, now()),
(7, 'h7', 'p', 'mch_revoked', NULL, 0, 0, 'month', '$next_month', '2020-01-01', '2026-01-01', now()),
(8, 'h8', 'p', 'user_weekly', NULL, 400, 50, 'week', now() + interval '3 days', NULL, NULL, now()),
(9, 'h9', 'p', 'all', NULL, 400, 50, 'month', '$next_month', NULL, NULL, now()),
(10, 'h10', 'p', 'user_late', NULL, 1000, 250, 'month', now() + interval '40 days', 'infinity', NULL, now()),
(11, 'h11', 'p', 'user_minus', '{}', -5, NULL, 'month', '$next_month', NULL, NULL, now()),
(12, 'h12', 'p', 'user with spaces', NULL, 100, 0, 'month', NULL, NULL, NULL, now());
END

sub agentkey {
    my (@statements) = @_;
    my $database = $cluster->database;
    $cluster->sql($database, "SET search_path = public; $_") for @statements;
    return ($database, $cluster->url($database, $cluster->owner));
}

# ---- into both kinds of store ------------------------------------------------------------------------

for my $kind (qw(sqlite postgresql)) {
    my $store = $kind eq 'sqlite' ? "sqlite:$folder/store.db" : $cluster->url(my $database = $cluster->database);
    $config = write_file("$folder/$kind.conf", <<"END");
store { url = "$store" }
cache { path = "$folder/$kind.cache" }
plan "free" {
    budget "month" { limit_usd = "10"  period = "month"  timezone = "UTC" }
    budget "day"   { limit_usd = "20"  period = "day"  timezone = "UTC" }
}
plan "big" { budget "year" { limit_usd = "100000"  period = "year" } }
default_plan = "free"
END
    my ($code, $out, $err) =
      program($kind eq 'sqlite' ? {} : { SPENDGATE_STORE_URL => $cluster->url($database, $cluster->owner) },
        "$build/spendgate", '--config', $config, 'migrate');
    is $code, 0, "$kind: migrate" or diag $err;
    my ($source, $url) = agentkey($table, $rows);

    # What would be done is what is done, and nothing of it is done.
    my $dry = as_json('import', 'agentkey', $url, '--dry-run');
    is_deeply [ @{$dry}{qw(row_count carried accounts_made limits_set expiries_set revoked counted_usd)}, $dry->{dry_run} ? 1 : 0 ],
      [ 12, 9, 9, 6, 2, 1, '82.84', 1 ], "$kind: --dry-run says what it would do";
    is_deeply [ map { $_->{account} } @{ as_json('account', 'list')->{accounts} } ], ['all'], "$kind: and does nothing";
    my $done = as_json('import', 'agentkey', $url);
    is_deeply $done->{rows}, $dry->{rows}, "$kind: then it does just that";
    my %row = map { $_->{row} => $_ } @{ $done->{rows} };

    my $month = budget('user_month', 'month');
    is_deeply [ @{$month}{qw(limit_usd spent_usd enforce origin)} ], [ '50', '12.34', 'hard', 'hand' ], "$kind: a month's budget and what was used of it";
    is_deeply $row{1}{notes}, [], "$kind: with the same bounds, and NULL for all scopes, there is nothing to tell";
    is budget('user_month', 'day')->{limit_usd}, '20', "$kind: the plan's other budgets hold as well";
    is_deeply [ @{ budget('user_day', 'day') }{qw(limit_usd spent_usd)} ], [ '3', '1' ], "$kind: a day's";
    is_deeply [ @{ budget('user_day', 'month') }{qw(limit_usd spent_usd)} ], [ '10', '1' ], "$kind: which is of the plan's month, too";
    like "@{ $row{2}{notes} }", qr/\Ahas the scopes proxy\.chat usage\.read there; here its plan gives them\z/, "$kind: scopes of a key are told";
    is_deeply [ @{ budget('org_lifetime', 'none') }{qw(limit_usd spent_usd resets_at)} ], [ '1000', '60', undef ], "$kind: one that is never reset";
    # An organization that never asked as a subject has no line of a subject's budgets yet.
    is budget('org_lifetime', 'month')->{spent_usd} // '0', '0', "$kind: of which nothing counts in this month";
    is as_json('account', 'show', 'org_lifetime')->{expires_at}, '2031-02-03T03:05:06Z', "$kind: expires as it did";
    my $unlimited = as_json('account', 'show', 'user_unlimited');
    is_deeply [ grep { $_->{origin} eq 'hand' } @{ $unlimited->{budgets} } ], [], "$kind: no budget is no limit set by hand";
    is budget('user_unlimited', 'month')->{spent_usd}, '7', "$kind: but what was used counts";
    is "@{ $row{4}{notes} }", q{has no budget there (unlimited); here its plan's limits hold}, "$kind: which is told; admin is all scopes";
    is budget('user_over', 'month')->{spent_usd}, '0', "$kind: what was used in a period that is over is forgotten, as there";
    is "$row{6}{carried} @{ $row{6}{notes} }", '0 is a key of agentkey\'s own, which Clerk does not know: its owner needs a key from Clerk', "$kind: a key that is not Clerk's is told";
    my $revoked = as_json('account', 'show', 'mch_revoked');
    is $revoked->{expires_at}, '2020-01-01T00:00:00Z', "$kind: one that has expired has";
    is_deeply [ @{ budget('mch_revoked', 'month') }{qw(limit_usd remaining_usd)} ], [ '0', '0' ], "$kind: a budget of 0 is one";
    like +(cli('explain', '--subject', 'mch_revoked', '--path', '/'))[1], qr/revoked/, "$kind: and one that was revoked is refused";
    like "@{ $row{8}{notes} }", qr/its period 'week' is unknown: no limit was set; it is \$4\.00 there \$0\.50 that it used was not counted/, "$kind: an unknown period is told";
    is "$row{9}{carried} @{ $row{9}{notes} }", q{0 its external_subject is no subject of Clerk's}, "$kind: nobody sets a limit for all";
    like "@{ $row{10}{notes} }", qr/\Aits month ends there at \S+Z, here at \Q$next_month\E \(UTC\)\z/, "$kind: another end of the period is told";
    is as_json('account', 'show', 'user_late')->{expires_at}, undef, "$kind: infinity is never";
    like "@{ $row{11}{notes} }", qr/\Aits budget '-5' is no amount of cents: no limit was set has no scope there/, "$kind: a budget that is none is told";
    is "$row{12}{carried}", '0', "$kind: a name that no account can have";
    ($code, $out, $err) = cli('verify');
    like $out, qr/Differences: 0/, "$kind: the books are in order" or diag $out, $err;

    # Again: nothing is done twice, and nothing of what was decided here is undone.
    my $again = as_json('import', 'agentkey', $url);
    is_deeply [ @{$again}{qw(carried accounts_made limits_set expiries_set revoked counted_usd)} ], [ 9, 0, 0, 0, 0, '0' ], "$kind: again, nothing is done";
    cli('account', 'unrevoke', 'mch_revoked');
    cli('budget', 'set', 'user_month', 'month', '77');
    cli('account', 'renew', 'org_lifetime', '--until', '2040-01-01');
    cli('charge', 'refund', as_json('charge', 'list', '--account', 'user_day')->{charges}[0]{charge_id});
    $cluster->sql($source, 'SET search_path = public; UPDATE sdk_api_keys SET budget_used_cents = budget_used_cents + 66 WHERE id = 1');
    $cluster->sql($source, 'SET search_path = public; UPDATE sdk_api_keys SET budget_used_cents = 10 WHERE id = 4');
    my $later = as_json('import', 'agentkey', $url);
    %row = map { $_->{row} => $_ } @{ $later->{rows} };
    is $later->{counted_usd}, '0.66', "$kind: what was used meanwhile is added";
    is_deeply [ @{ budget('user_month', 'month') }{qw(limit_usd spent_usd)} ], [ '77', '13' ], "$kind: a limit that was set here is left";
    like "@{ $row{1}{notes} }", qr/\Amay spend \$50\.00 a month there; the limit of \$77\.00 that was set by hand here was left as it is\z/, "$kind: and told";
    like "@{ $row{3}{notes} }", qr/expires there at 2031\S+; that it expires here at 2040\S+ was left as it is/, "$kind: so is an expiry";
    like "@{ $row{7}{notes} }", qr/is revoked there and not here: `spendgate account revoke mch_revoked'/, "$kind: and that it was let in again";
    like "@{ $row{4}{notes} }", qr/\$0\.10 is used there; the \$7\.00 that was counted here before was left as it is/, "$kind: nothing is taken back";
    is budget('user_day', 'day')->{spent_usd}, '0', "$kind: and a refund stays one";
    is as_json('import', 'agentkey', $url)->{counted_usd}, '0', "$kind: once more, nothing";

    # A new period there is counted anew.
    $cluster->sql($source, "SET search_path = public; UPDATE sdk_api_keys SET budget_used_cents = 11, budget_reset_at = budget_reset_at + interval '1 second' WHERE id = 1");
    is as_json('import', 'agentkey', $url)->{counted_usd}, '0.11', "$kind: a new period there counts anew";
    ($code, $out) = cli('verify');
    like $out, qr/Differences: 0/, "$kind: the books are in order in the end" or diag $out;

    # Four at once, on a fresh store: each row once.
    my ($fresh, $fresh_url) = agentkey($table, "INSERT INTO sdk_api_keys (key_hash, key_prefix, external_subject, budget_cents, budget_used_cents, budget_period, budget_reset_at)"
          . " SELECT 'h' || i, 'p', 'user_at_once_' || i, 1000, 10, 'month', '$next_month' FROM generate_series(1, 40) i");
    my @children = map {
        my $pid = fork // die "fork: $!";
        if ($pid == 0) {
            open STDOUT, '>', "$folder/once.$_" or POSIX::_exit(126);
            open STDERR, '>&', \*STDOUT;
            exec "$build/spendgate", '--config', $config, 'import', 'agentkey', $fresh_url or POSIX::_exit(127);
        }
        $pid
    } 1 .. 4;
    my @codes = map { waitpid $_, 0; $? >> 8 } @children;
    is "@codes", '0 0 0 0', "$kind: four imports at once" or diag map { read_file("$folder/once.$_") } 1 .. 4;
    my %spent;
    $spent{ $_->{account} } += $_->{cost_usd} for grep { $_->{account} =~ /at_once/ } @{ as_json('charge', 'list', '--limit', '1000')->{charges} };
    is_deeply [ scalar keys %spent, [ grep { abs($_ - 0.1) > 1e-9 } values %spent ] ], [ 40, [] ], "$kind: count each row once";
    ($code, $out) = cli('verify');
    like $out, qr/Differences: 0/, "$kind: and the books are in order" or diag $out;

    # With a plan of its own choice; in words.
    my ($words, $words_url) = agentkey($table, $rows =~ s/'user_month'/'user_words'/r);
    ($code, $out, $err) = cli('import', 'agentkey', $words_url, '--plan', 'big', '--note', 'moving house');
    is $code, 0, "$kind: in words" or diag $err;
    like $out, qr/^2  user_day  has the scopes proxy\.chat usage\.read there; here its plan gives them$/m, "$kind: a line for each thing to tell";
    like $out, qr/^12 rows, 9 carried over: 1 accounts made, 1 limits and 0 expiries set, 0 revoked, \$14\.84 counted as used\.$/m, "$kind: and what was done (user_late: another period than before)";
    is as_json('account', 'show', 'user_words')->{plan}, 'big', "$kind: with the plan that was named";
    is budget('user_words', 'year')->{spent_usd}, '12.34', "$kind: whose budgets count, too";
}

# ---- what goes wrong ---------------------------------------------------------------------------------

$config = "$folder/sqlite.conf";
sub refuses {
    my ($name, $want_code, $want, @arguments) = @_;
    my ($code, $out, $err) = cli('import', 'agentkey', @arguments);
    is $code, $want_code, "$name: exit code" or diag $out, $err;
    like $err, $want, "$name: says why";
    unlike "$out$err", qr/geheim/, "$name: and no password";
    return;
}
my ($empty) = agentkey('SELECT 1');
my ($older) = agentkey($table =~ s/, ADD COLUMN external_subject TEXT//r =~ s/^CREATE UNIQUE.*//mr);
my ($odd) = agentkey('CREATE TABLE sdk_api_keys (id uuid, external_subject text, budget_cents numeric(12,2), budget_used_cents bigint, budget_period varchar(9))',
    "INSERT INTO sdk_api_keys VALUES ('00000000-0000-0000-0000-00000000000a', 'user_odd', 12.50, 3, 'month')");
refuses('no url', 2, qr/the url begins with postgresql:/, 'mysql://x/y');
refuses('no such plan', 2, qr/the settings have no plan 'gold'/, $cluster->url($odd, 'postgres'), '--plan', 'gold');
refuses('no such host', 1, qr/cannot connect: /, 'postgresql://me:geheim@127.0.0.1:1/x');
refuses('a url that cannot be read', 1, qr/the url cannot be read/, 'postgresql://me:geheim%zz@h/x');
refuses('no such table', 1, qr/has no table sdk_api_keys/, $cluster->url($empty, 'postgres'));
refuses('an older table', 1, qr/has no column external_subject: run agentkey's own migrate\(\) first/, $cluster->url($older, 'postgres'));
$cluster->sql($odd, 'CREATE ROLE stranger LOGIN');
refuses('no right to read', 1, qr/permission denied.*42501/, $cluster->url($odd, 'stranger'));
my $got = as_json('import', 'agentkey', $cluster->url($odd, 'postgres'));
is_deeply [ @{ budget('user_odd', 'month') }{qw(limit_usd spent_usd)} ], [ '0.125', '0.03' ], 'other types, and columns that are not there, are fine';
is "@{ $got->{rows}[0]{notes} }", 'its budget is never reset there, for it lacks the time; here it is each month', 'what they lack is told';

# A password in the url does not stay in the list of processes.
{
    $cluster->sql($odd, "INSERT INTO sdk_api_keys SELECT gen_random_uuid(), 'user_many_' || i, 100, 1, 'month' FROM generate_series(1, 600) i");
    my $pid = fork // die "fork: $!";
    if ($pid == 0) {
        open STDOUT, '>', '/dev/null';
        exec "$build/spendgate", '--config', $config, 'import', 'agentkey', $cluster->url($odd, 'postgres', '&password=geheim') or POSIX::_exit(127);
    }
    my ($seen, $title) = (0, '');
    my $end = time + 60;
    while (time < $end && waitpid($pid, POSIX::WNOHANG()) == 0) {
        $title = read_file("/proc/$pid/cmdline");
        $seen++ if $title =~ /agentkey\0x+\0/;
    }
    is $? >> 8, 0, 'six hundred rows';
    cmp_ok $seen, '>', 0, 'with the url hidden from the list of processes';
    my $many = as_json('account', 'list', '--limit', '10000')->{accounts};
    is scalar(grep { $_->{account} =~ /user_many_/ } @$many), 600, 'are all here';
}

done_testing;

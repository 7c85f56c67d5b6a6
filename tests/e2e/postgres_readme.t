# SPDX-License-Identifier: MIT
# "Several web servers: PostgreSQL" of README.md, every line as pasted: a host that began with SQLite moves to a server of
# the section's making, with its roles, TLS, PgBouncer, a second server that takes over, the daily commands, and a backup
# that is put back. Only names and addresses are others; apt-get, systemctl and runuser are stand-ins that mean our cluster.
# store: postgresql (it begins on SQLite by itself)
use strict;
use warnings;
use FindBin qw($Bin);
use lib "$Bin/lib";
BEGIN { $ENV{SPENDGATE_E2E_STORE} = 'sqlite' }
use File::Temp ();
use Spendgate::E2E;
use Spendgate::Postgres;
use Spendgate::TLS;
use Test::More;
use Time::HiRes qw(sleep time);

# ---- the section ------------------------------------------------------------------------------------

my $readme = do { local (@ARGV, $/) = ("$Bin/../../README.md"); <> };
my ($section) = $readme =~ /^## Several web servers: PostgreSQL\n(.*?)^## /ms or die "README.md has no such section\n";
my @blocks = map { s/^    //gmr } $section =~ /^((?:    .*\n)+)/mg;
my %part;
@part{qw(server password settings migrate move urls daily)} = @blocks;
is scalar @blocks, 7, 'seven blocks to paste' or die join "----\n", @blocks;

# ---- two servers with TLS, and a host ---------------------------------------------------------------

my $gate = Spendgate::E2E->new;
my $tls = Spendgate::TLS->new($gate);
$tls->certificate('server', '127.0.0.1');
my @ports = map { Spendgate::E2E::free_port() } 1 .. 3;    # db1, db2, PgBouncer
$ENV{PGPORT} = $ports[0];
my $keys = File::Temp::tempdir('spendgate-readme.XXXXXX', TMPDIR => 1, CLEANUP => 1);
chmod 0755, $keys;
my ($uid, $gid) = (getpwnam 'postgres')[ 2, 3 ];
for my $name (qw(server.crt server.key)) {
    system('cp', $gate->path("tls/$name"), "$keys/$name") == 0 or die "cp: $?";
    chmod 0600, "$keys/$name";
    $> != 0 or chown $uid, $gid, "$keys/$name" or die "chown: $!";
}
# As Debian's package leaves it: no address but this machine's, TLS on.
my $cluster = Spendgate::Postgres->new(settings => "port = $ports[0]\nssl = on\nssl_cert_file = '$keys/server.crt'\nssl_key_file = '$keys/server.key'\n");

$gate->write_file('bin/apt-get', qq{#!/bin/sh\necho "\$*" >>'@{[ $gate->path('tmp/apt') ]}'\n}, 0755);
$gate->write_file('bin/systemctl', qq{#!/bin/sh\n[ "\$*" = "restart postgresql" ] && : >'@{[ $gate->path('tmp/restart') ]}'\n}, 0755);
$gate->write_file('bin/runuser', <<"END", 0755);
#!/bin/sh
[ "\$1 \$2 \$3" = "-u postgres --" ] || exit 1
shift 3
exec env PGHOST='@{[ $cluster->folder ]}' PGUSER=postgres "\$@"
END
$gate->write_file('bin/chown', "#!/bin/sh\nexit 0\n", 0755) if $> != 0;    # the files are ours already

# What differs between there and here.
sub here {
    my ($text) = @_;
    my $folder = $gate->folder;
    my ($web, $user) = ($gate->port // 9, $gate->{user} // 'www-data');
    for ($text) {
        s{/etc/spendgate/db-ca\.pem}{$folder/tls/certs/ca-certificates.crt}g;
        s{/etc/spendgate/}{$folder/etc/}g;
        s{/var/lib/spendgate/}{$folder/store/}g;
        s{10\.0\.0\.0/24}{127.0.0.1/32}g;
        s{10\.0\.0\.10}{127.0.0.1}g;
        s{\bdb1:6432\b}{127.0.0.1:$ports[2]}g;
        s{\bdb([12])\b(?=[,/])}{"127.0.0.1:$ports[$1 - 1]"}ge;
        s{http://127\.0\.0\.1/}{http://127.0.0.1:$web/};
        s{\bwww-data\b}{$user}g;
    }
    return $text;
}

# Paste lines into a shell, as root on that machine: what they printed.
my $owner = '';
sub paste {
    my ($name, $lines) = @_;
    my $out = $gate->path('tmp/pasted');
    my $pid = fork // die "fork: $!";
    if ($pid == 0) {
        my $port = $ENV{PGPORT};
        $gate->_clean_environment(SPENDGATE_CONFIG => $gate->config, PGPORT => $port);
        delete @ENV{qw(PGHOST PGUSER PGDATABASE)};
        $ENV{PATH} = $gate->path('bin') . ":$ENV{PATH}";
        chdir $gate->path('tmp') or die "chdir: $!";
        open STDIN, '<', '/dev/null';
        open STDOUT, '>', $out or die "$out: $!";
        open STDERR, '>&', \*STDOUT;
        exec 'bash', '-e', '-o', 'pipefail', '-c', $owner . here($lines) or die "bash: $!";
    }
    waitpid $pid, 0;
    my $said = $gate->read_file('tmp/pasted');
    is $?, 0, "$name: pasted" or die "$lines\n$said\n" . $cluster->server_log . $gate->logs;
    return $said;
}

# ---- it begins with SQLite --------------------------------------------------------------------------

$gate->start_web('lighttpd-sockets');
my $subject = $gate->subject('ann');
my $key = $gate->key(subject => $subject);
my $admitted = sub {
    my ($name) = @_;
    my $answer = $gate->decided('GET', '/api/env.pl', key => $key);
    is $answer->{status}, 200, "$name: a request" or diag $gate->logs;
    return JSON::PP::decode_json($answer->{body})->{env};
};
my $waiting = $admitted->('on SQLite')->{SPENDGATE_HOLD_ID};
my ($status, $answer) = $gate->spend(subject => $subject, cost_usd => '0.25');
is $status, 200, 'a charge before the move';
my $charge = $answer->{charge_id};
$gate->stop($_) for qw(authorizer tracker);

# ---- the move ---------------------------------------------------------------------------------------

paste('the server', $part{server});
is $gate->read_file('tmp/apt'), "install postgresql\n", 'the package';
ok -e $gate->path('tmp/restart'), 'the server is to be restarted';
$cluster->stop;
$cluster->start;
is $cluster->sql('postgres', 'SHOW listen_addresses'), "localhost,127.0.0.1\n", 'and listens on its address';

paste('the password', $part{password});
my ($mode) = (stat $gate->path('etc/pgpass'))[2];
is sprintf('%04o', $mode & 07777), '0600', 'nobody else reads the password';
my ($url) = $part{settings} =~ /\Astore \{ url = "([^"]+)" \}\n\z/ or die "settings: $part{settings}\n";
my $settings = sub {
    $gate->{option}{url} = here($_[0]);
    return $gate->write_settings;
};
$settings->($url);
my ($owner_line, $migrate) = $part{migrate} =~ /\A(owner='.*'\n)(.*)\z/s or die "migrate: $part{migrate}\n";
$owner = here($owner_line);
my $doctor = paste('the tables', $migrate);
like $doctor, qr/may do what the programs need, and not change the schema/, 'doctor: the rights';
like $doctor, qr/the partitions of this month and the next are there/, 'doctor: the partitions';
unlike $doctor, qr/-secret/, 'doctor: no password';
my $moved = paste('the move', $part{move});
like $moved, qr/rows loaded/, 'everything was loaded';

sub up {
    my ($name) = @_;
    for my $program (qw(tracker authorizer)) {
        my $start = "start_$program";
        $gate->$start;
    }
    $admitted->($name);
    return;
}
sub down { $gate->stop($_) for qw(authorizer tracker); return }

up('on PostgreSQL');
($status, $answer) = $gate->spend(hold_id => $waiting, subject => $subject, cost_usd => '0.03');
is "$status $answer->{hold}", '200 settled', 'the hold that waited is settled after the move';
is $gate->budget($subject)->{spent_usd}, '0.28', 'what was spent before counts';
my $connections = $cluster->sql('postgres', "SELECT DISTINCT usename, ssl FROM pg_stat_activity JOIN pg_stat_ssl USING (pid) WHERE datname = 'spendgate' AND usename <> 'postgres'");
is $connections, "spendgate t\n", 'the programs log in as the role of the programs, by TLS';
sub may {
    my ($role, $secret, $statement) = @_;
    local @ENV{qw(PGHOST PGSSLMODE PGPASSWORD)} = ('127.0.0.1', 'require', $secret);
    my $psql = Spendgate::Postgres::program('psql');
    return qx($psql -XAt -U $role -d spendgate -c "$statement" 2>&1);
}
like may('spendgate', 'web-secret', 'UPDATE spendgate.charge SET amount_nanos = 0'), qr/permission denied/, 'that role may not change a charge';
like may('spendgate', 'web-secret', 'CREATE TABLE spendgate.x (y integer)'), qr/permission denied/, 'nor make a table';
is may('reports', 'reports-secret', 'SELECT count(*) FROM spendgate.charge'), "2\n", 'the other one reads';
like may('reports', 'reports-secret', 'DELETE FROM spendgate.account'), qr/permission denied/, 'and changes nothing';
like may('reports', 'wrong', 'SELECT 1'), qr/password authentication failed/, 'with its password';
like qx(PGHOST=127.0.0.1 PGSSLMODE=disable PGPASSWORD=web-secret @{[ Spendgate::Postgres::program('psql') ]} -U spendgate -d spendgate -c 'SELECT 1' 2>&1), qr/no pg_hba.conf entry.*no encryption/, 'and nobody without TLS';

# ---- two servers, and one that takes over -----------------------------------------------------------

my ($two_servers, $pooled) = split /\n/, $part{urls};
# A standby knows no serializable transactions, which our clusters have by default.
my $standby = Spendgate::Postgres->new(
    copy_of  => [ $cluster, 'db2' ],
    settings => "port = $ports[1]\ndefault_transaction_isolation = 'read committed'\n"
      . "primary_conninfo = 'host=@{[ $cluster->folder ]} port=$ports[0] user=postgres application_name=db2'\n",
);
down();
$settings->($two_servers);
up('two servers');
like paste('reports from the standby', $part{daily} =~ /^(SPENDGATE_STORE_URL=.*)\z/ms ? $1 : die), qr/0\.28/, 'the report has what was spent';

# ---- every day --------------------------------------------------------------------------------------

my ($every_day) = $part{daily} =~ /\A(.*?)^SPENDGATE_STORE_URL=/ms or die "daily: $part{daily}\n";
my $said = paste('every day', $every_day);
like $said, qr/\A\{"status":"ready","store":"ok"/, 'readyz answers';
my $dump = $gate->path('tmp/spendgate.dump');
cmp_ok -s $dump, '>', 1000, 'a backup';
is system($gate->path('bin/runuser') . " -u postgres -- createdb spendgate_back && "
    . $gate->path('bin/runuser') . " -u postgres -- pg_restore -d spendgate_back $dump"), 0, 'is put back into an empty database';
my $back = here($url) =~ s{/spendgate\?}{/spendgate_back?}r;
$gate->write_file('etc/pgpass', $gate->read_file('etc/pgpass') . "*:*:spendgate_back:spendgate:web-secret\n", 0600);
my $hba = $cluster->folder . '/data/pg_hba.conf';
open my $file, '>>', $hba or die "$hba: $!";
print {$file} "hostssl spendgate_back spendgate 127.0.0.1/32 scram-sha-256\n";
close $file;
$cluster->sql('postgres', 'SELECT pg_reload_conf()');
my ($code, $out, $err) = $gate->cli({ env => { SPENDGATE_STORE_URL => $back, PGPORT => $ports[0] } }, 'verify');
is $code, 0, 'and the books in it are right' or diag $out, $err;
($code, $out) = $gate->cli({ env => { SPENDGATE_STORE_URL => $back, PGPORT => $ports[0] } }, 'charge', 'list');
like $out, qr/\Q$charge\E/, 'with every charge';

# ---- the store is away, and comes back on the other server ------------------------------------------

$cluster->stop('immediate');
my ($curl) = $part{daily} =~ /^(curl .*)$/m;
my $curled = system('bash', '-c', '{ ' . here($curl) . "\n} >/dev/null 2>&1");
cmp_ok $curled >> 8, '>', 0, 'readyz fails while no server takes writes';
$standby->promote;
my $end = time + 20;
my $decided;
do { sleep 0.1; $decided = $gate->decided('GET', '/api/env.pl', key => $key) } until $decided->{status} == 200 || time > $end;
is $decided->{status}, 200, 'the other server took over';
is $gate->budget($subject)->{spent_usd}, '0.28', 'with what was spent';
down();

# ---- PgBouncer --------------------------------------------------------------------------------------

like $section, qr/PgBouncer with `pool_mode = transaction`/, 'how PgBouncer is to be set';
like $section, qr/`max_prepared_statements = 200`/, 'and a new one';
$ENV{PGPORT} = $ports[1];
$gate->write_file('etc/pooler.users', qq("spendgate" "web-secret"\n), 0644);
$standby->start_pooler(
    server => 'host=' . $standby->folder . " port=$ports[1]", listen_addr => '127.0.0.1', listen_port => $ports[2], default_pool_size => 3,
    auth_type => 'scram-sha-256', auth_file => $gate->path('etc/pooler.users'),
    client_tls_sslmode => 'require', client_tls_cert_file => "$keys/server.crt", client_tls_key_file => "$keys/server.key",
);
$settings->($pooled);
up('PgBouncer');
($status, $answer) = $gate->spend(subject => $subject, cost_usd => '0.02');
is $status, 200, 'a charge through PgBouncer' or diag $gate->logs;
($code, $out, $err) = $gate->cli('verify');
is $code, 0, 'and the books are right' or diag $out, $err;
done_testing;

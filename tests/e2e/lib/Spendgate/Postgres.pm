# SPDX-License-Identifier: MIT
package Spendgate::Postgres;

# A PostgreSQL cluster in a throwaway folder, on a unix socket only, and databases of Spendgate in it. For the tests
# that run on PostgreSQL: one cluster for the whole run (./check.sh starts it, tests/e2e/postgres), or one of its own for
# a test file run by itself, or for a test that stops its server or moves its clock.
#
#     my $cluster = Spendgate::Postgres->new;              # initdb, started
#     my $database = $cluster->database;                   # an empty one, with the role of the programs in it
#     $cluster->url($database, $cluster->owner);           # for `spendgate migrate`
#     $cluster->sql($database, 'SELECT ...');              # rows as lines, columns separated by spaces
#
# The server is stopped, and its folder removed, when the object goes and when we are killed: a watcher holds a pipe.
use strict;
use warnings;

use Carp qw(confess);
use File::Path qw(remove_tree);
use File::Temp ();
use POSIX ();
use Scalar::Util qw(weaken);
use Time::HiRes qw(sleep time);

use constant {
    START_SECONDS => 60,
    SITE          => 'spendgate_site',    # the login role of the programs
};

my %alive;

# Durable answers must not lean on a server's defaults: it has synchronous_commit = off, and writes its log late.
my $settings = <<'END';
listen_addresses = ''
unix_socket_permissions = 0777
max_connections = 300
shared_buffers = 64MB
synchronous_commit = off
wal_writer_delay = 10s
default_transaction_isolation = 'serializable'
log_min_messages = warning
log_line_prefix = '%m %p %d %e '
autovacuum_naptime = 5s
END
my $access = <<'END';
local all all trust
local replication all trust
END

# The newest PostgreSQL of Debian.
sub program {
    my ($name) = @_;
    my ($found) = sort { $b->[0] <=> $a->[0] } map { m{/(\d+)/bin/} ? [ $1, $_ ] : () } glob "/usr/lib/postgresql/*/bin/$name";
    return $found ? $found->[1] : confess "there is no $name in /usr/lib/postgresql; install postgresql";
}

# The cluster of this run, if somebody started one (tests/e2e/postgres); else one of this process.
my $shared;
sub shared {
    my ($class) = @_;
    return $shared //= $ENV{SPENDGATE_E2E_CLUSTER} ? $class->_theirs($ENV{SPENDGATE_E2E_CLUSTER}) : $class->new;
}

sub _theirs { my ($class, $folder) = @_; return bless { folder => $folder, theirs => 1, owner => $$ }, $class }

# new(folder => FOLDER, env => {...}, settings => TEXT, copy_of => [CLUSTER, NAME]): a new cluster that runs. With
# copy_of it is a standby of that one, with NAME as its application_name. With keep, FOLDER stays, and the cluster that an
# earlier one left there is taken up.
sub new {
    my ($class, %option) = @_;
    my $self = bless { option => \%option, owner => $$ }, $class;
    $self->{folder} = $option{folder} // File::Temp::tempdir('spendgate-pg.XXXXXX', TMPDIR => 1);
    chmod 0755, $self->{folder} or confess "$self->{folder}: $!";
    if ($> == 0) {
        my ($name) = grep { defined getpwnam $_ } qw(postgres nobody);
        @{$self}{qw(uid gid)} = (getpwnam $name)[ 2, 3 ];
        chown $self->{uid}, $self->{gid}, $self->{folder} or confess "$self->{folder}: $!";
    }
    $alive{$self} = $self;
    weaken($alive{$self});
    $self->_start_watcher;
    my $left_behind = $option{keep} && -e "$self->{folder}/data/PG_VERSION";
    $option{copy_of} ? $self->_copy(@{ $option{copy_of} }) : $self->_initialise unless $left_behind;
    $self->start;
    $self->_make_role unless $option{copy_of} || $left_behind;
    return $self;
}

sub _initialise {
    my ($self) = @_;
    my $data = "$self->{folder}/data";
    $self->_run(program('initdb'), '-D', $data, qw(-A trust -U postgres -E UTF8 --no-locale --no-sync));
    _append("$data/postgresql.conf", $settings . ($self->{option}{settings} // ''));
    _append("$data/pg_hba.conf", $access, '>');
    return;
}

sub _copy {
    my ($self, $primary, $name) = @_;
    my $data = "$self->{folder}/data";
    $self->_run(program('pg_basebackup'), '-D', $data, '-h', $primary->folder, qw(-U postgres -c fast -X stream --no-sync));
    _append("$data/standby.signal", '', '>');
    chown $self->{uid}, $self->{gid}, "$data/standby.signal" if defined $self->{uid};
    _append("$data/postgresql.conf",
        "primary_conninfo = 'host=$primary->{folder} user=postgres application_name=$name'\n" . ($self->{option}{settings} // ''));
    return;
}

sub _append {
    my ($path, $text, $mode) = @_;
    open my $file, $mode // '>>', $path or confess "$path: $!";
    print {$file} $text;
    close $file or confess "$path: $!";
    return;
}

# In a child: as the cluster's user, with its output in a file of the folder.
sub _become {
    my ($self) = @_;
    if (defined $self->{uid}) {
        $) = "$self->{gid} $self->{gid}";
        $( = $self->{gid};
        $< = $> = $self->{uid};
        die "cannot become the cluster's user\n" if $> != $self->{uid} || $< != $self->{uid};
    }
    chdir $self->{folder} or die "$self->{folder}: $!\n";
    open STDIN,  '<',  '/dev/null' or die "/dev/null: $!\n";
    open STDOUT, '>>', 'commands.log' or die "commands.log: $!\n";
    open STDERR, '>&', \*STDOUT or die "stderr: $!\n";
    return;
}

sub _run {
    my ($self, @command) = @_;
    local $?;
    my $pid = fork // confess "fork: $!";
    if ($pid == 0) {
        eval {
            setpgrp;
            $self->_become;
            @ENV{ keys %{ $self->{option}{env} // {} } } = values %{ $self->{option}{env} // {} };
            exec { $command[0] } @command or die "$!\n";
        };
        print STDERR "cannot run $command[0]: $@";
        POSIX::_exit(127);
    }
    waitpid $pid, 0;
    confess "$command[0] ended with $?:\n" . $self->_read('commands.log') . $self->server_log if $? != 0;
    return;
}

# Whatever becomes of us, the server ends and its folder goes.
sub _start_watcher {
    my ($self) = @_;
    pipe my $read, my $write or confess "pipe: $!";
    my $pid = fork // confess "fork: $!";
    if ($pid == 0) {
        setpgrp;
        open STDIN, '<&', $read or POSIX::_exit(1);
        open STDOUT, '>', '/dev/null';
        open STDERR, '>', '/dev/null';
        exec '/bin/sh', '-c', <<'END', 'watcher', $self->{folder}, $self->{option}{keep} // 0 or POSIX::_exit(127);
trap '' INT TERM HUP
while read -r line; do [ "$line" = end ] && exit 0; done
[ ! -e "$1/pooler.pid" ] || kill "$(cat "$1/pooler.pid")"
pid=$(head -n 1 "$1/data/postmaster.pid") && {
    kill -INT "$pid"
    for i in $(seq 100); do kill -0 "$pid" || break; sleep 0.1; done
    kill -QUIT "$pid"
}
[ "$2" = 1 ] || rm -rf "$1"
END
    }
    close $read;
    $write->autoflush(1);
    @{$self}{qw(watcher watcher_pid)} = ($write, $pid);
    return;
}

# By pg_ctl, so that any of our processes may start and stop it.
sub start {
    my ($self) = @_;
    $self->_run(program('pg_ctl'), '-D', "$self->{folder}/data", '-l', "$self->{folder}/log", '-w', '-t', START_SECONDS, '-o', "-k $self->{folder}",
        'start');
    return;
}

# PgBouncer in transaction mode before the server; ->pooler_url goes through it.
use constant POOLER_PORT => 6432;

sub start_pooler {
    my ($self, %setting) = @_;
    my $folder = $self->{folder};
    my $server = delete $setting{server} // "host=$folder";
    %setting = (
        listen_addr     => '',
        listen_port     => POOLER_PORT,
        unix_socket_dir => $folder,
        auth_type       => 'trust',
        auth_file       => "$folder/pooler.users",
        pidfile         => "$folder/pooler.pid",
        logfile         => "$folder/pooler.log",
        pool_mode       => 'transaction',
        max_client_conn => 300,
        %setting,
    );
    _append("$folder/pooler.ini", "[databases]\n* = $server\n[pgbouncer]\n" . join('', map { "$_ = $setting{$_}\n" } sort keys %setting), '>');
    _append("$folder/pooler.users", qq("$_" ""\n)) for owner(), SITE;
    $self->_run('/usr/sbin/pgbouncer', '-d', '-q', "$folder/pooler.ini");
    my $end = time + START_SECONDS;
    until (-S "$folder/.s.PGSQL.$setting{listen_port}") {
        confess "PgBouncer does not answer:\n" . $self->_read('pooler.log') if time > $end;
        sleep 0.02;
    }
    return;
}

sub stop_pooler {
    my ($self) = @_;
    my ($pid) = $self->_read('pooler.pid') =~ /\A(\d+)/ or return;
    my $end = time + START_SECONDS;
    kill 'TERM', $pid;    # at once, whatever its clients are doing
    while (kill 0, $pid) {
        confess 'PgBouncer does not end' if time > $end;
        sleep 0.02;
    }
    unlink "$self->{folder}/pooler.pid";
    return;
}

sub pooler_url { my ($self, $database, $more) = @_; return $self->url($database, SITE, '&port=' . POOLER_PORT . ($more // '')) }

# "1.18.0" as 1.018
sub pooler_version { return qx(/usr/sbin/pgbouncer --version) =~ /(\d+)\.(\d+)/ ? sprintf '%d.%03d', $1, $2 : confess 'there is no pgbouncer' }

# Is there a server that lets somebody in?
sub answers {
    my ($self) = @_;
    local $?;
    return system(program('pg_isready') . " -q -h '$self->{folder}' -d postgres -U postgres") == 0;
}

# fast; immediate: a crash.
sub stop {
    my ($self, $mode) = @_;
    $self->_run(program('pg_ctl'), '-D', "$self->{folder}/data", '-m', $mode // 'fast', '-w', '-t', START_SECONDS, 'stop');
    return;
}

# Every process of the server stands still, and goes on.
sub freeze { my ($self) = @_; kill 'STOP', $self->_processes; return }
sub thaw   { my ($self) = @_; kill 'CONT', $self->_processes; return }

sub _processes {
    my ($self) = @_;
    my ($server) = $self->_read('data/postmaster.pid') =~ /\A(\d+)/ or return;
    my @processes = $server;
    for my $stat (glob '/proc/[0-9]*/stat') {
        open my $file, '<', $stat or next;
        my ($child, $parent) = (readline($file) // '') =~ /\A(\d+) \(.*\) \S (\d+)/s or next;
        push @processes, $child if $parent == $server;
    }
    return @processes;
}

# A standby becomes the primary.
sub promote {
    my ($self) = @_;
    $self->_run(program('pg_ctl'), '-D', "$self->{folder}/data", '-w', '-t', START_SECONDS, 'promote');
    return;
}

sub folder { return $_[0]{folder} }
sub owner  { return 'postgres' }

sub _read {
    my ($self, $name) = @_;
    open my $file, '<', "$self->{folder}/$name" or return '';
    local $/;
    return scalar(<$file>) // '';
}

sub server_log { return $_[0]->_read('log') }

# What no run may leave in the server's log.
sub complaints {
    my ($self) = @_;
    return grep { /deadlock detected|PANIC:|TRAP:|out of shared memory/ } split /\n/, $self->server_log;
}

sub url {
    my ($self, $database, $user, $more) = @_;
    return "postgresql:///$database?host=$self->{folder}&user=" . ($user // SITE) . ($more // '');
}

# Statements as the cluster's superuser: the rows as lines. The tables of Spendgate are found without their schema's name.
sub sql {
    my ($self, $database, $statement, $separator) = @_;
    local $?;
    local $ENV{PGOPTIONS} = '-c search_path=spendgate,public -c client_min_messages=warning';
    open my $psql, '-|', program('psql'), qw(-XqAt -v ON_ERROR_STOP=1 -F), $separator // ' ', '-h', $self->{folder}, '-U', 'postgres', '-d', $database, '-c',
      $statement or confess "psql: $!";
    local $/;
    my $rows = readline($psql) // '';
    close $psql or confess "psql: $statement: exit " . ($? >> 8);
    return $rows;
}

# A transaction that stays open, with what the statement locks, until the handle that is returned goes.
sub hold {
    my ($self, $database, $statement) = @_;
    my $marker = "$self->{folder}/held.$$";
    open my $input, '|-', program('psql'), '-XqAt', '-h', $self->{folder}, '-U', 'postgres', '-d', $database, '-o', $marker
      or confess "psql: $!";
    $input->autoflush(1);
    print {$input} "BEGIN; $statement;\n";
    my $end = time + START_SECONDS;
    sleep 0.02 until (-s $marker // 0) > 0 || time > $end;
    unlink $marker;
    return $input;
}

# spendgate_app itself is made by the schema; the login role has it by name as soon as it is there.
sub _make_role {
    my ($self) = @_;
    $self->sql('postgres', 'CREATE ROLE spendgate_app NOLOGIN; CREATE ROLE ' . SITE . ' LOGIN IN ROLE spendgate_app');
    return;
}

# A new empty database.
my $count = 0;
sub database {
    my ($self) = @_;
    my $name = "e2e_${$}_" . ++$count;
    $self->sql('postgres', "CREATE DATABASE $name TEMPLATE template0");
    return $name;
}

sub drop {
    my ($self, $database) = @_;
    $self->sql('postgres', "DROP DATABASE IF EXISTS $database WITH (FORCE)") if $self->answers;
    return;
}

# As if the server were gone, for this database only: nobody gets in and whoever is in is thrown out.
sub take_away {
    my ($self, $database) = @_;
    $self->sql('postgres', "ALTER DATABASE $database ALLOW_CONNECTIONS false");
    $self->sql('postgres', "SELECT count(pg_terminate_backend(pid, 5000)) FROM pg_stat_activity WHERE datname = '$database'");
    return;
}

sub give_back {
    my ($self, $database) = @_;
    $self->sql('postgres', "ALTER DATABASE $database ALLOW_CONNECTIONS true");
    return;
}

sub DESTROY {
    my ($self) = @_;
    return if $self->{owner} != $$ || $self->{theirs} || $self->{gone}++;
    local ($?, $@, $!);
    $self->thaw;
    eval { $self->stop_pooler };
    eval { $self->stop('immediate') } if -e "$self->{folder}/data/postmaster.pid";
    delete $alive{$self};
    remove_tree($self->{folder}) unless $ENV{SPENDGATE_E2E_KEEP} || $self->{option}{keep};
    print { $self->{watcher} } "end\n";
    close $self->{watcher};
    waitpid $self->{watcher_pid}, 0;
    return;
}

# Spendgate::E2E uses this module, so its objects are gone by now.
END {
    my $status = $?;
    $_ && $_->DESTROY for values %alive;
    $? = $status;
}

1;

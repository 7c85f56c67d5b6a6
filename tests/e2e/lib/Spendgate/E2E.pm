# SPDX-License-Identifier: MIT
package Spendgate::E2E;

# A Spendgate in a throwaway folder on loopback ports: settings, store, Clerk's stand-in, authorizer, tracker,
# and a real web server in front of small PHP and Perl pages. For the end-to-end tests and the demo.
#
#     my $gate = Spendgate::E2E->new(plans => '...', routes => '...');
#     $gate->start_clerk; $gate->start_tracker; $gate->start_lighttpd;
#     my $secret = $gate->key(subject => $gate->subject('alice'));
#     my $answer = $gate->get('/api/env.php', key => $secret);      # { status, headers, body }
#
# Everything that was started is stopped when the object goes, when the test dies, and when it is killed:
# a watcher process holds a pipe to us and ends what is left. Started as root, the servers run as the web
# server's user (an ordinary one), so that root and an ordinary user see the same.
#
# With SPENDGATE_E2E_STORE=postgresql the store is a PostgreSQL database of its own, in which the servers may not change
# the schema. What a test says of the files of SQLite it says only there (on_sqlite).
use strict;
use warnings;

use Carp qw(croak confess);
use Cwd qw(abs_path);
use Digest::SHA qw(sha256_hex);
use Fcntl qw(F_SETFD FD_CLOEXEC LOCK_EX);
use File::Basename qw(dirname);
use File::Copy qw(copy);
use File::Path qw(make_path remove_tree);
use File::Temp ();
use IO::Select ();
use IO::Socket::INET ();
use IO::Socket::UNIX ();
use JSON::PP ();
use POSIX qw(:sys_wait_h);
use Scalar::Util qw(weaken);
use Time::HiRes qw(sleep time);

use Spendgate::Postgres;

use constant {
    START_SECONDS => 20,    # for a server to answer; sanitizer builds on a busy machine are slow
    STOP_SECONDS  => 12,
    BACK_OFF_SECONDS => 1.6,    # the longest pause before a process tries again to connect
    SECRET_KEY    => 'sk_test_endtoend',
    POST_TOKEN    => 'sgt_post_0123456789abcdef0123456789abcdef',
    READ_TOKEN    => 'sgt_read_0123456789abcdef0123456789abcdef',
    ADMIN_TOKEN   => 'sgt_admin_0123456789abcdef0123456789abcdef',
};

my $json = JSON::PP->new->utf8->canonical;
my $top  = abs_path(dirname(__FILE__) . '/../../../..');
my %alive;    # every object that may have children, for END and signals

# ---- the folder -------------------------------------------------------------------------------------

# Where the programs were built: SPENDGATE_BUILD, else build/ or the checkout itself.
sub build_folder {
    for my $folder (grep { defined } $ENV{SPENDGATE_BUILD}, "$top/build", $top) {
        return abs_path($folder) if -x "$folder/spendgate-authorizer";
    }
    croak "spendgate-authorizer is not built; build it, or say where in SPENDGATE_BUILD";
}

sub checkout { return $top }

sub is_sanitizer_build {
    open my $file, '<:raw', build_folder() . '/spendgate-authorizer' or return 0;
    local $/;
    return index(<$file>, '__asan_init') >= 0;
}

# new(plans => TEXT, routes => TEXT, clerk => TEXT, top => TEXT, ledger => TEXT): parts of spendgate.conf;
# www => FOLDER: the pages; wrap => [COMMAND ...]: runs authorizer and tracker (valgrind); clock => 1: a wall clock
# that travel() moves; explain => 0: do not compare each verdict with `spendgate explain` (Spendgate::Explained);
# cluster => a Spendgate::Postgres to use; database => one of it; url => a store of its own URL instead of the cluster's; beside => GATE: another
# host, with the same Clerk and the same database.
sub new {
    my ($class, %option) = @_;
    my $self = bless {
        option  => \%option,
        owner   => $$,
        pid_of  => {},
        folder  => File::Temp::tempdir('spendgate-e2e.XXXXXX', TMPDIR => 1),
        subject => {},
        ports   => {},
    }, $class;
    $self->{folder} = abs_path($self->{folder});
    chmod 0755, $self->{folder};
    if ($> == 0) {
        my ($name) = grep { defined getpwnam $_ } qw(www-data nobody);
        @{$self}{qw(user uid gid)} = (getpwnam $name)[ 0, 2, 3 ];
    }
    $alive{$self} = $self;
    weaken($alive{$self});
    $self->_start_watcher;
    $self->_fill_folder;
    $self->_make_clock if $option{clock};
    $self->_make_database if !on_sqlite();
    return $self;
}

# ---- the store --------------------------------------------------------------------------------------

sub on_sqlite {
    my $store = $ENV{SPENDGATE_E2E_STORE} // 'sqlite';
    $store =~ /\A(?:sqlite|postgresql)\z/ or croak "SPENDGATE_E2E_STORE is sqlite or postgresql, not $store";
    return $store eq 'sqlite';
}

# Where the clock moves, the server's moves too, so it is one of our own.
sub _make_database {
    my ($self) = @_;
    if (my $other = $self->{option}{beside}) {
        @{$self}{qw(cluster database clerk_url)} = @{$other}{qw(cluster database clerk_url)};
        $self->{migrated} = 1;
        return;
    }
    $self->{cluster} = $self->{option}{cluster}
      // ($self->{clock} ? Spendgate::Postgres->new(env => $self->{clock}) : Spendgate::Postgres->shared);
    $self->{database} = $self->{option}{database} // $self->{cluster}->database;
    return;
}

sub cluster  { return $_[0]{cluster} }
sub database { return $_[0]{database} }

sub store_url {
    my ($self) = @_;
    return $self->{option}{url} if $self->{option}{url};
    return $self->{database} ? $self->{cluster}->url($self->{database}) : 'sqlite:' . $self->path('store/spendgate.db');
}

# The schema, by the database's owner; the servers make a missing SQLite file themselves.
sub _migrate {
    my ($self) = @_;
    my $url = $self->{cluster}->url($self->{database}, $self->{cluster}->owner);
    my ($code, $out, $err) = $self->cli({ env => { SPENDGATE_STORE_URL => $url } }, 'migrate');
    $code == 0 or confess "spendgate migrate: exit $code: $err";
    $self->{migrated} = 1;
    return;
}

# Rows of the store as lines, columns separated by spaces; what both databases understand.
sub sql {
    my ($self, $statement) = @_;
    return $self->{cluster}->sql($self->{database}, $statement) if $self->{database};
    local $?;
    my @command = ('sqlite3', '-bail', '-separator', ' ', $self->path('store/spendgate.db'), $statement);
    my $pid = open(my $rows, '-|') // die "fork: $!";
    if ($pid == 0) {
        eval { $self->_become_server_user; exec { $command[0] } @command };
        POSIX::_exit(127);
    }
    local $/;
    my $text = readline($rows) // '';
    close $rows or confess "sqlite3: $statement: exit " . ($? >> 8);
    return $text;
}

# The store is gone, as far as this site can see, and comes back as it was.
sub take_store_away {
    my ($self) = @_;
    return $self->{cluster}->take_away($self->{database}) if $self->{database};
    rename $self->path('store'), $self->path('store.away') or die "rename: $!";
    return;
}

sub give_store_back {
    my ($self) = @_;
    if ($self->{database}) {
        $self->{cluster}->give_back($self->{database});
        sleep BACK_OFF_SECONDS;
        return;
    }
    rename $self->path('store.away'), $self->path('store') or die "rename: $!";
    return;
}

sub folder { return $_[0]{folder} }
# The document root: www/, or the folder below this one that new(root => 'examples/…/www') names.
sub root   { my ($self) = @_; return $self->path($self->{option}{root} // 'www') }
sub path   { my ($self, $name) = @_; return "$self->{folder}/$name" }

# The programs, pages and snippets are copied, so that the web server's user can read them wherever the
# checkout is.
sub _fill_folder {
    my ($self) = @_;
    my $folder = $self->{folder};
    make_path(map { "$folder/$_" } qw(bin conf etc log run store cache tmp www));
    my $build = build_folder();
    $self->_copy("$build/$_", "bin/$_", 0755) for qw(spendgate spendgate-authorizer spendgate-tracker);
    $self->_copy("$top/tests/clerk-standin", 'bin/clerk-standin', 0755);
    $self->copy_tree("$top/conf", 'conf');
    $self->copy_tree($self->{option}{www} // "$top/tests/e2e/www", 'www');
    $self->_own("$folder/$_") for qw(etc log run store cache tmp);
    $self->write_file('etc/clerk_secret_key', ($self->{option}{secret_key} // SECRET_KEY) . "\n", 0600);
    return;
}

# clock.c, built for this run. What is started later has its wall clock from a file.
sub _make_clock {
    my ($self) = @_;
    my $library = $self->path('bin/clock.so');
    system('cc', '-shared', '-fPIC', '-O1', '-D_GNU_SOURCE', '-o', $library, "$top/tests/e2e/lib/clock.c", '-ldl') == 0
      or croak 'clock.c does not compile';
    chmod 0755, $library;
    $self->{clock} = { LD_PRELOAD => $library, SPENDGATE_TEST_CLOCK => $self->path('run/clock') };
    $self->{ahead} = 0;
    return $self->travel(0);
}

# Move the wall clock of everything that was started.
sub travel {
    my ($self, $seconds) = @_;
    $self->{ahead} += $seconds;
    $self->write_file('run/clock', sprintf '%.0f', $self->{ahead} * 1e6);
    $self->_renew_workers if $self->{database};
    return;
}

# A process that keeps a reading of the database's clock reads it again every few seconds; new ones do at once.
sub _renew_workers {
    my ($self) = @_;
    for my $pid (grep { defined } map { $self->pid($_) } qw(authorizer tracker)) {
        my %old = map { $_ => 1 } $self->children_of($pid);
        kill 'HUP', $pid;
        my $end = time + STOP_SECONDS;
        while (my @left = grep { $old{$_} } $self->children_of($pid)) {
            confess "workers stay after SIGHUP: @left" if time > $end;
            sleep 0.01;
        }
    }
    return;
}

# Seconds since 1970 by that clock.
sub now { return time + ($_[0]{ahead} // 0) }

sub _own {
    my ($self, $path) = @_;
    chown $self->{uid}, $self->{gid}, $path or die "chown $path: $!" if defined $self->{uid};
    return;
}

sub _copy {
    my ($self, $from, $to, $mode) = @_;
    copy($from, "$self->{folder}/$to") or croak "cannot copy $from: $!";
    chmod $mode // (-x $from ? 0755 : 0644), "$self->{folder}/$to";
    return;
}

sub copy_tree {
    my ($self, $from, $to) = @_;
    make_path("$self->{folder}/$to");
    opendir my $dir, $from or croak "$from: $!";
    for my $name (sort grep { !/\A\.\.?\z/ } readdir $dir) {
        -d "$from/$name" ? $self->copy_tree("$from/$name", "$to/$name") : $self->_copy("$from/$name", "$to/$name");
    }
    return;
}

# Write a file of the servers' user.
sub write_file {
    my ($self, $name, $text, $mode) = @_;
    my $path = "$self->{folder}/$name";
    make_path(dirname($path));
    open my $file, '>:raw', "$path.new" or croak "$path: $!";
    print {$file} $text;
    close $file or croak "$path: $!";
    $self->_own("$path.new");
    chmod $mode // 0644, "$path.new";
    rename "$path.new", $path or croak "$path: $!";
    return $path;
}

sub read_file {
    my ($self, $name) = @_;
    open my $file, '<:raw', "$self->{folder}/$name" or return '';
    local $/;
    return scalar(<$file>) // '';
}

# Every log of this run, as one text.
sub logs {
    my ($self) = @_;
    return join '', map { $self->read_file("log/$_") } map { s{.*/}{}r } sort glob "$self->{folder}/log/*";
}

# A snippet as shipped, with the values at its top replaced ("var.name = ..." lines of lighttpd): nothing
# else of the file changes, and a value that is not there is an error.
sub snippet {
    my ($self, $name, %value) = @_;
    my $text = $self->read_file("conf/$name");
    length $text or croak "conf/$name is missing";
    for my $variable (sort keys %value) {
        my $value = $value{$variable} =~ /\A\d+\z/ ? $value{$variable} : qq("$value{$variable}");
        my $found = $text =~ s{^(\Q$variable\E\s*=\s*)(?:"[^"\n]*"|\d+)}{$1$value}mg;
        $found == 1 or croak "conf/$name: $variable is set $found times";
    }
    return $self->write_file("etc/" . ($name =~ tr{/}{-}r), $text);
}

# No store of ours: a file that is no database, a schema of a version that nobody knows. For processes that start now.
sub break_store {
    my ($self) = @_;
    return $self->sql('INSERT INTO schema_step (number) VALUES (999)') if $self->{database};
    $self->take_store_away;
    mkdir $self->path('store') or die "mkdir: $!";
    $self->_own($self->path('store'));
    $self->write_file('store/spendgate.db', 'this is no database' x 1000, 0600);
    return;
}

sub mend_store {
    my ($self) = @_;
    return $self->sql('DELETE FROM schema_step WHERE number = 999') if $self->{database};
    remove_tree($self->path('store'));
    return $self->give_store_back;
}

# The lock that every writer needs, held until the handle goes.
sub hold_writers {
    my ($self) = @_;
    return $self->{cluster}->hold($self->{database}, "SELECT pg_advisory_xact_lock(hashtextextended('spendgate.all', 0))")
      if $self->{database};
    open my $file, '+<', $self->path('store/spendgate.db.lock') or die "spendgate.db.lock: $!";
    flock $file, LOCK_EX or die "flock: $!";
    return $file;
}

# ---- settings ---------------------------------------------------------------------------------------

sub config { return $_[0]->path('etc/spendgate.conf') }

# Write spendgate.conf from the parts given to new(), and %change over them.
sub write_settings {
    my ($self, %change) = @_;
    my %part = (%{ $self->{option} }, %change);
    $self->{option} = \%part;
    my $folder = $self->{folder};
    my $clerk = $part{clerk} // '';
    my $url = $part{clerk_url} // $self->{clerk_url} // 'http://127.0.0.1:9';
    my $plans = $part{plans} // <<'END';
plan "free" {
    budget "month" { limit_usd = "1.00"  period = "month" }
    hold_usd = "0.05"
}
default_plan = "free"
END
    my $token = sub {
        my ($name, $secret) = @_;
        return sprintf qq(    token "%s" { sha256 = "%s"  role = "%s" }\n), $name, sha256_hex($secret), $name;
    };
    my $tokens = join '', map { $token->(@$_) }[ 'post', POST_TOKEN ], [ 'read', READ_TOKEN ], [ 'admin', ADMIN_TOKEN ];
    $self->write_file('etc/spendgate.conf', <<"END");
store { url = "@{[ $self->store_url ]}" }
cache { path = "$folder/cache/cache.db" }
clerk {
    secret_key_file = "$folder/etc/clerk_secret_key"
    api_url = "$url"
    $clerk
}
$plans
@{[ $part{routes} // '' ]}
tracker {
$tokens}
@{[ $part{ledger} // '' ]}
@{[ $part{top} // '' ]}
END
    $self->_migrate if $self->{database} && !$self->{migrated};
    return $self->config;
}

# ---- processes --------------------------------------------------------------------------------------

# The watcher is told "+PID", "-PID" and "end"; when our end of the pipe closes, however we ended, it ends what is left.
sub _start_watcher {
    my ($self) = @_;
    pipe my $read, my $write or die "pipe: $!";
    my $pid = fork // die "fork: $!";
    if ($pid == 0) {
        close $write;
        close $_->{watcher} for grep { $_ && $_->{watcher} } values %alive;    # theirs would never see the end
        setpgrp;
        $SIG{$_} = 'IGNORE' for qw(INT TERM HUP PIPE);
        open STDIN, '<', '/dev/null';
        open STDOUT, '>', '/dev/null';    # prove waits for whoever holds its pipes
        open STDERR, '>', '/dev/null';
        my %left;
        while (my $line = <$read>) {
            last if $line eq "end\n";
            $line =~ /\A\+(\d+)/ ? $left{$1} = 1 : $line =~ /\A-(\d+)/ ? delete $left{$1} : next;
        }
        kill 'TERM', keys %left;
        for (1 .. STOP_SECONDS * 10) {
            last unless grep { kill 0, $_ } keys %left;
            sleep 0.1;
        }
        kill 'KILL', map { -$_ } keys %left;
        remove_tree($self->{folder}) unless $ENV{SPENDGATE_E2E_KEEP};
        POSIX::_exit(0);
    }
    close $read;
    $write->autoflush(1);
    @{$self}{qw(watcher watcher_pid)} = ($write, $pid);
    return;
}

sub _become_server_user {
    my ($self) = @_;
    return unless defined $self->{uid};
    $) = "$self->{gid} $self->{gid}";
    $( = $self->{gid};
    $< = $> = $self->{uid};
    die "cannot become $self->{user}\n" if $> != $self->{uid} || $< != $self->{uid};
    return;
}

# The environment of everything we start: nothing of Clerk's or Spendgate's from outside.
sub _clean_environment {
    my ($self, %extra) = @_;
    delete @ENV{ grep { /\A(?:CLERK|SPENDGATE|REDIRECT|HTTP)_|\A(?:LISTEN_|GATEWAY_|REQUEST_)/ } keys %ENV };
    $ENV{TMPDIR} = $self->path('tmp');
    $ENV{HOME}   = $self->path('tmp');
    $ENV{PATH}   = '/usr/sbin:/usr/bin:/sbin:/bin';
    %extra = (%{ $self->{clock} // {} }, %extra);
    $ENV{ASAN_OPTIONS} = 'verify_asan_link_order=0' if $self->{clock};
    $ENV{$_} = $extra{$_} for keys %extra;
    return;
}

# start(NAME, COMMAND, ...): run it as the servers' user (root => 1: as we are), output to log/NAME.log. `ready` is asked until true.
sub start {
    my ($self, $name, $command, %option) = @_;
    croak "$name already runs" if $self->{pid_of}{$name};
    my $log = $self->path("log/$name.log");
    my $pid = fork // die "fork: $!";
    if ($pid == 0) {
        eval {
            setpgrp;
            $self->_become_server_user unless $option{root};
            $self->_clean_environment(%{ $option{env} // {} });
            open STDIN,  '<',  '/dev/null' or die "/dev/null: $!";
            open STDERR, '>>', $log        or die "$log: $!";
            open STDOUT, '>>', $log        or die "$log: $!";
            chdir $self->{folder};
            exec { $command->[0] } @$command or die "$!\n";
        };
        print STDERR "cannot run $command->[0]: $@";
        POSIX::_exit(127);
    }
    print { $self->{watcher} } "+$pid\n";
    $self->{pid_of}{$name} = $pid;
    return $pid unless $option{ready};
    my $end = time + START_SECONDS;
    until ($option{ready}->()) {
        my $ended = waitpid($pid, WNOHANG) == $pid;
        if ($ended || time > $end) {
            my $how = $ended ? 'ended with ' . ($? >> 8 || "signal $?") : 'does not answer';
            $self->_forget($name) if $ended;
            confess "$name $how:\n" . $self->read_file("log/$name.log") . $self->read_file('log/error.log');
        }
        sleep 0.02;
    }
    return $pid;
}

sub pid { return $_[0]{pid_of}{ $_[1] } }

sub _forget {
    my ($self, $name) = @_;
    my $pid = delete $self->{pid_of}{$name};
    print { $self->{watcher} } "-$pid\n";
    return;
}

# Stop one by its pid: SIGTERM, and SIGKILL to its group if it does not end in time (returned as false).
sub stop {
    my ($self, $name, $signal) = @_;
    my $pid = $self->{pid_of}{$name} or return 1;
    kill $signal // 'TERM', $pid;
    my $end = time + STOP_SECONDS;
    my $in_time = 1;
    until (waitpid($pid, WNOHANG) == $pid) {
        if (time > $end && $in_time) {
            $in_time = 0;
            kill 'KILL', -$pid;
        }
        sleep 0.02;
    }
    $self->{exit_status}{$name} = $?;
    # What the killed one left behind; fcgiwrap leaves its children behind however it ends.
    kill 'KILL', -$pid if ($signal // '') eq 'KILL' || $name eq 'fcgiwrap';
    $self->_forget($name);
    return $in_time;
}

sub exit_status { return $_[0]{exit_status}{ $_[1] } }

sub stop_all {
    my ($self) = @_;
    return if $self->{owner} != $$;
    for my $name (qw(lighttpd apache nginx), sort keys %{ $self->{pid_of} }) {
        $self->stop($name) if $self->{pid_of}{$name};
    }
    return;
}

sub DESTROY {
    my ($self) = @_;
    return if $self->{owner} != $$ || $self->{gone}++;
    local ($?, $@, $!);
    $self->stop_all;
    $self->{cluster}->drop($self->{database}) if $self->{database} && !$self->{option}{beside};
    delete $alive{$self};
    print { $self->{watcher} } "end\n";
    close $self->{watcher};
    waitpid $self->{watcher_pid}, 0;
    return;
}

END {
    my $status = $?;
    $_ && $_->DESTROY for values %alive;
    $? = $status;
}
$SIG{INT} = $SIG{TERM} = $SIG{HUP} = sub { die "stopped by SIG$_[0]\n" };
$SIG{PIPE} = 'IGNORE';

# A loopback port that is free now and that we have not given out before. Test files that run side by side have a slot
# each (tests/e2e/run), and ports from a range of their own below those that the kernel gives to connections.
my ($first_port, $slot_ports) = (12_000, 2_500);
my %given;
sub free_port {
    my $slot = $ENV{SPENDGATE_E2E_SLOT};
    for (1 .. 1000) {
        my $wanted = defined $slot ? $first_port + $slot_ports * ($slot % 8) + int rand $slot_ports : 0;
        my $socket = IO::Socket::INET->new(LocalAddr => '127.0.0.1', LocalPort => $wanted, Listen => 1) or next;
        my $port = $socket->sockport;
        return $port unless $given{$port}++;
    }
    confess 'no free port';
}

sub _accepts {
    my ($address) = @_;
    return defined IO::Socket::UNIX->new(Peer => $address) if $address =~ m{\A/};
    return defined IO::Socket::INET->new(PeerAddr => $address, Timeout => 1);
}

# ---- our programs -----------------------------------------------------------------------------------

sub start_clerk {
    my ($self, %option) = @_;
    my $ready = $self->path('run/clerk.url');
    unlink $ready;
    my @port = $self->{clerk_url} && $self->{clerk_url} =~ /:(\d+)\z/ ? ('--port', $1) : ();
    $self->start(
        'clerk',
        [ $self->path('bin/clerk-standin'), '--secret-key', SECRET_KEY, '--ready-file', $ready, @port ],
        ready => sub { -e $ready },
    );
    ($self->{clerk_url}) = $self->read_file('run/clerk.url') =~ /\A(\S+)/;
    $self->write_settings unless -e $self->config;
    return;
}

# listen: 'tcp' (for mod_authnz_fcgi) or 'unix'.
sub start_authorizer {
    my ($self, %option) = @_;
    my $address = ($option{listen} // 'unix') eq 'tcp'
      ? '127.0.0.1:' . ($self->{ports}{authorizer} //= free_port())
      : 'unix:' . $self->path('run/authorizer.sock');
    return $self->_start_listening('authorizer', $address, $option{workers} // 4);
}

sub start_tracker {
    my ($self, %option) = @_;
    return $self->_start_listening('tracker', 'unix:' . $self->path('run/tracker.sock'), $option{workers} // 2);
}

sub _start_listening {
    my ($self, $name, $address, $workers) = @_;
    $self->write_settings unless -e $self->config;
    (my $where = $address) =~ s/\Aunix://;
    $self->start(
        $name,
        [
            @{ $self->{option}{wrap} // [] }, $self->path("bin/spendgate-$name"),
            '--config', $self->config, '--listen', $address, '--workers', $workers
        ],
        ready => sub { _accepts($where) },
        root  => $self->{option}{wrap_root},
    );
    $self->{"${name}_address"} = $where;
    return;
}

# Children of a process, by /proc: the workers of a master.
sub children_of {
    my ($self, $pid) = @_;
    my @children;
    for my $stat (glob '/proc/[0-9]*/stat') {
        open my $file, '<', $stat or next;
        my $line = <$file> // next;
        my ($child, $parent) = $line =~ /\A(\d+) \(.*\) \S (\d+)/s or next;
        push @children, $child if $parent == $pid;
    }
    return sort { $a <=> $b } @children;
}

# The operator's command, as the servers' user (and as root if `root`): (exit code, stdout, stderr).
sub cli {
    my ($self, @arguments) = @_;
    my %option = ref $arguments[0] ? %{ shift @arguments } : ();
    my @files = map { $self->path("tmp/cli.$$.$_") } qw(out err);
    my $pid = fork // die "fork: $!";
    if ($pid == 0) {
        $self->_become_server_user unless $option{root};
        $self->_clean_environment(%{ $option{env} // {} });
        open STDIN, '<', $option{stdin} // '/dev/null' or POSIX::_exit(126);
        open STDOUT, '>', $files[0] or POSIX::_exit(126);
        open STDERR, '>', $files[1] or POSIX::_exit(126);
        exec { $self->path('bin/spendgate') } 'spendgate', '--config', $self->config, @arguments
          or POSIX::_exit(127);
    }
    waitpid $pid, 0;
    my $status = $?;
    my ($out, $err) = map { $self->read_file('tmp/' . s{.*/}{}r) } @files;
    unlink @files;
    return ($status & 127 ? 128 + ($status & 127) : $status >> 8, $out, $err);
}

sub cli_json {
    my ($self, @arguments) = @_;
    my ($code, $out, $err) = $self->cli(@arguments, '--json');
    confess "spendgate @arguments: exit $code: $err" if $code != 0;
    return $json->decode($out);
}

# ---- web servers ------------------------------------------------------------------------------------

sub port { return $_[0]{ports}{web} }

# What PHP finds in its environment, and new(php => { NAME => VALUE }) over it: [name, value], ...
sub _php_environment {
    my ($self) = @_;
    my %value = (
        PHP_FCGI_CHILDREN       => 4,
        PHP_FCGI_MAX_REQUESTS   => 10_000,
        SPENDGATE_TRACKER_URL   => 'http://127.0.0.1:' . $self->port . '/spendgate',
        SPENDGATE_TRACKER_TOKEN => POST_TOKEN,
        %{ $self->{option}{php} // {} },
    );
    return map { [ $_, $value{$_} ] } sort keys %value;
}

sub _php_command {
    my ($self) = @_;
    return '/usr/bin/php-cgi -d cgi.fix_pathinfo=1 -d display_errors=stderr -d log_errors=1 -d expose_php=0'
      . ' -d upload_tmp_dir=' . $self->path('tmp') . ' -d sys_temp_dir=' . $self->path('tmp');
}

# The lighttpd of the tests and the demo. `external` true: the authorizer and the tracker run by themselves.
sub start_lighttpd {
    my ($self, %option) = @_;
    my $port = $self->{ports}{web} //= free_port();
    $self->write_settings unless -e $self->config;
    my $folder = $self->{folder};
    my %value  = ('var.spendgate_sockets' => "$folder/run", %{ $option{values} // {} });
    $value{'var.spendgate_guarded'} = $option{guarded} if $option{guarded};
    %value = (
        %value,
        'var.spendgate_authorizer' => "$folder/bin/spendgate-authorizer",
        'var.spendgate_tracker'    => "$folder/bin/spendgate-tracker",
        'var.spendgate_config'     => $self->config,
    ) unless $option{external};
    my $snippet = $self->snippet('lighttpd/05-spendgate' . ($option{external} ? '-sockets' : '') . '.conf', %value);
    # The lines for CORS, commented out as shipped.
    if ($option{uncomment}) {
        my $text = $self->read_file("etc/" . ($snippet =~ s{.*/}{}r));
        $text =~ s{^(#\$HTTP.*?^#\}$)}{$1 =~ s/^#//gmr}mse or croak 'nothing to uncomment';
        $self->write_file("etc/" . ($snippet =~ s{.*/}{}r), $text);
    }
    my $php = $self->_php_command;
    my $upstream = $option{upstream} ? <<"END" : '';
server.modules += ( "mod_magnet", "mod_proxy" )
\$HTTP["url"] =~ "^/api/up/" {
    magnet.attract-raw-url-to = ( "$folder/conf/lighttpd/spendgate-headers.lua" )
    proxy.server = ( "" => (( "host" => "127.0.0.1", "port" => $option{upstream} )) )
}
END
    my $config = $self->write_file('etc/lighttpd.conf', <<"END");
# As Debian's lighttpd.conf has it: HTTP/2 on, URLs strict and normalised.
server.modules = ( "mod_indexfile", "mod_access", "mod_alias", "mod_redirect", "mod_accesslog", "mod_cgi" )
server.feature-flags += ( "server.h2proto" => "enable" )
server.feature-flags += ( "server.h2c" => "enable" )
server.feature-flags += ( "server.graceful-shutdown-timeout" => 5 )
server.http-parseopts = ( "header-strict" => "enable", "host-strict" => "enable", "host-normalize" => "enable",
    "url-normalize-unreserved" => "enable", "url-normalize-required" => "enable", "url-ctrls-reject" => "enable",
    "url-path-2f-decode" => "enable", "url-path-dotseg-remove" => "enable" )
server.document-root = "@{[ $self->root ]}"
server.bind = "127.0.0.1"
server.port = $port
server.errorlog = "$folder/log/error.log"
server.breakagelog = "$folder/log/breakage.log"
server.upload-dirs = ( "$folder/tmp" )
server.max-fds = 4096
accesslog.filename = "$folder/log/access.log"
index-file.names = ( "index.php", "index.html" )
mimetype.assign = ( ".txt" => "text/plain", ".html" => "text/html" )
include "$snippet"
$upstream
fastcgi.server += ( ".php" => (( "socket" => "$folder/run/php.sock", "bin-path" => "$php", "max-procs" => 1,
    "bin-environment" => ( @{[ join ', ', map { qq("$_->[0]" => "$_->[1]") } $self->_php_environment ]} ) )) )
cgi.assign = ( ".pl" => "/usr/bin/perl" )
@{[ $option{extra} // '' ]}
END
    $self->start('lighttpd', [ '/usr/sbin/lighttpd', '-D', '-f', $config ],
        ready => sub { _accepts("127.0.0.1:$port") });
    return;
}

# Apache with `gate` 'authnz-fcgi' (start_authorizer(listen => 'tcp') first) or 'fcgid'; PHP through
# mod_proxy_fcgi (php-cgi stands in for php-fpm), Perl through mod_cgid.
sub start_apache {
    my ($self, %option) = @_;
    my $port = $self->{ports}{web} //= free_port();
    $self->write_settings unless -e $self->config;
    my $folder  = $self->{folder};
    my $gate    = $option{gate} or croak 'which gate?';
    my $address = $gate eq 'authnz-fcgi' ? '127.0.0.1:' . ($self->{ports}{authorizer} //= free_port()) : '';
    $self->start_php unless $self->{pid_of}{php};
    my @modules = qw(mpm_event authn_core authz_core authz_user authz_host access_compat headers unique_id alias asis dir env mime
      setenvif include rewrite proxy proxy_fcgi proxy_http cgid);
    push @modules, $gate eq 'fcgid' ? 'fcgid' : 'authnz_fcgi';
    my $load = join '', map { "LoadModule ${_}_module /usr/lib/apache2/modules/mod_$_.so\n" } @modules;
    my $fcgid = $gate eq 'fcgid'
      ? "FcgidIPCDir $folder/run/fcgid\nFcgidProcessTableFile $folder/run/fcgid.table\n"
      : '';
    my $upstream = $option{upstream} ? qq(ProxyPass "/api/up/" "http://127.0.0.1:$option{upstream}/"\n) : '';
    my $config = $self->write_file('etc/apache.conf', <<"END");
ServerRoot "$folder"
ServerName 127.0.0.1
Listen 127.0.0.1:$port
PidFile "$folder/run/apache.pid"
DefaultRuntimeDir "$folder/run"
ErrorLog "$folder/log/error.log"
LogLevel warn
# Where suexec is installed, mod_fcgid and mod_cgid would want to be started as root.
Suexec @{[ $option{suexec} ? 'On' : 'Off' ]}
$load
LogFormat "%h %u \\"%r\\" %>s %b" plain
CustomLog "$folder/log/access.log" plain
ScriptSock "$folder/run/cgid.sock"
TypesConfig /dev/null
AddType text/plain .txt
AddType text/html .html
StartServers 2
ServerLimit 4
ThreadsPerChild 25
MaxRequestWorkers 100
Timeout 60
GracefulShutdownTimeout 2
DocumentRoot "@{[ $self->root ]}"
DirectoryIndex index.html index.php
<Directory "/">
    AllowOverride None
    Require all denied
</Directory>
<Directory "@{[ $self->root ]}">
    AllowOverride All
    Options +ExecCGI +FollowSymLinks
    Require all granted
</Directory>
ProxyFCGIBackendType GENERIC
<FilesMatch "\\.php\$">
    SetHandler "proxy:unix:$folder/run/php.sock|fcgi://localhost/"
</FilesMatch>
AddHandler cgi-script .pl
$fcgid
@{[ $option{guarded} ? "Define SPENDGATE_GUARDED $option{guarded}" : '' ]}
Define SPENDGATE_AUTHORIZER $address
Define SPENDGATE_AUTHORIZER_PROGRAM "$folder/bin/spendgate-authorizer"
Define SPENDGATE_CONFIG "@{[ $self->config ]}"
Define SPENDGATE_DENIALS "$folder/conf/apache/denials"
Define SPENDGATE_TRACKER_SOCKET "$folder/run/tracker.sock"
Define SPENDGATE_TRACKER_PROGRAM "$folder/bin/spendgate-tracker"
@{[ $option{before} // '' ]}
Include "$folder/conf/apache/spendgate-$gate.conf"
Include "$folder/conf/apache/spendgate-headers.conf"
Include "$folder/conf/apache/spendgate-tracker@{[ $option{tracker} // '' ]}.conf"
$upstream
@{[ $option{extra} // '' ]}
END
    make_path("$folder/run/fcgid");
    $self->_own("$folder/run/fcgid");
    $self->start('apache', [ '/usr/sbin/apache2', '-D', 'FOREGROUND', '-f', $config ],
        ready => sub { _accepts("127.0.0.1:$port") });
    return;
}

# Everything for one kind of web server: the five ways in which conf/ sets up a FastCGI gate.
sub server_kinds { return qw(lighttpd lighttpd-sockets authnz-fcgi fcgid nginx) }

sub start_web {
    my ($self, $kind, %option) = @_;
    $self->start_clerk unless $self->{pid_of}{clerk};
    $self->start_tracker unless $kind eq 'lighttpd';
    return $self->start_lighttpd(%option) if $kind eq 'lighttpd';
    $self->start_authorizer(listen => $kind eq 'authnz-fcgi' ? 'tcp' : 'unix', workers => $option{workers} // 4)
      unless $kind eq 'fcgid';
    return $self->start_lighttpd(%option, external => 1) if $kind eq 'lighttpd-sockets';
    return $self->start_nginx(%option) if $kind eq 'nginx';
    return $self->start_apache(%option, gate => $kind);
}

sub start_nginx {
    my ($self, %option) = @_;
    require Spendgate::Nginx;
    return Spendgate::Nginx::start($self, %option);
}

sub start_php {
    my ($self) = @_;
    my $socket = $self->path('run/php.sock');
    my $port   = $self->{ports}{web} //= free_port();
    $self->start(
        'php',
        [ split(/ /, $self->_php_command), '-b', $socket ],
        env   => { map { @$_ } $self->_php_environment },
        ready => sub { _accepts($socket) },
    );
    return;
}

# ---- HTTP -------------------------------------------------------------------------------------------

# One HTTP/1.1 request on a connection of its own: { status, reason, headers => { name => [values] }, body }.
# Status 599: no whole answer came, and why is in `body`. `headers` is a list of [name, value]; nothing is
# added to them but Host, Connection and Content-Length.
sub http {
    my ($method, $port, $target, %option) = @_;
    my $deadline = time + ($option{timeout} // 30);
    my $socket = IO::Socket::INET->new(PeerAddr => '127.0.0.1', PeerPort => $port, Timeout => 10)
      or return { status => 599, reason => '', headers => {}, body => "connect: $!" };
    my @headers = ([ 'Host', "127.0.0.1:$port" ], [ 'Connection', 'close' ], @{ $option{headers} // [] });
    # Web servers answer 411 to a POST that does not say how long it is.
    push @headers, [ 'Content-Length', length($option{body} // '') ]
      if defined $option{body} || $method eq 'POST' || $method eq 'PUT';
    my $out = "$method $target HTTP/1.1\r\n" . join('', map { "$_->[0]: $_->[1]\r\n" } @headers) . "\r\n"
      . ($option{body} // '');
    my ($in, $at, $select) = ('', 0, IO::Select->new($socket));
    $socket->blocking(0);
    while (time < $deadline) {
        # Read while writing: a server that refuses early answers before it has read the body.
        my ($readable, $writable) =
          IO::Select->select($select, $at < length $out ? $select : undef, undef, $deadline - time);
        if ($readable && @$readable) {
            my $got = sysread $socket, $in, 65_536, length $in;
            next if !defined $got && ($!{EAGAIN} || $!{EINTR});
            return _http_answer($in, $method) unless $got;
        }
        if ($writable && @$writable) {
            my $put = syswrite $socket, $out, 65_536, $at;
            next if !defined $put && ($!{EAGAIN} || $!{EINTR});
            $at = defined $put ? $at + $put : length $out;    # it reads no more; its answer may still come
        }
    }
    return { status => 599, reason => '', headers => {}, body => 'timeout' };
}

sub _http_answer {
    my ($bytes, $method) = @_;
    $bytes =~ s{\AHTTP/1\.[01] 100 .*?\r\n\r\n}{}s;
    my $end = index $bytes, "\r\n\r\n";
    my ($line, @lines) = split /\r\n/, $end < 0 ? '' : substr $bytes, 0, $end;
    my ($status, $reason) = ($line // '') =~ m{\AHTTP/1\.[01] (\d{3}) ?(.*)\z}
      or return { status => 599, reason => '', headers => {}, body => 'no answer: ' . substr $bytes, 0, 200 };
    my %headers;
    for (@lines) {
        my ($name, $value) = /\A([^:]+):\s*(.*?)\s*\z/ or next;
        push @{ $headers{ lc $name } }, $value;
    }
    my $body = substr $bytes, $end + 4;
    if (lc($headers{'transfer-encoding'}[0] // '') eq 'chunked') {
        my ($rest, $whole) = ($body, '');
        while ($rest =~ s/\A([0-9A-Fa-f]+)[^\r\n]*\r\n//) {
            my $length = hex $1;
            last if $length == 0;
            $whole .= substr $rest, 0, $length, '';
            $rest =~ s/\A\r\n//;
        }
        $body = $whole;
    }
    my $length = $headers{'content-length'}[0];
    return { status => 599, reason => '', headers => {}, body => 'the answer broke off' }
      if defined $length && $method ne 'HEAD' && length $body < $length;
    return { status => $status, reason => $reason, headers => \%headers, body => $body };
}

# A request to the web server: method, target and { key, headers, body, timeout }.
sub request {
    my ($self, $method, $target, %option) = @_;
    my @headers = @{ $option{headers} // [] };
    my $explained = $self->_explained($target, %option);
    unshift @headers, [ 'Authorization', "Bearer $option{key}" ] if defined $option{key};
    my $answer = http($method, $self->port, $target, %option, headers => \@headers);
    Spendgate::Explained::check_http($explained, $answer) if $explained;
    return $answer;
}

# What `spendgate explain` says right before a request, where the two can be compared: in a test, one request after
# the other, a key of the stand-in, a guarded path.
sub _explained {
    my ($self, $target, %option) = @_;
    my $object = $self->{clerk_keys}{ $option{key} // '' };
    return if !$object || $object->{revoked} || $object->{expired} || !$INC{'Test/More.pm'} || $self->{sharing} || $target !~ m{\A/api/};
    return if !($option{explain} // $self->{option}{explain} // 1);
    require Spendgate::Explained;
    return Spendgate::Explained::ask($self, $object, $target);
}

# What a web server without any page would be told: the authorizer asked by FastCGI. { status, error, denial => {...},
# env => { SPENDGATE_... }, headers }. Options: key, params.
sub authorize {
    my ($self, $target, %option) = @_;
    require FastCGI;
    my $explained = $self->_explained($target, %option);
    my %params = (
        REQUEST_METHOD => 'GET',
        REQUEST_URI    => $target,
        REMOTE_ADDR    => '192.0.2.1',
        %{ $option{params} // {} },
    );
    $params{HTTP_AUTHORIZATION} = "Bearer $option{key}" if defined $option{key};
    my $answer = FastCGI::request($self->{authorizer_address}, \%params, undef, role => FastCGI::AUTHORIZER());
    my $headers = $answer->{headers};
    $answer->{env} = { map { (uc s/\Avariable-//r) => $headers->{$_} } grep { /\Avariable-/ } keys %$headers };
    $answer->{denial} = $answer->{status} == 200 ? undef : eval { $json->decode($answer->{body}) };
    $answer->{error} = $answer->{denial} ? $answer->{denial}{error} : undef;
    Spendgate::Explained::check($explained, @{$answer}{qw(status denial env)}) if $explained;
    return $answer;
}

sub get  { my ($self, $target, %option) = @_; return $self->request('GET',  $target, %option) }
sub post { my ($self, $target, %option) = @_; return $self->request('POST', $target, %option) }

# The same again while the answer is 503 (Clerk is being asked): what a client with patience sees.
sub decided {
    my ($self, $method, $target, %option) = @_;
    my $end = time + ($option{patience} // 30);
    while (1) {
        my $answer = $self->request($method, $target, %option);
        return $answer if $answer->{status} != 503 || time > $end;
        sleep 0.05 + rand 0.15;
    }
}

sub body_json {
    my ($answer) = @_;
    return scalar eval { $json->decode($answer->{body}) };
}

# The tracker, through the web server: ($status, $decoded_body, $answer). Token by role, admin by default.
my %token = (post => POST_TOKEN, read => READ_TOKEN, admin => ADMIN_TOKEN);
sub tracker {
    my ($self, $method, $path, $body, %option) = @_;
    my @headers = @{ $option{headers} // [] };
    push @headers, [ 'Authorization', 'Bearer ' . ($option{token} // $token{ $option{role} // 'admin' }) ]
      unless $option{no_token};
    if (defined $body) {
        push @headers, [ 'Content-Type', $option{type} // 'application/json' ];
        $body = $json->encode($body) if ref $body;
    }
    my $answer =
        $self->{pid_of}{lighttpd} || $self->{pid_of}{apache} || $self->{pid_of}{nginx}
      ? http($method, $self->port, "/spendgate$path", headers => \@headers, body => $body)
      : $self->_ask_tracker($method, $path, \@headers, $body);
    return ($answer->{status}, body_json($answer), $answer);
}

# Without a web server: by FastCGI, with headers as lists like those of http().
sub _ask_tracker {
    my ($self, $method, $path, $headers, $body) = @_;
    require FastCGI;
    my ($name, $query) = split /\?/, $path, 2;
    my %params = (REQUEST_METHOD => $method, PATH_INFO => $name, REQUEST_URI => $path, QUERY_STRING => $query // '');
    for my $header (@$headers) {
        my $variable = uc($header->[0]) =~ tr/-/_/r;
        $params{ $variable eq 'CONTENT_TYPE' ? $variable : "HTTP_$variable" } = $header->[1];
    }
    my $answer = FastCGI::request($self->{tracker_address}, \%params, $body);
    $answer->{headers} = { map { $_ => [ $answer->{headers}{$_} ] } keys %{ $answer->{headers} } };
    return $answer;
}

sub spend {
    my ($self, %members) = @_;
    return $self->tracker('POST', '/v1/spend', \%members, role => 'post');
}

# One budget of an account as the tracker shows it; period may be left out.
sub budget {
    my ($self, $account, $period) = @_;
    my ($status, $body) = $self->tracker('GET', "/v1/accounts/$account", undef, role => 'read');
    return {} if $status != 200;
    return (grep { !defined $period || $_->{period} eq $period } @{ $body->{budgets} })[0] // {};
}

# parallel(COUNT, CODE): run CODE(i) in COUNT processes that start together; their results, in order.
sub parallel {
    my ($self, $count, $code) = @_;
    pipe my $gun_read, my $gun_write or die "pipe: $!";
    my (@readers, @pids);
    for my $i (0 .. $count - 1) {
        pipe my $read, my $write or die "pipe: $!";
        my $pid = fork // die "fork: $!";
        if ($pid == 0) {
            close $gun_write;
            close $read;
            sysread $gun_read, my $shot, 1;
            $self->{sharing} = 1;
            my $result = eval { $code->($i) } // { error => "$@" };
            print {$write} $json->encode({ result => $result });
            close $write;
            POSIX::_exit(0);
        }
        close $write;
        push @pids,    $pid;
        push @readers, $read;
    }
    close $gun_read;
    close $gun_write;
    my @results = map { local $/; my $text = readline $_; length $text ? $json->decode($text)->{result} : {} } @readers;
    waitpid $_, 0 for @pids;
    return @results;
}

# ---- Clerk ------------------------------------------------------------------------------------------

sub _clerk_control {
    my ($self, $method, $path, $body) = @_;
    my ($port) = $self->{clerk_url} =~ /:(\d+)\z/;
    my $answer = http($method, $port, "/__control/$path", body => defined $body ? $json->encode($body) : undef);
    confess "stand-in: $method $path: $answer->{status} $answer->{body}" if $answer->{status} != 200;
    return body_json($answer);
}

# A subject id in Clerk's form, made from a short name.
sub subject {
    my ($self, $name, $kind) = @_;
    return ($kind // 'user') . '_' . substr($name . '0' x 27, 0, 27);
}

# A new key at Clerk; returns its secret. clerk_key returns the whole key.
sub key       { my ($self, %key) = @_; return $self->clerk_key(%key)->{secret} }
sub clerk_key {
    my ($self, %key) = @_;
    my $object = $self->_clerk_control('POST', 'keys', \%key);
    return $self->{clerk_keys}{ $object->{secret} } = $object;
}

# From here on the gate may know the old object or the new one: it is not compared with explain any more.
sub clerk_change {
    my ($self, $id, %change) = @_;
    $self->_forget_key($id);
    return $self->_clerk_control('PATCH', "keys/$id", \%change);
}

sub _forget_key {
    my ($self, $id) = @_;
    my $keys = $self->{clerk_keys};
    delete @$keys{ grep { $keys->{$_}{id} eq $id } keys %$keys };
    return;
}

sub clerk_revoke {
    my ($self, $id) = @_;
    $self->_forget_key($id);
    return $self->_clerk_control('POST', "keys/$id/revoke");
}

sub clerk_delete {
    my ($self, $id) = @_;
    $self->_forget_key($id);
    return $self->_clerk_control('DELETE', "keys/$id");
}

sub clerk_behave { my ($self, %how) = @_; return $self->_clerk_control('POST', 'behaviour', \%how) }
sub clerk_calm   { my ($self) = @_; return $self->_clerk_control('DELETE', 'behaviour') }
sub clerk_last   { my ($self) = @_; return $self->_clerk_control('GET', 'last') }

sub clerk_calls {
    my ($self, $endpoint) = @_;
    return $self->_clerk_control('GET', 'counts')->{ $endpoint // 'verify' }{calls} // 0;
}

sub clerk_forget_calls { my ($self) = @_; return $self->_clerk_control('DELETE', 'counts') }

1;

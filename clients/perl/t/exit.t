# SPDX-License-Identifier: MIT
# However a program ends, it posts once. Each runs in a process of its own.
use strict;
use warnings;
use FindBin qw($Bin);
use lib "$Bin/lib";
use Server;
use Test::More;
use Time::HiRes qw(sleep time);

my $server = Server->new;
my $library = "$Bin/../lib";

# Run a program that has spent 2 cents; (exit status, standard error).
sub program {
    my ($code, %option) = @_;
    my $log = "$server->{folder}/stderr";
    unlink $log;
    my $pid = fork // die "fork: $!";
    if ($pid == 0) {
        %ENV = (
            PATH                    => $ENV{PATH},
            SPENDGATE_TRACKER_URL   => $server->url,
            SPENDGATE_TRACKER_TOKEN => 'sgt_test',
            SPENDGATE_SPOOL_DIR     => $server->spool,
            SPENDGATE_HOLD_ID       => 'hld_1',
            SPENDGATE_SUBJECT       => 'user_1',
        );
        # What nohup and the like ignore stays ignored in their programs; here it is what is tested.
        $SIG{$_} = 'DEFAULT' for qw(TERM HUP INT QUIT ALRM XCPU PIPE);
        open STDERR, '>', $log or die;
        my @shell = $option{shell} ? ('sh', '-c', "$option{shell} exec \"\$@\"", 'sh') : ();
        exec @shell, $^X, "-I$library", '-we',
            "use Spendgate::Tracker; my \$t = Spendgate::Tracker->from_environment; \$t->spend('0.02'); $code"
            or die;
    }
    $option{then}->($pid) if $option{then};
    waitpid $pid, 0;
    my $status = $?;
    open my $file, '<', $log or die;
    return ($status, do { local $/; <$file> } // '');
}

my %ends = (
    'at its end'            => [ '', 0 ],
    'exit'                  => [ 'exit 3;', 3 << 8 ],
    'die'                   => [ 'die "broken\n";', 255 << 8 ],
    'die inside an object'  => [ 'sub f { my $inner = shift; die "broken\n" } f($t);', 255 << 8 ],
    'settled before'        => [ '$t->settle;', 0 ],
    'kept to the end'       => [ 'our $keep = $t;', 0 ],
    'a signal'              => [ 'kill "TERM", $$; sleep 10;', 1 << 8 ],
    'a hangup'              => [ 'kill "HUP", $$; sleep 10;', 1 << 8 ],
    'an alarm'              => [ 'alarm 1; sleep 10;', 1 << 8 ],
    'a pipe nobody reads'   => [ 'pipe my $r, my $w; close $r; syswrite $w, "x"; exit 4;', 4 << 8 ],
    'a handler of its own'  => [ '$SIG{TERM} = sub { exit 5 }; kill "TERM", $$; sleep 10;', 5 << 8 ],
    'an eval that survives' => [ 'eval { die "x" }; exit 0;', 0 ],
);
for my $name (sort keys %ends) {
    $server->forget;
    my ($code, $want) = @{ $ends{$name} };
    my ($status, $error) = program($code);
    is $status, $want, "$name: the exit status is kept" or diag $error;
    is_deeply [ map { $_->{body} } $server->asked ], ['{"cost_usd":"0.02","hold_id":"hld_1","subject":"user_1"}'], "$name: one post"
        or diag $error;
}

$server->forget;
program('my $pid = fork; exit 0 if $pid == 0; waitpid $pid, 0;');
is scalar(my @forked = $server->asked), 1, 'a child that is forked does not post';

$server->forget;
program('sub f { my $u = Spendgate::Tracker->from_environment; $u->spend("0.05"); return } f(); print STDERR "after\n";');
is_deeply [ map { JSON::PP::decode_json($_->{body})->{cost_usd} } $server->asked ], [ '0.05', '0.02' ],
    'an object of a function posts when the function is over';

$server->forget;
my $begin = time;
program('print STDERR "ready\n"; sleep 30;', then => sub {
    my ($pid) = @_;
    sleep 0.02 until -s "$server->{folder}/stderr" || time > $begin + 20;
    kill 'TERM', $pid;
});
is scalar(my @stopped = $server->asked), 1, 'stopped by its server';

$server->stop;
my ($status, $error) = program('');
is $status, 0, 'a tracker that is down does not change how the program ends';
is scalar(my @files = $server->spooled), 1, 'and leaves the post in the spool';
like $error, qr/\Aspendgate: the tracker does not answer; the post is kept in \Q$files[0]\E\n\z/, 'which is told';
unlink @files;

# Nothing can be written but what goes to a pipe.
my $full = "$server->{folder}/stderr";
unlink $full;
POSIX::mkfifo($full, 0600) or die "mkfifo: $!";
open my $log, '+<', $full or die "fifo: $!";
{
    my $pid = fork // die "fork: $!";
    if ($pid == 0) {
        %ENV = (PATH => $ENV{PATH}, SPENDGATE_TRACKER_URL => $server->url, SPENDGATE_TRACKER_TOKEN => 't',
            SPENDGATE_SPOOL_DIR => $server->spool, SPENDGATE_SUBJECT => 'user_1');
        open STDERR, '>&', $log or die;
        exec 'sh', '-c', 'ulimit -f 0; exec "$@"', 'sh', $^X, "-I$library", '-MSpendgate::Tracker', '-e',
            'Spendgate::Tracker->from_environment->spend("0.02")' or die;
    }
    waitpid $pid, 0;
}
$log->blocking(0);
sysread $log, my $text, 65_536;
like $text // '', qr/cannot write to the spool directory .*; not delivered: \{"cost_usd":"0\.02"/, 'a full disk leaves the post in the log';
is_deeply [ $server->spooled ], [], 'and nothing half in the spool';
done_testing;

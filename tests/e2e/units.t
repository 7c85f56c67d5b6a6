# SPDX-License-Identifier: MIT
# The programs in the sandbox of their systemd units, read from the very files: the system calls, address families and view of /proc
# that the unit leaves them are enough for a request, for the cache, for a group of the store and for a post. Without systemd:
# lib/sandbox.c does what it would do. (A /proc of its own only as root, and where mounts may be made.)
# store: sqlite (it is about the files)
use strict;
use warnings;
use FindBin qw($Bin);
use lib "$Bin/lib";
use Socket ();
use Spendgate::E2E;
use Test::More;

# What a unit says, the last word of each key; of SystemCallFilter all of them, in order.
sub unit {
    my ($name) = @_;
    open my $file, '<', Spendgate::E2E::checkout() . "/conf/systemd/spendgate-$name.service.in" or die $!;
    my %unit = (SystemCallFilter => []);
    while (<$file>) {
        my ($key, $value) = /\A(\w+)=(.*)\n/ or next;
        if ($key eq 'SystemCallFilter') { push @{ $unit{$key} }, $value }
        else                            { $unit{$key} = $value }
    }
    return \%unit;
}

# The calls of a name or a set, as systemd knows them.
my %known;
sub calls {
    my ($name) = @_;
    return $name if $name !~ /\A\@/;
    return @{ $known{$name} //= do {
        my @lines = qx(systemd-analyze --no-pager syscall-filter '$name');
        die "systemd-analyze does not know $name" if $? || @lines < 2;
        shift @lines;
        [ map { calls($_) } grep { /\A\@?\w/ } map { s/\A\s+|\s+\z//gr } @lines ];
    } };
}

sub allowed {
    my ($unit) = @_;
    my %allowed = map { $_ => 1 } calls('@default');
    for my $line (@{ $unit->{SystemCallFilter} }) {
        my ($but, $names) = $line =~ /\A(~?)(.*)\z/;
        for my $call (map { calls($_) } split ' ', $names) {
            if   ($but) { delete $allowed{$call} }
            else        { $allowed{$call} = 1 }
        }
    }
    return sort keys %allowed;
}

# Whether this machine lets root make a /proc of its own.
sub can_mount {
    return $> == 0 && system('unshare --mount mount -t proc -o hidepid=invisible proc /proc 2>/dev/null') == 0;
}

my $gate = Spendgate::E2E->new(wrap_root => $> == 0);
system('cc', '-O1', '-D_GNU_SOURCE', '-o', $gate->path('bin/sandbox'), "$Bin/lib/sandbox.c", '-lseccomp') == 0 or die 'sandbox.c does not compile';
$gate->start_clerk;
my $group = getgrgid(defined $gate->{gid} ? $gate->{gid} : (split ' ', $))[0]);
$gate->write_settings;
(my $settings = $gate->read_file('etc/spendgate.conf')) =~ s/^store \{/store { group = "$group" /m or die;
$gate->write_file('etc/spendgate.conf', $settings);

my $mounts = can_mount();
diag 'sandbox: /proc stays as it is here' if !$mounts;
for my $name (qw(authorizer tracker)) {
    my $unit = unit($name);
    my @proc = (
        $unit->{ProtectProc} ? "hidepid=$unit->{ProtectProc}" : (),
        $unit->{ProcSubset} ? "subset=$unit->{ProcSubset}" : (),
    );
    is $unit->{SystemCallErrorNumber}, 'EPERM', "$name: what is not allowed fails, and kills nothing";
    is $unit->{UMask}, '0077', "$name: its umask";
    my @families = map { Socket->can($_)->() } split ' ', $unit->{RestrictAddressFamilies};
    my @allowed = allowed($unit);
    cmp_ok scalar(@allowed), '>', 100, "$name: a list of calls";
    $gate->{option}{wrap} = [
        $gate->path('bin/sandbox'), $gate->write_file("etc/calls.$name", join("\n", @allowed) . "\n"),
        join(',', @families), $mounts ? join(',', @proc) : '', map { $_ // '-' } @{$gate}{qw(uid gid)}
    ];
    if ($name eq 'authorizer') { $gate->start_authorizer } else { $gate->start_tracker }
}

my $anna   = $gate->subject('anna');
my $secret = $gate->key(subject => $anna);
$gate->clerk_forget_calls;
my $answer;
for my $i (1 .. 6) {
    $answer = $gate->authorize('/api/x', key => $secret, explain => 0);
    is $answer->{status}, 200, "request $i passes" or diag $answer->{body}, $gate->logs;
}
is $gate->clerk_calls('verify'), 1, 'six requests to four workers, and one call to Clerk: the cache is used';
unlike $gate->logs, qr/cache_bypassed/, 'and nobody says otherwise' or diag $gate->logs;
my ($status, $body) = $gate->tracker('POST', '/v1/spend', { hold_id => $answer->{env}{SPENDGATE_HOLD_ID}, cost_usd => '0.01' });
is "$status " . ($body->{hold} // ''), '200 settled', 'a post' or diag $gate->logs;
my @modes = map { sprintf '%o %s', (stat)[2] & 0777, scalar getgrgid((stat _)[5]) } $gate->path('store/spendgate.db'), $gate->path('cache/cache.db');
is "@modes", "660 $group 660 $group", 'the files are the group\'s';
unlike $gate->logs, qr/Operation not permitted|errno 1\b/, 'nothing was forbidden';
done_testing;

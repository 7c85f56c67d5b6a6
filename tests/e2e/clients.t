# SPDX-License-Identifier: MIT
# The PHP and the Perl client under real web servers: one charge per call, whatever happens to the page, to its client,
# to the tracker or to the tracker's answers. SPENDGATE_E2E_DOWN=10: the tracker is down for so many seconds.
# begun first
use strict;
use warnings;
use FindBin qw($Bin);
use lib "$Bin/lib";
use IO::Select;
use IO::Socket::INET;
use Spendgate::E2E;
use Test::More;
use Time::HiRes qw(sleep time);

my $LOST_CALLS   = 20;
my $DOWN_SECONDS = $ENV{SPENDGATE_E2E_DOWN} // 3;
my $HOLD_TTL     = 4;
my $seed         = $ENV{SPENDGATE_E2E_SEED} // int rand 1e9;
diag "SPENDGATE_E2E_SEED=$seed";

my $plans = <<'END';
plan "free" {
    budget "month" { limit_usd = "100.00"  period = "month" }
    hold_usd = "0.05"
}
default_plan = "free"
END

sub charges {
    my ($gate, $subject) = @_;
    my ($status, $body) = $gate->tracker('GET', "/v1/charges?account=$subject&limit=1000", undef, role => 'read');
    return @{ $body->{charges} // [] };
}

# Charges come when the page has ended, which can be after its answer.
sub charges_grow_to {
    my ($gate, $subject, $want) = @_;
    my $end = time + 20;
    my @charges;
    while (time < $end) {
        @charges = charges($gate, $subject);
        last if @charges >= $want;
        sleep 0.05;
    }
    sleep 0.2;    # one too many would come now
    return charges($gate, $subject);
}

# Hangs up in the middle of the answer.
sub hang_up {
    my ($gate, $page, $key) = @_;
    my $socket = IO::Socket::INET->new(PeerAddr => '127.0.0.1', PeerPort => $gate->port, Timeout => 10) or die "connect: $!";
    print {$socket} "GET $page HTTP/1.1\r\nHost: 127.0.0.1:@{[ $gate->port ]}\r\nAuthorization: Bearer $key\r\nConnection: close\r\n\r\n";
    my $got = '';
    sysread $socket, $got, 65_536, length $got while length $got < 100_000 && IO::Select->new($socket)->can_read(10);
    close $socket;
    return length $got;
}

# Hands requests on to the web server, and loses each answer with this probability.
sub start_lossy_proxy {
    my ($port, $loss) = @_;
    my $listener = IO::Socket::INET->new(LocalAddr => '127.0.0.1', Listen => 50, ReuseAddr => 1) or die "listen: $!";
    my $pid = fork // die "fork: $!";
    if ($pid == 0) {
        $SIG{TERM} = 'DEFAULT';
        srand $seed;
        while (my $client = $listener->accept) {
            my $request = '';
            while ($request !~ /\r\n\r\n/ || length($request) - $+[0] < ($request =~ /^Content-Length: (\d+)/im ? $1 : 0)) {
                sysread $client, $request, 65_536, length $request or last;
                $request =~ /\r\n\r\n/;
            }
            my $server = IO::Socket::INET->new(PeerAddr => '127.0.0.1', PeerPort => $port) or next;
            $request =~ s/^Connection:.*\r\n//im;
            $request =~ s/\r\n/\r\nConnection: close\r\n/;
            print {$server} $request;
            my $answer = do { local $/; <$server> };
            print {$client} $answer if rand() >= $loss;
            close $client;
        }
        require POSIX;
        POSIX::_exit(0);
    }
    return ($pid, $listener->sockport);
}

# Pages that last three times as long as a hold lives, beside all the rest: name => { subject, pid, file }.
sub start_streams {
    my ($gate) = @_;
    my %streams;
    for my $name ('php', 'pl', 'php-silent', 'pl-silent') {
        my ($page, $silent) = split /-/, $name;
        my $subject = $gate->subject("stream$page" . ($silent ? 'silent' : ''));
        my $key     = $gate->key(subject => $subject);
        my $file    = $gate->path("tmp/stream-$name");
        my $pid     = fork // die "fork: $!";
        if ($pid == 0) {
            $gate->{sharing} = 1;
            my $seconds = 3 * $HOLD_TTL;
            my $query   = "mode=stream&seconds=$seconds&ttl=${HOLD_TTL}s" . ($silent ? '&heartbeat=0' : '');
            my $answer  = $gate->decided("GET", "/api/work.$page?$query", key => $key, timeout => 60);
            open my $out, '>', $file or POSIX::_exit(1);
            print {$out} "$answer->{status} $answer->{body}";
            close $out;
            require POSIX;
            POSIX::_exit(0);
        }
        $streams{$name} = { subject => $subject, pid => $pid, file => $file };
    }
    return %streams;
}

sub check_streams {
    my ($gate, $kind, %streams) = @_;
    for my $name (sort keys %streams) {
        my $stream = $streams{$name};
        my $silent = $name =~ /silent/;
        waitpid $stream->{pid}, 0;
        like $gate->read_file("tmp/stream-$name"), qr/\A200 [.]+done\z/, "$kind: a long stream of $name ends well";
        my @charges = charges_grow_to($gate, $stream->{subject}, 1);
        is scalar @charges, 1, "$kind: $name: one charge";
        # What was told of the hold at its end.
        my ($status, $body, $answer) = $gate->spend(hold_id => $charges[0]{hold_id}, subject => $stream->{subject}, cost_usd => '0.03');
        is $answer->{headers}{'idempotent-replayed'}[0], 'true', "$kind: $name: its post again is a repeat";
        is $body->{hold}, $silent ? 'expired' : 'settled',
            "$kind: $name: " . ($silent ? 'without a heartbeat the hold is lost' : 'the heartbeat kept the hold three times as long');
    }
    return;
}

# Pages that are called while the tracker is down post later: by the spool, twice, and each counts once.
sub tracker_down {
    my ($gate, $kind, $key, $subject) = @_;
    my %before = map { $_ => scalar charges($gate, $subject->{$_}) } keys %$subject;
    my %calls;
    $gate->stop('tracker');
    my $end = time + $DOWN_SECONDS;
    while (time < $end) {
        for my $page (sort keys %$subject) {
            my $answer = $gate->get($page, key => $key->{$page});
            is $answer->{status}, 200, "$kind $page: a tracker that is down does not break the page" if !$calls{$page}++;
        }
    }
    # The answer is out before the page's last word to the tracker.
    my $count = 0;
    $count += $_ for values %calls;
    my @spooled;
    for (1 .. 100) {
        @spooled = glob $gate->path('spool/*.json');
        last if @spooled >= $count;
        sleep 0.1;
    }
    is scalar @spooled, $count, "$kind: tracker down: one file for each of $count calls";
    is((stat $spooled[0])[2] & 07777, 0600, "$kind: for nobody else to read");
    unlike $gate->read_file('spool/' . ($_ =~ s{.*/}{}r)), qr/\Q@{[ Spendgate::E2E::POST_TOKEN() ]}/, "$kind: without the token"
        for $spooled[0], $spooled[-1];
    my $copy = $gate->path('spool.copy');
    mkdir $copy or die "mkdir: $!";
    $gate->copy_tree($gate->path('spool'), 'spool.copy');
    $gate->_own($_) for $copy, glob "$copy/*";
    $gate->start_tracker;
    my ($exit, $out, $err) = $gate->cli('spool', 'replay', $gate->path('spool'), '--json');
    is $exit, 0, "$kind: the spool is replayed" or diag $err;
    like $out, qr/"recorded":$count,/, "$kind: each post counts";
    is_deeply [ glob $gate->path('spool/*') ], [], "$kind: the spool is empty";
    ($exit, $out, $err) = $gate->cli('spool', 'replay', $copy, '--json');
    like $out, qr/"recorded":0,"counted_before":$count,/, "$kind: and a second time it does not" or diag $err;
    # lighttpd asks a backend that was down again only after a second or two
    for my $page (sort keys %$subject) {
        my @charges = charges_grow_to($gate, $subject->{$page}, $before{$page} + $calls{$page});
        is scalar @charges, $before{$page} + $calls{$page}, "$kind $page: tracker down for $DOWN_SECONDS s: one charge per call";
        is $gate->budget($subject->{$page})->{held_usd}, '0', "$kind $page: nothing is left on hold";
    }
    return;
}

for my $kind (qw(lighttpd-sockets authnz-fcgi)) {
    my $gate = Spendgate::E2E->new(
        plans  => $plans,
        ledger => qq(ledger { hold_ttl = "${HOLD_TTL}s" }),
        www    => "$Bin/www-clients"
    );
    $gate->copy_tree("$Bin/../../clients", 'clients');
    $gate->write_file('etc/tracker_token', Spendgate::E2E::POST_TOKEN() . "\n", 0600);
    mkdir $gate->path('spool') or die "spool: $!";
    $gate->_own($gate->path('spool'));
    $gate->start_web($kind);
    my ($lossy_pid, $lossy_port) = start_lossy_proxy($gate->port, 0.5);

    my %subject = ('/api/work.php' => $gate->subject('phil'), '/api/work.pl' => $gate->subject('perla'));
    my %key     = map { $_ => $gate->key(subject => $subject{$_}) } keys %subject;
    my %streams = start_streams($gate);

    for my $page (sort keys %subject) {
        my $name    = "$kind $page";
        my $subject = $subject{$page};
        my $key     = $key{$page};
        my $want    = 0;
        my $one_more = sub {
            my ($what) = @_;
            my @charges = charges_grow_to($gate, $subject, ++$want);
            is scalar @charges, $want, "$name: $what: one charge";
            is $charges[0]{cost_usd}, '0.03', "$name: $what: of 3 cents";
            return $charges[0];
        };

        my $answer = $gate->decided('GET', $page, key => $key);
        is $answer->{status}, 200, "$name: success" or diag $answer->{body}, $gate->logs;
        my $charge = $one_more->('success');
        is $charge->{model}, 'work', "$name: with its details";
        like $charge->{hold_id}, qr/\Ahld_/, "$name: it settles the hold";

        $gate->get("$page?mode=die", key => $key);
        $one_more->('the page breaks after the work');

        cmp_ok hang_up($gate, "$page?mode=hangup", $key), '>', 0, "$name: the client hangs up";
        $one_more->('the client hangs up');

        $answer = $gate->get("$page?mode=extend", key => $key);
        like $answer->{body}, qr/\A0\.15\n/, "$name: a hold is raised by what is asked for";
        $one_more->('a raised hold');

        $answer = $gate->get("$page?mode=void", key => $key);
        is $answer->{body}, 'voided', "$name: a hold is given back";
        is scalar charges($gate, $subject), $want, "$name: which costs nothing";

        # Half of the answers are lost on their way. A post of which three were lost is in the spool, though it was counted.
        $gate->get("$page?tracker=$lossy_port", key => $key) for 1 .. $LOST_CALLS;
        my @charges = charges_grow_to($gate, $subject, $want + $LOST_CALLS);
        my $spooled = () = glob $gate->path('spool/*');
        note "$spooled of $LOST_CALLS posts lost three answers";
        my ($exit, $out, $err) = $gate->cli('spool', 'replay', $gate->path('spool'), '--json');
        is $exit, 0, "$name: the spool is replayed" or diag $err;
        like $out, qr/"recorded":0,"counted_before":$spooled,/, "$name: whose posts were counted before";
        @charges = charges($gate, $subject);
        is scalar @charges, $want += $LOST_CALLS, "$name: answers lost at random: one charge per call";
        my $budget = $gate->budget($subject);
        is $budget->{spent_usd}, sprintf('%.2f', 0.03 * $want) =~ s/\.?0+\z//r, "$name: spent is their sum";
        is $budget->{held_usd}, '0', "$name: nothing is left on hold";
    }
    # Before the tracker is away for longer than a hold lives.
    check_streams($gate, $kind, %streams);
    tracker_down($gate, $kind, \%key, \%subject);
    kill 'TERM', $lossy_pid;
    waitpid $lossy_pid, 0;
    my ($exit, $out) = $gate->cli('verify');
    is $exit, 0, "$kind: verify is green" or diag $out;
}
done_testing;

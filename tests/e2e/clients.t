# SPDX-License-Identifier: MIT
# The PHP and the Perl client under real web servers: one charge per call, whatever happens to the page, to its client,
# to the tracker or to the tracker's answers.
use strict;
use warnings;
use FindBin qw($Bin);
use lib "$Bin/lib";
use IO::Select;
use IO::Socket::INET;
use Spendgate::E2E;
use Test::More;
use Time::HiRes qw(sleep time);

my $LOST_CALLS = 20;

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

# Hands requests on to the web server, and loses every second answer.
sub start_lossy_proxy {
    my ($port) = @_;
    my $listener = IO::Socket::INET->new(LocalAddr => '127.0.0.1', Listen => 50, ReuseAddr => 1) or die "listen: $!";
    my $pid = fork // die "fork: $!";
    if ($pid == 0) {
        $SIG{TERM} = 'DEFAULT';
        my $count = 0;
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
            print {$client} $answer if $count++ % 2;
            close $client;
        }
        require POSIX;
        POSIX::_exit(0);
    }
    return ($pid, $listener->sockport);
}

for my $kind (qw(lighttpd-sockets authnz-fcgi)) {
    my $gate = Spendgate::E2E->new(plans => $plans, www => "$Bin/www-clients");
    $gate->copy_tree("$Bin/../../clients", 'clients');
    $gate->write_file('etc/tracker_token', Spendgate::E2E::POST_TOKEN() . "\n", 0600);
    mkdir $gate->path('spool') or die "spool: $!";
    $gate->_own($gate->path('spool'));
    $gate->start_web($kind);
    my ($lossy_pid, $lossy_port) = start_lossy_proxy($gate->port);

    for my $page ('/api/work.php', '/api/work.pl') {
        my $name    = "$kind $page";
        my $subject = $gate->subject($page =~ /php/ ? 'phil' : 'perla');
        my $key     = $gate->key(subject => $subject);
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

        # Down: the post is in the spool, whole, and counts once however often it is posted again.
        $gate->stop('tracker');
        $answer = $gate->get($page, key => $key);
        is $answer->{status}, 200, "$name: a tracker that is down does not break the page";
        my @spooled = glob $gate->path('spool/*');
        is scalar @spooled, 1, "$name: tracker down: one post in the spool";
        like $spooled[0], qr/\.json\z/, "$name: under its final name";
        is((stat $spooled[0])[2] & 07777, 0600, "$name: for nobody else to read");
        my $text = $gate->read_file($spooled[0] =~ s{\A\Q$gate->{folder}\E/}{}r);
        my $post = Spendgate::E2E::body_json({ body => $text });
        unlike $text, qr/\Q@{[ Spendgate::E2E::POST_TOKEN() ]}/, "$name: without the token";
        $gate->start_tracker;
        for my $round (1, 2) {
            # lighttpd asks a backend that was down again only after a second or two
            my ($status, $end) = (503, time + 20);
            while ($status == 503 && time < $end) {
                ($status) = $gate->spend(%{ $post->{body} });
                sleep 0.1 if $status == 503;
            }
            is $status, 200, "$name: posting it, time $round";
        }
        unlink @spooled;
        $one_more->('the tracker was down');

        # Every second answer is lost on its way.
        $gate->get("$page?tracker=$lossy_port", key => $key) for 1 .. $LOST_CALLS;
        my @charges = charges_grow_to($gate, $subject, $want + $LOST_CALLS);
        is scalar @charges, $want + $LOST_CALLS, "$name: answers lost at random: one charge per call";
        is_deeply [ glob $gate->path('spool/*') ], [], "$name: a repetition got through, nothing was spooled";
        my $budget = $gate->budget($subject);
        is $budget->{spent_usd}, sprintf('%.2f', 0.03 * ($want + $LOST_CALLS)) =~ s/0+\z//r, "$name: spent is their sum";
        is $budget->{held_usd}, '0', "$name: nothing is left on hold";
    }
    kill 'TERM', $lossy_pid;
    waitpid $lossy_pid, 0;
    my ($exit, $out) = $gate->cli('verify');
    is $exit, 0, "$kind: verify is green" or diag $out;
}
done_testing;

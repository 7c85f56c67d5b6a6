#!/usr/bin/perl
# SPDX-License-Identifier: MIT
# The demo's story, called by demo.sh: every request is a curl command, printed with its answer.
use strict;
use warnings;
use FindBin qw($Bin);
use lib "$Bin/../../tests/e2e/lib";
use Getopt::Long qw(GetOptions);
use Spendgate::E2E;
use Time::HiRes qw(sleep);

my %option = (web => 'lighttpd');
GetOptions(\%option, 'web=s', 'serve') or die "usage: play.pl [--web=lighttpd|authnz-fcgi] [--serve]\n";
$| = 1;
$SIG{INT} = $SIG{TERM} = $SIG{HUP} = sub { exit($option{serve} ? 0 : 130) };

my $real_clerk = $ENV{CLERK_SECRET_KEY};
my $gate = Spendgate::E2E->new(
    www   => "$Bin/www",
    plans => <<'END',
plan "demo" {
    budget "month" { limit_usd = "1.00"  period = "month" }
    hold_usd = "0.20"
}
default_plan = "demo"
END
    clerk => 'cache_ttl = "2s"',
    $real_clerk
    ? (secret_key => $real_clerk, clerk_url => $ENV{CLERK_API_URL} // 'https://api.clerk.com')
    : (),
);
$gate->start_clerk unless $real_clerk;
$gate->start_web($option{web});

my $url = 'http://127.0.0.1:' . $gate->port;
my ($subject, $key, $secret);
if ($real_clerk) {
    $secret = $ENV{DEMO_API_KEY};
}
else {
    $subject = $gate->subject('demo');
    $key     = $gate->clerk_key(subject => $subject, name => 'demo key');
    $secret  = $key->{secret};
}
my $server = $option{web} eq 'lighttpd' ? 'lighttpd' : 'Apache (mod_authnz_fcgi)';
print "Spendgate behind $server on $url, Clerk is ",
  ($real_clerk ? 'the real one' : 'a stand-in at ' . $gate->{clerk_url}), ".\n",
  "The plan: one dollar a month; every call of /api/poem.php costs 20 cents.\n";

$option{serve} ? serve() : story();
exit 0;

sub say_step { print "\n# $_[0]\n" }

# Print a curl command as a person would type it, run it, print the answer; it must have this status.
sub curl {
    my ($want, @arguments) = @_;
    my @shown = map { s/\Q$secret\E/\$KEY/gr =~ s/\Q@{[ Spendgate::E2E::ADMIN_TOKEN ]}\E/\$ADMIN/gr } @arguments;
    print join(' ', '$ curl -i', map { /\$/ ? qq("$_") : m{[^\w./:=@%-]} ? "'$_'" : $_ } @shown), "\n";
    open my $pipe, '-|', 'curl', '-sS', '-i', '--max-time', '20', @arguments or die "curl: $!\n";
    my $answer = do { local $/; <$pipe> } // '';
    close $pipe or die "demo: curl failed\n";
    my ($head, $body) = split /\r?\n\r?\n/, $answer, 2;
    my ($line, @headers) = split /\r?\n/, $head;
    my @interesting = grep { /\A(?:content-type|retry-after|www-authenticate|ratelimit)/i } @headers;
    print map { "    $_\n" } $line, @interesting;
    print map { "    $_\n" } split /\n/, $body // '';
    my ($status) = $line =~ /\A\S+ (\d+)/;
    die "demo: wanted $want, got $line\n", $gate->logs if ($status // 0) != $want;
    return $body;
}

sub poem { return curl($_[0], '-H', "Authorization: Bearer $secret", "$url/api/poem.php") }

sub tracker {
    my ($want, $method, $path, @more) = @_;
    return curl($want, '-X', $method, '-H', 'Authorization: Bearer ' . Spendgate::E2E::ADMIN_TOKEN, @more, "$url/spendgate$path");
}

sub command {
    my ($want, @arguments) = @_;
    print "\$ spendgate @arguments\n";
    my ($code, $out, $err) = $gate->cli(@arguments);
    print map { "    $_\n" } split /\n/, $out . $err;
    die "demo: wanted exit $want, got $code\n" if $code != $want;
    return;
}

sub story {
    say_step('Nobody passes without a key.');
    curl(401, "$url/api/poem.php");
    say_step('Nor with a key that Clerk does not know.');
    curl(401, '-H', 'Authorization: Bearer ak_made_up', "$url/api/poem.php");
    say_step('A key of Clerk passes: 20 cents are held for the call, and the page posts what it cost.');
    my $first = poem(200);
    ($subject) = $first =~ /"for": "([^"]+)"/ or die "demo: the page does not know its caller\n";
    say_step('Until the dollar is spent.');
    poem(200) for 1 .. 4;
    say_step('The sixth call is refused: the cap holds.');
    poem(429);
    say_step('What the tracker knows.');
    tracker(200, 'GET', "/v1/accounts/$subject");
    say_step('A top-up of 50 cents, and the same key is back at once.');
    tracker(200, 'POST', "/v1/accounts/$subject/credits", '-H', 'Content-Type: application/json', '-d',
        '{"amount_usd":"0.50","note":"demo"}');
    poem(200);
    say_step('Frozen here: refused on the next request. Unfrozen: back.');
    command(0, 'account', 'freeze', $subject);
    poem(403);
    command(0, 'account', 'unfreeze', $subject);
    poem(200);
    if ($key) {
        say_step('The key is revoked at Clerk: refused within cache_ttl, here 2 seconds.');
        $gate->clerk_revoke($key->{id});
        sleep 2.1;
        poem(401);
    }
    say_step('Every balance is the sum of its journal.');
    command(0, 'verify');
    print "\nThe story is told; everything that was started is stopped.\n";
    return;
}

sub serve {
    my $config = $gate->config;
    my $bin    = $gate->path('bin/spendgate');
    print <<"END";

Try, in another terminal:

    KEY=$secret
    ADMIN=@{[ Spendgate::E2E::ADMIN_TOKEN ]}
    curl -i $url/api/poem.php
    curl -i -H "Authorization: Bearer \$KEY" $url/api/poem.php        # until the dollar is spent
    curl -s -H "Authorization: Bearer \$ADMIN" $url/spendgate/v1/accounts
    $bin --config $config account list
    $bin --config $config budget topup @{[ $subject // 'SUBJECT' ]} 0.50
    $bin --config $config verify
    tail -f @{[ $gate->path('log') ]}/*
END
    print <<"END" unless $real_clerk;
    curl -s -X POST $gate->{clerk_url}/__control/keys/$key->{id}/revoke     # revoke it at Clerk's stand-in
END
    print "\nCtrl-C stops everything.\n";
    sleep 1 while 1;
    return;
}

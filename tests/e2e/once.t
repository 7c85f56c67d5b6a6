# SPDX-License-Identifier: MIT
# Apache asks once to five times for one client request; it costs one hold, and the page sees its variables once.
use strict;
use warnings;
use FindBin qw($Bin);
use lib "$Bin/lib";
use Spendgate::E2E;
use Test::More;

my $plans = <<'END';
plan "free" { budget "month" { limit_usd = "10.00"  period = "month" }  hold_usd = "0.05" }
default_plan = "free"
END

# target, what is special about it
my @targets = (
    [ '/api/file.txt',         'a plain file' ],
    [ '/api/env.php',          'a script' ],
    [ '/api/dir/',             'DirectoryIndex' ],
    [ '/api/nice/pretty/x',    'RewriteRule in .htaccess' ],
    [ '/api/env.php/a/b',      'PATH_INFO of two segments, PHP' ],
    [ '/api/env.pl/a/b',       'PATH_INFO of two segments, CGI' ],
    [ '/api/nice/missing.txt', 'ErrorDocument script' ],
);

for my $kind (qw(authnz-fcgi fcgid)) {
    my $gate = Spendgate::E2E->new(plans => $plans);
    $gate->start_web($kind);
    my $dave   = $gate->subject('dave');
    my $secret = $gate->key(subject => $dave);
    my $cents  = 0;
    for my $case (@targets) {
        my ($target, $name) = @$case;
        my $answer = $gate->get($target, key => $secret);
        $cents += 5;
        is $answer->{status}, 200, "$kind: $name" or diag $answer->{body}, $gate->logs;
        is $gate->budget($dave)->{held_usd}, sprintf('%.2f', $cents / 100) =~ s/0\z//r, "$kind: $name: one hold";
        next if $target =~ /txt\z/ && $target !~ /missing/;
        my $env = (Spendgate::E2E::body_json($answer) // {})->{env};
        is $env->{SPENDGATE_SUBJECT}, $dave, "$kind: $name: the page sees the subject once";
        is $env->{REMOTE_USER},       $dave, "$kind: $name: and REMOTE_USER";
        like $env->{SPENDGATE_HOLD_ID}, qr/\Ahld_[A-Za-z0-9_-]+\z/, "$kind: $name: and one hold id";
    }
    my @holds = $gate->parallel(20, sub {
        my $answer = $gate->decided('GET', '/api/nice/pretty/x', key => $secret);
        return { id => (Spendgate::E2E::body_json($answer) // {})->{env}{SPENDGATE_HOLD_ID} };
    });
    my %seen = map { ($_->{id} // '') => 1 } @holds;
    is scalar(keys %seen), 20, "$kind: 20 requests at once have 20 holds";
    $cents += 100;
    is $gate->budget($dave)->{held_usd}, sprintf('%.2f', $cents / 100) =~ s/0\z//r, "$kind: and no hold more";

    my ($code, $out, $err) = $gate->cli('verify');
    is $code, 0, "$kind: spendgate verify" or diag $out, $err;
    undef $gate;

    # SetEnvIf in the hands of a stranger: whoever may write it is trusted like the server, but even so a
    # subject or a hold that is not the caller's is refused.
    my $forging = Spendgate::E2E->new(plans => $plans);
    $forging->start_clerk;
    $forging->start_tracker;
    $forging->start_authorizer(listen => 'tcp') if $kind eq 'authnz-fcgi';
    $forging->start_apache(gate => $kind, extra => <<'END');
SetEnvIf X-Say-Subject "(.+)" SPENDGATE_SUBJECT=$1
SetEnvIf X-Say-Hold "(.+)" SPENDGATE_HOLD_ID=$1
END
    my $erins_key = $forging->key(subject => $forging->subject('erin'));
    for my $say (
        [ 'another subject', [ 'X-Say-Subject', $forging->subject('dave') ] ],
        [ 'its own subject and no hold', [ 'X-Say-Subject', $forging->subject('erin') ] ],
        [ 'its own subject and a hold that is not', [ 'X-Say-Subject', $forging->subject('erin') ], [ 'X-Say-Hold', 'hld_x' ] ],
      )
    {
        my ($name, @headers) = @$say;
        my $answer = $forging->get('/api/file.txt', key => $erins_key, headers => \@headers);
        is $answer->{status}, 401, "$kind: a SetEnvIf that says $name is refused" or diag $answer->{body}, $forging->logs;
    }
    is $forging->get('/api/file.txt', key => $erins_key)->{status}, 200, "$kind: without it the key passes";
}
done_testing;

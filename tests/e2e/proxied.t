# SPDX-License-Identifier: MIT
# Proxied backends: identity and budget as request headers that no client can say, in any spelling; and CORS preflights.
# store: sqlite (it is about the web servers)
use strict;
use warnings;
use FindBin qw($Bin);
use lib "$Bin/lib";
use Spendgate::E2E;
use Test::More;

my $plans = <<'END';
plan "held" { match = { "claims.tier=held" }  budget "month" { limit_usd = "10.00"  period = "month" }  hold_usd = "0.05" }
plan "free" { budget "month" { limit_usd = "10.00"  period = "month" } }
default_plan = "free"
END

# How a backend sees the names it knows: without case, "_" like "-".
sub told {
    my ($seen) = @_;
    my %value;
    push @{ $value{ lc $_->[0] =~ tr/_/-/r } }, $_->[1] for @{ $seen->{headers} };
    return \%value;
}

sub start_gate {
    my ($kind, %option) = @_;
    my $gate = Spendgate::E2E->new(plans => $plans);
    my $port = Spendgate::E2E::free_port();
    $gate->start('backend', [ '/usr/bin/perl', "$Bin/lib/echo-backend", $port ], ready => sub { Spendgate::E2E::_accepts("127.0.0.1:$port") });
    $gate->start_web($kind, upstream => $port, %option);
    return $gate;
}

my @preflight = ([ Origin => 'https://app.example' ], [ 'Access-Control-Request-Method' => 'POST' ]);
my @names = qw(Subject Key-Id Org Plan Scopes Hold-Id Remaining-Usd Request-Id);

for my $kind (Spendgate::E2E::server_kinds()) {
    my $gate = start_gate($kind);
    my $rosa = $gate->subject('rosa');
    my $key  = $gate->clerk_key(subject => $rosa, claims => { tier => 'held' });
    my $poor = $gate->key(subject => $gate->subject('sven'));
    my $answer = $gate->get('/api/up/some/page?a=b', key => $key->{secret});
    is $answer->{status}, 200, "$kind: a proxied page" or diag $answer->{body}, $gate->read_file('log/error.log');
    my $told = told(Spendgate::E2E::body_json($answer) // {});
    is "@{ $told->{'x-spendgate-subject'} // [] }", $rosa, "$kind: the subject";
    is "@{ $told->{'x-spendgate-key-id'} // [] }", $key->{id}, "$kind: the key";
    is "@{ $told->{'x-spendgate-plan'} // [] }", 'held', "$kind: the plan";
    is "@{ $told->{'x-spendgate-remaining-usd'} // [] }", '9.95', "$kind: what remains";
    like "@{ $told->{'x-spendgate-hold-id'} // [] }", qr/\Ahld_[0-9a-f]+\z/, "$kind: the hold";
    like "@{ $told->{'x-spendgate-request-id'} // [] }", qr/\Areq_/, "$kind: the request";

    # Ours, once, whatever the client says; and where we have nothing to say, nothing.
    my %say = (
        'as they are'  => sub { map { [ "X-Spendgate-$_" => 'mallory' ] } @names },
        'twice'        => sub { map { ([ "X-Spendgate-$_" => 'mallory' ], [ "X-Spendgate-$_" => 'mallory2' ]) } @names },
        'in lower case' => sub { map { [ lc "X-Spendgate-$_" => 'mallory' ] } @names },
        'as variables' => sub { map { [ 'SPENDGATE_' . (uc =~ tr/-/_/r) => 'mallory' ] } @names },
    );
    for my $how (sort keys %say) {
        for my $secret ($key->{secret}, $poor) {
            $told = told(Spendgate::E2E::body_json($gate->get('/api/up/x', key => $secret, headers => [ $say{$how}->() ])) // {});
            my $who = $secret eq $poor ? 'sven' : 'rosa';
            is "@{ $told->{'x-spendgate-subject'} // [] }", $gate->subject($who), "$kind: headers sent $how: $who is $who";
            my @believed = grep { "@{ $told->{ lc qq{x-spendgate-$_} } // [] }" =~ /mallory/ } @names;
            is "@believed", '', "$kind: headers sent $how: none reaches the backend of $who";
        }
    }
    # With underscores, which many backends take for dashes.
    for my $name (qw(X_Spendgate_Subject X-Spendgate_Subject X_Spendgate-Subject x_spendgate_hold_id X-Spendgate-Hold_Id X_SPENDGATE_KEY_ID)) {
        $answer = $gate->get('/api/up/x', key => $poor, headers => [ [ $name => 'mallory' ] ]);
        is $answer->{status}, 200, "$kind: $name is dropped" or diag $answer->{body};
        unlike $answer->{body}, qr/mallory/, "$kind: $name does not reach the backend";
    }
    is $gate->get('/api/up/x', key => $poor, headers => [ [ X_Other_Name => 'x' ] ])->{status}, 200, "$kind: others may have underscores";
    is $gate->get('/api/up/x', headers => [ $say{'as they are'}->() ])->{status}, 401, "$kind: and none is a credential";

    # A body goes through.
    $answer = $gate->post('/api/up/x', key => $poor, body => 'x' x 3_000_000);
    is((Spendgate::E2E::body_json($answer) // {})->{bytes}, 3_000_000, "$kind: 3 MB reach the backend") or diag $answer->{body};
    is $gate->request('OPTIONS', '/api/up/x', headers => \@preflight)->{status}, 401, "$kind: a preflight is guarded as shipped";
    is index($gate->logs, $key->{secret}), -1, "$kind: no credential in any log";
    undef $gate;

    # Preflights, let through as the files say.
    my %let =
        $kind eq 'nginx' ? (change => { 'spendgate-server.conf' => { '#if ($spendgate_preflight)' => 'if ($spendgate_preflight)' } })
      : $kind =~ /fcgi/  ? (before => "Define SPENDGATE_PREFLIGHT\n")
      :                    (uncomment => 1);
    $gate = start_gate($kind, %let);
    $poor = $gate->key(subject => $gate->subject('sven'));
    $answer = $gate->request('OPTIONS', '/api/up/x', headers => [ @preflight, $say{'as they are'}->() ]);
    is $answer->{status}, 200, "$kind: with its line a preflight passes" or diag $answer->{body}, $gate->read_file('log/error.log');
    my $seen = Spendgate::E2E::body_json($answer) // {};
    like $seen->{line} // '', qr{\AOPTIONS /}, "$kind: to the backend";
    unlike $answer->{body}, qr/mallory/, "$kind: as nobody";
    for my $page ('/api/env.php', '/api/env.pl', '/api/file.txt') {
        $answer = $gate->request('OPTIONS', $page, headers => \@preflight);
        unlike $answer->{body}, qr/<\?php|use strict|guarded file/, "$kind: $page: a preflight shows no source";
    }
    is $gate->request('OPTIONS', '/api/up/x')->{status}, 401, "$kind: OPTIONS that is no preflight does not pass";
    for my $method (qw(GET POST HEAD PUT)) {
        is $gate->request($method, '/api/env.php', headers => \@preflight)->{status}, 401, "$kind: $method is no preflight";
    }
    is $gate->get('/api/env.php', key => $poor)->{status}, 200, "$kind: and the gate works as before";
}
done_testing;

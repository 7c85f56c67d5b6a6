# SPDX-License-Identifier: MIT
# The tracker where the files of conf/ mount it: this machine posts to it, nobody else does, and Clerk's webhooks arrive.
use strict;
use warnings;
use FindBin qw($Bin);
use lib "$Bin/lib";
use Spendgate::E2E;
use Test::More;

# The client's address from a header, so that somebody can come from elsewhere.
my $apache = "LoadModule remoteip_module /usr/lib/apache2/modules/mod_remoteip.so\nRemoteIPHeader X-Test-Address\n";
my %elsewhere = (
    lighttpd => <<'END',
server.modules += ( "mod_extforward" )
extforward.forwarder = ( "127.0.0.1" => "trust" )
extforward.headers = ( "X-Test-Address" )
END
    'authnz-fcgi' => $apache,
    fcgid         => $apache,
    nginx         => 'set_real_ip_from 127.0.0.1; real_ip_header X-Test-Address;',
);
$elsewhere{'lighttpd-sockets'} = $elsewhere{lighttpd};
my @outside = ([ 'X-Test-Address' => '203.0.113.7' ]);

for my $kind (Spendgate::E2E::server_kinds(), 'fcgid, the tracker as well') {
    my ($server, $rest) = split /, /, $kind;
    my $gate = Spendgate::E2E->new;
    if ($rest) {
        $gate->start_clerk;
        $gate->start_apache(gate => $server, tracker => '-fcgid', extra => $elsewhere{$server});
    }
    else {
        $gate->start_web($server, extra => $elsewhere{$server});
    }
    my $ask = sub {
        my ($method, $path, %option) = @_;
        return Spendgate::E2E::http($method, $gate->port, "/spendgate$path", %option,
            headers => [ [ 'Content-Type' => 'application/json' ], @{ $option{headers} // [] } ]);
    };
    my $answer = $ask->('GET', '/healthz');
    is $answer->{status}, 200, "$kind: this machine" or diag $answer->{body}, $gate->logs;
    my @token = ([ Authorization => 'Bearer ' . Spendgate::E2E::POST_TOKEN() ]);
    is $gate->decided('GET', '/api/file.txt', key => $gate->key(subject => $gate->subject('bea')))->{status}, 200, "$kind: an account";
    # As large as a batch may be: 1,000 charges, nearly 1 MiB.
    my $note  = 'x' x 900;
    my @batch = map { qq({"subject":"@{[ $gate->subject('bea') ]}","cost_usd":"0.001","metadata":{"note":"$note"}}) } 1 .. 1000;
    $answer = $ask->('POST', '/v1/spend/batch', headers => \@token, body => '[' . join(',', @batch) . ']');
    is $answer->{status}, 200, "$kind: a batch of " . length(join ',', @batch) . ' bytes' or diag $answer->{body}, $gate->logs;
    my %result;
    $result{ $_->{status} . ' ' . ($_->{error} // 'recorded') }++ for @{ (Spendgate::E2E::body_json($answer) // {})->{results} // [] };
    is join(', ', %result), '200 recorded, 1000', "$kind: each of its charges is recorded";
    is $ask->('POST', '/v1/spend', body => '{}')->{status}, 401, "$kind: with a token";
    $answer = $ask->('POST', '/v1/spend', headers => \@token, body => ' ' x 2_000_000);
    is "$answer->{status} " . ((Spendgate::E2E::body_json($answer) // {})->{error} // ''), '413 body_too_large', "$kind: what is too large is told in JSON"
      or diag $answer->{body};

    is $ask->('GET', '/healthz', headers => \@outside)->{status}, 403, "$kind: nobody else";
    is $ask->('POST', '/v1/spend', headers => [ @outside, @token ], body => '{}')->{status}, 403, "$kind: with a token neither";
    for my $path ('/v1/webhooks/clerk/../../../healthz', '//healthz', '/%68ealthz', '/v1/webhooks/clerk/../clerk/../../spend') {
        is $ask->('GET', $path, headers => \@outside)->{status}, 403, "$kind: $path from outside";
    }
    $answer = $ask->('POST', '/v1/webhooks/clerk', headers => \@outside, body => '{}');
    is((Spendgate::E2E::body_json($answer) // {})->{error}, 'webhook_not_configured', "$kind: Clerk's webhooks arrive")
      or diag "$answer->{status} $answer->{body}";
}
done_testing;

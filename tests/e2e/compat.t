# SPDX-License-Identifier: MIT
# `compat': the words and statuses of agentkey-clerk (500 where we say 503) and of OpenAI's API, behind every kind of web server.
# store: sqlite (it is about the web servers)
use strict;
use warnings;
use FindBin qw($Bin);
use lib "$Bin/lib";
use Spendgate::E2E;
use Spendgate::Hosting;
use Test::More;

my $routes = <<'END';
route "/api/file.txt" { scopes = { "files" } }
route "/api/" { }
END
my %denials = (
    agentkey => {
        none   => [ 401, qr/\A\{"error":"Missing API key"\}\z/ ],
        scope  => [ 403, qr/\A\{"error":"insufficient_scope","required":"files"\}\z/ ],
        frozen => [ 403, qr/\A\{"error":"frozen"\}\z/ ],
        away   => [ 500, qr/\A\{"error":"auth_unavailable"\}\z/ ],
    },
    openai => {
        none   => [ 401, qr/\A\{"error":\{"message":"[^"]+","type":"invalid_request_error","param":null,"code":"invalid_api_key",/ ],
        scope  => [ 403, qr/\A\{"error":\{.*"code":"insufficient_scope",.*"required":"files"/ ],
        frozen => [ 403, qr/\A\{"error":\{.*"code":"frozen",/ ],
        away   => [ 503, qr/\A\{"error":\{.*"type":"server_error",.*"code":"auth_unavailable",/ ],
    },
);

for my $compat (sort keys %denials) {
    for my $kind (Spendgate::E2E::server_kinds(), 'gate.htaccess', 'fcgid.htaccess') {
        my $gate = Spendgate::E2E->new(top => qq(compat = "$compat"\n), routes => $routes, clerk => 'timeout = "1s"');
        $gate->start_clerk;
        if ($kind =~ /\A(gate|fcgid)\./) {
            my $guard = $1;
            $gate->{option}{top} .= Spendgate::Hosting::gate_section($gate) if $guard eq 'gate';
            $gate->write_settings;
            Spendgate::Hosting::start($gate, guard => $guard);
        }
        else {
            $gate->start_web($kind);
        }
        my $iris   = $gate->subject('iris');
        my $secret = $gate->key(subject => $iris);
        my $other  = $gate->key(subject => $gate->subject('jens'));
        my $check  = sub {
            my ($case, $answer) = @_;
            my ($status, $body) = @{ $denials{$compat}{$case} };
            is $answer->{status}, $status, "$compat, $kind, $case: status" or diag $answer->{body}, $gate->logs;
            like $answer->{body}, $body, "$compat, $kind, $case: body";
            is $answer->{headers}{'content-type'}[0], 'application/json', "$compat, $kind, $case: type";
        };
        is $gate->decided('GET', '/api/env.php', key => $secret, explain => 0)->{status}, 200, "$compat, $kind: an allow" or diag $gate->logs;
        $check->('none', $gate->get('/api/env.php', explain => 0));
        $check->('scope', $gate->get('/api/file.txt', key => $secret, explain => 0));
        $gate->cli('account', 'freeze', $iris);
        $check->('frozen', $gate->post('/api/env.php', key => $secret, body => 'x' x 200_000, explain => 0));
        $gate->clerk_behave(endpoint => '*', times => undef, close => 'before');
        $check->('away', $gate->get('/api/env.php', key => $other, explain => 0));
        $gate->stop_all;
    }
}
done_testing;

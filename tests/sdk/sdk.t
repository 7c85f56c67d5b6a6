# SPDX-License-Identifier: MIT
# Clerk's own JavaScript SDK and our authorizer on every token of the table, both pointed at the same stand-in. Where
# they differ stands in disagreements.json with the reason, and we are the stricter one there: what the SDK refuses is
# never taken. Run by `./check.sh --sdk`, which installs the SDK below build/sdk.
use strict;
use warnings;
use FindBin qw($Bin);
use lib "$Bin/../e2e/lib";
use FastCGI;
use JSON::PP ();
use Spendgate::E2E;
use Test::More;
use Time::HiRes qw(sleep time);

my $json   = JSON::PP->new->utf8->canonical;
my $folder = "$Bin/../../build/sdk";
my ($node) = grep { -x } "$folder/node_modules/node/bin/node", map { "$_/node" } split /:/, $ENV{PATH};
die "run ./check.sh --sdk: it installs the SDK\n" unless $node && -d "$folder/node_modules/\@clerk/backend";

chomp(my $version = qx{"$node" --version});
diag "$node is Node.js $version";
my ($major, $minor) = $version =~ /\Av(\d+)\.(\d+)\./ or die "no version: $version\n";
cmp_ok 1000 * $major + $minor, '>=', 22_000, 'Node.js is 22 or newer';

sub read_json {
    my ($path) = @_;
    open my $file, '<:raw', $path or die "$path: $!\n";
    return $json->decode(do { local $/; <$file> });
}

my $reasons = read_json("$Bin/disagreements.json");
my $table   = $json->decode(scalar qx{"$^X" "$Bin/../jwt_table.pl"});
my @tokens  = grep { !$_->{boundary} } @{ $table->{tokens} };

my $gate = Spendgate::E2E->new(plans => <<'PLANS', clerk => <<"END");
plan "free" { budget "month" { limit_usd = "100.00"  period = "month" }  hold_usd = "0.01" }
default_plan = "free"
PLANS
    accept = { "session_token", "m2m_token", "oauth_token" }
    issuer = "$table->{issuer}"  machine_id = "$table->{machine_id}"
    authorized_parties = { "$table->{authorized_parties}[0]" }
END
$gate->start_clerk;
$gate->_clerk_control('PUT', 'jwks', $table->{jwks});
$gate->start_authorizer(workers => 1);

sub ours {
    my ($token) = @_;
    my $end = time + 20;
    while (1) {
        my $answer = FastCGI::request($gate->{authorizer_address},
            { REQUEST_URI => '/api/file.txt', REMOTE_ADDR => '192.0.2.7', HTTP_AUTHORIZATION => "Bearer $token" },
            undef, role => FastCGI::AUTHORIZER);
        return $answer->{status} == 200 if $answer->{status} != 503 || time > $end;
        sleep 0.1;
    }
}

my $question = $gate->write_file('tmp/tokens.json', $json->encode({
    url => $gate->{clerk_url}, secretKey => Spendgate::E2E::SECRET_KEY,
    authorizedParties => $table->{authorized_parties},
    tokens => [ map { { name => $_->{name}, token => $_->{token} } } @tokens ],
}));
my $sdk = $json->decode(scalar(qx{cd "$folder" && "$node" ask.mjs < "$question"}) || '{}');

for my $row (@tokens) {
    my ($name, $reason) = ($row->{name}, $reasons->{ $row->{name} });
    my $theirs = @{ $sdk->{$name} // [] } ? 1 : 0;
    my $our    = ours($row->{token})      ? 1 : 0;
    is $our, $row->{valid} ? 1 : 0, "ours: $name";
    if (defined $reason) {
        ok $theirs && !$our, "the SDK takes it and we do not: $name ($reason)";
    }
    else {
        is $theirs, $our, "the SDK says the same: $name";
    }
}
is_deeply [ grep { my $name = $_; !grep { $_->{name} eq $name } @tokens } sort keys %$reasons ], [],
  'every disagreement that is listed is a token of the table';
done_testing;

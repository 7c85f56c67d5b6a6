# SPDX-License-Identifier: MIT
# The two smallest sites of examples/, with their own settings, under lighttpd and Apache: a user with a key gets in, pays
# a cent a call, and is refused when the money is spent.
use strict;
use warnings;
use FindBin qw($Bin);
use lib "$Bin/lib";
use Digest::SHA qw(sha256_hex);
use Spendgate::E2E;
use Test::More;

my %page = ('php-api' => '/api/haiku.php', 'perl-cgi' => '/api/haiku.pl');

# The example's settings with the paths and the token of this run: each is there once.
sub settings {
    my ($gate, $name) = @_;
    open my $file, '<', "$Bin/../../examples/$name/spendgate.conf" or die "$name: $!";
    my $text = do { local $/; <$file> };
    my $folder = $gate->path('');
    for my $change (
        [ qr{sqlite:/var/lib/spendgate/spendgate\.db}, $gate->store_url ],
        [ qr{/run/spendgate/},     "${folder}cache/" ],
        [ qr{/etc/spendgate/(?=clerk_secret_key")}, "${folder}etc/" ],
        [ qr{(?=    accept )},     qq(    api_url = "$gate->{clerk_url}"\n) ],
        [ qr{0{64}},               sha256_hex(Spendgate::E2E::POST_TOKEN()) ],
        [ qr{\}\s*\z},             sprintf qq(    token "read" { sha256 = "%s"  role = "read" }\n}\n), sha256_hex(Spendgate::E2E::READ_TOKEN()) ],
      )
    {
        my $found = $text =~ s/$change->[0]/$change->[1]/;
        ok $found, "$name: its settings have $change->[0]";
    }
    return $gate->write_file('etc/spendgate.conf', $text);
}

for my $name (sort keys %page) {
    for my $kind (qw(lighttpd-sockets authnz-fcgi)) {
        my $gate = Spendgate::E2E->new(root => "examples/$name/www");
        # As in the checkout, where the page finds its library.
        $gate->copy_tree("$Bin/../../clients", 'clients');
        $gate->copy_tree("$Bin/../../examples/$name", "examples/$name");
        $gate->start_clerk;
        settings($gate, $name);
        Spendgate::E2E::on_sqlite() ? is(($gate->cli('migrate'))[0], 0, "$name $kind: the store is made") : $gate->_migrate;
        $gate->{ports}{web} //= Spendgate::E2E::free_port();
        my %variable = (
            SPENDGATE_TRACKER_URL   => 'http://127.0.0.1:' . $gate->{ports}{web} . '/spendgate',
            SPENDGATE_TRACKER_TOKEN => Spendgate::E2E::POST_TOKEN(),
        );
        my $extra =
          $kind =~ /lighttpd/
          ? qq{server.modules += ( "mod_setenv" )\nsetenv.add-environment = ( }
          . join(', ', map { qq("$_" => "$variable{$_}") } sort keys %variable) . ' )'
          : join "\n", map { qq(SetEnv $_ "$variable{$_}") } sort keys %variable;
        $gate->start_web($kind, extra => $extra);
        my $subject = $gate->subject('poet');
        my $key     = $gate->key(subject => $subject);

        is $gate->get('/index.html')->{status}, 200, "$name $kind: the free page";
        is $gate->get($page{$name})->{status}, 401, "$name $kind: the other is guarded";
        my $answer = $gate->decided('GET', $page{$name}, key => $key);
        is $answer->{status}, 200, "$name $kind: a key opens it" or diag $answer->{body}, $gate->logs;
        my $body = Spendgate::E2E::body_json($answer);
        is $body->{for}, $subject, "$name $kind: the page knows who calls";
        is $body->{remaining_usd}, '4.98', "$name $kind: and what remains, less what is set aside";
        my @statuses = map { $gate->get($page{$name}, key => $key)->{status} } 1 .. 4;
        is "@statuses", '200 200 200 200', "$name $kind: four more";
        my $budget = $gate->budget($subject);
        is $budget->{spent_usd}, '0.05', "$name $kind: a cent each";
        is $budget->{held_usd}, '0', "$name $kind: nothing is left on hold";
        $gate->spend(subject => $subject, cost_usd => '4.94');
        is $gate->get($page{$name}, key => $key)->{status}, 429, "$name $kind: when less is left than is set aside it is refused";
        my ($exit, $out) = $gate->cli('verify');
        is $exit, 0, "$name $kind: verify is green" or diag $out;
    }
}
done_testing;

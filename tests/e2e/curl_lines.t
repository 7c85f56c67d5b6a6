# SPDX-License-Identifier: MIT
# The curl lines of clients/README.md, and how README.md posts from a shell, from PHP and from Perl, as pasted.
use strict;
use warnings;
use FindBin qw($Bin);
use lib "$Bin/lib";
use JSON::PP ();
use Spendgate::E2E;
use Test::More;

my $readme = do { local (@ARGV, $/) = ("$Bin/../../clients/README.md"); <> };
my @lines  = $readme =~ /^```sh\n(.*?)^```$/msg;
is scalar @lines, 6, 'six lines to paste';

for my $kind (qw(lighttpd-sockets authnz-fcgi)) {
    my $gate = Spendgate::E2E->new;
    $gate->start_web($kind);
    my $subject = $gate->subject('shell');
    my $key     = $gate->key(subject => $subject);
    my %variable;

    # A request that the gate lets in; the variables of the page.
    my $request = sub {
        my $answer = $gate->decided('GET', '/api/env.pl', key => $key);
        is $answer->{status}, 200, "$kind: a request";
        my $env = JSON::PP::decode_json($answer->{body})->{env};
        %variable = map { $_ => $env->{$_} } grep { /\ASPENDGATE_/ } keys %$env;
        return;
    };
    my $paste = sub {
        my ($line) = @_;
        my $pid = open my $pipe, '-|';
        defined $pid or die "fork: $!";
        if ($pid == 0) {
            $gate->_clean_environment(
                %variable,
                SPENDGATE_TRACKER_URL   => 'http://127.0.0.1:' . $gate->port . '/spendgate',
                SPENDGATE_TRACKER_TOKEN => Spendgate::E2E::POST_TOKEN(),
            );
            exec 'bash', '-c', $line or die "bash: $!";
        }
        my $answer = do { local $/; <$pipe> } // '';
        close $pipe;
        is $?, 0, "$kind: curl is content" or diag $answer, $gate->logs;
        return eval { JSON::PP::decode_json($answer) } // {};
    };

    $request->();
    like $variable{SPENDGATE_HOLD_ID}, qr/\Ahld_/, "$kind: with a hold";
    my $spent = $paste->($lines[0]);
    is $spent->{hold}, 'settled', "$kind: settle";
    is $spent->{cost_usd}, '0.0123', "$kind: its cost";
    is $paste->($lines[0])->{charge_id}, $spent->{charge_id}, "$kind: pasted twice it counts once";
    isnt $paste->($lines[1])->{charge_id}, $paste->($lines[1])->{charge_id}, "$kind: without a hold each is another";

    $request->();
    is $paste->($lines[2])->{amount_usd}, '0.55', "$kind: extend";
    is $paste->($lines[3])->{amount_usd}, '0.55', "$kind: keep alive";
    is $paste->($lines[4])->{state}, 'voided', "$kind: void";
    is $paste->($lines[5])->{amount_usd}, '0.1', "$kind: a hold of a queue's worker";
    is $gate->budget($subject)->{spent_usd}, '0.1123', "$kind: what was spent";
    is $gate->budget($subject)->{held_usd}, '0.1', "$kind: what is held";
}

# README.md: a post from a shell, from PHP without any extension, from Perl.
{
    my $gate = Spendgate::E2E->new;
    $gate->start_web('lighttpd-sockets');
    my $port = $gate->port;
    my $text = do { local (@ARGV, $/) = ("$Bin/../../README.md"); <> };
    my %code = (
        shell => $text =~ /^(    curl -H "Authorization: Bearer \$TOKEN".*?v1\/spend)$/ms,
        php   => $text =~ /^(    file_get_contents\(.*?\]\]\)\);)$/ms,
        perl  => $text =~ /^(    HTTP::Tiny->new->post_form.*?\}\);)$/ms,
    );
    my $token = Spendgate::E2E::POST_TOKEN();
    my %run = (
        shell => sub { return ('sh', '-c', $_[0]) },
        php   => sub { return ('php', '-r', "\$token = '$token'; echo $_[0]") },
        perl  => sub { return ('perl', '-MHTTP::Tiny', '-e', "my \$token = '$token'; my \$answer = $_[0] print \$answer->{content};") },
    );
    is join(' ', sort keys %code), 'perl php shell', 'README: three ways to post';
    for my $language (sort keys %code) {
        my $subject = $gate->subject($language);
        my $env = JSON::PP::decode_json($gate->decided('GET', '/api/env.pl', key => $gate->key(subject => $subject))->{body})->{env};
        is $code{$language} =~ s{http://127\.0\.0\.1/}{http://127.0.0.1:$port/}g, 1, "README, $language: its address";
        my $pid = open my $pipe, '-|';
        defined $pid or die "fork: $!";
        if ($pid == 0) {
            $gate->_clean_environment(TOKEN => $token, map { $_ => $env->{$_} } grep { /\ASPENDGATE_/ } keys %$env);
            exec { 'env' } 'env', $run{$language}->($code{$language}) or die "env: $!";
        }
        my $answer = eval { JSON::PP::decode_json(do { local $/; <$pipe> }) } // {};
        close $pipe;
        is +($answer->{cost_usd} // '') . ' ' . ($answer->{hold} // ''), '0.0123 settled', "README, $language: the hold is settled" or diag $gate->logs;
    }
}
done_testing;

# SPDX-License-Identifier: MIT
# A host with suexec, which runs each CGI program as its customer and takes away most of its environment: the real one of the package
# apache2-suexec-pristine, which takes programs below /var/www from nobody but the web server's user. Only root can set that up.
# store: sqlite (it is about the web servers)
use strict;
use warnings;
use FindBin qw($Bin);
use lib "$Bin/lib";
use Spendgate::E2E;
use Spendgate::Hosting;
use Test::More;

if ($> != 0) {
    pass 'suexec: not run, only root can make programs of another user';
    done_testing;
    exit 0;
}
my @customer = (getpwnam 'nobody')[ 2, 3 ];
my $name     = 'nobody ' . getgrgid $customer[1];
# Where suexec looks, and where it insists on a log; what was not there is taken away again.
my @made = grep { mkdir } '/var/www', '/var/log/apache2';

# Everything below /var/www; the watcher removes it.
sub new_gate {
    local $ENV{TMPDIR} = '/var/www';
    return Spendgate::E2E->new(@_);
}

sub give_away {
    my ($gate, @paths) = @_;
    for my $path (map { $gate->path($_) } @paths) {
        chown @customer, $path or die "$path: $!";
        next if !-d $path || -l $path;
        opendir my $folder, $path or die "$path: $!";
        give_away($gate, map { substr("$path/$_", 1 + length $gate->folder) } grep { !/\A\.\.?\z/ } readdir $folder);
    }
    return;
}

sub seen { return Spendgate::E2E::body_json($_[0]) // {} }

my $page = <<'END';
#!/usr/bin/perl
# Who runs this, and what it sees.
use JSON::PP;
print "Content-Type: application/json\r\n\r\n", JSON::PP->new->encode({ uid => $>, env => {%ENV} });
END

{
    my $gate = new_gate();
    $gate->{option}{top} = Spendgate::Hosting::gate_section($gate);
    $gate->start_clerk;
    $gate->write_settings;
    $gate->write_file('www/api/who.pl', $page, 0755);
    Spendgate::Hosting::start($gate, guard => 'gate', suexec => $name, extra => "SetEnv SPENDGATE_SUBJECT mallory\nSetEnv OTHER_NAME kept\n");
    give_away($gate, qw(www/api www/spendgate store cache etc/spendgate.conf etc/clerk_secret_key));
    my $uwe    = $gate->subject('uwe');
    my $secret = $gate->key(subject => $uwe);
    my $answer = $gate->decided('GET', '/api/who.pl?a=b', key => $secret);
    is $answer->{status}, 200, 'the gate under suexec passes' or diag $answer->{body}, $gate->logs;
    is seen($answer)->{uid}, $customer[0], 'as the customer';
    my $env = seen($answer)->{env} // {};
    is $env->{OTHER_NAME}, undef, 'suexec has taken away what it does not know';
    is $env->{SPENDGATE_SUBJECT}, $uwe, 'the page has the subject';
    is $env->{REMOTE_USER}, $uwe, 'and REMOTE_USER';
    like $env->{SPENDGATE_HOLD_ID}, qr/\Ahld_/, 'and the hold';
    is $env->{QUERY_STRING}, 'a=b', 'and its query';
    $answer = $gate->get('/api/env.php', key => $secret);
    is seen($answer)->{env}{SPENDGATE_SUBJECT}, $uwe, 'PHP too' or diag $answer->{body}, $gate->logs;
    $answer = $gate->post('/api/env.pl', key => $secret, body => 'x' x 3_000_000);
    is seen($answer)->{bytes}, 3_000_000, 'with 3 MB';
    $answer = $gate->post('/api/env.pl', body => 'x' x 3_000_000);
    is "$answer->{status} " . (seen($answer)->{error} // ''), '401 missing_credential', 'a denial' or diag $answer->{body};
    my $posted = Spendgate::E2E::http('POST', $gate->port, '/spendgate/tracker.cgi/v1/spend', body => qq({"hold_id":"$env->{SPENDGATE_HOLD_ID}","cost_usd":"0.01"}),
        headers => [ [ 'Content-Type' => 'application/json' ], [ Authorization => 'Bearer ' . Spendgate::E2E::POST_TOKEN() ] ]);
    is seen($posted)->{hold}, 'settled', 'the tracker under suexec' or diag $posted->{body}, $gate->logs;
}

# mod_fcgid's checker in an .htaccess file: mod_fcgid starts the authorizer, and suexec makes it the customer's.
{
    my $gate = new_gate();
    $gate->start_clerk;
    $gate->write_settings;
    $gate->write_file('www/api/who.pl', $page, 0755);
    Spendgate::Hosting::start($gate, guard => 'fcgid', suexec => $name);
    give_away($gate, qw(bin www/api www/spendgate store cache etc/spendgate.conf etc/clerk_secret_key));
    my $xena   = $gate->subject('xena');
    my $secret = $gate->key(subject => $xena);
    my $answer = $gate->decided('GET', '/api/who.pl', key => $secret);
    is $answer->{status}, 200, 'FcgidAccessChecker under suexec passes' or diag $answer->{body}, $gate->logs;
    my %owners = map { (stat "/proc/$_")[4] => 1 } grep { (readlink("/proc/$_/exe") // '') eq $gate->path('bin/spendgate-authorizer') } map { m{(\d+)\z} } glob '/proc/[0-9]*';
    is join(' ', keys %owners), $customer[0], 'the authorizer runs as the customer';
    is seen($answer)->{uid}, $customer[0], 'and so does the page';
    is seen($answer)->{env}{REMOTE_USER}, $xena, 'which sees who asks in REMOTE_USER';
    is seen($gate->get('/api/env.php', key => $secret))->{env}{SPENDGATE_SUBJECT}, $xena, 'the host\'s PHP sees all';
    for my $how ([ 'GET', '/api/file.txt' ], [ 'POST', '/api/who.pl', body => 'x' x 3_000_000 ]) {
        $answer = $gate->request(@$how);
        is "$answer->{status} " . (seen($answer)->{error} // ''), '401 missing_credential', "@$how[0, 1]: a denial" or diag $answer->{body}, $gate->logs;
    }
    $gate->stop('apache');

    # A program that is not the customer's: suexec runs nothing, and the gate is closed.
    chown 0, 0, $gate->path('bin/spendgate-authorizer') or die $!;
    Spendgate::Hosting::start($gate, guard => 'fcgid', suexec => $name);
    give_away($gate, qw(www/api www/spendgate));
    $answer = $gate->get('/api/file.txt', key => $secret, timeout => 90);
    is "$answer->{status} " . (seen($answer)->{error} // ''), '503 auth_unavailable', 'a program that suexec does not run: closed' or diag $answer->{body};
    like $gate->read_file('log/error.log') . do { local (@ARGV, $/) = '/var/log/apache2/suexec.log'; <> }, qr/target uid\/gid/, 'and suexec says why';
}

# The host's own CGI behind mod_authnz_fcgi: of our variables suexec leaves REMOTE_USER.
{
    my $gate = new_gate();
    $gate->start_clerk;
    $gate->start_tracker;
    $gate->start_authorizer(listen => 'tcp');
    $gate->write_file('www/api/who.pl', $page, 0755);
    $gate->start_apache(gate => 'authnz-fcgi', suexec => 1, before => "LoadModule suexec_module /usr/lib/apache2/modules/mod_suexec.so\n",
        extra => "SuexecUserGroup $name\n");
    give_away($gate, 'www/api');
    my $vera   = $gate->subject('vera');
    my $answer = $gate->decided('GET', '/api/who.pl', key => $gate->key(subject => $vera));
    is seen($answer)->{uid}, $customer[0], 'a page run by suexec' or diag $answer->{body}, $gate->logs;
    is seen($answer)->{env}{REMOTE_USER}, $vera, 'sees who asks in REMOTE_USER';
    is seen($answer)->{env}{SPENDGATE_SUBJECT}, undef, 'and nowhere else, as the files say';
}
done_testing;

END {
    unlink '/var/log/apache2/suexec.log' if grep { m{/log/} } @made;
    rmdir for @made;
}

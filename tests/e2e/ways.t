# SPDX-License-Identifier: MIT
# Eight ways to run it, fourteen cases each, every one a real request: nothing is open that must be closed, and what each way answers is
# what the README's table says (tests/ways_table). SPENDGATE_WAYS_WRITE=1 writes the table instead of comparing it.
# store: sqlite (it is about the web servers)
# begun first
use strict;
use warnings;
use FindBin qw($Bin);
use lib "$Bin/lib";
use Spendgate::E2E;
use Spendgate::Hosting;
use Spendgate::Ways;
use Test::More;
use Time::HiRes qw(sleep time);

my $HANG = 2;    # seconds, where the files of conf/ have 10

sub new_gate {
    my (%option) = @_;
    my $gate = Spendgate::E2E->new(
        plans => $Spendgate::Ways::PLANS, routes => $Spendgate::Ways::ROUTES, clerk => $Spendgate::Ways::CLERK, %option);
    $gate->start_clerk;
    $gate->write_settings;
    $gate->copy_tree("$Bin/www/api/dir", 'www/api/admin');
    rename $gate->path('www/api/admin/index.php'), $gate->path('www/api/admin/env.php') or die $!;
    return $gate;
}

# Without its program no process of the authorizer starts; those that run are ended.
sub taken_away {
    my ($way) = @_;
    my $gate = $way->gate;
    rename $gate->path('bin/spendgate-authorizer'), $gate->path('bin/away') or die $!;
    kill 'KILL', $way->workers;
    sleep 1.5;    # the web server notices, and tries to start new ones
    return;
}

sub put_back {
    my ($way) = @_;
    rename $way->gate->path('bin/away'), $way->gate->path('bin/spendgate-authorizer') or die $!;
    return;
}

sub external {
    my ($gate, $listen) = @_;
    $gate->start_tracker;
    $gate->start_authorizer(listen => $listen);
    return (down => sub { $gate->stop('authorizer') }, up => sub { $gate->start_authorizer(listen => $listen) });
}

sub spawned {
    my ($way) = @_;
    @$way{qw(down up)} = (sub { taken_away($way) }, sub { put_back($way) });
    return $way;
}

# mod_authnz_fcgi waits 30 s for a hung authorizer, and nothing can change that: meanwhile the other ways go on.
my ($slow, $slow_pid) = new_gate();
{
    external($slow, 'tcp');
    $slow->start_apache(gate => 'authnz-fcgi');
    my $key = $slow->key(subject => $slow->subject('slow'));
    is $slow->decided('GET', '/api/file.txt', key => $key)->{status}, 200, 'the one that will hang works';
    my @workers = $slow->children_of($slow->pid('authorizer'));
    kill 'STOP', @workers;
    $slow_pid = fork // die "fork: $!";
    if ($slow_pid == 0) {
        my $start  = time;
        my $answer = $slow->get('/api/file.txt', key => $key, timeout => 60);
        $slow->write_file('tmp/slow', JSON::PP->new->encode({ answer => $answer, seconds => time - $start }));
        POSIX::_exit(0);
    }
}

my @ways;
{
    my $gate = new_gate();
    my %how  = external($gate, 'tcp');
    $gate->start_apache(gate => 'authnz-fcgi');
    push @ways, Spendgate::Ways->new(name => 'Apache, mod_authnz_fcgi', gate => $gate, %how, hangs_elsewhere => 1);
    $ways[-1]->run;
    $gate->stop_all;
}
{
    my $gate = new_gate();
    $gate->start_tracker;
    $gate->start_apache(gate => 'fcgid', before => "Define SPENDGATE_TIMEOUT $HANG\n");
    push @ways, spawned(Spendgate::Ways->new(name => 'Apache, mod_fcgid', gate => $gate, seconds => $HANG));
    $ways[-1]->run;
    $gate->stop_all;
}
{
    my $gate = new_gate();
    $gate->start_lighttpd(values => { 'var.spendgate_timeout' => $HANG });
    push @ways, spawned(Spendgate::Ways->new(name => 'lighttpd starts it', gate => $gate, seconds => $HANG));
    $ways[-1]->run;
    $gate->stop_all;
}
{
    my $gate = new_gate();
    my %how  = external($gate, 'unix');
    $gate->start_lighttpd(external => 1, values => { 'var.spendgate_timeout' => $HANG });
    push @ways, Spendgate::Ways->new(name => 'lighttpd, external', gate => $gate, seconds => $HANG, %how);
    $ways[-1]->run;
    $gate->stop_all;
}
{
    my $gate = new_gate();
    my %how  = external($gate, 'unix');
    $gate->start_nginx(change => { 'spendgate-server.conf' => { 'fastcgi_read_timeout 10s' => "fastcgi_read_timeout ${HANG}s" } });
    push @ways, Spendgate::Ways->new(name => 'nginx', gate => $gate, seconds => $HANG, %how);
    $ways[-1]->run;
    $gate->stop_all;
}
{
    my $gate = new_gate();
    $gate->write_settings(top => Spendgate::Hosting::gate_section($gate));
    Spendgate::Hosting::start($gate, guard => 'gate', timeout => $HANG);
    push @ways, spawned(Spendgate::Ways->new(name => 'CGI gate', gate => $gate, page => '/api/env.php', seconds => $HANG,
        tricks => [ '/spendgate/gate.cgi/api/env.php', '/spendgate/gate.cgi/env.php', '/spendgate/gate.cgi?--version' ]));
    $ways[-1]->run;
    $gate->stop_all;
}
{
    my $gate = new_gate();
    Spendgate::Hosting::start($gate, guard => 'fcgid', timeout => $HANG);
    push @ways, spawned(Spendgate::Ways->new(name => 'FcgidAccessChecker in .htaccess', gate => $gate, seconds => $HANG,
        tricks => [ '/spendgate/deny.cgi?status=401' ]));
    $ways[-1]->run;
    $gate->stop_all;
}
push @ways, tracker_way();

waitpid $slow_pid, 0;
{
    my $hung = JSON::PP->new->decode($slow->read_file('tmp/slow'));
    kill 'CONT', $slow->children_of($slow->pid('authorizer'));
    $ways[0]->is_closed('hang', $hung->{answer});
    cmp_ok $hung->{seconds}, '<', 40, 'mod_authnz_fcgi gives up a hung authorizer after its 30 s';
    $ways[0]->see(hang => Spendgate::Ways::cell($hung->{answer}));
}

# The table: the tracker beside the gate of its kind.
@ways = @ways[ 0 .. 5, 7, 6 ];
my $results = $ways[0]->gate->write_file('tmp/ways.json', JSON::PP->new->canonical->encode(
    { cases => \@Spendgate::Ways::CASES, ways => [ map { { name => $_->{name}, cells => $_->cells } } @ways ] }));
my $how  = $ENV{SPENDGATE_WAYS_WRITE} ? '--write' : '--check';
my $said = `perl @{[ Spendgate::E2E::checkout() ]}/tests/ways_table $results $how 2>&1`;
is $?, 0, "README's table is what was seen" or diag $said;
done_testing;

# ---- the tracker as a CGI program ---------------------------------------------------------------------
# It is no gate: its callers have tokens, and its cases are those of a post. What a page does with it, PHP and Perl clients do.

sub tracker_way {
    my $gate = new_gate(ledger => 'ledger { hold_ttl = "5m" }');
    Spendgate::Hosting::start($gate, guard => 'fcgid', timeout => $HANG);
    my $way = Spendgate::Ways->new(name => 'CGI tracker', gate => $gate);
    my $nora = $gate->subject('nora');
    my $hold = Spendgate::Ways::seen($gate->decided('GET', '/api/env.pl',
        key => $gate->key(subject => $nora, claims => { tier => 'tiny' })))->{env}{SPENDGATE_HOLD_ID};
    my $ask = sub {
        my ($method, $path, $token, $body, %option) = @_;
        my @headers = ([ 'Content-Type' => 'application/json' ], $token ? [ Authorization => "Bearer $token" ] : (), @{ $option{headers} // [] });
        return Spendgate::E2E::http($method, $gate->port, "/spendgate/tracker.cgi$path", headers => \@headers, body => $body);
    };
    my ($post, $read) = (Spendgate::E2E::POST_TOKEN(), Spendgate::E2E::READ_TOKEN());
    my $spend = sub { return qq({"subject":"$nora","cost_usd":"0.001","idempotency_key":"$_[0]"}) };
    my $spent = sub { return Spendgate::Ways::seen($ask->('GET', "/v1/accounts/$nora", $read))->{budgets}[0]{spent_usd} };
    my $refused = sub {
        my ($case, $status, $error, $answer) = @_;
        is $answer->{status}, $status, "CGI tracker: $case: $status" or diag $answer->{body}, $gate->logs;
        $way->see($case => Spendgate::Ways::cell($answer, $error));
        return;
    };

    my $answer = $ask->('POST', '/v1/spend', $post, $spend->('one'));
    is $answer->{status}, 200, 'CGI tracker: a post is recorded' or diag $answer->{body}, $gate->logs;
    $way->see(allow => $answer->{status});
    $refused->(denied401 => 401, 'invalid_token', $ask->('POST', '/v1/spend', '', $spend->('two')));
    $refused->(denied403 => 403, 'forbidden', $ask->('POST', '/v1/spend', $read, $spend->('two')));
    $refused->(denied429 => 429, 'budget_exceeded', $ask->('POST', '/v1/holds', $post, qq({"subject":"$nora","amount_usd":"1"})));
    $gate->break_store;
    $refused->(denied503 => 503, 'store_unavailable', $ask->('POST', '/v1/spend', $post, $spend->('two')));
    $gate->mend_store;

    # Killed, or stopped, while it waits for another writer: no answer of its own, and the same post again counts once.
    for my $case ([ crash => 'KILL' ], [ hang => 'STOP' ]) {
        my ($name, $signal) = @$case;
        my $before = $spent->();
        my $held = $gate->hold_writers;
        my $pid = fork // die "fork: $!";
        if ($pid == 0) {
            $gate->write_file("tmp/$name", JSON::PP->new->encode($ask->('POST', '/v1/spend', $post, $spend->($name))));
            POSIX::_exit(0);
        }
        my $end = time + 10;
        my @workers;
        until (@workers || time > $end) {
            @workers = grep { Spendgate::Ways::name_of($_) =~ /\Aspendgate-track/ } descendants($gate, $gate->pid('apache'));
            sleep 0.02;
        }
        sleep 0.2;
        is kill($signal, @workers), 1, "CGI tracker: $name: there is a tracker to kill or stop";
        waitpid $pid, 0;
        kill 'KILL', @workers if $signal eq 'STOP';
        undef $held;
        $answer = JSON::PP->new->decode($gate->read_file("tmp/$name"));
        like $answer->{status}, qr/\A5\d\d\z/, "CGI tracker: $name: no 200 for what was not recorded" or diag $answer->{body};
        $way->see($name => Spendgate::Ways::cell($answer));
        is $ask->('POST', '/v1/spend', $post, $spend->($name))->{status}, 200, "CGI tracker: after a $name the post again";
        is sprintf('%.3f', $spent->()), sprintf('%.3f', $before + 0.001), "CGI tracker: after a $name it counts once";
    }
    rename $gate->path('bin/spendgate-tracker'), $gate->path('bin/away') or die $!;
    $refused->(down => 503, 'store_unavailable', $ask->('POST', '/v1/spend', $post, $spend->('three')));
    rename $gate->path('bin/away'), $gate->path('bin/spendgate-tracker') or die $!;

    my $large = '[' . ('{"subject":"x"},' x 200_000) . '{}]';
    $refused->(post_no => 401, 'invalid_token', $ask->('POST', '/v1/spend/batch', '', $large));
    $refused->(post_yes => 413, 'body_too_large', $ask->('POST', '/v1/spend/batch', $post, $large));

    # Only the web server says who asks, and it has not.
    my @forged = map { [ $_ => $nora ] } qw(Spendgate-Subject SPENDGATE_SUBJECT X-Spendgate-Subject Remote-User Redirect-Spendgate-Subject);
    $answer = $ask->('GET', '/v1/me', '', undef, headers => \@forged);
    like $answer->{status}, qr/\A4\d\d\z/, 'CGI tracker: forged headers are nobody' or diag $answer->{body};
    unlike $answer->{body}, qr/budgets|nora/, 'CGI tracker: and are told nothing';
    $way->see(forged => 'ignored');
    my @targets = (
        "/v1/accounts/$nora", "//v1/accounts/$nora", "/%761/accounts/$nora", "/v1/./accounts/$nora", "/healthz/../v1/accounts/$nora",
        "/v1/accounts/$nora/", "/v1/accounts/$nora;x", "/v1/charges?account=$nora", '/v1/report', '/metrics', "/v1/accounts/$nora?--version",
        '/v1/accounts?--check-config', '/../../spendgate/tracker.cgi/v1/accounts', "/v1/spend/../accounts/$nora",
    );
    my $closed = grep { $_->{status} >= 400 && $_->{body} !~ /nora|spendgate_/ } map { $ask->('GET', $_, '') } @targets;
    is $closed, scalar @targets, 'CGI tracker: path tricks without a token';
    $way->see(tricks => $closed == @targets ? 'all closed' : "$closed of " . @targets . ' closed');

    my $top = Spendgate::E2E::checkout();
    my %code = (
        perl => [ '/usr/bin/perl', "-I$top/clients/perl/lib", '-MSpendgate::Tracker', '-e', 'Spendgate::Tracker->from_environment->spend("0.002")' ],
        php  => [ 'php', '-r', "spl_autoload_register(function (\$c) { require '$top/clients/php/src/' . substr(\$c, 10) . '.php'; });"
              . 'Spendgate\Tracker::fromEnvironment()->spend("0.002");' ],
    );
    for my $language (qw(php perl)) {
        my $before = $spent->();
        local %ENV = (%ENV, SPENDGATE_TRACKER_URL => 'http://127.0.0.1:' . $gate->port . '/spendgate/tracker.cgi',
            SPENDGATE_TRACKER_TOKEN => $post, SPENDGATE_SUBJECT => $nora, SPENDGATE_SPOOL_DIR => $gate->path('tmp'),
            SPENDGATE_HOLD_ID => $language eq 'php' ? $hold : '');
        my $code = system @{ $code{$language} };
        is $code, 0, "CGI tracker: the $language client ends well";
        is sprintf('%.3f', $spent->()), sprintf('%.3f', $before + 0.002), "CGI tracker: the $language client posts through it";
        $way->see($language => 'its client posts');
    }
    my ($code, $out, $err) = $gate->cli('verify');
    is $code, 0, 'CGI tracker: spendgate verify' or diag $out, $err;
    $gate->stop_all;
    return $way;
}

sub descendants {
    my ($gate, $pid) = @_;
    return map { ($_, descendants($gate, $_)) } $gate->children_of($pid);
}

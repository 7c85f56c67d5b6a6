# SPDX-License-Identifier: MIT
# Shared hosting: a customer with .htaccess files and CGI. The gate under mod_cgid and mod_cgi, the ways around it, the
# FcgidAccessChecker of an .htaccess file, and the tracker as CGI program.
use strict;
use warnings;
use FindBin qw($Bin);
use lib "$Bin/lib";
use Digest::SHA qw(sha256_hex);
use Spendgate::E2E;
use Spendgate::Hosting;
use Test::More;

my $plans = <<'END';
plan "free" { budget "month" { limit_usd = "50.00"  period = "month" }  hold_usd = "0.05"  scopes = { "cheap" } }
default_plan = "free"
END
# Everything costs a scope but what lies outside /api/.
my $routes = <<'END';
route "/api/" { scopes = { "cheap" } }
route "/api/admin.php" { scopes = { "admin" } }
route "/" { }
END

sub seen { return (Spendgate::E2E::body_json($_[0]) // {}) }

sub new_gate {
    my (%option) = @_;
    my $gate = Spendgate::E2E->new(plans => $plans, routes => $routes, clerk => 'timeout = "1s"');
    $gate->{option}{top} = Spendgate::Hosting::gate_section($gate) if $option{root} // 1;
    $gate->start_clerk;
    $gate->write_settings;
    # What else is in the customer's web space, and what a careless neighbour has there.
    $gate->_copy("$Bin/www/api/env.php", 'www/api/admin.php');
    $gate->write_file('www/api/notes.txt.bak', "secret notes\n");
    $gate->write_file('outside/script.pl', "#!/usr/bin/perl\nprint qq{Content-Type: text/plain\\n\\noutside\\n};\n", 0755);
    $gate->write_file('cgi-bin/go.cgi', "#!/bin/sh\nprintf 'Location: %s\\r\\n\\r\\n' \"\$QUERY_STRING\"\n", 0755);
    symlink $gate->path('outside/script.pl'), $gate->path('www/api/link.pl');
    symlink $gate->path('outside'), $gate->path('www/api/folder');
    symlink 'env.pl', $gate->path('www/api/inside.pl');
    return $gate;
}

for my $mpm (qw(event prefork)) {
    my $module = $mpm eq 'event' ? 'mod_cgid' : 'mod_cgi';
    my $gate   = new_gate();
    Spendgate::Hosting::start($gate, guard => 'gate', mpm => $mpm);
    my $gina   = $gate->subject('gina');
    my $secret = $gate->key(subject => $gina);

    # A page with its variables, whatever the host would do with a PHP file by itself.
    for my $page ('/api/env.php', '/api/env.pl', '/api/inside.pl') {
        my $answer = $gate->decided('GET', "$page?a=b", key => $secret);
        is $answer->{status}, 200, "$module $page: passes" or diag $answer->{body}, $gate->read_file("log/error.log");
        my $env = seen($answer)->{env};
        is $env->{SPENDGATE_SUBJECT}, $gina, "$module $page: the subject";
        is $env->{REMOTE_USER}, $gina, "$module $page: and REMOTE_USER, which suexec lets through";
        like $env->{SPENDGATE_HOLD_ID}, qr/\Ahld_/, "$module $page: the hold";
        is $env->{SCRIPT_NAME}, $page, "$module $page: SCRIPT_NAME is the page's";
        is $env->{QUERY_STRING}, 'a=b', "$module $page: its query";
        is $env->{SPENDGATE_CONFIG} // '', '', "$module $page: it is not told where the settings are";
        $answer = $gate->get("$page/x/y", key => $secret);
        is seen($answer)->{env}{PATH_INFO}, '/x/y', "$module $page: PATH_INFO";
        for my $bytes (4, 3_000_000) {
            my $body = substr join('', map { chr } 32 .. 126) x 32_000, 0, $bytes;
            $answer = $gate->post($page, key => $secret, body => $body);
            is seen($answer)->{sha256}, sha256_hex($body), "$module $page: a POST of $bytes bytes arrives unchanged"
              or diag $answer->{status}, substr $answer->{body}, 0, 300;
        }
    }
    is $gate->get('/api/crash.pl', key => $secret)->{status}, 500, "$module: a crashed page is 500";
    is $gate->get('/api/own429.php', key => $secret)->{status}, 429, "$module: a page's own status";
    is seen($gate->get('/api/dir/', key => $secret))->{env}{SPENDGATE_SUBJECT}, $gina, "$module: an index file";
    is seen($gate->get('/api/nice/pretty/x', key => $secret))->{env}{SPENDGATE_SUBJECT}, $gina, "$module: a rewritten URL";

    # Denials have their own bytes, also when a POST has not been read; under mod_cgid such an answer gets lost.
    my %lost;
    for my $i (1 .. 20) {
        my $answer = $gate->post('/api/env.php', body => 'x' x ($i % 2 ? 3_000_000 : 4));
        $lost{ "$answer->{status} " . (seen($answer)->{error} // '') }++;
    }
    is join(', ', %lost), '401 missing_credential, 20', "$module: 20 denied POSTs, 20 answers";

    # Ways around the gate. None serves a page, with a key neither.
    for my $target (
        '//api/env.php', '/./api/env.php', '/%61pi/env.php', '/x/../api/env.php', '/api/env%2ephp', '/api//env.php',
        '/api/nope', '/api/', '/api/.htaccess', '/api/env.php/', '/api/env.php/../env.php', '/api/nice/pretty/x',
        '/api/env.php?-s', '/api/env.php?--version', '/spendgate/gate.cgi/api/env.php', '/spendgate/gate.cgi/env.php',
        '/cgi-bin/go.cgi?/api/env.php', '/cgi-bin/go.cgi?/spendgate/gate.cgi/api/env.php',
        '/cgi-bin/go.cgi?/spendgate/gate.cgi/env.php', '/spendgate/gate.cgi?--config+/tmp/mine.conf', '/spendgate/gate.cgi'
      )
    {
        my $answer = $gate->get($target);
        like $answer->{status}, qr/\A(?:400|401|403|404)\z/, "$module: $target is no way around the gate" or diag $answer->{body};
        unlike $answer->{body}, qr/"language"|<\?php|secret/, "$module: $target shows nothing";
    }
    my @closed = (
        [ '/api/link.pl',                           404, 'a symbolic link out of the root' ],
        [ '/api/folder/script.pl',                  404, 'a folder that is one' ],
        [ '/api/notes.txt.bak',                     403, 'what cannot be run' ],
        [ '/api/.htaccess',                         403, 'the .htaccess file' ],
        [ '/api/admin.php',                         403, 'a page for which a scope is missing' ],
        [ '/api/%61dmin.php',                       403, 'the same, spelled otherwise' ],
        [ '/api/env.php/../admin.php',              403, 'the same, behind dots' ],
        [ '/spendgate/gate.cgi/api/admin.php',      403, 'the same, by the gate\'s own name' ],
        [ '/spendgate/gate.cgi/admin.php',          404, 'the same, by a name with another route' ],
        [ '/spendgate/gate.cgi//admin.php',         404, 'the same, with two slashes' ],
        [ '/spendgate/gate.cgi/x/../../admin.php',  404, 'the same, with dots' ],
        [ '/spendgate/gate.cgi/spendgate/tracker.cgi', 404, 'a program beside the root' ],
        [ '/cgi-bin/go.cgi?/api/admin.php',         403, 'the same, sent there by another script' ],
        [ '/cgi-bin/go.cgi?/spendgate/gate.cgi/admin.php', 404, 'the same, sent to the gate by another script' ],
    );
    for (@closed) {
        my ($target, $status, $name) = @$_;
        my $answer = $gate->get($target, key => $secret);
        is $answer->{status}, $status, "$module: with a key, $name" or diag $answer->{body}, $gate->read_file('log/error.log');
        unlike $answer->{body}, qr/"language"|outside|secret/, "$module: with a key, $name: shows nothing";
    }
    my $source = $gate->get('/api/env.php?-s', key => $secret);
    is seen($source)->{language}, 'php', "$module: a query is no option for PHP" or diag $source->{body};
    for my $method (qw(HEAD PUT DELETE OPTIONS PATCH)) {
        is $gate->request($method, '/api/env.php')->{status}, 401, "$module: $method is guarded";
    }

    # Nobody says who he is.
    my @forged = map { [ $_ => 'user_mallory' ] }
      qw(Spendgate-Subject SPENDGATE_SUBJECT Remote-User Redirect-Remote-User Path-Translated Spendgate-Mode);
    my $env = seen($gate->get('/api/env.pl', key => $secret, headers => \@forged))->{env};
    is $env->{SPENDGATE_SUBJECT}, $gina, "$module: forged headers change nothing";
    is join(' ', grep { $env->{$_} =~ /mallory/ && !/\AHTTP_/ } sort keys %$env), '', "$module: and stay HTTP_ variables";

    # The program is gone: closed, with JSON.
    rename $gate->path('bin/spendgate-authorizer'), $gate->path('bin/away') or die $!;
    my $answer = $gate->post('/api/env.php', key => $secret, body => 'x' x 200_000);
    is $answer->{status} . ' ' . (seen($answer)->{error} // ''), '503 auth_unavailable', "$module: without the program: 503";
    rename $gate->path('bin/away'), $gate->path('bin/spendgate-authorizer') or die $!;
    is $gate->get('/api/env.php', key => $secret)->{status}, 200, "$module: it is back";

    # The tracker beside it, as plain CGI. What the gate held is settled through it.
    my $hold = seen($gate->get('/api/env.pl', key => $secret))->{env}{SPENDGATE_HOLD_ID};
    my $post = sub {
        my ($path, $token, $body, @headers) = @_;
        return Spendgate::E2E::http('POST', $gate->port, "/spendgate/tracker.cgi$path", body => $body,
            headers => [ $token ? [ Authorization => "Bearer $token" ] : (), @headers ]);
    };
    my @json = ([ 'Content-Type' => 'application/json' ]);
    $answer = $post->('/v1/spend', Spendgate::E2E::POST_TOKEN(), qq({"hold_id":"$hold","cost_usd":"0.01"}), @json);
    is $answer->{status}, 200, "$module: tracker.cgi records a charge" or diag $answer->{body}, $gate->read_file("log/error.log");
    is seen($answer)->{hold}, 'settled', "$module: tracker.cgi settles the hold";
    is $post->('/v1/spend', '', '{}', @json)->{status}, 401, "$module: tracker.cgi wants a token";
    is $post->('/v1/spend?--config+/tmp/mine.conf', '', '{}', @json)->{status}, 401, "$module: a query is no option for tracker.cgi";
    is $post->('/v1/webhooks/clerk', '', '{}', @json)->{status}, 503, "$module: tracker.cgi hears webhooks";
    is $gate->get('/spendgate/deny.cgi?status=401')->{status}, 403, "$module: deny.cgi is nothing to ask for";

    # A copy of it behind the gate: a caller sees its own budgets, and nothing else.
    Spendgate::Hosting::install($gate, 'tracker.cgi', 'www/api/budgets.cgi');
    $answer = $gate->get('/api/budgets.cgi/v1/me', key => $secret);
    is "$answer->{status} " . (seen($answer)->{account} // ''), "200 $gina", "$module: GET /v1/me behind the gate" or diag $answer->{body}, $gate->read_file('log/error.log');
    is $gate->get('/api/budgets.cgi/v1/me')->{status}, 401, "$module: not without a credential";
    is $gate->get('/api/budgets.cgi/v1/accounts', key => $secret)->{status}, 401, "$module: and nothing but that";

    my ($code, $out, $err) = $gate->cli('verify');
    is $code, 0, "$module: spendgate verify" or diag $out, $err;
    is index($gate->logs, $secret), -1, "$module: no credential in any log";
    unlike $gate->logs, qr/AddressSanitizer|runtime error:/, "$module: no sanitizer report";
}

# mod_fcgid in an .htaccess file: the host's own PHP and Perl run the pages, the authorizer is asked first.
{
    my $gate = new_gate(root => '');
    $gate->write_file('www/api/fail503.pl', "#!/usr/bin/perl\nprint qq{Status: 503 Gone fishing\n\nmy own\n};\n", 0755);
    Spendgate::Hosting::start($gate, guard => 'fcgid');
    my $hugo   = $gate->subject('hugo');
    my $secret = $gate->key(subject => $hugo);
    for my $page ('/api/env.php', '/api/env.pl') {
        my $answer = $gate->decided('GET', $page, key => $secret);
        is $answer->{status}, 200, ".htaccess $page: passes" or diag $answer->{body}, $gate->logs;
        is seen($answer)->{env}{SPENDGATE_SUBJECT}, $hugo, ".htaccess $page: the subject";
        is seen($answer)->{env}{REMOTE_USER}, $hugo, ".htaccess $page: and REMOTE_USER";
        is join(' ', grep { /variable|spendgate/ } keys %{ $answer->{headers} }), '', ".htaccess $page: not told to the client";
    }
    for my $how ([ 'GET', '/api/file.txt' ], [ 'POST', '/api/env.php', body => 'x' x 3_000_000 ], [ 'POST', '/api/env.pl', body => 'x' ]) {
        my $answer = $gate->request(@$how);
        is seen($answer)->{error}, 'missing_credential', ".htaccess @$how[0, 1]: the denial's own body" or diag $answer->{body};
        is "$answer->{status} $answer->{headers}{'x-spendgate-status'}[0]", '401 401', ".htaccess @$how[0, 1]: its status";
        is "@{ $answer->{headers}{'www-authenticate'} }", 'Bearer realm="spendgate"', ".htaccess @$how[0, 1]: its challenge, once";
    }
    my $answer = $gate->get('/api/admin.php', key => $secret);
    is "$answer->{status} " . seen($answer)->{error}, '403 insufficient_scope', '.htaccess: a scope is missing';
    is $gate->get('/api/file.txt', key => $secret)->{body}, "guarded file\n", '.htaccess: a file';

    # A page that fails by itself keeps its status, and nothing of the identity reaches the client with it.
    for ([ '/api/crash.pl', 500 ], [ '/api/fail503.pl', 503 ], [ '/api/own429.php', 429 ], [ '/api/absent.txt', 404 ]) {
        my ($target, $status) = @$_;
        $answer = $gate->get($target, key => $secret);
        is $answer->{status}, $status, ".htaccess $target: a page's own status";
        unlike $answer->{body}, qr/auth_unavailable/, ".htaccess $target: is no 503 of ours";
        # Not the 404: mod_headers has no say in Apache's built-in pages.
        is join(' ', grep { /variable/ } keys %{ $answer->{headers} }), '', ".htaccess $target: nothing told to the client"
          if $status != 404;
    }
    is index($gate->logs, $secret), -1, '.htaccess: no credential in any log';
}

# CORS preflights, let through as the files say.
for my $guard (qw(gate fcgid)) {
    my $gate = new_gate(root => $guard eq 'gate' ? undef : '');
    my $text = $gate->read_file("conf/htaccess/$guard.htaccess");
    if ($guard eq 'gate') {
        $text =~ s/^#(<If|    SetHandler|<\/If)/$1/mg == 3 or die;
    }
    else {
        $text =~ s/^(FcgidAccessChecker .*\n)(.*?)^#(<If.*\n)#(<\/If>\n)/$2$3$1$4/ms or die;
    }
    my @preflight = ([ Origin => 'https://app.example' ], [ 'Access-Control-Request-Method' => 'POST' ]);
    Spendgate::Hosting::start($gate, guard => $guard);
    is $gate->request('OPTIONS', '/api/env.php', headers => \@preflight)->{status}, 401, ".htaccess $guard: a preflight is guarded as shipped";
    $gate->write_file("conf/htaccess/$guard.htaccess", $text);
    $gate->stop('apache');
    Spendgate::Hosting::start($gate, guard => $guard);
    for my $page ('/api/env.php', '/api/env.pl', '/api/file.txt') {
        my $answer = $gate->request('OPTIONS', $page, headers => \@preflight);
        is $answer->{status}, 200, ".htaccess $guard: $page: with its lines a preflight passes" or diag $answer->{body};
        unlike $answer->{body}, qr/<\?php|use strict|guarded file/, ".htaccess $guard: $page: and shows no source";
        is $gate->request('OPTIONS', $page)->{status}, 401, ".htaccess $guard: $page: OPTIONS that is no preflight does not";
        is $gate->request('POST', $page, headers => \@preflight)->{status}, 401, ".htaccess $guard: $page: nor does POST";
    }
}

# A "Satisfy Any" of the directory above does not open it; a host without .htaccess files does, and nothing of ours can change that.
{
    my $gate = new_gate(root => '');
    $gate->write_file('www/.htaccess', "Satisfy Any\nRequire all granted\n");
    Spendgate::Hosting::start($gate, guard => 'fcgid');
    is $gate->get('/api/file.txt')->{status}, 401, '"Satisfy Any" above the guarded directory does not open it';
    $gate->stop('apache');
    Spendgate::Hosting::start($gate, guard => 'fcgid', override => 'None');
    is $gate->get('/api/file.txt')->{status}, 200, 'AllowOverride None: open, as the files say';
}
done_testing;

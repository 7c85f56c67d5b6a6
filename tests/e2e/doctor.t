# SPDX-License-Identifier: MIT
# `spendgate doctor --url`: web servers as people set them up by mistake, every fail-open trap among them; doctor finds
# each, names the directive, and finds nothing where the files of conf/ are used as they are. What opens a gate:
#
#   mod_fcgid      FcgidAuthorizer, FcgidAuthenticator; Authoritative Off (denials, long headers); Satisfy Any; an error page that is a
#                  script; no Authorization header; what leaks
#   authnz_fcgi    Require all granted, merged or from .htaccess; Satisfy Any; Require method, local; <Limit>; <Directory>; Alias; mod_cache
#   .htaccess      AllowOverride None; files that are there, and that could be
#   lighttpd       check-local and the order of the modules, the whole table; an empty answer; HTTP/2 bodies
#   nginx          none; return, rewrite; satisfy any; a location beside or inside; error_page =200; cached verdicts; OPTIONS
use strict;
use warnings;
use FindBin qw($Bin);
use lib "$Bin/lib";
use JSON::PP ();
use Spendgate::E2E;
use Spendgate::Hosting;
use Spendgate::Misconfigured;
use Spendgate::Nginx;
use Spendgate::TLS;
use Test::More;

my $gate = Spendgate::E2E->new(clerk => 'rate = "100/10s"');
$gate->start_clerk;
is +($gate->cli('migrate'))[0], 0, 'the store is there';
my $secret = $gate->key(subject => $gate->subject('alice'));
my $key_file = $gate->write_file('etc/test_key', "$secret\n", 0600);
my $folder = $gate->folder;
my $authorizer = $gate->path('bin/spendgate-authorizer');

# Run it as root where we are root, since it makes files below the pages; findings about the gate only.
sub doctor {
    my ($url, @arguments) = @_;
    my ($code, $out, $err) = $gate->cli({ root => 1 }, 'doctor', '--json', '--url', $url, @arguments);
    my $told = eval { JSON::PP->new->utf8->decode($out) } or diag "$out$err";
    my @gate = grep { $_->{check} eq 'gate' } @{ $told->{checks} // [] };
    return { code => $code, findings => \@gate, all => $told->{checks} };
}

sub show { return join '', map { "$_->{level}: $_->{text}\n   -> " . ($_->{advice} // '-') . "\n" } @{ $_[0]{findings} } }

# It was found, at this level, and the advice names what to change.
sub finds {
    my ($run, $level, $text, $advice, $name) = @_;
    my @found = grep { $_->{level} eq $level && $_->{text} =~ $text && ($_->{advice} // '') =~ $advice } @{ $run->{findings} };
    ok scalar @found, "$name: found, and what to change" or diag show($run);
    is $run->{code}, $level eq 'problem' ? 1 : 0, "$name: exit code" if $level eq 'problem';
    return;
}

sub clean {
    my ($run, $name, %but) = @_;
    my @wrong = grep { $_->{level} =~ /problem|warning/ && $_->{text} !~ ($but{warning} // qr/\A\z/) } @{ $run->{findings} };
    is scalar(@wrong), 0, "$name: nothing is wrong" or diag show($run);
    ok scalar(grep { $_->{text} =~ /is guarded: 401/ } @{ $run->{findings} }), "$name: the gate was seen" or diag show($run);
    return;
}

# The trial pages are gone, whatever happened.
sub swept {
    my ($place, $name) = @_;
    my @left = glob "$folder/www/$place/spendgate-doctor-*";
    is scalar(@left), 0, "$name: no trial page is left";
    return;
}

# What --server-config points at: each [text of a line of that file, what is said of it], and at no other line.
sub points {
    my ($config, $name, @want) = @_;
    my ($code, $out) = $gate->cli('doctor', '--json', '--server-config', $config);
    my @found = grep { $_->{check} eq 'config' && $_->{level} eq 'warning' } @{ JSON::PP->new->utf8->decode($out)->{checks} };
    open my $file, '<', $config or die "$config: $!";
    my @lines = <$file>;
    my %told;
    for my $finding (@found) {
        my ($path, $line, $text) = $finding->{text} =~ /\A(.+?):(\d+): (.*)\z/ or next;
        my $where = $path eq $config ? ($lines[ $line - 1 ] // '') =~ s/\A\s+|\s+\z//gr : "$path:$line";
        push @{ $told{$where} }, "$text -> " . ($finding->{advice} // '');
    }
    for my $want (@want) {
        my ($line, $text) = @$want;
        ok scalar(grep { $_ =~ $text } @{ $told{$line} // [] }), "$name: $line" or diag map { "$_->{text}\n" } @found;
        delete $told{$line};
    }
    is join("\n", sort keys %told), '', "$name: no other line" or diag map { "$_->{text}\n" } @found;
    return;
}

# ---- what users copy ------------------------------------------------------------------------------------------

for my $kind (Spendgate::E2E::server_kinds()) {
    $gate->start_web($kind);
    my $run = doctor('http://127.0.0.1:' . $gate->port . '/api/', '--key-file', $key_file, '--folder', "$folder/www/api");
    clean($run, $kind);
    is $run->{code}, 0, "$kind: exit code";
    ok scalar(grep { $_->{text} =~ /runs with these settings/ } @{ $run->{findings} }), "$kind: by its own word"
      or diag show($run);
    ok scalar(grep { $_->{text} =~ /lets the test key pass/ } @{ $run->{findings} }), "$kind: an allow" or diag show($run);
    swept('api', $kind);
    points($gate->path('etc/' . ($kind =~ /lighttpd/ ? 'lighttpd' : $kind eq 'nginx' ? 'nginx' : 'apache') . '.conf'), "$kind, its files");
    for my $name (qw(lighttpd apache nginx fcgiwrap php authorizer tracker)) { $gate->stop($name) }
}

# An authorizer that cannot use its cache says so: as root the doctor could, and in a sandbox the authorizer sees other files.
{
    my $cache = $gate->path('cache/cache.db');
    unlink glob "$cache*";
    mkdir $cache or die $!;
    $gate->start_web('lighttpd');
    my $run = doctor('http://127.0.0.1:' . $gate->port . '/api/');
    finds($run, 'problem', qr/the authorizer there cannot use its cache, so every request asks Clerk/, qr/event=cache_bypassed/, 'no cache');
    like $gate->logs, qr/event=cache_bypassed/, 'no cache: and its log says why';
    for my $name (qw(lighttpd php)) { $gate->stop($name) }
    rmdir $cache;
}

# ---- Apache ---------------------------------------------------------------------------------------------------

my $authnz = <<'END';
AuthType Bearer
AuthName "spendgate"
AuthnzFcgiCheckAuthnProvider spendgate Authoritative On RequireBasicAuth Off UserExpr "%{reqenv:SPENDGATE_SUBJECT}"
Header always set Content-Type application/json "expr=-n resp('X-Spendgate-Status') && %{REQUEST_STATUS} -ge 400"
END
my $checker = qq(CGIPassAuth On\nFcgidAccessChecker "$authorizer"\nRequire all granted\n);
my $asis = qq(ErrorDocument 401 "/.spendgate/%{resp:X-Spendgate-Status}.asis"\n);
my %location = (
    'fcgid-authorizer'    => qq(CGIPassAuth On\nFcgidAuthorizer "$authorizer"\nRequire all granted\nSatisfy All),
    'fcgid-authenticator' => qq(CGIPassAuth On\nFcgidAuthenticator "$authorizer"\nRequire all granted\nSatisfy All),
    'fcgid-off'           => "$checker$asis\nFcgidAccessCheckerAuthoritative Off\nSatisfy All",
    'fcgid-loose'         => "$checker$asis",
    'fcgid-raw'           => "$checker\nFcgidAccessCheckerAuthoritative On\nSatisfy All",
    'fcgid-script'        => "$checker\nSatisfy All\nErrorDocument 401 /front/run.pl",
    'fcgid-plain'         => "$checker\nSatisfy All\n" . ($asis =~ s{/\.spendgate/}{/.plain/}r),
    'fcgid-leak'          => "$checker$asis\nFcgidAccessCheckerAuthoritative On\nSatisfy All",
    'authnz-granted'      => "CGIPassAuth On\n${authnz}Require all granted\nSatisfy All",
    'authnz-satisfy'      => "CGIPassAuth On\n${authnz}Require valid-user",
    'authnz-options'      => "CGIPassAuth On\n$authnz<RequireAny>\nRequire method OPTIONS\nRequire valid-user\n</RequireAny>\nSatisfy All",
    'authnz-limit'        => "CGIPassAuth On\n$authnz<Limit GET POST>\nRequire valid-user\n</Limit>\nSatisfy All",
    'authnz-hidden'       => "${authnz}Require valid-user\nSatisfy All",
    'authnz-merged'       => "CGIPassAuth On\n${authnz}Require valid-user\nSatisfy All",
    'authnz-merged/open'  => 'Require all granted',
    'authnz-basic'        => "CGIPassAuth On\nAuthType Basic\nAuthName x\nAuthBasicProvider spendgate\nRequire valid-user\nSatisfy All",
    'authnz-down'         => do { (my $text = $authnz) =~ s/Provider spendgate/Provider nobody/; "CGIPassAuth On\n${text}Require valid-user\nSatisfy All" },
    'authnz-local'        => "CGIPassAuth On\n$authnz<RequireAny>\nRequire local\nRequire valid-user\n</RequireAny>\nSatisfy All",
    'authnz-any'          => "CGIPassAuth On\n${authnz}Require valid-user",
    'authnz-alias'        => "CGIPassAuth On\n${authnz}Require valid-user\nSatisfy All",
    'authnz-soft'         => do { (my $text = $authnz) =~ s/Authoritative On/Authoritative Off/; "CGIPassAuth On\n${text}Require valid-user\nSatisfy All" },
    'authnz-deep'         => "CGIPassAuth On\n${authnz}Require valid-user",
    'authnz-mapped'       => "CGIPassAuth On\n${authnz}Require valid-user\nSatisfy All",
    'fcgid-inside'        => "$checker\nFcgidAccessCheckerAuthoritative On\nSatisfy All\nErrorDocument 401 /fcgid-inside/page.txt",
    'authnz-moved'        => "CGIPassAuth On\n${authnz}Require valid-user\nSatisfy All",
    'authnz-cached'       => "CGIPassAuth On\n${authnz}Require valid-user\nSatisfy All",
);
my $apache = join '', map { "<Location \"/$_/\">\n$location{$_}\n</Location>\n" } sort keys %location;
$apache .= <<"END";
<Directory "$folder/www/directory">
CGIPassAuth On
${authnz}Require valid-user
Satisfy All
</Directory>
<Directory "$folder/www/ignored">
AllowOverride None
Options -Indexes +MultiViews
</Directory>
Alias "/authnz-mapped/" "$folder/www/behind/"
Alias "/elsewhere/" "$folder/www/authnz-alias/"
CacheEnable disk "/authnz-cached/"
CacheRoot "$folder/tmp/cache"
CacheQuickHandler on
RewriteEngine On
RewriteRule ^/authnz-moved/front/(.*) /front/\$1 [PT]
END

Spendgate::Misconfigured::pages($gate, keys %location, qw(directory ignored front behind authnz-deep/a authnz-deep/a/b));
$gate->write_file('www/authnz-deep/a/.htaccess',   "Options -Indexes\n");
$gate->write_file('www/authnz-deep/a/b/.htaccess', "Satisfy Any\n");
mkdir $gate->path('tmp/cache');
$gate->_own($gate->path('tmp/cache'));
$gate->write_file('www/ignored/.htaccess', $checker);
$gate->write_file('www/authnz-any/.htaccess', "Satisfy Any\n");
my $address = Spendgate::Misconfigured::start_tcp_authorizer($gate);
my ($port, $config) = Spendgate::Misconfigured::start_apache($gate, authorizer => $address, body => $apache, modules => [qw(cache cache_disk rewrite)]);

sub case_of {
    my ($case, @arguments) = @_;
    return doctor("http://127.0.0.1:$port/$case/", @arguments);
}

for my $case (qw(fcgid-authorizer fcgid-authenticator)) {
    finds(case_of($case), 'problem', qr/is OPEN: .* 200/, qr/FcgidAccessChecker .*FcgidAuthorizer and FcgidAuthenticator are never called/, $case);
}
{
    my $run = case_of('fcgid-off');
    finds($run, 'problem', qr{is OPEN: the gate denies, and Apache goes on|401 is sent with another body}, qr/\AFcgidAccessCheckerAuthoritative On/, 'fcgid-off');
    finds($run, 'problem', qr/72 KB of headers \(200\)/, qr/\AFcgidAccessCheckerAuthoritative On/, 'fcgid-off, long headers');
    finds(
        case_of('fcgid-loose', '--folder', "$folder/www/fcgid-loose"),
        'problem', qr/\.htaccess in the folder can open it .*FcgidAccessCheckerAuthoritative Off/,
        qr/FcgidAccessCheckerAuthoritative On/,
        'fcgid-loose'
    );
}
finds(case_of('fcgid-loose', '--folder', "$folder/www/fcgid-loose"), 'problem', qr/can open it .*: Satisfy Any/, qr/`Satisfy All'/, 'fcgid-loose');
swept('fcgid-loose', 'fcgid-loose');
finds(case_of('fcgid-raw'), 'warning', qr/client gets 401 and a page of Apache/, qr/ErrorDocument 401 .*asis/, 'fcgid-raw');
{
    my $run = case_of('fcgid-script');
    finds($run, 'problem', qr/401 is sent with another body/, qr/ErrorDocument 401 of yours answers: .*no script/, 'fcgid-script');
    finds($run, 'problem', qr/POST of 200 KB (?:breaks off|takes)/, qr/read the body first/, 'fcgid-script, POST')
      if grep { $_->{text} =~ /POST of 200 KB/ && $_->{level} eq 'problem' } @{ $run->{findings} };
}
finds(case_of('fcgid-plain'), 'warning', qr/client gets 401 and a page of Apache/, qr/mod_include/, 'fcgid-plain');
finds(doctor("http://127.0.0.1:$port/fcgid-leak/page.txt", '--key-file', $key_file), 'warning', qr/tells the client .*Variable-SPENDGATE_SUBJECT/, qr/Header always unset/, 'fcgid-leak');

finds(case_of('authnz-granted'), 'problem', qr/is OPEN: .* 200/, qr/`Require valid-user' \(with `Require all granted' it is never called/, 'authnz-granted');
finds(
    case_of('authnz-satisfy', '--folder', "$folder/www/authnz-satisfy"),
    'problem', qr/\.htaccess in the folder can open it \(200\): Satisfy Any/,
    qr/`Satisfy All'/, 'authnz-satisfy'
);
finds(case_of('authnz-any'),     'problem', qr/is OPEN: .* 200/, qr/`Satisfy All', because `Satisfy Any' opens them/, 'authnz-any');
finds(case_of('authnz-options'), 'warning', qr/OPTIONS passes without the gate/, qr/`Require method'/, 'authnz-options');
finds(case_of('authnz-limit'),   'problem', qr/OPEN to other methods: PUT/, qr/<Limit>/, 'authnz-limit');
finds(case_of('authnz-hidden'),  'problem', qr/Authorization header does not reach/, qr/\ACGIPassAuth On/, 'authnz-hidden');
clean(case_of('authnz-merged'), 'authnz-merged, outside', warning => qr/UNIQUE_ID/);
finds(case_of('authnz-merged/open'), 'problem', qr/is OPEN: .* 200/, qr/\Awhat is beside it is guarded: .*Require all granted/,  'authnz-merged, inside');
finds(case_of('authnz-basic'),       'problem', qr/401 by Apache itself.*user and a password/, qr/AuthnzFcgiCheckAuthnProvider/, 'authnz-basic');
finds(case_of('authnz-down'),        'problem', qr/closed, but Apache gets no answer/, qr/start spendgate-authorizer/, 'authnz-down');
finds(case_of('authnz-local'),       'problem', qr/is OPEN: .* 200/, qr/Require/, 'authnz-local');
finds(
    case_of('authnz-alias', "http://127.0.0.1:$port/elsewhere/"),
    'problem', qr{/elsewhere/: is OPEN: .* 200}, qr/<Location>/, 'authnz-alias'
);
finds(case_of('authnz-soft'), 'warning', qr/client gets 500 and a page of Apache/, qr/Authoritative On/, 'authnz-soft');
finds(case_of('fcgid-inside'), 'warning', qr/client gets 401 and a page of Apache/, qr/outside of what is guarded/, 'fcgid-inside');
finds(
    case_of('authnz-deep', '--folder', "$folder/www/authnz-deep"),
    'problem', qr{/authnz-deep/a/b/ is OPEN \(200\), through \Q$folder\E/www/authnz-deep/a/b/\.htaccess},
    qr/`Satisfy All'/, 'authnz-deep'
);
finds(
    case_of('authnz-mapped', '--folder', "$folder/www/behind"),
    'problem', qr{files are OPEN by another way: /behind/ \(200\)},
    qr/Alias/, 'authnz-mapped'
);
finds(doctor("http://127.0.0.1:$port/authnz-moved/front/page.txt"), 'problem', qr/is OPEN: .* 200/, qr/RewriteRule of the server leads to another path/, 'authnz-moved');
finds(case_of('authnz-cached'), 'problem', qr/a cache answers before the gate \(504/, qr/\ACacheQuickHandler off/, 'authnz-cached');
{
    my $run = case_of('directory', '--folder', "$folder/www/directory");
    finds($run, 'problem', qr/can open it \(200\): Require all granted/, qr/<Location>/,     'directory, Require');
    finds($run, 'problem', qr/can open it \(200\): Satisfy Any/,         qr/`Satisfy All'/, 'directory, Satisfy');
    finds($run, 'problem', qr/can open it \(200\): AuthnzFcgiCheckAuthnProvider None/, qr/<Location>/, 'directory, provider');
    finds($run, 'note', qr/`SetEnvIf'.*trusted like the server/, qr//, 'SetEnvIf');
    finds($run, 'warning', qr/gives no UNIQUE_ID/, qr/\Aa2enmod unique_id/, 'no mod_unique_id');
}
finds(case_of('ignored'), 'problem', qr/is OPEN: .* 200/, qr/AllowOverride AuthConfig FileInfo/, 'ignored .htaccess');
points(
    $config, 'Apache, its file',
    [ qq(FcgidAuthorizer "$authorizer"),     qr/never called for a bearer token -> FcgidAccessChecker/ ],
    [ qq(FcgidAuthenticator "$authorizer"),  qr/never called for a bearer token -> FcgidAccessChecker/ ],
    [ 'FcgidAccessCheckerAuthoritative Off', qr/-> FcgidAccessCheckerAuthoritative On/ ],
    [ '<Location "/fcgid-loose/">',          qr/no `Satisfy All'/ ],
    [ '<Location "/fcgid-script/">',         qr/no `FcgidAccessCheckerAuthoritative On'/ ],
    [ '<Location "/fcgid-plain/">',          qr/no `FcgidAccessCheckerAuthoritative On'/ ],
    [ 'Require all granted',                 qr/mod_authnz_fcgi is called only when a user is wanted/ ],
    [ '<Location "/authnz-satisfy/">',       qr/no `Satisfy All'/ ],
    [ '<Location "/authnz-any/">',           qr/no `Satisfy All'/ ],
    [ '<Location "/authnz-deep/">',          qr/no `Satisfy All'/ ],
    [ '<Location "/authnz-hidden/">',        qr/no `CGIPassAuth On'/ ],
    [ '<Limit GET POST>',                    qr/some methods only/ ],
    [ 'Require method OPTIONS',              qr/passes without the gate/ ],
    [ 'Require local',                       qr/passes without the gate/ ],
    [ qq(AuthnzFcgiCheckAuthnProvider spendgate Authoritative Off RequireBasicAuth Off UserExpr "%{reqenv:SPENDGATE_SUBJECT}"), qr/becomes 500/ ],
    [ qq(<Directory "$folder/www/directory">), qr/<Location>/ ],
    [ qq(DocumentRoot "$folder/www"),          qr{leads to \Q$folder\E/www, and so to the files of the guarded /authnz-mapped/} ],
    [ 'Options -Indexes +MultiViews',          qr/judged by the route of the address that was asked for -> Options -MultiViews/ ],
    [ 'CacheEnable disk "/authnz-cached/"',    qr/-> CacheQuickHandler off/ ],
);
$gate->stop('apache');

# ---- shared hosting: nothing but .htaccess -----------------------------------------------------------------------

for my $guard (qw(gate fcgid)) {
    my $host = Spendgate::E2E->new(clerk => 'rate = "100/10s"');
    $host->start_clerk;
    $host->write_settings(top => Spendgate::Hosting::gate_section($host));
    $host->cli('migrate');
    my $key = $host->write_file('etc/test_key', $host->key(subject => $host->subject('bob')) . "\n", 0600);
    for my $override (undef, 'None') {
        Spendgate::Hosting::start($host, guard => $guard, defined $override ? (override => $override) : ());
        my $url = 'http://127.0.0.1:' . $host->port . '/api/';
        my ($code, $out) = $host->cli('doctor', '--json', '--url', $url, "${url}env.php", '--key-file', $key);
        my $run = { code => $code, findings => [ grep { $_->{check} eq 'gate' } @{ JSON::PP->new->utf8->decode($out)->{checks} } ] };
        if (defined $override) { finds($run, 'problem', qr/is OPEN: |404 by Apache itself/, qr/AllowOverride AuthConfig FileInfo|no gate is in front/, "$guard.htaccess, AllowOverride None") }
        else {
            clean($run, "$guard.htaccess", warning => qr{/api/: tells the client});    # Apache's own page for a missing one does
            ok scalar(grep { $_->{text} =~ /env\.php: tells an allowed client nothing/ } @{ $run->{findings} }), "$guard.htaccess: a page" or diag show($run);
        }
        $host->stop('apache');
    }
}

# ---- lighttpd: the table of the orders of its modules, a guard on /api/ ------------------------------------------

$gate->stop('tcp');
$gate->start_authorizer;
Spendgate::Misconfigured::pages($gate, 'api');
my $backend = Spendgate::Misconfigured::start_backend($gate);
my $disable = ', "check-local" => "disable"';
my $order   = qr/mod_fastcgi (?:before|has to come before) mod_proxy/;
my @table = (
    # modules, check-local, and what each kind of page answers: "" guarded
    [ 'fastcgi first', [qw(fastcgi proxy cgi staticfile)], $disable, { static => '', cgi => '', proxy => '' } ],
    [ 'proxy first', [qw(proxy fastcgi cgi staticfile)], $disable, { static => '', cgi => '', proxy => qr/\Aload $order/ } ],
    [
        'check-local, fastcgi first', [qw(fastcgi proxy cgi staticfile)], '',
        { static => '', cgi => '', proxy => $order, missing => qr/\A"check-local" => "disable"/ }
    ],
    [
        'check-local, cgi first', [qw(cgi fastcgi proxy staticfile)], '',
        { static => '', cgi => qr/"check-local" => "disable"/, proxy => $order, missing => qr/\A"check-local" => "disable"/ }
    ],
    [
        'check-local, staticfile first', [qw(staticfile cgi fastcgi proxy)], '',
        { static => qr/"check-local" => "disable"/, cgi => qr/"check-local" => "disable"/, proxy => $order }
    ],
);
my %page = (static => 'page.txt', cgi => 'run.pl', proxy => 'up/');
for my $row (@table) {
    my ($name, $modules, $block, $open) = @$row;
    ($port, $config) = Spendgate::Misconfigured::start_lighttpd($gate, modules => [ 'indexfile', @$modules ], block => $block, upstream => $backend);
    my ($loaded) = grep { /\Aserver\.modules/ } split /\n/, $gate->read_file('etc/lighttpd-mis.conf');
    my ($asked) = map { s/\A\s+//r } grep { /"mode"/ } split /\n/, $gate->read_file('etc/lighttpd-mis.conf');
    my %place = map { $modules->[$_] => $_ } 0 .. $#$modules;
    my $early = join '|', grep { $place{$_} < $place{fastcgi} } 'proxy', $block ? () : 'cgi';
    points(
        $config, "lighttpd, $name, its file",
        $block ? () : [ $asked,  qr/without "check-local" => "disable"/ ],
        $early ? [ $loaded, qr/mod_(?:$early) is loaded before mod_fastcgi/ ] : (),
    );
    for my $kind (sort keys %page) {
        # What is true of this row, by a request of our own.
        my $status = Spendgate::E2E::http('GET', $port, "/api/$page{$kind}")->{status};
        is $status, $open->{$kind} ? 200 : 401, "lighttpd, $name: $kind as in the table";
        my $run = doctor("http://127.0.0.1:$port/api/$page{$kind}");
        if ($open->{$kind}) { finds($run, 'problem', qr/is OPEN: .* 200/, $open->{$kind}, "lighttpd, $name: $kind") }
        else { ok !(grep { $_->{text} =~ /OPEN/ } @{ $run->{findings} }), "lighttpd, $name: $kind is not told as open" }
    }
    # The folder alone shows check-local.
    my $run = doctor("http://127.0.0.1:$port/api/", '--folder', "$folder/www/api");
    if ($open->{missing}) { finds($run, 'problem', qr/pages below are answered without the gate: .*\(404\)/, $open->{missing}, "lighttpd, $name: the folder") }
    elsif ($open->{static}) { finds($run, 'problem', qr/is OPEN: .* 200|answered 40\d by lighttpd itself/, $open->{static}, "lighttpd, $name: the folder") }
    else { clean($run, "lighttpd, $name: the folder") }
    # Further addresses are looked at as well.
    if ($name eq 'proxy first') {
        my $both = doctor("http://127.0.0.1:$port/api/", "http://127.0.0.1:$port/api/up/");
        finds($both, 'problem', qr{/api/up/: is OPEN: .* 200}, $order, "lighttpd, $name: a second address");
    }
    $gate->stop('lighttpd');
}

($port) = Spendgate::Misconfigured::start_lighttpd($gate, modules => [qw(indexfile fastcgi proxy cgi staticfile)], block => $disable, upstream => $backend, h2 => 1);
finds(doctor("http://127.0.0.1:$port/api/"), 'warning', qr{HTTP/2, and lighttpd/1\.4\.\d+ can hand the body}, qr/"server\.h2proto" => "disable"/, 'lighttpd, HTTP/2')
  if Spendgate::Misconfigured::lighttpd_version() < 1.004077;
$gate->stop('lighttpd');

# A proxy of the prefix without its slash, which the guard has: the folder's own name is open, with a trial page or without.
($port) = Spendgate::Misconfigured::start_lighttpd(
    $gate,
    modules  => [qw(indexfile fastcgi proxy cgi staticfile)],
    block    => $disable,
    upstream => $backend,
    body     => qq(\$HTTP["url"] == "/api" { proxy.server = ( "" => (( "host" => "127.0.0.1", "port" => $backend )) ) }\n)
);
for my $arguments ([], [ '--folder', "$folder/www/api" ]) {
    my $run = doctor("http://127.0.0.1:$port/api/", @$arguments);
    finds($run, 'problem', qr{is OPEN without the slash at its end: /api \(200\)}, qr/var\.spendgate_guarded = "\/api"/, "lighttpd, a proxy of /api " . ($arguments->[0] // ''));
}
$gate->stop('lighttpd');

# Rewritten before the guarded prefix is looked at.
($port) = Spendgate::Misconfigured::start_lighttpd(
    $gate,
    modules  => [qw(rewrite indexfile fastcgi proxy cgi staticfile)],
    block    => $disable,
    upstream => $backend,
    body     => qq(url.rewrite-once = ( "^/api/front/(.*)" => "/open/\$1" )\n)
);
Spendgate::Misconfigured::pages($gate, 'open');
finds(doctor("http://127.0.0.1:$port/api/front/page.txt"), 'problem', qr/is OPEN: .* 200/, qr/url\.rewrite-once leads to another path: guard that one/, 'lighttpd, a rewrite out of the prefix');
$gate->stop('lighttpd');

# A condition that says "=" takes the authorizer away, one that says "+=" does not; nor is a preflight's exception told.
$gate->start_php unless $gate->pid('php');
for my $case ([ '$HTTP["url"] =~ "^/api/"', '=' ], [ '$HTTP["host"] =~ "127"', '=' ], [ '$HTTP["host"] =~ "127"', '+=' ], [ '$HTTP["request-method"] == "OPTIONS"', '=' ]) {
    my ($condition, $operator) = @$case;
    my $replaced = qq(fastcgi.server $operator ( ".php" => (( "socket" => "$folder/run/php.sock" )) ));
    ($port, $config) = Spendgate::Misconfigured::start_lighttpd(
        $gate,
        modules  => [qw(indexfile fastcgi proxy cgi staticfile)],
        block    => $disable,
        upstream => $backend,
        body     => qq($condition {\n    $replaced\n}\n)
    );
    my $open = $operator eq '=' && $condition !~ /OPTIONS/;
    is +Spendgate::E2E::http('GET', $port, '/api/page.txt')->{status}, $open ? 200 : 401, "lighttpd, $condition, fastcgi.server $operator";
    my $run = doctor("http://127.0.0.1:$port/api/");
    if ($open) { finds($run, 'problem', qr/is OPEN: .* 200/, qr/`fastcgi\.server =', which takes the authorizer's place: \+= there/, "lighttpd, $condition, =") }
    else { ok !(grep { $_->{text} =~ /is OPEN/ } @{ $run->{findings} }), "lighttpd, $condition, $operator: not open" }
    points($config, "lighttpd, $condition, $operator, its file", $open ? [ $replaced, qr/takes the place of the whole list.*fastcgi\.server \+=/ ] : ());
    $gate->stop('lighttpd');
}

# An authorizer that ends without a word is an allow to lighttpd.
$gate->_copy(Spendgate::E2E::build_folder() . '/bench/noop', 'bin/noop', 0755);
$gate->write_file('etc/nothing', '');
($port) = Spendgate::Misconfigured::start_lighttpd(
    $gate,
    modules  => [qw(indexfile fastcgi proxy cgi staticfile)],
    upstream => $backend,
    block    => qq($disable, "bin-path" => "$folder/bin/noop", "max-procs" => 1, "bin-environment" => ( "NOOP_ANSWER" => "$folder/etc/nothing" )),
);
is +Spendgate::E2E::http('GET', $port, '/api/page.txt')->{status}, 200, 'lighttpd, nothing is an allow';
finds(doctor("http://127.0.0.1:$port/api/"), 'problem', qr/is OPEN: .* 200/, qr/prints nothing allows/, 'lighttpd, an authorizer that says nothing');
$gate->stop('lighttpd');

# A tag that hides the name of the server.
my $body = <<'END';
server.tag = "a web server"
END
($port) = Spendgate::Misconfigured::start_lighttpd($gate, modules => [qw(indexfile fastcgi proxy cgi staticfile)], block => $disable, upstream => $backend, body => $body);
Spendgate::Misconfigured::pages($gate, 'apis');
finds(doctor("http://127.0.0.1:$port/apis/"), 'problem', qr/is OPEN: .* 200/, qr/lighttpd: the authorizer's block of fastcgi\.server/, 'a web server without a name');
$gate->stop('lighttpd');

# ---- nginx ----------------------------------------------------------------------------------------------------

my %snippet = map { $_ => Spendgate::Nginx::snippet($gate, $_, $_ eq 'spendgate.conf' ? ('/run/spendgate' => "$folder/run") : ()) }
  qw(spendgate.conf spendgate-server.conf spendgate-guard.conf);
my $guard = qq(include "$snippet{'spendgate-guard.conf'}";);
my $question = <<"END";
internal;
fastcgi_pass spendgate_authorizer;
fastcgi_pass_request_body off;
fastcgi_param CONTENT_LENGTH "";
fastcgi_param SPENDGATE_MODE authorize;
fastcgi_param REQUEST_METHOD \$request_method;
fastcgi_param REQUEST_URI \$request_uri;
fastcgi_param REMOTE_ADDR \$remote_addr;
END
my %nginx = (
    'none'      => '',
    'return'    => qq($guard return 200 "the page of return";),
    'satisfy'   => "auth_request /.spendgate/authorize; satisfy any; allow 127.0.0.1; deny all;",
    'raw'       => 'auth_request /.spendgate/authorize;',
    'inner'     => "$guard location ^~ /inner/open/ { auth_request off; }",
    'page'      => 'auth_request /.spendgate/authorize; error_page 401 403 500 =200 /none/page.txt;',
    'login'     => 'auth_request /.spendgate/authorize; error_page 401 /none/index.html;',
    'preflight' => qq($guard if (\$request_method = OPTIONS) { return 204; }),
    'methods'   => 'limit_except GET POST { auth_request /.spendgate/authorize; }',
    'verdicts'  => 'auth_request /verdicts_cached;',
    'unique'    => 'auth_request /unique_question; error_page 401 403 500 = @spendgate_deny; auth_request_set $spendgate_denial $upstream_http_x_spendgate_denial;'
      . ' auth_request_set $spendgate_status $upstream_status; auth_request_set $spendgate_doctor $upstream_http_x_spendgate_doctor;'
      . ' auth_request_set $spendgate_denied $upstream_http_x_spendgate_status; auth_request_set $spendgate_challenge $upstream_http_www_authenticate;',
    'down'      => 'auth_request /down_question;',
    'moved'     => qq(rewrite ^/moved/front/(.*) /none/\$1 last; $guard),
    'stays'     => qq($guard rewrite ^/stays/front/(.*) /stays/\$1 last; if (\$arg_x) { rewrite ^ /none/x break; }),
    'redirect'  => qq($guard rewrite ^/redirect/old http://127.0.0.1:1/ redirect;),
);
delete $nginx{methods};    # nginx takes auth_request in no limit_except
my $server = qq(include "$snippet{'spendgate-server.conf'}";\n)
  . join('', map { "location ^~ /$_/ { $nginx{$_} }\n" } sort keys %nginx)
  . <<"END";
location /scripts/ { $guard }
location ~ \\.php\$ { return 200 "run as PHP"; }
location = /verdicts_cached { $question
    fastcgi_cache verdicts; fastcgi_cache_key "\$request_uri"; fastcgi_cache_valid 200 1m; fastcgi_ignore_headers Cache-Control Expires Vary; }
location = /unique_question { $question }
location = /down_question { internal; fastcgi_pass 127.0.0.1:9; }
END
Spendgate::Misconfigured::pages($gate, keys %nginx, 'inner/open', 'scripts');
($port, $config) = Spendgate::Misconfigured::start_nginx(
    $gate,
    http   => qq(include "$snippet{'spendgate.conf'}"; fastcgi_cache_path "$folder/tmp/verdicts" keys_zone=verdicts:1m;),
    server => $server
);
finds(case_of('none'),    'problem', qr/is OPEN: .* 200/, qr/spendgate-guard\.conf \(auth_request/, 'nginx, none');
finds(case_of('return'),  'problem', qr/is OPEN: .* 200/, qr/`return' or `rewrite' in it is answered before auth_request/, 'nginx, return');
finds(case_of('satisfy'), 'problem', qr/is OPEN: .* 200/, qr/`satisfy all'/, 'nginx, satisfy any');
finds(case_of('raw'), 'warning', qr/client gets (?:401|500) and a page of nginx/, qr/error_page 401 403 500 = \@spendgate_deny/, 'nginx, raw');
finds(case_of('inner'), 'ok', qr/is guarded: 401/, qr//, 'nginx, around an inner location');
finds(case_of('inner/open'), 'problem', qr/is OPEN: .* 200/, qr/\Awhat is beside it is guarded: .*`auth_request off'/, 'nginx, auth_request off inside');
finds(case_of('page'), 'problem', qr/is OPEN: .* 200/, qr/auth_request/, 'nginx, an error page with 200');
finds(case_of('login'), 'problem', qr/401 is sent with another body/, qr/another error_page answers/, 'nginx, an error page of its own');
finds(case_of('preflight'), 'warning', qr/OPTIONS passes without the gate/, qr/`if \(\$request_method/, 'nginx, OPTIONS');
finds(case_of('scripts'), 'problem', qr/pages below are answered without the gate: .*\.php \(200\)/, qr/`location ~' beside the guarded location/, 'nginx, a location beside');
finds(case_of('verdicts', '--key-file', $key_file), 'problem', qr/OPEN after it was allowed once/, qr/no fastcgi_cache/, 'nginx, cached verdicts');
finds(case_of('unique'), 'warning', qr/nginx gives no UNIQUE_ID/, qr/fastcgi_param UNIQUE_ID/, 'nginx, no UNIQUE_ID');
finds(case_of('down'), 'problem', qr/closed, but nginx gets no answer/, qr/start spendgate-authorizer/, 'nginx, down');
clean(case_of('redirect'), 'nginx, a redirection elsewhere');
finds(doctor("http://127.0.0.1:$port/moved/front/page.txt"), 'problem', qr/is OPEN: .* 200/, qr/`rewrite' leads to another location \(guard that one\)/, 'nginx, a rewrite out of the location');
finds(doctor("http://127.0.0.1:$port/stays/front/page.txt"), 'ok', qr/is guarded: 401/, qr//, 'nginx, a rewrite within it');
points(
    $config, 'nginx, its file',
    [ "location ^~ /return/ { $nginx{return} }",       qr/`return' in the guarded location/ ],
    [ "location ^~ /redirect/ { $nginx{redirect} }",   qr/`rewrite' in the guarded location/ ],
    [ "location ^~ /moved/ { $nginx{moved} }",         qr/`rewrite' leads from the guarded location \/moved\/ to \/none\/\$1 before/ ],
    [ "location ^~ /preflight/ { $nginx{preflight} }", qr/`return' in the guarded location/ ],
    [ "location ^~ /satisfy/ { $nginx{satisfy} }",     qr/-> satisfy all/ ],
    [ "location ^~ /inner/ { $nginx{inner} }",         qr/`auth_request off' opens/ ],
    [ "location ^~ /page/ { $nginx{page} }",           qr/error_page with =/ ],
    [ 'location ~ \.php$ { return 200 "run as PHP"; }', qr/takes the pages it fits away from the guarded location/ ],
    [
        'fastcgi_cache verdicts; fastcgi_cache_key "$request_uri"; fastcgi_cache_valid 200 1m; fastcgi_ignore_headers Cache-Control Expires Vary; }',
        qr/one allow is given to everybody/
    ],
);
$gate->stop('nginx');

# ---- https, and addresses that lead elsewhere ---------------------------------------------------------------------

my $tls = Spendgate::TLS->new($gate);
$tls->certificate('site', '127.0.0.1');
my $authority = "$folder/tls/certs/ca-certificates.crt";
($port) = Spendgate::Misconfigured::start_nginx(
    $gate,
    tls    => ' ssl http2',
    http   => qq(include "$snippet{'spendgate.conf'}"; ssl_certificate "$folder/tls/site.crt"; ssl_certificate_key "$folder/tls/site.key";),
    server => qq(include "$snippet{'spendgate-server.conf'}"; location ^~ /api/ { $guard }\nlocation = /away { return 302 https://elsewhere.example/; })
      . "\nlocation = /gone { return 301 /api/; }"
);
finds(doctor("https://127.0.0.1:$port/api/"), 'problem', qr/certificate/, qr/SSL_CERT_FILE/, 'https, an authority that is not known');
sub with_authority {
    my ($path) = @_;
    my ($code, $out) = $gate->cli({ env => { SSL_CERT_FILE => $authority } }, 'doctor', '--json', '--url', "https://127.0.0.1:$port$path");
    return { code => $code, findings => [ grep { $_->{check} eq 'gate' } @{ JSON::PP->new->utf8->decode($out)->{checks} } ] };
}
clean(with_authority('/api/'), 'https');
clean(with_authority('/gone'), 'https, after a redirection');
finds(with_authority('/gone'), 'note', qr{answers 301; looked at is where it leads, .*/api/}, qr//, 'a redirection on the same host');
finds(with_authority('/away'), 'problem', qr{answers 302, which leads to https://elsewhere\.example/}, qr/address of a page/, 'a redirection elsewhere');
finds(doctor("http://127.0.0.1:$port/api/"), 'problem', qr/answered 400 by nginx itself/, qr//, 'http to a port of https');
$gate->stop('nginx');

done_testing;

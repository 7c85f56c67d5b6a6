# SPDX-License-Identifier: MIT
# `spendgate doctor --url`: web servers as people set them up by mistake, every fail-open trap among them; doctor finds
# each, names the directive, and finds nothing where the files of conf/ are used as they are.
use strict;
use warnings;
use FindBin qw($Bin);
use lib "$Bin/lib";
use JSON::PP ();
use Spendgate::E2E;
use Spendgate::Misconfigured;
use Test::More;

my $proxied = Spendgate::E2E::free_port();
my $gate = Spendgate::E2E->new(explain => 0, clerk => 'rate = "100/10s"');
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
    for my $name (qw(lighttpd apache nginx fcgiwrap php authorizer tracker)) { $gate->stop($name) }
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
</Directory>
Alias "/elsewhere/" "$folder/www/authnz-alias/"
CacheEnable disk "/authnz-cached/"
CacheRoot "$folder/tmp/cache"
CacheQuickHandler on
END

Spendgate::Misconfigured::pages($gate, keys %location, qw(directory ignored front));
mkdir $gate->path('tmp/cache');
$gate->_own($gate->path('tmp/cache'));
$gate->write_file('www/ignored/.htaccess', $checker);
$gate->write_file('www/authnz-any/.htaccess', "Satisfy Any\n");
my $address = Spendgate::Misconfigured::start_tcp_authorizer($gate);
my ($port) = Spendgate::Misconfigured::start_apache($gate, authorizer => $address, body => $apache, modules => [qw(cache cache_disk)]);

sub apache_case {
    my ($case, @arguments) = @_;
    return doctor("http://127.0.0.1:$port/$case/", @arguments);
}

for my $case (qw(fcgid-authorizer fcgid-authenticator)) {
    finds(apache_case($case), 'problem', qr/is OPEN: .* 200/, qr/FcgidAccessChecker .*FcgidAuthorizer and FcgidAuthenticator are never called/, $case);
}
{
    my $run = apache_case('fcgid-off');
    finds($run, 'problem', qr/is OPEN: the gate denies, and Apache goes on/, qr/\AFcgidAccessCheckerAuthoritative On/, 'fcgid-off');
    finds($run, 'problem', qr/72 KB of headers \(200\)/, qr/\AFcgidAccessCheckerAuthoritative On/, 'fcgid-off, long headers');
    finds(
        apache_case('fcgid-loose', '--folder', "$folder/www/fcgid-loose"),
        'problem', qr/\.htaccess in the folder can open it .*FcgidAccessCheckerAuthoritative Off/,
        qr/FcgidAccessCheckerAuthoritative On/,
        'fcgid-loose'
    );
}
finds(apache_case('fcgid-loose', '--folder', "$folder/www/fcgid-loose"), 'problem', qr/can open it .*: Satisfy Any/, qr/`Satisfy All'/, 'fcgid-loose');
swept('fcgid-loose', 'fcgid-loose');
finds(apache_case('fcgid-raw'), 'warning', qr/client gets 401 and a page of Apache/, qr/ErrorDocument 401 .*asis/, 'fcgid-raw');
{
    my $run = apache_case('fcgid-script');
    finds($run, 'problem', qr/401 is sent with another body/, qr/ErrorDocument 401 of yours answers: .*no script/, 'fcgid-script');
    finds($run, 'problem', qr/POST of 200 KB (?:breaks off|takes)/, qr/read the body first/, 'fcgid-script, POST')
      if grep { $_->{text} =~ /POST of 200 KB/ && $_->{level} eq 'problem' } @{ $run->{findings} };
}
finds(doctor("http://127.0.0.1:$port/fcgid-leak/page.txt", '--key-file', $key_file), 'problem', qr/tells the client .*Variable-SPENDGATE_SUBJECT/, qr/Header always unset/, 'fcgid-leak');

finds(apache_case('authnz-granted'), 'problem', qr/is OPEN: .* 200/, qr/`Require valid-user' \(with `Require all granted' it is never called/, 'authnz-granted');
finds(
    apache_case('authnz-satisfy', '--folder', "$folder/www/authnz-satisfy"),
    'problem', qr/\.htaccess in the folder can open it \(200\): Satisfy Any/,
    qr/`Satisfy All'/, 'authnz-satisfy'
);
finds(apache_case('authnz-any'),     'problem', qr/is OPEN: .* 200/, qr/`Satisfy All', because `Satisfy Any' opens them/, 'authnz-any');
finds(apache_case('authnz-options'), 'warning', qr/OPTIONS passes without the gate/, qr/`Require method'/, 'authnz-options');
finds(apache_case('authnz-limit'),   'problem', qr/OPEN to other methods: PUT/, qr/<Limit>/, 'authnz-limit');
finds(apache_case('authnz-hidden'),  'problem', qr/Authorization header does not reach/, qr/\ACGIPassAuth On/, 'authnz-hidden');
clean(apache_case('authnz-merged'), 'authnz-merged, outside', warning => qr/UNIQUE_ID/);
finds(apache_case('authnz-merged/open'), 'problem', qr/is OPEN: .* 200/, qr/Require all granted/,  'authnz-merged, inside');
finds(apache_case('authnz-basic'),       'problem', qr/401 by Apache itself.*user and a password/, qr/AuthnzFcgiCheckAuthnProvider/, 'authnz-basic');
finds(apache_case('authnz-down'),        'problem', qr/closed, but Apache gets no answer/, qr/start spendgate-authorizer/, 'authnz-down');
finds(apache_case('authnz-local'),       'problem', qr/is OPEN: .* 200/, qr/Require/, 'authnz-local');
finds(
    apache_case('authnz-alias', "http://127.0.0.1:$port/elsewhere/"),
    'problem', qr{/elsewhere/: is OPEN: .* 200}, qr/<Location>/, 'authnz-alias'
);
finds(apache_case('authnz-cached'), 'problem', qr/a cache answers before the gate \(504/, qr/\ACacheQuickHandler off/, 'authnz-cached');
{
    my $run = apache_case('directory', '--folder', "$folder/www/directory");
    finds($run, 'problem', qr/can open it \(200\): Require all granted/, qr/<Location>/,     'directory, Require');
    finds($run, 'problem', qr/can open it \(200\): Satisfy Any/,         qr/`Satisfy All'/, 'directory, Satisfy');
    finds($run, 'problem', qr/can open it \(200\): AuthnzFcgiCheckAuthnProvider None/, qr/<Location>/, 'directory, provider');
    finds($run, 'warning', qr/gives no UNIQUE_ID/, qr/\Aa2enmod unique_id/, 'no mod_unique_id');
}
finds(apache_case('ignored'), 'problem', qr/is OPEN: .* 200/, qr/AllowOverride AuthConfig FileInfo/, 'ignored .htaccess');
$gate->stop('apache');

done_testing;

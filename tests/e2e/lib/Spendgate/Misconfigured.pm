# SPDX-License-Identifier: MIT
package Spendgate::Misconfigured;

# Web servers as people set them up by mistake, for doctor.t: each trap of the web servers is a part of one of these
# configurations. The pages are www/<case>/index.html, page.txt and run.pl below one document root.
use strict;
use warnings;

use File::Path qw(make_path);

# The pages of a case: below the document root, of the servers' user.
sub pages {
    my ($gate, @cases) = @_;
    for my $case (@cases) {
        my $folder = "www/$case";
        make_path($gate->path($folder));
        chmod 0755, $gate->path($folder);
        $gate->write_file("$folder/index.html", "<html><head><title>$case</title></head><body>the page of $case</body></html>\n");
        $gate->write_file("$folder/page.txt",   "the text of $case\n");
        $gate->write_file("$folder/run.pl",     "#!/usr/bin/perl\nprint qq(Content-Type: text/plain\\r\\n\\r\\nrun of $case\\n);\n", 0755);
    }
    return;
}

# An authorizer on TCP beside the one on a unix socket; returns its address.
sub start_tcp_authorizer {
    my ($gate) = @_;
    my $address = '127.0.0.1:' . Spendgate::E2E::free_port();
    $gate->start(
        'tcp',
        [ $gate->path('bin/spendgate-authorizer'), '--config', $gate->config, '--listen', $address, '--workers', 2 ],
        ready => sub { Spendgate::E2E::_accepts($address) },
    );
    return $address;
}

# A page to proxy to: it answers everything with 200. Returns its port.
sub start_backend {
    my ($gate) = @_;
    my $port = Spendgate::E2E::free_port();
    my $script = $gate->write_file('etc/backend.pl', <<'END');
use strict;
use warnings;
use IO::Socket::INET;
my $listen = IO::Socket::INET->new(LocalAddr => '127.0.0.1', LocalPort => $ARGV[0], Listen => 50, ReuseAddr => 1) or die $!;
$SIG{PIPE} = 'IGNORE';
while (my $client = $listen->accept) {
    my ($bytes, $length) = ('', 0);
    while ($bytes !~ /\r\n\r\n/) { sysread $client, $bytes, 65_536, length $bytes or last }
    $length = $1 if $bytes =~ /^Content-Length:\s*(\d+)/mi;
    my $have = length($bytes) - index($bytes, "\r\n\r\n") - 4;
    while ($have < $length) { my $got = sysread $client, my $more, 65_536 or last; $have += $got }
    print {$client} "HTTP/1.1 200 OK\r\nContent-Length: 12\r\nConnection: close\r\n\r\nproxied page";
    close $client;
}
END
    $gate->start('backend', [ '/usr/bin/perl', $script, $port ], ready => sub { Spendgate::E2E::_accepts("127.0.0.1:$port") });
    return $port;
}

# Apache with both modules and, on purpose, without mod_unique_id. body => TEXT of the server, modules => [more].
sub start_apache {
    my ($gate, %option) = @_;
    my $port    = $gate->{ports}{misconfigured} = Spendgate::E2E::free_port();
    my $folder  = $gate->folder;
    my @modules = (
        qw(mpm_event authn_core authz_core authz_user authz_host access_compat headers alias asis dir env mime setenvif
          rewrite cgid fcgid authnz_fcgi auth_basic include), @{ $option{modules} // [] }
    );
    my $load = join '', map { "LoadModule ${_}_module /usr/lib/apache2/modules/mod_$_.so\n" } @modules;
    make_path("$folder/run/fcgid");
    $gate->_own("$folder/run/fcgid");
    my $config = $gate->write_file('etc/apache-mis.conf', <<"END");
ServerRoot "$folder"
ServerName 127.0.0.1
Listen 127.0.0.1:$port
PidFile "$folder/run/apache.pid"
DefaultRuntimeDir "$folder/run"
ErrorLog "$folder/log/apache-error.log"
LogLevel warn
$load
ScriptSock "$folder/run/cgid.sock"
TypesConfig /dev/null
AddType text/plain .txt
AddType text/html .html
StartServers 1
ServerLimit 2
ThreadsPerChild 16
MaxRequestWorkers 32
GracefulShutdownTimeout 2
TraceEnable off
DocumentRoot "$folder/www"
DirectoryIndex index.html
<Directory "/">
    AllowOverride None
    Require all denied
</Directory>
<Directory "$folder/www">
    AllowOverride All
    Options +ExecCGI +FollowSymLinks
    Require all granted
</Directory>
AddHandler cgi-script .pl
Suexec Off
FcgidIPCDir $folder/run/fcgid
FcgidProcessTableFile $folder/run/fcgid.table
FcgidInitialEnv SPENDGATE_CONFIG "@{[ $gate->config ]}"
FcgidIOTimeout 10
FcgidMaxProcessesPerClass 20
FcgidSpawnScoreUpLimit 500
Alias "/.spendgate/" "$folder/conf/apache/denials/"
<Location "/.spendgate/">
    SetHandler send-as-is
    SetEnvIfExpr "resp('X-Spendgate-Denial') =~ /^(.+)\$/" SPENDGATE_DENIAL=\$1
    Options +Includes
    SetOutputFilter INCLUDES
    Require expr "-n reqenv('REDIRECT_STATUS')"
</Location>
Alias "/.plain/" "$folder/conf/apache/denials/"
<Location "/.plain/">
    SetHandler send-as-is
    Require expr "-n reqenv('REDIRECT_STATUS')"
</Location>
AuthnzFcgiDefineProvider authnz spendgate fcgi://$option{authorizer}/
AuthnzFcgiDefineProvider authnz nobody fcgi://127.0.0.1:9/
$option{body}
END
    $gate->start('apache', [ '/usr/sbin/apache2', '-D', 'FOREGROUND', '-f', $config ],
        ready => sub { Spendgate::E2E::_accepts("127.0.0.1:$port") });
    return ($port, $config);
}

# lighttpd with its modules in a given order. body => TEXT, modules => [...], block => more lines of the authorizer's block.
sub start_lighttpd {
    my ($gate, %option) = @_;
    my $port    = $gate->{ports}{misconfigured} = Spendgate::E2E::free_port();
    my $folder  = $gate->folder;
    my $modules = join ', ', map { qq("mod_$_") } @{ $option{modules} };
    my $block   = $option{block} // '';
    my $body    = $option{body} // '';
    my $h2      = $option{h2} ? 'enable' : 'disable';
    my $config  = $gate->write_file('etc/lighttpd-mis.conf', <<"END");
server.modules = ( $modules )
server.compat-module-load = "disable"
server.feature-flags += ( "server.h2proto" => "$h2", "server.h2c" => "$h2" )
server.document-root = "$folder/www"
server.bind = "127.0.0.1"
server.port = $port
server.errorlog = "$folder/log/lighttpd-error.log"
server.upload-dirs = ( "$folder/tmp" )
index-file.names = ( "index.html" )
mimetype.assign = ( ".txt" => "text/plain", ".html" => "text/html" )
fastcgi.server += ( "/api/" => (( "mode" => "authorizer", "socket" => "$folder/run/authorizer.sock",
    "connect-timeout" => 2, "read-timeout" => 10$block )) )
cgi.assign = ( ".pl" => "/usr/bin/perl" )
\$HTTP["url"] =~ "^/api/up/" { proxy.server = ( "" => (( "host" => "127.0.0.1", "port" => $option{upstream} )) ) }
$body
END
    $gate->start('lighttpd', [ '/usr/sbin/lighttpd', '-D', '-f', $config ],
        ready => sub { Spendgate::E2E::_accepts("127.0.0.1:$port") });
    return ($port, $config);
}

# 1.4.69 is 1.004069.
sub lighttpd_version {
    my ($major, $minor, $patch) = `/usr/sbin/lighttpd -v` =~ m{lighttpd/(\d+)\.(\d+)\.(\d+)} or die 'no version';
    return sprintf '%d.%03d%03d', $major, $minor, $patch;
}

# nginx. server => TEXT of the server block, http => TEXT before it, tls => words behind the port.
sub start_nginx {
    my ($gate, %option) = @_;
    my $port   = $gate->{ports}{misconfigured} = Spendgate::E2E::free_port();
    my $folder = $gate->folder;
    my $http   = $option{http} // '';
    my $config = $gate->write_file('etc/nginx-mis.conf', <<"END");
daemon off;
pid "$folder/run/nginx.pid";
error_log "$folder/log/nginx-error.log" warn;
worker_processes 1;
events { worker_connections 512; }
http {
    types { text/plain txt; text/html html; }
    access_log off;
    client_body_temp_path "$folder/tmp/client_body";
    proxy_temp_path "$folder/tmp/proxy";
    fastcgi_temp_path "$folder/tmp/fastcgi";
    uwsgi_temp_path "$folder/tmp/uwsgi";
    scgi_temp_path "$folder/tmp/scgi";
    $http
    server {
        listen 127.0.0.1:$port@{[ $option{tls} // '' ]};
        root "$folder/www";
        index index.html;
        client_max_body_size 8m;
        $option{server}
    }
}
END
    $gate->start('nginx', [ '/usr/sbin/nginx', '-e', "$folder/log/nginx-error.log", '-c', $config ],
        ready => sub { Spendgate::E2E::_accepts("127.0.0.1:$port") });
    return ($port, $config);
}

1;

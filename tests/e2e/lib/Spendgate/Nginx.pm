# SPDX-License-Identifier: MIT
package Spendgate::Nginx;

# nginx for Spendgate::E2E: the files of conf/nginx as users copy them (only paths replaced), PHP by php-cgi, Perl by
# fcgiwrap, and a backend to proxy to.
use strict;
use warnings;

use Carp qw(croak);

# A file of conf/nginx with paths, times and "#" lines changed: { FROM => TO }, each of which must be there.
sub snippet {
    my ($gate, $name, %change) = @_;
    my $text = $gate->read_file("conf/nginx/$name");
    length $text or croak "conf/nginx/$name is missing";
    for my $from (sort keys %change) {
        $text =~ s/\Q$from\E/$change{$from}/g or croak "conf/nginx/$name has no \"$from\"";
    }
    return $gate->write_file("etc/nginx/$name", $text);
}

# start($gate, upstream => PORT, inside => FILE of conf/nginx for the guarded location, extra => TEXT of the server block, change => { FILE => { FROM => TO } }, claims => [NAME ...]).
# The authorizer and the tracker listen on unix sockets.
sub start {
    my ($gate, %option) = @_;
    my $folder = $gate->folder;
    my $port   = $gate->{ports}{web} //= Spendgate::E2E::free_port();
    my %change = %{ $option{change} // {} };
    $change{'spendgate.conf'} = { '/run/spendgate' => "$folder/run", %{ $change{'spendgate.conf'} // {} } };
    my @names = map { s{.*/}{}r } glob "$folder/conf/nginx/*.conf";
    my %file  = map { $_ => snippet($gate, $_, %{ $change{$_} // {} }) } @names;
    $gate->start_php unless $gate->pid('php');
    start_fcgiwrap($gate) unless $gate->pid('fcgiwrap');
    my $params = join '', map { "fastcgi_param $_;\n" } (
        'QUERY_STRING $query_string',
        'REQUEST_METHOD $request_method',
        'CONTENT_TYPE $content_type',
        'CONTENT_LENGTH $content_length',
        'SCRIPT_FILENAME $document_root$fastcgi_script_name',
        'SCRIPT_NAME $fastcgi_script_name',
        'PATH_INFO $fastcgi_path_info',
        'REQUEST_URI $request_uri',
        'DOCUMENT_ROOT $document_root',
        'SERVER_PROTOCOL $server_protocol',
        'GATEWAY_INTERFACE CGI/1.1',
        'SERVER_SOFTWARE nginx/$nginx_version',
        'REMOTE_ADDR $remote_addr',
        'SERVER_NAME $server_name',
        'SERVER_PORT $server_port',
        'REDIRECT_STATUS 200',
    );
    my $script = sub {
        my ($suffix, $socket) = @_;
        return <<"END";
location ~ \\.$suffix(/|\$) {
    fastcgi_split_path_info ^(.+?\\.$suffix)(/.*)?\$;
    $params
    include "$file{'spendgate-fastcgi.conf'}";
    fastcgi_pass unix:$folder/run/$socket;
}
END
    };
    my $upstream = $option{upstream} ? <<"END" : '';
location ^~ /api/up/ {
    include "$file{'spendgate-proxy.conf'}";
    proxy_pass http://127.0.0.1:$option{upstream}/;
}
END
    my $config = $gate->write_file('etc/nginx.conf', <<"END");
daemon off;
pid "$folder/run/nginx.pid";
error_log "$folder/log/error.log" warn;
worker_processes 2;
events { worker_connections 1024; }
http {
    types { text/plain txt; text/html html; }
    access_log "$folder/log/access.log";
    client_body_temp_path "$folder/tmp/client_body";
    proxy_temp_path "$folder/tmp/proxy";
    fastcgi_temp_path "$folder/tmp/fastcgi";
    uwsgi_temp_path "$folder/tmp/uwsgi";
    scgi_temp_path "$folder/tmp/scgi";
    include "$file{'spendgate.conf'}";
    server {
        listen 127.0.0.1:$port;
        root "$folder/www";
        index index.php index.html;
        client_max_body_size 8m;
        # As in many servers, and worse: the gate must not take it for an allow.
        error_page 500 502 503 504 =200 /open.txt;
        include "$file{'spendgate-server.conf'}";
        location ^~ /api/ {
            include "$file{'spendgate-guard.conf'}";
            @{[ $script->('php', 'php.sock') ]}
            @{[ $script->('pl', 'fcgiwrap.sock') ]}
            $upstream
            @{[ $option{inside} ? qq(include "$file{$option{inside}}";) : '' ]}
        }
        @{[ $option{extra} // '' ]}
    }
}
END
    $gate->start('nginx', [ '/usr/sbin/nginx', '-e', "$folder/log/error.log", '-c', $config ],
        ready => sub { Spendgate::E2E::_accepts("127.0.0.1:$port") });
    return;
}

# Perl and other CGI scripts behind nginx.
sub start_fcgiwrap {
    my ($gate) = @_;
    my $socket = $gate->path('run/fcgiwrap.sock');
    unlink $socket;
    $gate->start('fcgiwrap', [ '/usr/sbin/fcgiwrap', '-c', 4, '-s', "unix:$socket" ],
        ready => sub { Spendgate::E2E::_accepts($socket) });
    return;
}

1;

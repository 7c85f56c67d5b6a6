# SPDX-License-Identifier: MIT
package Spendgate::Hosting;

# Shared hosting for Spendgate::E2E: an Apache whose settings are the host's, and a customer who has a web space, a cgi-bin and
# .htaccess files. The files of conf/htaccess are used as users copy them; only the paths in them are replaced.
use strict;
use warnings;

use Carp qw(croak);
use File::Path qw(make_path);

# Copy a file of conf/htaccess into the customer's home, with "/home/me" and what else is named replaced.
sub install {
    my ($gate, $name, $to, %change) = @_;
    my $text = $gate->read_file("conf/htaccess/$name");
    length $text or croak "conf/htaccess/$name is missing";
    my $settings = $gate->config;
    %change = ('/home/me/spendgate/spendgate.conf' => $settings, '/home/me/bin' => $gate->path('bin'), %change)
      if $text =~ m{/home/me/bin};
    for my $from (sort { length $b <=> length $a } keys %change) {
        $text =~ s/\Q$from\E/$change{$from}/g or croak "conf/htaccess/$name has no \"$from\"";
    }
    return $gate->write_file($to, $text, $name =~ /cgi\z/ ? 0755 : 0644);
}

# The `gate' section of the settings, for new(top => ...), once the folder is known.
sub gate_section {
    my ($gate, $root) = @_;
    $root //= $gate->path('www/api');
    return qq(gate { root = "$root"  interpreter ".php" { command = "/usr/bin/php-cgi" } }\n);
}

# suexec => USER: CGI programs run as that user; with guard => 'fcgid' so does what mod_fcgid starts, and Apache is root's, as it has to be.
# start($gate, guard => 'gate' or 'fcgid', mpm => 'event' or 'prefork', extra => TEXT, override => AllowOverride's words, timeout => seconds,
# change => { FROM => TO } of the guard's .htaccess).
sub start {
    my ($gate, %option) = @_;
    my $folder = $gate->folder;
    my $port   = $gate->{ports}{web} //= Spendgate::E2E::free_port();
    my $mpm    = $option{mpm} // 'event';
    my $guard  = $option{guard};
    my $root   = $option{suexec} && $guard eq 'fcgid';
    make_path("$folder/cgi-bin", "$folder/www/spendgate", "$folder/run/fcgid");
    $gate->_own("$folder/run/fcgid");
    install($gate, $_, "www/spendgate/$_") for qw(gate.cgi deny.cgi tracker.cgi);
    install($gate, 'programs.htaccess', 'www/spendgate/.htaccess');
    install($gate, "$guard.htaccess", 'www/api/.htaccess', %{ $option{change} // {} }) if $guard;
    $gate->start_php unless $gate->pid('php');
    my @modules = (
        "mpm_$mpm", $mpm eq 'prefork' ? 'cgi' : 'cgid',
        qw(authn_core authz_core authz_user authz_host access_compat actions alias dir env headers include mime rewrite setenvif
          unique_id proxy proxy_fcgi), $option{suexec} ? 'suexec' : (), $root || !$option{suexec} ? 'fcgid' : ()
    );
    my $load = join '', map { "LoadModule ${_}_module /usr/lib/apache2/modules/mod_$_.so\n" } @modules;
    my $processes = $mpm eq 'prefork' ? "StartServers 4\nMaxRequestWorkers 16\n" : <<'END' . qq(ScriptSock "$folder/run/cgid.sock"\n);
StartServers 2
ServerLimit 4
ThreadsPerChild 25
MaxRequestWorkers 100
END
    my $override = $option{override} // 'FileInfo AuthConfig Limit Indexes Options=ExecCGI';
    my $config = $gate->write_file('etc/hosting.conf', <<"END");
ServerRoot "$folder"
ServerName 127.0.0.1
Listen 127.0.0.1:$port
PidFile "$folder/run/apache.pid"
DefaultRuntimeDir "$folder/run"
ErrorLog "$folder/log/error.log"
LogLevel warn
$load
@{[ $root ? "User \"#$gate->{uid}\"\nGroup \"#$gate->{gid}\"" : q() ]}
@{[ $option{suexec} ? "Suexec On\nSuexecUserGroup $option{suexec}" : 'Suexec Off' ]}
LogFormat "%h %u \\"%r\\" %>s %b" plain
CustomLog "$folder/log/access.log" plain
TypesConfig /dev/null
AddType text/plain .txt
$processes
Timeout @{[ $option{timeout} // 60 ]}
GracefulShutdownTimeout 2
<IfModule mod_fcgid.c>
    FcgidIPCDir "$folder/run/fcgid"
    FcgidProcessTableFile "$folder/run/fcgid.table"
    FcgidIOTimeout @{[ $option{timeout} // 40 ]}
    FcgidSpawnScoreUpLimit 500
</IfModule>
DocumentRoot "$folder/www"
DirectoryIndex index.html index.php
<Directory "/">
    AllowOverride None
    Require all denied
</Directory>
<Directory "$folder/www">
    AllowOverride $override
    Options +FollowSymLinks
    Require all granted
</Directory>
ScriptAlias /cgi-bin/ "$folder/cgi-bin/"
<Directory "$folder/cgi-bin">
    Require all granted
</Directory>
# The host's PHP, as Debian's php-fpm has it, and Perl scripts.
ProxyFCGIBackendType GENERIC
<FilesMatch "\\.php\$">
    SetHandler "proxy:unix:$folder/run/php.sock|fcgi://localhost/"
</FilesMatch>
<Directory "$folder/www">
    Options +ExecCGI
    AddHandler cgi-script .pl
</Directory>
@{[ $option{extra} // '' ]}
END
    $gate->start('apache', [ '/usr/sbin/apache2', '-D', 'FOREGROUND', '-f', $config ], root => $root,
        ready => sub { Spendgate::E2E::_accepts("127.0.0.1:$port") });
    return;
}

1;

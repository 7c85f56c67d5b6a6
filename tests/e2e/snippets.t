# SPDX-License-Identifier: MIT
# The snippets for lighttpd go into the lighttpd.conf that Debian ships, beside its own snippets for PHP and proxies.
# store: sqlite (it is about the web servers)
use strict;
use warnings;
use FindBin qw($Bin);
use lib "$Bin/lib";
use Spendgate::E2E;
use Test::More;

my $gate = Spendgate::E2E->new;
$gate->start_clerk;
$gate->start_tracker;
$gate->start_authorizer;
my $debian = '/etc/lighttpd';
for my $name ('05-spendgate', '05-spendgate-sockets') {
    my %value = ('var.spendgate_sockets' => $gate->path('run'));
    %value = (
        %value,
        'var.spendgate_authorizer' => $gate->path('bin/spendgate-authorizer'),
        'var.spendgate_tracker'    => $gate->path('bin/spendgate-tracker'),
        'var.spendgate_config'     => $gate->config,
    ) if $name !~ /sockets/;
    my $snippet = $gate->snippet("lighttpd/$name.conf", %value);
    open my $file, '<', "$debian/lighttpd.conf" or die "$debian/lighttpd.conf: $!";
    my $config = do { local $/; <$file> };
    my $includes = join "\n", qq(include "$snippet"),
      map { qq(include "$debian/conf-available/$_.conf") } qw(10-fastcgi 10-proxy 15-fastcgi-php);
    my $changed = $config =~ s{^include "/etc/lighttpd/conf-enabled/\*\.conf"}{$includes}m;
    is $changed, 1, "$name: Debian's lighttpd.conf reads conf-enabled";
    my $path = $gate->write_file('etc/debian.conf', $config);
    my $said = `/usr/sbin/lighttpd -tt -f $path 2>&1`;
    is $?, 0, "$name: loads with Debian's lighttpd.conf, PHP and proxy snippets" or diag $said;
    $said = `/usr/sbin/lighttpd -p -f $path 2>&1`;
    like $said, qr/"server\.h2proto"\s*=> "disable"/, "$name: HTTP/2 is off";
    like $said, qr/server\.modules[^)]*"mod_fastcgi"[^)]*"mod_proxy"/s, "$name: mod_fastcgi comes before mod_proxy";
}

# The files for nginx go where README says, into the nginx that Debian ships.
{
    my $etc = $gate->path('etc/nginx-debian');
    $gate->copy_tree('/etc/nginx/snippets', 'etc/nginx-debian/snippets');
    $gate->_copy("/etc/nginx/$_", "etc/nginx-debian/$_") for qw(mime.types fastcgi.conf nginx.conf);
    $gate->copy_tree($gate->path('conf/nginx'), 'etc/nginx-debian/snippets');
    $gate->copy_tree($gate->path('conf/nginx'), 'etc/nginx-debian/conf.d');
    unlink glob "$etc/conf.d/spendgate-*";
    open my $file, '<', Spendgate::E2E::checkout() . '/README.md' or die $!;
    my ($block) = do { local $/; <$file> } =~ /^    # in your server block\n((?:    .*\n)+)/m;
    $gate->write_file('etc/nginx-debian/sites-enabled/site', "server {\nlisten 127.0.0.1:" . Spendgate::E2E::free_port() . ";\n$block}\n");
    my $config = $gate->read_file('etc/nginx-debian/nginx.conf');
    $config =~ s{/etc/nginx/(?!modules-enabled)}{$etc/}g;
    $config =~ s{/run/nginx.pid}{$etc/nginx.pid};
    $config =~ s{/var/log/nginx}{$etc}g;
    my $path = $gate->write_file('etc/nginx-debian/nginx.conf', $config);
    my $said = `/usr/sbin/nginx -t -e $etc/error.log -c $path 2>&1`;
    is $?, 0, "nginx: README's server block loads with Debian's nginx.conf" or diag $said;
    unlike $said, qr/warn/, 'nginx: without a warning';
}

# What `make install` installs is what the tests load.
my $top = Spendgate::E2E::checkout();
open my $makefile, '<', "$top/conf/Makefile.am" or die $!;
my $listed = do { local $/; <$makefile> };
for my $file (map { glob "$top/conf/$_" } qw(lighttpd/* apache/*.conf apache/denials/* nginx/* htaccess/* tmpfiles/*)) {
    (my $name = $file) =~ s{\A\Q$top\E/}{};
    like $listed, qr/\Q$name\E/, "$name is installed";
}
done_testing;

# SPDX-License-Identifier: MIT
use strict;
use warnings;
use FindBin qw($Bin);
use lib "$Bin/lib";
use File::Temp ();
use Scripted;
use Spendgate::Tracker;
use Test::More;

my $folder = File::Temp->newdir;
local $SIG{__WARN__} = sub { };
umask 0;
for (1, 2) {
    my $http    = Scripted->new([ 599, '' ]);
    my $tracker = Spendgate::Tracker->new(
        url => 'http://127.0.0.1', token => 'secret', spool_dir => "$folder/", hold_id => "hld_$_", http => $http
    );
    my $number = 5;
    my $text   = "$number";    # has been printed: another encoding would make a string of it
    $tracker->spend('9007199.254740993', metadata => { n => $number, f => 1.5, o => {} });
    $tracker->settle;
    my @files = glob "$folder/*";
    is scalar @files, $_, 'one file per post';
    my ($file) = grep { -M $_ <= -M $files[0] } reverse @files;
    open my $in, '<:raw', $file or die $!;
    my $content = do { local $/; <$in> };
    is((stat $file)[2] & 07777, 0600, 'for nobody else to read');
    like $file, qr{/[0-9]{10}-[0-9a-f]{16}\.json\z}, 'under its final name';
}
my ($first) = sort glob "$folder/*.json";
open my $in, '<:raw', $first or die $!;
my $content = do { local $/; <$in> };
like $content, qr/\A\{"version":1,"path":"\/v1\/spend","token_sha256":"[0-9a-f]{64}","spooled_at":"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ","body":\{.*\}\}\n\z/,
    'in the form that spendgate spool replay reads';
like $content, qr/"cost_usd":"9007199\.254740993"/, 'exactly';
unlike $content, qr/secret/, 'without the token';
done_testing;

# SPDX-License-Identifier: MIT
# What is posted, when it is repeated, and what becomes of each answer.
use strict;
use warnings;
use FindBin qw($Bin);
use lib "$Bin/lib";
use File::Temp ();
use JSON::PP;
use Scripted;
use Spendgate::Tracker;
use Test::More;

my $DONE = [ 200, '{"charge_id":"chg_1"}' ];
my $spool = File::Temp->newdir;
my $warned = '';
local $SIG{__WARN__} = sub { $warned .= $_[0] };

sub tracker {
    my ($http, %option) = @_;
    return Spendgate::Tracker->new(
        url => 'http://127.0.0.1/t/', token => 'secret', spool_dir => "$spool", hold_id => 'hld_1', subject => 'user_1',
        http => $http, %option
    );
}

sub spooled { return glob "$spool/*.json" }
sub clean   { unlink glob "$spool/*"; $warned = ''; return }
sub body    { return decode_json($_[0]{json}) }

SKIP: {
    my $folder = $ENV{SPENDGATE_VECTORS} // "$Bin/../../../tests/vectors";
    open my $file, '<:raw', "$folder/posts.json" or skip 'the vectors are not part of this package', 1;
    for my $case (@{ decode_json(do { local $/; <$file> }) }) {
        local %ENV = (
            %{ $case->{environment} },
            SPENDGATE_TRACKER_URL   => 'http://127.0.0.1/t',
            SPENDGATE_TRACKER_TOKEN => 'secret'
        );
        my $http    = Scripted->new;
        my $tracker = Spendgate::Tracker->fromEnvironment(http => $http);
        for my $call (@{ $case->{calls} }) {
            my ($method, @arguments) = @{$call};
            my $details = pop @arguments;
            $tracker->$method(@arguments, %{$details});
        }
        $tracker->settle;
        my @posts = $http->posts;
        is scalar @posts, scalar @{ $case->{posts} }, "$case->{name}: posts";
        for my $i (0 .. $#posts) {
            my ($want, $got) = ($case->{posts}[$i], body($posts[$i]));
            if ($want->{idempotency_key}) {
                like $got->{idempotency_key}, qr/\Aperl-[0-9a-f]{32}\z/, "$case->{name}: a key";
                $want->{idempotency_key} = $got->{idempotency_key};
            }
            is $posts[$i]{key}, $want->{idempotency_key}, "$case->{name}: the same in the header";
            is_deeply $got, $want, "$case->{name}: post $i";
            is $posts[$i]{url}, 'http://127.0.0.1/t/v1/spend', "$case->{name}: where to";
        }
    }
}

{
    my $http    = Scripted->new([ 599, '' ], [ 503, '{"error":"store_unavailable"}' ], $DONE);
    my $tracker = tracker($http, hold_id => '');
    $tracker->spend('0.02');
    is_deeply [ $tracker->settle ], [ { charge_id => 'chg_1' } ], 'the third attempt is answered';
    my @posts = $http->posts;
    is scalar @posts, 3, 'three attempts';
    is_deeply $posts[$_], $posts[0], 'the same bytes and key' for 1, 2;
    is_deeply [ $tracker->settle ], [], 'settled once';
    is scalar $http->posts, 3, 'and not again';
    is $posts[0]{headers}{authorization}, 'Bearer secret', 'with the token';
}
{
    my $http    = Scripted->new;
    my $tracker = tracker($http);
    $tracker->spend('0.02');
    $tracker->settle;
    $tracker->spend('0.03');
    $tracker->settle;
    my @posts = map { body($_) } $http->posts;
    is $posts[0]{hold_id}, 'hld_1', 'the first post settles the hold';
    ok !exists $posts[1]{hold_id}, 'the second one stands alone';
}

my %none = (
    'nobody'                                      => [ 599, 'timed out' ],
    'a store that is away'                        => [ 503, '{"error":"store_unavailable","message":"away"}' ],
    'another program with a page for everything'  => [ 200, '<html>welcome</html>' ],
    'an answer cut off'                           => [ 200, '{"charge_id":"chg_' ],
    'another JSON'                                => [ 200, '{"ok":true}' ],
    'a wrong address'                             => [ 404, '<html>not found</html>' ],
    'a wrong token'                               => [ 401, '{"error":"invalid_token","message":"no"}' ],
    'a firewall'                                  => [ 400, '<html>bad request</html>' ],
    'still being worked on'                       => [ 409, '{"error":"idempotency_in_progress"}' ],
);
for my $name (sort keys %none) {
    clean();
    my $http    = Scripted->new($none{$name});
    my $tracker = tracker($http);
    $tracker->spend('0.02');
    is_deeply [ $tracker->settle ], [], "$name: no answer";
    my @files = spooled();
    is scalar @files, 1, "$name: the post is spooled";
    open my $file, '<:raw', $files[0] or die $!;
    is_deeply decode_json(<$file>)->{body}, body(($http->posts)[0]), "$name: as it was sent";
    like $warned, qr/the post is kept in \Q$files[0]/, "$name: and that is told";
}
clean();
{
    my $http    = Scripted->new([ 599, '' ]);
    my $tracker = tracker($http);
    $tracker->spend('0.02');
    $tracker->spendUsage('m', { input_tokens => $_ }) for 1, 2;
    $tracker->settle;
    is scalar $http->posts, 3, 'nobody is asked again for the next posts';
    is scalar(my @files = spooled()), 3, 'which are spooled';
}
clean();
{
    my $http    = Scripted->new([ 409, '{"error":"hold_voided","message":"This hold was given back."}' ], $DONE);
    my $tracker = tracker($http);
    $tracker->spend('0.02');
    $tracker->spend_usage('m', { input_tokens => 1 });
    eval { $tracker->settle };
    is $@, 'the tracker answered 409 hold_voided: This hold was given back.; not recorded: '
        . qq({"cost_usd":"0.02","hold_id":"hld_1","subject":"user_1"}\n), 'what is refused for good is told with the post';
    is scalar $http->posts, 2, 'not repeated, and the other post goes out';
    is scalar(my @files = spooled()), 0, 'nothing is spooled';
}
{
    my $tracker = tracker(Scripted->new([ 422, '{"error":"unknown_model","message":"no price"}' ]));
    $tracker->spend_usage('new', { input_tokens => 1 });
    eval { $tracker->settle };
    like $@, qr/422 unknown_model: no price; the post is kept in /, 'a model without a price';
    is scalar(my @files = spooled()), 1, 'waits for it';
}
clean();
{
    my $tracker = tracker(Scripted->new([ 599, '' ]), spool_dir => '');
    $tracker->spend('0.02');
    eval { $tracker->settle };
    like $@, qr/\Athe tracker does not answer; not recorded: \{"cost_usd":"0.02",/, 'without a spool the post is in the message';
    $tracker = tracker(Scripted->new([ 599, '' ]), spool_dir => "$spool/none");
    $tracker->spend('0.02');
    eval { $tracker->settle };
    like $@, qr/cannot write to the spool directory .*none: No such file.*; not delivered: \{"cost_usd"/, 'and with one that is not there';
}
{
    my $http    = Scripted->new([ 422, '{"error":"usage_inconsistent"}' ], $DONE);
    my $tracker = tracker($http);
    $tracker->spend_usage('m', { prompt_tokens => -1 });
    eval { $tracker->settle };
    like $@, qr/422 usage_inconsistent/, 'a post that was wrong';
    $tracker->spend('0.02');
    $tracker->settle;
    is body(($http->posts)[1])->{hold_id}, 'hld_1', 'leaves the hold for a better one';
}
{
    my $http = Scripted->new([ 200, '{"cost_usd":"0.0123","parts":[]}' ], [ 422, '{"error":"unknown_model","message":"no price"}' ]);
    my $tracker = tracker($http);
    is $tracker->quote('m', { prompt_tokens => 5 }, provider => 'p')->{cost_usd}, '0.0123', 'a quote';
    is(($http->posts)[0]{url}, 'http://127.0.0.1/t/v1/quote', 'is asked for');
    is(($http->posts)[0]{json}, '{"model":"m","provider":"p","usage":{"prompt_tokens":5}}', 'with the usage');
    eval { $tracker->quote('n', {}) };
    is $@, "the tracker answered 422 unknown_model: no price\n", 'without a price there is none';
}
{
    my $http = Scripted->new([ 200, '{"hold_id":"hld_1","amount_usd":"0.15"}' ]);
    is tracker($http)->extend('0.10')->{amount_usd}, '0.15', 'extend';
    my ($post) = $http->posts;
    is $post->{url}, 'http://127.0.0.1/t/v1/holds/hld_1/extend', 'of this hold';
    is $post->{json}, '{"amount_usd":"0.1"}', 'by this amount';
    like $post->{key}, qr/\Aperl-/, 'a repetition must not raise it twice';
    eval { tracker(Scripted->new([ 429, '{"error":"budget_exceeded","message":"no room"}' ]))->extend('5') };
    is $@, "the tracker answered 429 budget_exceeded: no room\n", 'one that does not fit';
    eval { tracker(Scripted->new, hold_id => '')->extend('1') };
    like $@, qr/\Athis request has no hold/, 'and without a hold';
}
{
    my $http    = Scripted->new([ 200, '{"hold_id":"hld_1","state":"voided"}' ], $DONE);
    my $tracker = tracker($http);
    is $tracker->void->{state}, 'voided', 'void';
    $tracker->spend('0.01');
    $tracker->settle;
    ok !exists body(($http->posts)[1])->{hold_id}, 'a later spend stands alone';
}
{
    my $http    = Scripted->new;
    my $tracker = tracker($http);
    $tracker->spend('0.02', model => "caf\xe9", metadata => { nan => 9**9**9 / 9**9**9, inf => 9**9**9, f => 1.5, b => JSON::PP::true });
    $tracker->settle;
    is_deeply body(($http->posts)[0])->{metadata}, { nan => undef, inf => undef, f => 1.5, b => JSON::PP::true },
        'details that JSON cannot hold do not stop a post';
    is body(($http->posts)[0])->{model}, "caf\xe9", 'text arrives';
}
{
    local %ENV = (SPENDGATE_TRACKER_URL => 'http://127.0.0.1', SPENDGATE_TRACKER_TOKEN => 't', SPENDGATE_HOLD_ID => 'hld_1');
    my $http    = Scripted->new;
    my $tracker = Spendgate::Tracker->from_environment(http => $http);
    $tracker->spend('0.02');
    is scalar $http->posts, 0, 'nothing is posted while the object is there';
    undef $tracker;
    is scalar $http->posts, 1, 'an object that goes settles';
}

my %good = (SPENDGATE_TRACKER_URL => 'http://127.0.0.1', SPENDGATE_TRACKER_TOKEN => 't');
for my $case (
    [ { SPENDGATE_TRACKER_TOKEN => '' }, qr/SPENDGATE_TRACKER_TOKEN/ ],
    [ { SPENDGATE_TRACKER_TOKEN => '', SPENDGATE_TRACKER_TOKEN_FILE => '/nowhere' }, qr{cannot read /nowhere} ],
    [ { SPENDGATE_TRACKER_TOKEN => "a\nb" }, qr/SPENDGATE_TRACKER_TOKEN/ ],
    [ { SPENDGATE_TRACKER_URL => '' },       qr/SPENDGATE_TRACKER_URL/ ],
    [ { SPENDGATE_TRACKER_URL => 'ftp://x' }, qr/SPENDGATE_TRACKER_URL/ ],
    [ { SPENDGATE_TRACKER_TIMEOUT => 'x' }, qr/SPENDGATE_TRACKER_TIMEOUT/ ],
    [ { SPENDGATE_TRACKER_TIMEOUT => '0' }, qr/SPENDGATE_TRACKER_TIMEOUT/ ],
    [ { SPENDGATE_TRACKER_TIMEOUT => '2 s' }, qr/not '2 s'/ ],
    [ { SPENDGATE_HOLD_TTL => '5 m' }, qr/SPENDGATE_HOLD_TTL/ ],
    )
{
    local %ENV = (%good, %{ $case->[0] });
    eval { Spendgate::Tracker->from_environment };
    like $@, $case->[1], 'an incomplete environment is told at once: ' . encode_json($case->[0]);
}
is Spendgate::Tracker::_seconds($_->[0]), $_->[1], "$_->[0] is $_->[1] s" for [ '300', 300 ], [ '5m', 300 ], [ '500ms', 0.5 ];
for my $case ([ '3', 3 ], [ '1.5', 1.5 ], [ '2s', 2 ], [ '500ms', 0.5 ]) {
    local %ENV = (%good, SPENDGATE_TRACKER_TIMEOUT => $case->[0]);
    is +Spendgate::Tracker->from_environment->{http}->timeout, $case->[1], "a timeout of $case->[0] is $case->[1] s";
}
done_testing;

# SPDX-License-Identifier: MIT
# OpenAI's own JavaScript library with its base_url set to examples/llm-proxy, and Clerk's credentials as its API key, under
# both web servers: what it returns, which exceptions it raises, and what was charged. Run by `./check.sh --sdk`.
use strict;
use warnings;
use FindBin qw($Bin);
use lib "$Bin/../e2e/lib";
use JSON::PP ();
use Spendgate::E2E;
use Spendgate::LLM;
use Test::More;

my $json   = JSON::PP->new->utf8->canonical;
my $folder = "$Bin/../../build/sdk";
my ($node) = grep { -x } "$folder/node_modules/node/bin/node", map { "$_/node" } split /:/, $ENV{PATH};
die "run ./check.sh --sdk: it installs the library\n" unless $node && -d "$folder/node_modules/openai";
diag 'openai ', $json->decode(do { local (@ARGV, $/) = ("$folder/node_modules/openai/package.json"); <> })->{version};

for my $kind (qw(lighttpd-sockets authnz-fcgi)) {
    my $table = $json->decode(scalar qx{"$^X" "$Bin/../jwt_table.pl"});
    my ($session) = grep { $_->{name} eq 'a session token' } @{ $table->{tokens} };
    my $llm = Spendgate::LLM->new(
        $kind,
        spendgate => [
            [ qr{"https://clerk\.example\.com"}, qq("$table->{issuer}") ],
            [ qr{"https://app\.example\.com"},   qq("$table->{authorized_parties}[0]") ],
            [ qr{"mch_0{26}"},                   qq("$table->{machine_id}") ],
        ],
    );
    my $gate = $llm->gate;
    $gate->_clerk_control('PUT', 'jwks', $table->{jwks});
    my %subject = map { $_ => $gate->subject($_) } qw(rich poor frozen);
    my %key     = map { $_ => $gate->key(subject => $subject{$_}) } keys %subject;
    # Each is known here before it is looked at more closely.
    $gate->decided('GET', '/v1/models', key => $_) for values %key, $session->{token};
    $gate->cli('budget', 'set', $subject{poor}, 'day', '0');
    $gate->cli('account', 'freeze', $subject{frozen});

    my $question = $gate->write_file('tmp/question.json', $json->encode({
        baseURL => 'http://127.0.0.1:' . $gate->port . '/v1', key => $key{rich}, poor => $key{poor}, frozen => $key{frozen}, session => $session->{token},
    }));
    my $text = qx{cd "$folder" && "$node" openai.mjs <"$question"};
    is $?, 0, "$kind: the library ran" or diag $gate->logs;
    my $got = eval { $json->decode($text) } // {};
    my $is = sub { my ($name, %want) = @_; is_deeply $got->{$name}, \%want, "$kind: $name" or diag explain $got->{$name}; return };

    $is->('chat', text => 'w1 w2 w3 w4 ', usage => 14, id => 'req-standin');
    $is->('stream', text => 'w1 w2 w3 w4 w5 w6 ', usage => 0, chunks => 8);
    $is->('stream with usage', usage => 16);
    $is->('stream helper', text => 'w1 w2 w3 ');
    $is->('responses', text => 'w1 w2 w3 ', usage => 13);
    $is->('responses stream', text => 'w1 w2 w3 w4 w5 ', last => 'response.completed');
    $is->('embeddings', vectors => [ [ 0.5, -0.25 ], [ 0.5, -0.25 ] ]);
    $is->('models', ids => [ 'gpt-4o', 'gpt-4o-mini', 'text-embedding-3-small' ], one => 'gpt-4o');
    $is->('session token', text => 'w1 w2 ');
    $is->('hang up', words => 5);

    my $raises = sub {
        my ($name, @want) = @_;
        is_deeply [ @{ $got->{$name} // {} }{qw(class status code ours)} ], \@want, "$kind: $name: $want[0]" or diag explain $got->{$name};
        ok length($got->{$name}{message} // '') > 10, "$kind: $name: with a message";
        return;
    };
    $raises->('wrong key',       'AuthenticationError',   401, 'invalid_api_key',       'invalid_key');
    $raises->('unknown model',   'NotFoundError',         404, 'model_not_found',       undef);
    $raises->('bad request',     'BadRequestError',       400, 'unsupported_parameter', undef);
    $raises->('frozen',          'PermissionDeniedError', 403, 'frozen',                'frozen');
    $raises->('over budget',     'RateLimitError',        429, 'insufficient_quota',    'budget_exceeded');
    $raises->('nothing left',    'RateLimitError',        429, 'insufficient_quota',    'budget_exceeded');
    $raises->('provider broken', 'InternalServerError',   503, 'service_unavailable',   undef);
    is_deeply $got->{requests}, { large => 1, poor => 1, broken => 3 }, "$kind: it tries again what may help, and only that";
    ok $got->{'broken off'}{isApiError}, "$kind: a stream that breaks off is an exception";
    is $got->{'broken off'}{code}, 'upstream_broke_off', "$kind: which says so";

    # chat, 2 streams, helper, 2 responses, embeddings, hang up, broken off
    my @charges = $llm->charges_grow_to($subject{rich}, 9);
    is scalar @charges, 9, "$kind: one charge for each that was answered";
    is scalar(grep { $_->{metadata}{estimated} } @charges), 2, "$kind: two of them of what was streamed";
    is scalar(my @none = $llm->charges($subject{$_})), 0, "$kind: none for $_" for qw(poor frozen);
    is scalar(my @one = $llm->charges_grow_to($session->{subject}, 1)), 1, "$kind: one for the session";
    is $gate->budget($_)->{held_usd}, '0', "$kind: nothing is left on hold for $_" for values %subject;
    my ($exit, $out) = $gate->cli('verify');
    is $exit, 0, "$kind: verify is green" or diag $out;
}
done_testing;

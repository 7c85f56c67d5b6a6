# SPDX-License-Identifier: MIT
# examples/llm-proxy under lighttpd and Apache, before a stand-in for the provider: what goes through, what is charged,
# what is refused, and what becomes of streams that end badly.
# begun first
use strict;
use warnings;
use FindBin qw($Bin);
use lib "$Bin/lib";
use JSON::PP ();
use POSIX ();
use Spendgate::E2E;
use Spendgate::LLM;
use Test::More;
use Time::HiRes qw(sleep time);

my $HOLD_TTL = 4;
my $CLIENTS  = 20;
my $FITS     = 12;
my $json     = JSON::PP->new->utf8->canonical;
my $true     = JSON::PP::true();
my $KEY      = Spendgate::LLM::PROVIDER_KEY();

# USD of tokens of gpt-4o at our prices, as the tracker writes it.
sub usd {
    my ($input, $cached, $output) = @_;
    my $nanos = ($input * 2500 + $cached * 1250 + $output * 10_000);
    my $text = sprintf '%d.%09d', int($nanos / 1e9), $nanos % 1e9;
    return $text =~ s/\.?0+\z//r;
}

# What the proxy takes a chat's prompt for when nobody reports it: its JSON, four bytes a token.
sub estimate { my ($body) = @_; return POSIX::ceil(length($json->encode($body->{messages})) / 4) }
sub bound    { my ($body) = @_; return length($json->encode($body->{messages})) + 64 }

for my $kind (qw(lighttpd-sockets authnz-fcgi)) {
    my $table = $json->decode(scalar qx{"$^X" "$Bin/../jwt_table.pl"});    # its tokens live for a minute
    my $llm = Spendgate::LLM->new(
        $kind,
        children  => $CLIENTS + 8,
        hold_ttl  => "${HOLD_TTL}s",
        spendgate => [
            [ qr{"https://clerk\.example\.com"},              qq("$table->{issuer}") ],
            [ qr{"https://app\.example\.com"},                qq("$table->{authorized_parties}[0]") ],
            [ qr{"mch_0{26}"},                                qq("$table->{machine_id}") ],
            [ qr{hold_ttl = "2m"},                            qq(hold_ttl = "${HOLD_TTL}s") ],
            [ qr{rate        = "120/1m"\n    burst       = 40}, qq(rate = "1000/1s"\n    burst = 1000) ],
        ],
        settings => { image_tokens => 100 },
    );
    my $gate = $llm->gate;
    $gate->_clerk_control('PUT', 'jwks', $table->{jwks});
    my $number = 0;
    # A new caller: (subject, key).
    my $caller = sub {
        my $subject = $gate->subject('llm' . chr(97 + int($number / 26)) . chr(97 + $number++ % 26));
        return ($subject, $gate->key(subject => $subject));
    };
    my $nothing_left = sub {
        my ($subject, $what) = @_;
        is $gate->budget($subject)->{held_usd}, '0', "$kind: $what: nothing is left on hold";
    };

    # ---- streams that last three times as long as a hold lives, beside all the rest ----
    my ($slow, $slow_key) = $caller->();
    my ($thinker, $thinker_key) = $caller->();
    my $begin_slow = time;
    my @background;
    for my $what ([ stream => $slow_key, { words => 3 * $HOLD_TTL * 5, delay => 0.2 } ], [ whole => $thinker_key, { think => 3 * $HOLD_TTL } ]) {
        my ($how, $key, $order) = @$what;
        my $pid = fork // die "fork: $!";
        if ($pid == 0) {
            $gate->{sharing} = 1;
            my $got = $how eq 'stream' ? $llm->stream($key, '/v1/chat/completions', $llm->chat($order)) : $llm->post($key, '/v1/chat/completions', $llm->chat($order));
            open my $file, '>', $gate->path("tmp/$how") or POSIX::_exit(1);
            print {$file} "$got->{status} ", $how eq 'stream' ? Spendgate::LLM::text($got) : $got->{json}{choices}[0]{message}{content};
            close $file;
            POSIX::_exit(0);
        }
        push @background, $pid;
    }

    # ---- what goes through ----
    my ($subject, $key) = $caller->();
    my $answer = $llm->post($key, '/v1/chat/completions', $llm->chat({ words => 5 }, temperature => 0.1, stop => [], metadata => {}));
    is $answer->{status}, 200, "$kind: a chat" or diag $answer->{body}, $gate->logs;
    is $answer->{json}{choices}[0]{message}{content}, 'w1 w2 w3 w4 w5 ', "$kind: its answer";
    is $answer->{headers}{'x-request-id'}[0], 'req-standin', "$kind: with the provider's id";
    is_deeply [ grep { exists $answer->{headers}{$_} } qw(set-cookie openai-organization) ], [], "$kind: and nothing else of the provider's";
    my ($asked) = grep { exists $_->{request}{temperature} } $llm->asked;
    is $asked->{headers}{authorization}, "Bearer $KEY", "$kind: the provider sees its own key";
    unlike $json->encode($asked), qr/\Q$key/, "$kind: and not the client's";
    is $asked->{request}{max_tokens}, 100, "$kind: a limit that is given stays";
    like $json->encode($asked->{request}), qr/"metadata":\{\}.*"stop":\[\].*"temperature":0\.1/, "$kind: the rest goes on as it is";
    my @charges = $llm->charges_grow_to($subject, 1);
    is scalar @charges, 1, "$kind: one charge";
    is $charges[0]{cost_usd}, usd(6, 4, 5), "$kind: of what was reported, cached tokens for less";
    is $charges[0]{model}, 'gpt-4o', "$kind: for the model";
    like $charges[0]{hold_id}, qr/\Ahld_/, "$kind: on its hold";
    $nothing_left->($subject, 'a chat');

    $llm->post($key, '/v1/chat/completions', { %{ $llm->chat({}) }, max_tokens => undef });
    is((grep { exists $_->{request}{max_completion_tokens} } $llm->asked)[0]{request}{max_completion_tokens}, 4096, "$kind: a limit that is missing is set");

    my $chat = $llm->chat({ words => 5, delay => 0.25 });
    my $got  = $llm->stream($key, '/v1/chat/completions', $chat);
    is $got->{status}, 200, "$kind: a stream";
    like $got->{head}, qr{^content-type: text/event-stream}im, "$kind: is one";
    is Spendgate::LLM::text($got), 'w1 w2 w3 w4 w5 ', "$kind: all of it";
    ok $got->{done}, "$kind: with its end";
    cmp_ok $got->{at}[-1] - $got->{at}[1], '>', 0.7, "$kind: each event goes through when it comes";
    is scalar(grep { ref && $_->{usage} } @{ $got->{events} }), 0, "$kind: the usage that the client did not ask for stays here";
    is((grep { ($_->{request}{messages}[0]{content} // '') =~ /"delay":0\.25/ } $llm->asked)[0]{request}{stream_options}{include_usage}, $true, "$kind: it is asked for");
    $got = $llm->stream($key, '/v1/chat/completions', { %{ $llm->chat({ split => 1, tier => 'flex' }) }, stream_options => { include_usage => $true }, service_tier => 'flex' });
    is Spendgate::LLM::text($got), 'w1 w2 w3 w4 w5 ', "$kind: in pieces of one byte";
    is scalar(grep { ref && $_->{usage} } @{ $got->{events} }), 1, "$kind: the client that asks for the usage gets it";
    @charges = $llm->charges_grow_to($subject, 4);
    is scalar @charges, 4, "$kind: one charge each";
    is $charges[1]{cost_usd}, usd(6, 4, 5), "$kind: the stream's";
    cmp_ok $charges[0]{cost_usd}, '<', $charges[1]{cost_usd}, "$kind: the cheaper tier's";

    $answer = $llm->post($key, '/v1/responses', { model => 'gpt-4o', input => '{"words":7}', max_output_tokens => 50 });
    is $answer->{json}{output}[0]{content}[0]{text}, 'w1 w2 w3 w4 w5 w6 w7 ', "$kind: responses";
    $got = $llm->stream($key, '/v1/responses', { model => 'gpt-4o', input => [ { role => 'user', content => '{"words":7}' } ] });
    is $got->{events}[-1]{type}, 'response.completed', "$kind: responses as a stream";
    is(($llm->asked)[-1]{request}{max_output_tokens}, 4096, "$kind: with a limit");
    ok !exists(($llm->asked)[-1]{request}{stream_options}), "$kind: which say their usage unasked";
    $answer = $llm->post($key, '/v1/embeddings', { model => 'text-embedding-3-small', input => [ 'one', 'two two' ] });
    is scalar @{ $answer->{json}{data} }, 2, "$kind: embeddings";
    @charges = $llm->charges_grow_to($subject, 7);
    is_deeply [ map { $_->{cost_usd} } @charges[ 0, 1, 2 ] ], [ '0.00000008', usd(6, 4, 7), usd(6, 4, 7) ], "$kind: and what they cost";
    $answer = $gate->get('/v1/models', key => $key);
    is_deeply [ map { $_->{id} } @{ $json->decode($answer->{body})->{data} } ], [ 'gpt-4o', 'gpt-4o-mini', 'text-embedding-3-small' ], "$kind: the models";
    is $json->decode($gate->get('/v1/models/gpt-4o', key => $key)->{body})->{id}, 'gpt-4o', "$kind: one of them";
    $nothing_left->($subject, 'all that');

    # ---- every kind of credential ----
    my %token = map { $_->{name} => $_ } @{ $table->{tokens} };
    for my $token (@token{ 'a session token', 'an M2M token' }) {
        $answer = $llm->post($token->{token}, '/v1/chat/completions', $llm->chat({}));
        is $answer->{status}, 200, "$kind: $token->{name} as the API key" or diag $answer->{body};
        is scalar(my @of = $llm->charges_grow_to($token->{subject}, 1)), 1, "$kind: is charged to $token->{subject}";
    }

    # ---- refusals ----
    my $count = $llm->asked;
    my $refused = sub {
        my ($what, $answer, $status, $type, $code) = @_;
        is $answer->{status}, $status, "$kind: $what: $status" or diag $answer->{body};
        my $error = eval { $json->decode($answer->{body})->{error} } // {};
        is ref $error, 'HASH', "$kind: $what: as OpenAI has it" or return;
        is $error->{type}, $type, "$kind: $what: $type";
        is $error->{code}, $code, "$kind: $what: " . ($code // 'no code');
        ok length $error->{message}, "$kind: $what: with a message";
        unlike $answer->{body}, qr/\Q$KEY\E|org-secret/, "$kind: $what: nothing of the provider's account";
        return $error;
    };
    $refused->('no key', $gate->post('/v1/chat/completions', body => '{}'), 401, 'invalid_request_error', 'invalid_api_key');
    $refused->('a wrong key', $llm->post('ak_wrong', '/v1/chat/completions', $llm->chat({})), 401, 'invalid_request_error', 'invalid_api_key');
    $refused->('no JSON', $llm->post($key, '/v1/chat/completions', '{"model":'), 400, 'invalid_request_error', undef);
    $refused->('no model', $llm->post($key, '/v1/chat/completions', { messages => [] }), 400, 'invalid_request_error', undef);
    $refused->('another model', $llm->post($key, '/v1/chat/completions', $llm->chat({}, model => 'gpt-9')), 404, 'invalid_request_error', 'model_not_found');
    $refused->('another URL', $llm->post($key, '/v1/audio/speech', $llm->chat({})), 404, 'invalid_request_error', 'unknown_url');
    $refused->('another method', $gate->get('/v1/chat/completions', key => $key), 405, 'invalid_request_error', 'method_not_supported');
    for my $case ([ stream_options => 'x' ], [ service_tier => {} ], [ stream => 'yes' ]) {
        $refused->("$case->[0] of a wrong type", $llm->post($key, '/v1/chat/completions', $llm->chat({}, @$case)), 400, 'invalid_request_error', 'invalid_type');
    }
    $refused->('too many tokens', $llm->post($key, '/v1/chat/completions', $llm->chat({}, max_tokens => 40_000)), 400, 'invalid_request_error', undef);
    $refused->("a file", $llm->post($key, '/v1/chat/completions', $llm->chat({}, messages => [ { role => 'user', content => [ { type => 'file', file => { file_id => 'x' } } ] } ])),
        400, 'invalid_request_error', 'unsupported_parameter');
    for my $case ([ tools => [ { type => 'web_search' } ] ], [ previous_response_id => 'resp_1' ], [ conversation => 'conv_1' ]) {
        $refused->("the provider's $case->[0]", $llm->post($key, '/v1/responses', { model => 'gpt-4o', input => 'x', @$case }), 400, 'invalid_request_error', 'unsupported_parameter');
    }
    is scalar(my @none = $llm->asked), $count, "$kind: for none of them the provider is asked";

    $refused->('what the provider calls wrong', $llm->post($key, '/v1/chat/completions', $llm->chat({ status => 400 })), 400, 'invalid_request_error', 'refused');
    $refused->('what it forbids us', $llm->post($key, '/v1/chat/completions', $llm->chat({ status => 401 }), patience => 0), 503, 'server_error', 'service_unavailable');
    $refused->('when it is busy', $llm->post($key, '/v1/chat/completions', $llm->chat({ status => 429 })), 429, 'requests', 'rate_limit_exceeded');
    $refused->('when we owe it', $llm->post($key, '/v1/chat/completions', $llm->chat({ status => 429, code => 'insufficient_quota' }), patience => 0), 503, 'server_error', 'service_unavailable');
    $refused->('when it breaks', $llm->post($key, '/v1/chat/completions', $llm->chat({ status => 500 }), patience => 0), 503, 'server_error', 'service_unavailable');
    $refused->('elsewhere', $llm->post($key, '/v1/chat/completions', $llm->chat({ redirect => 'http://127.0.0.1:1/v1' }), patience => 0), 503, 'server_error', 'service_unavailable');
    is scalar(@charges = $llm->charges_grow_to($subject, 7)), 7, "$kind: none of that is charged";
    $nothing_left->($subject, 'refusals');

    my $error = $refused->('over budget', $llm->post($key, '/v1/chat/completions', $llm->chat({}, max_tokens => 32_768, n => 100)), 429, 'insufficient_quota', 'insufficient_quota');
    is $error->{spendgate_error}, 'budget_exceeded', "$kind: with our code";
    is $error->{limit_usd}, '2', "$kind: and our numbers";
    $nothing_left->($subject, 'over budget');

    # ---- streams that end badly ----
    ($subject, $key) = $caller->();
    my $prompt = estimate($chat = $llm->chat({ words => 60, delay => 0.05 }));
    $got = $llm->stream($key, '/v1/chat/completions', $chat, hang_up => 6);
    cmp_ok scalar @{ $got->{events} }, '>=', 6, "$kind: a client hangs up";
    my ($charge) = $llm->charges_grow_to($subject, 1);
    my ($gone) = map { $_->{gone} } grep { defined $_->{gone} } $llm->provider_log;
    my $streamed = ($charge->{cost_usd} * 1e9 - $prompt * 2500) / 10_000;
    ok defined $gone && $gone < 60, "$kind: the provider is told to stop" or diag explain [ $llm->provider_log ];
    ok $streamed >= 5 && $streamed <= $gone + 1 && abs($streamed - sprintf('%.0f', $streamed)) < 1e-6, "$kind: what was streamed is charged ($streamed of $gone words)";
    ok $charge->{metadata}{estimated}, "$kind: as an estimate";

    $chat = $llm->chat({ words => 30, cut => 12 });
    $got = $llm->stream($key, '/v1/chat/completions', $chat);
    is $got->{events}[-1]{error}{code}, 'upstream_broke_off', "$kind: a provider that breaks off is told";
    ($charge) = $llm->charges_grow_to($subject, 2);
    is $charge->{cost_usd}, usd(estimate($chat), 0, 12), "$kind: the twelve words that came are charged";

    $chat = $llm->chat({ words => 8, usage => 0 });
    $got = $llm->stream($key, '/v1/chat/completions', $chat);
    ($charge) = $llm->charges_grow_to($subject, 3);
    is $charge->{cost_usd}, usd(estimate($chat), 0, 8), "$kind: a stream that does not say its usage";
    $llm->post($key, '/v1/chat/completions', $chat);
    ($charge) = $llm->charges_grow_to($subject, 4);
    is $charge->{cost_usd}, usd(bound($chat), 0, 100), "$kind: an answer that does not is charged what was set aside";
    $chat = $llm->chat({ words => 8, usage => 'bad' });
    $got = $llm->stream($key, '/v1/chat/completions', $chat);
    ($charge) = $llm->charges_grow_to($subject, 5);
    is $charge->{cost_usd}, usd(bound($chat), 0, 100), "$kind: nor is one that says what cannot be free";
    $answer = $llm->post($key, '/v1/chat/completions', $chat = $llm->chat({ cut => 1 }), patience => 0);
    is $answer->{status}, 503, "$kind: an answer that breaks off";
    ($charge) = $llm->charges_grow_to($subject, 6);
    is $charge->{cost_usd}, usd(estimate($chat), 0, 0), "$kind: costs its prompt";
    $nothing_left->($subject, 'streams that end badly');

    # ---- the long ones, before their tracker is taken away ----
    waitpid $_, 0 for @background;
    cmp_ok time - $begin_slow, '>', 3 * $HOLD_TTL, "$kind: three times as long as a hold lives";
    like $gate->read_file('tmp/stream'), qr/\A200 w1 .*w60 \z/s, "$kind: a long stream";
    is $gate->read_file('tmp/whole'), '200 w1 w2 w3 w4 w5 ', "$kind: and a provider that thinks for long";
    for my $long ([ $slow, usd(6, 4, 60) ], [ $thinker, usd(6, 4, 5) ]) {
        @charges = $llm->charges_grow_to($long->[0], 1);
        is_deeply [ map { $_->{cost_usd} } @charges ], [ $long->[1] ], "$kind: are charged once";
        my ($code, $held) = $gate->cli('hold', 'list', '--state', 'settled', '--account', $long->[0], '--json');
        is scalar @{ $json->decode($held)->{holds} }, 1, "$kind: on a hold that never expired";
    }

    # ---- the tracker is away ----
    ($subject, $key) = $caller->();
    my $pid = fork // die "fork: $!";
    if ($pid == 0) {
        $gate->{sharing} = 1;
        $got = $llm->stream($key, '/v1/chat/completions', $llm->chat({ words => 10, think => 1.5 }));
        POSIX::_exit($got->{done} ? 0 : 1);
    }
    my $wait = time + 15;
    sleep 0.05 while time < $wait && !grep { ($_->{request}{messages}[0]{content} // '') =~ /"think":1.5/ } $llm->asked;
    $gate->stop('tracker');
    $count = $llm->asked;
    my ($other, $other_key) = $caller->();
    $refused->('without the tracker', $llm->post($other_key, '/v1/chat/completions', $llm->chat({}), patience => 0), 503, 'server_error', 'service_unavailable');
    is scalar(my @still = $llm->asked), $count, "$kind: nobody is asked what cannot be accounted for";
    waitpid $pid, 0;
    is $?, 0, "$kind: a stream goes on without the tracker";
    my @spooled;
    $wait = time + 30;
    sleep 0.1 while time < $wait && !(@spooled = glob $gate->path('spool/*.json'));
    is scalar @spooled, 1, "$kind: and leaves its post in the spool";
    $gate->start_tracker;
    for my $round (1, 2) {
        my ($exit, $out, $err) = $gate->cli('spool', 'replay', $gate->path('spool'));
        is $exit, 0, "$kind: replayed" or diag $err;
    }
    # lighttpd asks a backend that was down again only after a second or two
    ($charge) = $llm->charges_grow_to($subject, 1);
    is $charge->{cost_usd}, usd(6, 4, 10), "$kind: and counted";

    # ---- twenty at once where twelve fit ----
    ($subject, $key) = $caller->();
    $llm->post($key, '/v1/chat/completions', $llm->chat({}, model => 'gpt-9'));    # so that the account is there
    $chat = $llm->chat({ think => 4, words => 40, delay => 0.05 }, max_tokens => 1000);
    my $each  = usd(bound($chat), 0, 1000);
    my $limit = sprintf('%.9f', $FITS * $each) =~ s/\.?0+\z//r;
    my ($exit, $out, $err) = $gate->cli('budget', 'set', $subject, 'day', $limit);
    is $exit, 0, "$kind: a cap of $FITS times $each" or diag $err;
    my @all = $gate->parallel($CLIENTS, sub {
        my ($i) = @_;
        my $hang_up = $i % 3 == 0;
        my $got = $llm->stream($key, '/v1/chat/completions', $chat, $hang_up ? (hang_up => 8) : ());
        return { status => $got->{status}, hung_up => $hang_up, done => $got->{done}, code => $got->{json}{error}{code}, words => scalar @{ $got->{events} } };
    });
    my @served = grep { $_->{status} == 200 } @all;
    is scalar @served, $FITS, "$kind: exactly what fits is served" or diag explain \@all;
    is_deeply [ map { "$_->{status} " . ($_->{code} // '-') } grep { $_->{status} != 200 } @all ], [ ('429 insufficient_quota') x ($CLIENTS - $FITS) ], "$kind: the rest is refused";
    is scalar(grep { !$_->{hung_up} && !$_->{done} } @served), 0, "$kind: who stays gets all of it";
    @charges = $llm->charges_grow_to($subject, $FITS);
    is scalar @charges, $FITS, "$kind: one charge for each that was served";
    my @whole = grep { $_->{cost_usd} eq usd(6, 4, 40) } @charges;
    is scalar @whole, scalar(grep { !$_->{hung_up} } @served), "$kind: what was reported for each that was not given up";
    my $least = usd(estimate($chat), 0, 7);
    my $most  = usd(estimate($chat), 0, 41);
    is scalar(grep { $_->{metadata}{estimated} && $_->{cost_usd} >= $least && $_->{cost_usd} <= $most } @charges), scalar(grep { $_->{hung_up} } @served),
      "$kind: every one that was given up is charged for what was streamed";
    my ($budget) = grep { $_->{period} eq 'day' } @{ ($gate->tracker('GET', "/v1/accounts/$subject", undef, role => 'read'))[1]{budgets} };
    cmp_ok $budget->{spent_usd}, '<=', $limit, "$kind: nothing is spent above the cap";
    is $budget->{held_usd}, '0', "$kind: nothing is left on hold";

    my $logs = $gate->logs =~ s/^.*"authorization".*$//gmr;
    unlike $logs, qr/\Q$KEY/, "$kind: the provider's key is in no log of ours";
    ($exit, $out) = $gate->cli('verify');
    is $exit, 0, "$kind: verify is green" or diag $out;
}
done_testing;

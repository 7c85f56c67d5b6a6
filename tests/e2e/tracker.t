# SPDX-License-Identifier: MIT
# The tracker over the wire: what a backend posts, what an operator asks, and what is refused.
use strict;
use warnings;
use FindBin qw($Bin);
use lib "$Bin/lib";
use Spendgate::E2E;
use Test::More;

my $plans = <<'END';
plan "free" { budget "month" { limit_usd = "1.00"  period = "month" }  hold_usd = "0.05" }
default_plan = "free"
END

# $raw: what exactly went over the wire.
sub raw_spend {
    my ($gate, $body, %option) = @_;
    my ($status, $json, $answer) = $gate->tracker('POST', '/v1/spend', $body, role => 'post', %option);
    return ($status, $json // {}, $answer);
}

for my $kind ('lighttpd', 'authnz-fcgi') {
    my $gate = Spendgate::E2E->new(plans => $plans);
    $gate->start_web($kind);
    my $sam    = $gate->subject('sam');
    my $secret = $gate->key(subject => $sam);
    my $hold = sub {
        my $answer = $gate->decided('GET', '/api/env.php', key => $secret);
        return (Spendgate::E2E::body_json($answer) // {})->{env}{SPENDGATE_HOLD_ID} // "no hold: $answer->{status} $answer->{body}";
    };
    my ($status, $body, $answer);

    # Settling.
    my $id = $hold->();
    ($status, $body, $answer) = raw_spend($gate, qq({"hold_id":"$id","cost_usd":"0.0123","model":"m","tags":["a"]}));
    is $status, 200, "$kind: a hold is settled" or diag $answer->{body}, $gate->logs;
    is $answer->{headers}{'content-type'}[0], 'application/json', "$kind: JSON out";
    is $body->{hold}, 'settled', "$kind: and says so";
    is $body->{cost_usd}, '0.0123', "$kind: what it cost";
    is $body->{budgets}[0]{spent_usd}, '0.0123', "$kind: what is spent now";
    is $body->{budgets}[0]{held_usd}, '0', "$kind: nothing is held";
    my (undef, $again, $repeat) = raw_spend($gate, qq({"cost_usd":0.01230,"hold_id":"$id"}));
    is $repeat->{body}, $answer->{body}, "$kind: a repeat answers the same bytes";
    is $repeat->{headers}{'idempotent-replayed'}[0], 'true', "$kind: and says that it is one";
    ($status, $body) = raw_spend($gate, qq({"hold_id":"$id","cost_usd":"0.0124"}));
    is "$status $body->{error}", '409 hold_already_settled', "$kind: another amount is refused";
    ($status, $body, $answer) = raw_spend($gate, "subject=$sam&cost_cents=2.5", type => 'application/x-www-form-urlencoded');
    is "$status $body->{cost_usd}", '200 0.025', "$kind: a form, and cents" or diag $answer->{body};
    is $body->{hold}, undef, "$kind: without a hold";

    # Numbers are read from their text.
    for my $case ([ '0.000000001', '0.000000001' ], [ '0.1', '0.1' ], [ '"0.10"', '0.1' ], [ '0', '0' ]) {
        ($status, $body) = raw_spend($gate, qq({"subject":"$sam","cost_usd":$case->[0]}));
        is $body->{cost_usd}, $case->[1], "$kind: cost_usd $case->[0]";
    }
    for my $bad ('-1', '"-0.1"', '1e-3', '"1e3"', '"+1"', '" 1"', '"1 "', '""', '"x"', '0.0000000001', '"1000.01"', 'null', 'true', '[]') {
        ($status, $body) = raw_spend($gate, qq({"subject":"$sam","cost_usd":$bad}));
        like "$status " . ($body->{error} // ''), qr/\A400 invalid_(?:cost|field)\z/, "$kind: cost_usd $bad is refused";
    }

    # Idempotency.
    my %order = (subject => $sam, cost_usd => '0.01', idempotency_key => 'order-1');
    my ($first, $one, $one_answer) = $gate->spend(%order);
    my ($second, $two, $two_answer) = raw_spend($gate, "cost_usd=0.010&subject=$sam", type => 'application/x-www-form-urlencoded',
        headers => [ [ 'Idempotency-Key', 'order-1' ] ]);
    is "$first $second", '200 200', "$kind: one key, JSON and then a form";
    is $two->{charge_id}, $one->{charge_id}, "$kind: is one charge";
    is $two_answer->{body}, $one_answer->{body}, "$kind: with the same bytes";
    ($status, $body) = $gate->spend(%order, cost_usd => '0.02');
    is "$status $body->{error}", '422 idempotency_key_reuse', "$kind: the same key for another cost is refused";
    my @racers = $gate->parallel(16, sub {
        my ($s, $b) = $gate->spend(subject => $sam, cost_usd => '0.03', idempotency_key => 'order-2');
        while ($s == 409) { ($s, $b) = $gate->spend(subject => $sam, cost_usd => '0.03', idempotency_key => 'order-2') }
        return { status => $s, id => $b->{charge_id} };
    });
    my %ids = map { ($_->{id} // 'none') => 1 } @racers;
    is scalar(keys %ids), 1, "$kind: one key from 16 processes at once is one charge" or diag explain \@racers;

    # Holds: extend, void, unknown.
    $id = $hold->();
    ($status, $body) = $gate->tracker('POST', "/v1/holds/$id/extend", { amount_usd => '0.10' }, role => 'post');
    is $status, 200, "$kind: a hold is extended" or diag explain $body;
    is $gate->budget($sam)->{held_usd}, '0.15', "$kind: by the amount";
    ($status, $body) = $gate->tracker('POST', "/v1/holds/$id/extend", { amount_usd => '5' }, role => 'post');
    is "$status $body->{error}", '429 budget_exceeded', "$kind: but not beyond the budget";
    ($status) = $gate->tracker('POST', "/v1/holds/$id/void", undef, role => 'post');
    is $status, 200, "$kind: a hold is voided, with an empty body";
    is $gate->budget($sam)->{held_usd}, '0', "$kind: and gives back its amount";
    ($status, $body) = raw_spend($gate, qq({"hold_id":"$id","cost_usd":"0.01"}));
    is "$status $body->{error}", '409 hold_voided', "$kind: a voided hold is not settled";
    for my $unknown ('hld_doesnotexist', 'nonsense') {
        ($status, $body) = raw_spend($gate, qq({"hold_id":"$unknown","cost_usd":"0.01"}));
        is "$status $body->{error}", '404 unknown_hold', "$kind: hold $unknown without a subject";
        ($status, $body) = raw_spend($gate, qq({"hold_id":"$unknown","subject":"$sam","cost_usd":"0.01"}));
        is "$status " . ($body->{hold} // ''), '200 unknown', "$kind: hold $unknown with a subject is recorded";
        my (undef, $once) = raw_spend($gate, qq({"hold_id":"$unknown","subject":"$sam","cost_usd":"0.01"}));
        is $once->{charge_id}, $body->{charge_id}, "$kind: once";
    }

    # The account and its charges.
    my $spent = 0.0123 + 0.025 + 0.000000001 + 0.1 + 0.1 + 0.01 + 0.03 + 0.01 + 0.01;
    is $gate->budget($sam)->{spent_usd}, sprintf('%.9f', $spent), "$kind: all of it, to the nano-dollar";
    ($status, $body) = $gate->tracker('GET', "/v1/accounts/$sam", undef, role => 'read');
    is "$body->{account} $body->{kind} $body->{plan}", "$sam user free", "$kind: the account";
    ($status, $body) = $gate->tracker('GET', "/v1/charges?account=$sam&limit=3", undef, role => 'read');
    is scalar(@{ $body->{charges} // [] }), 3, "$kind: charges, three of them";
    my $seen = @{ $body->{charges} // [] };
    while (defined $body->{next_cursor} && $seen < 50) {
        ($status, $body) = $gate->tracker('GET', "/v1/charges?account=$sam&limit=3&cursor=$body->{next_cursor}", undef, role => 'read');
        $seen += @{ $body->{charges} // [] };
    }
    is $seen, 10, "$kind: and the rest by the cursor";
    ($status, $body) = $gate->tracker('PUT', "/v1/accounts/$sam/budgets/month", { limit_usd => '0.50' });
    is "$status " . $gate->budget($sam)->{limit_usd}, '200 0.5', "$kind: a limit set by hand" or diag explain $body;
    ($status) = $gate->tracker('DELETE', "/v1/accounts/$sam/budgets/month");
    is "$status " . $gate->budget($sam)->{limit_usd}, '200 1', "$kind: and returned to the plan";

    # Tokens and their roles.
    my @refused = (
        [ '401 invalid_token', 'no token',             'GET',  "/v1/accounts/$sam", undef, no_token => 1 ],
        [ '401 invalid_token', 'a wrong token',        'GET',  "/v1/accounts/$sam", undef, token => 'sgt_wrong' ],
        [ '403 forbidden',     'post may not read',    'GET',  "/v1/accounts/$sam", undef, role => 'post' ],
        [ '403 forbidden',     'read may not post',    'POST', '/v1/spend', { subject => $sam, cost_usd => '1' }, role => 'read' ],
        [ '403 forbidden',     'post may not freeze',  'POST', "/v1/accounts/$sam/freeze", undef, role => 'post' ],
        [ '403 forbidden',     'read may not credit',  'POST', "/v1/accounts/$sam/credits", { amount_usd => '1' }, role => 'read' ],
        [ '404 unknown_account', 'an unknown account', 'GET',  '/v1/accounts/user_nobody', undef, role => 'read' ],
        [ '404 unknown_account', 'a spend for one',    'POST', '/v1/spend', { subject => 'user_nobody', cost_usd => '1' }, role => 'post' ],
        [ '400 missing_field', 'no cost',              'POST', '/v1/spend', { subject => $sam }, role => 'post' ],
        [ '400 missing_field', 'nobody',               'POST', '/v1/spend', { cost_usd => '1' }, role => 'post' ],
        [ '400 invalid_json',  'no JSON',              'POST', '/v1/spend', '{"subject":', role => 'post' ],
        [ '400 invalid_json',  'a member twice',       'POST', '/v1/spend', qq({"subject":"$sam","cost_usd":"1","cost_usd":"2"}), role => 'post' ],
        [ '405 method_not_allowed', 'GET of a spend',  'GET',  '/v1/spend', undef, role => 'post' ],
        [ '413 body_too_large', 'two megabytes',       'POST', '/v1/spend', '{"x":"' . 'y' x 2_000_000 . '"}', role => 'post' ],
        [ '415 unsupported_media_type', 'XML',         'POST', '/v1/spend', '<x/>', role => 'post', type => 'application/xml' ],
    );
    for my $case (@refused) {
        my ($want, $name, @call) = @$case;
        ($status, $body, $answer) = $gate->tracker(@call);
        is "$status " . ($body->{error} // ''), $want, "$kind: $name" or diag $answer->{body};
        ok $body->{message} && $body->{request_id}, "$kind: $name: message and request_id";
    }
    for my $path ('/healthz', '/readyz') {
        ($status) = $gate->tracker('GET', $path, undef, no_token => 1);
        is $status, 200, "$kind: $path";
    }

    my $logs = $gate->logs;
    is index($logs, $_), -1, "$kind: no credential in any log" for $secret, Spendgate::E2E::POST_TOKEN, Spendgate::E2E::ADMIN_TOKEN;
    unlike $logs, qr/AddressSanitizer|runtime error:|LeakSanitizer/, "$kind: no sanitizer report";
    my ($code, $out, $err) = $gate->cli('verify');
    is $code, 0, "$kind: spendgate verify" or diag $out, $err;
}
done_testing;

# SPDX-License-Identifier: MIT
# Every call and every refusal of the tracker, over plain FastCGI: each parameter is the test's own, so mount points,
# missing headers and broken bodies are what they say they are. Behind real web servers: tracker.t.
use strict;
use warnings;
use FindBin qw($Bin);
use lib "$Bin/lib";
use FastCGI;
use Spendgate::E2E;
use JSON::PP ();
use POSIX ();
use Test::More;

my $gate = Spendgate::E2E->new(
    plans => <<'END',
plan "free" {
    budget "month" { limit_usd = "1.00"  period = "month" }
    budget "ever"  { limit_usd = "50"    period = "none" }
    scopes   = { "proxy.chat" }
    hold_usd = "0.05"
}
default_plan = "free"
END
);
$gate->start_tracker;
my $address = $gate->path('run/tracker.sock');
my $codec   = JSON::PP->new->utf8->canonical;
my %token   = (
    post  => Spendgate::E2E::POST_TOKEN,
    read  => Spendgate::E2E::READ_TOKEN,
    admin => Spendgate::E2E::ADMIN_TOKEN,
);

# One call: the answer, with its decoded body as {json}. Options: role, token, type, key, params, fcgi_role.
sub call {
    my ($method, $path, $body, %option) = @_;
    my ($name, $query) = split /\?/, $path, 2;
    $body = $codec->encode($body) if ref $body;
    my %params = (
        REQUEST_METHOD  => $method,
        PATH_INFO       => $name,
        REQUEST_URI     => "/track$path",
        QUERY_STRING    => $query // '',
        SERVER_PROTOCOL => 'HTTP/1.1',
    );
    my $token = exists $option{token} ? $option{token} : $token{ $option{role} // 'admin' };
    $params{HTTP_AUTHORIZATION}   = "Bearer $token" if defined $token;
    $params{CONTENT_TYPE}         = $option{type} // 'application/json' if defined $body;
    $params{HTTP_IDEMPOTENCY_KEY} = $option{key} if defined $option{key};
    for my $given (keys %{ $option{params} // {} }) {
        if   (defined $option{params}{$given}) { $params{$given} = $option{params}{$given} }
        else                                   { delete $params{$given} }
    }
    my $answer = FastCGI::request($address, \%params, $body, role => $option{fcgi_role} // FastCGI::RESPONDER);
    $answer->{json} = eval { $codec->decode($answer->{body}) };
    return $answer;
}

# "200", or "404 unknown_hold".
sub verdict {
    my ($answer) = @_;
    my $error = ref $answer->{json} eq 'HASH' && exists $answer->{json}{error} ? " $answer->{json}{error}" : '';
    return $answer->{status} . $error;
}

sub says {
    my ($want, $name, @call) = @_;
    my $answer = call(@call);
    is verdict($answer), $want, $name or diag $answer->{raw};
    return $answer if $answer->{status} == 200;
    ok $answer->{json}{message} && $answer->{json}{request_id}, "$name: message and request_id";
    is $answer->{headers}{'content-type'}, 'application/json', "$name: JSON";
    return $answer;
}

my $form = 'application/x-www-form-urlencoded';

# The first account: made by a freeze, given a limit by hand.
sub account {
    my ($name, %limit) = @_;
    says('200', "make $name", 'POST', "/v1/accounts/$name/freeze");
    says('200', "thaw $name", 'POST', "/v1/accounts/$name/unfreeze");
    says('200', "limit $name $_", 'PUT', "/v1/accounts/$name/budgets/$_", { limit_usd => $limit{$_} }) for sort keys %limit;
    return $name;
}

sub budget {
    my ($name, $period) = @_;
    my $account = call('GET', "/v1/accounts/$name")->{json};
    my ($budget) = grep { $_->{account} eq $name && $_->{period} eq ($period // $_->{period}) } @{ $account->{budgets} // [] };
    return $budget // {};
}

# ---- health, without any token and before there is a store ----------------------------------------------

my $answer = says('200', 'healthz', 'GET', '/healthz', undef, token => undef);
is $answer->{body}, '{"status":"ok"}', 'healthz: body';
is $answer->{headers}{'cache-control'},  'no-store',               'no-store';
is $answer->{headers}{'content-length'}, length $answer->{body},   'Content-Length';
like $answer->{raw}, qr/\AStatus: 200/, 'Status comes first';
$answer = says('200', 'readyz', 'GET', '/readyz', undef, token => undef);
is_deeply $answer->{json}, { status => 'ready', store => 'ok', clerk => 'unknown', clock => 'ok' }, 'readyz: body';
$answer = call('HEAD', '/healthz', undef, token => undef);
is "$answer->{status} $answer->{body}", '200 ', 'HEAD has no body';
is $answer->{headers}{'content-length'}, length '{"status":"ok"}', 'HEAD: the length of the body of GET';

# ---- path ---------------------------------------------------------------------------------------------

account('user_a', month => '2');
$answer = says('200', 'below SPENDGATE_PREFIX, without PATH_INFO', 'GET', '/v1/accounts/user_a', undef,
    params => { PATH_INFO => undef, SPENDGATE_PREFIX => '/track' });
is $answer->{json}{account}, 'user_a', 'and it is that account';
says('200', 'PATH_INFO is empty', 'GET', '/healthz', undef, params => { PATH_INFO => '', SPENDGATE_PREFIX => '/track' });
says('404 not_found', 'not below the prefix', 'GET', '/healthz', undef, params => { PATH_INFO => undef, SPENDGATE_PREFIX => '/other' });
says('404 not_found', 'no path at all', 'GET', '/healthz', undef, params => { PATH_INFO => undef, REQUEST_URI => undef });
says('404 not_found', "no call $_", 'GET', $_) for '/', '/v1', '/v1/spend/', '//healthz', '/healthz/x', '/v2/spend', '/v1/accounts/', '/dashboard',
    '/a/b/c/d/e/f/g/h/i/j', '/%zz', '/healthz%00';
says('503 webhook_not_configured', 'no webhook without its secret', 'POST', '/v1/webhooks/clerk', {});
account('key:ak_1');
for my $written ('key:ak_1', 'key%3Aak_1', 'key%3aak%5F1') {
    $answer = says('200', "an escaped name, $written", 'GET', "/v1/accounts/$written", undef,
        params => { PATH_INFO => undef, SPENDGATE_PREFIX => '/track' });
    is "$answer->{json}{account} $answer->{json}{kind}", 'key:ak_1 key', "$written: the account";
}
says('404 unknown_account', "no account $_", 'GET', "/v1/accounts/$_", undef, params => { PATH_INFO => undef, SPENDGATE_PREFIX => '/track' })
    for 'user_nobody', 'a%20b', 'a%2Fb', '%c3%a9', 'a%3Fb', 'x' x 160;

# ---- method -------------------------------------------------------------------------------------------

for my $case (
    [ 'GET', '/v1/spend', 'POST' ],           [ 'DELETE', '/v1/accounts', 'GET, HEAD' ], [ 'POST', '/healthz', 'GET, HEAD' ],
    [ 'GET', '/v1/holds/x/void', 'POST' ],    [ 'POST', '/v1/accounts/user_a/budgets/day', 'PUT, DELETE' ],
    [ 'PATCH', '/v1/accounts/user_a', 'GET, HEAD' ], [ 'OPTIONS', '/v1/charges', 'GET, HEAD' ],
  )
{
    my ($method, $path, $allow) = @$case;
    $answer = says('405 method_not_allowed', "$method $path", $method, $path);
    is $answer->{headers}{allow}, $allow, "$method $path: Allow";
}

# ---- token --------------------------------------------------------------------------------------------

$answer = says('401 invalid_token', 'no token', 'GET', '/v1/accounts', undef, token => undef);
is $answer->{headers}{'www-authenticate'}, 'Bearer realm="spendgate"', 'no token: WWW-Authenticate';
$answer = says('401 invalid_token', 'a wrong token', 'GET', '/v1/accounts', undef, token => 'sgt_wrong');
is $answer->{headers}{'www-authenticate'}, 'Bearer realm="spendgate", error="invalid_token"', 'a wrong token: WWW-Authenticate';
says('401 invalid_token', 'another scheme', 'GET', '/v1/accounts', undef, params => { HTTP_AUTHORIZATION => "Basic $token{admin}" });
says('401 invalid_token', 'the wrong case', 'GET', '/v1/accounts', undef, token => uc $token{admin});
says('200', 'any case of Bearer', 'GET', '/v1/accounts', undef, params => { HTTP_AUTHORIZATION => "bEARER $token{read}" });
says('200', 'REDIRECT_HTTP_AUTHORIZATION', 'GET', '/v1/accounts', undef,
    token => undef, params => { REDIRECT_HTTP_AUTHORIZATION => "Bearer $token{read}" });
my %needs = (
    post => [ [ POST => '/v1/spend' ], [ POST => '/v1/spend/batch' ], [ POST => '/v1/holds' ], [ POST => '/v1/holds/x/extend' ],
        [ POST => '/v1/holds/x/void' ] ],
    read => [ [ GET => '/v1/accounts' ], [ GET => '/v1/accounts/user_a' ], [ GET => '/v1/charges' ], [ GET => '/v1/report?by=day' ],
        [ GET => '/metrics' ] ],
    admin => [
        [ POST => '/v1/charges/x/refund' ], [ PUT => '/v1/accounts/user_a/budgets/month' ], [ DELETE => '/v1/accounts/user_a/budgets/month' ],
        [ POST => '/v1/accounts/user_a/credits' ], map { [ POST => "/v1/accounts/user_a/$_" ] } qw(freeze unfreeze revoke unrevoke reverify)
    ],
);
for my $need (sort keys %needs) {
    for my $call (@{ $needs{$need} }) {
        says('401 invalid_token', "@$call without a token", @$call, undef, token => undef);
        says('403 forbidden', "@$call with a $_ token", @$call, undef, role => $_) for grep { $_ ne $need && $_ ne 'admin' } sort keys %token;
    }
}
is budget('user_a')->{limit_usd}, '2', 'none of these did anything';

# ---- the role of an authorizer ------------------------------------------------------------------------

$answer = call('GET', '/healthz', undef, fcgi_role => FastCGI::AUTHORIZER);
is verdict($answer), '403 forbidden', 'asked as an authorizer it denies';

# ---- spend: what is refused ---------------------------------------------------------------------------

says('415 unsupported_media_type', "spend as $_", 'POST', '/v1/spend', '<x/>', type => $_)
    for 'application/xml', 'text/plain', 'application/jsonp', 'application/x-ndjson', '';
says('415 unsupported_media_type', 'spend without a type', 'POST', '/v1/spend', '{}', params => { CONTENT_TYPE => undef });
my $long = '{"subject":"user_a","cost_usd":1,"x":""}';
substr $long, -2, 0, 'y' x (1_048_576 - length $long);
says('400 invalid_field', 'a body of 1 MiB', 'POST', '/v1/spend', $long);
says('413 body_too_large', 'a body of 1 MiB and a byte', 'POST', '/v1/spend', "$long ");
says('400 invalid_json', "spend $_", 'POST', '/v1/spend', $_)
    for '{', '[]', '"x"', '{"subject":"user_a","cost_usd":1} x', '{"subject":"user_a","cost_usd":1,"cost_usd":1}', "{\"model\":\"\xff\"}",
    '{"subject":"user_a","cost_usd":NaN}', '{"x":' x 40 . '1' . '}' x 40;
says('400 missing_field', "spend '" . ($_ // 'no body') . "'", 'POST', '/v1/spend', $_)
    for undef, '', '{}', '{"subject":"user_a"}', '{"cost_usd":"1"}', '{"subject":"","cost_usd":"1"}', '{"subject":"user_a","usage":{}}';
says('400 invalid_cost', "cost_usd $_", 'POST', '/v1/spend', qq({"subject":"user_a","cost_usd":$_}))
    for '-1', '"-0.1"', '1e-3', '"+1"', '" 1"', '""', '"x"', '0.0000000001', '"1000.000000001"', '1001', 'true', '[]', 'null';
for my $case (
    [ 'two costs',   { cost_usd => '1', cost_cents => '100' } ],
    [ 'a wrong key', { cost_usd => '1', idempotency_key => 'a b' } ],
    [ 'a long key',  { cost_usd => '1', idempotency_key => 'k' x 256 } ],
    [ 'an empty key', { cost_usd => '1', idempotency_key => '' } ],
    [ 'a number as key', { cost_usd => '1', idempotency_key => 7 } ],
    [ 'a text as metadata', { cost_usd => '1', metadata => 'x' } ],
    [ 'long metadata', { cost_usd => '1', metadata => { x => 'y' x 4096 } } ],
    [ 'a long model', { cost_usd => '1', model => 'm' x 256 } ],
    [ 'no time',     { cost_usd => '1', occurred_at => '2026-13-01T00:00:00Z' } ],
    [ 'a member that does not exist', { cost_usd => '1', modell => 'm' } ],
  )
{
    my ($name, $members) = @$case;
    says('400 invalid_field', $name, 'POST', '/v1/spend', { subject => 'user_a', %$members });
}
$answer = says('400 invalid_field', 'key and header differ', 'POST', '/v1/spend', { subject => 'user_a', cost_usd => '1', idempotency_key => 'a' }, key => 'b');
like $answer->{json}{message}, qr/idempotency_key/, 'the refusal names the member';
says('400 invalid_field', 'a wrong key in the header', 'POST', '/v1/spend', { subject => 'user_a', cost_usd => '1' }, key => 'a b');
says('400 invalid_field', 'a form with a member twice', 'POST', '/v1/spend', 'subject=user_a&cost_usd=1&cost_usd=1', type => $form);
says('400 invalid_field', 'a form with a broken escape', 'POST', '/v1/spend', 'subject=%4&cost_usd=1', type => $form);
says('404 unknown_account', "spend of $_", 'POST', '/v1/spend', { subject => $_, cost_usd => '1' }) for 'user_nobody', 'a b', 'x' x 160;
says('404 unknown_hold', "hold $_ without a subject", 'POST', '/v1/spend', { hold_id => $_, cost_usd => '1' })
    for 'hld_000000000fff0123456789ab', 'nonsense', 'a b', 'h' x 65;
says('422 unknown_model', 'a usage of a model without a price', 'POST', '/v1/spend',
    { subject => 'user_a', model => 'no-such-model', usage => { input_tokens => 1 } });
is budget('user_a')->{spent_usd}, '0', 'nothing of this was recorded';

# ---- spend: what is recorded --------------------------------------------------------------------------

my @budget_members = qw(account enforce held_usd limit_usd origin period remaining_usd resets_at spent_usd starts_at);
$answer = says('200', 'a spend', 'POST', '/v1/spend', { subject => 'user_a', cost_usd => '0.0123', model => 'm', route => '/api/', tags => ['t'],
        metadata => { b => 1, a => [ JSON::PP::true ] }, occurred_at => '2026-01-02T03:04:05Z', key_id => 'ak_1' }, role => 'post');
is_deeply [ sort keys %{ $answer->{json} } ], [qw(budgets charge_id cost_usd hold over_budget overrun_usd)], 'spend: members';
like $answer->{json}{charge_id}, qr/\Achg_[0-9a-f]{24}\z/, 'charge_id';
is $answer->{json}{cost_usd}, '0.0123', 'cost_usd';
is $answer->{json}{hold}, undef, 'hold';
is $answer->{json}{over_budget}, JSON::PP::false, 'over_budget';
is $answer->{json}{overrun_usd}, '0', 'overrun_usd';
my ($shown) = grep { $_->{account} eq 'user_a' } @{ $answer->{json}{budgets} };
is_deeply [ sort keys %$shown ], \@budget_members, 'budget: members';
is "$shown->{period} $shown->{limit_usd} $shown->{spent_usd} $shown->{held_usd} $shown->{remaining_usd} $shown->{enforce} $shown->{origin}",
    'month 2 0.0123 0 1.9877 hard hand', 'budget: values';
like $shown->{starts_at}, qr/\A\d{4}-\d\d-01T00:00:00Z\z/, 'starts_at';
like $shown->{resets_at}, qr/\A\d{4}-\d\d-01T00:00:00Z\z/, 'resets_at';
ok !exists $answer->{headers}{'idempotent-replayed'}, 'a first answer is not a replay';
my $big_id = $answer->{json}{charge_id};
$answer = says('200', 'a spend with exact nanos', 'POST', '/v1/spend', '{"cost_usd":0.000000001,"subject":"user_a"}');
is $answer->{json}{cost_usd}, '0.000000001', 'a nano-dollar';
$answer = says('200', 'a form', 'POST', '/v1/spend', 'subject=user_a&cost_cents=2.5&metadata=%7B%7D', type => "$form; charset=utf-8");
is $answer->{json}{cost_usd}, '0.025', 'cents';
account('key:ak_alone');
$answer = says('200', 'only a key, seen with nobody', 'POST', '/v1/spend', { key_id => 'ak_alone', cost_usd => '0.5' });
is call('GET', '/v1/charges?key=ak_alone&limit=1')->{json}{charges}[0]{account}, 'key:ak_alone', 'then the key pays';
$answer = says('200', 'above the budget', 'POST', '/v1/spend', { subject => 'user_a', cost_usd => '2' });
is $answer->{json}{over_budget}, JSON::PP::true, 'over_budget';
is $answer->{json}{overrun_usd}, '0.037300001', 'overrun_usd';
is budget('user_a')->{remaining_usd}, '0', 'remaining is never negative';
my $over_id = $answer->{json}{charge_id};

# ---- idempotency --------------------------------------------------------------------------------------

account('user_i', none => '100');

sub replays {
    my ($name, @call) = @_;
    my $first = says('200', "$name, first", @call);
    my $again = says('200', "$name, again", @call);
    is $again->{body}, $first->{body}, "$name: the same bytes";
    is $again->{headers}{'idempotent-replayed'}, 'true', "$name: and says so";
    ok !exists $first->{headers}{'idempotent-replayed'}, "$name: which the first did not";
    return $first;
}
my $first = replays('a spend with a key', 'POST', '/v1/spend', { subject => 'user_i', cost_usd => '1', idempotency_key => 'k1' });
$answer = says('200', 'the same as a form with the header', 'POST', '/v1/spend', 'cost_cents=100.0&subject=user_i', type => $form, key => 'k1');
is $answer->{body}, $first->{body}, 'the same bytes';
says('200', 'member and header agree', 'POST', '/v1/spend', { subject => 'user_i', cost_usd => '1', idempotency_key => 'k1' }, key => 'k1');
says('422 idempotency_key_reuse', 'the key for another cost', 'POST', '/v1/spend', { subject => 'user_i', cost_usd => '2', idempotency_key => 'k1' });
says('422 idempotency_key_reuse', 'the key for another model', 'POST', '/v1/spend', { subject => 'user_i', cost_usd => '1', model => 'm' }, key => 'k1');
says('422 idempotency_key_reuse', 'the key for another call', 'POST', '/v1/accounts/user_i/credits', { amount_usd => '1' }, key => 'k1');
is budget('user_i')->{spent_usd}, '1', 'one charge';
says('200', 'the same key of another token', 'POST', '/v1/spend', { subject => 'user_i', cost_usd => '1', idempotency_key => 'k1' }, role => 'post');
is budget('user_i')->{spent_usd}, '2', 'is another charge';
says('200', 'without a key', 'POST', '/v1/spend', { subject => 'user_i', cost_usd => '1' }) for 1, 2;
is budget('user_i')->{spent_usd}, '4', 'a repeat is another charge';
says('404 unknown_account', 'a refused request', 'POST', '/v1/spend', { subject => 'user_later', cost_usd => '1', idempotency_key => 'k2' });
account('user_later');
says('200', 'does not use its key up', 'POST', '/v1/spend', { subject => 'user_later', cost_usd => '1', idempotency_key => 'k2' });
my @bodies = $gate->parallel(8, sub {
    my $mine = call('POST', '/v1/spend', { subject => 'user_i', cost_usd => '1', idempotency_key => 'race' });
    $mine = call('POST', '/v1/spend', { subject => 'user_i', cost_usd => '1', idempotency_key => 'race' }) while $mine->{status} == 409;
    return { body => $mine->{body} };
});
my %different = map { $_->{body} => 1 } @bodies;
is scalar(keys %different), 1, 'eight at once get the same bytes';
is budget('user_i')->{spent_usd}, '5', 'for one charge';

# ---- holds --------------------------------------------------------------------------------------------

account('user_h', none => '1');
$answer = says('200', 'a hold', 'POST', '/v1/holds', { subject => 'user_h', amount_usd => '0.4', route => '/api/' }, role => 'post');
my $hold = $answer->{json}{hold_id};
like $hold, qr/\Ahld_[0-9a-f]{24}\z/, 'hold_id';
is "$answer->{json}{account} $answer->{json}{state} $answer->{json}{amount_usd} $answer->{json}{route}", 'user_h held 0.4 /api/', 'hold: values';
like $answer->{json}{expires_at}, qr/Z\z/, 'expires_at';
is budget('user_h')->{held_usd}, '0.4', 'is held';
$answer = says('429 budget_exceeded', 'a hold that does not fit', 'POST', '/v1/holds', { subject => 'user_h', amount_usd => '0.61' });
is_deeply [ @{ $answer->{json} }{qw(account period limit_usd spent_usd held_usd resets_at)} ], [ 'user_h', 'none', '1', '0', '0.4', undef ],
    'budget_exceeded: its numbers';
ok !exists $answer->{headers}{'retry-after'}, 'no Retry-After for a budget without a period';
account('user_d', day => '0.1');
$answer = says('429 budget_exceeded', 'a hold that does not fit into today', 'POST', '/v1/holds', { subject => 'user_d', amount_usd => '0.2' });
cmp_ok $answer->{headers}{'retry-after'}, '<=', 86_400, 'Retry-After: at most a day';
cmp_ok $answer->{headers}{'retry-after'}, '>=', 1, 'Retry-After: at least a second';
says('400 missing_field', 'a hold of nobody', 'POST', '/v1/holds', { amount_usd => '1' });
says('400 missing_field', 'a hold of nothing', 'POST', '/v1/holds', { subject => 'user_h' });
says('400 missing_field', 'a hold without a body', 'POST', '/v1/holds');
says('400 invalid_field', "a hold of $_", 'POST', '/v1/holds', qq({"subject":"user_h","amount_usd":$_})) for '-1', '"x"', '1e2', '[]';
says('400 invalid_field', "a hold for $_", 'POST', '/v1/holds', { subject => 'user_h', amount_usd => '0.1', ttl => $_ }) for '0s', '10', '31d', 'x';
says('404 unknown_account', 'a hold of an unknown account', 'POST', '/v1/holds', { subject => 'user_nobody', amount_usd => '0.1' });
replays('a hold with a key', 'POST', '/v1/holds', { subject => 'user_h', amount_usd => '0.1', idempotency_key => 'h1', ttl => '10m' });
says('422 idempotency_key_reuse', 'the key for another amount', 'POST', '/v1/holds', { subject => 'user_h', amount_usd => '0.2', idempotency_key => 'h1' });
is budget('user_h')->{held_usd}, '0.5', 'one hold';

$answer = says('200', 'extend', 'POST', "/v1/holds/$hold/extend", { amount_usd => '0.1' }, role => 'post');
is $answer->{json}{amount_usd}, '0.5', 'by the amount';
says('200', 'a heartbeat', 'POST', "/v1/holds/$hold/extend", 'amount_usd=0', type => $form);
replays('extend with a key', 'POST', "/v1/holds/$hold/extend", { amount_usd => '0.1' }, key => 'e1');
is budget('user_h')->{held_usd}, '0.7', 'once';
says('429 budget_exceeded', 'extend beyond the budget', 'POST', "/v1/holds/$hold/extend", { amount_usd => '0.31' });
is budget('user_h')->{held_usd}, '0.7', 'changes nothing';
says('400 missing_field', 'extend by nothing', 'POST', "/v1/holds/$hold/extend");
says('400 invalid_field', 'extend by less', 'POST', "/v1/holds/$hold/extend", { amount_usd => '-1' });
says('404 unknown_hold', "extend $_", 'POST', "/v1/holds/$_/extend", { amount_usd => '0' }) for 'hld_000000000fff0123456789ab', 'nonsense', 'h' x 65;

$answer = replays('settling a hold', 'POST', '/v1/spend', { hold_id => $hold, cost_usd => '0.3', subject => 'user_h' });
is $answer->{json}{hold}, 'settled', 'says so';
is $answer->{json}{over_budget}, JSON::PP::false, 'not above anything';
is budget('user_h')->{spent_usd} . ' ' . budget('user_h')->{held_usd}, '0.3 0.1', 'spent, and no longer held';
says('200', 'again with other members', 'POST', '/v1/spend', { hold_id => $hold, cost_usd => 0.30, model => 'm' });
says('409 hold_already_settled', 'another amount', 'POST', '/v1/spend', { hold_id => $hold, cost_usd => '0.31' });
says('409 hold_already_settled', 'void a settled hold', 'POST', "/v1/holds/$hold/void");
says('409 hold_already_settled', 'extend a settled hold', 'POST', "/v1/holds/$hold/extend", { amount_usd => '0' });

$hold = call('POST', '/v1/holds', { subject => 'user_h', amount_usd => '0.2' })->{json}{hold_id};
$answer = says('200', 'void', 'POST', "/v1/holds/$hold/void", undef, role => 'post');
is $answer->{json}{state}, 'voided', 'state';
says('200', 'void a voided hold', 'POST', "/v1/holds/$hold/void", '{}');
says('409 hold_voided', 'settle a voided hold', 'POST', '/v1/spend', { hold_id => $hold, cost_usd => '0.1' });
says('409 hold_voided', 'extend a voided hold', 'POST', "/v1/holds/$hold/extend", { amount_usd => '0' });
says('404 unknown_hold', "void $_", 'POST', "/v1/holds/$_/void") for 'hld_000000000fff0123456789ab', 'nonsense';
is budget('user_h')->{held_usd}, '0.1', 'what is left is the hold with a key';

for my $lost ('hld_000000000fff0123456789ab', 'not-even-one') {
    my $once = says('200', "$lost with a subject", 'POST', '/v1/spend', { hold_id => $lost, subject => 'user_h', cost_usd => '0.01' });
    is $once->{json}{hold}, 'unknown', "$lost: is recorded";
    my $twice = says('200', "$lost again", 'POST', '/v1/spend', { hold_id => $lost, subject => 'user_h', cost_usd => '0.01' });
    is $twice->{body}, $once->{body}, "$lost: once";
    says('409 hold_already_settled', "$lost with another amount", 'POST', '/v1/spend', { hold_id => $lost, subject => 'user_h', cost_usd => '0.02' });
}
is budget('user_h')->{spent_usd}, '0.32', 'their money is not lost';

$hold = call('POST', '/v1/holds', { subject => 'user_h', amount_usd => '0.01' })->{json}{hold_id};
$answer = says('200', 'above its hold, within the budget', 'POST', '/v1/spend', { hold_id => $hold, cost_usd => '0.02' });
is "$answer->{json}{hold} $answer->{json}{over_budget} $answer->{json}{overrun_usd}", 'settled 1 0', 'is recorded in full, and told';
is budget('user_h')->{spent_usd}, '0.34', 'in full';
says('200', 'and taken back', 'POST', "/v1/charges/$answer->{json}{charge_id}/refund", {});

$hold = call('POST', '/v1/holds', { subject => 'user_h', amount_usd => '0.2', ttl => '1s' })->{json}{hold_id};
sleep 2;
is budget('user_h')->{held_usd}, '0.1', 'an expired hold holds nothing';
$answer = says('200', 'settle an expired hold', 'POST', '/v1/spend', { hold_id => $hold, cost_usd => '0.1' });
is $answer->{json}{hold}, 'expired', 'says so';
is budget('user_h')->{spent_usd}, '0.42', 'is recorded';
$hold = call('POST', '/v1/holds', { subject => 'user_h', amount_usd => '0.2', ttl => '1s' })->{json}{hold_id};
sleep 2;
$answer = says('200', 'a heartbeat of an expired hold', 'POST', "/v1/holds/$hold/extend", { amount_usd => '0' });
is $answer->{json}{state}, 'held', 'is an admission again';
is $answer->{json}{budgets}[0]{held_usd}, '0.3', 'and holds again';

says('200', 'freeze', 'POST', '/v1/accounts/user_h/freeze');
says('403 frozen', 'a hold of a frozen account', 'POST', '/v1/holds', { subject => 'user_h', amount_usd => '0.1' });
says('403 frozen', 'extending one', 'POST', "/v1/holds/$hold/extend", { amount_usd => '0.1' });
says('200', 'unfreeze', 'POST', '/v1/accounts/user_h/unfreeze');
says('200', 'revoke', 'POST', '/v1/accounts/user_h/revoke');
$answer = says('403 invalid_key', 'a hold of a revoked account', 'POST', '/v1/holds', { subject => 'user_h', amount_usd => '0.1' });
is $answer->{json}{reason}, 'revoked', 'reason';
says('200', 'a spend of a revoked account is recorded', 'POST', '/v1/spend', { subject => 'user_h', cost_usd => '0.01' });
says('200', 'unrevoke', 'POST', '/v1/accounts/user_h/unrevoke');
says('200', 'then it may hold again', 'POST', '/v1/holds', { subject => 'user_h', amount_usd => '0' });

# ---- batch --------------------------------------------------------------------------------------------

account('user_b', none => '10');
my @posts = (
    { subject => 'user_b', cost_usd => '1' },
    { subject => 'user_nobody', cost_usd => '1' },
    { subject => 'user_b' },
    { subject => 'user_b', cost_usd => '-1' },
    { subject => 'user_b', cost_cents => '50', idempotency_key => 'b1' },
    { subject => 'user_b', cost_cents => '50', idempotency_key => 'b1' },
    { subject => 'user_b', cost_cents => '51', idempotency_key => 'b1' },
    { subject => 'user_b', cost_usd => '1', idempotency_key => 'a b' },
    'x',
);
my @verdicts = ('200', '404 unknown_account', '400 missing_field', '400 invalid_cost', '200', '200', '422 idempotency_key_reuse',
    '400 invalid_field', '400 invalid_json');
my $summary = sub { return [ map { $_->{status} . ($_->{error} ? " $_->{error}" : '') } @{ $_[0]{json}{results} // [] } ] };
$answer = says('200', 'a batch', 'POST', '/v1/spend/batch', \@posts, role => 'post');
is_deeply $summary->($answer), \@verdicts, 'each has its own result' or diag $answer->{body};
is $answer->{json}{results}[0]{cost_usd}, '1', 'as for one';
is $answer->{json}{results}[4]{charge_id}, $answer->{json}{results}[5]{charge_id}, 'a key in it is one charge';
ok $answer->{json}{results}[1]{message} && $answer->{json}{results}[1]{request_id}, 'a refusal in it is whole';
is budget('user_b')->{spent_usd}, '1.5', 'what was recorded';
$answer = says('200', 'NDJSON', 'POST', '/v1/spend/batch',
    join("\n", map { ref ? $codec->encode($_) : $_ } @posts[ 0 .. 7 ], 'nonsense', '', " \r") . "\n", type => 'application/x-ndjson', role => 'post');
is_deeply $summary->($answer), \@verdicts, 'NDJSON: each line has its own result' or diag $answer->{body};
is budget('user_b')->{spent_usd}, '2.5', 'the ones without a key are other charges';
for my $lines_as ('application/json', 'application/ndjson', 'application/jsonl') {
    $answer = says('200', "lines as $lines_as", 'POST', '/v1/spend/batch', qq({"subject":"user_b","cost_usd":"0"}\r\n{"subject":"user_b"}\n),
        type => $lines_as);
    is_deeply $summary->($answer), [ '200', '400 missing_field' ], "lines as $lines_as: each has its own result";
}
my @keyed = map { { subject => 'user_b', cost_usd => '0.1', idempotency_key => "b2-$_" } } 1 .. 3;
replays('a batch with keys', 'POST', '/v1/spend/batch', \@keyed);
replays('a batch with the header', 'POST', '/v1/spend/batch', [ map { { subject => 'user_b', cost_usd => '0.1' } } 1 .. 3 ], key => 'batch-1');
my $mixed = [ { subject => 'user_b', cost_usd => '0.1', idempotency_key => 'b3' }, { subject => 'user_nobody', cost_usd => '1' } ];
replays('a batch with a refusal in it', 'POST', '/v1/spend/batch', $mixed);
is budget('user_b')->{spent_usd}, '3.2', 'each was recorded once';
$answer = says('200', 'an empty batch', 'POST', '/v1/spend/batch', '[]');
is $answer->{body}, '{"results":[]}', 'has no results';
$answer = says('200', 'a batch of 1,000', 'POST', '/v1/spend/batch', [ map { { subject => 'user_b', cost_usd => '0.001' } } 1 .. 1000 ]);
is scalar(@{ $answer->{json}{results} }), 1000, 'has 1,000 results';
is budget('user_b')->{spent_usd}, '4.2', 'all recorded';
says('413 body_too_large', 'a batch of 1,001', 'POST', '/v1/spend/batch', [ map { { subject => 'user_b', cost_usd => '0.001' } } 1 .. 1001 ]);
says('413 body_too_large', '1,001 lines', 'POST', '/v1/spend/batch', qq({"subject":"user_b","cost_usd":"0.001"}\n) x 1001, type => 'application/x-ndjson');
says('400 invalid_json', "batch $_", 'POST', '/v1/spend/batch', $_) for '{}', '[{]', '7', "{}\n", "{\n}", "{\"subject\":\n", "[\n";
says('400 missing_field', 'a batch of nothing', 'POST', '/v1/spend/batch');
says('400 invalid_field', 'a batch with a wrong key', 'POST', '/v1/spend/batch', '[]', key => 'a b');
says('415 unsupported_media_type', 'a batch as a form', 'POST', '/v1/spend/batch', 'subject=user_b', type => $form);
is budget('user_b')->{spent_usd}, '4.2', 'nothing of these was recorded';

# ---- accounts -----------------------------------------------------------------------------------------

$answer = says('200', 'an account', 'GET', '/v1/accounts/user_b', undef, role => 'read');
is_deeply [ sort keys %{ $answer->{json} } ], [qw(account budgets expires_at frozen kind parent plan revoked scopes)], 'account: members';
is_deeply [ @{ $answer->{json} }{qw(account kind plan parent scopes frozen revoked expires_at)} ],
    [ 'user_b', 'user', undef, undef, [], JSON::PP::false, JSON::PP::false, undef ], 'account: values';
for my $case ([ freeze => 'frozen', 1 ], [ unfreeze => 'frozen', 0 ], [ revoke => 'revoked', 1 ], [ unrevoke => 'revoked', 0 ]) {
    my ($action, $member, $want) = @$case;
    $answer = says('200', $action, 'POST', "/v1/accounts/user_b/$action", { note => 'a test' });
    is $answer->{json}{$member}, $want, "$action: the account as it is now";
    $answer = says('200', "$action again", 'POST', "/v1/accounts/user_b/$action");
    is $answer->{json}{$member}, $want, "$action again: nothing changes";
}
says('200', 'reverify', 'POST', '/v1/accounts/user_b/reverify');
says('404 unknown_account', "$_ an unknown account", 'POST', "/v1/accounts/user_nobody/$_") for qw(unfreeze unrevoke reverify credits)[ 0 .. 2 ];
says('404 unknown_account', "$_ a name that cannot be one", 'POST', "/v1/accounts/a b/$_") for qw(freeze revoke);
says('400 invalid_field', 'freeze with a member that does not exist', 'POST', '/v1/accounts/user_b/freeze', { why => 'x' });
says('200', 'revoke makes the account', 'POST', '/v1/accounts/key:ak_new/revoke');
is call('GET', '/v1/accounts/key:ak_new')->{json}{revoked}, 1, 'revoked from its birth';
for my $case ([ org_1 => 'organization' ], [ mch_1 => 'machine' ], [ 'group:g' => 'group' ], [ custom => 'subject' ]) {
    account($case->[0]);
    is call('GET', "/v1/accounts/$case->[0]")->{json}{kind}, $case->[1], "kind of $case->[0]";
}
is call('GET', '/v1/accounts/all')->{json}{kind}, 'all', 'the account of all is there from the start';

# What a plan gives: the command notes one as an admission would.
account('user_v');
for my $change ([ 'plan', 'user_v', 'free' ], [ 'parent', 'user_v', 'group:g' ]) {
    my ($code, undef, $err) = $gate->cli('account', @$change);
    is $code, 0, "account @$change" or diag $err;
}
says('200', 'a hold by that plan', 'POST', '/v1/holds', { subject => 'user_v', amount_usd => '0' });
$answer = says('200', 'an account with a plan', 'GET', '/v1/accounts/user_v');
is_deeply [ @{ $answer->{json} }{qw(plan parent scopes)} ], [ 'free', 'group:g', ['proxy.chat'] ], 'plan, parent, scopes';
is_deeply [ map { "$_->{period} $_->{limit_usd} $_->{origin}" } @{ $answer->{json}{budgets} } ], [ 'month 1 plan', 'none 50 plan' ],
    'budgets in the order of the plan';
says('200', 'a limit by hand wins', 'PUT', '/v1/accounts/user_v/budgets/none', { limit_usd => '7' });
says('200', 'one that the plan does not have', 'PUT', '/v1/accounts/user_v/budgets/hour', { limit_usd => '3' });
$answer = call('GET', '/v1/accounts/user_v');
is_deeply [ map { "$_->{period} $_->{limit_usd} $_->{origin}" } @{ $answer->{json}{budgets} } ],
    [ 'month 1 plan', 'none 7 hand', 'hour 3 hand' ], 'the plan first, then what was set by hand';
$answer = says('200', 'cleared', 'DELETE', '/v1/accounts/user_v/budgets/none');
is_deeply [ map { "$_->{period} $_->{limit_usd} $_->{origin}" } @{ $answer->{json}{budgets} } ],
    [ 'month 1 plan', 'none 50 plan', 'hour 3 hand' ], 'is the plan\'s again';
$answer = call('GET', '/v1/me', undef, token => undef, params => { SPENDGATE_SUBJECT => 'user_v' });
is_deeply [ @{ $answer->{json} }{qw(account parent)} ], [ 'user_v', undef ], 'me: whose child I am is not told';

my (@names, $cursor);
do {
    $answer = says('200', 'a page of accounts', 'GET', '/v1/accounts?limit=5' . (defined $cursor ? "&cursor=$cursor" : ''));
    push @names, map { $_->{account} } @{ $answer->{json}{accounts} };
    ok @{ $answer->{json}{accounts} } <= 5, 'is no longer than asked';
    $cursor = $answer->{json}{next_cursor};
    like $cursor, qr/\A[A-Za-z0-9_-]+\z/, 'a cursor is URL-safe' if defined $cursor;
} while defined $cursor;
is_deeply \@names, [ sort @names ], 'accounts are in order';
is_deeply \@names, [ map { $_->{account} } @{ call('GET', '/v1/accounts')->{json}{accounts} } ], 'the pages are the whole';
says('400 invalid_field', "accounts?$_", 'GET', "/v1/accounts?$_")
    for 'limit=0', 'limit=1001', 'limit=x', 'limit=-1', 'limit=', 'cursor=x', 'cursor=%2f', 'cursor=YSBi', 'nolimit=1', 'limit=1&limit=1', 'limit=%';
says('200', 'the largest page', 'GET', '/v1/accounts?limit=1000');

# ---- budgets ------------------------------------------------------------------------------------------

account('user_p');
$answer = says('200', 'a limit', 'PUT', '/v1/accounts/user_p/budgets/day', { limit_usd => '1', enforce => 'warn' });
is "$answer->{json}{budgets}[0]{limit_usd} $answer->{json}{budgets}[0]{enforce} $answer->{json}{budgets}[0]{origin}", '1 warn hand', 'is answered';
says('200', 'a limit as a form', 'PUT', '/v1/accounts/user_p/budgets/day', 'limit_usd=0', type => $form);
is budget('user_p')->{limit_usd}, '0', 'a limit of 0';
says('200', "a limit for $_", 'PUT', "/v1/accounts/user_p/budgets/$_", { limit_usd => '5' }) for qw(hour week month year none);
is_deeply [ map { $_->{period} } @{ call('GET', '/v1/accounts/user_p')->{json}{budgets} } ], [qw(hour day week month year none)], 'all of them';
says('400 missing_field', 'no limit', 'PUT', '/v1/accounts/user_p/budgets/day', {});
says('400 missing_field', 'no body', 'PUT', '/v1/accounts/user_p/budgets/day');
says('400 invalid_field', "a limit of $_", 'PUT', '/v1/accounts/user_p/budgets/day', qq({"limit_usd":$_})) for '-1', '"x"', '1000000001', 'true';
says('400 invalid_field', 'a wrong enforce', 'PUT', '/v1/accounts/user_p/budgets/day', { limit_usd => '1', enforce => 'soft' });
says('404 unknown_budget', 'a period that does not exist', 'PUT', '/v1/accounts/user_p/budgets/decade', { limit_usd => '1' });
says('404 unknown_account', 'a limit of an unknown account', 'PUT', '/v1/accounts/user_nobody/budgets/day', { limit_usd => '1' });
$answer = says('200', 'clear', 'DELETE', '/v1/accounts/user_p/budgets/day');
is_deeply [ map { $_->{period} } @{ $answer->{json}{budgets} } ], [qw(hour week month year none)], 'is gone';
says('404 unknown_account', 'clear one of an unknown account', 'DELETE', '/v1/accounts/user_nobody/budgets/day');
account('user_q');
says('404 unknown_budget', 'clear what is not there', 'DELETE', '/v1/accounts/user_q/budgets/day');

# ---- credits ------------------------------------------------------------------------------------------

account('user_c', none => '1');
$answer = replays('a credit with a key', 'POST', '/v1/accounts/user_c/credits', { amount_usd => '2.5', note => 'thanks', idempotency_key => 'c1' });
is "$answer->{json}{account} $answer->{json}{amount_usd} $answer->{json}{note}", 'user_c 2.5 thanks', 'credit: values';
is $answer->{json}{period}, 'none', 'and which budget it was';
is budget('user_c')->{limit_usd}, '3.5', 'raises the only budget, once';
says('422 idempotency_key_reuse', 'the key for another amount', 'POST', '/v1/accounts/user_c/credits', { amount_usd => '2' }, key => 'c1');
says('200', 'a credit as a form', 'POST', '/v1/accounts/user_c/credits', 'amount_usd=0.5&period=none&expires_at=2099-01-01T00:00:00Z', type => $form);
is budget('user_c')->{limit_usd}, '4', 'raises it as well';
says('400 missing_field', 'a credit of nothing', 'POST', '/v1/accounts/user_c/credits');
says('400 invalid_field', "a credit of $_", 'POST', '/v1/accounts/user_c/credits', qq({"amount_usd":$_})) for '0', '-1', '"x"', '1000000001';
says('400 invalid_field', 'a credit for a decade', 'POST', '/v1/accounts/user_c/credits', { amount_usd => '1', period => 'decade' });
says('400 invalid_field', 'a credit that has ended', 'POST', '/v1/accounts/user_c/credits', { amount_usd => '1', expires_at => '2020-01-01T00:00:00Z' });
my %brief = (amount_usd => '1', expires_at => POSIX::strftime('%Y-%m-%dT%H:%M:%SZ', gmtime(time + 2)), idempotency_key => 'brief');
$answer = says('200', 'a credit that ends soon', 'POST', '/v1/accounts/user_c/credits', \%brief);
sleep 2.1;
my $late = says('200', 'the same again when it has ended', 'POST', '/v1/accounts/user_c/credits', \%brief);
is $late->{body}, $answer->{body}, 'the same bytes';
says('400 invalid_field', 'a long note', 'POST', '/v1/accounts/user_c/credits', { amount_usd => '1', note => 'x' x 256 });
says('404 unknown_budget', 'a credit for a budget that is not there', 'POST', '/v1/accounts/user_c/credits', { amount_usd => '1', period => 'day' });
says('404 unknown_account', 'a credit for nobody', 'POST', '/v1/accounts/user_nobody/credits', { amount_usd => '1' });
says('400 missing_field', 'a credit for one of several', 'POST', '/v1/accounts/user_p/credits', { amount_usd => '1' });
says('200', 'a credit for the one named', 'POST', '/v1/accounts/user_p/credits', { amount_usd => '1', period => 'week' });
is budget('user_p', 'week')->{limit_usd} . ' ' . budget('user_p', 'month')->{limit_usd}, '6 5', 'raises that one';

# ---- refunds ------------------------------------------------------------------------------------------

$answer = replays('a refund with a key', 'POST', "/v1/charges/$over_id/refund", { amount_usd => '0.5', note => 'sorry' }, key => 'r1');
is "$answer->{json}{refund_of} $answer->{json}{amount_usd} $answer->{json}{cost_usd} $answer->{json}{account}", "$over_id 0.5 -0.5 user_a", 'refund: values';
is budget('user_a')->{spent_usd}, '1.537300001', 'given back once';
says('422 idempotency_key_reuse', 'the key for another amount', 'POST', "/v1/charges/$over_id/refund", { amount_usd => '0.4', note => 'sorry' }, key => 'r1');
says('409 refund_exceeds_charge', 'more than is left', 'POST', "/v1/charges/$over_id/refund", { amount_usd => '1.500000001' });
$answer = says('200', 'all that is left', 'POST', "/v1/charges/$over_id/refund");
is $answer->{json}{amount_usd}, '1.5', 'is the rest';
says('409 refund_exceeds_charge', 'after that nothing', 'POST', "/v1/charges/$over_id/refund", { amount_usd => '0.000000001' });
is budget('user_a')->{spent_usd}, '0.037300001', 'the charge is undone';
my $refund_id = $answer->{json}{charge_id};
says('404 unknown_charge', "refund $_", 'POST', "/v1/charges/$_/refund") for 'chg_000000000fff0123456789ab', 'nonsense', 'c' x 65;
says('400 invalid_field', "refund of $_", 'POST', "/v1/charges/$big_id/refund", qq({"amount_usd":$_})) for '0', '-1', '"x"';

# ---- charges and report -------------------------------------------------------------------------------

$answer = says('200', 'charges', 'GET', '/v1/charges?account=user_a', undef, role => 'read');
my @charges = @{ $answer->{json}{charges} };
is scalar(@charges), 6, 'charges: all of the account';
is $answer->{json}{next_cursor}, undef, 'charges: one page';
is $charges[0]{charge_id}, $refund_id, 'charges: newest first';
is "$charges[0]{cost_usd} $charges[0]{refund_of}", "-1.5 $over_id", 'charges: a refund';
is_deeply [ sort keys %{ $charges[4] } ], [qw(account charge_id cost_usd created_at hold_id key_id model route)], 'charge: members';
is_deeply $charges[5]{metadata}, { a => [ JSON::PP::true ], b => 1 }, 'charge: metadata as posted';
is_deeply [ @{ $charges[5] }{qw(charge_id account key_id hold_id cost_usd model route occurred_at)} ],
    [ $big_id, 'user_a', 'ak_1', undef, '0.0123', 'm', '/api/', '2026-01-02T03:04:05Z' ], 'charge: values';
is_deeply $charges[5]{tags}, ['t'], 'charge: tags';
my @paged;
undef $cursor;
do {
    $answer = says('200', 'a page of charges', 'GET', '/v1/charges?account=user_a&limit=2' . (defined $cursor ? "&cursor=$cursor" : ''));
    push @paged, map { $_->{charge_id} } @{ $answer->{json}{charges} };
    $cursor = $answer->{json}{next_cursor};
    like $cursor, qr/\A[A-Za-z0-9_-]+\z/, 'a cursor is URL-safe' if defined $cursor;
} while defined $cursor;
is_deeply \@paged, [ map { $_->{charge_id} } @charges ], 'the pages are the whole';
is call('GET', "/v1/$_?cursor=&limit=1")->{body}, call('GET', "/v1/$_?limit=1")->{body}, "an empty cursor is none: $_" for qw(charges accounts);
my $count = sub { return scalar @{ call('GET', "/v1/charges?$_[0]")->{json}{charges} // [] } };
is $count->('account=user_a&model=m'), 1, 'by model';
is $count->('account=user_a&route=%2Fapi%2F'), 1, 'by route';
is $count->('key=ak_1'), 1, 'by key';
is $count->('account=key%3Aak_1'), 1, 'the account of a key counts all of its charges';
is $count->('model=none'), 0, 'of a model that nobody used';
is $count->('account=user_a&from=2020-01-01T00:00:00Z&to=2099-01-01T00:00:00%2B01:00'), 6, 'from and to';
is $count->('account=user_a&from=2020-01-01T00:00:00+01:00'), 6, 'a + that nobody escaped';
is $count->('account=user_a&to=2020-01-01T00:00:00Z'), 0, 'to';
is $count->('account=user_a&from=2099-01-01T00:00:00Z'), 0, 'from';
is $count->('limit=1000'), 1000, 'the largest page';
ok defined call('GET', '/v1/charges?limit=1000')->{json}{next_cursor}, 'and there are more';
says('404 unknown_account', "charges of $_", 'GET', "/v1/charges?account=$_") for 'user_nobody', 'a%20b';
says('400 invalid_field', "charges?$_", 'GET', "/v1/charges?$_")
    for 'limit=0', 'limit=1001', 'limit=1.5', 'from=yesterday', 'from=2020-01-01T00:00:00%2001:0', 'from=2020-01-01%2000:00Z', 'to=1', 'cursor=x', "cursor=$hold", 'subject=user_a', 'model=a&model=b', 'model=%ff';
says('400 invalid_field', 'a query that is too long', 'GET', '/v1/charges?model=' . 'x' x 9000);

account('user_r', none => '5');
call('POST', '/v1/spend', { subject => 'user_r', cost_usd => $_, model => "m$_", route => '/r/', key_id => 'ak_r' }) for '0.1', '0.2';
$answer = says('200', 'only a key', 'POST', '/v1/spend', { key_id => 'ak_r', cost_usd => '4.5' });
is $answer->{json}{budgets}[0]{spent_usd}, '4.8', 'counts on whom the key belongs to';
is call('GET', '/v1/charges?key=ak_r&limit=1')->{json}{charges}[0]{account}, 'user_r', 'who pays';
for my $by (qw(account key route model day)) {
    $answer = says('200', "report by $by", 'GET', "/v1/report?by=$by", undef, role => 'read');
    is $answer->{json}{by}, $by, "report by $by: says so";
    ok !(grep { !exists $_->{$by} || !defined $_->{spent_usd} || $_->{charges} !~ /\A\d+\z/ } @{ $answer->{json}{rows} }), "report by $by: rows";
}
my %row = map { ($_->{account} // '') => $_ } @{ call('GET', '/v1/report?by=account')->{json}{rows} };
is "$row{user_r}{spent_usd} $row{user_r}{charges}", '4.8 3', 'report: sums';
is $row{user_a}{spent_usd}, '0.037300001', 'report: refunds are taken off';
%row = map { ($_->{model} // '') => $_ } @{ call('GET', '/v1/report?by=model')->{json}{rows} };
is "$row{'m0.2'}{spent_usd} $row{'m0.2'}{charges}", '0.2 1', 'report by model: sums';
is_deeply call('GET', '/v1/report?by=day&to=2020-01-01T00:00:00Z')->{json}{rows}, [], 'report: to';
says('400 missing_field', 'a report by nothing', 'GET', '/v1/report');
says('400 invalid_field', "report?$_", 'GET', "/v1/report?$_") for 'by=hour', 'by=day&from=x', 'by=day&limit=1';

# ---- me, metrics --------------------------------------------------------------------------------------

$answer = says('200', 'me', 'GET', '/v1/me', undef, token => undef, params => { SPENDGATE_SUBJECT => 'user_b', SPENDGATE_KEY_ID => 'ak_1' });
is "$answer->{json}{account} $answer->{json}{budgets}[0]{spent_usd} $answer->{json}{key}{account}", 'user_b 4.2 key:ak_1', 'me: my account and key';
$answer = says('200', 'me after a redirect, with a key that is not known', 'GET', '/v1/me', undef,
    token => undef, params => { REDIRECT_SPENDGATE_SUBJECT => 'user_b', SPENDGATE_KEY_ID => 'ak_unknown' });
ok !exists $answer->{json}{key}, 'me: then without the key';
$answer = says('401 missing_credential', 'me without the authorizer', 'GET', '/v1/me');
is $answer->{headers}{'www-authenticate'}, 'Bearer realm="spendgate"', 'me: WWW-Authenticate';
says('404 unknown_account', 'me with a name that cannot be one', 'GET', '/v1/me', undef, params => { SPENDGATE_SUBJECT => 'a b' });
$answer = call('GET', '/v1/me', undef, params => { SPENDGATE_SUBJECT => 'user_nobody', SPENDGATE_REQUEST_ID => 'from-the-authorizer' });
is $answer->{json}{request_id}, 'from-the-authorizer', 'me: the request_id of the authorizer';
says('404 unknown_account', 'me, not seen yet', 'GET', '/v1/me', undef, params => { SPENDGATE_SUBJECT => 'user_nobody' });

$answer = call('GET', '/metrics', undef, role => 'read');
is $answer->{status}, 200, 'metrics' or diag $answer->{raw};
like $answer->{headers}{'content-type'}, qr{\Atext/plain; version=0\.0\.4}, 'metrics: Prometheus text';
my %metric = $answer->{body} =~ /^(\w+) (\S+)$/mg;
is $metric{spendgate_accounts}, scalar @{ call('GET', '/v1/accounts?limit=1000')->{json}{accounts} }, 'metrics: accounts';
like $metric{spendgate_held_usd}, qr/\A0\.[13]\z/, 'metrics: held, with or without the hold of one second';
is $metric{spendgate_store_up}, 1, 'metrics: store';
unlike $answer->{body}, qr/^(?!# (?:HELP|TYPE) |\w+(?:\{[^}]*\})? -?[0-9.]+$)./m, 'metrics: every line is well formed';

# ---- plain CGI ----------------------------------------------------------------------------------------

# The tracker as tracker.cgi: one request from the environment.
sub cgi {
    my ($method, $path, $body, %more) = @_;
    my $want = delete $more{want} // 0;
    my @files = map { $gate->path("tmp/cgi.$_") } qw(in out err);
    $gate->write_file('tmp/cgi.in', $body // '');
    my $pid = fork // die "fork: $!";
    if ($pid == 0) {
        if (defined $gate->{uid}) {
            $) = "$gate->{gid} $gate->{gid}";
            POSIX::setgid($gate->{gid});
            POSIX::setuid($gate->{uid});
        }
        %ENV = (
            REQUEST_METHOD => $method, PATH_INFO => $path, GATEWAY_INTERFACE => 'CGI/1.1', SPENDGATE_CONFIG => $gate->config,
            HTTP_AUTHORIZATION => "Bearer $token{admin}", CONTENT_LENGTH => length($body // ''), %more
        );
        open STDIN,  '<', $files[0] or POSIX::_exit(126);
        open STDOUT, '>', $files[1] or POSIX::_exit(126);
        open STDERR, '>', $files[2] or POSIX::_exit(126);
        exec { $gate->path('bin/spendgate-tracker') } 'spendgate-tracker' or POSIX::_exit(127);
    }
    waitpid $pid, 0;
    is $?, $want << 8, "CGI $method $path: exit code" or diag $gate->read_file('tmp/cgi.err');
    return FastCGI::parse($gate->read_file('tmp/cgi.out'));
}
$gate->write_file("tmp/cgi.$_", '') for qw(out err);
$answer = cgi('POST', '/v1/spend', '{"subject":"user_r","cost_usd":"0.7"}', CONTENT_TYPE => 'application/json');
is $answer->{status}, 200, 'CGI: a spend' or diag $answer->{raw};
is budget('user_r')->{spent_usd}, '5.5', 'CGI: is recorded';
$answer = cgi('GET', '/v1/accounts/user_r');
is $codec->decode($answer->{body})->{account}, 'user_r', 'CGI: an account';
is cgi('GET', '/healthz')->{status}, 200, 'CGI: healthz';
is cgi('GET', '/v1/spend')->{status}, 405, 'CGI: a refusal';
$answer = cgi('POST', '/v1/spend', '{}', SPENDGATE_CONFIG => $gate->path('etc/nothing.conf'), want => 2);
is "$answer->{status} $answer->{headers}{'retry-after'}", '503 1', 'CGI: without settings';
is $codec->decode($answer->{body})->{error}, 'store_unavailable', 'CGI: without settings, in JSON';
like $gate->read_file('tmp/cgi.err'), qr/nothing\.conf: No such file/, 'CGI: without settings, the log says why';

# ---- when the store is gone ---------------------------------------------------------------------------

my ($code, $out) = $gate->cli('verify');
is $code, 0, 'verify is green after all of it' or diag $out;
$gate->stop('tracker');
$gate->write_settings(top => 'metrics_token = false');
$gate->start_tracker;
is call('GET', '/metrics', undef, token => undef)->{status}, 200, 'metrics without a token where the settings say so';
$gate->stop('tracker');
$gate->take_store_away;
$gate->start_tracker;
for my $case (
    [ POST => '/v1/spend', { subject => 'user_a', cost_usd => '1' } ],
    [ POST => '/v1/spend/batch', [ { subject => 'user_a', cost_usd => '1' } ] ],
    [ POST => '/v1/holds', { subject => 'user_a', amount_usd => '1' } ],
    [ POST => '/v1/accounts/user_a/freeze' ], [ POST => '/v1/accounts/user_a/credits', { amount_usd => '1' } ],
    [ GET => '/v1/accounts' ], [ GET => '/v1/accounts/user_a' ], [ GET => '/v1/charges' ], [ GET => '/v1/report?by=day' ], [ GET => '/readyz' ],
    [ GET => '/metrics' ],
  )
{
    $answer = says('503 store_unavailable', "@$case[0,1] without a store", @$case);
    like $answer->{headers}{'retry-after'}, qr/\A[1-9][0-9]*\z/, "@$case[0,1] without a store: Retry-After";
    my @why = grep { /request_id=\Q$answer->{json}{request_id}\E\b/ } split /\n/, $gate->logs;
    is scalar(@why), 1, "@$case[0,1] without a store: one line in the log";
    like $why[0] // '', qr/level=error event=tracker_store .*message=/, "@$case[0,1] without a store: the store's own words";
}
is verdict(call('GET', '/healthz')), '200', 'the process is well all the same';
is verdict(call('GET', '/v1/me', undef, params => { SPENDGATE_SUBJECT => 'user_a' })), '503 store_unavailable', 'me without a store';
$gate->give_store_back;
says('200', 'and the store is found again when it is back', 'POST', '/v1/spend', { subject => 'user_a', cost_usd => '0.01' });

# A file of SQLite that could not be synced acknowledges nothing until somebody has looked at it. (What PostgreSQL cannot
# sync ends its server.)
$gate->write_file('store/spendgate.db.failed', '') if Spendgate::E2E::on_sqlite();
for my $case (
    [ POST => '/v1/spend', { subject => 'user_a', cost_usd => '0.01', idempotency_key => 'f1' } ],
    [ POST => '/v1/spend/batch', [ { subject => 'user_a', cost_usd => '0.01', idempotency_key => 'f2' } ] ],
    [ POST => '/v1/accounts/user_a/freeze' ], [ PUT => '/v1/accounts/user_a/budgets/day', { limit_usd => '1' } ],
    [ POST => '/v1/accounts/user_a/credits', { amount_usd => '1', period => 'month' } ], [ POST => "/v1/charges/$big_id/refund" ], [ GET => '/readyz' ],
  )
{
    says('503 store_unavailable', "@$case[0,1] on a failed store", @$case) if Spendgate::E2E::on_sqlite();
}
unlink $gate->path('store/spendgate.db.failed') if Spendgate::E2E::on_sqlite();
my $before = budget('user_a', 'month')->{spent_usd};
says('200', 'the key of a post that was not acknowledged settles it', 'POST', '/v1/spend', { subject => 'user_a', cost_usd => '0.01', idempotency_key => 'f1' });
says('200', 'and once more', 'POST', '/v1/spend', { subject => 'user_a', cost_usd => '0.01', idempotency_key => 'f1' });
like budget('user_a', 'month')->{spent_usd} - $before, qr/\A0(?:\.01\d*|\.00999\d*)?\z/, 'it counts at most once';

# ---- the log ------------------------------------------------------------------------------------------

my $log = $gate->logs;
is index($log, $_), -1, 'no token in the log' for values %token;
$answer = call('GET', '/v1/accounts/user_nobody');
my @lines = grep { /request_id=\Q$answer->{json}{request_id}\E\b/ } split /\n/, $gate->logs;
is scalar(@lines), 1, 'one line per refusal';
like $lines[0] // '', qr{level=warn .*status=404 .*error=unknown_account .*path=/v1/accounts/user_nobody }, 'which says what happened';
unlike $gate->logs, qr/AddressSanitizer|runtime error:|LeakSanitizer/, 'no sanitizer report';

done_testing;

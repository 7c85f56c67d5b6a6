# SPDX-License-Identifier: MIT
# Prices from a file in LiteLLM's real format and from our CSV; usages of every vendor through the tracker, each
# quoted first and settling a hold; what cannot be priced leaves the hold as it was.
use strict;
use warnings;
use FindBin qw($Bin);
use lib "$Bin/lib";
use Digest::SHA qw(sha256_hex);
use JSON::PP ();
use Math::BigInt;
use POSIX qw(strftime);
use Spendgate::E2E;
use Test::More;

my $json    = JSON::PP->new->utf8->canonical;
my $vectors = Spendgate::E2E::checkout() . '/tests/vectors';
my $gate    = Spendgate::E2E->new(plans => <<'END');
plan "free" { budget "month" { limit_usd = "1000.00"  period = "month" } }
default_plan = "free"
END
$gate->start_tracker;
my $subject = $gate->subject('reader');
is +($gate->tracker('POST', "/v1/accounts/$subject/$_"))[0], 200, "$_ makes the account" for qw(freeze unfreeze);
is +($gate->tracker('PUT', "/v1/accounts/$subject/budgets/month", { limit_usd => '1000' }))[0], 200, 'a limit';

sub read_json { open my $file, '<:raw', $_[0] or die "$_[0]: $!"; local $/; return $json->decode(<$file>) }

sub nanos {
    my ($usd) = @_;
    my ($whole, $fraction) = $usd =~ /\A([0-9]+)(?:\.([0-9]{1,9}))?\z/ or die "no money: $usd";
    return Math::BigInt->new($whole . substr(($fraction // '') . '0' x 9, 0, 9));
}

# Members of a vector that are posted.
sub members { my ($vector) = @_; return map { exists $vector->{$_} ? ($_ => $vector->{$_}) : () } qw(model provider usage service_tier) }

sub quote { return $gate->tracker('POST', '/v1/quote', {@_}, role => 'post') }

sub hold {
    my ($status, $hold) = $gate->tracker('POST', '/v1/holds', { subject => $subject, amount_usd => '5' }, role => 'post');
    $status == 200 or die "no hold: $status";
    return $hold->{hold_id};
}

sub held { return $gate->budget($subject)->{held_usd} }

# By its id: with PostgreSQL each process has numbers of its own, so the newest is not always the first.
sub charge {
    my ($id) = @_;
    my $list = ($gate->tracker('GET', "/v1/charges?account=$subject&limit=1000"))[1]{charges};
    return (grep { $_->{charge_id} eq $id } @{$list})[0];
}

sub import_prices {
    my (@arguments) = @_;
    my ($code, $out, $err) = $gate->cli('price', 'import', @arguments, '--json');
    return ($code, eval { $json->decode($out) } // {}, $err);
}

sub prices { return @{ $gate->cli_json('price', 'list', @_)->{prices} } }

# ---- no price yet: 422, and the hold stays ----

my @usage  = (usage => { prompt_tokens => 1000, completion_tokens => 100, prompt_tokens_details => { cached_tokens => 400 } }, model => 'tiny');
my $waits  = hold();
my ($status, $body) = $gate->spend(hold_id => $waits, subject => $subject, @usage);
is "$status $body->{error}", '422 unknown_model', 'a model that nobody knows';
like $body->{message}, qr/no price for model tiny; import one/, 'and what to do';
is +(quote(@usage))[1]{error}, 'unknown_model', 'no quote either';
is held(), '5', 'the hold stays';
is +($gate->tracker('GET', "/v1/charges?account=$subject"))[1]{charges}[0], undef, 'no charge';

# ---- our own CSV ----

my $csv = $gate->write_file('tiny.csv', "provider,model,input,cache_read,output\nacme,tiny,3,0.3,15\n", 0644);
my ($code, $did, $err) = import_prices($csv, '--dry-run');
is $code, 0, 'a dry run' or diag $err;
is scalar @{ $did->{new} }, 1, 'tells what would be new';
is_deeply [ prices() ], [], 'and imports nothing';
($code, $did, $err) = import_prices($csv, '--note', 'first prices');
is $code, 0, 'the import' or diag $err;
is_deeply [ $did->{prices}, $did->{unchanged}, map { scalar @{ $did->{$_} } } qw(new changed conflicts left_out not_used) ],
  [ 1, 0, 1, 0, 0, 0, 0 ], 'one new price';
($code, $did) = import_prices($csv);
is_deeply [ $code, $did->{unchanged}, scalar prices('--history') ], [ 0, 1, 1 ], 'the same again changes nothing';

# 600 * 3 + 400 * 0.3 + 100 * 15 per million
($status, $body) = quote(@usage, hold_id => $waits);
is $status, 200, 'a quote';
my $price = (prices())[0];
is_deeply $body, {
    cost_usd => '0.00342', model => 'tiny', provider => 'acme', price_id => $price->{price_id}, price_from => $price->{from},
    service_tier => 'standard', step => undef,
    parts => [
        { part => 'input',      units => 600, usd_per_million => '3',   cost_usd => '0.0018' },
        { part => 'cache_read', units => 400, usd_per_million => '0.3', cost_usd => '0.00012' },
        { part => 'output',     units => 100, usd_per_million => '15',  cost_usd => '0.0015' },
    ] }, 'with its parts';
is held(), '5', 'which records nothing';
my @settled = $gate->spend(hold_id => $waits, subject => $subject, @usage);
is "$settled[0] $settled[1]{cost_usd} $settled[1]{hold}", '200 0.00342 settled', 'the post that waited for its price passes, and costs as quoted';
is held(), '0', 'its hold is settled';
my $charge = charge($settled[1]{charge_id});
is_deeply [ @{$charge}{qw(model cost_usd price_id)}, $charge->{usage} ],
  [ 'tiny', '0.00342', $price->{price_id}, { input => 600, cache_read => 400, output => 100 } ], 'the charge keeps its parts and its price';

# ---- a price that changes ----

my $early = hold();
my $dear  = $gate->write_file('dear.csv', "provider,model,input,cache_read,output\nacme,tiny,6,0.6,30\n", 0644);
($code, $did, $err) = import_prices($dear);
is_deeply [ $code, map { $_->{model} } @{ $did->{changed} } ], [ 0, 'tiny' ], 'a changed price' or diag $err;
is scalar prices('--history', '--model', 'tiny'), 2, 'is a second version';
is +(quote(@usage))[1]{cost_usd}, '0.00684', 'it counts from now on';
is +(quote(@usage, hold_id => $early))[1]{cost_usd}, '0.00342', 'but not for a hold that was placed before';
is +($gate->spend(hold_id => $early, subject => $subject, @usage))[1]{cost_usd}, '0.00342', 'which is charged as quoted';
my @again = $gate->spend(hold_id => $waits, subject => $subject, @usage);
is "$again[0] $again[1]{charge_id}", "200 $settled[1]{charge_id}", 'a repeat of an earlier post is still a repeat';
is $again[2]{headers}{'idempotent-replayed'}[0], 'true', 'and says so';
my @keyed = (subject => $subject, idempotency_key => 'usage-1', @usage);
my @first = $gate->spend(@keyed);
is $first[1]{cost_usd}, '0.00684', 'without a hold the price of now';
($code, $did, $err) = import_prices($csv);
is scalar prices('--history', '--model', 'tiny'), 3, 'a price may go back, as a third version';
@again = $gate->spend(@keyed);
is $again[2]{body}, $first[2]{body}, 'a key answers the same bytes, whatever the price is by now';
($status, $body) = $gate->spend(@keyed, usage => { prompt_tokens => 1000, completion_tokens => 101 });
is "$status $body->{error}", '422 idempotency_key_reuse', 'and is refused for another usage';

# ---- versions are never edited ----

my $dated = $gate->write_file('dated.csv', "model,from,input\nlater,2037-01-01,1\nlater,2030-01-01,2\nnow,2026-01-01T00:00:00Z,5\n", 0644);
($code, $did, $err) = import_prices($dated);
is $code, 0, 'a file with dates' or diag $err;
is_deeply [ map { "$_->{from} $_->{rates}{input}" } prices('--history', '--model', 'later') ],
  [ '2030-01-01T00:00:00Z 2', '2037-01-01T00:00:00Z 1' ], 'each price begins at its own';
is +(quote(model => 'later', usage => { prompt_tokens => 1 }))[0], 422, 'a price of the future is none yet';
is +(quote(model => 'now', usage => { prompt_tokens => 1000 }))[1]{cost_usd}, '0.005', 'one of the past is one';
my $edited = $gate->write_file('edited.csv', "model,from,input\nnever,,1\nnow,2026-01-01T00:00:00Z,6\n", 0644);
($code, $did, $err) = import_prices($edited);
is $code, 1, 'another price from the very same instant is refused';
like $err, qr/now: another price begins at 2026-01-01T00:00:00Z already/, 'and named';
is scalar prices('--history', '--model', 'never'), 0, 'nothing of that file was imported';
my $gone = $gate->write_file('gone.csv', "model,input\nnow,\n", 0644);
import_prices($gone);
is +(quote(model => 'now', usage => { prompt_tokens => 1 }))[1]{error}, 'unknown_model', 'a line without rates withdraws a model';
my $twins = $gate->write_file('twins.csv', "provider,model,input\nx,twin,1\ny,twin,2\n", 0644);
import_prices($twins);
like +(quote(model => 'twin', usage => { prompt_tokens => 1 }))[1]{message}, qr/of several providers; name the provider/, 'a model of two providers';
is +(quote(model => 'twin', provider => 'y', usage => { prompt_tokens => 1000000 }))[1]{cost_usd}, '2', 'and the one that is named';
for my $bad ([ 'model,gold', 'line 1: unknown column "gold"' ], [ "model,input\nm,-1", 'line 2: field 2 is malformed' ], [ '{"m":', 'JSON|json' ]) {
    ($code, undef, $err) = import_prices($gate->write_file('bad.csv', "$bad->[0]\n", 0644));
    is $code, 1, "refused: $bad->[1]";
    like $err, qr/$bad->[1]/, 'and why';
}

# ---- a file in LiteLLM's format ----

my ($text_code, $text) = $gate->cli('price', 'import', "$vectors/litellm-prices.json", '--dry-run');
like $text, qr/^left out  no price per token  \(gpt-realtime-whisper\)$/m, 'a model without a price per token is left out';
like $text, qr/^left out  every price per token is 0.*\(deepseek-v3-2-251201\)$/m, 'and one that is free by mistake';
like $text, qr/^not used  search_context_cost_per_query: .*\(gpt-4o-mini-search-preview\)$/m, 'a figure that is not used is told';
like $text, qr/^Dry run\. 12 prices: 12 new, 0 changed, 0 as before\.$/m, 'the rest is new';
($code, $did, $err) = import_prices("$vectors/litellm-prices.json");
is $code, 0, 'the import' or diag $err;
is_deeply [ scalar @{ $did->{new} }, map { $_->{model} } sort { $a->{model} cmp $b->{model} } @{ $did->{left_out} } ],
  [ 12, 'deepseek-v3-2-251201', 'gpt-realtime-whisper' ], 'twelve models, two left out';
my ($opus) = prices('--model', 'claude-opus-4-6');
is_deeply $opus->{rates}, {
    input => '5', output => '25', cache_read => '0.5', cache_write => '6.25', cache_write_1h => '10',
    web_search => '10000', fast_factor => '6', regional_factor => '1.1',
}, 'as the file has them';

my $cases = read_json("$vectors/usages.json");
my $spent = nanos($gate->budget($subject)->{spent_usd});
for my $case (@{ $cases->{priced} }) {
    my ($quoted, $quote) = quote(members($case));
    is "$quoted $quote->{cost_usd}", "200 $case->{cost_usd}", "$case->{name}: quoted";
    my $hold = hold();
    my ($posted, $answer) = $gate->spend(hold_id => $hold, subject => $subject, members($case));
    is "$posted $answer->{hold} $answer->{cost_usd}", "200 settled $case->{cost_usd}", "$case->{name}: charged the same";
    $spent += nanos($case->{cost_usd});
    is nanos($gate->budget($subject)->{spent_usd}), $spent, "$case->{name}: to the nano-dollar";
    is held(), '0', "$case->{name}: its hold is settled";
    my $row = charge($answer->{charge_id});
    is_deeply $row->{usage}, $case->{kept}, "$case->{name}: kept in its parts";
}
my $stays = hold();
for my $case (@{ $cases->{refused} }) {
    my ($refused, $answer) = $gate->spend(hold_id => $stays, subject => $subject, members($case));
    is "$refused $answer->{error}", "422 $case->{error}", "$case->{name}: refused";
    is +(quote(members($case)))[1]{error}, $case->{error}, "$case->{name}: not quoted";
    is held(), '5', "$case->{name}: the hold stays";
}
is nanos($gate->budget($subject)->{spent_usd}), $spent, 'and nothing was charged';

# ---- many at once, as a form, and what is wrong with a post itself ----

my @batch = map { { subject => $subject, idempotency_key => "b-$_", members($cases->{priced}[$_]) } } 0 .. 9;
push @batch, { subject => $subject, members($cases->{refused}[0]) }, { subject => $subject, members($cases->{refused}[-1]) };
($status, $body) = $gate->tracker('POST', '/v1/spend/batch', \@batch, role => 'post');
is_deeply [ map { $_->{cost_usd} // "$_->{status} $_->{error}" } @{ $body->{results} } ],
  [ (map { $cases->{priced}[$_]{cost_usd} } 0 .. 9), '422 usage_inconsistent', '422 unknown_model' ], 'a batch of usages';
($status, $body) = $gate->tracker('POST', '/v1/spend', "subject=$subject&model=tiny&usage=%7B%22prompt_tokens%22%3A1000%7D",
    role => 'post', type => 'application/x-www-form-urlencoded');
is "$status $body->{cost_usd}", '200 0.003', 'a usage in a form';
for my $case (
    [ '400 missing_field',  usage => { prompt_tokens => 1 } ],
    [ '400 invalid_field',  usage => 7, model => 'tiny' ],
    [ '400 invalid_field',  usage => { prompt_tokens => 1 }, model => 'tiny', cost_usd => '1' ],
    [ '400 invalid_cost',   usage => { prompt_tokens => 900_000_000_000 }, model => 'tiny' ],
) {
    my ($want, @post) = @{$case};
    ($status, $body) = $gate->spend(subject => $subject, @post);
    is "$status $body->{error}", $want, "a post with @{[ $json->encode({@post}) ]}";
}
is +($gate->tracker('POST', '/v1/quote', {@usage}, role => 'read'))[0], 403, 'a quote needs a token that may post';
is +($gate->tracker('POST', '/v1/quote', {@usage}, no_token => 1))[0], 401, 'or any at all';
is +($gate->tracker('POST', '/v1/quote', { @usage, subject => 'x' }, role => 'post'))[0], 400, 'a quote is for nobody';

# ---- a usage that waited in a spool ----

my $spool = $gate->path('spool');
mkdir $spool or die "$spool: $!";
$gate->_own($spool);
$gate->write_file('spool/' . time . '-0000000000000001.json', $json->encode({
    version => 1, path => '/v1/spend', token_sha256 => sha256_hex(Spendgate::E2E::POST_TOKEN()),
    spooled_at => strftime('%Y-%m-%dT%H:%M:%SZ', gmtime),
    body => { subject => $subject, idempotency_key => 'spooled', model => 'spooled', usage => { prompt_tokens => 1000 } },
}), 0600);
($code, $text, $err) = $gate->cli('spool', 'replay', $spool);
is $code, 1, 'one without a price is kept';
like "$text$err", qr/no price for model spooled/, 'and named';
import_prices($gate->write_file('spooled.csv', "model,input\nspooled,2\n", 0644));
($code, $text, $err) = $gate->cli('spool', 'replay', $spool);
is $code, 0, 'and recorded when there is one' or diag "$text$err";
is +($gate->spend(subject => $subject, idempotency_key => 'spooled', model => 'spooled', usage => { prompt_tokens => 1000 }))[1]{cost_usd},
  '0.002', 'the same post to the tracker is a repeat';

# ---- it can all be computed again ----

my $summary = $gate->cli_json('verify');
is_deeply $summary->{findings}, [], 'verify finds no difference';
is $summary->{priced}, 2 + 1 + @{ $cases->{priced} } + 10 + 1 + 1, 'and has computed every priced charge again';
my ($table_code, $table) = $gate->cli('price', 'list');
like $table, qr/^claude-opus-4-6 +anthropic +\$5\.00 +\$0\.50 +\$25\.00 +/m, 'a table for people';
my ($events) = $gate->logs =~ /(panic|assert|Sanitizer)/;
is $events, undef, 'nothing odd in the logs';
done_testing;

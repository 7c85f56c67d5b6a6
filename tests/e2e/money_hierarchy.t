# SPDX-License-Identifier: MIT
# Whose budgets a request counts on: key, subject, organization, parents, groups, all; tightest wins, all or nothing;
# enforce = warn and off; several plans of one customer, changed plans, values set by hand.
use strict;
use warnings;
use FindBin qw($Bin);
use lib "$Bin/lib";
use Spendgate::E2E;
use Test::More;

my $plans = <<'END';
plan "layers" {
    match = { "claims.tier=layers" }
    budget "key"   { limit_usd = "0.30"  period = "day"    per = "key" }
    budget "day"   { limit_usd = "0.50"  period = "day" }
    budget "month" { limit_usd = "5.00"  period = "month" }
    budget "org"   { limit_usd = "0.70"  period = "week"   per = "org" }
    hold_usd = "0.10"
}
plan "shadow" {
    match = { "claims.tier=shadow" }
    budget "trial" { limit_usd = "0.10"  period = "day"    enforce = "warn" }
    budget "quiet" { limit_usd = "0.01"  period = "hour"   enforce = "off" }
    budget "month" { limit_usd = "5.00"  period = "month" }
    hold_usd = "0.10"
}
plan "team" {
    match = { "claims.tier=team" }
    budget "month" { limit_usd = "5.00"  period = "month" }
    hold_usd = "0.10"
    parent_claim = "claims.team"
}
plan "small" {
    match = { "claims.tier=small" }
    budget "month" { limit_usd = "0.20"  period = "month" }
    hold_usd = "0.10"
}
plan "large" {
    match = { "claims.tier=large" }
    budget "month" { limit_usd = "0.50"  period = "month" }
    hold_usd = "0.10"
}
default_plan = "small"
END

my $gate = Spendgate::E2E->new(plans => $plans);
$gate->start_clerk;
$gate->start_tracker;
$gate->start_authorizer;

sub key_of { my ($name, %claims) = @_; return $gate->clerk_key(subject => $gate->subject($name), claims => \%claims) }
sub ask { my ($key, $path) = @_; return $gate->authorize($path // '/api/x', key => $key->{secret}) }

# "200" or "429 budget_exceeded ACCOUNT PERIOD".
sub said {
    my ($answer) = @_;
    my $denial = $answer->{denial} or return $answer->{status};
    return join ' ', grep { defined } $answer->{status}, @{$denial}{qw(error account period)};
}

sub settle { my ($answer, $cost) = @_; return $gate->spend(hold_id => $answer->{env}{SPENDGATE_HOLD_ID}, cost_usd => $cost) }

sub line_of {
    my ($account, $period) = @_;
    my $budget = $gate->budget($account, $period);
    return join ' ', map { $_ // '-' } @{$budget}{qw(limit_usd spent_usd held_usd remaining_usd)};
}

# ---- per key, per subject, per organization ----------------------------------------------------------

my $olga = $gate->subject('olga');
my $org  = $gate->subject('acme', 'org');
my ($one, $two) = map { key_of('olga', tier => 'layers', org_id => $org) } 1 .. 2;
my @held = map { ask($one) } 1 .. 3;
is join(' ', map { said($_) } @held), '200 200 200', 'three holds of ten cents on a key of thirty';
is $held[2]{env}{SPENDGATE_REMAINING_USD}, '0', 'the tightest budget is the one that is told';
is $held[2]{env}{SPENDGATE_ORG}, $org, 'the organization is known';
is said(ask($one)), "429 budget_exceeded key:$one->{id} day", 'the key is full: the refusal names account and period';
push @held, map { ask($two) } 1 .. 2;
is said($held[4]), 200, 'the other key of the same customer has its own thirty';
is said(ask($two)), "429 budget_exceeded $olga day", 'then the subject is full';
my $pete = $gate->subject('pete');
my $petes = key_of('pete', tier => 'layers', org_id => $org);
push @held, ask($petes), ask($petes);
is said($held[6]), 200, 'a colleague';
my $refused = ask($petes);
is $refused->{denial}{error}, 'budget_exceeded', 'the organization is full';
is_deeply [ sort keys %{ $refused->{denial} } ], [ sort qw(error message request_id account period resets_at) ],
  'of an account that is not his own he is told kind, period and the end only';
is "@{ $refused->{denial} }{qw(account period)}", 'organization week', 'which kind of account, which period';
is line_of($org, 'week'), '0.7 0 0.7 0', 'seven holds are on the organization';
is line_of($olga, 'day'), '0.5 0 0.5 0', 'five on the subject, the refused ones nowhere (all or nothing)';
is line_of("key:$one->{id}", 'day'), '0.3 0 0.3 0', 'three on the first key';
my ($status, $body) = settle($held[0], '0.02');
is "$status $body->{hold}", '200 settled', 'a settlement';
is line_of($org, 'week'), '0.7 0.02 0.6 0.08', 'changes the organization';
is line_of($olga, 'day'), '0.5 0.02 0.4 0.08', 'the subject';
is line_of("key:$one->{id}", 'day'), '0.3 0.02 0.2 0.08', 'and the key together (I6)';
is line_of($olga, 'month'), '5 0.02 0.4 4.58', 'in every period';
settle($_, '0.05') for @held[ 1 .. 6 ];
is said(ask($one)), 200, 'there is room again';

# ---- groups, parents, all ----------------------------------------------------------------------------

my $quin  = $gate->subject('quin');
my $quins = key_of('quin', tier => 'large');
is said(ask($quins)), 200, 'seen once';
my ($code, undef, $err) = $gate->cli('account', 'parent', $quin, 'group:west', '--note', 'test');
is $code, 0, 'a group is the parent' or diag $err;
$gate->cli('account', 'parent', 'group:west', 'group:world');
($status, $body) = $gate->tracker('PUT', '/v1/accounts/group:world/budgets/month', { limit_usd => '0.25' });
is $status, 200, 'the grandparent gets a limit by hand';
is line_of('group:world', 'month'), '0.25 0 0 0.25', 'a chain that was joined later starts with what counts on it';
my @two = map { ask($quins) } 1 .. 2;
is said($two[1]), 200, 'two more';
$refused = ask($quins);
is "$refused->{denial}{error} $refused->{denial}{account} $refused->{denial}{period}", 'budget_exceeded group month', 'the grandparent is full';
ok !exists $refused->{denial}{limit_usd}, 'without its numbers';
($status) = $gate->tracker('PUT', '/v1/accounts/group:world/budgets/month', { limit_usd => '100' });
($status, $body) = $gate->tracker('PUT', '/v1/accounts/all/budgets/month', { limit_usd => '1' });
is $status, 200, 'a limit for all';
my ($all) = grep { $_->{period} eq 'month' } @{ $body->{budgets} };
is $all->{spent_usd}, '0.32', 'all: everything that was ever spent in this month';
is said(ask(key_of('rosa', tier => 'large'))), 200, 'someone new';
$gate->tracker('PUT', '/v1/accounts/all/budgets/month', { limit_usd => '0.33' });
$refused = ask(key_of('sten', tier => 'large'));
is "$refused->{denial}{error} $refused->{denial}{account}", 'budget_exceeded all', 'all is full: for someone never seen too';
($status) = $gate->tracker('DELETE', '/v1/accounts/all/budgets/month');
is $status, 200, 'and is unlimited again';
$gate->cli('account', 'parent', $quin, '--clear');

# What is spent counts on key and organization as well, so also on what is above them.
my $firm = $gate->subject('firm', 'org');
my %member = map { $_ => key_of($_, tier => 'large', org_id => $firm) } qw(una vic);
is said(ask($_)), 200, 'a member' for @member{qw(una vic)};
for my $below ($firm, "key:$member{una}{id}") {
    my $group = $below eq $firm ? 'group:firms' : 'group:robots';
    my @counted = $below eq $firm ? qw(una vic) : 'una';
    my ($left) = $below eq $firm ? () : 'vic';
    ($code, undef, $err) = $gate->cli('account', 'parent', $below, $group);
    is $code, 0, "$group above $below" or diag $err;
    $gate->tracker('PUT', "/v1/accounts/$group/budgets/month", { limit_usd => '0.1' });
    is said(ask($member{ $counted[0] })), 200, "$group has room for one";
    is said(ask($member{$_})), '429 budget_exceeded group month', "$group is full for $_" for @counted;
    is said(ask($member{$left})), 200, 'and not for another key' if $left;
    is said(ask($member{$_})), '429 budget_exceeded group month', "$group is full again" for $counted[-1];
    $gate->cli('account', 'parent', $below, '--clear');
    is said(ask($member{una})), 200, "$below without it";
    $gate->tracker('PUT', "/v1/accounts/$firm/budgets/month", { limit_usd => '100' });
    $gate->tracker('POST', '/v1/accounts/' . $gate->subject($_) . '/credits', { amount_usd => '5' }) for qw(una vic);
}
($code, undef, $err) = $gate->cli('account', 'parent', 'all', 'group:west');
is $code, 1, 'all has no parent';
like $err, qr/above everybody/, 'because it is above everybody';

my $tess  = $gate->subject('tess');
my $tesss = key_of('tess', tier => 'team', team => 'group:red');
is said(ask($tesss)), 200, 'a parent from a claim';
$gate->tracker('PUT', '/v1/accounts/group:red/budgets/month', { limit_usd => '0.25' });
is line_of('group:red', 'month'), '0.25 0 0.1 0.15', 'the group counts what was held before it had a budget';
($status, $body) = $gate->spend(subject => $tess, key_id => $tesss->{id}, cost_usd => '0.05');
is "$status " . line_of('group:red', 'month'), '200 0.25 0.05 0.1 0.1', 'a post without a hold counts on it too';
my $ulf = key_of('ulf', tier => 'team', team => 'group:red');
is said(ask($ulf)), 200, 'one more of the team';
is ask($tesss)->{denial}{account}, 'group', 'the team is full';
is said(ask(key_of('vera', tier => 'team', team => 'group:blue'))), 200, 'another team is not';

# ---- enforce -----------------------------------------------------------------------------------------

my $wes  = $gate->subject('wes');
my $wess = key_of('wes', tier => 'shadow');
my @shadow = map { ask($wess) } 1 .. 3;
is join(' ', map { said($_) } @shadow), '200 200 200', 'warn and off refuse nothing';
is $shadow[0]{env}{SPENDGATE_WARN} // '', '', 'the first is inside';
is $shadow[1]{env}{SPENDGATE_WARN}, "$wes day", 'the second would have been refused: SPENDGATE_WARN says so';
is $shadow[2]{env}{SPENDGATE_LIMIT_USD}, '5', 'the tightest budget is a hard one';
is line_of($wes, 'day'), '0.1 0 0.3 0', 'warn counts';
is line_of($wes, 'hour'), '0.01 0 0.3 0', 'off counts too';
my ($shown) = grep { $_->{period} eq 'day' } @{ ($gate->tracker('GET', "/v1/accounts/$wes"))[1]{budgets} };
is "$shown->{enforce} $shown->{origin}", 'warn plan', 'and is shown as what it is';
($code) = $gate->cli('budget', 'set', $wes, 'day', '0.3', '--enforce', 'hard');
is said(ask($wess)), "429 budget_exceeded $wes day", 'enforce by hand';
$gate->cli('budget', 'clear', $wes, 'day');
is said(ask($wess)), 200, 'and back to the plan';

# ---- plans -------------------------------------------------------------------------------------------

my $xena = $gate->subject('xena');
my ($small, $large) = map { key_of('xena', tier => $_) } qw(small large);
is said(ask($small)) . ' ' . said(ask($small)), '200 200', 'two holds with the key of the small plan';
is said(ask($small)), "429 budget_exceeded $xena month", 'which is full';
my $third = ask($large);
is "$third->{status} $third->{env}{SPENDGATE_LIMIT_USD} $third->{env}{SPENDGATE_REMAINING_USD}", '200 0.5 0.2',
  'the key of the large plan is judged by its own, on the same counters';
is said(ask($small)), "429 budget_exceeded $xena month", 'and the small one by its own again';
is +($gate->tracker('GET', "/v1/accounts/$xena"))[1]{plan}, 'large', 'the plan shown is the last that passed';
($status) = $gate->tracker('PUT', "/v1/accounts/$xena/budgets/month", { limit_usd => '0.40' });
is said(ask($small)), 200, 'a limit set by hand wins over every plan';
is said(ask($large)), "429 budget_exceeded $xena month", 'for the large one as well';
$gate->tracker('DELETE', "/v1/accounts/$xena/budgets/month");
is said(ask($large)), 200, 'until it is cleared';

# An edited plan acts at the next request of a server that has read it; spending is not reset.
(my $edited = $plans) =~ s/limit_usd = "0.50"  period = "month" \}\n    hold_usd = "0.10"\n\}\ndefault/limit_usd = "0.60"  period = "month" }\n    budget "week" { limit_usd = "3" period = "week" }\n    hold_usd = "0.10"\n}\ndefault/;
isnt $edited, $plans, 'the plan is edited';
$gate->write_settings(plans => $edited);
for my $name (qw(authorizer tracker)) { $gate->stop($name) }
$gate->start_tracker;
$gate->start_authorizer;
my $sixth = ask($large);
is "$sixth->{status} $sixth->{env}{SPENDGATE_LIMIT_USD} $sixth->{env}{SPENDGATE_REMAINING_USD}", '200 0.6 0', 'an edited plan, the old counters';
is line_of($xena, 'week'), '3 0 0.6 2.4', 'a line that is new starts at its journal\'s sum, live holds included';

# ---- scopes of the credential itself -----------------------------------------------------------------

$gate->stop($_) for qw(authorizer tracker);
$gate->write_settings(routes => 'route "/api/" { scopes = { "use" } }', clerk => 'key_scopes = true');
$gate->start_tracker;
$gate->start_authorizer;
my $yves = $gate->subject('yves');
is said(ask($gate->clerk_key(subject => $yves, scopes => [ 'see', 'use' ]))), 200, 'a key with the scope that its plan has not';
is said(ask($gate->clerk_key(subject => $yves, scopes => ['see']))), '403 insufficient_scope', 'one without';

($code, my $out, $err) = $gate->cli('verify');
is $code, 0, 'spendgate verify' or diag $out, $err;
my ($agreed, $disagreed) = Spendgate::Explained::counts();
ok $agreed >= 35, "explain agreed with $agreed verdicts";
is $disagreed, 0, 'and with each of them';
done_testing;

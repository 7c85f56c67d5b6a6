# SPDX-License-Identifier: MIT
package Spendgate::Ways;

# The cases of the README's table, for one way to run the gate: real requests, what must never happen as tests, and what was
# seen as the text of a cell. tests/e2e/ways.t has the ways.
use strict;
use warnings;

use Digest::SHA qw(sha256_hex);
use MIME::Base64 qw(decode_base64url);
use POSIX ();
use Test::More;
use Time::HiRes qw(sleep time);

# The rows, in the order of the table.
our @CASES = (
    [ allow     => 'a good key' ],
    [ denied401 => 'no credential' ],
    [ denied403 => 'a scope is missing' ],
    [ denied429 => 'over budget' ],
    [ denied503 => 'Clerk is away' ],
    [ crash     => 'the worker dies' ],
    [ down      => 'the gate is down' ],
    [ hang      => 'the gate hangs' ],
    [ post_no   => 'POST of 3 MB, denied' ],
    [ post_yes  => 'POST of 3 MB, allowed' ],
    [ forged    => 'forged identity' ],
    [ tricks    => 'path tricks' ],
    [ php       => 'variables in PHP' ],
    [ perl      => 'variables in Perl' ],
);

our $PLANS = <<'END';
plan "tiny" {
    match = { "claims.tier=tiny" }
    budget "month" { limit_usd = "0.07"  period = "month" }
    hold_usd = "0.05"
    scopes = { "read" }
}
plan "free" {
    budget "month" { limit_usd = "50.00"  period = "month" }
    hold_usd = "0.05"
    scopes = { "read" }
}
default_plan = "free"
END
our $ROUTES = <<'END';
route "/api/" { scopes = { "read" } }
route "/api/admin" { scopes = { "admin" } }
END
# One call to Clerk takes as long as a test wants; a failing one is not repeated for long.
our $CLERK = 'timeout = "5s"  rate = "10000/10s"';

# new(name => , gate => Spendgate::E2E, down => CODE, up => CODE, seconds => until a hung gate is given up, page, php, perl).
sub new {
    my ($class, %way) = @_;
    my $self = bless { page => '/api/file.txt', php => '/api/env.php', perl => '/api/env.pl', cells => {}, %way }, $class;
    return $self;
}

sub gate  { return $_[0]{gate} }
sub cells { return $_[0]{cells} }

sub see {
    my ($self, $case, $cell) = @_;
    note "$self->{name}: $case: $cell";
    $self->{cells}{$case} = $cell;
    return;
}

sub seen { return Spendgate::E2E::body_json($_[0]) // {} }

# An answer as the text of a cell: its status, whether it is JSON in our words, and what it lacks.
sub cell {
    my ($answer, $error) = @_;
    my $status = $answer->{status};
    my $said   = seen($answer);
    my $type   = $answer->{headers}{'content-type'}[0] // '';
    return "$status page" if !ref $said || ref $said ne 'HASH' || !$said->{error} || $type ne 'application/json';
    my $cell   = "$status JSON";
    my $denial = $answer->{headers}{'x-spendgate-denial'}[0];
    $cell .= ', not its own' if defined $error && $said->{error} ne $error;
    $cell .= ', other bytes' if defined $denial && decode_base64url($denial) ne $answer->{body};
    $cell .= ', no Retry-After' if $status =~ /\A(?:429|503)\z/ && "@{ $answer->{headers}{'retry-after'} // [] }" !~ /\A\d+\z/;
    return $cell;
}

sub is_closed {
    my ($self, $case, $answer) = @_;
    my $name = "$self->{name}: $case: closed";
    like $answer->{status}, qr/\A[45]\d\d\z/, $name or diag $answer->{body}, $self->gate->logs;
    isnt $answer->{status}, 599, "$name, with an answer" or diag $answer->{body};
    unlike $answer->{body}, qr/guarded file|"language"|<\?php|use strict/, "$name: nothing of the page";
    return;
}

sub denied {
    my ($self, $case, $status, $error, $answer) = @_;
    $self->is_closed($case, $answer);
    is $answer->{status}, $status, "$self->{name}: $case: $status" or diag $answer->{body}, $self->gate->logs;
    ok defined $answer->{headers}{'x-spendgate-denial'}, "$self->{name}: $case: the authorizer's own denial, to compare with";
    $self->see($case, cell($answer, $error));
    return;
}

# ---- the cases --------------------------------------------------------------------------------------

sub run {
    my ($self) = @_;
    my $gate = $self->gate;
    $self->{mia} = $gate->subject('mia');
    $self->{key} = $gate->clerk_key(subject => $self->{mia}, claims => { tier => 'free', org_id => $gate->subject('acme', 'org') });
    $self->$_ for qw(verdicts posts forged tricks variables crash hang down);
    my ($code, $out, $err) = $gate->cli('verify');
    is $code, 0, "$self->{name}: spendgate verify" or diag $out, $err;
    is index($gate->logs, $self->{key}{secret}), -1, "$self->{name}: no credential in any log";
    unlike $gate->logs, qr/AddressSanitizer|runtime error:/, "$self->{name}: no sanitizer report";
    return;
}

sub verdicts {
    my ($self) = @_;
    my $gate   = $self->gate;
    my $answer = $gate->decided('GET', $self->{page}, key => $self->{key}{secret});
    is $answer->{status}, 200, "$self->{name}: a good key passes" or diag $answer->{body}, $gate->logs;
    like $answer->{body}, qr/guarded file|"language"/, "$self->{name}: and gets the page";
    $self->see(allow => $answer->{status});
    $self->denied(denied401 => 401, 'missing_credential', $gate->get($self->{page}));
    $self->denied(denied403 => 403, 'insufficient_scope', $gate->get('/api/admin/env.php', key => $self->{key}{secret}));
    my $poor = $gate->key(subject => $gate->subject('poor'), claims => { tier => 'tiny' });
    is $gate->decided('GET', $self->{page}, key => $poor)->{status}, 200, "$self->{name}: the first hold fits";
    $self->denied(denied429 => 429, 'budget_exceeded', $gate->get($self->{page}, key => $poor));
    $gate->clerk_behave(endpoint => 'verify', status => 500, body => '{}');
    $self->denied(denied503 => 503, 'auth_unavailable', $gate->get($self->{page}, key => 'ak_first_seen_while_clerk_is_away'));
    $gate->clerk_calm;
    return;
}

sub posts {
    my ($self) = @_;
    my $body = substr join('', map { chr } 32 .. 126) x 32_000, 0, 3_000_000;
    $self->denied(post_no => 401, 'missing_credential', $self->gate->post($self->{php}, body => $body));
    my %cell;
    for my $page (@$self{qw(php perl)}) {
        my $answer = $self->gate->post($page, key => $self->{key}{secret}, body => $body);
        is seen($answer)->{sha256}, sha256_hex($body), "$self->{name}: 3 MB reach $page unchanged" or diag substr $answer->{body}, 0, 500;
        $cell{ $answer->{status} . ((seen($answer)->{sha256} // '') eq sha256_hex($body) ? ', whole' : ', damaged') }++;
    }
    $self->see(post_yes => join ' or ', sort keys %cell);
    return;
}

sub forged {
    my ($self) = @_;
    my @names = qw(Spendgate-Subject SPENDGATE_SUBJECT X-Spendgate-Subject Variable-SPENDGATE_SUBJECT Variable-REMOTE_USER Remote-User
      REMOTE_USER Redirect-Spendgate-Subject Redirect-Remote-User Spendgate-Hold-Id Spendgate-Mode);
    my @headers = map { [ $_ => 'user_mallory' ] } @names;
    my $believed = 0;
    for my $page (@$self{qw(php perl)}) {
        my $answer = $self->gate->get($page, headers => \@headers);
        $self->is_closed('forged', $answer);
        $answer = $self->gate->get($page, key => $self->{key}{secret}, headers => \@headers);
        my $env = seen($answer)->{env} // {};
        is $env->{SPENDGATE_SUBJECT}, $self->{mia}, "$self->{name}: forged headers change nothing for $page" or diag $answer->{body};
        my @found = grep { ($env->{$_} // '') =~ /mallory/ && !/\AHTTP_/ } sort keys %$env;
        is "@found", '', "$self->{name}: and $page sees them as headers only";
        $believed += @found;
    }
    $self->see(forged => $believed ? "$believed believed" : 'ignored');
    return;
}

sub tricks {
    my ($self) = @_;
    my @targets = (
        '//api/env.php', '/./api/env.php', '/%61pi/env.php', '/x/../api/env.php', '/api/%65nv.php', '/api//env.php', '/api/./env.php',
        '/api/env.php/x', '/api/env.php/../env.php', '/api/..%2fapi/env.php', '/api/%2e%2e/api/env.php', '/api/env.php%00', '/api/env.php?-s',
        '/api/env.php;x', '/api/.htaccess', '/api/', '/api/dir/', '/api/file.txt', '/api/file.txt/', '/.spendgate/authorize',
        '/.spendgate/401.asis', @{ $self->{tricks} // [] },
    );
    my $closed = 0;
    for my $target (@targets) {
        my $answer = $self->gate->get($target);
        $self->is_closed("$target", $answer);
        $closed++ if $answer->{status} >= 400;
    }
    # And with a key, what it has no scope for, by other names.
    for my $target ('//api/admin/env.php', '/api/%61dmin/env.php', '/api/x/../admin/env.php', '/api/./admin/env.php', '/api/admin//env.php') {
        my $answer = $self->gate->get($target, key => $self->{key}{secret}, explain => 0);
        $self->is_closed("$target, with a key", $answer);
        $closed++ if $answer->{status} >= 400;
    }
    $self->see(tricks => $closed == @targets + 5 ? 'all closed' : $closed . ' of ' . (@targets + 5) . ' closed');
    return;
}

sub variables {
    my ($self) = @_;
    my %want = (
        REMOTE_USER             => qr/\A\Q$self->{mia}\E\z/,
        SPENDGATE_SUBJECT       => qr/\A\Q$self->{mia}\E\z/,
        SPENDGATE_KEY_ID        => qr/\A\Q$self->{key}{id}\E\z/,
        SPENDGATE_KIND          => qr/\Aapi_key\z/,
        SPENDGATE_ORG           => qr/\A\Q@{[ $self->gate->subject('acme', 'org') ]}\E\z/,
        SPENDGATE_PLAN          => qr/\Afree\z/,
        SPENDGATE_SCOPES        => qr/\Aread\z/,
        SPENDGATE_ROUTE         => qr{\A/api/\z},
        SPENDGATE_HOLD_ID       => qr/\Ahld_[0-9a-f]+\z/,
        SPENDGATE_HOLD_USD      => qr/\A0\.05\z/,
        SPENDGATE_LIMIT_USD     => qr/\A50\z/,
        SPENDGATE_REMAINING_USD => qr/\A49\.\d+\z/,
        SPENDGATE_RESET         => qr/\A\d{10}\z/,
        SPENDGATE_WARN          => qr/\A\z/,
        SPENDGATE_REQUEST_ID    => qr/\Areq_\w+\z/,
    );
    for my $language (qw(php perl)) {
        my $answer = $self->gate->get($self->{$language}, key => $self->{key}{secret});
        my $env    = seen($answer)->{env} // {};
        my $right  = 0;
        for my $name (sort keys %want) {
            $right += like $env->{$name} // 'missing', $want{$name}, "$self->{name}: $language: $name";
        }
        $self->see($language => $right == keys %want ? "all $right" : "$right of " . keys %want);
    }
    return;
}

# ---- a worker that dies or hangs, and a gate that is not there ----------------------------------------

# Processes of the authorizer, whoever started them.
sub workers {
    my ($self) = @_;
    my $gate = $self->gate;
    return $gate->children_of($gate->pid('authorizer')) if $gate->pid('authorizer');
    my @all = map { $gate->pid($_) // () } qw(apache lighttpd);
    my @found;
    while (defined(my $pid = shift @all)) {
        push @found, grep { name_of($_) =~ /\Aspendgate-autho/ } my @children = $gate->children_of($pid);
        push @all, @children;
    }
    return @found;
}

sub name_of {
    my ($pid) = @_;
    open my $file, '<', "/proc/$pid/comm" or return '';
    chomp(my $name = <$file> // '');
    return $name;
}

# A request that is being decided (it waits for Clerk), and then `what` happens to the workers: the answer.
sub in_flight {
    my ($self, $what) = @_;
    my $gate  = $self->gate;
    my $fresh = $gate->key(subject => $gate->subject('late'));
    my $calls = $gate->clerk_calls;
    $gate->clerk_behave(endpoint => 'verify', delay_ms => 3000);
    my $file = "tmp/ways.$$";
    my $pid  = fork // die "fork: $!";
    if ($pid == 0) {
        my $answer = $gate->get($self->{page}, key => $fresh, explain => 0);
        $gate->write_file($file, JSON::PP->new->encode($answer));
        POSIX::_exit(0);
    }
    my $end = time + 10;
    sleep 0.02 while $gate->clerk_calls == $calls && time < $end;
    my @workers = $self->workers;
    ok @workers > 0, "$self->{name}: there is a worker to $what";
    $what eq 'kill' ? kill 'KILL', @workers : kill 'STOP', @workers;
    waitpid $pid, 0;
    $gate->clerk_calm;
    kill 'KILL', @workers if $what eq 'stop' && !$gate->pid('authorizer');
    kill 'CONT', @workers;
    my $answer = JSON::PP->new->decode($gate->read_file($file));
    unlink $gate->path($file);
    return $answer;
}

sub works_again {
    my ($self, $after) = @_;
    my $end = time + 20;
    my $answer;
    do {
        $answer = $self->gate->get($self->{page}, key => $self->{key}{secret}, explain => 0);
        sleep 0.1 if $answer->{status} != 200;
    } until $answer->{status} == 200 || time > $end;
    is $answer->{status}, 200, "$self->{name}: after $after it works again" or diag $answer->{body}, $self->gate->logs;
    return;
}

sub crash {
    my ($self) = @_;
    my $answer = $self->in_flight('kill');
    $self->is_closed('crash', $answer);
    $self->see(crash => cell($answer));
    return $self->works_again('a crash');
}

sub hang {
    my ($self) = @_;
    return if $self->{hangs_elsewhere};
    my $start  = time;
    my $answer = $self->in_flight('stop');
    $self->is_closed('hang', $answer);
    cmp_ok time - $start, '<', $self->{seconds} + 8, "$self->{name}: a hung gate is given up in time";
    $self->see(hang => cell($answer));
    return $self->works_again('a hang');
}

# lighttpd tries again and again to start what it cannot, and a request in that moment is 500: the cell is what stays the same.
sub down {
    my ($self) = @_;
    $self->{down}->();
    $self->is_closed('down', $self->gate->get($self->{page}));
    my ($cell, $same, $end) = ('', 0, time + 15);
    while ($same < 5 && time < $end) {
        my $answer = $self->gate->get($self->{page}, key => $self->{key}{secret}, explain => 0);
        $self->is_closed('down', $answer);
        my $now = cell($answer);
        $same = $now eq $cell ? $same + 1 : 0;
        $cell = $now;
        sleep 0.1;
    }
    $self->see(down => $cell);
    $self->{up}->();
    return $self->works_again('being down');
}

1;

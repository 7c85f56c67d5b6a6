# SPDX-License-Identifier: MIT
package Spendgate::Explained;

# Does `spendgate explain` say what the gate then says? Right before a request the library asks it for the same key,
# subject, plan and path, and compares verdict, reason and numbers with the answer. Only sequential requests can be
# compared: anything between the two looks changes the numbers. A disagreement fails the test that is running.
use strict;
use warnings;

use JSON::PP ();
use MIME::Base64 qw(decode_base64url);
use Test::More ();
use Time::HiRes qw(time);

my $json = JSON::PP->new->utf8;
our ($agreed, $disagreed) = (0, 0);

# What only the credential's own verification can say (explain takes it as verified), and the CGI gate of the file that
# an allowed request names.
my %outside = map { $_ => 1 } qw(missing_credential auth_unavailable too_many_attempts not_found forbidden);

# The value at a path of the verified object, as a plan's `match` writes it.
sub _value {
    my ($object, $path) = @_;
    for my $name (split /\./, $path) {
        return if ref $object ne 'HASH';
        $object = $object->{$name};
    }
    return $object;
}

# The plan that a key's object chooses, from the text of the settings: matches in file order, then the default.
sub _plan {
    my ($settings, $object) = @_;
    my %parent;
    my ($found) = $settings =~ /^\s*default_plan\s*=\s*"([^"]*)"/m;
    my $matched;
    while ($settings =~ /^plan "([^"]+)" \{(.*?)^(?=\S)/msg) {
        my ($name, $body) = ($1, $2);
        ($parent{$name}) = $body =~ /\bparent_claim\s*=\s*"([^"]*)"/;
        next if defined $matched;
        my ($list) = $body =~ /\bmatch\s*=\s*\{([^}]*)\}/ or next;
        for my $match ($list =~ /"([^"]*)"/g) {
            my ($path, $text) = split /=/, $match, 2;
            my $value = _value($object, $path);
            my @values = ref $value eq 'ARRAY' ? @$value : $value;
            $matched = $name if grep { defined && !ref && $_ eq $text } @values;
        }
    }
    my $plan = $matched // $found;
    return ($plan, defined $plan && $parent{$plan} ? _value($object, $parent{$plan}) : undef);
}

# Ask before the request: what explain says, or nothing where there is nothing to compare.
sub ask {
    my ($gate, $object, $target, %option) = @_;
    my ($plan, $parent) = _plan($gate->read_file('etc/spendgate.conf'), $object);
    my @arguments = ('--key-id', $object->{id}, '--subject', $object->{subject}, '--path', $target);
    my $organization = ($object->{claims} // {})->{org_id};
    push @arguments, '--plan', $plan if defined $plan;
    push @arguments, '--org', $organization if defined $organization && $object->{subject} !~ /\Aorg_/;
    push @arguments, '--parent', $parent if defined $parent;
    push @arguments, '--scopes', "@{ $object->{scopes} }" if @{ $object->{scopes} // [] };
    my $asked = time;
    my ($code, $out, $err) = $gate->cli('explain', @arguments, '--json');
    return if $code > 1 || $out !~ /\A\{/;    # no store, or none that may be asked
    return { asked => $asked, told => $json->decode($out), arguments => "@arguments" };
}

# "429 budget_exceeded month 0.07 0 0.05 0.02": what both sides have words for.
sub _told {
    my ($told) = @_;
    my $budget = $told->{budget} // {};
    my $error  = $told->{error}  // 'allowed';
    my @words  = ($told->{status}, $error);
    push @words, @{$budget}{qw(period limit_usd spent_usd held_usd)}, $budget->{resets_at} // 'never'
      if $error eq 'budget_exceeded';
    push @words, $told->{account}                     if $error eq 'budget_exceeded';
    push @words, $told->{rate}                        if $error eq 'rate_limited';
    push @words, $told->{concurrency}                 if $error eq 'concurrency_exceeded';
    push @words, (grep { $_->{check} eq 'scope' } @{ $told->{checks} })[0]{text} =~ /wants (\S+),/
      if $error eq 'insufficient_scope';
    return @words;
}

sub _denied {
    my ($denial, $status) = @_;
    my $error = $denial->{error};
    my @words = ($status, $error);
    push @words, (map { $denial->{$_} // '?' } qw(period limit_usd spent_usd held_usd)), $denial->{resets_at} // 'never',
      $denial->{account}
      if $error eq 'budget_exceeded';
    push @words, $denial->{limit}    // '?' if $error =~ /\A(?:rate_limited|concurrency_exceeded)\z/;
    push @words, $denial->{required} // '?' if $error eq 'insufficient_scope';
    return @words;
}

# Of another account than the caller's own only the kind is told, without its numbers: they are not compared either.
my %prefix = (organization => 'org_', machine => 'mch_', user => 'user_', group => 'group:', key => 'key:');
sub _same {
    my ($told, $got) = @_;
    return 0 if @$told != @$got;
    for my $i (0 .. $#$told) {
        my ($want, $have) = map { $_ // '' } $told->[$i], $got->[$i];
        $have = ref $have eq 'ARRAY' ? join(' ', @$have) : $have;
        return 0 unless $have eq '?' || $want eq $have || ($prefix{$have} && index($want, $prefix{$have}) == 0);
    }
    return 1;
}

# What a page that prints its environment was told.
sub _variables {
    my ($told) = @_;
    my $budget = $told->{budget};
    return (
        SPENDGATE_HOLD_USD      => $told->{hold_usd},
        SPENDGATE_LIMIT_USD     => $budget ? $budget->{limit_usd} : '',
        SPENDGATE_REMAINING_USD => $budget ? $budget->{remaining_usd} : '',
        SPENDGATE_WARN          => $told->{warn} // '',
        SPENDGATE_PLAN          => $told->{plan},
    );
}

# Compare with the answer. `variables`: what the backend saw, if that is known.
sub check {
    my ($explained, $status, $denial, $variables) = @_;
    my $told = $explained->{told};
    my (@want, @got);
    if ($denial) {
        return if $outside{ $denial->{error} };
        # Clerk's own word: only a key revoked here is explain's to know.
        return if $denial->{error} eq 'invalid_key' && ($denial->{reason} // '') ne 'revoked';
        @want = _told($told);
        @got  = _denied($denial, $status);
    }
    else {
        # One more request has become due in between.
        return if ($told->{error} // '') eq 'rate_limited' && (time - $explained->{asked}) * 1000 >= $told->{retry_after_ms};
        my %variable = _variables($told);
        my @compared = sort grep { defined $variables->{$_} } keys %variable;
        @want = (_told($told), map { "$_=" . ($variable{$_} // '') } @compared);
        @got  = (200, 'allowed', map { "$_=$variables->{$_}" } @compared);
    }
    if (_same(\@want, \@got)) {
        $agreed++;
        return;
    }
    $disagreed++;
    local $Test::Builder::Level = $Test::Builder::Level + 2;
    Test::More::fail('explain agrees with the verdict');
    Test::More::diag("spendgate explain $explained->{arguments}\n  explain: @{[ map { $_ // '' } @want ]}\n"
          . "  the gate: @{[ map { ref ? \"@\$_\" : $_ // '' } @got ]}");
    return;
}

# The denial that an answer of a web server carries, and what a page of ours printed.
sub check_http {
    my ($explained, $answer) = @_;
    return if $answer->{status} == 599;
    my $denial = $answer->{headers}{'x-spendgate-denial'};
    if ($denial) {
        my $body = eval { $json->decode(decode_base64url($denial->[0])) } or return;
        return check($explained, $answer->{status}, $body);
    }
    return if $answer->{status} >= 400;    # the web server's own, or the page's
    my $page = eval { $json->decode($answer->{body}) };
    my $variables = ref $page eq 'HASH' && ref $page->{env} eq 'HASH' ? $page->{env} : {};
    return check($explained, $answer->{status}, undef, $variables);
}

sub counts { return ($agreed, $disagreed) }

END {
    Test::More::note("explain: $agreed verdicts agreed, $disagreed did not") if $agreed + $disagreed;
}

1;

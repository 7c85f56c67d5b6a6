#!/usr/bin/perl
# SPDX-License-Identifier: MIT
#
# Random usages of every shape, priced by common/usage.c and by exact rationals here: the error of a charge is in
# [0, 1) nano-dollar (I8). The rules are written a second time, from the contract (section 6) and pricing.h.
#
#     tests/pricing_exact.pl [--count N] [--seed N] [--shape NAME]     with tests/price_usage in $SPENDGATE_BUILD (or .)
#
# --count is per shape; `make pricing-proof' takes 100,000. Each price serves 250 usages, so that its rational rates
# are made once; every usage is still summed and compared by itself.
use strict;
use warnings;

use File::Temp qw(tempdir);
use Getopt::Long;
use JSON::PP;
use Math::BigInt try => 'GMP';
use Math::BigRat;

my ($count, $seed, $only) = (2000, time);
GetOptions('count=i' => \$count, 'seed=i' => \$seed, 'shape=s' => \$only)
    or die "usage: $0 [--count N] [--seed N] [--shape NAME]\n";
my $build   = $ENV{SPENDGATE_BUILD} // '.';
my $program = "$build/tests/price_usage";
my $folder  = tempdir(CLEANUP => 1);
my $PIECE   = 10_000;    # usages that are checked at a time

my @parts = qw(input cache_read cache_write cache_write_1h output reasoning audio_input audio_cache_read audio_output
    image_input image_cache_read image_output video_output web_search file_search code_interpreter);
my %kind_of = (
    cache_read   => 'input',  cache_write => 'input',  cache_write_1h => 'cache_write', reasoning    => 'output',
    audio_input  => 'input',  image_input => 'input',  audio_output   => 'output',      image_output => 'output',
    video_output => 'output', audio_cache_read => 'audio_input', image_cache_read => 'image_input',
);
my %is_tool = map { $_ => 1 } qw(web_search file_search code_interpreter);
my @steps   = ('', '.above_200k', '.above_272k');
my @tiers   = qw(standard batch flex priority);
my %suffix  = (standard => '', map { $_ => ".$_" } qw(batch flex priority));
my $MAX     = Math::BigRat->new('1000000000000000000');
my $NANOS   = Math::BigRat->new(1_000_000_000);
my $MILLION = Math::BigInt->new(1_000_000);

# ---- random prices and usages ----------------------------------------------------------------------------------------

sub decimal {
    my ($whole) = @_;
    my $decimals = int rand 10;
    my $text     = int rand $whole;
    $text .= '.' . join '', map { int rand 10 } 1 .. $decimals if $decimals;
    return $text;
}

# input, output and the tools always, the others now and then
sub random_price {
    my %rates = map { $_ => decimal(1000) } qw(input output), keys %is_tool;
    for my $part (@parts) {
        for my $cell (map { my $step = $_; map { $step . $suffix{$_} } @tiers } @steps) {
            $rates{"$part$cell"} = decimal(1000) if rand() < 0.12;
        }
    }
    # as vendors have it: two parts with one price
    $rates{reasoning} = $rates{output} if rand() < 0.3;
    $rates{fast_factor}     = 1 + int(rand 8);
    $rates{regional_factor} = '1.' . int(rand 1000) if rand() < 0.5;
    return \%rates;
}

sub some { my ($max) = @_; return rand() < 0.3 ? 0 : int rand($max + 1) }

# Cut a count into a random part and the rest.
sub cut { my $some = some($_[0]); $_[0] -= $some; return $some }

# Each returns the vendor's object and what is in which part.
my %shapes = (
    openai_chat => sub {
        my ($input, $output) = (some(400_000), some(100_000));
        my ($text, $rest) = ($input, $output);
        my ($cached, $audio) = (cut($text), cut($text));
        my ($reasoning, $audio_out) = (cut($rest), cut($rest));
        # xAI: reasoning stands beside the completion
        my $beside = rand() < 0.2 ? $reasoning : 0;
        return (
            {   prompt_tokens => $input, completion_tokens => $output - $beside, total_tokens => $input + $output,
                prompt_tokens_details     => { cached_tokens    => $cached,    audio_tokens => $audio },
                completion_tokens_details => { reasoning_tokens => $reasoning, audio_tokens => $audio_out } },
            {   input => $text, cache_read => $cached, audio_input => $audio, output => $rest,
                reasoning => $reasoning, audio_output => $audio_out });
    },
    openai_embeddings => sub {
        my $input = some(600_000);
        return ({ prompt_tokens => $input, total_tokens => $input }, { input => $input });
    },
    openai_responses => sub {
        my ($input, $output) = (some(400_000), some(100_000));
        my ($text, $rest) = ($input, $output);
        my ($cached, $written, $image, $image_cached, $audio, $audio_cached) = map { cut($text) } 1 .. 6;
        my ($reasoning, $image_out) = (cut($rest), cut($rest));
        return (
            {   input_tokens => $input, output_tokens => $output, total_tokens => $input + $output,
                input_tokens_details => {
                    cached_tokens => $cached + $image_cached + $audio_cached, cache_write_tokens => $written,
                    image_tokens  => $image + $image_cached, audio_tokens => $audio + $audio_cached,
                    cached_tokens_details => { image_tokens => $image_cached, audio_tokens => $audio_cached } },
                output_tokens_details => { reasoning_tokens => $reasoning, image_tokens => $image_out } },
            {   input => $text, cache_read => $cached, cache_write => $written, image_input => $image,
                image_cache_read => $image_cached, audio_input => $audio, audio_cache_read => $audio_cached,
                output => $rest, reasoning => $reasoning, image_output => $image_out });
    },
    anthropic => sub {
        my ($input, $output, $read, $five, $hour) = map { some($_) } 200_000, 100_000, 100_000, 50_000, 50_000;
        return (
            {   input_tokens => $input, output_tokens => $output, cache_read_input_tokens => $read,
                cache_creation_input_tokens => $five + $hour,
                cache_creation => { ephemeral_5m_input_tokens => $five, ephemeral_1h_input_tokens => $hour } },
            { input => $input, cache_read => $read, cache_write => $five, cache_write_1h => $hour, output => $output });
    },
    gemini => sub {
        my ($prompt, $made, $thoughts, $tool) = map { some($_) } 400_000, 100_000, 100_000, 1000;
        my ($text, $rest) = ($prompt, $made);
        my ($cached, $audio, $audio_cached, $image) = map { cut($text) } 1 .. 4;
        my ($image_out, $audio_out, $video_out) = map { cut($rest) } 1 .. 3;
        return (
            {   promptTokenCount => $prompt, candidatesTokenCount => $made, thoughtsTokenCount => $thoughts,
                toolUsePromptTokenCount => $tool, cachedContentTokenCount => $cached + $audio_cached,
                totalTokenCount => $prompt + $made + $thoughts + $tool,
                promptTokensDetails => [ { modality => 'TEXT', tokenCount => $text + $cached },
                    { modality => 'AUDIO', tokenCount => $audio + $audio_cached }, { modality => 'IMAGE', tokenCount => $image } ],
                cacheTokensDetails => [ { modality => 'AUDIO', tokenCount => $audio_cached } ],
                candidatesTokensDetails => [ { modality => 'IMAGE', tokenCount => $image_out },
                    { modality => 'AUDIO', tokenCount => $audio_out }, { modality => 'VIDEO', tokenCount => $video_out } ] },
            {   input => $text + $tool, cache_read => $cached, audio_input => $audio, audio_cache_read => $audio_cached,
                image_input => $image, output => $rest, reasoning => $thoughts, image_output => $image_out,
                audio_output => $audio_out, video_output => $video_out });
    },
);
die "no such shape: $only\n" if defined $only && !$shapes{$only};

# What every shape may have besides; returns the tier, and whether the two factors apply.
sub add_the_rest {
    my ($usage, $units) = @_;
    my $tier = $tiers[ rand @tiers ];
    my %beside;
    if    (rand() < 0.3)                           { $beside{service_tier} = $tier }
    elsif ($tier ne 'standard' || rand() < 0.5)    { $usage->{service_tier} = $tier }
    if (rand() < 0.3) {
        @{$units}{qw(web_search file_search code_interpreter)} = map { some(5) } 1 .. 3;
        $usage->{server_tool_use} = { web_search_requests => $units->{web_search},
            file_search_requests => $units->{file_search}, code_interpreter_sessions => $units->{code_interpreter} };
    }
    my $fast = rand() < 0.1 ? 1 : 0;
    my $regional = rand() < 0.2 ? 1 : 0;
    $usage->{speed} = 'fast' if $fast;
    $usage->{inference_geo} = 'us' if $regional;
    return ($tier, $fast, $regional, \%beside);
}

# ---- the rules, in exact rationals -----------------------------------------------------------------------------------

sub larger { my ($one, $other) = @_; return $one >= $other ? $one : $other }

# A computed rate: a whole number of nano-dollars per million, rounded up.
sub computed { my ($rate) = @_; $rate = $rate->copy->bceil; return $rate > $MAX ? $MAX->copy : $rate }

sub scaled {
    my ($rate, $to, $from) = @_;
    return $from == 0 ? larger($rate, $to) : computed($rate * $to / $from);
}

# The price's own rate of a part, with the tier and step it accounts for; undef: none.
sub own {
    my ($price, $part, $tier, $step) = @_;
    my $at = sub {
        my ($t, $s) = @_;
        for (; $s >= 0; $s--) {
            my $rate = $price->{rates}{ $part . $steps[$s] . $suffix{$t} };
            return ($rate, $s) if defined $rate;
        }
        return;
    };
    my ($rate, $here) = $at->($tier, $step);
    my ($usual, $there) = $at->('standard', $step);
    return ($usual, 'standard', $there) if !defined $rate;
    return ($rate, $tier, $here) if !defined $usual || $there <= $here;
    my ($before) = $at->('standard', $here);
    return (scaled($rate, $usual, $before // 0), $tier, $there);
}

sub rate {
    my ($price, $part, $tier, $step) = @_;
    my $key = "$part $tier $step";
    return $price->{known}{$key} if exists $price->{known}{$key};
    return $price->{known}{$key} = find_rate(@_);
}

sub find_rate {
    my ($price, $part, $tier, $step) = @_;
    my ($own, $own_tier, $own_step) = own($price, $part, $tier, $step);
    my $kind = $kind_of{$part};
    return $own if !defined $kind || (defined $own && $own_tier eq $tier && $own_step == $step);
    my $whole = rate($price, $kind, $tier, $step);
    if (!defined $own) {
        return $whole if $part !~ /\A(?:audio|image)_cache_read\z/;
        return scaled($whole, rate($price, 'cache_read', $tier, $step), rate($price, 'input', $tier, $step));
    }
    my $there = rate($price, $kind, $own_tier, $own_step);
    return $whole if $own == $there;
    return $whole > $there ? scaled($own, $whole, $there) : $own;
}

sub rate_with_factors {
    my ($price, $part, $tier, $step, $fast, $regional) = @_;
    my $key = "$part $tier $step $fast $regional";
    my $rate = $price->{with}{$key};
    return $rate if defined $rate;
    $rate = rate($price, $part, $tier, $step);
    if (!$is_tool{$part}) {
        $rate = computed($rate * $price->{factors}{fast_factor}) if $fast;
        $rate = computed($rate * $price->{factors}{regional_factor}) if $regional && defined $price->{factors}{regional_factor};
    }
    $rate = $rate->numerator;    # it is a whole number
    return $price->{with}{$key} = $rate < 1_000_000_000_000 ? $rate->numify : $rate;
}

sub new_price {
    my $texts = random_price();
    my %price = (texts => $texts, known => {}, with => {});
    for my $name (keys %{$texts}) {
        my $value = Math::BigRat->new($texts->{$name});
        if ($name =~ /_factor\z/) { $price{factors}{$name} = $value }
        else                      { $price{rates}{$name}   = $value * $NANOS }
    }
    return \%price;
}

# ---- one shape -------------------------------------------------------------------------------------------------------

sub check_piece {
    my ($shape, $count) = @_;
    my $json = JSON::PP->new->canonical;
    my (@expected, $price, $rates_text);
    open my $lines, '>', "$folder/$shape" or die "$!\n";
    for my $n (1 .. $count) {
        if ($n % 250 == 1) {
            $price = new_price();
            $rates_text = $json->encode($price->{texts});
        }
        my ($usage, $units) = $shapes{$shape}->();
        my ($tier, $fast, $regional, $beside) = add_the_rest($usage, $units);
        my $tokens = 0;
        $tokens += $units->{$_} // 0 for qw(input cache_read cache_write cache_write_1h audio_input audio_cache_read image_input image_cache_read);
        my $step = $tokens > 272_000 ? 2 : $tokens > 200_000 ? 1 : 0;
        # What surely stays below 2**63 is added up as Perl's own integers.
        my ($sum, $large) = (0, Math::BigInt->bzero);
        for my $part (grep { $units->{$_} } keys %{$units}) {
            my $rate = rate_with_factors($price, $part, $tier, $step, $fast, $regional);
            if (ref $rate) { $large->badd($rate->copy->bmul($units->{$part})) }
            else           { $sum += $rate * $units->{$part} }
        }
        push @expected, $large->badd($sum);
        my $told = defined $beside->{service_tier} ? ",\"service_tier\":\"$beside->{service_tier}\"" : '';
        print {$lines} "{\"rates\":$rates_text,\"usage\":" . $json->encode($usage) . "$told}\n";
    }
    close $lines or die "$!\n";
    open my $answers, '-|', "'$program' < '$folder/$shape'" or die "$program: $!\n";
    my ($passed, $failed) = (0, 0);
    # The error of a charge as a whole number of millionths: its rational times the denominator all of them share. The
    # sums of a price are compared as rationals, which a slip in that shortcut would not survive.
    my ($errors, $charged, $cost) = map { Math::BigInt->bzero } 1 .. 3;
    for my $i (0 .. $#expected) {
        my $answer = <$answers>;
        defined $answer or die "$program stopped after $i lines of $shape (seed $seed)\n";
        chomp $answer;
        my $error = $answer =~ /\A[0-9]+\z/ ? Math::BigInt->new("${answer}000000")->bsub($expected[$i]) : undef;
        if (defined $error && !$error->is_neg && $error->numify < 1_000_000) {
            $passed++;
            $errors->badd($error);
            $charged->badd($answer);
            $cost->badd($expected[$i]);
        }
        else {
            $failed++;
            print "seed $seed, $shape, usage $i: want ", Math::BigRat->new($expected[$i], $MILLION), ", got $answer\n" if $failed <= 5;
        }
        next if ($i + 1) % 250 && $i != $#expected;
        my $difference = Math::BigRat->new($charged) - Math::BigRat->new($cost, $MILLION);
        die "the sums differ from their parts (seed $seed, $shape, before usage $i)\n"
            if $difference != Math::BigRat->new($errors, $MILLION);
        $_->bzero for $errors, $charged, $cost;
    }
    close $answers;
    unlink "$folder/$shape";
    return ($passed, $failed);
}

# A process for each shape; what it counted comes through a pipe.
sub start_shape {
    my ($shape, $number) = @_;
    my $pid = open(my $pipe, '-|') // die "cannot fork: $!\n";
    return $pipe if $pid;
    srand $seed + $number;
    my ($passed, $failed) = (0, 0);
    for (my $left = $count; $left > 0; $left -= $PIECE) {
        my ($p, $f) = check_piece($shape, $left < $PIECE ? $left : $PIECE);
        $passed += $p;
        $failed += $f;
    }
    print "$passed $failed\n";
    exit 0;
}

my ($passed, $failed, $number) = (0, 0, 0);
my @pipes = map { start_shape($_, $number++) } defined $only ? $only : sort keys %shapes;
for my $pipe (@pipes) {
    my $last = '';
    while (my $line = <$pipe>) {
        print $last;
        $last = $line;
    }
    close $pipe;
    my ($p, $f) = $last =~ /\A([0-9]+) ([0-9]+)$/ or die "${last}one of the shapes broke off (seed $seed)\n";
    $passed += $p;
    $failed += $f;
}
print "pricing_exact: $passed passed, $failed failed (seed $seed)\n";
exit($failed || !$passed ? 1 : 0);

#!/usr/bin/perl
# SPDX-License-Identifier: MIT
#
# Random usages of every shape, priced by common/pricing.c and by exact rationals here: the error of a charge is
# in [0, 1) nano-dollar (I8). The rules below are written from the contract, section 6.
#
#     tests/pricing_exact.pl [--count N] [--seed N]     with tests/price_usage in $SPENDGATE_BUILD (or .)
use strict;
use warnings;

use File::Temp qw(tempdir);
use Getopt::Long;
use JSON::PP;
use Math::BigInt;
use Math::BigRat;

my $count = 2000;
my $seed  = time;
GetOptions('count=i' => \$count, 'seed=i' => \$seed) or die "usage: $0 [--count N] [--seed N]\n";
srand $seed;
my $build   = $ENV{SPENDGATE_BUILD} // '.';
my $program = "$build/tests/price_usage";
my $json    = JSON::PP->new->canonical;
my $folder  = tempdir(CLEANUP => 1);

my @parts = qw(input cache_read cache_write cache_write_1h output reasoning audio_input
    audio_cache_read audio_output image_input image_output web_search);
my %kind_of = (
    cache_read  => 'input',  cache_write      => 'input',       cache_write_1h => 'cache_write',
    reasoning   => 'output', audio_input      => 'input',       audio_cache_read => 'audio_input',
    audio_output => 'output', image_input     => 'input',       image_output   => 'output',
);
my %tier_suffix = (standard => '', batch => '.batch', flex => '.flex', priority => '.priority');

sub random_price {
    my $decimals = int rand 10;
    my $text     = int(rand 1000);
    $text .= '.' . join '', map { int rand 10 } 1 .. $decimals if $decimals;
    return $text;
}

# input and output always, the others now and then
sub random_rates {
    my %rates = (input => random_price(), output => random_price(), web_search => random_price());
    for my $part (@parts) {
        for my $step ('', '.above_200k', '.above_272k') {
            for my $tier (values %tier_suffix) {
                $rates{"$part$step$tier"} = random_price() if rand() < 0.15;
            }
        }
    }
    return \%rates;
}

sub larger { my ($a, $b) = @_; return $b unless defined $a; return $a unless defined $b; return $a >= $b ? $a : $b }

sub rate {
    my ($rates, $part, $step, $tier) = @_;
    my $get = sub { my ($s, $t) = @_; my $v = $rates->{ $part . $s . $tier_suffix{$t} }; return defined $v ? Math::BigRat->new($v) : undef };
    my @steps = $step eq '.above_272k' ? ('.above_272k', '.above_200k', '') : $step eq '.above_200k' ? ('.above_200k', '') : ('');
    my ($own, $own_step);
    for my $s (@steps) {
        if (defined(my $value = $get->($s, $tier))) { ($own, $own_step) = ($value, $s); last }
    }
    return $own if defined $own && $own_step eq $step;
    my ($standard, $standard_step);
    for my $s (@steps) {
        if (defined(my $value = $get->($s, 'standard'))) { ($standard, $standard_step) = ($value, $s); last }
    }
    my $rate = $own;
    $rate = larger($rate, $standard) if defined $standard && (!defined $own || $standard_step ne '');
    return $rate if defined $rate;
    return exists $kind_of{$part} ? rate($rates, $kind_of{$part}, $step, $tier) : undef;
}

sub some { my ($max) = @_; return rand() < 0.3 ? 0 : int rand($max + 1) }

# Each returns the vendor's object, what is in which part, and the input tokens that choose the step.
my %shapes = (
    openai_chat => sub {
        my ($input, $output) = (some(400_000), some(100_000));
        my $cached = some($input);
        my $audio  = some($input - $cached);
        my ($reasoning) = some($output);
        my $audio_out = some($output - $reasoning);
        return ({   prompt_tokens => $input, completion_tokens => $output, total_tokens => $input + $output,
                prompt_tokens_details     => { cached_tokens    => $cached,    audio_tokens => $audio },
                completion_tokens_details => { reasoning_tokens => $reasoning, audio_tokens => $audio_out } },
            {   input => $input - $cached - $audio, cache_read => $cached, audio_input => $audio,
                output => $output - $reasoning - $audio_out, reasoning => $reasoning, audio_output => $audio_out },
            $input);
    },
    openai_responses => sub {
        my ($input, $output) = (some(400_000), some(100_000));
        my ($cached, $reasoning) = (some($input), some($output));
        return ({   input_tokens => $input, output_tokens => $output, total_tokens => $input + $output,
                input_tokens_details => { cached_tokens => $cached }, output_tokens_details => { reasoning_tokens => $reasoning } },
            { input => $input - $cached, cache_read => $cached, output => $output - $reasoning, reasoning => $reasoning },
            $input);
    },
    anthropic => sub {
        my ($input, $output, $read, $five, $hour, $search) = (some(200_000), some(100_000), some(100_000), some(50_000), some(50_000), some(5));
        return ({   input_tokens => $input, output_tokens => $output, cache_read_input_tokens => $read,
                cache_creation_input_tokens => $five + $hour,
                cache_creation  => { ephemeral_5m_input_tokens => $five, ephemeral_1h_input_tokens => $hour },
                server_tool_use => { web_search_requests => $search } },
            {   input => $input, cache_read => $read, cache_write => $five, cache_write_1h => $hour, output => $output, web_search => $search },
            $input + $read + $five + $hour);
    },
    gemini => sub {
        my ($prompt, $made, $thoughts, $tool) = (some(400_000), some(100_000), some(100_000), some(1000));
        my $cached = some($prompt);
        my $audio  = some($prompt - $cached);
        return ({   promptTokenCount => $prompt, candidatesTokenCount => $made, thoughtsTokenCount => $thoughts,
                toolUsePromptTokenCount => $tool, cachedContentTokenCount => $cached,
                totalTokenCount         => $prompt + $made + $thoughts + $tool,
                promptTokensDetails     => [ { modality => 'TEXT', tokenCount => $prompt - $audio }, { modality => 'AUDIO', tokenCount => $audio } ] },
            {   input => $prompt - $cached - $audio + $tool, cache_read => $cached, audio_input => $audio, output => $made, reasoning => $thoughts },
            $prompt + $tool);
    },
);

my (@expected, @shape_of);
open my $lines, '>', "$folder/in" or die "$!\n";
for my $shape (sort keys %shapes) {
    for (1 .. $count) {
        my $rates = random_rates();
        my ($usage, $units, $context) = $shapes{$shape}->();
        my $tier = (qw(standard batch flex priority))[ int rand 4 ];
        $usage->{service_tier} = $tier if $tier ne 'standard' || rand() < 0.5;
        my $step = $context > 272_000 ? '.above_272k' : $context > 200_000 ? '.above_200k' : '';
        my $sum = Math::BigRat->bzero;
        for my $part (keys %{$units}) {
            next unless $units->{$part};
            my $nanos = rate($rates, $part, $step, $tier) * 1_000_000_000;
            $sum += $nanos * $units->{$part};
        }
        push @expected, $sum / 1_000_000;
        push @shape_of, $shape;
        print {$lines} $json->encode({ provider => $shape eq 'anthropic' ? 'anthropic' : 'x', rates => $rates, usage => $usage }), "\n";
    }
}
close $lines;
open my $answers, '-|', "'$program' < '$folder/in'" or die "$program: $!\n";
my ($passed, $failed) = (0, 0);
for my $i (0 .. $#expected) {
    my $answer = <$answers>;
    defined $answer or die "$program stopped after $i lines (seed $seed)\n";
    chomp $answer;
    my $error = $answer =~ /\A[0-9]+\z/ ? Math::BigRat->new($answer) - $expected[$i] : undef;
    if (defined $error && $error >= 0 && $error < 1) { $passed++; next }
    $failed++;
    print "seed $seed, usage $i ($shape_of[$i]): want $expected[$i], got $answer\n" if $failed <= 5;
}
close $answers;
print "pricing_exact: $passed passed, $failed failed\n";
exit($failed || !$passed ? 1 : 0);

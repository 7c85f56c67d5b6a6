# SPDX-License-Identifier: MIT
# tests/vectors/money.json, which the tracker reads as well.
use strict;
use warnings;
use FindBin qw($Bin);
use JSON::PP;
use Spendgate::Tracker;
use Test::More;

my $folder = $ENV{SPENDGATE_VECTORS} // "$Bin/../../../tests/vectors";
open my $file, '<:raw', "$folder/money.json" or plan skip_all => 'the vectors are not part of this package';
my $vectors = decode_json(do { local $/; <$file> });

is Spendgate::Tracker::_nanos($_->{usd}), $_->{nanos}, "parse $_->{usd}" for @{ $vectors->{parse} };
for my $usd (@{ $vectors->{refuse} }) {
    my $nanos = eval { Spendgate::Tracker::_nanos($usd) };
    is $nanos, undef, 'refuse ' . encode_json([$usd]);
    like $@, qr/a cost is /, 'and say what is wanted';
}
is Spendgate::Tracker::_usd(0 + $_->{nanos}), $_->{usd}, "write $_->{nanos}" for @{ $vectors->{format} };

# Sums as spend() makes them.
sub tracker { return Spendgate::Tracker->new(url => 'http://127.0.0.1', token => 't') }
for my $case (@{ $vectors->{sum} }) {
    my $tracker = tracker();
    $tracker->spend($_) for @{ $case->{usd} };
    is Spendgate::Tracker::_usd($tracker->{cost}{nanos}), $case->{total}, "sum $case->{total}";
}
for my $case (@{ $vectors->{sum_refused} }) {
    my $tracker = tracker();
    $tracker->spend($case->[0]);
    eval { $tracker->spend($case->[1]) };
    like $@, qr/at most one billion dollars/, 'a sum above the maximum';
    is Spendgate::Tracker::_usd($tracker->{cost}{nanos}), $case->[0], 'changes nothing';
}
done_testing;

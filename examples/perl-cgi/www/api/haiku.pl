#!/usr/bin/perl
# SPDX-License-Identifier: MIT
# One call costs one cent. Spendgate has let this request in and set two cents aside for it.
use strict;
use warnings;

use FindBin qw($Bin);
use lib "$Bin/../../../../clients/perl/lib";    # not needed where Spendgate::Tracker is installed
use JSON::PP;
use Spendgate::Tracker;

my $tracker = Spendgate::Tracker->from_environment;

# The work. Whatever happens from here on, also when the client hangs up: what was spent is posted, once.
my @haiku = ('The gate stood open.', 'I paid one cent, and went through.', 'It had been counted.');
$tracker->spend('0.01', model => 'haiku');

print "Content-Type: application/json\r\n\r\n", JSON::PP->new->canonical->encode(
    {
        haiku         => \@haiku,
        for           => $ENV{SPENDGATE_SUBJECT},          # set by the gate; no client can forge it
        remaining_usd => $ENV{SPENDGATE_REMAINING_USD},    # after what is set aside for this request
    }
), "\n";

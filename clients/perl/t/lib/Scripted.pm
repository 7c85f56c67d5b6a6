# SPDX-License-Identifier: MIT
package Scripted;

# In place of HTTP::Tiny: answers in turn what it was told to (the last one for all further posts), and keeps what it
# was asked.
use strict;
use warnings;

sub new {
    my ($class, @answers) = @_;
    @answers = ([ 200, '{"charge_id":"chg_1"}' ]) if !@answers;
    return bless { answers => \@answers, posts => [] }, $class;
}

sub request {
    my ($self, $method, $url, $options) = @_;
    push @{ $self->{posts} },
        { url => $url, json => $options->{content}, key => $options->{headers}{'idempotency-key'}, headers => $options->{headers} };
    my $answer = @{ $self->{answers} } > 1 ? shift @{ $self->{answers} } : $self->{answers}[0];
    return { status => $answer->[0], content => $answer->[1] };
}

sub posts { return @{ $_[0]{posts} } }

1;

#!/usr/bin/perl
# SPDX-License-Identifier: MIT
#
# Branch coverage of source files by their unit tests, from gcov. Fails when a branch that no test took is not explained
# beside it. Run by `make coverage' in a tree configured with --enable-coverage.
#
#     tests/coverage.pl MODULE ...      from the build folder; common/money stands for common/money.c and tests/test_money
#
# An explanation is a comment at the end of the branch's line, or the one that ends on the line above:
#
#     if (localtime_r(&t, &tm) == NULL) /* untaken: only for years that the caller has refused */
#
# It stands for exactly one branch; "untaken 2:" for two. One that stands for more or fewer than are untaken is a failure
# as well, so none outlives its reason. The coverage build is not optimized: every branch of gcov's is one of the two ways
# a condition of the source can go, or a case of a switch, and none is the compiler's own. The one exception is assert():
# its failing side ends the program and cannot be shown by a test that lives; where the other side of the same condition
# was taken it is listed as "assert", not as untaken.
use strict;
use warnings;

use JSON::PP;

my $srcdir = $ENV{srcdir} // '.';
my $gcov   = $ENV{GCOV} // 'gcov';
my ($passed, $failed) = (0, 0);

die "usage: $0 MODULE ...\n" unless @ARGV;
for my $module (@ARGV) {
    die "$module: not built with --coverage; configure with --enable-coverage (and gcc)\n" unless -e "$module.gcno";
    unlink "$module.gcda";
}
for my $module (@ARGV) {
    my ($name) = $module =~ m{([^/]+)\z};
    my $said = `tests/test_$name 2>&1`;
    die "$said\ntests/test_$name fails\n" if $? != 0;
}

# The explanations of a file: line => { count, at (where the comment is), used }.
sub explanations {
    my ($text) = @_;
    my %at;
    while ($text =~ m{/\*\s*untaken(?:\s+(\d+))?:\s*(.*?)\s*\*/}sg) {
        my ($count, $why, $from, $to) = ($1 // 1, $2, $-[0], $+[0]);
        my $line       = 1 + (substr($text, 0, $from) =~ tr/\n//);
        my $own_line   = substr($text, 0, $from) =~ /(?:^|\n)[ \t]*\z/;
        my $explained  = $own_line ? 2 + (substr($text, 0, $to) =~ tr/\n//) : $line;
        my @words = split ' ', $why;
        die "line $line: an explanation of at least three words, please\n" if @words < 3;
        die "line $line: a second explanation of line $explained\n" if $at{$explained};
        $at{$explained} = { count => $count, at => $line };
    }
    return \%at;
}

# gcov's branches by line, each one the two (or more) ways of one condition: [[count, count], ...].
sub branches {
    my ($module) = @_;
    my ($folder) = $module =~ m{(.*)/};
    my $text = `$gcov --json-format --stdout --branch-probabilities --object-directory $folder $module.gcda`;
    die "$gcov on $module.gcda fails; does it belong to the compiler? (GCOV names another)\n" if $? != 0 || $text eq '';
    my ($file) = grep { $_->{file} =~ m{(?:^|/)\Q$module\E\.c\z} } @{ decode_json($text)->{files} };
    die "$gcov says nothing of $module.c\n" unless $file;
    return { map { ($_->{line_number} => [map { $_->{count} } @{ $_->{branches} }]) }
            grep { @{ $_->{branches} } } @{ $file->{lines} } };
}

# How many untaken branches of an assert are its failing side: the other side of the condition was taken.
sub assert_failing_sides {
    my @counts = @_;
    my $sides  = 0;
    while (my @pair = splice @counts, 0, 2) {
        $sides++ if grep({ $_ > 0 } @pair) == 1;
    }
    return $sides;
}

printf "%-20s %8s %8s %8s %9s %11s\n", 'branches of', 'all', 'taken', 'assert', 'explained', 'unexplained';
for my $module (@ARGV) {
    open my $source, '<', "$srcdir/$module.c" or die "$srcdir/$module.c: $!\n";
    my @lines = <$source>;
    close $source;
    my $explained = eval { explanations(join '', @lines) } // die "$module.c, $@";
    my $branches  = branches($module);
    my ($all, $taken, $assert, $told, @problems) = (0, 0, 0, 0);
    for my $line (sort { $a <=> $b } keys %$branches) {
        my @counts  = @{ $branches->{$line} };
        my $untaken = grep { $_ == 0 } @counts;
        my $ours    = delete $explained->{$line};
        $all   += @counts;
        $taken += @counts - $untaken;
        if ($lines[$line - 1] =~ /^\s*assert\(/) {
            my $sides = assert_failing_sides(@counts);
            $assert  += $sides;
            $untaken -= $sides;
        }
        if ($untaken == ($ours ? $ours->{count} : 0)) {
            $told += $untaken;
            next;
        }
        $told += $ours->{count} if $ours && $ours->{count} < $untaken;
        push @problems, sprintf "%s.c:%d: %d of %d branches untaken, %d explained: %s", $module, $line, $untaken,
            scalar @counts, $ours ? $ours->{count} : 0, $lines[$line - 1] =~ s/^\s+|\s+\z//gr;
    }
    push @problems, map { "$module.c:$explained->{$_}{at}: explains line $_, which has no branch" }
        sort { $a <=> $b } keys %$explained;
    printf "%-20s %8d %8d %8d %9d %11d\n", "$module.c", $all, $taken, $assert, $told, $all - $taken - $assert - $told;
    print "  $_\n" for @problems;
    @problems ? $failed++ : $passed++;
}
print "branch coverage: $passed passed, $failed failed\n";
exit($failed ? 1 : 0);

#!/usr/bin/env perl
#
# README.md has what the code has. The tables of parameters, status words, results, warnings, codes and macros are made by make docs;
# flags and metrics are written by hand, and here compared by name.

use strict;
use warnings;
use FindBin;
use Test::More tests => 3;

is(`perl '$FindBin::Bin/manual' 2>&1`, '', 'the manual has the tables of the code');

sub text
{
	my ($file) = @_;
	open my $handle, '<', "$FindBin::Bin/../../$file" or die "$file: $!\n";
	local $/;
	return <$handle>;
}

sub sorted
{
	my %words = map { $_ => 1 } @_;
	return join "\n", sort keys %words;
}

# The rows of the table that begins with a line.
sub table
{
	my ($manual, $head) = @_;
	my ($rows) = $manual =~ /^\Q$head\E\n((?:\|.*\n)+)/m or die "README.md has no table $head\n";
	return $rows;
}

my $manual = text('README.md');
is(sorted(table($manual, '| flag | default | |') =~ /`(--[\w-]+)/g), sorted(text('shim/options.c') =~ /^\t\{"(--[\w-]+)"/mg),
	'the manual has the flags of postbackd');

my $sources = join '', map { text($_ =~ s{.*/(shim/)}{$1}r) } glob "$FindBin::Bin/../../shim/*.c";
my @made = $sources =~ /"((?:postbackd|process)_\w+)"/g;
push @made, map { "postback_callback_$_" } text('shim/health.c') =~ /^\t\{"(\w+)", "/mg;
push @made, $sources =~ /"(postback_callbacks)"/g;
is(sorted(table($manual, '| of | names |') =~ /`((?:postback|process)\w+)/g), sorted(@made), 'the manual has the metrics of postbackd');

#!/usr/bin/env perl
#
# Dependencies run one way: core <- extension, core <- shim. The rules are data: the file "includes" beside this one.

use strict;
use warnings;
use FindBin;
use Test::More;

chdir "$FindBin::Bin/../.." or die;
my $server = `$ENV{PG_CONFIG} --includedir-server`;
chomp $server;

# A pattern with "*", which does not go over a "/", as a regular expression.
sub pattern
{
	my $text = quotemeta $_[0];
	$text =~ s{\\\*}{[^/]*}g;
	return qr/^$text$/;
}

my (@may, @only);
open my $rules, '<', "$FindBin::Bin/includes" or die;
while (<$rules>)
{
	next if /^\s*(#|$)/;
	my ($kind, $subject, @objects) = split;
	push @may, { files => pattern($subject), allowed => \@objects } if $kind eq 'may';
	push @only, { header => pattern($subject), files => [ map { pattern($_) } @objects ] } if $kind eq 'only';
}

# Where an include in quotes leads to: a file of ours, or one of the server's.
sub resolved
{
	my ($file, $name) = @_;
	my ($folder) = $file =~ m{^(.*)/};
	for my $candidate ("$folder/$name", "extension/core/$name", $name)
	{
		1 while $candidate =~ s{[^/.]+/\.\./}{};
		return $candidate if -e $candidate;
	}
	return "server:$name" if $server && -e "$server/$name";
	return $name;
}

sub allowed
{
	my ($include, $rule) = @_;
	for (@{ $rule->{allowed} })
	{
		return 1 if $_ eq 'server:*' && $include =~ /^server:/;
		return 1 if $_ eq '<*.h>' && $include =~ /^</;
		return 1 if $include =~ pattern($_);
	}
	return 0;
}

for my $file (sort glob 'extension/*.[ch] extension/core/*.[ch] shim/*.[ch]')
{
	my ($rule) = grep { $file =~ $_->{files} } @may;
	my @complaints;
	open my $source, '<', $file or die;
	while (<$source>)
	{
		next unless /^\s*#\s*include\s+(["<])([^">]+)[">]/;
		my ($mark, $name) = ($1, $2);
		my $include = $mark eq '<' ? "<$name>" : resolved($file, $name);
		push @complaints, "$file:$.: includes $include" unless $rule && allowed($include, $rule);
		for my $only (@only)
		{
			next unless $name =~ $only->{header};
			push @complaints, "$file:$.: includes $name, which is for other files"
			  unless grep { $file =~ $_ } @{ $only->{files} };
		}
	}
	is(join("\n", @complaints), '', "$file includes what it may");
}

done_testing();

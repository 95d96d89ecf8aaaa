#!/usr/bin/env perl
#
# The shape of the tree: what may stand at the top, which files come in pairs, and the version's one place.

use strict;
use warnings;
use FindBin;
use Test::More;

chdir "$FindBin::Bin/../.." or die;

my %top = map { $_ => 1 }
  qw(extension shim sql expected tests Makefile postback.control README.md LICENSE CHANGELOG.md);
my %products = map { $_ => 1 } 'postback.so', glob('postback--*.sql');

opendir my $folder, '.' or die;
my @strangers = sort grep { !/^\./ && !$top{$_} && !$products{$_} } readdir $folder;
is("@strangers", '', 'nothing stands at the top but what belongs there');

# Names without folder and ending, of the files that a glob finds.
sub names
{
	my ($glob, $ending) = @_;
	my %names = map { m{([^/]+)$ending$} ? ($1 => 1) : () } glob $glob;
	return join ' ', sort keys %names;
}

is(names('expected/*.out', qr/(?:_\d)?\.out/), names('sql/*.sql', qr/\.sql/), 'every SQL test has an expected output');
is( names('tests/isolation/expected/*.out', qr/(?:_\d)?\.out/),
	names('tests/isolation/specs/*.spec', qr/\.spec/),
	'every isolation spec has an expected output');

my ($version) = map { /^default_version\s*=\s*'(.*)'/ ? $1 : () } do { open my $f, '<', 'postback.control' or die; <$f> };
my @sources = ('Makefile', grep { !m{/node_modules/|package-lock} } split /\n/, `find extension shim tests -type f -name '*.*'`);
my @copies;
for my $file (@sources)
{
	next if $file =~ m{/node_modules/|\.json$};
	open my $handle, '<', $file or die "$file: $!";
	while (<$handle>)
	{
		push @copies, "$file:$." if /(?<![\d.])\Q$version\E(?![\d.])/;
	}
}
is("@copies", '', 'the version stands in postback.control only');

my @untidy;
for my $file (grep { m{\.(?:[ch]|sql|pl|pm|t|sh|spec|in)$} && -f } @sources, glob '*.md sql/*.sql tests/house/* .ci/*')
{
	open my $handle, '<', $file or die "$file: $!";
	my $last = "\n";
	while (<$handle>)
	{
		push @untidy, "$file:$.: blanks at the end" if /[ \t\r]\n?$/;
		$last = $_;
	}
	push @untidy, "$file: no line end at the end" unless $last =~ /\n$/;
}
is(join("\n", @untidy), '', 'no blanks at line ends');

done_testing();

#!/usr/bin/env perl
#
# The C sources are as .clang-format and pgindent's habits have them. tests/lint/format --fix FILE mends one.

use strict;
use warnings;
use FindBin;
use Test::More;

# Another version of clang-format has other opinions.
my ($program) = grep { `$_ --version 2>/dev/null` =~ /version 14\./ } 'clang-format-14', 'clang-format';
plan skip_all => 'needs clang-format 14' unless $program;
$ENV{CLANG_FORMAT} = $program;

chdir "$FindBin::Bin/../.." or die;
for my $file (sort glob 'extension/*.[ch] extension/core/*.[ch] shim/*.[ch] tests/unit/*.[ch] tests/oracle/*.c tests/lint/*.c tests/fuzz/*.[ch] tests/bench/*.[ch] tests/crash/*.[ch]')
{
	is(`tests/lint/format $file 2>&1`, '', "$file is formatted");
}
done_testing();

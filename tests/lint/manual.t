#!/usr/bin/env perl
#
# The tables of README.md are those of the code: parameters, status words, results, warnings, codes, macros. make docs mends them.

use strict;
use warnings;
use FindBin;
use Test::More tests => 1;

is(`perl '$FindBin::Bin/manual' 2>&1`, '', 'the manual has the tables of the code');

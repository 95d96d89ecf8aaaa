# What orders cost and pay, against two oracles that know nothing of the C: integers of Python, and numeric of SQL. COMMISSIONS random
# cases (1000000) go through the core, some thousands of them through the set-up functions and receive_batch() as well. SEED=N makes
# the cases of an earlier run again.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::Bin/lib";
use PostbackTest;
use PostgreSQL::Test::Utils;
use Test::More;

my $oracle = $ENV{POSTBACK_ORACLE} // die "POSTBACK_ORACLE is not set: run this with make check TESTS=tap ONLY=055_commission\n";
my $count = $ENV{COMMISSIONS} // 1_000_000;
my $seed = $ENV{SEED} // int rand 2**31;
diag "SEED=$seed makes these $count commissions again";

my $lines = PostgreSQL::Test::Utils::tempdir() . '/lines';
is(system("exec '$ENV{POSTBACK_PROGRAMS}/commission' $seed $count > '$lines'"), 0, "the core made $count cases");

# Python: every case, and that the cases meet what matters, each in its hundreds and thousands.
my $report = `python3 '$oracle/commission.py' < '$lines'`;
is($?, 0, 'integers of any size come to the same') or diag $report;
my %met = map { /^(\w+) (\d+)$/ ? ($1 => $2) : () } split /\n/, $report;
is($met{cases}, $count, 'all cases were looked at');
for my $what (
	qw(value_half value_beside_half commission_half commission_beside_half fee_half fee_beside_half value_too_large commission_too_large
	fee_too_large sum_too_large value_largest commission_largest sum_largest bracket_first bracket_before least most))
{
	cmp_ok($met{$what} // 0, '>=', $count / 1000, "the cases meet $what");
}

# SQL: the same cases.
my $t = PostbackTest->new(settings => "fsync = off\nmax_wal_size = '4GB'\njit = off");
$t->node->psql('postgres', "\\i $oracle/commission.sql", on_error_die => 1);
$t->node->psql('postgres', "\\copy oracle.line FROM '$lines'", on_error_die => 1);
unlink $lines;
is($t->sql('SELECT count(*) FROM oracle.line'), $count, 'SQL has all cases');

sub no_difference
{
	my ($name) = @_;
	my ($differences, $some) = split /\|/, $t->sql('SELECT count(*), left(json_agg(d)::text, 4000) FROM oracle.difference d'), 2;
	is($differences, 0, $name) or diag $some;
}
no_difference('numeric comes to the same');

# The way of real orders. What is too large is refused, and all the rest is priced and can be lowered, by the terms and rate of its time.
$t->node->psql('postgres', "\\i $oracle/orders.sql", on_error_die => 1);
my $wanted = $count < 3000 ? $count : 3000;
$t->sql("SELECT oracle.choose($wanted), oracle.set_up()");
my ($orders, $rates) = split /\|/, $t->sql('SELECT count(*), count(rate) FROM oracle.line');
cmp_ok($orders, '>=', $wanted / 2, "$orders orders were sent, $rates of them in another currency than the brand's");
$t->sql(q{SELECT oracle.send('')});
$t->sql('SELECT oracle.look()');
no_difference('new orders come to the same');
my $refused = $t->sql(q{SELECT count(*) FROM oracle.line WHERE sale_value = 'error'});
cmp_ok($refused, '>', 0, "$refused that are too large were refused");
is($t->sql('SELECT count(*) FROM postback.conversion'), $orders - $refused, 'and left nothing');
$t->sql('SELECT oracle.change(), oracle.lower()');
$t->sql(q{SELECT oracle.send('&status=partial')});
$t->sql('SELECT oracle.look()');
no_difference('partials come to the same by the terms and rates of their orders, which have been followed by others');
$t->audit_ok;
$t->sql(q{UPDATE postback.conversion SET status = 'approved'});
is( $t->sql(
		q{SELECT count(*) FROM postback.conversion c
		  LEFT JOIN LATERAL (SELECT sum(amount) FILTER (WHERE kind = 'commission_approved') AS commission,
		                            sum(amount) FILTER (WHERE kind = 'fee_approved') AS fee
		                     FROM postback.ledger l WHERE l.conversion_id = c.id) m ON true
		  WHERE c.status <> 'approved' OR c.commission <> coalesce(m.commission, 0) OR c.fee <> coalesce(m.fee, 0)}),
	0,
	'what is approved is what the ledger paid');
$t->audit_ok('the audit still finds no difference');
$t->finish;

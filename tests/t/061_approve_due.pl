# approve_due() has ever larger chunks while it is alone, and stays at small ones while somebody else writes. (How it is told
# from the history: each chunk is a transaction.)

use strict;
use warnings;

use FindBin;
use lib "$FindBin::Bin/lib";
use PostbackTest;
use Test::More;

my $t = PostbackTest->new(settings => 'autovacuum = off');
my %brand = $t->programme(name => 'Due', hold => '0');
my $click = $t->sql("SELECT click_id FROM postback.click('$brand{link}')");

sub make_due
{
	my ($name, $count) = @_;

	$t->sql("SELECT count(*) FROM generate_series(1, $count) n, "
		  . "LATERAL (SELECT postback.receive('$brand{token}', format('order=$name-%s&value=1000&click_id=$click', n)) OFFSET 0) r");
	return;
}

# How many each chunk approved, in their order.
sub chunks
{
	my ($name) = @_;

	return $t->sql("SELECT string_agg(n::text, ' ' ORDER BY at) FROM (SELECT count(*) AS n, h.xmin::text::bigint AS at FROM postback.history h JOIN postback.conversion c ON c.id = h.conversion_id "
		  . "WHERE h.to_status = 'approved' AND c.order_ref LIKE '$name-%' GROUP BY at) c");
}

make_due('ALONE', 1000);
$t->sql('CALL postback.approve_due(320)');
is(chunks('ALONE'), '20 40 80 160 320 320 60', 'alone: a sixteenth of the chunk, twice as many each time, the chunk at most');

make_due('CROWD', 1000);
my $writer = $t->node->background_psql('postgres');
$writer->query_until(qr/begins/, "\\echo begins\nDO \$\$ BEGIN LOOP PERFORM txid_current(); COMMIT; END LOOP; END \$\$;\n");
$t->sql('CALL postback.approve_due(320)');
$t->sql(q{SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE query LIKE 'DO %'});
my @chunks = split ' ', chunks('CROWD');
cmp_ok(scalar(@chunks), '>=', 20, 'while somebody writes: small ones') or diag("@chunks");
is(eval(join '+', @chunks), 1000, 'and all are approved');

$t->audit_ok;
$t->finish;

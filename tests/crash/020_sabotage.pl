# The crash test itself is tested. Each sabotage breaks one promise on purpose, and it must be found within 50 kills; then,
# without kills, single rows are tampered with, and each must be noticed.
#
# fsync = off is not among them: kill -9 ends processes, not the operating system, which still writes what they have given
# it. Nor would synchronous_commit = off be seen while the WAL writer is quick, so it is made slow. The daemon refuses to
# run with either; the promises are broken behind its back.

use strict;
use warnings;

use Crash;
use PostgreSQL::Test::Utils;
use Test::More;

my $seed = $ENV{SEED} || time % 1_000_000;
my $kills_at_most = 50;

# What an answer promised, and a crash took.
my $lost = qr{^(lost|click): (order \S+ was acknowledged and|receipt \w+ of an answer|click \w+ was answered and) is not there}m;

# kinds: what is killed, where that promise can be seen to be broken; expect: of what kind a violation must be.
my @sabotages = (
	{
		name => 'commits_unflushed',
		what => 'commits that are not flushed',
		kinds => 'postmaster backend',
		settings => "wal_writer_delay = 10s\nwal_writer_flush_after = 1GB\nwal_buffers = 64MB",
		# Set when the transaction ends, out of sight of what the daemon asks for when it connects.
		prepare => q{
			CREATE FUNCTION public.commit_unflushed() RETURNS trigger LANGUAGE plpgsql AS
				$$ BEGIN PERFORM set_config('synchronous_commit', 'off', true); RETURN NULL; END $$;
			CREATE CONSTRAINT TRIGGER unflushed AFTER INSERT ON postback.receipt DEFERRABLE INITIALLY DEFERRED
				FOR EACH ROW EXECUTE FUNCTION public.commit_unflushed();
		},
		expect => $lost,
	},
	{
		name => 'key_dropped',
		what => 'no unique key of orders',
		kinds => 'serve backend',
		# Many small batches at the same time, so that two of them create one order.
		serve_flags => [ '--batch', '4', '--db-connections', '8' ],
		# The extension wants an index that is called unique: one in which no two references are ever equal.
		prepare => q{
			CREATE FUNCTION public.never_equal(a text, b text) RETURNS integer LANGUAGE sql IMMUTABLE AS
				$$ SELECT CASE WHEN a COLLATE "C" < b THEN -1 ELSE 1 END $$;
			CREATE FUNCTION public.is_never(a text, b text) RETURNS boolean LANGUAGE sql IMMUTABLE AS $$ SELECT false $$;
			CREATE OPERATOR public.=== (LEFTARG = text, RIGHTARG = text, FUNCTION = public.is_never);
			CREATE OPERATOR CLASS public.never_equal_ops FOR TYPE text USING btree AS
				OPERATOR 3 public.===, FUNCTION 1 public.never_equal(text, text);
			ALTER TABLE postback.conversion DROP CONSTRAINT conversion_order_key;
			DROP INDEX postback.conversion_goal_not_given_key;
			CREATE INDEX ON postback.conversion (brand_id, order_ref, goal);
			CREATE UNIQUE INDEX ON postback.conversion (brand_id, order_ref public.never_equal_ops, goal);
		},
		expect => qr/^twice: /m,
	},
	{
		name => 'early_answer',
		what => 'answers before the commit',
		kinds => 'backend',
		# Commits that take a while, whatever the disk.
		settings => "commit_delay = 20000\ncommit_siblings = 0",
		daemon => 'postbackd-EARLY_ANSWER',
		expect => $lost,
	},
	{
		name => 'early_settle',
		what => 'deliveries that are settled before they are sent',
		kinds => 'send',
		daemon => 'postbackd-EARLY_SETTLE',
		expect => qr/^delivery: .* counts as delivered, and the publisher has not accepted it/m,
	},
);

diag "make crash SEED=$seed";
for my $sabotage (@sabotages)
{
	my $start = time;
	my $crash = Crash->new(seed => $seed, %$sabotage);
	my ($kills, $violations) = (0, '');
	while ($violations !~ $sabotage->{expect} && $kills < $kills_at_most)
	{
		$violations = join "\n", $crash->round(kills => 2);
		$kills += 2;
	}
	like($violations, $sabotage->{expect}, "$sabotage->{what}: found");
	note $violations;
	diag sprintf '%s: found after %d kills, %d seconds', $sabotage->{what}, $kills, time - $start;
	$crash->finish;
}

# What is done to the database or to the publisher's log behind everybody's back, and what must be said of it.
my @tamperings = (
	[ 'a receipt is gone',
		'DELETE FROM postback.receipt WHERE id = (SELECT id FROM postback.receipt WHERE BRAND LIMIT 1)',
		qr/^lost: receipt \w+ of an answer is not there/m ],
	[ 'clicks are gone',
		'DELETE FROM postback.click WHERE BRAND AND sub_id IS NOT NULL',
		qr/^click: click \w+ was answered and is not there/m ],
	[ 'a line of the ledger is a cent more',
		"UPDATE postback.ledger SET amount = amount + 1
		WHERE id = (SELECT id FROM postback.ledger WHERE BRAND AND kind = 'fee_held' LIMIT 1)",
		qr/^money: .*ledger/m ],
	[ 'a balance is a cent more',
		'UPDATE postback.balance SET amount = amount + 1 WHERE id = (SELECT id FROM postback.balance WHERE BRAND LIMIT 1)',
		qr/^balance: /m ],
	[ 'the audit is empty no longer', 'SELECT', qr/^audit: /m ],
	[ 'a delivery is gone',
		'DELETE FROM postback.delivery WHERE id = (SELECT id FROM postback.delivery WHERE BRAND ORDER BY id DESC LIMIT 1)',
		qr/^delivery: order \S+: delivery \d is of nothing/m ],
	# Of the publisher's log: what comes in addition, made of the line of a first delivery whose second was accepted.
	[ 'an older status came late', sub { $_[0] }, qr/^delivery: .* after it had accepted number 2/m ],
	[ 'another id came', sub { $_[0] =~ s/ \w+/ OTHER/r }, qr/^delivery: .*, but its id is /m ],
	[ 'another payout came', sub { $_[0] =~ s/payout=/payout=7/r }, qr/^delivery: .*, which is not due/m ],
	[ 'nothing came', undef, qr/^delivery: delivery \d \(\w+\) of order \S+ was never attempted/m ],
	[ 'an order is reversed that nobody wanted so',
		"UPDATE postback.conversion SET status = 'reversed'
		WHERE id = (SELECT c.id FROM postback.conversion c WHERE BRAND AND status = 'pending' AND NOT EXISTS
			(SELECT FROM postback.receipt r WHERE r.order_ref = c.order_ref
				AND concat(r.query, r.body) LIKE '%reversed%') LIMIT 1)",
		qr/^state: order \S+ is reversed/m ],
	[ 'an order is gone',
		'DELETE FROM postback.conversion WHERE id = (SELECT id FROM postback.conversion WHERE BRAND LIMIT 1)',
		qr/^lost: order \S+ was acknowledged and is not there/m ],
);

my $crash = Crash->new(name => 'tampering', seed => $seed);
is(join("\n", $crash->round(kills => 0, finish => 1)), '', 'without kills and tampering there is nothing to be found');
local $Check::SHOWN = 100_000;
for (@tamperings)
{
	my ($what, $how, $expect) = @$_;
	if (!defined $how)
	{
		truncate $crash->{receiver_log}, 0;
	}
	elsif (ref $how)
	{
		my $log = slurp_file($crash->{receiver_log});
		my ($order) = $log =~ /^200 .*&seq=2&order=(\S+)&/m;
		my ($line) = $log =~ /^(.*&seq=1&order=\Q$order\E&.*\n)/m;
		append_to_file($crash->{receiver_log}, $how->($line));
	}
	else
	{
		$crash->{t}->sql($how =~ s/BRAND/brand_id = '$crash->{brand}'/gr);
	}
	like(join("\n", $crash->check(1)), $expect, "noticed: $what");
}
$crash->finish;
done_testing();

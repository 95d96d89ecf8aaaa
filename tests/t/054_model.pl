# Sixteen sessions do random things to few orders at once; what each was answered and what each wrote is compared with a
# simple model of the specification (lib/PostbackModel.pm).
#
# Nobody knows in which order the calls took effect, so the test looks for one: per order, a sequence of all calls on it in
# which each call takes effect between its beginning and its end, as the client saw them, each gets the answer and writes the
# history, ledger lines and deliveries that the model says (by the transaction's id, which every row carries as xmin), and
# after the last one the tables have the model's conversions and parked follow-ups. If there is such a sequence for each
# order, the calls were as good as made one after another (linearizability may be checked order by order). What an order
# is priced by may be whatever was set up at some moment of the call. Jobs over many orders (approve_due, reprice, UPDATE of
# many rows) choose by themselves which they take: of them, what they wrote must be allowed. Afterwards they are run once
# more without company, and then must have taken all that they should. Last, balances are those of the model.
#
# A batch that loses the creation of an order to another one goes on with rows of other orders locked, so such batches may wait for
# each other in a circle. PostgreSQL ends that; the call that fails has written nothing (postbackd sends its items again, one by one).
#
#     POSTBACK_MODEL_SEED=N      the same programme and the same calls per session again (their timing differs)
#     POSTBACK_MODEL_ROUNDS=N    rounds of orders (6); each takes some seconds
use strict;
use warnings;

use DBD::Pg qw(:async);
use DBI;
use IO::Select;
use JSON::PP ();
use List::Util qw(max min sum0);
use Test::More;
use Time::HiRes qw(time);

use PostbackModel;
use PostbackTest;

my $seed = $ENV{POSTBACK_MODEL_SEED} // (time * 1000) % 1_000_000;
my $rounds = $ENV{POSTBACK_MODEL_ROUNDS} // 6;
my $sessions = 16;
my $calls_per_round = 30;
my $steps_at_most = 200_000;    # of the search, per order
diag "POSTBACK_MODEL_SEED=$seed POSTBACK_MODEL_ROUNDS=$rounds";

# A generator of its own for each session: the calls do not depend on whose turn it was.
sub random_of
{
	my ($state) = @_;
	return sub {
		my ($below) = @_;
		$state = ($state * 1103515245 + 12345) % 2147483648;
		return ($state >> 8) % $below;
	};
}

my $t = PostbackTest->new(settings => "track_commit_timestamp = on\ndeadlock_timeout = 200ms\n");
$t->sql('CREATE ROLE model LOGIN IN ROLE postback_operator, postback_ingest');

# ---- the programme: a brand as most are, and a prepaid one in a currency without decimals whose hold is zero

my @currencies = qw(USD GBP CHF SEK PLN KWD CZK DKK HUF NOK RON BHD TND KRW CLP);    # one more gets its rate in each round
my @brands = (
	{
		name => 'Post', arguments => q{currency => 'EUR', fee_percent => 35},
		model => { currency => 'EUR', fee_percent => 35_000_000, fee_of => 'commission', due => 0 },
		offers => { shop => { goals => ['Lead'] }, late => { goals => [] } },
		clicks => { one => [qw(shop p1)], two => [qw(shop p2)], late => [qw(late p1)], newest => [qw(shop p1)] },
	},
	{
		name => 'Pre', arguments => q{currency => 'JPY', fee_percent => 2.5, fee_of => 'value', hold => '0', prepaid => true},
		model => { currency => 'JPY', fee_percent => 2_500_000, fee_of => 'value', due => 1 },
		offers => { game => { goals => [ 'Lead', 'sale' ], default => 'sale' } },
		clicks => { one => [qw(game p1)], two => [qw(game p2)], newest => [qw(game p2)] },
	}
);
my %publisher = map { $_ => $t->sql("SELECT postback.create_publisher('$_')") } qw(p1 p2);

# Sets terms in SQL and, when the call is over, in the model.
sub terms_sql
{
	my ($brand, $offer, $publisher, $goal, $percent, $fixed, $min, $max, @brackets) = @_;
	my $pairs = join ',', map { sprintf '{"from":%d,"percent":%.6f}', $brackets[ 2 * $_ ], $brackets[ 2 * $_ + 1 ] / 1e6 } 0 .. @brackets / 2 - 1;
	return sprintf q{SELECT postback.set_terms(offer => '%s', percent => %.6f, fixed => %d, min => %d, max => %d%s%s%s)},
	  $brand->{offer_ids}{$offer}, $percent / 1e6, $fixed, $min, $max,
	  $publisher ? ", publisher => '$publisher{$publisher}'" : '', $goal ? ", goal => '$goal'::text" : '',
	  @brackets ? ", brackets => '[$pairs]'" : '';
}

sub set_terms
{
	my ($brand, @terms) = @_;
	$t->sql(terms_sql($brand, @terms));
	my ($offer, $publisher, $goal, @rule) = @terms;
	return $brand->{model}->setup_next(terms => "$offer/$publisher/$goal", \@rule);
}

for my $brand (@brands)
{
	$brand->{id} = $t->sql("SELECT postback.create_brand('$brand->{name}', $brand->{arguments})");
	$brand->{token} = $t->sql("SELECT token FROM postback.issue_token('$brand->{id}')");
	for my $offer (sort keys %{ $brand->{offers} })
	{
		my $id = $brand->{offer_ids}{$offer} =
		  $t->sql("SELECT postback.create_offer('$brand->{id}', '$offer', 'https://shop.example/')");
		for my $goal (@{ $brand->{offers}{$offer}{goals} })
		{
			my $default = $goal eq ($brand->{offers}{$offer}{default} // '') ? 'true' : 'false';
			$t->sql("SELECT postback.create_goal('$id', '$goal', is_default => $default)");
		}
	}
	# Without money a prepaid brand takes no clicks.
	if ($brand->{name} eq 'Pre')
	{
		$t->sql("SELECT postback.top_up('$brand->{id}', 100)");
		$brand->{topped_up} = 100;
	}
	for my $click ((grep { $_ ne 'newest' } sort keys %{ $brand->{clicks} }), 'newest')
	{
		my ($offer, $publisher) = @{ $brand->{clicks}{$click} };
		$brand->{click_ids}{$click} = $t->sql("SELECT click_id FROM postback.click("
			  . "(SELECT code FROM postback.create_link('$brand->{offer_ids}{$offer}', '$publisher{$publisher}')))");
		$brand->{clicks}{$click} = { offer => $offer, publisher => $publisher };
	}
	$t->sql("SELECT postback.create_callback('all', 'https://publisher.example/', brand => '$brand->{id}', statuses => '{any}')");
	$brand->{model} = PostbackModel->new(%{ $brand->{model} }, newest_click => 'newest', offers => $brand->{offers},
		clicks => $brand->{clicks});
	$brand->{topped_up} //= 0;
	$brand->{paid} = {};
}
set_terms($brands[0], 'shop', '', '', 7_654_321, 0, 0, 10**9);
set_terms($brands[0], 'shop', '', 'Lead', 0, 250, 0, 10**9);
set_terms($brands[1], 'game', 'p1', '', 12_500_000, 3, 5, 400);
set_terms($brands[1], 'game', '', '', 10_000_000, 0, 0, 10**9, 1000, 8_000_000, 1800, 6_250_000);

# ---- what a session does next

# An order of the round, of one of the brands; those of tests are the first one's. All calls on it name a goal, or none does:
# a follow-up without a goal means the only conversion, as far as it is committed, so it can miss one that is being created.
sub some_order
{
	my ($random, $round) = @_;
	my $n = $random->(6);
	my $brand = $brands[ $n >= 4 ? 1 : 0 ];
	return {
		brand => $brand, ref => $n == 3 ? "TEST-$round" : "$brand->{name}-$round-$n", test => $n == 3, round => $round,
		named => ($n + $round) % 2
	};
}

sub some { my ($random, @list) = @_; return $list[ $random->(scalar @list) ] }

sub some_item
{
	my ($random, $order) = @_;
	my %item = (test => $order->{test}, status => some($random, ('new') x 7, ('approved') x 4, ('reversed') x 3, ('partial') x 4));
	my @values = (400, 500, 999, 1000, 1000, 1500, 2000);
	$item{value} = some($random, @values) if $item{status} eq 'partial' || $random->(10) < ($item{status} eq 'new' ? 9 : 3);
	delete $item{value} if $item{status} eq 'partial' && $random->(20) == 0;
	$item{goal} = some($random, 'lead', 'LEAD', 'sale', 'other') if $order->{named};
	$item{currency} = some($random, $order->{brand}{model}{currency}, $currencies[ $order->{round} % @currencies ]) if $random->(10) < 3;
	$item{click} = some($random, grep({ $_ ne 'newest' } sort keys %{ $order->{brand}{clicks} }), 'none!') if $random->(10) < 7;
	# Where the offer has a default goal: two that name none, and have different clicks, are not sure to be seen as the same.
	$item{click} = 'one' if $order->{brand}{name} eq 'Pre' && !defined $item{goal} && ($item{click} // '') eq 'none!';
	$item{event} = some($random, 'install', 'Install', 'cart') if $random->(25) == 0;
	return \%item;
}

sub query_of
{
	my ($order, $item) = @_;
	my $click = $item->{click};
	return PostbackTest::query(
		order => $order->{ref}, $item->{status} eq 'new' ? () : (status => $item->{status}),
		map({ defined $item->{$_} ? ($_ => $item->{$_}) : () } qw(value goal currency event)),
		defined $click ? (click_id => $order->{brand}{click_ids}{$click} // $click) : ());
}

sub receive_sql
{
	my ($order, $item) = @_;
	return "SELECT pg_catalog.to_json(r), pg_catalog.pg_current_xact_id()::text FROM postback.receive('$order->{brand}{token}', '"
	  . query_of($order, $item) . "') r";
}

sub some_call
{
	my ($random, $round) = @_;
	my $order = some_order($random, $round);
	my $where = "c.brand_id = '$order->{brand}{id}' AND c.order_ref = '$order->{ref}'";
	my $kind = $random->(100);
	if ($kind < 62)
	{
		my $item = some_item($random, $order);
		return { sql => receive_sql($order, $item), parts => [ { order => $order, items => [$item] } ] };
	}
	if ($kind < 66)    # comes to nothing
	{
		return { sql => 'BEGIN; ' . receive_sql($order, some_item($random, $order)) . '; ROLLBACK', parts => [] };
	}
	if ($kind < 74)
	{
		my @orders = map { some_order($random, $round) } 1 .. 2 + $random->(4);
		my @items = map { some_item($random, $_) } @orders;
		my $sql = sprintf q{SELECT pg_catalog.json_agg(r ORDER BY r.item), pg_catalog.pg_current_xact_id()::text FROM postback.receive_batch(}
		  . q{ARRAY[%s]::int[], ARRAY[%s], ARRAY[%s], ARRAY[%s], NULL, NULL, NULL) r},
		  join(',', 0 .. $#items), join(',', map { "'$_->{brand}{token}'" } @orders), join(',', map { q{'GET'} } @items),
		  join(',', map { "'" . query_of($orders[$_], $items[$_]) . "'" } 0 .. $#items);
		my %parts;
		for my $i (0 .. $#items)
		{
			my $part = $parts{ $orders[$i]{ref} } //= { order => $orders[$i], items => [], places => [] };
			push @{ $part->{items} }, $items[$i];
			push @{ $part->{places} }, $i;
		}
		return { sql => $sql, parts => [ map { $parts{$_} } sort keys %parts ] };
	}
	my $goal = $order->{named} ? some($random, 'Lead', 'sale', 'other') : $order->{brand}{offers}{game} ? 'sale' : '';
	if ($kind < 89)
	{
		my $action = some($random, qw(approve reverse reverse reopen reopen adjust attribute));
		my $value = some($random, 400, 1000, 3000);
		my $click = some($random, 'one', 'two');
		my $more = $action eq 'adjust' ? ", $value" : $action eq 'attribute' ? ", '$order->{brand}{click_ids}{$click}'" : '';
		return {
			sql => "SELECT pg_catalog.to_json(r), pg_catalog.pg_current_xact_id()::text FROM postback.conversion c "
			  . "CROSS JOIN LATERAL postback.$action(c.id$more) r WHERE $where AND c.goal = '$goal'",
			parts => [ { order => $order, action => $action, goal => $goal, value => $value, click => $click } ]
		};
	}
	if ($kind < 97)
	{
		my $column = some($random, qw(status status value hold_until));
		my $value = $column eq 'status' ? some($random, qw(approved reversed reversed pending))
		  : $column eq 'value' ? some($random, 400, 999, 1500) : 'now()';
		my $literal = $column eq 'hold_until' ? $value : "'$value'";
		return {
			sql => "WITH u AS (UPDATE postback.conversion c SET $column = $literal WHERE $where AND c.goal = '$goal' RETURNING 1) "
			  . "SELECT pg_catalog.to_json(pg_catalog.count(*) || ' rows'), pg_catalog.pg_current_xact_id()::text FROM u",
			parts => [ { order => $order, column => $column, goal => $goal, value => $value } ]
		};
	}
	# In the order of their keys, as everything else locks them.
	return {
		sql => "WITH u AS (UPDATE postback.conversion c SET status = 'approved' WHERE c.status = 'pending' AND c.id IN ("
		  . "SELECT id FROM postback.conversion c WHERE c.brand_id = '$order->{brand}{id}' AND c.order_ref LIKE '%-$round-%' "
		  . 'AND c.status = \'pending\' AND c.commission IS NOT NULL ORDER BY c.order_ref, c.goal FOR NO KEY UPDATE) RETURNING 1) '
		  . "SELECT pg_catalog.to_json(pg_catalog.count(*) || ' rows'), pg_catalog.pg_current_xact_id()::text FROM u",
		parts => [], job => 'sql'
	};
}

# What the one who runs the programme does besides: one session does all of it, so its order is known.
my %with_terms;
sub operator_call
{
	my ($random, $round) = @_;
	my $kind = $random->(8);
	my $brand = some($random, @brands);
	my $done = sub { };
	my $sql;
	if ($kind < 2)
	{
		my $percent = 1_000_000 * $random->(12) + some($random, 0, 500_000, 123_457);
		my ($offer, $publisher, $goal) = @{ some($random, [ shop => '', '' ], [ shop => 'p2', '' ], [ shop => '', 'Lead' ],
			[ shop => 'p2', 'Lead' ], $round > 1 ? [ late => '', '' ] : [ shop => '', '' ]) };
		$sql = terms_sql($brands[0], $offer, $publisher, $goal, my @rule = ($percent, $random->(3) * 10, 0, 10**9));
		$done = sub { $brands[0]{model}->setup_next(terms => "$offer/$publisher/$goal", \@rule) };
	}
	elsif ($kind < 4)
	{
		my $currency = $currencies[ $round % @currencies ];
		my $mantissa = 5_000 + $random->(20_000);
		my $quote = $brand->{model}{currency};
		$sql = sprintf q{SELECT postback.set_fx_rate('%s', '%s', %.4f)}, $currency, $quote, $mantissa / 1e4;
		$done = sub { $brand->{model}->setup_next(rates => $currency, [ $mantissa, 4 ]) };
	}
	elsif ($kind == 4)
	{
		my $amount = 50 + $random->(200);
		$sql = "SELECT postback.top_up('$brand->{id}', $amount)";
		$done = sub { $brand->{topped_up} += $amount };
	}
	elsif ($kind == 5)
	{
		my $amount = 1 + $random->(50);
		my $publisher = some($random, sort keys %publisher);
		$sql = "SELECT postback.book_payout('$brand->{id}', '$publisher{$publisher}', $amount)";
		$done = sub { $brand->{paid}{$publisher} += $amount };
	}
	else
	{
		$sql = $kind == 6 ? 'SELECT postback.fold_balances()' : 'SELECT postback.reprice_unpriced()';
	}
	$sql =~ s/^SELECT (.*)$/SELECT pg_catalog.to_json('done'::text), pg_catalog.pg_current_xact_id()::text, $1/s;
	return { sql => $sql, parts => [], job => 'reprice', done => $done };
}

sub cron_call { my ($random) = @_; return { sql => 'CALL postback.approve_due(' . (1 + $random->(5)) . ')', parts => [], job => 'cron' } }

# ---- the sessions

my $json = JSON::PP->new->utf8(0);
my @made;       # all calls, with start, end, xid and the answer
my @session;
my @setup_times = map { [ [ 0, 0 ] ] } @brands;

sub connection
{
	my $node = $t->node;
	return DBI->connect(sprintf('dbi:Pg:host=%s;port=%s;dbname=postgres', $node->host, $node->port),
		'model', undef, { AutoCommit => 1, RaiseError => 0, PrintError => 0, pg_server_prepare => 0, pg_enable_utf8 => -1 })
	  // die $DBI::errstr;
}

sub start_call
{
	my ($session) = @_;
	my ($random, $round) = ($session->{random}, int($session->{made} / $calls_per_round));
	my $call =
	    $session->{number} == 0 && $random->(3) == 0 ? operator_call($random, $round)
	  : $session->{number} == 1 && $random->(4) == 0 ? cron_call($random)
	  : some_call($random, $round);
	$session->{made}++;
	$session->{call} = $call;
	$call->{session} = $session->{number};
	$call->{start} = time;
	$call->{handle} = $session->{handle}->prepare($call->{sql}, { pg_async => PG_ASYNC, pg_direct => 1 });
	$call->{handle}->execute // die "$call->{sql}: " . $session->{handle}->errstr;
	return;
}

sub end_call
{
	my ($session) = @_;
	my $call = $session->{call};
	my $handle = delete $call->{handle};
	my $result = $session->{handle}->pg_result;
	$call->{end} = time;
	if (!$result)
	{
		$call->{error} = $session->{handle}->state;
		$call->{message} = $session->{handle}->errstr;
		$session->{handle}->do('ROLLBACK') if $call->{sql} =~ /^BEGIN/;
		my %circle = map { $_ => 1 } $call->{message} =~ /Process (\d+)/g;
		$call->{fell_back} = $call->{error} eq '40P01' && grep { $circle{ $_->{handle}{pg_pid} } && $_->{call} && @{ $_->{call}{parts} } > 1 } @session;
	}
	elsif ($call->{sql} =~ /^(SELECT|WITH)/ && (my $row = $handle->fetchrow_arrayref))
	{
		$call->{answer} = JSON::PP->new->utf8(0)->allow_nonref->decode($row->[0]);
		$call->{xid} = $row->[1];
	}
	$handle->finish;
	if ($call->{done} && !$call->{error})
	{
		my @before = map { scalar @{ $_->{model}{setups} } } @brands;
		$call->{done}->();
		for my $i (0 .. $#brands)
		{
			push @{ $setup_times[$i] }, [ $call->{start}, $call->{end} ] if @{ $brands[$i]{model}{setups} } > $before[$i];
		}
	}
	push @made, $call;
	delete $session->{call};
	return;
}

# The first setups were there before.
for my $i (0 .. $#brands)
{
	push @{ $setup_times[$i] }, [ 0, 0 ] while @{ $setup_times[$i] } < @{ $brands[$i]{model}{setups} };
}

@session = map { { number => $_, handle => connection(), random => random_of($seed * 31 + $_ * 7919), made => 0 } } 0 .. $sessions - 1;
my $select = IO::Select->new(map { $_->{handle}{pg_socket} } @session);
my $began = time;
while (1)
{
	start_call($_) for grep { !$_->{call} && $_->{made} < $rounds * $calls_per_round } @session;
	my @busy = grep { $_->{call} } @session or last;
	$select->can_read(1);
	end_call($_) for grep { $_->{handle}->pg_ready } @busy;
	for (grep { $_->{call} && time - $_->{call}{start} > 180 } @busy)
	{
		die "a call has not come back for three minutes: $_->{call}{sql}\n";
	}
}
note sprintf '%d calls in %.1f s', scalar @made, time - $began;

# Without company, the jobs take all that they should.
my $end = 9e12;
for my $job ([ reprice => 'SELECT pg_catalog.to_json(postback.reprice_unpriced()), pg_catalog.pg_current_xact_id()::text' ],
	[ cron => 'CALL postback.approve_due()' ])
{
	my $call = { sql => $job->[1], job => $job->[0], parts => [], start => time };
	my $row = $session[0]{handle}->selectrow_arrayref($job->[1]) if $job->[0] eq 'reprice';
	$session[0]{handle}->do($job->[1]) if $job->[0] eq 'cron';
	@$call{qw(end xid)} = (time, $row ? $row->[1] : undef);
	push @made, $call;
}
$_->{handle}->disconnect for @session;

# ---- what they wrote, by transaction and order

my (%written, %committed);
my $of_transaction = 'extract(epoch FROM pg_catalog.pg_xact_commit_timestamp(%s.xmin))::float8 AS at, %s.xmin::text AS xid';
sub writings
{
	my ($what, $query) = @_;
	for my $row ($t->rows($query))
	{
		push @{ $written{ $row->{xid} }{ $row->{order_ref} }{$what} }, join ' ', map { $_ // '-' } @{ $row->{line} };
		$written{ $row->{xid} }{ $row->{order_ref} }{actor} = $row->{line}[-1] if $what eq 'history';
		$committed{ $row->{xid} } = $row->{at};
	}
	return;
}
my $times = sub { sprintf $of_transaction, $_[0], $_[0] };
writings(history => 'SELECT ' . $times->('h') . q{, c.order_ref, json_build_array(c.goal, h.from_status, h.to_status, h.from_value, h.to_value,
	h.from_commission, h.to_commission, h.from_fee, h.to_fee, h.actor) AS line
	FROM postback.history h JOIN postback.conversion c ON c.id = h.conversion_id ORDER BY h.id});
writings(ledger => 'SELECT ' . $times->('l') . q{, c.order_ref, json_build_array(c.goal, l.kind, l.amount) AS line
	FROM postback.ledger l JOIN postback.conversion c ON c.id = l.conversion_id});
writings(deliveries => 'SELECT ' . $times->('d') . q{, c.order_ref, json_build_array(c.goal, d.seq, d.status) AS line
	FROM postback.delivery d JOIN postback.conversion c ON c.id = d.conversion_id ORDER BY d.id});
$committed{ $_->{xid} } = $_->{at} for $t->rows('SELECT DISTINCT ' . $times->('r') . ' FROM postback.receipt r');

# ---- calls by order, each with what was seen of it

my %calls_of;
sub seen_reply
{
	my ($reply) = @_;
	return 'absent' unless defined $reply;
	return $reply unless ref $reply;
	return $reply->{code} if !$reply->{ok};
	return $reply->{result} if defined $reply->{event_id};
	return join ' ', map { $_ // '-' } $reply->{result}, @$reply{qw(conversion_id goal status value currency commission fee attribution)},
	  map({ $_ ? 1 : 0 } @$reply{qw(test created)}), defined $reply->{applied} ? "@{ $reply->{applied} }" : '-', $reply->{warning};
}

sub add_part
{
	my ($call, $part, $brand, $xid, $ref, @replies) = @_;
	my $rows = defined $xid ? delete($written{$xid}{$ref}) // {} : {};
	$part->{brand} = $brand;
	@$part{qw(start end sql session)} = @$call{qw(start end sql session)};
	$part->{hint} = (defined $xid ? $committed{$xid} : undef) // $call->{end};
	$part->{actor} = $rows->{actor} if $part->{job};
	$part->{seen} = {
		replies => [ map { seen_reply($_) } @replies ], ids => [ map { ref $_ ? $_->{conversion_id} : undef } @replies ],
		history => $rows->{history} // [], ledger => [ sort @{ $rows->{ledger} // [] } ], deliveries => $rows->{deliveries} // []
	};
	push @{ $calls_of{$ref} }, $part;
	return;
}

my %brand_of = map { $_->{name} => $_ } @brands;
sub brand_of_ref { my ($ref) = @_; return $ref =~ /^TEST/ ? $brands[0] : $brand_of{ $ref =~ s/-.*//r } }

my @errors;
for my $call (@made)
{
	my $refused = $call->{error} && ($call->{parts}[0] // {})->{column} && $call->{error} =~ /^(55000|23514)$/;
	push @errors, "$call->{error} $call->{message}: $call->{sql}" if $call->{error} && !$refused && !$call->{fell_back};
	next if $call->{error} && !$refused;
	my @answers = $refused ? $call->{error} : ref $call->{answer} eq 'ARRAY' ? @{ $call->{answer} } : $call->{answer};
	for my $part (@{ $call->{parts} })
	{
		my @places = $part->{places} ? @{ $part->{places} } : 0;
		add_part($call, $part, $part->{order}{brand}, $call->{xid}, $part->{order}{ref}, @answers[@places]);
	}
}
is(join("\n", @errors), '', 'nothing failed: no error, no deadlock of calls for one order');
note sprintf '%d calls were in a circle with a batch', scalar grep { $_->{fell_back} } @made;
for my $call (grep { $_->{job} } @made)
{
	# approve_due works in several transactions, known by their time; nobody else does its kind of change.
	my @xids = $call->{job} ne 'cron' ? $call->{xid} // ()
	  : grep { $committed{$_} >= $call->{start} && $committed{$_} <= $call->{end} && grep { ($_->{actor} // '') eq 'cron' } values %{ $written{$_} } }
	  keys %written;
	for my $xid (@xids)
	{
		add_part($call, { job => $call->{job} }, brand_of_ref($_), $xid, $_, 'done') for sort keys %{ $written{$xid} };
	}
}
is(join(', ', map { my $xid = $_; map { "$xid $_" } keys %{ $written{$xid} } } sort keys %written), '', 'everything written is of some call');

# ---- the tables in the end are the last call of each order

my %rows_of;
push @{ $rows_of{ $_->{order_ref} } }, join ' ', 'row', map { $_ // '-' } @{ $_->{line} }
  for $t->rows(q{SELECT c.order_ref, json_build_array(c.id, c.goal, c.status, c.value, c.currency, c.commission, c.fee, c.attribution,
	c.test::int, c.goal_given::int, (c.hold_until < now() + interval '1 day')::int, NULL) AS line
	FROM postback.conversion c ORDER BY c.order_ref, lower(c.goal) COLLATE "C"});
push @{ $rows_of{ $_->{order_ref} } }, join ' ', 'parked', map { $_ // '-' } @{ $_->{line} }
  for $t->rows(q{SELECT p.order_ref, json_build_array(p.status, p.goal, p.value, p.currency, (p.expires_at = 'infinity')::int) AS line
	FROM postback.parked p ORDER BY p.id});
for my $ref (keys %calls_of)
{
	push @{ $calls_of{$ref} },
	  { brand => brand_of_ref($ref), start => $end, end => $end, hint => $end, sql => 'the end', seen => { replies => $rows_of{$ref} // [] } };
}

# ---- the search

# The setups that a call may have worked by, as pairs of those for terms and for rates, which are read one after the other.
sub setups_of
{
	my ($brand_number, $call) = @_;
	my $times = $setup_times[$brand_number];
	my @possible = grep { $times->[$_][0] <= $call->{end} && ($_ == $#$times || $times->[ $_ + 1 ][1] >= $call->{start}) } 0 .. $#$times;
	return map { my $terms = $_; map { { terms => $terms, rates => $_ } } grep { $_ >= $terms } @possible } @possible;
}

# The states after the call that its answer allows.
sub next_states
{
	my ($brand_number, $state, $call) = @_;
	my (%states, $difference);
	for my $at (@{ $call->{setups} //= [ setups_of($brand_number, $call) ] })
	{
		my ($next, $out) = $brands[$brand_number]{model}->apply($state, $call, $at);
		my $differs = PostbackModel::differs($out, $call->{seen});
		$difference = $differs // $difference;
		$states{ PostbackModel::text($next) } = $next unless defined $differs;
	}
	return ([ map { $states{$_} } sort keys %states ], $difference);
}

# A sequence that explains all calls; returns the last state, or undef and the story of the longest one that was found.
sub serialise
{
	my ($brand_number, @calls) = @_;
	@calls = sort { $a->{start} <=> $b->{start} } @calls;
	my %known;
	my $longest = { depth => -1 };
	my @stack = [ PostbackModel::empty(), '', 0, [] ];    # state, calls made beyond the first, the first that is not, sequence
	my $steps = 0;
	while (my $node = pop @stack)
	{
		my ($state, $beyond, $first, $sequence) = @$node;
		my %made = map { $_ => 1 } split /,/, $beyond;
		delete $made{ $first++ } while $made{$first};
		return $state if $first > $#calls;
		$beyond = join ',', sort { $a <=> $b } keys %made;
		next if $known{"$first $beyond " . PostbackModel::text($state)}++;
		return (undef, { %$longest, gave_up => 1 }) if ++$steps > $steps_at_most;

		# Whoever began after another had ended comes after it.
		my $limit = $end + 1;
		my @open;
		for my $i ($first .. $#calls)
		{
			last if $calls[$i]{start} > $limit;
			next if $made{$i};
			$limit = min($limit, $calls[$i]{end});
			push @open, $i;
		}
		my @differences;
		my @next;
		for my $i (sort { $calls[$a]{hint} <=> $calls[$b]{hint} } grep { $calls[$_]{start} <= $limit } @open)
		{
			my ($states, $difference) = next_states($brand_number, $state, $calls[$i]);
			push @differences, [ $calls[$i], $difference ] if !@$states;
			push @next, map { [ $_, join(',', keys %made, $i), $first, [ @$sequence, $i ] ] } @$states;
		}
		my $depth = @$sequence;
		$longest = { depth => $depth, state => $state, sequence => [ map { $calls[$_] } @$sequence ], differences => \@differences }
		  if $depth > $longest->{depth};
		push @stack, reverse @next;
	}
	return (undef, $longest);
}

sub call_text
{
	my ($call) = @_;
	return join ' ', map({ sprintf '%.6f', $_ - $began } @$call{qw(start end)}), $call->{session} // '-', ($call->{sql} =~ s/\s+/ /gr) =~ s/^SELECT pg_catalog.*? FROM //r;
}

my (%final, @unexplained);
for my $ref (sort keys %calls_of)
{
	my $brand = brand_of_ref($ref);
	my ($number) = grep { $brands[$_] == $brand } 0 .. $#brands;
	my ($state, $story) = serialise($number, @{ $calls_of{$ref} });
	$final{$ref} = $state;
	next if $state;
	push @unexplained, $ref;
	diag sprintf "order %s: %d of %d calls are explained%s, by", $ref, $story->{depth}, scalar @{ $calls_of{$ref} }, $story->{gave_up} ? ' (gave up)' : '';
	diag join "\n", map { "  " . call_text($_) . "\n    " . join ' | ', @{ $_->{seen}{replies} } } @{ $story->{sequence} }[ max(0, $story->{depth} - 12) .. $story->{depth} - 1 ];
	diag "then the order is\n" . PostbackModel::text($story->{state}) =~ s/^/    /mgr;
	diag "and none of these can be next:";
	diag join "\n", map { "  " . call_text($_->[0]) . "\n  " . $_->[1] } @{ $story->{differences} };
}
my $explained = keys(%calls_of) - @unexplained;
is(join(', ', @unexplained), '', sprintf '%d calls on %d orders are as good as made one after another', scalar @made, scalar keys %calls_of);

# ---- money

my %actual = map { join(' ', @$_{qw(brand_id account publisher_id)}) => $_->{amount} }
  $t->rows(q{SELECT brand_id, account, coalesce(publisher_id::text, '') AS publisher_id, amount FROM postback.balances WHERE amount <> 0});
my %expected;
for my $brand (@brands)
{
	my %sum = (available => $brand->{topped_up}, topup => - $brand->{topped_up}, payout => sum0(values %{ $brand->{paid} }));
	$sum{"payable $publisher{$_}"} -= $brand->{paid}{$_} for keys %{ $brand->{paid} };
	for my $c (map { values %{ $final{$_}{conversions} } } grep { $final{$_} && brand_of_ref($_) == $brand } keys %final)
	{
		next if $c->{test} || $c->{status} eq 'reversed' || !defined $c->{commission};
		my ($commission, $fee) = @$c{qw(commission fee)};
		$sum{available} -= $commission + $fee;
		$sum{held} += $commission + $fee if $c->{status} eq 'pending';
		$sum{fees} += $fee if $c->{status} eq 'approved';
		$sum{"payable $publisher{ $c->{publisher} }"} += $commission if $c->{status} eq 'approved' && $commission;
	}
	$expected{"$brand->{id} $_" . ($_ =~ / / ? '' : ' ')} = $sum{$_} for grep { $sum{$_} } keys %sum;
	is($t->sql("SELECT exhausted FROM postback.brand WHERE id = '$brand->{id}'"),
		$brand->{name} eq 'Pre' && $sum{available} <= 0 ? 't' : 'f', "$brand->{name}: paused as its balance says");
}
is_deeply(\%actual, \%expected, 'balances are those of the model');
$t->audit_ok;
is($t->sql(q{SELECT count(*) FROM (SELECT (h.from_status, h.from_value, h.from_commission, h.from_fee) IS DISTINCT FROM
	lag((h.to_status, h.to_value, h.to_commission, h.to_fee)) OVER (PARTITION BY h.conversion_id ORDER BY h.id) AS gap, h.from_status
	FROM postback.history h) h WHERE gap AND from_status IS NOT NULL}), 0, 'each change in history goes on where the one before ended');
is($t->sql(q{SELECT count(*) FROM postback.conversion WHERE status = 'pending' AND commission IS NOT NULL AND hold_until <= now()}), 0,
	'approve_due leaves nothing that is due');
is($t->sql('SELECT count(*) FROM postback.receipt'), sum0(map { scalar @{ $_->{items} // [] } } map { @{ $_->{parts} } } grep { !$_->{error} } @made),
	'each postback has left its receipt');

$t->finish;

# The life of a conversion: one table of what every word does in every state, for real and for test orders, driven through each
# door: HTTP, receive() in SQL, receive_batch() with all of it in one batch. And what psql and staff may do in every state.
#
# 10 % commission, and a fee of 35 % of it: 10.00 EUR pay 1.00 and cost 0.35, 4.00 EUR pay 0.40 and cost 0.14.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::Bin/lib";
use JSON::PP ();
use PostbackTest;
use Test::More;

# How an order comes into a state; what is sent with a value carries the click too.
my %way_to = (
	none => [],
	pending => ['value=1000'],
	approved => [ 'value=1000', 'status=approved' ],
	reversed => [ 'value=1000', 'status=reversed' ],
	unpriced => ['value=1000&currency=PYG'],               # no rate from PYG
	unattributed => ['value=1000&click_id=clk_nonsense'],
	'approved parked' => ['status=approved'],
	'reversed parked' => ['status=reversed'],
	'partial parked' => ['status=partial&value=400'],
	'partial and approved parked' => [ 'status=partial&value=400', 'status=approved' ],
	'approved and reversed parked' => [ 'status=approved', 'status=reversed' ],
	'too high a partial parked' => ['status=partial&value=2000'],
);

# What a change of state comes with: transfers, line of the history, and what which callbacks are told: those for any status (any,
# adjust, tests), those for changes of the payout too (adjust). Outside reversed is called rejected.
my %effect = (
	created => { ledger => 'commission_held 100, fee_held 35', history => 'new to pending 1000 100 35', callbacks => 'any adjust tests pending' },
	approved => { ledger => 'commission_approved 100, fee_approved 35', history => 'pending to approved 1000 100 35', callbacks => 'any adjust tests approved' },
	reversed => { ledger => 'commission_released 100, fee_released 35', history => 'pending to reversed 1000 100 35', callbacks => 'any adjust tests rejected' },
	clawed_back => { ledger => 'commission_clawback 100, fee_clawback 35', history => 'approved to reversed 1000 100 35', callbacks => 'any adjust tests rejected' },
	reopened => { ledger => 'commission_held 100, fee_held 35', history => 'reversed to pending 1000 100 35', callbacks => 'any adjust tests pending' },
	reopened_at_400 => { history => 'reversed to pending 400 40 14', callbacks => 'any adjust tests pending' },
	reopened_at_2000 => { history => 'reversed to pending 2000 200 70', callbacks => 'any adjust tests pending' },
	lowered => { ledger => 'commission_released 60, fee_released 21', history => 'pending to pending 400 40 14', callbacks => 'adjust pending' },
	to_0 => { ledger => 'commission_released 100, fee_released 35', history => 'pending to pending 0 0 0', callbacks => 'adjust pending' },
	raised => { ledger => 'commission_held 100, fee_held 35', history => 'pending to pending 2000 200 70', callbacks => 'adjust pending' },
	approved_400 => { ledger => 'commission_approved 40, fee_approved 14', history => 'pending to approved 400 40 14', callbacks => 'any adjust tests approved' },
	# without a price, and without a publisher
	created_unpriced => { history => 'new to pending 1000', callbacks => 'any adjust tests pending' },
	reversed_unpriced => { history => 'pending to reversed 1000', callbacks => 'any adjust tests rejected' },
	lowered_unpriced => { history => 'pending to pending 400' },
	created_for_none => { history => 'new to pending 1000 0 0' },
	approved_for_none => { history => 'pending to approved 1000 0 0' },
	reversed_for_none => { history => 'pending to reversed 1000 0 0' },
	lowered_for_none => { history => 'pending to pending 400 0 0' },
);

my %effects_of = (
	pending => 'created', approved => 'created approved', reversed => 'created reversed',
	unpriced => 'created_unpriced', unattributed => 'created_for_none',
);

# The state, what is sent; the answer: HTTP status, result or code, parameter, warning, created, what was applied; the order then: status,
# value, commission, fee, how many follow-ups wait; what effects the call had. Test orders: the same where nothing else is said, but no
# transfer, and only callbacks that include them are told.
my @cells = (
	# none
	[ 'none', 'value=1000', '200 created', 'pending 1000 100 35', 'created' ],
	[ 'none', 'status=new&value=1000', '200 created', 'pending 1000 100 35', 'created' ],
	[ 'none', 'status=new', '400 missing_parameter value', 'none' ],
	[ 'none', 'status=approved&value=1000', '200 approved created', 'approved 1000 100 35', 'created approved' ],
	[ 'none', 'status=approved', '404 unknown_order order', 'none, 1 parked' ],
	[ 'none', 'status=reversed', '404 unknown_order order', 'none, 1 parked' ],
	[ 'none', 'status=reversed&value=1000', '404 unknown_order order', 'none, 1 parked' ],
	[ 'none', 'status=partial&value=400', '404 unknown_order order', 'none, 1 parked' ],
	[ 'none', 'status=partial', '400 missing_parameter value', 'none' ],
	[ 'none', 'value=1000&currency=PYG', '200 created unpriced', 'pending 1000', 'created_unpriced' ],
	[ 'none', 'status=approved&value=1000&currency=PYG', '200 created unpriced', 'pending 1000, 1 parked', 'created_unpriced' ],
	[ 'none', 'value=1000&click_id=clk_nonsense', '200 created bad_click_id', 'pending 1000 0 0', 'created_for_none' ],
	[ 'none', 'status=approved&value=1000&click_id=clk_nonsense', '200 approved bad_click_id created', 'approved 1000 0 0',
		'created_for_none approved_for_none' ],

	# pending
	[ 'pending', 'value=1000', '200 duplicate', 'pending 1000 100 35' ],
	[ 'pending', 'value=400', '200 duplicate value_differs', 'pending 1000 100 35' ],
	[ 'pending', 'value=2000', '200 duplicate value_differs', 'pending 1000 100 35' ],
	[ 'pending', 'value=1000&currency=USD', '200 duplicate value_differs', 'pending 1000 100 35' ],
	[ 'pending', 'status=new', '200 duplicate', 'pending 1000 100 35' ],
	[ 'pending', 'status=approved', '200 approved', 'approved 1000 100 35', 'approved' ],
	[ 'pending', 'status=approved&value=1000', '200 approved', 'approved 1000 100 35', 'approved' ],
	[ 'pending', 'status=approved&value=999', '422 value_mismatch value', 'pending 1000 100 35' ],
	[ 'pending', 'status=approved&value=1001', '422 value_mismatch value', 'pending 1000 100 35' ],
	[ 'pending', 'status=approved&currency=USD', '422 currency_mismatch currency', 'pending 1000 100 35' ],
	[ 'pending', 'status=reversed', '200 reversed', 'reversed 1000 100 35', 'reversed' ],
	[ 'pending', 'status=reversed&value=1000', '200 reversed', 'reversed 1000 100 35', 'reversed' ],
	[ 'pending', 'status=reversed&value=400', '200 reversed', 'reversed 1000 100 35', 'reversed' ],
	[ 'pending', 'status=partial&value=400', '200 adjusted', 'pending 400 40 14', 'lowered' ],
	[ 'pending', 'status=partial&value=0', '200 adjusted', 'pending 0 0 0', 'to_0' ],
	[ 'pending', 'status=partial&value=1000', '200 duplicate', 'pending 1000 100 35' ],
	[ 'pending', 'status=partial&value=1001', '422 value_above_current value', 'pending 1000 100 35' ],
	[ 'pending', 'status=partial&value=1000&currency=USD', '422 currency_mismatch currency', 'pending 1000 100 35' ],
	[ 'pending', 'status=partial&value=400&currency=USD', '422 currency_mismatch currency', 'pending 1000 100 35' ],
	[ 'pending', 'status=partial', '400 missing_parameter value', 'pending 1000 100 35' ],

	# approved
	[ 'approved', 'value=1000', '200 duplicate', 'approved 1000 100 35' ],
	[ 'approved', 'value=2000', '200 duplicate value_differs', 'approved 1000 100 35' ],
	[ 'approved', 'status=approved', '200 duplicate', 'approved 1000 100 35' ],
	[ 'approved', 'status=approved&value=1000', '200 duplicate', 'approved 1000 100 35' ],
	[ 'approved', 'status=approved&value=400', '200 duplicate value_differs', 'approved 1000 100 35' ],
	[ 'approved', 'status=reversed', '409 locked status', 'approved 1000 100 35' ],
	[ 'approved', 'status=reversed&value=1000', '409 locked status', 'approved 1000 100 35' ],
	[ 'approved', 'status=partial&value=400', '409 locked status', 'approved 1000 100 35' ],
	[ 'approved', 'status=partial&value=1000', '409 locked status', 'approved 1000 100 35' ],
	[ 'approved', 'status=partial&value=2000', '409 locked status', 'approved 1000 100 35' ],
	[ 'approved', 'status=partial', '400 missing_parameter value', 'approved 1000 100 35' ],

	# reversed; a test order is opened again
	[ 'reversed', 'value=1000', '200 duplicate', 'reversed 1000 100 35', '', '200 reopened', 'pending 1000 100 35', 'reopened' ],
	[ 'reversed', 'value=400', '200 duplicate value_differs', 'reversed 1000 100 35', '', '200 reopened', 'pending 400 40 14', 'reopened_at_400' ],
	[ 'reversed', 'value=2000', '200 duplicate value_differs', 'reversed 1000 100 35', '', '200 reopened', 'pending 2000 200 70', 'reopened_at_2000' ],
	[ 'reversed', 'status=approved', '409 locked status', 'reversed 1000 100 35' ],
	[ 'reversed', 'status=approved&value=1000', '409 locked status', 'reversed 1000 100 35' ],
	[ 'reversed', 'status=approved&value=400', '409 locked status', 'reversed 1000 100 35' ],
	[ 'reversed', 'status=reversed', '200 duplicate', 'reversed 1000 100 35' ],
	[ 'reversed', 'status=partial&value=400', '409 locked status', 'reversed 1000 100 35' ],
	[ 'reversed', 'status=partial&value=1000', '409 locked status', 'reversed 1000 100 35' ],
	[ 'reversed', 'status=partial&value=2000', '409 locked status', 'reversed 1000 100 35' ],
	[ 'reversed', 'status=partial', '400 missing_parameter value', 'reversed 1000 100 35' ],

	# unpriced: an approval waits for the price
	[ 'unpriced', 'value=1000&currency=PYG', '200 duplicate', 'pending 1000' ],
	[ 'unpriced', 'status=approved', '409 unpriced', 'pending 1000, 1 parked' ],
	[ 'unpriced', 'status=approved&value=1000', '409 unpriced', 'pending 1000, 1 parked' ],
	[ 'unpriced', 'status=approved&value=999', '422 value_mismatch value', 'pending 1000' ],
	[ 'unpriced', 'status=reversed', '200 reversed', 'reversed 1000', 'reversed_unpriced' ],
	[ 'unpriced', 'status=partial&value=400', '200 adjusted', 'pending 400', 'lowered_unpriced' ],
	[ 'unpriced', 'status=partial&value=1000', '200 duplicate', 'pending 1000' ],
	[ 'unpriced', 'status=partial&value=1001', '422 value_above_current value', 'pending 1000' ],

	# unattributed: charged nothing, and nobody is told
	[ 'unattributed', 'value=1000', '200 duplicate', 'pending 1000 0 0' ],
	[ 'unattributed', 'status=approved', '200 approved', 'approved 1000 0 0', 'approved_for_none' ],
	[ 'unattributed', 'status=reversed', '200 reversed', 'reversed 1000 0 0', 'reversed_for_none' ],
	[ 'unattributed', 'status=partial&value=400', '200 adjusted', 'pending 400 0 0', 'lowered_for_none' ],

	# what overtook its order is applied as soon as that arrives, in the order of arrival; what is refused by then is not
	[ 'approved parked', 'value=1000', '200 created applied approved', 'approved 1000 100 35', 'created approved' ],
	[ 'approved parked', 'status=approved', '404 unknown_order order', 'none, 2 parked' ],
	[ 'approved parked', 'status=approved&value=1000', '200 approved created applied approved', 'approved 1000 100 35', 'created approved' ],
	[ 'reversed parked', 'value=1000', '200 created applied reversed', 'reversed 1000 100 35', 'created reversed' ],
	[ 'reversed parked', 'status=approved&value=1000', '200 created applied reversed', 'reversed 1000 100 35', 'created reversed' ],
	[ 'partial parked', 'value=1000', '200 created applied adjusted', 'pending 400 40 14', 'created lowered' ],
	[ 'partial parked', 'status=approved&value=1000', '200 approved created applied adjusted', 'approved 400 40 14', 'created lowered approved_400' ],
	[ 'partial and approved parked', 'value=1000', '200 created applied adjusted approved', 'approved 400 40 14', 'created lowered approved_400' ],
	[ 'approved and reversed parked', 'value=1000', '200 created applied approved', 'approved 1000 100 35', 'created approved' ],
	[ 'too high a partial parked', 'value=1000', '200 created', 'pending 1000 100 35', 'created' ],
);

# What psql may do: the new columns; done, or what the hint says; the order then, and the effects.
my $final = qr/approved conversion is final; postback\.reverse\(/;
my @updates = (
	[ 'pending', "status = 'approved'", 'done', 'approved 1000 100 35', 'approved' ],
	[ 'pending', "status = 'reversed'", 'done', 'reversed 1000 100 35', 'reversed' ],
	[ 'pending', "status = 'pending'", 'done', 'pending 1000 100 35' ],
	[ 'pending', 'value = 400', 'done', 'pending 400 40 14', 'lowered' ],
	[ 'pending', 'value = 0', 'done', 'pending 0 0 0', 'to_0' ],
	[ 'pending', 'value = 1000', 'done', 'pending 1000 100 35' ],
	[ 'pending', 'value = 1001', qr/postback\.adjust\(/, 'pending 1000 100 35' ],
	[ 'approved', "status = 'approved'", 'done', 'approved 1000 100 35' ],
	[ 'approved', "status = 'reversed'", qr/postback\.reverse\(/, 'approved 1000 100 35' ],
	[ 'approved', "status = 'pending'", $final, 'approved 1000 100 35' ],
	[ 'approved', 'value = 400', $final, 'approved 1000 100 35' ],
	[ 'reversed', "status = 'reversed'", 'done', 'reversed 1000 100 35' ],
	[ 'reversed', "status = 'approved'", qr/postback\.reopen\(/, 'reversed 1000 100 35' ],
	[ 'reversed', "status = 'pending'", qr/postback\.reopen\(/, 'reversed 1000 100 35', '', 'done', 'pending 1000 100 35', 'reopened' ],
	[ 'reversed', 'value = 400', qr/postback\.reopen\(/, 'reversed 1000 100 35' ],
	[ 'unpriced', "status = 'approved'", qr/postback\.set_terms.*postback\.set_fx_rate/, 'pending 1000' ],
	[ 'unpriced', "status = 'reversed'", 'done', 'reversed 1000', 'reversed_unpriced' ],
	[ 'unattributed', "status = 'approved'", 'done', 'approved 1000 0 0', 'approved_for_none' ],
);

# What staff may do: a function, its answer, the order then, and the effects.
my @staff = (
	[ 'none', 'approve', '404 not_found conversion', 'none' ],
	[ 'none', 'reverse', '404 not_found conversion', 'none' ],
	[ 'none', 'reopen', '404 not_found conversion', 'none' ],
	[ 'none', 'adjust 400', '404 not_found conversion', 'none' ],
	[ 'pending', 'approve', '200 approved', 'approved 1000 100 35', 'approved' ],
	[ 'pending', 'reverse', '200 reversed', 'reversed 1000 100 35', 'reversed' ],
	[ 'pending', 'reopen', '200 duplicate', 'pending 1000 100 35' ],
	[ 'pending', 'adjust 400', '200 adjusted', 'pending 400 40 14', 'lowered' ],
	[ 'pending', 'adjust 1000', '200 duplicate', 'pending 1000 100 35' ],
	[ 'pending', 'adjust 2000', '200 adjusted', 'pending 2000 200 70', 'raised' ],
	[ 'approved', 'approve', '200 duplicate', 'approved 1000 100 35' ],
	[ 'approved', 'reverse', '200 reversed', 'reversed 1000 100 35', 'clawed_back' ],
	[ 'approved', 'reopen', '409 locked conversion', 'approved 1000 100 35' ],
	[ 'approved', 'adjust 400', '409 locked conversion', 'approved 1000 100 35' ],
	[ 'reversed', 'approve', '409 locked conversion', 'reversed 1000 100 35' ],
	[ 'reversed', 'reverse', '200 duplicate', 'reversed 1000 100 35' ],
	[ 'reversed', 'reopen', '200 reopened', 'pending 1000 100 35', 'reopened' ],
	[ 'reversed', 'adjust 400', '409 locked conversion', 'reversed 1000 100 35' ],
	[ 'unpriced', 'approve', '409 unpriced conversion', 'pending 1000' ],
	[ 'unpriced', 'reverse', '200 reversed', 'reversed 1000', 'reversed_unpriced' ],
	[ 'unattributed', 'approve', '200 approved', 'approved 1000 0 0', 'approved_for_none' ],
	[ 'unattributed', 'reverse', '200 reversed', 'reversed 1000 0 0', 'reversed_for_none' ],
);

my $t = PostbackTest->new;
my %p = $t->programme;
$t->sql("SELECT postback.set_terms(offer => '$p{offer}', percent => 10)");
my $click = $t->sql("SELECT click_id FROM postback.click('$p{link}')");
for my $callback ([any => ''], [adjust => ', on_adjust => true'], [tests => ', include_test => true'])
{
	my ($name, $more) = @$callback;
	$t->sql("SELECT postback.create_callback(name => '$name', url => 'https://p.example/?s={status}', brand => '$p{brand}', statuses => '{any}'$more)");
}
$t->serve;

# Each case of a table for real and for test orders, with what is expected of it.
sub cases
{
	my ($door, @table) = @_;
	my @cases;
	for my $test (0, 1)
	{
		for my $row (0 .. $#table)
		{
			my ($now, $sent, $answer, $after, $effects, @of_tests) = @{ $table[$row] };
			($answer, $after, $effects) = @of_tests if $test && @of_tests;
			my @effects = map { $effect{$_} // die "no effect $_" } split / /, join ' ', $effects_of{$now} // (), $effects // ();
			push @cases, {
				ref => ($test ? 'TEST-' : '') . "$door-$row",
				name => "$door: " . ($test ? 'test order, ' : '') . "$now, $sent",
				now => $now, sent => $sent, answer => $answer, after => $after,
				ledger => $test ? '' : join(', ', grep { defined } map { $_->{ledger} } @effects),
				history => join(', ', map { $_->{history} } @effects),
				callbacks => told($test, @effects),
			};
		}
	}
	return @cases;
}

# What the callbacks are told by effects: "NAME STATUS STATUS; NAME ...".
sub told
{
	my ($test, @effects) = @_;
	my %told;
	for my $effect (@effects)
	{
		my @words = split / /, $effect->{callbacks} // '';
		my $status = pop @words;
		push @{ $told{$_} }, $status for grep { !$test || $_ eq 'tests' } @words;
	}
	return join '; ', map { "$_ @{ $told{$_} }" } sort keys %told;
}

# The calls that bring an order into a state.
sub calls
{
	my ($case, @queries) = @_;
	return map { "order=$case->{ref}&$_" . (/value=/ && !/click_id=/ ? "&click_id=$click" : '') } @queries;
}

# What is looked at of an answer, given its HTTP status and its JSON.
sub answer
{
	my ($status, $json) = @_;
	return join ' ', grep { defined && $_ ne '' } $status, $json->{result} // $json->{code}, $json->{parameter}, $json->{warning},
	  $json->{created} && 'created', $json->{applied} && "applied @{ $json->{applied} }";
}

# What has become of all orders by now, by their references.
sub outcomes
{
	my %found = map { $_->{ref} => $_ } $t->rows(<<~SQL);
		SELECT c.order_ref AS ref, concat_ws(' ', c.status, c.value, c.commission, c.fee) AS after,
		       (SELECT string_agg(l.kind || ' ' || l.amount, ', ' ORDER BY l.id) FROM postback.ledger l WHERE l.conversion_id = c.id) AS ledger,
		       (SELECT string_agg(concat_ws(' ', coalesce(h.from_status, 'new'), 'to', h.to_status, h.to_value, h.to_commission, h.to_fee), ', ' ORDER BY h.id)
		        FROM postback.history h WHERE h.conversion_id = c.id) AS history,
		       (SELECT string_agg(told, '; ' ORDER BY told)
		        FROM (SELECT b.name || ' ' || string_agg(substring(d.url, 's=(.*)'), ' ' ORDER BY d.seq) AS told
		              FROM postback.delivery d JOIN postback.callback b ON b.id = d.callback_id WHERE d.conversion_id = c.id GROUP BY b.name) x) AS callbacks
		FROM postback.conversion c
		SQL
	my %parked = map { $_->{ref} => $_->{parked} } $t->rows('SELECT order_ref AS ref, count(*) AS parked FROM postback.parked GROUP BY 1');
	$found{$_}{after} = ($found{$_}{after} // 'none') . ", $parked{$_} parked" for keys %parked;
	return %found;
}

sub check
{
	my ($got, @cases) = @_;
	my %outcome = outcomes();
	for my $case (@cases)
	{
		my $outcome = $outcome{ $case->{ref} } // {};
		my $answer = $got->{ $case->{ref} };
		my $hinted = ref $case->{answer} && $answer =~ $case->{answer};
		is_deeply(
			[ $answer, $outcome->{after} // 'none', map { $outcome->{$_} // '' } qw(ledger history callbacks) ],
			[ $hinted ? $answer : $case->{answer}, map { $case->{$_} } qw(after ledger history callbacks) ],
			$case->{name});
	}
}

# Over HTTP, one request after another.
my @cases = cases('http', @cells);
my %got;
for my $case (@cases)
{
	for (calls($case, @{ $way_to{ $case->{now} } }, $case->{sent}))
	{
		my $reply = $t->request('GET', "/p/$p{token}?$_");
		$got{ $case->{ref} } = answer($reply->{status}, $reply->{json});
	}
}
check(\%got, @cases);

# In SQL, one call after another, and all of them in one batch. The body is what HTTP would carry; the columns say the same.
sub in_sql
{
	my ($door, $call) = @_;
	my (@refs, @queries, %got);
	my @cases = cases($door, @cells);
	for my $case (@cases)
	{
		my @calls = calls($case, @{ $way_to{ $case->{now} } }, $case->{sent});
		push @queries, @calls;
		push @refs, ($case->{ref}) x @calls;
	}
	my $queries = join ', ', map { "'$_'" } @queries;
	for my $row ($t->rows(sprintf $call, $queries))
	{
		my $json = JSON::PP->new->utf8->decode($row->{body});
		my $ref = $refs[ $row->{n} - 1 ];
		$got{$ref} = answer($row->{http_status}, $json);
		my @columns = map { $row->{$_} } qw(result code message parameter warning status value commission fee);
		my @fields = map { $json->{$_} } qw(result code message parameter warning status value commission fee);
		@columns[ 5 .. 8 ] = @fields[ 5 .. 8 ] = () unless $json->{ok};
		is_deeply(\@columns, \@fields, "$door: the columns of $ref say what the body says") unless "@{[ map { $_ // '' } @columns ]}" eq "@{[ map { $_ // '' } @fields ]}";
	}
	check(\%got, @cases);
}
in_sql('sql', "SELECT k.n, r.* FROM unnest(ARRAY[%s]) WITH ORDINALITY k (query, n), LATERAL postback.receive('$p{token}', k.query) r ORDER BY k.n");
in_sql('batch', <<~SQL);
	SELECT r.item AS n, r.* FROM (SELECT ARRAY[%s] AS queries) k,
	     LATERAL (SELECT array_agg(n::int) AS items, array_agg('$p{token}'::text) AS tokens, array_agg('GET'::text) AS methods,
	                     array_agg(NULL::text) AS nothing, array_agg(NULL::inet) AS remotes FROM generate_series(1, cardinality(queries)) n) a,
	     LATERAL postback.receive_batch(a.items, a.tokens, a.methods, k.queries, a.nothing, a.nothing, a.remotes) r
	SQL

# A person in psql, and staff. An order comes into its state by postbacks; then one statement.
sub by_hand
{
	my ($door, $statement, @table) = @_;
	my @cases = cases($door, @table);
	my @script;
	for my $case (@cases)
	{
		push @script, "PERFORM postback.receive('$p{token}', '$_');" for calls($case, @{ $way_to{ $case->{now} } });
		push @script, "BEGIN", $statement->($case), "EXCEPTION WHEN object_not_in_prerequisite_state OR check_violation THEN",
		  "GET STACKED DIAGNOSTICS said = PG_EXCEPTION_HINT;", "END;", "INSERT INTO said VALUES ('$case->{ref}', said);";
	}
	$t->sql('CREATE TABLE IF NOT EXISTS said (ref text, said text); TRUNCATE said');
	$t->sql("DO \$\$ DECLARE said text; BEGIN @script END \$\$");
	check({ map { $_->{ref} => $_->{said} } $t->rows('SELECT ref, said FROM said') }, @cases);
}
by_hand('psql', sub { "UPDATE postback.conversion SET $_[0]{sent} WHERE order_ref = '$_[0]{ref}'; said := 'done';" }, @updates);
by_hand(
	'staff',
	sub {
		my ($case) = @_;
		my ($function, @value) = split / /, $case->{sent};
		my $id = "coalesce((SELECT id FROM postback.conversion WHERE order_ref = '$case->{ref}'), '00000000000000000000000001')";
		return "said := (SELECT concat_ws(' ', r.http_status, r.outcome, r.parameter) FROM postback.$function(" . join(', ', $id, @value) . ') r);';
	},
	@staff);

$t->audit_ok;
$t->finish;

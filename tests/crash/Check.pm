# Check: the client's own log, line by line, against what the database and the publisher's server have at the end.
#
# violations(%round) returns a list of "KIND: what is wrong". Kinds: lost answer twice state money receipt parked click
# delivery balance audit.

package Check;

use strict;
use warnings;
use Model;

our $SHOWN = 5;    # of one kind

sub new
{
	my ($class, %self) = @_;
	return bless { %self, found => {}, figures => {} }, $class;
}

sub violation
{
	my ($self, $kind, $text) = @_;
	push @{ $self->{found}{$kind} }, $text;
	return;
}

# One line of COPY's text format per row; nulls are "\N".
sub copy
{
	my ($self, $query) = @_;
	return map { [ split /\t/, $_, -1 ] } split /\n/, $self->{test}->sql("COPY ($query) TO STDOUT");
}

sub open_log
{
	my ($name) = @_;
	open my $log, '<', $name or die "$name: $!\n";
	return $log;
}

# An answer's body as the model's one line, its conversion and its receipt.
sub read_answer
{
	my ($http, $body) = @_;
	my %is = map { my $name = $_; $name => $body =~ /"$name":"?([^",}]*)/ ? $1 : '' }
	  qw(result code status value commission fee conversion_id receipt);
	my @applied = $body =~ /"applied":\[([^\]]*)\]/ ? $1 =~ /"(\w+)"/g : ();
	my $line =
	  $http == 200 ? join(' ', 200, @is{qw(result status value commission fee)}, @applied) : "$http $is{code}";
	return ($line, $is{conversion_id}, $is{receipt});
}

# Reads the log: orders by reference, each with its model, its receipts and its lines.
sub read_client
{
	my ($self) = @_;
	my $log = open_log($self->{client_log});
	while (my $line = <$log>)
	{
		chomp $line;
		my ($event, $number, $step, $first, $rest) = split / /, $line, 5;
		my $order = $self->{orders}{"O-$number"} //= { model => Model->new, receipts => {}, sent => 0, lines => [] };
		push @{ $order->{lines} }, $line;
		if ($event eq 'I')
		{
			next if $first eq 'click';
			$order->{sent}++;
			$order->{model}->asked($step, $first, $rest eq '-' ? undef : $rest);
		}
		elsif ($event eq 'L')
		{
			next unless $order->{model}{under_way}{$step};
			$order->{model}->lost($step);
			$order->{silence} = 1 if $first != 503;
		}
		elsif ($first == 302)
		{
			$order->{click} = $rest;
		}
		else
		{
			$self->take_answer("O-$number", $order, $step, $first, $rest);
		}
	}
	return;
}

sub take_answer
{
	my ($self, $ref, $order, $step, $http, $body) = @_;
	my ($line, $conversion, $receipt) = read_answer($http, $body);
	$self->{figures}{acknowledged}++ if $http == 200;
	if ($receipt eq '' || $order->{receipts}{$receipt})
	{
		$self->violation(receipt => "order $ref: an answer without a receipt of its own: $body");
	}
	$order->{receipts}{$receipt} = $http == 200 ? (split / /, $line)[1] : $line;
	if ($conversion ne '')
	{
		$self->violation(lost => "order $ref is conversion $conversion now, it was $order->{conversion} in an answer before")
		  if ($order->{conversion} // $conversion) ne $conversion;
		$order->{conversion} = $conversion;
	}
	$order->{model}->answered($step, $line)
	  or $self->violation(answer => "order $ref: an answer that contradicts those before it: $line; all of its log:\n  "
		  . join("\n  ", @{ $order->{lines} }));
	return;
}

sub check_orders
{
	my ($self) = @_;
	my $brand = $self->{brand};
	my $net = join ', ', map { "coalesce(sum(amount) FILTER (WHERE kind = '$_'), 0)" }
	  map { ("commission_$_", "fee_$_") } qw(held released approved clawback);
	my (%row, %parked);

	for my $row ($self->copy("SELECT c.order_ref, c.id, c.status, c.value, c.commission, c.fee, c.click_id, m.*
		FROM postback.conversion c
		CROSS JOIN LATERAL (SELECT $net FROM postback.ledger l WHERE l.conversion_id = c.id) m
		WHERE c.brand_id = '$brand' ORDER BY c.id"))
	{
		my $ref = $row->[0];
		$self->violation(twice => "order $ref is there more than once: conversions $row{$ref}[1] and $row->[1]") if $row{$ref};
		$self->violation(state => "nobody has asked for order $ref") unless $self->{orders}{$ref};
		$row{$ref} = $row;
	}
	push @{ $parked{ $_->[0] } }, "$_->[1]:$_->[2]" for $self->copy("SELECT order_ref, status, coalesce(value::text, '')
		FROM postback.parked WHERE brand_id = '$brand' ORDER BY id");
	while (my ($ref, $order) = each %{ $self->{orders} })
	{
		$self->check_order($ref, $order, $row{$ref}, $parked{$ref} // []);
	}
	return;
}

sub check_order
{
	my ($self, $ref, $order, $row, $parked) = @_;
	my @states = $order->{model}->states;
	my (undef, $id, $status, $value, $commission, $fee, $click, @ledger) = @{ $row // [] };

	if (!$row)
	{
		$self->check_parked($ref, $parked, @states) and return;
		$self->violation(lost => "order $ref was acknowledged and is not there") unless grep { $_->[0] eq 'none' } @states;
		return;
	}
	$self->violation(lost => "order $ref is conversion $id, an answer said $order->{conversion}")
	  if ($order->{conversion} // $id) ne $id;
	$self->violation(click => "order $ref has not the click that was answered")
	  if $order->{click} && "clk_$click" ne $order->{click};
	my @fitting = grep { $_->[0] eq $status && $_->[1] == $value } @states;
	# Where two first values were possible, the ledger tells which it was.
	my ($state) = ((grep { Model::commission($_->[2]) == $ledger[0] } @fitting), @fitting);
	if (!$state)
	{
		$self->violation(state => "order $ref is $status with $value, which its log does not allow, but: "
			  . join(' or ', map { "$_->[0] with $_->[1]" } @states)
			  . "; its log:\n  "
			  . join("\n  ", @{ $order->{lines} }));
		return;
	}
	$order->{state} = $state;
	$order->{id} = $id;

	# Commission and fee: held once, of the first value; what a lower one gave back; and where the rest went.
	my ($c, $f, $c0, $f0) = map { (Model::commission($_), Model::fee($_)) } $value, $state->[2];
	my @rest = ($c, $f);
	my @due = (
		$c0, $f0, $c0 - $c + ($status eq 'reversed' ? $c : 0), $f0 - $f + ($status eq 'reversed' ? $f : 0),
		($status eq 'approved' ? @rest : (0, 0)), 0, 0);
	my $name = "order $ref ($status, $value, at first $state->[2])";
	$self->violation(money => "$name: commission $commission and fee $fee, not $c and $f") if $commission != $c || $fee != $f;
	$self->violation(money => "$name: ledger @ledger, not @due") if "@ledger" ne "@due";
	$self->{figures}{$status}++;
	my $sums = $self->{sums} //= { available => 0, held => 0, payable => 0, fees => 0 };
	$sums->{held} += $c + $f if $status eq 'pending';
	$sums->{payable} += $c if $status eq 'approved';
	$sums->{fees} += $f if $status eq 'approved';
	$sums->{available} -= $c + $f unless $status eq 'reversed';
	return;
}

# Follow-ups whose order has not come: an answer 404 promised that they wait. True if there is nothing else to say.
sub check_parked
{
	my ($self, $ref, $parked, @states) = @_;
	my %seen;
	my $waiting = join ' ', grep { !$seen{$_}++ } @$parked;
	my @none = grep { $_->[0] eq 'none' } @states or return 0;
	return 1 if grep { "@{ $_->[3] }" eq $waiting } @none;
	$self->violation(parked => "of order $ref there wait \"$waiting\", not "
		  . join(' or ', map { "\"@{ $_->[3] }\"" } @none));
	return 1;
}

# Every answer's receipt is there and says the same; beyond those, at most one for each request without an answer.
sub check_receipts
{
	my ($self) = @_;
	my %spare = map { $_ => $self->{orders}{$_}{sent} } keys %{ $self->{orders} };
	for ($self->copy("SELECT order_ref, id, http_status, coalesce(result, code)
		FROM postback.receipt WHERE brand_id = '$self->{brand}'"))
	{
		my ($ref, $id, $http, $word) = @$_;
		my $said = delete $self->{orders}{$ref}{receipts}{$id};
		# Recorded though the answer was none, or 503 and nothing else.
		$self->{figures}{ $self->{orders}{$ref}{silence} ? 'receipts_of_silence' : 'receipts_of_503' }++ unless defined $said;
		my $is = $http == 200 ? $word : "$http $word";
		$self->violation(receipt => "receipt $id of order $ref says $is, the answer said $said") if defined $said && $said ne $is;
		$self->violation(receipt => "order $ref has more receipts than requests") if --$spare{$ref} < 0;
	}
	while (my ($ref, $order) = each %{ $self->{orders} })
	{
		$self->violation(lost => "receipt $_ of an answer is not there (order $ref)") for keys %{ $order->{receipts} };
	}
	return;
}

sub check_clicks
{
	my ($self) = @_;
	my %there = map { ("clk_$_->[0]" => 1) } $self->copy("SELECT id FROM postback.click WHERE brand_id = '$self->{brand}'");
	for my $order (grep { $_->{click} } values %{ $self->{orders} })
	{
		$self->{figures}{clicks}++;
		$self->violation(click => "click $order->{click} was answered and is not there") unless $there{ $order->{click} };
	}
	return;
}

# What an order's callback has to be told: its creation, and what it became. [status, payout in minor units] by seq.
sub due_deliveries
{
	my ($status, $value, $first) = @{ $_[0] };
	my @due = [ pending => Model::commission($first) ];
	push @due, [ ($status eq 'reversed' ? 'rejected' : $status), Model::commission($value) ] if $status ne 'pending';
	return @due;
}

# The database is read first: what it calls delivered must have been received by then.
sub check_deliveries
{
	my ($self, $finished) = @_;
	my (%is, %received);
	for ($self->copy("SELECT c.order_ref, d.seq, d.id, d.state, d.status FROM postback.delivery d
		JOIN postback.conversion c ON c.id = d.conversion_id WHERE d.brand_id = '$self->{brand}'"))
	{
		my ($ref, $seq, @row) = @$_;
		$self->violation(delivery => "order $ref has two deliveries number $seq") if $is{$ref}[$seq];
		$is{$ref}[$seq] = \@row;
	}
	my $log = open_log($self->{receiver_log});
	while (<$log>)
	{
		push @{ $received{$6} }, { answer => $1, id => $2, inner_id => $3, payout => $4, seq => $5, status => $7 }
		  if m{^(\d+) (\S+) /$self->{path}\?id=(\S+)&payout=(\d+)&seq=(\d+)&order=(O-\d+)&status=(\w+)$};
	}
	for my $ref (grep { !$self->{orders}{$_}{state} } keys %received)
	{
		$self->violation(delivery => "the publisher was told of order $ref, which is not there");
	}
	for my $ref (grep { $self->{orders}{$_}{state} } keys %{ $self->{orders} })
	{
		my @due = due_deliveries($self->{orders}{$ref}{state});
		$self->check_queue($ref, $is{$ref}, \@due, $finished);
		$self->check_received($ref, $is{$ref}, \@due, $received{$ref} // [], $finished);
	}
	return;
}

# In the database: one row per delivery that is due, each at its end.
sub check_queue
{
	my ($self, $ref, $is, $due, $finished) = @_;
	for my $seq (1 .. (@$due > $#{ $is // [] } ? @$due : $#$is))
	{
		my ($id, $state, $status) = @{ $is->[$seq] // [] };
		my $wanted = $due->[ $seq - 1 ] && $due->[ $seq - 1 ][0];
		if (!$wanted || ($status // '') ne $wanted)
		{
			$self->violation(delivery => sprintf 'order %s: delivery %d is of %s, not of %s',
				$ref, $seq, map { $_ // 'nothing' } $status, $wanted);
		}
		elsif ($finished && $state ne 'delivered' && !($state eq 'superseded' && $seq < @$due))
		{
			$self->violation(delivery => "order $ref: delivery $seq ($wanted) is $state");
		}
	}
	return;
}

# At the publisher's: each delivery once or more, with one id and one content, and never an older one after a newer one
# was accepted.
sub check_received
{
	my ($self, $ref, $is, $due, $received, $finished) = @_;
	my ($newest, %times, %accepted) = (0);
	for my $r (@$received)
	{
		my $wanted = $due->[ $r->{seq} - 1 ];
		my $told = "the publisher was told \"$r->{status}\" (number $r->{seq}, payout $r->{payout}, id $r->{id}) of order $ref";
		$self->{figures}{received}++;
		$self->violation(delivery => "$told, which is not due")
		  unless $wanted && $wanted->[0] eq $r->{status} && $wanted->[1] == $r->{payout};
		$self->violation(delivery => "$told, but its id is " . ($is->[ $r->{seq} ][0] // 'none'))
		  if $r->{id} ne $r->{inner_id} || $r->{id} ne ($is->[ $r->{seq} ][0] // '');
		$self->violation(delivery => "$told after it had accepted number $newest") if $r->{seq} < $newest;
		$newest = $r->{seq} if $r->{answer} == 200 && $r->{seq} > $newest;
		$self->{figures}{received_again}++ if $times{ $r->{seq} }++;
		$accepted{ $r->{seq} }++ if $r->{answer} == 200;
	}
	for my $seq (1 .. @$due)
	{
		my $name = "delivery $seq ($due->[$seq - 1][0]) of order $ref";
		my $state = ($is->[$seq] // [])->[1] // '';
		$self->violation(delivery => "$name was never attempted") if $finished && !$times{$seq};
		$self->violation(delivery => "$name counts as delivered, and the publisher has not accepted it")
		  if $state eq 'delivered' && !$accepted{$seq};
	}
	return;
}

sub check_money
{
	my ($self) = @_;
	my $sums = $self->{sums} // {};
	my %is = map { $_->[0] => $_->[1] }
	  $self->copy("SELECT account, sum(amount) FROM postback.balances WHERE brand_id = '$self->{brand}' GROUP BY account");
	for my $account (sort keys %{ { %$sums, %is } })
	{
		my ($wanted, $found) = map { $_->{$account} // 0 } $sums, \%is;
		$self->violation(balance => "$account is $found, the log's arithmetic gives $wanted") if $wanted != $found;
	}
	$self->violation(audit => join ' ', @$_) for $self->copy('SELECT * FROM postback.audit()');
	$self->violation(audit => join ' ', 'daily', @$_) for $self->copy('SELECT * FROM postback.audit_daily(current_date - 7)');
	return;
}

# deliveries: "finished" when nothing is left to be sent, "running" while it is, undef without a sender.
sub violations
{
	my ($self) = @_;
	$self->read_client;
	$self->check_orders;
	$self->check_receipts;
	$self->check_clicks;
	$self->check_deliveries($self->{deliveries} eq 'finished') if $self->{deliveries};
	$self->check_money;
	my @all;
	for my $kind (sort keys %{ $self->{found} })
	{
		my @found = @{ $self->{found}{$kind} };
		push @all, map { "$kind: $_" } @found[ 0 .. (@found > $SHOWN ? $SHOWN : @found) - 1 ];
		push @all, sprintf '%s: and %d more', $kind, @found - $SHOWN if @found > $SHOWN;
	}
	return @all;
}

1;

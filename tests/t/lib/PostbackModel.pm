# PostbackModel: what the orders of a brand must do, written from the specification of states and money and from nothing
# else: no database, no clock. It knows one order at a time; apply() says what one call on it may answer and write.
#
# A state is a plain hash: conversions by goal (lower case), follow-ups that wait, events. apply() never changes the one it
# is given. Amounts are minor units, percentages millionths of a percent, rates [mantissa, decimals]; all integers.
package PostbackModel;

use strict;
use warnings;

my %exponent = (EUR => 2, JPY => 0, KWD => 3, USD => 2, GBP => 2, CHF => 2, SEK => 2, PLN => 2, BHD => 3, CLP => 0, KRW => 0,
	CZK => 2, DKK => 2, HUF => 2, NOK => 2, RON => 2, TND => 3);
my $parked_per_order = 8;
my %public = (pending => 'pending', approved => 'approved', reversed => 'rejected');

# new(currency, fee_percent, fee_of, due, newest_click, offers => { NAME => { goals => [...], default => GOAL } },
# clicks => { NAME => { offer, publisher } }): a brand. due: its hold is zero. setups: what set_terms and set_fx_rate
# have made by and by; each is { terms => { "OFFER/PUBLISHER/GOAL" => {...} }, rates => { CODE => [...] } }.
sub new
{
	my ($class, %brand) = @_;
	return bless { %brand, setups => [ { terms => {}, rates => {} } ] }, $class;
}

sub setup_next
{
	my ($self, $what, $name, $value) = @_;
	my $last = $self->{setups}[-1];
	push @{ $self->{setups} }, { %$last, $what => { %{ $last->{$what} }, $name => $value } };
	return;
}

sub empty { return { conversions => {}, parked => [], events => {} } }

sub copy
{
	my ($state) = @_;
	return {
		conversions => { map { $_ => { %{ $state->{conversions}{$_} } } } keys %{ $state->{conversions} } },
		parked => [ map { {%$_} } @{ $state->{parked} } ],
		events => { %{ $state->{events} } }
	};
}

# Equal states have equal texts.
sub text
{
	my ($state) = @_;
	my @parts = map { _record_text($_) } map { $state->{conversions}{$_} } sort keys %{ $state->{conversions} };
	return join "\n", @parts, 'parked', (map { _record_text($_) } @{ $state->{parked} }), sort keys %{ $state->{events} };
}

sub _record_text
{
	my ($record) = @_;
	return join ' ', map { "$_=" . (ref $record->{$_} eq 'ARRAY' ? "@{ $record->{$_} }" : $record->{$_} // '-') } sort keys %$record;
}

# ---- money

# Half away from zero; nothing here is negative.
sub _rounded
{
	use integer;
	my ($numerator, $denominator) = @_;
	return (2 * $numerator + $denominator) / (2 * $denominator);
}

sub _converted
{
	my ($value, $from, $rate, $to) = @_;
	my $shift = $exponent{$to} - $exponent{$from} - $rate->[1];
	return $shift < 0 ? _rounded($value * $rate->[0], 10**-$shift) : $value * $rate->[0] * 10**$shift;
}

sub _price
{
	my ($self, $c) = @_;
	my $terms = $c->{terms};
	my $sale = $c->{currency} eq $self->{currency} ? $c->{value}
	  : $c->{rate} ? _converted($c->{value}, $c->{currency}, $c->{rate}, $self->{currency})
	  : undef;
	if ($c->{attribution} eq 'none')
	{
		@$c{qw(commission fee)} = (0, 0);
	}
	elsif (!$terms || !defined $sale)
	{
		@$c{qw(commission fee terms)} = ();
	}
	else
	{
		my ($percent, $fixed, $min, $max, @brackets) = @$terms;
		while (my ($from, $of_bracket) = splice @brackets, 0, 2)
		{
			($percent, $fixed) = ($of_bracket, 0) if $sale >= $from;
		}
		my $commission = _rounded($sale * $percent + $fixed * 100_000_000, 100_000_000);
		$commission = $max if $commission > $max;
		$commission = $min if $commission < $min;
		$c->{commission} = $commission;
		$c->{fee} = _rounded(($self->{fee_of} eq 'value' ? $sale : $commission) * $self->{fee_percent}, 100_000_000);
	}
	return;
}

# Most specific wins: publisher and goal, publisher, goal, offer.
sub _terms
{
	my ($setup, $offer, $publisher, $goal) = @_;
	for my $name ("$offer/$publisher/$goal", "$offer/$publisher/", "$offer//$goal", "$offer//")
	{
		return $setup->{terms}{$name} if $setup->{terms}{$name};
	}
	return;
}

sub _take_prices
{
	my ($self, $c, $at) = @_;
	my ($goal) = grep { lc eq lc $c->{goal} } @{ $self->{offers}{ $c->{offer} // '' }{goals} };
	$c->{terms} = _terms($self->{setups}[ $at->{terms} ], $c->{offer}, $c->{publisher}, $goal // '') if $c->{offer};
	$c->{rate} //= $self->{setups}[ $at->{rates} ]{rates}{ $c->{currency} } if $c->{currency} ne $self->{currency};
	return $self->_price($c);
}

# ---- effects

sub _held
{
	my ($c, $status, $of) = @_;
	return $c && !$c->{test} && $c->{status} eq $status ? $c->{$of} // 0 : 0;
}

sub _shown { return join ' ', map { $_ // '-' } @_ }

# Notes in $out what a change from $before (undef: created) to $after writes.
sub _change
{
	my ($out, $before, $after, $actor) = @_;
	my $old = $before // {};
	push @{ $out->{history} },
	  _shown($after->{goal}, map({ ($old->{$_}, $after->{$_}) } qw(status value commission fee)), $actor);
	for my $of (qw(commission fee))
	{
		my ($held, $now_held) = (_held($before, 'pending', $of), _held($after, 'pending', $of));
		my ($final, $now_final) = (_held($before, 'approved', $of), _held($after, 'approved', $of));
		my @lines =
		    $now_final ? ($final ? () : [ approved => $now_final ])
		  : $final ? [ clawback => $final ]
		  : $now_held > $held ? [ held => $now_held - $held ]
		  : [ released => $held - $now_held ];
		push @{ $out->{ledger} }, map { "$after->{goal} ${of}_$_->[0] $_->[1]" } grep { $_->[1] } @lines;
	}
	return if $after->{attribution} eq 'none' || $after->{test};
	return if $before && $before->{status} eq $after->{status} && $before->{attribution} ne 'none';
	$after->{seq}++;
	push @{ $out->{deliveries} }, _shown($after->{goal}, $after->{seq}, $public{ $after->{status} });
	return;
}

sub _set
{
	my ($out, $c, $actor, %fields) = @_;
	my $before = {%$c};
	@$c{ keys %fields } = values %fields;
	return _change($out, $before, $c, $actor);
}

sub _revalue
{
	my ($self, $out, $c, $actor, $value, %fields) = @_;
	my $before = {%$c};
	$c->{value} = $value;
	$self->_price($c);
	@$c{ keys %fields } = values %fields;
	return _change($out, $before, $c, $actor);
}

# ---- postbacks

# The table of states: what a word does to a conversion (undef: there is none).
sub _decide
{
	my ($c, $status, $value) = @_;
	return 'missing_parameter' if $status eq 'partial' && !defined $value;
	if (!$c)
	{
		return defined $value ? 'create' : 'missing_parameter' if $status eq 'new';
		return $status eq 'approved' && defined $value ? 'create' : 'unknown_order';
	}
	my $now = $c->{status};
	return $now eq 'reversed' && $c->{test} ? 'reopen' : 'duplicate' if $status eq 'new';
	return 'duplicate' if $status eq $now;
	return 'locked' if $now ne 'pending';
	return 'reverse' if $status eq 'reversed';
	if ($status eq 'partial')
	{
		return $value < $c->{value} ? 'adjust' : $value == $c->{value} ? 'duplicate' : 'value_above_current';
	}
	return 'value_mismatch' if defined $value && $value != $c->{value};
	return defined $c->{commission} ? 'approve' : 'unpriced';
}

my %done = (approve => 'approved', reverse => 'reversed', adjust => 'adjusted', reopen => 'reopened');

# A reversal is the end of an approval that waits for a price.
sub _forget
{
	my ($parked, $c) = @_;
	@$parked = grep { !$_->{for_ever} || lc $_->{goal} ne lc $c->{goal} } @$parked;
	return;
}

sub _act
{
	my ($self, $out, $parked, $c, $action, $value) = @_;
	my $actor = $out->{actor};
	_set($out, $c, $actor, status => 'approved') if $action eq 'approve';
	_set($out, $c, $actor, status => 'reversed') if $action eq 'reverse';
	_forget($parked, $c) if $action eq 'reverse';
	$self->_revalue($out, $c, $actor, $value) if $action eq 'adjust';
	$self->_revalue($out, $c, $actor, $value // $c->{value}, status => 'pending', due => $self->{due}) if $action eq 'reopen';
	return $done{$action};
}

# Applies what waited for a conversion; what cannot be done is dropped, an approval without a price goes on waiting, for it, and
# its value is not looked at again.
sub _apply_parked
{
	my ($self, $out, $state, $c) = @_;
	my @left;
	my @applied;
	for my $parked (@{ $state->{parked} })
	{
		if (defined $parked->{goal} && lc $parked->{goal} ne lc $c->{goal})
		{
			push @left, $parked;
			next;
		}
		next if defined $parked->{currency} && $parked->{currency} ne $c->{currency};
		my $action = _decide($c, $parked->{status}, $parked->{for_ever} ? undef : $parked->{value});
		push @left, { %$parked, goal => $c->{goal}, for_ever => 1 } if $action eq 'unpriced';
		push @applied, $self->_act($out, \@left, $c, $action, $parked->{value}) if $done{$action};
	}
	$state->{parked} = \@left;
	return @applied;
}

sub _park
{
	my ($state, $item, $c) = @_;
	my $goal = $c ? $c->{goal} : $item->{goal};
	return if @{ $state->{parked} } >= $parked_per_order;
	return if $c && grep { $_->{for_ever} && lc $_->{goal} eq lc $goal } @{ $state->{parked} };
	push @{ $state->{parked} },
	  { status => $item->{status}, value => $item->{value}, currency => $item->{currency}, goal => $goal, for_ever => $c ? 1 : 0 };
	return;
}

# Who earns what an item creates.
sub _source
{
	my ($self, $item) = @_;
	my $click = $item->{click};
	return { attribution => 'none', warning => 'bad_click_id' } if defined $click && !$self->{clicks}{$click};
	my $found = $self->{clicks}{ $click // $self->{newest_click} };
	return { %$found, attribution => defined $click ? 'click' : 'last_click' };
}

sub _find
{
	my ($self, $state, $item) = @_;
	my $all = $state->{conversions};
	return $all->{ lc $item->{goal} } if defined $item->{goal};
	return keys %$all > 1 ? 'ambiguous' : (values %$all)[0] if $item->{status} ne 'new';
	my ($unnamed) = grep { !$_->{given} } values %$all;
	return $unnamed if $unnamed;
	my $source = $self->_source($item);
	return $all->{ lc($source->{offer} ? $self->{offers}{ $source->{offer} }{default} // '' : '') };
}

sub _reply
{
	my ($result, $c, %more) = @_;
	return _shown($result, @$c{qw(id goal status value currency commission fee attribution test)}, @more{qw(created applied warning)});
}

sub _create
{
	my ($self, $out, $state, $item, $id, $at) = @_;
	my $source = $self->_source($item);
	my $offer = $source->{offer} ? $self->{offers}{ $source->{offer} } : {};
	my $goal = $item->{goal} // $offer->{default} // '';
	my ($spelling) = grep { lc eq lc $goal } @{ $offer->{goals} };
	my $c = {
		id => $id, goal => $spelling // $goal, given => defined $item->{goal} ? 1 : 0, status => 'pending',
		value => $item->{value}, currency => $item->{currency} // $self->{currency}, test => $item->{test} ? 1 : 0,
		attribution => $source->{attribution}, offer => $source->{offer}, publisher => $source->{publisher},
		commission => undef, fee => undef, terms => undef, rate => undef, due => $self->{due}, seq => 0
	};
	$self->_take_prices($c, $at);
	_change($out, undef, $c, $out->{actor});
	$state->{conversions}{ lc $c->{goal} } = $c;
	my @warnings = grep { defined } $source->{warning};
	push @warnings, 'unknown_goal' if $source->{offer} && defined $item->{goal} && !defined $spelling;
	push @warnings, 'unpriced' unless defined $c->{commission};
	my @applied = $self->_apply_parked($out, $state, $c);
	if ($item->{status} eq 'approved')
	{
		_park($state, $item, $c) unless defined $c->{commission};
		_set($out, $c, $out->{actor}, status => 'approved') if $c->{status} eq 'pending' && defined $c->{commission};
	}
	my $approved = $item->{status} eq 'approved' && $c->{status} eq 'approved';
	return _reply($approved ? 'approved' : 'created', $c, created => 1, applied => @applied ? "@applied" : undef,
		warning => @warnings ? "@warnings" : undef);
}

# One postback; $id is that of the answer, which a new conversion gets.
sub _send
{
	my ($self, $out, $state, $item, $id, $at) = @_;
	if (defined $item->{event})
	{
		return _shown($state->{events}{ lc $item->{event} }++ ? 'duplicate' : 'event');
	}
	return 'missing_parameter' if $item->{status} eq 'partial' && !defined $item->{value};
	my $c = $self->_find($state, $item);
	return 'ambiguous_order' if defined $c && $c eq 'ambiguous';
	my $action = _decide($c, $item->{status}, $item->{value});
	return $self->_create($out, $state, $item, $id, $at) if $action eq 'create';
	if (!$c)
	{
		_park($state, $item) if $action eq 'unknown_order';
		return $action;
	}
	# A new one without a currency is in the brand's, a follow-up in its conversion's.
	my $currency = $item->{currency} // ($item->{status} eq 'new' ? $self->{currency} : $c->{currency});
	# A partial's value is compared, so it must be in the same currency.
	if ($action eq 'duplicate' && ($item->{status} ne 'partial' || $currency eq $c->{currency}))
	{
		my $differs = $currency ne $c->{currency} || (defined $item->{value} && $item->{value} != $c->{value});
		return _reply('duplicate', $c, created => 0, warning => $differs ? 'value_differs' : undef);
	}
	return 'currency_mismatch' if $currency ne $c->{currency} && $action ne 'locked';
	_park($state, $item, $c) if $action eq 'unpriced';
	return $action unless $done{$action};
	return _reply($self->_act($out, $state->{parked}, $c, $action, $item->{value}), $c, created => 0);
}

# ---- staff, plain SQL, jobs

sub _staff
{
	my ($self, $out, $state, $call, $at) = @_;
	my $c = $state->{conversions}{ lc $call->{goal} } or return 'absent';
	my $now = $c->{status};
	my $result = $done{ $call->{action} } // 'adjusted';
	my %more = (created => 0);
	if ($call->{action} eq 'approve')
	{
		return _reply('duplicate', $c, %more) if $now eq 'approved';
		return 'locked' if $now ne 'pending';
		return 'unpriced' unless defined $c->{commission};
		_set($out, $c, 'staff', status => 'approved');
	}
	elsif ($call->{action} eq 'reverse')
	{
		return _reply('duplicate', $c, %more) if $now eq 'reversed';
		_set($out, $c, 'staff', status => 'reversed');
		_forget($state->{parked}, $c);
	}
	elsif ($call->{action} eq 'reopen')
	{
		return _reply('duplicate', $c, %more) if $now eq 'pending';
		return 'locked' if $now ne 'reversed';
		_set($out, $c, 'staff', status => 'pending', due => $self->{due});
	}
	elsif ($call->{action} eq 'adjust')
	{
		return 'locked' if $now ne 'pending';
		return _reply('duplicate', $c, %more) if $call->{value} == $c->{value};
		$self->_revalue($out, $c, 'staff', $call->{value});
	}
	else
	{
		return 'locked' if $now ne 'pending' || $c->{attribution} ne 'none';
		my $before = {%$c};
		@$c{qw(attribution offer publisher)} = ('click', @{ $self->{clicks}{ $call->{click} } }{qw(offer publisher)});
		$self->_take_prices($c, $at);
		_change($out, $before, $c, 'staff');
		$more{warning} = 'unpriced' unless defined $c->{commission};
	}
	return _reply($result, $c, %more);
}

sub _update
{
	my ($self, $out, $state, $call) = @_;
	my $c = $state->{conversions}{ lc $call->{goal} } or return '0 rows';
	my ($column, $value) = @$call{qw(column value)};
	if ($column eq 'hold_until')
	{
		$c->{due} = 1;
	}
	elsif ($column eq 'value')
	{
		return '1 rows' if $value == $c->{value};
		return '55000' if $c->{status} ne 'pending';
		return '23514' if $value > $c->{value};
		$self->_revalue($out, $c, 'sql', $value);
	}
	elsif ($value ne $c->{status})
	{
		my $reopens = $c->{status} eq 'reversed' && $value eq 'pending' && $c->{test};
		return '55000' unless $c->{status} eq 'pending' || $reopens;
		return '55000' if $value eq 'approved' && !defined $c->{commission};
		_set($out, $c, 'sql', status => $value, $reopens ? (due => $self->{due}) : ());
		_forget($state->{parked}, $c) if $value eq 'reversed';
	}
	return '1 rows';
}

# What a job did to the order; which conversions it took is its own affair, so it is read off the history.
sub _job
{
	my ($self, $out, $state, $call, $at) = @_;
	my %touched;
	for my $goal (grep { !$touched{$_}++ } map { lc((split / /)[0]) } @{ $call->{seen}{history} })
	{
		my $c = $state->{conversions}{$goal} or return 'absent';
		return 'not pending' if $c->{status} ne 'pending';
		if ($call->{job} eq 'reprice')
		{
			return 'priced already' if defined $c->{commission};
			my $before = {%$c};
			$self->_take_prices($c, $at);
			return 'no price yet' unless defined $c->{commission};
			_change($out, $before, $c, $out->{actor});
			$self->_apply_parked($out, $state, $c);
		}
		else
		{
			return 'unpriced' unless defined $c->{commission};
			return 'not due' if $call->{job} eq 'cron' && !$c->{due};
			_set($out, $c, $call->{job}, status => 'approved');
		}
	}
	return 'done';
}

# What the tables must say in the end.
sub rows
{
	my ($state) = @_;
	return [
		map({ _reply('row', $_, created => $_->{given}, applied => $_->{due}) } map { $state->{conversions}{$_} } sort keys %{ $state->{conversions} }),
		map { _shown('parked', @$_{qw(status goal value currency for_ever)}) } @{ $state->{parked} }
	];
}

# apply(state, call, at): what the call does to the order by the terms and rates of the setups that at names. Returns the
# next state and { replies, history, ledger, deliveries }, to be compared with the same of $call->{seen}.
sub apply
{
	my ($self, $before, $call, $at) = @_;
	my $state = copy($before);
	my $out = { replies => [], history => [], ledger => [], deliveries => [], actor => $call->{actor} // 'receipt' };
	if ($call->{items})
	{
		for my $i (0 .. $#{ $call->{items} })
		{
			push @{ $out->{replies} }, $self->_send($out, $state, $call->{items}[$i], $call->{seen}{ids}[$i], $at);
		}
	}
	else
	{
		my $reply =
		    $call->{action} ? $self->_staff($out, $state, $call, $at)
		  : $call->{column} ? $self->_update($out, $state, $call)
		  : $call->{job} ? $self->_job($out, $state, $call, $at)
		  : undef;
		$out->{replies} = defined $reply ? [$reply] : rows($state);
	}
	$out->{ledger} = [ sort @{ $out->{ledger} } ];
	return ($state, $out);
}

sub differs
{
	my ($out, $seen) = @_;
	for my $what (qw(replies history ledger deliveries))
	{
		my ($expected, $found) = map { join "\n    ", @{ $_->{$what} // [] } } $out, $seen;
		return "$what: expected\n    $expected\n  found\n    $found" if $expected ne $found;
	}
	return;
}

1;

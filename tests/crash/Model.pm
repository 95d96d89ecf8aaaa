# Model: what one order may have become, by design alone: the state table, the arithmetic of commission and fee, and the
# log of what its brand asked and was answered. Knows nothing of the product's code, tables or files.
#
# An order is a set of possible states. A request that is under way, or was never answered, may have acted at any moment
# since; an answer throws out every state in which it could not have been given. If none is left, the answer contradicts
# those before it: something acknowledged was lost, or done twice.
#
# A state is [status, value, first value, parked]: none, pending, approved or reversed; the values in minor units; parked
# is a list of "WHAT:VALUE", the follow-ups that wait for their order.

package Model;

use strict;
use warnings;
use integer;

# The terms and the fee that every order of the test has: 8.25 % of the value, and 35 % of the commission.
our ($PERCENT, $FEE_PERCENT) = (8.25, 35);

# Half away from zero; amounts are never negative here.
sub share { return (2 * $_[0] * $_[1] + $_[2]) / (2 * $_[2]) }
sub commission { return share($_[0], 825, 10000) }
sub fee { return share(commission($_[0]), 35, 100) }

# What a request means for an order that there is: the new status and value, and result or code.
sub decide
{
	my ($status, $now, $what, $value) = @_;
	return ($status, $now, 200, 'duplicate') if $what eq 'new';
	if ($what eq 'approved')
	{
		return ($status, $now, 200, 'duplicate') if $status eq 'approved';
		return ($status, $now, 409, 'locked') if $status eq 'reversed';
		return ($status, $now, 422, 'value_mismatch') if defined $value && $value != $now;
		return ('approved', $now, 200, 'approved');
	}
	if ($what eq 'reversed')
	{
		return ($status, $now, 200, 'duplicate') if $status eq 'reversed';
		return ($status, $now, 409, 'locked') if $status eq 'approved';
		return ('reversed', $now, 200, 'reversed');
	}
	return ($status, $now, 409, 'locked') if $status ne 'pending';
	return ($status, $now, 422, 'value_above_current') if $value > $now;
	return ($status, $now, 200, 'duplicate') if $value == $now;
	return ($status, $value, 200, 'adjusted');
}

# An answer in one line: what of it the model foretells.
sub answer
{
	my ($http, $word, $status, $value, @applied) = @_;
	return "$http $word" if $http != 200;
	return join ' ', $http, $word, $status, $value, commission($value), fee($value), @applied;
}

# The state after a request, and its answer.
sub act
{
	my ($state, $what, $value) = @_;
	my ($status, $now, $first, $parked) = @$state;
	if ($status ne 'none')
	{
		my ($new, $new_value, $http, $word) = decide($status, $now, $what, $value);
		return ([ $new, $new_value, $first, $parked ], answer($http, $word, $new, $new_value));
	}
	# A repeat of what waits already changes nothing when its turn comes.
	if ($what ne 'new' && !($what eq 'approved' && defined $value))
	{
		my $follow_up = join ':', $what, $value // '';
		$parked = [ @$parked, $follow_up ] unless grep { $_ eq $follow_up } @$parked;
		return ([ 'none', 0, 0, $parked ], answer(404, 'unknown_order'));
	}
	# Created; what overtook it is applied in the order of its coming; then approved, if it was to be.
	my ($created, $word, @applied) = ('pending', 'created');
	$now = $first = $value;
	for my $follow_up (@$parked)
	{
		my ($parked_what, $parked_value) = split /:/, $follow_up, 2;
		undef $parked_value if $parked_value eq '';
		my ($new, $new_value, $http, $result) = decide($created, $now, $parked_what, $parked_value);
		next if $http != 200 || $result eq 'duplicate';
		($created, $now) = ($new, $new_value);
		push @applied, $result;
	}
	if ($what eq 'approved')
	{
		$created = 'approved' if $created eq 'pending';
		$word = 'approved' if $created eq 'approved';
	}
	return ([ $created, $now, $first, [] ], answer(200, $word, $created, $now, @applied));
}

sub key
{
	my ($possible) = @_;
	my ($state, $acted) = @$possible;
	return join '|', @$state[ 0 .. 2 ], "@{ $state->[3] }", map { "$_=$acted->{$_}" } sort keys %$acted;
}

sub new
{
	return bless {
		# Pairs of a state and the answers of those requests under way that have acted in it.
		possible => [ [ [ 'none', 0, 0, [] ], {} ] ],
		under_way => {},
		unanswered => {},
	}, $_[0];
}

sub asked
{
	my ($self, $step, $what, $value) = @_;
	$self->{under_way}{$step} = [ $what, $value ];
	return;
}

# No answer came: it may act now, later, or never.
sub lost
{
	my ($self, $step) = @_;
	my $request = delete $self->{under_way}{$step};
	$self->{unanswered}{ join ':', $request->[0], $request->[1] // '' } = $request;
	delete $_->[1]{$step} for @{ $self->{possible} };
	return;
}

# Adds every state that requests under way and unanswered ones can lead to.
sub unfold
{
	my ($self) = @_;
	my @queue = @{ $self->{possible} };
	my %seen = map { key($_) => $_ } @queue;
	while (my $possible = shift @queue)
	{
		my ($state, $acted) = @$possible;
		my @next;
		for my $step (grep { !exists $acted->{$_} } keys %{ $self->{under_way} })
		{
			my ($new, $answer) = act($state, @{ $self->{under_way}{$step} });
			push @next, [ $new, { %$acted, $step => $answer } ];
		}
		for my $request (values %{ $self->{unanswered} })
		{
			my ($new) = act($state, @$request);
			push @next, [ $new, {%$acted} ];
		}
		for (@next)
		{
			my $key = key($_);
			push @queue, $seen{$key} = $_ unless $seen{$key};
		}
	}
	$self->{possible} = [ values %seen ];
	return;
}

# Takes an answer; false if it cannot have been given. Then the model goes on as if the request had not been answered.
sub answered
{
	my ($self, $step, $answer) = @_;
	if (@{ $self->{possible} } == 1 && keys %{ $self->{under_way} } == 1 && !%{ $self->{unanswered} })
	{
		# Nothing but this one request: no need to unfold.
		my ($state, $expected) = act($self->{possible}[0][0], @{ $self->{under_way}{$step} });
		$self->{possible} = [ [ $state, { $step => $expected } ] ];
	}
	else
	{
		$self->unfold;
	}
	my @left = grep { ($_->[1]{$step} // '') eq $answer } @{ $self->{possible} };
	unless (@left)
	{
		$self->lost($step);
		return 0;
	}
	delete $_->[1]{$step} for @left;
	delete $self->{under_way}{$step};
	$self->{possible} = \@left;
	return 1;
}

# All possible states, when nothing is under way any more.
sub states
{
	my ($self) = @_;
	$self->unfold;
	return map { $_->[0] } @{ $self->{possible} };
}

1;

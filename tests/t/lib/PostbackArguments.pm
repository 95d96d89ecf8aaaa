# Arguments for every SQL function of the extension, by their type and name: right ones, wrong ones, extreme ones. Made from a
# programme with something of everything in it, so that ids, tokens and orders can be named.
#
#     my $arguments = PostbackArguments->new($t);
#     for my $function ($arguments->functions) { ... $arguments->call($function) ... }
package PostbackArguments;

use strict;
use warnings;
no warnings 'qw';

use Exporter 'import';
use Test::More;

our @EXPORT_OK = qw(any argument chance quoted);

=head2 new(test)

Fills the test's database. Fields: programme (a hash as PostbackTest::programme gives it), ids (lists of ids by table).

=cut

my (%p, %ids);

sub new
{
	my ($class, $t) = @_;
	%p = $t->programme;
	$t->sql(<<"SQL");
UPDATE postback.brand SET keep_click_details = true WHERE id = '$p{brand}';
SELECT postback.set_fx_rate('USD', 'EUR', 0.9);
SELECT postback.create_promo_code('$p{brand}', 'SAVE', '$p{publisher}', '$p{offer}');
SELECT postback.create_goal('$p{offer}', 'Lead');
SELECT postback.set_terms(offer => '$p{offer}', goal => 'Lead', fixed => 500, brackets => '[{"from":10000,"percent":8}]');
SELECT postback.create_callback(name => 'tell', url => 'https://p.example/?c={click_id}&s={status}', brand => '$p{brand}', statuses => '{any}');
SELECT postback.create_callback(name => 'later', url => 'https://q.example/{order_id}', offer => '$p{offer}', method => 'POST_JSON',
    params => '{"p":"{payout}"}', headers => '{"X-A":"{order_id}"}', delay => '1 hour', secret => 'c2VjcmV0c2VjcmV0c2VjcmV0c2VjcmV0');
SELECT postback.click('$p{link}', 'sub_id=' || n) FROM generate_series(1, 5) n;
SELECT postback.receive('$p{token}', 'order=A-' || n || '&value=' || n * 1000) FROM generate_series(1, 10) n;
SELECT postback.receive('$p{token}', 'order=A-' || n || '&status=' || (ARRAY['approved', 'reversed'])[n % 2 + 1]) FROM generate_series(1, 4) n;
SELECT postback.receive('$p{token}', 'order=later&status=approved');
SELECT postback.receive('$p{token}', 'order=TEST-1&value=1&goal=Lead');
SELECT postback.receive('$p{token}', 'event=install');
SELECT postback.settle(sender => 'nobody', delivery_ids => array_agg(delivery_id), attempt_ids => array_agg(attempt_id), outcomes => '{response,response}',
    http_codes => '{200,500}', errors => NULL, retry_afters => NULL, milliseconds => NULL, addresses => NULL, responses => NULL)
FROM postback.claim('nobody', 2);
SELECT * FROM postback.claim('nobody', 3);
SQL

	for my $table (qw(brand offer goal publisher click conversion receipt delivery attempt callback terms history ledger))
	{
		$ids{$table} = [ split /\n/, $t->sql("SELECT id FROM postback.$table LIMIT 50") ];
		push @{ $ids{$table} }, split /\n/, $t->sql('SELECT attempt_id FROM postback.delivery_due WHERE attempt_id IS NOT NULL') if $table eq 'attempt';
		ok(@{ $ids{$table} } > 0, "there is a $table to be named") or die;
	}
	return bless { test => $t, programme => \%p, ids => \%ids }, $class;
}

sub any { return $_[ rand @_ ] }

sub chance { return rand() < $_[0] }

sub quoted
{
	my ($text) = @_;
	return "'" . $text =~ s/'/''/gr . "'" unless $text =~ /[\\\n]/;
	return "E'" . $text =~ s/(['\\])/$1$1/gr =~ s/\n/\\n/gr . "'";
}

my @nasty = ('', ' ', "\t", 'x', '0', '-1', '1e9', 'NaN', 'null', '{}', '[]', '{', '"', "'", "\\", '%', '%00', '%zz', '$1', "a\nb", 'é€𝄞',
	'{payout}', '{payuot}', '{', '9223372036854775808', '49.99', "';--", 'clk_', '-infinity', '127.0.0.1', '::1', '10.0.0.0/8');

# Words that some argument of some function knows.
my @words = (qw(new pending approved reversed partial rejected any json text always200 commission value conversion click event GET POST
	POST_FORM POST_JSON EUR USD JPY KWD XXX available held payable fees topup payout Lead Sale SAVE order goal status currency click_id
	delivered failed blocked gone 200-299 200-299,302 200- history ledger receipt delivery attempt conversion https://p.example/?a={payout}
	http://127.0.0.1/ https://u:p@h/ application/json application/x-www-form-urlencoded adjustment), 'multipart/form-data; boundary=b');

my @bodies = ('{"order":"J-1","value":100}', '{"order":{"a":1}}', '[1]', '{"order":"\u0000"}', 'order=B&value=5',
	"--b\r\nContent-Disposition: form-data; name=\"order\"\r\n\r\nM-1\r\n--b--\r\n", '{"a":' x 40, '"');

my @csvs = ("order,status,value\nA-1,approved,1000\n", "order;status\nA-5;reversed\nA-6;approved\n", "order\n\"A-7", "a,b\n1\n", "order,order\n1,2\n",
	"order,status,amount,currency\nA-8,partial,1.00,EUR\nA-9,approved,,\nNOPE,reversed,,\n");

my @jsons = ('{}', '[]', 'null', '1', '"x"', '{"a":"b"}', '{"a":null}', '{"a":[1,2,{"b":3}]}', '[{"from":10000,"percent":8}]', '[{"from":-1}]',
	'[{"from":1e400}]', '[{"from":1,"percent":0.1,"fixed":"x"}]', '{"transaction_id":"click_id"}', '{"ok":"approved","no":"nope"}', '{"p":"{payout}"}',
	'{"type":"basic","user":"u","password":"p"}', '{"type":"bearer","token":"t"}', '{"type":"bearer","token":{}}', '{"type":1}', '{"X-A":"{order_id}","host":"h"}',
	'[{"order":"A-1","status":"approved"},{"order":"A-2","value":5}]', '[{"order":1e30,"status":["x"]}]', '[[[[[[]]]]]]', '{"":""}', '[{"order":"A-3","value":-1.5,"currency":"ZZZ"}]');

sub query_string
{
	my @pairs = map
	{
		my $name = any(qw(order value amount value_format click_id status currency goal event sub_id reason notice promo_code offer_id publisher_id ip test sig
		  sub1 external_transaction_id nonsense), '', '%', '=');
		my %good = (order => 'A-' . int(rand 20), value => int(rand 2000), status => any(qw(new approved reversed partial)), click_id => any(@{ $ids{click} }),
			offer_id => $p{offer}, goal => 'Lead', currency => any(qw(EUR USD)), promo_code => 'SAVE', event => 'install');
		my $value = chance(0.6) ? $good{$name} // 'x' : any(@nasty, @words);
		$value =~ s/[&#]//g;
		"$name=$value"
	} 0 .. rand 5;
	unshift @pairs, 'order=A-' . int(rand 20), 'value=' . int(rand 3000) if chance(0.5);
	return join '&', @pairs;
}

# What is right for an argument of this name, as text.
my %right = (
	token => sub { $p{token} }, tokens => sub { $p{token} }, link => sub { $p{link} }, links => sub { $p{link} }, query => \&query_string, queries => \&query_string,
	csv => sub { any(@csvs) }, body => sub { any(@bodies) }, bodies => sub { any(@bodies) }, currency => sub { any(qw(EUR USD JPY)) }, account => sub { any(qw(available held payable fees)) },
	order => sub { 'A-' . int rand 12 }, orders => sub { 'A-' . int rand 12 }, url => sub { 'https://p.example/?a={payout}' }, landing_url => sub { 'https://l.example/' },
	table_name => sub { any(qw(click receipt delivery history ledger attempt conversion)) }, method => sub { any(qw(GET POST POST_FORM POST_JSON)) }, methods => sub { any(qw(GET POST)) },
	status => sub { any(qw(pending approved reversed)) }, statuses => sub { any(qw(approved rejected pending any reversed partial)) }, states => sub { any(qw(failed delivered queued)) },
	outcomes => sub { any(qw(response blocked timeout released)) }, reply_style => sub { 'text' }, fee_of => sub { any(qw(commission value)) }, base => sub { 'USD' }, quote => sub { 'EUR' },
	type => sub { any(qw(click conversion event)) }, goal => sub { 'Lead' }, success_codes => sub { '200-299,302' }, delimiter => sub { any(qw(; ,)) }, sender => sub { 'nobody' },
	secret => sub { 'whsec_' . 'c2VjcmV0c2VjcmV0c2VjcmV0c2VjcmV0' }, content_type => sub { any(@words) }, amount => sub { '12.50' }, code => sub { 'EUR' }, how => sub { any(qw(click promo_code last_click none)) },
	label => sub { 'test' }, remote => sub { '192.0.2.7' }, remotes => sub { '192.0.2.7' }, from_account => sub { 'payable' }, to_account => sub { 'payout' }, kind => sub { 'payout' });

# Which table an id of this name is of.
my %table = (conversions => 'conversion', deliveries => 'delivery', delivery_ids => 'delivery', attempt_ids => 'attempt', chosen => 'click', change => 'history', 'after' => 'receipt', before => 'receipt');

our ($depth_of_array, $length_of_arrays);

my %value = (
	text => sub {
		my ($name) = @_;
		return quoted($right{$name}->()) if $right{$name} && chance(0.6);
		return "repeat(" . quoted(any(@nasty, @words)) . ", " . any(100, 2000, $depth_of_array ? () : (70_000, 1 << 20)) . ")" if chance(0.02);
		return quoted(any(@nasty, @words, $depth_of_array ? () : (@csvs, @bodies, query_string())));
	},
	cstring => sub { return quoted(any(@nasty, @{ $ids{brand} }, 'clk_' . any(@{ $ids{click} }))) },
	'postback.ulid' => sub {
		my ($name) = @_;
		my $table = $table{$name} // ($ids{$name} ? $name : any(keys %ids));
		$table = any(keys %ids) if chance(0.1);
		return chance(0.85) ? quoted(any(@{ $ids{$table} }))
		  : any("'00000000000000000000000000'", "'7ZZZZZZZZZZZZZZZZZZZZZZZZZ'", 'postback.new_ulid()', "'nonsense'");
	},
	bigint => sub { return any(0, 1, -1, 100, 4999, 10**15, '9223372036854775807', "'-9223372036854775808'", int rand 100_000) },
	integer => sub { return any(0, 1, -1, 2, 5, 100, 1000, 2147483647, "'-2147483648'", int rand 500) },
	smallint => sub { return any(0, 1, -1, 2, 32767, -32768) },
	numeric => sub { return any(0, 1, -1, 8, 35, 99.999999, 0.0000001, "'NaN'", "'Infinity'", "'-Infinity'", '1e131071', '1e-16383', 100, 12.5) },
	boolean => sub { return any('true', 'false') },
	interval => sub { return any("'0'", "'2 minutes'", "'1 hour'", "'7 days'", "'14 days'", "'1 month'", "'-1 day'", "'178000000 years'", "'-178000000 years'", "'1 microsecond'", "'1 year -12 months'", "'30 days'") },
	'timestamp with time zone' => sub { return any("now()", "now() - interval '1 hour'", "now() + interval '1 hour'", "now() - interval '40 days'", "'infinity'", "'-infinity'", "'294276-12-31 23:59:59Z'", "'4714-11-24 BC'", "'1970-01-01Z'", "'10889-08-02 05:31:50.655Z'", "'10889-08-03Z'") },
	date => sub { return any('current_date', 'current_date - 3', "'infinity'", "'-infinity'", "'5874897-12-31'", "'4713-01-01 BC'", "'1970-01-01'") },
	inet => sub { return quoted(any('192.0.2.7', '10.0.0.1/8', '::1', '2001:db8::/32', '0.0.0.0/0', '255.255.255.255')) },
	cidr => sub { return quoted(any('192.0.2.0/24', '::/0', '0.0.0.0/0', '10.0.0.0/8', '::1/128')) },
	bytea => sub { return any("''", "'\\x00'", "'\\xff00ff'", "'order=B&value=1'", "decode(repeat('00', 1000), 'hex')") },
	uuid => sub { return quoted(any('00000000-0000-0000-0000-000000000000', 'ffffffff-ffff-ffff-ffff-ffffffffffff', '01943c4e-9f9a-7000-8000-000000000000')) },
	jsonb => sub { return chance(0.02) ? "(SELECT jsonb_agg(n) FROM generate_series(1, 5000) n)" : quoted(any(@jsons)) },
	regclass => sub { return quoted(any('postback.click', 'postback.receipt', 'pg_class', 'public.ulids', '0', '999999999', 'postback.conversion_pkey')) },
);
# A row: one that is there, one without anything, one of odd values.
for my $row (qw(terms click receipt conversion history request))
{
	$value{"postback.$row"} = sub {
		return "jsonb_populate_record(NULL::postback.$row, '{}')" if chance(0.2);
		return "postback.receipt_request(" . quoted(any(@{ $ids{receipt} })) . ")" if $row eq 'request';
		return "(SELECT x FROM postback.$row x OFFSET " . int(rand 6) . " LIMIT 1)";
	};
}

# One of an array, or a value.
sub element
{
	my ($type, $name) = @_;
	return chance(0.08) ? 'NULL' : $value{$type}->($name);
}

=head2 argument(type, name)

An SQL expression of the type, often one that is right for an argument of the name.

=cut

sub argument
{
	my ($type, $name) = @_;
	return "NULL::$type" if chance(0.08);
	return '(' . ($value{$type} // die "no values for type $type\n")->($name) . ")::$type" unless $type =~ /^(.*)\[\]$/;

	my $of = $1;
	local $depth_of_array = 1;
	return "'{}'::$type" if chance(0.05);
	return "array_fill(" . element($of, $name) . "::$of, ARRAY[" . any(1000, 5000) . "])" if chance(0.01);
	return "array_fill(" . element($of, $name) . "::$of, ARRAY[" . any('2,2', '1,3', '2,1,2') . "])" if chance(0.03);
	return "array_fill(" . element($of, $name) . "::$of, ARRAY[3], ARRAY[" . any(0, 5, -7, 2147483640) . "])" if chance(0.03);
	my $length = defined $length_of_arrays && chance(0.95) ? $length_of_arrays : 1 + int rand 5;
	return 'ARRAY[' . join(', ', map { element($of, $name) } 1 .. $length) . "]::$type";
}

=head2 functions()

Every function, procedure and aggregate of the extension that SQL can call: name, schema, kind, set, signature, trigger, types, names and
defaults (how many arguments have one).

=cut

sub functions
{
	my ($self) = @_;
	return grep { !grep { $_ eq 'internal' } @{ $_->{types} } } $self->{test}->rows(<<'SQL');
SELECT p.proname AS name, n.nspname AS schema, p.prokind AS kind, p.proretset AS set, p.oid::regprocedure::text AS signature, p.pronargdefaults AS defaults,
    p.prorettype = 'trigger'::regtype AS trigger,
    coalesce((SELECT json_agg(a.t::regtype::text ORDER BY a.n) FROM unnest(p.proargtypes) WITH ORDINALITY a (t, n)), '[]') AS types,
    coalesce(p.proargnames[1:p.pronargs], '{}') AS names
FROM pg_proc p JOIN pg_namespace n ON n.oid = p.pronamespace
JOIN pg_depend d ON d.classid = 'pg_proc'::regclass AND d.objid = p.oid AND d.deptype = 'e'
JOIN pg_extension e ON d.refclassid = 'pg_extension'::regclass AND e.oid = d.refobjid AND e.extname = 'postback'
ORDER BY 5
SQL
}

=head2 call(function, index, literal)

A statement that calls it with arguments of all kinds; those that have a default may be missing. With an index, that argument is the
SQL literal.

=cut

sub call
{
	my ($self, $function, $index, $literal) = @_;
	my @types = @{ $function->{types} };
	my @arguments;
	local $length_of_arrays = any(0, 1, 2, 3, 8);
	for my $i (0 .. $#types)
	{
		my $name = $function->{names}[$i] // '';
		my $chosen = defined $index && $i == $index;
		next if !$chosen && $name ne '' && $i >= @types - $function->{defaults} && chance(0.4);
		push @arguments, ($name ne '' ? "\"$name\" => " : '') . ($chosen ? $literal : argument($types[$i], $name));
	}
	my $call = "$function->{schema}.\"$function->{name}\"(" . join(', ', @arguments) . ')';
	return "CALL $call" if $function->{kind} eq 'p';
	return "SELECT $call FROM generate_series(1, 3)" if $function->{kind} eq 'a';
	return "SELECT * FROM $call" if $function->{set} && chance(0.7);
	return "SELECT $call";
}

1;

# No argument takes a backend down: every SQL function, operator, cast, aggregate, trigger and I/O function of the extension is
# called with random and extreme arguments, of which some are right. A crash, an internal error, broken SQL, a call that takes
# half a minute, or memory that grows is a failure; any other error is an answer.
#
#     make check TESTS=tap ONLY=110_safety CALLS=1000000      (10,000 by default)
#     SAFETY_SEED=7                                           the arguments of an earlier run

use strict;
use warnings;

use FindBin;
use lib "$FindBin::Bin/lib";
use PostbackArguments qw(any argument chance quoted);
use PostbackTest;
use PostgreSQL::Test::Utils;
use Test::More;

my $calls = $ENV{CALLS} || 10_000;
my $seed = $ENV{SAFETY_SEED} // (time ^ $$) & 0x7fffffff;
srand $seed;
note "SAFETY_SEED=$seed CALLS=$calls";

# Not answers: internal errors, corruption, resources, connections, and mistakes in SQL, ours or the test's.
my $unexpected = qr/^(?:XX|58|53|57|08|42(?:601|P01|P02|703|702|725|883|P18|846)$)/;

# Large blocks go back to the system when they are freed, so that what the process keeps can be measured.
@ENV{qw(MALLOC_MMAP_THRESHOLD_ MALLOC_TRIM_THRESHOLD_)} = (65536, 65536);
my $t = PostbackTest->new(settings => 'max_stack_depth = 2MB');
my $scratch = "$PostgreSQL::Test::Utils::tmp_check/safety";
$scratch = POSIX::getcwd() . "/$scratch" unless $scratch =~ m{^/};
mkdir $scratch or die "$scratch: $!";

my $arguments = PostbackArguments->new($t);
$t->sql(<<'SQL');
CREATE TABLE public.ulids (id postback.ulid);
INSERT INTO public.ulids SELECT postback.new_ulid() FROM generate_series(1, 10);
CREATE SCHEMA odd;
SQL

# ---- calls ----

# Each: name, SQL; commits: it does so of itself; early: PostgreSQL itself keeps something of each such call (a function of PL/pgSQL
# that could not be compiled, as a trigger's outside of a trigger; a table that was rolled back), so they come first, before memory is
# looked at; expected: an error that is its answer.
my @callables;
my %odd = (keep_partitions => { early => 1 }, make_partition => { early => 1, expected => qr/^42P01$/ });

for my $f ($arguments->functions)
{
	push @callables, { name => $f->{signature}, sql => sub { return $arguments->call($f) }, commits => $f->{kind} eq 'p', trigger => $f->{trigger}, early => $f->{trigger},
		%{ $odd{ $f->{name} } // {} } };
}
my $functions = @callables;

for my $o ($t->rows(<<'SQL'))
SELECT o.oprname AS name, coalesce(nullif(o.oprleft, 0)::regtype::text, '') AS before, o.oprright::regtype::text AS behind FROM pg_operator o
JOIN pg_depend d ON d.classid = 'pg_operator'::regclass AND d.objid = o.oid AND d.deptype = 'e'
JOIN pg_extension e ON d.refclassid = 'pg_extension'::regclass AND e.oid = d.refobjid AND e.extname = 'postback'
SQL
{
	my ($operator, $left, $right) = @{$o}{qw(name before behind)};
	push @callables, { name => "operator $left $operator $right",
		sql => sub { return 'SELECT ' . argument($left, '') . " OPERATOR(pg_catalog.$operator) " . argument($right, '') } };
}
for my $c ($t->rows(<<'SQL'))
SELECT c.castsource::regtype::text AS source, c.casttarget::regtype::text AS target FROM pg_cast c
JOIN pg_depend d ON d.classid = 'pg_cast'::regclass AND d.objid = c.oid AND d.deptype = 'e'
JOIN pg_extension e ON d.refclassid = 'pg_extension'::regclass AND e.oid = d.refobjid AND e.extname = 'postback'
SQL
{
	my ($source, $target) = @{$c}{qw(source target)};
	push @callables, { name => "cast $source as $target", sql => sub { return 'SELECT ' . argument($source, '') . "::$target" } };
}

# ulid_recv takes an internal: rows in COPY's binary format call it. They are right when they have 16 bytes.
for my $n (1 .. 40)
{
	my $field = sub { my $length = chance(0.6) ? 16 : int rand 20; return pack('n', 1) . (chance(0.1) ? pack 'N', 0xFFFFFFFF : pack 'Na*', $length, join '', map { chr rand 256 } 1 .. $length) };
	open my $file, '>:raw', "$scratch/recv$n" or die $!;
	print $file "PGCOPY\n\xff\r\n\0", pack('NN', 0, 0), (map { $field->() } 1 .. 1 + rand 3), pack('n', 0xFFFF);
	close $file or die $!;
}
push @callables, { name => 'ulid_recv', expected => qr/^08P01$/, sql => sub { "COPY public.ulids FROM '$scratch/recv" . (1 + int rand 40) . "' (FORMAT binary)" } },
  { name => 'ulid_send', sql => sub { "COPY (SELECT " . argument('postback.ulid', '') . " FROM public.ulids) TO '$scratch/sent' (FORMAT binary)" } };

# Triggers on tables that have nothing of what they expect, of which some have the right names of columns, but not their types. As
# PostgreSQL keeps something of every trigger of PL/pgSQL, they come once, before the others.
my %odd_columns = (other => 'a integer');
for my $table (qw(conversion callback brand))
{
	$odd_columns{$table} = $t->sql("SELECT string_agg(quote_ident(attname) || ' integer DEFAULT 1', ', ' ORDER BY attnum) FROM pg_attribute WHERE attrelid = 'postback.$table'::regclass AND attnum > 0");
}
$t->sql("CREATE TABLE odd.$_ ($odd_columns{$_})") for sort keys %odd_columns;
my @early;
for my $table (sort keys %odd_columns)
{
	for my $function (map { $_->{name} =~ /^(.*)\(\)$/ } grep { $_->{trigger} } @callables)
	{
		for my $event ('BEFORE INSERT', 'BEFORE UPDATE', 'AFTER DELETE', 'AFTER INSERT OR UPDATE', 'AFTER TRUNCATE', 'AFTER UPDATE')
		{
			for my $level ('ROW', 'STATEMENT')
			{
				next if $event =~ /TRUNCATE/ && $level eq 'ROW';
				my ($column) = $odd_columns{$table} =~ /^("?\w+"?)/;
				push @early, { name => "trigger $function $event $level on $table", expected => qr/^42(?:703|883)$/,
					sql => "CREATE TRIGGER odd $event ON odd.$table FOR EACH $level EXECUTE FUNCTION $function('x') \\; INSERT INTO odd.$table DEFAULT VALUES "
					  . "\\; UPDATE odd.$table SET $column = 2 \\; DELETE FROM odd.$table \\; TRUNCATE odd.$table" };
			}
		}
	}
}

cmp_ok($functions, '>', 100, "functions are found ($functions, and " . (@callables - $functions) . ' other ways to call them)');

# ---- one backend, all calls ----

my $session = $t->session('calls');
$session->run('/dev/null', 'SET client_min_messages = error;', "SET statement_timeout = '30s';", 'SET synchronous_commit = off;', 'SET jit = off;');

# Of the backend: bytes of its memory contexts by name, and of the process without shared memory.
sub memory
{
	$session->run("$scratch/memory", 'SELECT name, sum(used_bytes) FROM pg_backend_memory_contexts GROUP BY 1;',
		"SELECT 'process', 1024 * substring(pg_read_file('/proc/self/status') FROM 'RssAnon:\\s+(\\d+)')::bigint;");
	my %bytes = map { /^(.*)\|(\d+)$/ ? ($1 => $2) : () } split /\n/, slurp_file("$scratch/memory");
	my $process = delete $bytes{process};
	my $contexts = 0;
	$contexts += $_ for values %bytes;
	return { process => $process, contexts => $contexts, by_name => \%bytes };
}

# Of those that come first as many as of each of the others.
push @early, map { my $c = $_; map { $c } 1 .. $calls / @callables } grep { $_->{early} } @callables;
my @usual = grep { !$_->{early} } @callables;

my ($made, %called, %answered, %errors, @bad, @memory, @last) = (0);
my $chunk = $calls < 50_000 ? int($calls / 10) || 1 : 5_000;
while ($made < $calls && $session->alive)
{
	my (@lines, @of_line);
	for (1 .. $chunk)
	{
		my $c = shift @early // $usual[ $made % @usual ];
		my $sql = ref $c->{sql} ? $c->{sql}->() : $c->{sql};
		# Few are kept, so that ids stay good and the tables small.
		my $keep = $c->{commits} || (!$c->{early} && ref $c->{sql} && chance(0.02));
		push @lines, ($keep ? '' : 'BEGIN \; ') . "$sql;", $keep ? '' : 'ROLLBACK;';
		push @of_line, $c, undef;
		$made++;
	}
	my $failed = $session->run('/dev/null', @last = @lines) or last;
	for my $line (grep { $of_line[ $_ - 1 ] } 1 .. @lines)
	{
		my ($c, $code) = ($of_line[ $line - 1 ], $failed->{$line});
		$called{ $c->{name} }++;
		$answered{ $c->{name} }++ unless $code;
		$errors{$code}++ if $code;
		push @bad, "$code from $c->{name}: $lines[ $line - 1 ]" if $code && $code =~ $unexpected && !($c->{expected} && $code =~ $c->{expected});
	}
	push @memory, { calls => $made, %{ memory() } };
}

ok($session->alive, "the backend lives after $made calls");
unlike(slurp_file($t->node->logfile), qr/was terminated by signal|PANIC|TRAP/, 'no process of the server was terminated');
my %seen;
is(join("\n", grep { !$seen{ substr $_, 0, 60 }++ } @bad), '', 'no internal error, no broken SQL, nothing that does not end');

my @never = grep { $called{$_} && !$answered{$_} } map { $_->{name} } grep { !$_->{trigger} } @callables;
cmp_ok(scalar(@never), '<=', $calls < 100_000 ? @callables / 4 : 0, 'functions also get arguments that they answer: ' . (@callables - @never) . ' of ' . @callables);
note "never without an error: $_" for @never;
note "errors by code: " . join ', ', map { "$_ $errors{$_}" } sort keys %errors;
note sprintf 'memory after %d calls: contexts %d, process %d', @{$_}{qw(calls contexts process)} for @memory;

# Plans and caches grow until every path has been taken: in the first half of many calls, or when the same ones are made again. The
# process's pages settle only after some hundred thousand.
sub growth_is_small
{
	my ($what, $from, $to) = @_;
	return cmp_ok($to->{contexts} - $from->{contexts}, '<', 1 << 20, "$what: memory contexts do not grow by 1 MB")
	  || diag join "\n", map { "$_: $from->{by_name}{$_} to $to->{by_name}{$_}" }
	  grep { ($to->{by_name}{$_} // 0) - ($from->{by_name}{$_} //= 0) > 10_000 } sort keys %{ $to->{by_name} };
}

if ($session->alive)
{
	$session->run('/dev/null', @last);
	my $from = memory();
	$session->run('/dev/null', @last) for 1 .. 3;
	growth_is_small('the same calls again', $from, memory());
	if ($calls >= 100_000)
	{
		my ($half, $end) = @memory[ $#memory / 2, -1 ];
		growth_is_small('the second half of the calls', $half, $end);
		cmp_ok($end->{process} - $half->{process}, '<', 1 << 20, 'nor does the process') if $calls >= 300_000;
	}
}
$session->end;
$t->audit_ok;
$t->finish;

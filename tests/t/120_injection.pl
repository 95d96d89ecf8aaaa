# Text is never SQL: strings that break out of quotes, sent in every HTTP parameter under each of its names, in headers, paths and
# bodies, and as every text argument of every function, run no statement that harmless text does not run too (as
# pg_stat_statements counts them, also those inside functions); and the rows hold the strings as they were sent.
#
#     INJECTION_SEED=7        the other arguments of an earlier run

use strict;
use warnings;

use FindBin;
use lib "$FindBin::Bin/lib";
use PostbackArguments qw(quoted);
use PostbackTest;
use PostgreSQL::Test::Utils;
use Test::More;

my $seed = $ENV{INJECTION_SEED} // (time ^ $$) & 0x7fffffff;
srand $seed;
note "INJECTION_SEED=$seed";

my $t = PostbackTest->new(settings => qq{shared_preload_libraries = 'pg_cron,pg_stat_statements'
pg_stat_statements.track = all
pg_stat_statements.max = 50000
});
$t->sql('CREATE EXTENSION pg_stat_statements');
my $arguments = PostbackArguments->new($t);
my %p = %{ $arguments->{programme} };
# Without clicks: what a click carried would be kept instead of the call's own sub_id.
my %quiet = $t->programme(name => 'Quiet');
$t->sql("UPDATE postback.brand SET keep_click_details = true WHERE id = '$p{brand}'");
$t->serve(flags => [ '--trust-proxy', '127.0.0.1/32' ]);

my @strings = (
	q{' OR '1'='1}, q{'; CREATE TABLE public.pwned (); --}, q{\'; CREATE TABLE public.pwned (); --}, q{''; SELECT 1; --},
	q{"; CREATE TABLE public.pwned (); --}, q{$$; CREATE TABLE public.pwned (); $$}, q{'||(SELECT pg_sleep(0))||'}, q{') ; DELETE FROM postback.click; --},
	q{%s%I%L%1$s}, q{$1}, q{'::regclass}, q{/*}, q{"}, q{'}, q{\\}, q{pg_sleep(0)}, q{{order_id}');--}, q{1);SELECT 1;--}, qq{a'\nSELECT 1;--});
# The same without what SQL sees in it, and text that parameters take.
my @harmless = ((map { tr/A-Za-z0-9 /x/cr } @strings), 'plain', '1', '', 'EUR', 'approved', 'A-1', 'x.y', 'a b');

# ---- what ran ----

my %known;

# Statements by shape that ran and were not known; they are known then.
sub new_statements
{
	my @new;
	for my $row ($t->rows("SELECT queryid::text || toplevel AS id, query FROM pg_stat_statements WHERE query !~ 'pg_stat_statements'"))
	{
		push @new, $row->{query} unless $known{ $row->{id} }++;
	}
	return @new;
}

# ---- over HTTP ----

# Every name that a parameter of a postback goes by, and what it is then kept as (where it is).
my %names = (
	order => [qw(order order_id transaction_id txid txn_id action_id)], value => ['value'], amount => [qw(amount sale_amount)], value_format => ['value_format'],
	click_id => [qw(click_id clickid)], status => [qw(status conversion_status)], currency => ['currency'], goal => [qw(goal goal_id goal_name)], event => [qw(event event_name)],
	sub_id => [qw(sub_id subid aff_sub)], reason => [qw(reason rejection_reason)], notice => [qw(notice comment)], promo_code => [qw(promo_code coupon voucher)],
	offer_id => ['offer_id'], publisher_id => ['publisher_id'], ip => ['ip'], test => ['test'], sig => ['sig']);
my %column = (order => 'order_ref', goal => 'goal', sub_id => 'sub_id', notice => 'notice', promo_code => 'promo_code');
my @click_names = ('sub_id', (map { "sub$_" } 1 .. 10), 'external_transaction_id');

sub json_string { return JSON::PP->new->allow_nonref->ascii->encode($_[0]) }

my $orders = 0;

# One request; false, and why, when nothing came of it.
sub answered
{
	my ($method, $target, %options) = @_;
	my $reply = $t->request($method, $target, %options);
	return $reply->{status} && $reply->{status} < 500 ? 1 : !diag "$method $target: " . ($reply->{status} // $reply->{error});
}

sub postbacks
{
	my ($string, $kept) = @_;
	my $bad = 0;
	for my $parameter (sort keys %names)
	{
		for my $name (@{ $names{$parameter} })
		{
			my $order = 'I-' . ++$orders;
			my $target = '/p/' . ($parameter eq 'sub_id' ? $quiet{token} : $p{token});
			my @pairs = (($parameter eq 'order' ? () : (order => $order)), ($parameter =~ /^(?:value|amount)$/ ? () : (value => 100)), $name => $string);
			my $body = join "\r\n", map({ ('--b', "Content-Disposition: form-data; name=\"$pairs[2 * $_]\"", '', $pairs[ 2 * $_ + 1 ]) } 0 .. $#pairs / 2), '--b--', '';
			my $json = '{' . join(',', map { json_string($pairs[ 2 * $_ ]) . ':' . json_string($pairs[ 2 * $_ + 1 ]) } 0 .. $#pairs / 2) . '}';
			my $way = $orders % 4;
			$bad++ unless $way == 0 ? answered('GET', "$target?" . PostbackTest::query(@pairs))
			  : $way == 1 ? answered('POST', $target, body => PostbackTest::query(@pairs), headers => { 'Content-Type' => 'application/x-www-form-urlencoded' })
			  : $way == 2 ? answered('POST', $target, body => $body, headers => { 'Content-Type' => 'multipart/form-data; boundary=b' })
			  : answered('POST', $target, body => $json, headers => { 'Content-Type' => 'application/json' });
			my $trimmed = $string =~ s/^ +| +$//gr;
			next unless $kept && $column{$parameter} && $trimmed ne '';
			push @{ $kept->{ $column{$parameter} } }, [ $parameter eq 'order' ? $trimmed : $order, $trimmed ];
		}
	}
	return $bad;
}

sub clicks_and_headers
{
	my ($string) = @_;
	my $bad = 0;
	my $line = $string =~ s/[\r\n]/ /gr;
	my $path = PostbackTest::query($string => '') =~ s/=$//r;
	for my $name (@click_names)
	{
		answered('GET', "/c/$p{link}?" . PostbackTest::query($name => $string)) or $bad++;
	}
	answered('GET', "/c/$p{link}?sub_id=headers", headers => { 'User-Agent' => $line, 'Referer' => $line, 'CF-IPCountry' => $line, 'X-Forwarded-For' => $line, 'Cookie' => "postback_click=$line" }) or $bad++;
	answered('POST', "/p/$p{token}", body => 'order=H&value=1', headers => { 'Content-Type' => 'application/x-www-form-urlencoded', 'X-Postback-Signature' => $line, Cookie => "postback_click=$line" }) or $bad++;
	answered('GET', "/p/$p{token}.gif?order=G&value=1", headers => { Cookie => 'postback_click_' . substr($p{token}, 0, 8) . "=$line" }) or $bad++;
	answered('GET', "/c/$path") or $bad++;
	answered('GET', "/p/$path?order=1") or $bad++;
	answered('GET', "/p/$p{token}?$path=1&order=N&value=1") or $bad++;
	return $bad;
}

my $bad = 0;
$bad += postbacks($_) + clicks_and_headers($_) for @harmless;
is($bad, 0, 'harmless requests are answered');
cmp_ok(scalar(new_statements()), '>', 10, 'they run statements');
my %kept;
$bad = 0;
$bad += postbacks($_, \%kept) + clicks_and_headers($_) for @strings;
is($bad, 0, 'the others too');
is(join("\n", new_statements()), '', 'and run no others');

# Rows, compared by bytes: psql prints what JSON makes of them.
for my $column (sort keys %kept)
{
	my %row = map { $_->{order_ref} => $_->{value} } $t->rows("SELECT order_ref, $column AS value FROM postback.conversion");
	my @lost = grep { ($row{ $_->[0] } // '(no row)') ne $_->[1] } @{ $kept{$column} };
	is(join("\n", map { "$_->[0]: $_->[1] is " . ($row{ $_->[0] } // 'not there') } @lost), '', "$column holds what was sent (" . @{ $kept{$column} } . ' times)');
}
my %clicks = map { ($_->{value} // '') => 1 } $t->rows('SELECT sub_id AS value FROM postback.click');
is(join("\n", grep { !$clicks{ s/^ +| +$//gr } } @strings), '', 'sub_id of clicks too');

# ---- as arguments of functions ----

# An SQL literal of the type with the string in it, where such an argument keeps its text.
sub with_string
{
	my ($type, $name, $string) = @_;
	my $text = quoted($string);
	my $json = quoted(json_string($string));
	return quoted(PostbackTest::query(order => $string, value => 1)) . '::text' if $name eq 'query';
	return "ARRAY[" . quoted(PostbackTest::query(order => $string, value => 1)) . ']::text[]' if $name eq 'queries';
	return quoted("order,status,notice\n\"" . $string =~ s/"/""/gr . "\",new,\"" . $string =~ s/"/""/gr . "\"\n") . '::text' if $name eq 'csv';
	return "$text\::text" if $type eq 'text';
	return "ARRAY[$text]::text[]" if $type eq 'text[]';
	return "($text)::cstring" if $type eq 'cstring';
	return quoted('[{"order":' . json_string($string) . ',"status":' . json_string($string) . '}]') . '::jsonb' if $name eq 'rows';
	return quoted('{' . json_string($string) . ':' . json_string($string) . '}') . '::jsonb' if $type eq 'jsonb';
	return;
}

my $session = $t->session('arguments');
$session->run('/dev/null', 'SET client_min_messages = error;', "SET statement_timeout = '60s';");

# Takes the places of all text arguments, twice with other arguments beside them.
my @places;
for my $function ($arguments->functions, { pasting => 1, name => 'paste', schema => 'public', kind => 'f', types => ['text'], names => ['what'], defaults => 0, signature => 'paste' })
{
	for my $i (0 .. $#{ $function->{types} })
	{
		my ($type, $name) = ($function->{types}[$i], $function->{names}[$i] // '');
		next unless defined with_string($type, $name, '');
		push @places, map { { function => $function, what => "$function->{signature}, argument $name", call => $arguments->call($function, $i, 'HERE'), type => $type, name => $name } } 1 .. 2;
	}
}
cmp_ok(scalar(@places), '>', 100, 'functions have text arguments (' . @places / 2 . ')');

# The test itself is tested with a function that pastes its argument into SQL.
$t->sql(q{CREATE FUNCTION public.paste(what text) RETURNS void LANGUAGE plpgsql AS $$ BEGIN EXECUTE 'SELECT ''' || what || ''''; END $$});

sub call_places
{
	my ($places, @with) = @_;
	my @lines;
	for my $place (@$places)
	{
		for my $string (@with)
		{
			my $literal = with_string($place->{type}, $place->{name}, $string);
			push @lines, $place->{function}{kind} eq 'p' ? () : 'BEGIN;', $place->{call} =~ s/HERE/$literal/r . ';', $place->{function}{kind} eq 'p' ? () : 'ROLLBACK;';
		}
	}
	return $session->run('/dev/null', @lines);
}

my @ours = grep { !$_->{function}{pasting} } @places;
my @pasting = grep { $_->{function}{pasting} } @places;
for my $round (1 .. 2)
{
	ok(defined call_places(\@places, @harmless), "the backend lives after harmless arguments ($round)");
}
cmp_ok(scalar(new_statements()), '>', 100, 'they run statements');
ok(defined call_places(\@ours, @strings), 'and after the others');
is(join("\n", new_statements()), '', 'which run no others');
call_places(\@pasting, @strings);
cmp_ok(scalar(new_statements()), '>', 0, 'those that ran would be seen');

is($t->sql("SELECT to_regclass('public.pwned')"), '', 'nothing was made');
is($t->sql('SELECT dealloc FROM pg_stat_statements_info'), '0', 'no statement was forgotten');
$session->end;
$t->audit_ok;
$t->finish;

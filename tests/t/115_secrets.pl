# Planted secrets turn up nowhere: not in the logs of PostgreSQL, serve and send at their most talkative, not in errors, not in
# what other sessions see of these, not in metrics, not in a dump without the four tables that hold secrets.
#
# What an administrator types stands in the log if statements are logged at all, so secrets are planted in sessions that log
# none; the daemon's roles have log_parameter_max_length = 0. The README says both.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::Bin/lib";
use PostbackTest;
use PostgreSQL::Test::Utils;
use Digest::SHA qw(hmac_sha256_hex);
use MIME::Base64 qw(encode_base64);
use Test::More;

my $t = PostbackTest->new(
	settings => qq{shared_preload_libraries = 'pg_cron,pg_stat_statements'
pg_stat_statements.track = all
pg_stat_statements.save = off
log_statement = 'all'
log_min_duration_statement = 0
log_parameter_max_length_on_error = 0
log_min_messages = debug1
log_error_verbosity = verbose
log_lock_waits = on
deadlock_timeout = 100ms
});
$t->sql('CREATE EXTENSION pg_stat_statements');
my $echo = $t->receiver;
my %p = $t->programme(receiver => $echo, statuses => '{any}');

# What must not be seen again, by name.
my %secret = (
	'HMAC secret' => 'plantedhmacsecret4711',
	'bearer token' => 'plantedbearer.0815~token',
	'basic password' => 'plantedpassword1234',
	'signing secret' => encode_base64('planted signing secret 2468!!', ''),
	'callback secret that was rotated away' => encode_base64('planted former secret 1357!!!', ''));
$secret{'basic credentials'} = encode_base64("user:$secret{'basic password'}", '');

# What a session is told that is to plant a secret.
my $unlogged = 'SET log_statement = none; SET log_min_duration_statement = -1; SET log_min_error_statement = panic; SET pg_stat_statements.track = none;';

sub plant
{
	my ($query) = @_;
	return $t->sql("$unlogged $query");
}
my $token = plant(qq{SELECT token FROM postback.issue_token(brand => '$p{brand}', label => 'signed', hmac_secret => '$secret{'HMAC secret'}')});
$secret{token} = ($token =~ /_(.+)/)[0];
$secret{'unsigned token'} = ($p{token} =~ /_(.+)/)[0];
$secret{'HMAC secret, as it is hashed'} = $t->sql("SELECT encode(secret_hash, 'hex') FROM postback.token WHERE label = 'signed'");
$secret{'address key'} = $t->sql("SELECT encode(address_key, 'hex') FROM postback.brand WHERE id = '$p{brand}'");
my $url = $echo->url;
my $bearer = plant(qq{SELECT postback.create_callback('bearer', '$url/bearer', brand => '$p{brand}', statuses => '{any}',
	auth => '{"type":"bearer","token":"$secret{'bearer token'}"}', secret => '$secret{'callback secret that was rotated away'}')});
my $basic = plant(qq{SELECT postback.create_callback('basic', '$url/basic', brand => '$p{brand}', statuses => '{any}', method => 'POST_JSON',
	auth => '{"type":"basic","user":"user","password":"$secret{'basic password'}"}', params => '{"a": "{order_id}"}')});
plant("SELECT postback.rotate_secret('$bearer', '$secret{'signing secret'}')");

# The programme's own token was made in plain sight by the test's library: only from here on is everything watched.
my $from = -s $t->node->logfile;
$t->sql('SELECT pg_stat_statements_reset()');

my $serve = $t->serve(flags => [ '--log-level', 'debug' ]);
my $send = $t->send(flags => [ '--log-level', 'debug', '--poll-ms', '20', '--lease', '20' ]);
my $logins = join ' ', $serve->{pid}, $send->{pid};

# Calls of every kind, good and bad, with both tokens; servers that echo what they are sent.
$echo->behave('echo');
my $click = ($t->click($p{link}, sub_id => 'a')->{headers}{location} =~ /click_id=(\w+)/)[0];
sub signed
{
	my ($query) = @_;
	return $t->request('GET', "/p/$token?$query&sig=" . hmac_sha256_hex($query, $secret{'HMAC secret'}));
}
is(signed("order=S-1&value=1000&click_id=$click")->{json}{result}, 'created', 'a signed call');
my @answers = (signed('order=S-1&status=approved'), signed('order=S-2&status=approved'), signed('order=S-1&value=x'), signed('order=%ff'), signed('status=reversed&order=S-1'));
push @answers, $t->request('GET', "/p/$token?order=S-3&value=1&sig=" . 'ab' x 32), $t->request('GET', "/p/$token.gif?order=S-3&value=1"),
  $t->request('POST', "/p/$token", body => '{"order":{}}', headers => { 'Content-Type' => 'application/json' }),
  $t->request('POST', "/p/$token", body => 'x' x 70000), $t->request('PUT', "/p/$token?order=1"), $t->request('GET', "/p/$token/more"),
  $t->request('GET', "/p/${token}x?order=1&value=1"), $t->request('GET', "/p/$token?order=1&value=" . 'x' x 9000),
  $t->raw("GET /p/$token?order=1 HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n"), $t->raw("GET /p/$token HTTP/1.1\r\nX-Token: $token\r\n\r\n"),
  $t->postback($p{token}, order => 'U-1', value => 5), $t->postback($p{token}, order => 'U-1', value => 'x'),
  $t->request('GET', "/c/$token");
$t->sql("SELECT postback.revoke_token(brand => '$p{brand}', label => 'test')");
push @answers, $t->postback($p{token}, order => 'U-2', value => 5);
unlike(join("\n", map { $_->{raw} // join "\n", $_->{body}, %{ $_->{headers} // {} } } @answers), qr/\Q$secret{'HMAC secret'}\E|_$secret{'unsigned token'}/, 'no answer has one');

# Errors inside the database: a table that refuses every row, with the row in the error's detail; a lock that is not given up.
$t->sql('ALTER TABLE postback.conversion ADD CONSTRAINT broken CHECK (false) NOT VALID');
is(signed('order=S-4&value=1')->{status}, 503, 'an error in the database is answered 503');
$t->sql('ALTER TABLE postback.conversion DROP CONSTRAINT broken; ALTER TABLE postback.attempt ADD CONSTRAINT broken CHECK (false) NOT VALID');
$t->sql("SELECT postback.resend(id) FROM postback.delivery WHERE callback_id IN ('$bearer', '$basic')");
$t->wait_until('an error is met while settling', sub { $t->log($send) =~ /could not be settled/ });
$t->sql('ALTER TABLE postback.attempt DROP CONSTRAINT broken');
my $locker = $t->node->background_psql('postgres');
$locker->query_safe('BEGIN; LOCK TABLE postback.conversion, postback.token');
is(signed('order=S-5&value=1')->{status}, 503, 'so is a lock that is not given up');
$locker->query_safe('COMMIT');
$locker->quit;
$t->wait_until('serve works again', sub { signed('order=S-6&value=1')->{status} == 200 });
$t->wait_until('all is delivered', "SELECT count(*) = 0 FROM postback.delivery_due WHERE due_at < now() + interval '1 hour'");
cmp_ok(scalar(grep { ($_->{headers}{authorization} // '') =~ /\Q$secret{'bearer token'}\E|\Q$secret{'basic credentials'}\E/ } $echo->received), '>', 1, 'the credentials were sent');
cmp_ok($t->sql("SELECT count(*) FROM postback.attempt WHERE response LIKE '%Authorization: B%'"), '>', 1, 'and what came back is kept');

# Refusals of set-up calls do not repeat what was wrong when that is a secret, whoever is told of them.
my @refused;
for my $call (
	[ "postback.create_callback('x', 'https://p.example/', secret => \$1)", 'planted!secret' ],
	[ "postback.rotate_secret('$bearer', \$1)", 'planted!secret' ],
	[ "postback.create_callback('x', 'https://p.example/', auth => \$1)", '{"type":"bearer","token":"planted secret"}' ],
	[ "postback.create_callback('x', 'http://p.example/', auth => \$1)", '{"type":"bearer","token":"planted!secret"}' ],
	[ "postback.create_callback('x', 'https://p.example/', auth => \$1)", '{"type":"basic","user":"a:b","password":"planted!secret"}' ],
	[ "postback.revoke_token(\$1)", 'aaaaaaaa_planted!secretplanted!secretplanted' ],
	[ "postback.simulate(\$1, 'order=1&value=1')", 'aaaaaaaa_planted!secretplanted!secretplanted' ],
	[ "postback.receive(\$1, 'order=1&value=1')", 'aaaaaaaa_planted!secretplanted!secretplanted' ])
{
	my (undef, $out, $error) = $t->node->psql('postgres',
		"$unlogged\nPREPARE planted(text) AS SELECT " . ($call->[0] =~ s/=> \$1\)/$call->[1] =~ m{^\{} ? '=> $1::jsonb)' : '=> $1)'/er) . ";\nEXECUTE planted('$call->[1]')");
	push @refused, "$out\n" . ($error =~ s/^LINE 1:.*$//mgr);
}
unlike(join("\n", @refused), qr/planted.secret/, 'refusals do not repeat secrets');
is(scalar(grep { /ERROR|unknown_token/ } @refused), 8, 'all were refused');
$secret{'refused secret'} = 'planted!secret';

# What was written, and what can be looked at.
my %place = (
	"PostgreSQL's log" => substr(slurp_file($t->node->logfile), $from),
	"serve's log" => $t->log($serve),
	"send's log" => $t->log($send),
	"serve's metrics" => $t->request('GET', '/metrics', port => $serve->{metrics})->{body},
	"send's metrics" => $t->request('GET', '/metrics', port => $send->{metrics})->{body},
	'pg_stat_activity' => $t->sql("SELECT string_agg(a::text, E'\\n') FROM pg_stat_activity a WHERE usename LIKE 'test%' OR backend_type <> 'client backend'"),
	'pg_stat_statements' => $t->sql("SELECT string_agg(query, E'\\n') FROM pg_stat_statements"),
	'command lines' => join("\n", map { slurp_file("/proc/$_/cmdline") } split / /, $logins),
	'a dump without the tables that hold secrets' => (run_command([ 'pg_dump', '-d', $t->node->connstr('postgres'), '-n', 'postback', '-e', 'postback',
				map { ('--exclude-table-data', "postback.$_") } qw(brand token callback callback_secret) ]))[0]);
like($place{"PostgreSQL's log"}, qr/execute receive.*receive_batch.*/s, 'the log has the calls');
like($place{"PostgreSQL's log"}, qr/Failing row contains/, 'and the errors with their details');
like($place{'a dump without the tables that hold secrets'}, qr/^COPY postback\.receipt\w* .*\n[^\\]*order=S-1/m, 'the dump has the receipts');
like($place{"serve's log"}, qr/level=debug/, 'serve tells all');
like($place{"send's log"}, qr/level=debug/, 'send tells all');
for my $name (sort keys %place)
{
	my @found = grep { index($place{$name}, $secret{$_}) >= 0 } sort keys %secret;
	is("@found", '', "$name: none");
}
# Without row-level security on one's own side: an operator reads all but these.
my $all = $t->sql(q{SET ROLE postback_operator;
	SELECT format('SELECT ROW(%s)::text FROM postback.%I', string_agg(quote_ident(a.attname), ', '), c.relname)
	FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
	WHERE c.relnamespace = 'postback'::regnamespace AND c.relkind IN ('r', 'p', 'v') AND has_column_privilege(c.oid, a.attnum, 'SELECT')
	GROUP BY c.oid, c.relname \gexec
});
cmp_ok(length $all, '>', 20000, 'an operator reads much');
is(join(', ', grep { index($all, $secret{$_}) >= 0 } sort keys %secret), '', 'but no secret');

$t->audit_ok;
$t->finish;

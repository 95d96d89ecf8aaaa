# The daemon does not run on a server that does not flush what it commits, and says which setting is the matter.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::Bin/lib";
use PostbackTest;
use Test::More;

my $t = PostbackTest->new;
my %p = $t->programme;

sub set
{
	my ($setting) = @_;
	$t->sql("ALTER SYSTEM SET $setting");
	$t->node->reload;
	my ($name, $value) = $setting =~ /(\w+) = (\w+)/;
	$t->wait_until("$setting is in force", "SELECT current_setting('$name') = '$value'");
	return;
}

for my $name (qw(fsync full_page_writes synchronous_commit))
{
	set("$name = off");
	for my $process ($t->serve(no_wait => 1), $t->send(no_wait => 1))
	{
		$t->wait_until("with $name off $process->{name} ends by itself", sub { defined $t->ended($process) }, 30);
		is($t->stop($process), 2, 'with 2');
		like($t->log($process), qr/"$name is off"/, 'and says why');
	}
	set("$name = on");
}

# A session counts too, and what is only weaker than "on" is no reason.
$t->sql('ALTER ROLE test_serve SET synchronous_commit = off');
my $serve = $t->serve(no_wait => 1);
$t->wait_until('a role\'s own setting is seen', sub { defined $t->ended($serve) }, 30);
is($t->stop($serve), 2, 'and ends it');
$t->sql('ALTER ROLE test_serve SET synchronous_commit = local');
is($t->stop($t->serve), 0, 'it runs with local');
$t->sql('ALTER ROLE test_serve RESET synchronous_commit');

# Switched off for the server when serve already runs: its sessions flush as before.
$t->sql(q{CREATE TABLE flushing (value text); CREATE FUNCTION look() RETURNS trigger LANGUAGE plpgsql AS
	$$ BEGIN INSERT INTO public.flushing VALUES (current_setting('synchronous_commit')); RETURN NULL; END $$;
	CREATE TRIGGER look AFTER INSERT ON postback.receipt EXECUTE FUNCTION look()});
$serve = $t->serve;
set('synchronous_commit = off');
is($t->postback($p{token}, order => 'A', value => 1)->{json}{result}, 'created', 'with synchronous_commit switched off later');
is($t->sql('SELECT string_agg(DISTINCT value, \',\') FROM flushing'), 'on', 'an answer of 200 is still one that was flushed');

$t->audit_ok;
$t->finish;

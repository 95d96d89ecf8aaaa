# Sourced by run and check: who runs PostgreSQL, private staging of the build, private clusters.
# Nothing here touches a server, a cluster or a system directory that is not its own.

set -eu

PG_CONFIG=${PG_CONFIG:-pg_config}

fail()
{
	echo "$program: $*" >&2
	exit 1
}

# make without the job server of the make that called us, but with its variables.
build()
{
	MAKEFLAGS=$(printf '%s' "${MAKEFLAGS:-}" | sed 's/ *--jobserver-[a-z]*=[^ ]*//g; s/\(^\| \)-\?j[0-9]*//g') \
		make --no-print-directory -j "$(nproc)" BUILDING=1 "$@"
}

# PostgreSQL refuses to run as root, so root hands everything that needs it to a user who may.
if [ "$(id -u)" -eq 0 ]; then
	user=${POSTBACK_USER:-postgres}
else
	user=
fi

check_user()
{
	[ -z "$user" ] || id "$user" >/dev/null 2>&1 ||
		fail "PostgreSQL does not run as root, and there is no user \"$user\": set POSTBACK_USER to one, or run as an ordinary user"
}

# Runs a command as that user. In the background, use "${as[@]}" itself: the process is then the command's own.
as=()
as_user()
{
	"${as[@]}" "$@"
}

set_as()
{
	if [ -n "$user" ]; then
		as=(setpriv --reuid "$user" --regid "$(id -g "$user")" --init-groups
			env HOME="$home" USER="$user" LOGNAME="$user")
	else
		as=(env HOME="$home")
	fi
}

# make_home PREFERRED PREFIX: sets home to a folder that the user owns and can enter: PREFERRED if there is one and it
# will do, else a new one below TMPDIR or, at last, /tmp. Also sets home_is_temporary.
make_home()
{
	home=
	home_is_temporary=yes
	if [ -n "$1" ]; then
		home=$1
		set_as
		if as_user test -x "$home" && [ ${#home} -lt 80 ]; then
			home_is_temporary=
			[ -z "$user" ] || chown "$user:" "$home"
			return
		fi
	fi
	for parent in "${TMPDIR:-/tmp}" /tmp; do
		home=$(mktemp -d "${parent%/}/$2.XXXXXX") || continue
		set_as
		[ -z "$user" ] || chown "$user:" "$home"
		chmod 755 "$home"
		# A socket's path has room for 107 bytes.
		if [ ${#home} -lt 80 ] && as_user test -w "$home"; then
			return
		fi
		rmdir "$home"
	done
	fail "no folder for the user ${user:-$(id -un)} below ${TMPDIR:-/tmp} or /tmp"
}

# extension_setting: the name of the setting by which this PostgreSQL finds extensions elsewhere, if it has one.
extension_setting()
{
	"$bindir/postgres" --describe-config | sed -n 's/^\(extension_destdir\|extension_control_path\)	.*/\1/p' | sort -r | head -n 1
}

# stage DIR: installs the build below DIR, never into the system. A server that only knows its own folders is copied there
# first, and bindir is then the copy's: PostgreSQL finds its files from where its programs are.
stage()
{
	[ -n "$(extension_setting)" ] || copy_server "$1"
	build install DESTDIR="$1" SBINDIR=/sbin UNITDIR=/units >"$1.log" 2>&1 || {
		cat "$1.log" >&2
		fail "could not install into $1"
	}
	rm -f "$1.log"
	chmod -R a+rX "$1"
}

copy_server()
{
	local prefix=${bindir%/bin} folder
	for folder in "$bindir" "$("$PG_CONFIG" --sharedir)" "$("$PG_CONFIG" --pkglibdir)"; do
		case $prefix:$folder in
			/usr:* | /usr/local:*) ;;
			*:"$prefix"/*) continue ;;
		esac
		fail "this PostgreSQL has neither extension_destdir (Debian's) nor extension_control_path (18), nor a prefix of its own that could be copied: it cannot load an extension that is not installed"
	done
	mkdir -p "$1$prefix"
	cp -R "$prefix/." "$1$prefix"
	bindir=$1$bindir
}

# extension_settings STAGE: the postgresql.conf lines that make a cluster find the staged extension.
extension_settings()
{
	case $(extension_setting) in
		extension_destdir) echo "extension_destdir = '$1'" ;;
		extension_control_path) echo "extension_control_path = '$1$("$PG_CONFIG" --sharedir):\$system'" ;;
		*) return ;;
	esac
	echo "dynamic_library_path = '$1$("$PG_CONFIG" --pkglibdir):\$libdir'"
}

# A TCP port that nobody listens on.
free_port()
{
	perl -MIO::Socket::INET -e '
		my $socket = IO::Socket::INET->new(Listen => 1, LocalAddr => "127.0.0.1", LocalPort => 0) or die;
		print $socket->sockport, "\n"'
}

# cluster_make STAGE DATABASE: a cluster in $home/cluster, its socket in $home/socket, pg_cron working in DATABASE.
# Sets PGHOST, PGPORT and PGUSER. More settings come from standard input.
cluster_make()
{
	PGHOST=$home/socket PGPORT=$(free_port) PGUSER=postgres
	export PGHOST PGPORT PGUSER
	unset PGDATABASE PGPASSWORD PGSERVICE PGSERVICEFILE PGOPTIONS PGSSLMODE PGHOSTADDR PGPASSFILE
	as_user mkdir -m 755 "$PGHOST"
	as_user "$bindir/initdb" -D "$home/cluster" -U postgres -A trust -E UTF8 --locale=C.UTF-8 --no-instructions \
		>"$home/initdb.log" 2>&1 || {
		cat "$home/initdb.log" >&2
		fail "initdb failed"
	}
	{
		cat <<-CONF
			listen_addresses = ''
			unix_socket_directories = '$PGHOST'
			port = $PGPORT
			shared_preload_libraries = 'pg_cron'
			cron.database_name = '$2'
			cron.use_background_workers = on
			max_worker_processes = 16
			timezone = 'UTC'
			log_timezone = 'UTC'
			log_line_prefix = '%m [%p] %q%u@%d '
		CONF
		extension_settings "$1"
		cat
	} | as_user tee -a "$home/cluster/postgresql.conf" >/dev/null
	# The database comes first: pg_cron looks for it as soon as it is loaded.
	echo "CREATE DATABASE \"$2\"" |
		as_user "$bindir/postgres" --single -D "$home/cluster" -c shared_preload_libraries= postgres >"$home/initdb.log" 2>&1
	! grep -E 'ERROR|FATAL|PANIC' "$home/initdb.log" >&2 || fail "could not create the database $2"
}

cluster_start()
{
	as_user "$bindir/pg_ctl" -D "$home/cluster" -l "$home/postgres.log" -w -t 120 start >"$home/pg_ctl.log" 2>&1 </dev/null || {
		cat "$home/pg_ctl.log" "$home/postgres.log" >&2
		fail "the private PostgreSQL did not start"
	}
}

# cluster_stop [HOME]
cluster_stop()
{
	[ ! -f "${1:-$home}/cluster/postmaster.pid" ] ||
		as_user "$bindir/pg_ctl" -D "${1:-$home}/cluster" -m fast -w stop >/dev/null 2>&1 ||
		as_user "$bindir/pg_ctl" -D "${1:-$home}/cluster" -m immediate -w stop >/dev/null 2>&1 || true
}

/*
 * options.c: one table of flags, read by the parser and by --help.
 */
#include "options.h"

#include <errno.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#ifndef POSTBACK_VERSION
#define POSTBACK_VERSION "unknown"
#endif

#define FOR_SERVE 1
#define FOR_SEND 2
#define FOR_BOTH 3

typedef enum Kind
{
	KIND_INT,
	KIND_TEXT,					/* UTF-8 */
	KIND_HOST,					/* an IPv4 or IPv6 address */
	KIND_ADDRESS,				/* ADDR:PORT, or empty */
	KIND_ADDRESSES,				/* ADDR:PORT,ADDR:PORT ... */
	KIND_LEVEL,
	KIND_CIDR,
	KIND_PORT,
	KIND_SWITCH
} Kind;

typedef struct Flag
{
	const char *name;
	const char *value_name;		/* NULL: takes no value */
	int			roles;
	Kind		kind;
	size_t		offset;			/* in Options */
	int			minimum;
	int			maximum;
	const char *initial;		/* default, as shown by --help; NULL: none */
	const char *help;
} Flag;

#define FIELD(f) offsetof(Options, f)

static const Flag flags[] = {
	{"--log-level", "LEVEL", FOR_BOTH, KIND_LEVEL, FIELD(log_level), 0, 0, "info",
	"error, warning, info or debug"},
	{"--metrics-listen", "ADDR:PORT", FOR_SERVE, KIND_ADDRESS, FIELD(metrics_listen), 0, 0, "127.0.0.1:9461",
	"where /metrics and /healthz are answered; \"\" for nowhere"},
	{"--metrics-listen", "ADDR:PORT", FOR_SEND, KIND_ADDRESS, FIELD(metrics_listen), 0, 0, "127.0.0.1:9462",
	"where /metrics and /healthz are answered; \"\" for nowhere"},

	{"--listen", "ADDR", FOR_SERVE, KIND_HOST, FIELD(listen), 0, 0, "127.0.0.1",
	"IPv4 or IPv6 address to listen on"},
	{"--port", "N", FOR_SERVE, KIND_INT, FIELD(port), 0, 65535, "8080",
	"port to listen on; 0 for any free one (the log tells which)"},
	{"--db-connections", "N", FOR_SERVE, KIND_INT, FIELD(db_connections), 1, 64, "2",
	"connections to the database"},
	{"--batch", "N", FOR_SERVE, KIND_INT, FIELD(batch), 1, 256, "256", "most requests in one database call"},
	{"--queue", "N", FOR_SERVE, KIND_INT, FIELD(queue), 1, 1000000, "8192",
	"most requests waiting for the database; one more is answered 503"},
	{"--max-connections", "N", FOR_SERVE, KIND_INT, FIELD(max_connections), 1, 1000000, "10000",
	"most client connections in all"},
	{"--max-connections-per-address", "N", FOR_SERVE, KIND_INT, FIELD(max_connections_per_address), 1, 1000000, "1000",
	"most client connections of one address (IPv6: one /64); trusted proxies are exempt"},
	{"--request-timeout", "SECONDS", FOR_SERVE, KIND_INT, FIELD(request_timeout), 1, 3600, "10",
	"for a whole request, from its first byte to the last of its answer"},
	{"--landing-life", "SECONDS", FOR_SERVE, KIND_INT, FIELD(landing_life), 0, 86400, "600",
	"how old what is known of a link may be when the database goes away, for its visitors to reach the landing page"},
	{"--trust-proxy", "CIDR", FOR_SERVE, KIND_CIDR, FIELD(trust_proxy), 0, 0, NULL,
	"believe X-Forwarded-For and X-Forwarded-Proto from here (repeatable)"},
	{"--reuse-port", NULL, FOR_SERVE, KIND_SWITCH, FIELD(reuse_port), 0, 0, NULL,
	"share the port with other processes (SO_REUSEPORT)"},

	{"--allow-egress", "CIDR", FOR_SEND, KIND_CIDR, FIELD(allow_egress), 0, 0, NULL,
	"allow this special-purpose range, on every port (repeatable)"},
	{"--allow-port", "N", FOR_SEND, KIND_PORT, FIELD(allow_port), 1, 65535, NULL,
	"allow this port beside 80 and 443 (repeatable)"},
	{"--dns-server", "ADDR:PORT[,...]", FOR_SEND, KIND_ADDRESSES, FIELD(dns_server), 0, 0, NULL,
	"name servers to ask instead of those of /etc/resolv.conf (tests, split-horizon DNS); answers are checked alike"},
	{"--concurrency", "N", FOR_SEND, KIND_INT, FIELD(concurrency), 1, 10000, "256",
	"most deliveries under way at once"},
	{"--per-host", "N", FOR_SEND, KIND_INT, FIELD(per_host), 1, 1000, "16", "most of them to one host and port"},
	{"--lease", "SECONDS", FOR_SEND, KIND_INT, FIELD(lease), 20, 3600, "60",
	"how long a claimed delivery is this sender's alone"},
	{"--poll-ms", "N", FOR_SEND, KIND_INT, FIELD(poll_ms), 1, 60000, "100",
	"pause between looks for due deliveries when there were none"},
	{"--metrics-callbacks", "N", FOR_SEND, KIND_INT, FIELD(metrics_callbacks), 0, 1000, "50",
	"most callbacks with series of their own in /metrics, those in trouble first; 0 for none"},
	{"--sender", "NAME", FOR_SEND, KIND_TEXT, FIELD(sender), 0, 0, NULL,
	"name of this sender in the database (default: host:pid)"},
};

#define FLAG_COUNT (sizeof(flags) / sizeof(flags[0]))

static const char *const role_names[] = {"serve", "send"};

static int
role_bit(Role role)
{
	return role == ROLE_SERVE ? FOR_SERVE : FOR_SEND;
}

static OptionsResult
complain(const char *what, const char *which)
{
	fprintf(stderr, "postbackd: %s: %s\nTry \"postbackd --help\".\n", what, which);
	return OPTIONS_BAD;
}

static void
print_flags(int roles)
{
	for (size_t i = 0; i < FLAG_COUNT; i++)
	{
		const Flag *flag = &flags[i];
		char		left[64];

		if (!(flag->roles & roles))
			continue;
		snprintf(left, sizeof(left), "%s%s%s", flag->name, flag->value_name ? " " : "",
				 flag->value_name ? flag->value_name : "");
		printf("  %-34s %s", left, flag->help);
		if (flag->initial != NULL)
			printf(" (%s)", flag->initial);
		printf("\n");
	}
}

static void
print_help(void)
{
	printf("postbackd %s: the daemon of the PostgreSQL extension \"postback\".\n\n"
		   "Usage:\n"
		   "  postbackd serve [FLAG]...   answer postbacks (/p/TOKEN) and clicks (/c/LINK) over HTTP\n"
		   "  postbackd send [FLAG]...    send the deliveries that have fallen due\n"
		   "  postbackd --version | --help\n\n"
		   "The database is named by libpq's variables: PGHOST, PGPORT, PGUSER, PGDATABASE, PGPASSFILE,\n"
		   "PGSERVICE, PGSSLMODE ...  Name a socket directory or an address rather than a host that DNS must\n"
		   "be asked for: libpq waits for that answer.\n\n"
		   "Flags of serve, with defaults:\n", POSTBACK_VERSION);
	print_flags(FOR_SERVE);
	printf("\nFlags of send, with defaults:\n");
	print_flags(FOR_SEND);
	printf("\nSIGTERM and SIGINT drain: what is under way is finished first (10 s at most).\n"
		   "Exit codes: 0 drained, 1 wrong usage, 2 refused by the database's settings, or cannot start.\n");
}

static bool
parse_int(const char *text, int minimum, int maximum, int *value)
{
	char	   *end;
	long		number;

	errno = 0;
	number = strtol(text, &end, 10);
	if (errno != 0 || end == text || *end != '\0' || number < minimum || number > maximum)
		return false;
	*value = (int) number;
	return true;
}

static bool
is_host(const char *text)
{
	PbAddress	address;

	return pb_address_parse(log_slice(text), &address);
}

/* "ADDR:PORT" */
static bool
is_address(const char *text, int *port)
{
	char		host[64];

	return options_split_address(text, host, sizeof(host), port) && is_host(host);
}

/* One "ADDR:PORT" or more, separated by commas; PORT not 0. */
static bool
are_addresses(const char *text)
{
	for (;;)
	{
		size_t		length = strcspn(text, ",");
		char		piece[64];
		int			port;

		if (length >= sizeof(piece))
			return false;
		memcpy(piece, text, length);
		piece[length] = '\0';
		if (!is_address(piece, &port) || port == 0)
			return false;
		if (text[length] == '\0')
			return true;
		text += length + 1;
	}
}

static bool
set_flag(const Flag *flag, const char *value, Options *options)
{
	void	   *field = (char *) options + flag->offset;
	CidrList   *cidrs = field;
	PortList   *ports = field;
	int			port;

	switch (flag->kind)
	{
		case KIND_INT:
			return parse_int(value, flag->minimum, flag->maximum, field);
		case KIND_TEXT:
			*(const char **) field = value;
			return pb_utf8_valid(log_slice(value));
		case KIND_HOST:
			*(const char **) field = value;
			return is_host(value);
		case KIND_ADDRESS:
			*(const char **) field = value;
			return value[0] == '\0' || is_address(value, &port);
		case KIND_ADDRESSES:
			*(const char **) field = value;
			return are_addresses(value);
		case KIND_LEVEL:
			return log_level_parse(value, field);
		case KIND_SWITCH:
			*(bool *) field = true;
			return true;
		case KIND_CIDR:
			return cidrs->count < OPTIONS_LIST_LIMIT &&
				pb_cidr_parse(log_slice(value), &cidrs->items[cidrs->count]) && ++cidrs->count > 0;
		case KIND_PORT:
			return ports->count < OPTIONS_LIST_LIMIT &&
				parse_int(value, flag->minimum, flag->maximum, &ports->items[ports->count]) && ++ports->count > 0;
	}
	return false;
}

static void
set_defaults(Options *options)
{
	static char sender[96];
	char		host[64] = "localhost";

	for (size_t i = 0; i < FLAG_COUNT; i++)
		if ((flags[i].roles & role_bit(options->role)) && flags[i].initial != NULL)
			(void) set_flag(&flags[i], flags[i].initial, options);
	if (gethostname(host, sizeof(host)) == 0)
		host[sizeof(host) - 1] = '\0';
	snprintf(sender, sizeof(sender), "%s:%ld", host, (long) getpid());
	options->sender = sender;
}

/* The role's flag of that name; *value is set when it came as --name=value. */
static const Flag *
find_flag(const char *argument, Role role, const char **value)
{
	const char *equals = strchr(argument, '=');
	size_t		length = equals != NULL ? (size_t) (equals - argument) : strlen(argument);

	*value = equals != NULL ? equals + 1 : NULL;
	for (size_t i = 0; i < FLAG_COUNT; i++)
		if ((flags[i].roles & role_bit(role)) && strlen(flags[i].name) == length &&
			memcmp(flags[i].name, argument, length) == 0)
			return &flags[i];
	return NULL;
}

/* Says what a flag takes, after a value that it does not. */
static OptionsResult
complain_of_value(const Flag *flag, const char *value)
{
	static const char *const expected[] = {
		[KIND_TEXT] = "UTF-8",
		[KIND_HOST] = "an IPv4 or IPv6 address, no name",
		[KIND_ADDRESS] = "an address, no name, and a port: 127.0.0.1:9461 or [::1]:9461",
		[KIND_ADDRESSES] = "addresses with ports: 127.0.0.1:53,[::1]:53",
		[KIND_LEVEL] = "error, warning, info or debug",
		[KIND_CIDR] = "a range such as 10.0.0.0/8, without bits beyond its length; 64 of them at most",
		[KIND_SWITCH] = "nothing",
	};

	fprintf(stderr, "postbackd: bad value for %s: \"%s\" ", flag->name, value);
	if (flag->kind == KIND_INT || flag->kind == KIND_PORT)
		fprintf(stderr, "(a number from %d to %d%s)\n", flag->minimum, flag->maximum,
				flag->kind == KIND_PORT ? "; 64 of them at most" : "");
	else
		fprintf(stderr, "(%s)\n", expected[flag->kind]);
	return OPTIONS_BAD;
}

static OptionsResult
parse_flags(int argc, char **argv, Options *options)
{
	for (int i = 2; i < argc; i++)
	{
		const char *value;
		const Flag *flag = find_flag(argv[i], options->role, &value);

		if (flag == NULL)
			return complain("unknown flag", argv[i]);
		if (flag->value_name == NULL && value != NULL)
			return complain("this flag takes no value", argv[i]);
		if (flag->value_name != NULL && value == NULL)
		{
			if (i + 1 == argc)
				return complain("this flag needs a value", argv[i]);
			value = argv[++i];
		}
		if (!set_flag(flag, value, options))
			return complain_of_value(flag, value);
	}
	return OPTIONS_RUN;
}

OptionsResult
options_parse(int argc, char **argv, Options *options)
{
	memset(options, 0, sizeof(*options));
	for (int i = 1; i < argc; i++)
	{
		if (strcmp(argv[i], "--help") == 0 || strcmp(argv[i], "-h") == 0)
		{
			print_help();
			return OPTIONS_DONE;
		}
		if (strcmp(argv[i], "--version") == 0)
		{
			printf("postbackd %s\n", POSTBACK_VERSION);
			return OPTIONS_DONE;
		}
	}
	if (argc < 2)
		return complain("which role?", "serve or send");
	for (int i = 0; i < 2; i++)
	{
		if (strcmp(argv[1], role_names[i]) == 0)
		{
			options->role = (Role) i;
			set_defaults(options);
			return parse_flags(argc, argv, options);
		}
	}
	return complain("unknown role", argv[1]);
}

bool
options_split_address(const char *text, char *address, size_t address_size, int *port)
{
	const char *colon = strrchr(text, ':');
	size_t		length;

	if (colon == NULL || !parse_int(colon + 1, 0, 65535, port))
		return false;
	length = (size_t) (colon - text);
	if (length >= 2 && text[0] == '[' && text[length - 1] == ']')
	{
		text++;
		length -= 2;
	}
	else if (memchr(text, ':', length) != NULL)
		return false;
	if (length == 0 || length >= address_size)
		return false;
	memcpy(address, text, length);
	address[length] = '\0';
	return true;
}

bool
cidr_list_contains(const CidrList *list, const PbAddress *address)
{
	for (int i = 0; i < list->count; i++)
		if (pb_cidr_contains(&list->items[i], address))
			return true;
	return false;
}

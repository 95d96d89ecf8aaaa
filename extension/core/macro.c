/*
 * macro.c: outbound templates: the macro names, the compiler and linter, the renderer.
 *
 * Knows names, syntax and escaping; what a macro's value is, and when a template is used, is the caller's business.
 */
#include "macro.h"

#include <string.h>

#include "address.h"
#include "url.h"

#define URL_TEMPLATE_MAX 4096
#define COUNT(array) (sizeof(array) / sizeof((array)[0]))

static const char *const macro_names[PB_MACRO_COUNT] =
{
#define X(symbol, name, value) [symbol] = name,
	PB_MACROS(X)
#undef X
};

static const char *const macro_meanings[PB_MACRO_COUNT] =
{
#define X(symbol, name, value) [symbol] = value,
	PB_MACROS(X)
#undef X
};

/* Further names of macros. */
static const struct
{
	PbMacro		macro;
	const char *name;
}			macro_aliases[] =
{
	{PB_M_TRANSACTION_ID, "click_id"},
	{PB_M_TRANSACTION_ID, "clickid"},
	{PB_M_EXTERNAL_TRANSACTION_ID, "external_id"},
	{PB_M_PUBLISHER_ID, "affiliate_id"},
	{PB_M_PUBLISHER_ID, "aff_id"},
	{PB_M_PAYOUT, "sum"},
};

static const PbMacro money_macros[] =
{
	PB_M_PAYOUT, PB_M_REVENUE, PB_M_SALE_AMOUNT, PB_M_DELTA_PAYOUT
};

/* Modifiers without an argument: the flag of PbPart that each sets.  The other kind of modifier is a map. */
static const struct
{
	const char *name;
	size_t		flag;
	bool		money_only;
}			modifiers[] =
{
	{"raw", offsetof(PbPart, raw), false},
	{"minor", offsetof(PbPart, minor), true},
};

/* Macros as other products write them. */
static const struct
{
	const char *open;
	const char *close;
	bool		any_name;		/* any name, or only those that are macros here */
	bool		as_value;		/* only where a value begins: a[status]=1 is somebody's parameter */
}			foreign_syntaxes[] =
{
	{"#", "#", true, false},
	{"!!!", "!!!", true, false},
	{"%%", "%%", true, false},
	{"%7B", "%7D", false, false},
	{"${", "}", false, false},
	{"{{", "}}", false, false},
	{"[", "]", false, true},
	{"<", ">", false, true},
	{"__", "__", false, true},
};

/* What HTML leaves of '&' and a parameter's name: raw, or percent-encoded by a browser since. */
static const struct
{
	const char *text;
	bool		url_only;		/* elsewhere the sign may be meant */
}			html_leavings[] =
{
	{"&amp;", false},
	{"&#38;", false},
	{"&#038;", false},
	{"&#x26;", false},
	{"\xC2\xA4", true}, {"%C2%A4", true},	/* &curren(cy) */
	{"\xC2\xA9", true}, {"%C2%A9", true},	/* &copy */
	{"\xC2\xAE", true}, {"%C2%AE", true},	/* &reg(ion) */
	{"\xC2\xA7", true}, {"%C2%A7", true},	/* &sect(ion) */
	{"\xC2\xB6", true}, {"%C2%B6", true},	/* &para(m) */
	{"\xC2\xAC", true}, {"%C2%AC", true},	/* &not(ice) */
	{"\xC3\x97", true}, {"%C3%97", true},	/* &times(tamp) */
};

/* Names that mean this host or this network, as all below them do (RFC 6761, 6762, 8375, ICANN's .internal). */
static const char *const local_names[] =
{
	"localhost", "localdomain", "ip6-localhost", "ip6-loopback", "local", "home.arpa", "internal"
};

static const char *const lint_names[] =
{
	[PB_LINT_OK] = "ok",
	[PB_LINT_UNKNOWN_MACRO] = "unknown_macro",
	[PB_LINT_UNCLOSED_MACRO] = "unclosed_macro",
	[PB_LINT_BAD_MODIFIER] = "bad_modifier",
	[PB_LINT_MACRO_IN_HOST] = "macro_in_host",
	[PB_LINT_MACRO_IN_SCHEME] = "macro_in_scheme",
	[PB_LINT_BAD_SCHEME] = "bad_scheme",
	[PB_LINT_BAD_URL] = "bad_url",
	[PB_LINT_TOO_MANY_PARTS] = "too_many_parts",
	[PB_LINT_FOREIGN_SYNTAX] = "foreign_syntax",
	[PB_LINT_HTML_LEAVINGS] = "html_leavings",
	[PB_LINT_DOUBLE_ENCODING] = "double_encoding",
	[PB_LINT_PLAIN_HTTP] = "plain_http",
	[PB_LINT_SPECIAL_ADDRESS] = "special_address",
};

bool
pb_lint_is_error(PbLint lint)
{
	return lint != PB_LINT_OK && lint <= PB_LINT_TOO_MANY_PARTS;
}

const char *
pb_lint_name(PbLint lint)
{
	return lint_names[lint];
}

/* ---- bytes ---- */

static PbSlice
piece(PbSlice text, size_t from, size_t to)
{
	return (PbSlice) {from > 0 ? text.data + from : text.data, to - from};
}

static bool
one_of(char c, const char *set)
{
	return c != '\0' && strchr(set, c) != NULL;
}

static char
lower(char c)
{
	return c >= 'A' && c <= 'Z' ? (char) (c - 'A' + 'a') : c;
}

static bool
is_name_start(char c)
{
	return (lower(c) >= 'a' && lower(c) <= 'z') || c == '_';
}

static bool
is_name_byte(char c)
{
	return is_name_start(c) || (c >= '0' && c <= '9');
}

static bool
is_hex(char c)
{
	return (c >= '0' && c <= '9') || (lower(c) >= 'a' && lower(c) <= 'f');
}

/* Does text go on with prefix at the given place, without case? */
static bool
goes_on(PbSlice text, size_t at, const char *prefix)
{
	PbSlice		p = pb_slice(prefix);

	return at <= text.len && text.len - at >= p.len && pb_slice_equal_nocase(piece(text, at, at + p.len), p);
}

/* ---- names ---- */

PbMacro
pb_macro_find(PbSlice name)
{
	for (int m = 0; m < PB_MACRO_COUNT; m++)
		if (pb_slice_equal_nocase(name, pb_slice(macro_names[m])))
			return (PbMacro) m;
	for (size_t i = 0; i < COUNT(macro_aliases); i++)
		if (pb_slice_equal_nocase(name, pb_slice(macro_aliases[i].name)))
			return macro_aliases[i].macro;
	return PB_M_UNKNOWN;
}

/* NULL for PB_M_UNKNOWN. */
const char *
pb_macro_name(PbMacro m)
{
	return m < PB_MACRO_COUNT ? macro_names[m] : NULL;
}

const char *
pb_macro_meaning(PbMacro m)
{
	return macro_meanings[m];
}

const char *
pb_macro_alias(PbMacro m, int i)
{
	for (size_t k = 0; k < COUNT(macro_aliases); k++)
		if (macro_aliases[k].macro == m && i-- == 0)
			return macro_aliases[k].name;
	return NULL;
}

bool
pb_macro_is_money(PbMacro m)
{
	for (size_t i = 0; i < COUNT(money_macros); i++)
		if (money_macros[i] == m)
			return true;
	return false;
}

/* No macro's name is longer; of an unknown one the rest is not looked at. */
#define NAME_MAX_LEN 32

/* Levenshtein's distance without case, of at most NAME_MAX_LEN bytes of each. */
static unsigned
edit_distance(PbSlice a, PbSlice b)
{
	uint8_t		row[NAME_MAX_LEN + 1];	/* distances of a's first i bytes to all beginnings of b */
	size_t		rows = a.len < NAME_MAX_LEN ? a.len : NAME_MAX_LEN;
	size_t		columns = b.len < NAME_MAX_LEN ? b.len : NAME_MAX_LEN;

	for (size_t k = 0; k <= columns; k++)
		row[k] = (uint8_t) k;
	for (size_t i = 1; i <= rows; i++)
	{
		unsigned	diagonal = row[0];

		row[0] = (uint8_t) i;
		for (size_t k = 1; k <= columns; k++)
		{
			unsigned	best = diagonal + (lower(a.data[i - 1]) != lower(b.data[k - 1]));

			diagonal = row[k];
			if (row[k] + 1u < best)
				best = row[k] + 1u;
			if (row[k - 1] + 1u < best)
				best = row[k - 1] + 1u;
			row[k] = (uint8_t) best;
		}
	}
	return row[columns];
}

/* Is word one or more whole words of a name such as sale_amount? */
static bool
has_word(PbSlice name, PbSlice word)
{
	if (word.len == 0)
		return false;
	for (size_t i = 0; i + word.len <= name.len; i++)
	{
		size_t		end = i + word.len;

		if ((i == 0 || name.data[i - 1] == '_') && (end == name.len || name.data[end] == '_') &&
			pb_slice_equal_nocase(piece(name, i, end), word))
			return true;
	}
	return false;
}

/* The known name of least edit distance; sharing whole words halves it: amount is near sale_amount. */
static const char *
nearest_name(PbSlice name)
{
	const char *nearest = NULL;
	unsigned	least = UINT32_MAX;

	for (size_t i = 0; i < PB_MACRO_COUNT + COUNT(macro_aliases); i++)
	{
		const char *known = i < PB_MACRO_COUNT ? macro_names[i] : macro_aliases[i - PB_MACRO_COUNT].name;
		unsigned	distance = edit_distance(name, pb_slice(known));

		if (has_word(pb_slice(known), name) || has_word(name, pb_slice(known)))
			distance /= 2;
		if (distance < least)
		{
			nearest = known;
			least = distance;
		}
	}
	return nearest;
}

/* ---- one pass over a template: its parts and its errors ---- */

typedef struct Scan
{
	PbSlice		text;
	PbTemplateKind kind;
	PbTemplate *template;		/* where the parts go; NULL: they are only counted */
	size_t		part_count;
	PbPlace		place;
	bool		in_fragment;	/* checked, but no part of what is sent */
	PbFinding  *findings;
	size_t		cap;
	size_t		count;
} Scan;

static void
report(Scan *scan, PbLint lint, PbSlice what, const char *nearest)
{
	size_t		position = what.len > 0 ? (size_t) (what.data - scan->text.data) : 0;

	if (scan->count < scan->cap)
		scan->findings[scan->count++] = (PbFinding) {lint, position, what, nearest};
}

static void
add_part(Scan *scan, const PbPart *part, PbSlice what)
{
	if (scan->in_fragment || what.len == 0)
		return;
	if (scan->part_count == PB_TEMPLATE_PARTS_MAX)
		report(scan, PB_LINT_TOO_MANY_PARTS, what, NULL);
	else if (scan->part_count < PB_TEMPLATE_PARTS_MAX && scan->template != NULL)
		scan->template->parts[scan->part_count] = *part;
	scan->part_count++;
}

static void
add_literal(Scan *scan, size_t from, size_t to)
{
	PbPart		part = {.literal = piece(scan->text, from, to), .place = scan->place};

	add_part(scan, &part, part.literal);
}

/* A macro as written, not yet understood. */
typedef struct MacroText
{
	PbSlice		whole;			/* with its braces */
	PbSlice		name;
	PbSlice		modifiers;		/* from the first ':' on, or empty */
	PbSlice		fallback;
	bool		closed;
} MacroText;

/* Reads {name:modifier:modifier|fallback} at the given '{'; what has no '}' ends before the next '{'. */
static MacroText
read_macro(PbSlice text, size_t at)
{
	MacroText	m = {0};
	size_t		i = at + 1;
	size_t		start = i;

	while (i < text.len && !one_of(text.data[i], ":|}{"))
		i++;
	m.name = piece(text, start, i);
	start = i;
	while (i < text.len && !one_of(text.data[i], "|}{"))
		i++;
	m.modifiers = piece(text, start, i);
	if (i < text.len && text.data[i] == '|')
	{
		start = i + 1;
		i = pb_slice_find(text, '}', start);
		m.fallback = piece(text, start, i);
	}
	m.closed = i < text.len && text.data[i] == '}';
	m.whole = piece(text, at, m.closed ? i + 1 : i);
	return m;
}

/* Takes what stands before the next separator off *rest, and the separator. */
static PbSlice
take_until(PbSlice *rest, char separator)
{
	size_t		end = pb_slice_find(*rest, separator, 0);
	PbSlice		taken = piece(*rest, 0, end);

	*rest = end < rest->len ? piece(*rest, end + 1, rest->len) : piece(*rest, end, end);
	return taken;
}

/* The value that a map has for key, without case. */
static bool
map_find(PbSlice map, PbSlice key, PbSlice *value)
{
	while (map.len > 0)
	{
		PbSlice		entry = take_until(&map, ',');

		if (pb_slice_equal_nocase(take_until(&entry, '='), key))
		{
			*value = entry;
			return true;
		}
	}
	return false;
}

/* "key=value,key=value": no key empty or twice; values may be empty. */
static bool
map_ok(PbSlice map)
{
	PbSlice		rest = map;
	PbSlice		ignored;

	if (map.len > 0 && map.data[map.len - 1] == ',')
		return false;
	while (rest.len > 0)
	{
		PbSlice		before = piece(map, 0, map.len - rest.len);
		PbSlice		entry = take_until(&rest, ',');
		PbSlice		key = piece(entry, 0, pb_slice_find(entry, '=', 0));

		if (key.len == 0 || key.len == entry.len || map_find(before, key, &ignored))
			return false;
	}
	return true;
}

static bool
apply_modifier(PbPart *part, PbSlice modifier)
{
	if (pb_slice_find(modifier, '=', 0) < modifier.len)
	{
		if (part->map.len > 0 || !map_ok(modifier))
			return false;
		part->map = modifier;
		return true;
	}
	for (size_t i = 0; i < COUNT(modifiers); i++)
	{
		bool	   *flag = (bool *) ((char *) part + modifiers[i].flag);

		if (!pb_slice_equal_nocase(modifier, pb_slice(modifiers[i].name)))
			continue;
		if (*flag || (modifiers[i].money_only && !pb_macro_is_money(part->macro)))
			return false;
		*flag = true;
		return true;
	}
	return false;
}

/* Takes in the macro at the given '{'; returns where the text goes on. */
static size_t
scan_macro(Scan *scan, size_t at)
{
	MacroText	m = read_macro(scan->text, at);
	PbPart		part = {.is_macro = true, .place = scan->place, .fallback = m.fallback};

	part.macro = pb_macro_find(m.name);
	if (!m.closed)
		report(scan, PB_LINT_UNCLOSED_MACRO, m.whole, NULL);
	else if (part.macro == PB_M_UNKNOWN)
		report(scan, PB_LINT_UNKNOWN_MACRO, m.whole, nearest_name(m.name));
	else
	{
		PbSlice		rest = m.modifiers;

		while (rest.len > 0)
		{
			PbSlice		modifier;

			rest = piece(rest, 1, rest.len);	/* the ':' */
			modifier = piece(rest, 0, pb_slice_find(rest, ':', 0));
			rest = piece(rest, modifier.len, rest.len);
			if (!apply_modifier(&part, modifier))
				report(scan, PB_LINT_BAD_MODIFIER, modifier.len > 0 ? modifier : m.whole, NULL);
		}
		add_part(scan, &part, m.whole);
	}
	return at + m.whole.len;
}

/*
 * Does a macro begin here?  In a URL at every '{' (a literal one has to be %7B); in a value only if a name and one
 * of "}|:" follow, so that JSON may stand there as it is.
 */
static bool
begins_macro(const Scan *scan, size_t at)
{
	PbSlice		text = scan->text;
	size_t		i = at + 1;

	if (text.data[at] != '{')
		return false;
	if (scan->kind == PB_TEMPLATE_URL)
		return true;
	if (i == text.len || !is_name_start(text.data[i]))
		return false;
	while (i < text.len && is_name_byte(text.data[i]))
		i++;
	return i < text.len && one_of(text.data[i], "}|:");
}

/* Bytes beyond ASCII are taken, the renderer percent-encodes them; in the host they are refused with the host. */
static bool
literal_byte_ok(const Scan *scan, char c)
{
	return scan->kind != PB_TEMPLATE_URL || (unsigned char) c > 0x7F || (pb_url_byte_ok(c) && c != '}');
}

/* Cuts the text into parts; every byte outside of macros is a literal's. */
static void
scan_parts(Scan *scan)
{
	PbSlice		text = scan->text;
	bool		is_url = scan->kind == PB_TEMPLATE_URL;
	size_t		start = 0;
	size_t		i = 0;

	scan->place = is_url ? PB_PLACE_PATH : PB_PLACE_PLAIN;
	while (i < text.len)
	{
		char		c = text.data[i];

		if (begins_macro(scan, i))
		{
			add_literal(scan, start, i);
			start = i = scan_macro(scan, i);
			continue;
		}
		if (!literal_byte_ok(scan, c))
			report(scan, PB_LINT_BAD_URL, piece(text, i, i + 1), NULL);
		if (is_url && !scan->in_fragment && (c == '#' || (c == '?' && scan->place == PB_PLACE_PATH)))
		{
			add_literal(scan, start, i);
			start = i;
			scan->place = PB_PLACE_QUERY;
			scan->in_fragment = c == '#';
		}
		i++;
	}
	add_literal(scan, start, text.len);
}

/* Scheme and authority: free of macros, and such as pb_url_split takes.  Fills *url with them if they are. */
static bool
scan_origin(Scan *scan, PbUrl *url)
{
	PbSlice		text = scan->text;
	PbUrlError	error;
	size_t		i = 0;
	size_t		authority;

	while (i < text.len && !one_of(text.data[i], "{:/?#"))
		i++;
	if (i < text.len && text.data[i] == '{')
	{
		report(scan, PB_LINT_MACRO_IN_SCHEME, read_macro(text, i).whole, NULL);
		return false;
	}
	authority = goes_on(text, i, "://") ? i + 3 : i;
	for (i = authority; i < text.len && !one_of(text.data[i], "/?#"); i++)
	{
		if (text.data[i] != '{')
			continue;
		report(scan, PB_LINT_MACRO_IN_HOST, read_macro(text, i).whole, NULL);
		return false;
	}

	error = pb_url_split(piece(text, 0, i), url);
	if (error == PB_URL_BAD_SCHEME)
		report(scan, PB_LINT_BAD_SCHEME, piece(text, 0, authority), NULL);
	else if (error != PB_URL_OK)
		report(scan, PB_LINT_BAD_URL, piece(text, authority, i), NULL);
	return error == PB_URL_OK;
}

/* Everything that is refused; true if *url holds scheme and authority of a URL template. */
static bool
scan_template(Scan *scan, PbUrl *url)
{
	bool		origin = false;

	if (scan->kind == PB_TEMPLATE_URL)
	{
		if (scan->text.len > URL_TEMPLATE_MAX)
		{
			report(scan, PB_LINT_BAD_URL, scan->text, NULL);
			return false;
		}
		origin = scan_origin(scan, url);
	}
	scan_parts(scan);
	return origin;
}

PbLint
pb_template_compile(PbSlice text, PbTemplateKind kind, PbTemplate *template, PbFinding *finding)
{
	PbFinding	first = {0};
	Scan		scan = {.text = text, .kind = kind, .template = template, .findings = &first, .cap = 1};
	PbUrl		url;

	scan_template(&scan, &url);
	template->part_count = first.lint == PB_LINT_OK ? scan.part_count : 0;
	if (finding != NULL)
		*finding = first;
	return first.lint;
}

/* ---- what is doubtful ---- */

/* Length of another product's macro at the given place, or 0. */
static size_t
foreign_macro(PbSlice text, size_t at)
{
	for (size_t i = 0; i < COUNT(foreign_syntaxes); i++)
	{
		size_t		start = at + strlen(foreign_syntaxes[i].open);
		size_t		end = start;

		if (!goes_on(text, at, foreign_syntaxes[i].open))
			continue;
		if (foreign_syntaxes[i].as_value && at > 0 && !one_of(text.data[at - 1], "=/"))
			continue;
		while (end < text.len && is_name_byte(text.data[end]) && !goes_on(text, end, foreign_syntaxes[i].close))
			end++;
		if (end == start || !goes_on(text, end, foreign_syntaxes[i].close))
			continue;
		if (foreign_syntaxes[i].any_name || pb_macro_find(piece(text, start, end)) != PB_M_UNKNOWN)
			return end + strlen(foreign_syntaxes[i].close) - at;
	}
	return 0;
}

/* Length of a piece of HTML at the given place, or 0. */
static size_t
html_leaving(PbSlice text, PbTemplateKind kind, size_t at)
{
	for (size_t i = 0; i < COUNT(html_leavings); i++)
		if (goes_on(text, at, html_leavings[i].text) && (kind == PB_TEMPLATE_URL || !html_leavings[i].url_only))
			return strlen(html_leavings[i].text);
	return 0;
}

/* Length of a twice encoded byte at the given place, or 0. */
static size_t
double_encoding(PbSlice text, size_t at)
{
	bool		found = goes_on(text, at, "%25") && text.len - at >= 5 &&
		is_hex(text.data[at + 3]) && is_hex(text.data[at + 4]);

	return found ? 5 : 0;
}

static void
scan_doubtful_text(Scan *scan)
{
	size_t		i = 0;

	while (i < scan->text.len)
	{
		PbLint		lint = PB_LINT_FOREIGN_SYNTAX;
		size_t		len = foreign_macro(scan->text, i);

		if (len == 0)
		{
			lint = PB_LINT_HTML_LEAVINGS;
			len = html_leaving(scan->text, scan->kind, i);
		}
		if (len == 0)
		{
			lint = PB_LINT_DOUBLE_ENCODING;
			len = double_encoding(scan->text, i);
		}
		if (len > 0)
			report(scan, lint, piece(scan->text, i, i + len), NULL);
		i += len > 0 ? len : 1;
	}
}

/* An address that the sender will refuse, a spelling that hides one, or a name that means this network? */
static bool
host_is_special(PbSlice host)
{
	PbAddress	address;

	if (pb_address_parse(host, &address))
		return pb_address_special(&address) != NULL;
	if (pb_host_looks_numeric(host))
		return true;
	for (size_t i = 0; i < COUNT(local_names); i++)
	{
		size_t		len = strlen(local_names[i]);

		if (host.len >= len && goes_on(host, host.len - len, local_names[i]) &&
			(host.len == len || host.data[host.len - len - 1] == '.'))
			return true;
	}
	return false;
}

/* The refused first, then the doubtful, each by position. */
size_t
pb_template_lint(PbSlice text, PbTemplateKind kind, PbFinding *findings, size_t cap)
{
	Scan		scan = {.text = text, .kind = kind, .findings = findings, .cap = cap};
	PbUrl		url;
	bool		origin = scan_template(&scan, &url);

	scan_doubtful_text(&scan);
	if (origin && !url.https)
		report(&scan, PB_LINT_PLAIN_HTTP, url.scheme, NULL);
	if (origin && host_is_special(url.host))
		report(&scan, PB_LINT_SPECIAL_ADDRESS, url.host, NULL);
	return scan.count;
}

/* ---- rendering ---- */

/*
 * Writes a URL.  The leading dots of a path segment are held back until it is known whether the segment is only
 * them, that is "." or "..": if a macro had a part in that, they are written as %2E.
 */
typedef struct UrlWriter
{
	PbOut	   *out;
	bool		in_path;
	bool		at_start;		/* nothing but the dots held back was in this segment so far */
	bool		has_macro;		/* a macro, be its value empty, stands in this segment */
	int			dots;
} UrlWriter;

static void
release_dots(UrlWriter *writer, bool segment_ends)
{
	for (; writer->dots > 0; writer->dots--)
		pb_out_slice(writer->out, pb_slice(segment_ends && writer->has_macro ? "%2E" : "."));
}

static void
write_url_byte(UrlWriter *writer, char c)
{
	if (c == '.' && writer->in_path && writer->at_start && writer->dots < 2)
	{
		writer->dots++;
		return;
	}
	release_dots(writer, c == '/');
	pb_out_char(writer->out, c);
	writer->at_start = c == '/';
	if (c == '/')
		writer->has_macro = false;
}

/* Must this byte of a literal or of a macro's value be percent-encoded?  Unreserved ones never. */
static bool
needs_encoding(const PbPart *part, char c)
{
	bool		in_path = part->place == PB_PLACE_PATH;

	if (!part->is_macro)
		return !pb_url_byte_ok(c);
	if (part->raw)
		return !pb_url_byte_ok(c) || one_of(c, in_path ? "#/?" : "#&");
	return !is_name_byte(c) && !one_of(c, "-.~");
}

static void
write_url_part(UrlWriter *writer, const PbPart *part, PbSlice bytes)
{
	if (part->place == PB_PLACE_PATH)
		writer->has_macro = writer->has_macro || part->is_macro;
	else
	{
		release_dots(writer, true);
		writer->in_path = false;
	}
	for (size_t i = 0; i < bytes.len; i++)
	{
		if (needs_encoding(part, bytes.data[i]))
		{
			release_dots(writer, false);
			writer->at_start = false;
			pb_out_percent(writer->out, piece(bytes, i, i + 1));
		}
		else
			write_url_byte(writer, bytes.data[i]);
	}
}

/* An empty value is replaced by the fallback, any other by what the map has for it. */
static PbSlice
part_value(const PbPart *part, const PbMacroValues *values)
{
	PbSlice		value;

	if (!part->is_macro)
		return part->literal;
	value = part->minor ? values->minor[part->macro] : values->text[part->macro];
	if (value.len == 0)
		return part->fallback;
	map_find(part->map, value, &value);
	return value;
}

void
pb_template_render(const PbTemplate *template, const PbMacroValues *values, PbOut *out)
{
	UrlWriter	writer = {.out = out, .in_path = true, .at_start = true};

	for (size_t i = 0; i < template->part_count; i++)
	{
		const PbPart *part = &template->parts[i];

		if (part->place == PB_PLACE_PLAIN)
			pb_out_slice(out, part_value(part, values));
		else
			write_url_part(&writer, part, part_value(part, values));
	}
	release_dots(&writer, true);
}

bool
pb_template_uses(const PbTemplate *template, PbMacro macro)
{
	for (size_t i = 0; i < template->part_count; i++)
		if (template->parts[i].is_macro && template->parts[i].macro == macro)
			return true;
	return false;
}

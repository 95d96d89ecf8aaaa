/*
 * fuzz_template.c: outbound templates (extension/core/macro.c): the linter and the compiler agree, and whatever the values
 * are, the rendered request has the structure that the template's author wrote.
 */
#include "fuzz.h"

#include <strings.h>

#include "macro.h"
#include "url.h"

#define FINDINGS 64

static size_t
count_of(PbSlice s, char c)
{
	size_t		count = 0;

	for (size_t i = 0; i < s.len; i++)
		count += s.data[i] == c;
	return count;
}

static bool
inside(PbSlice s, PbSlice text)
{
	return s.len == 0 || (s.data >= text.data && s.data + s.len <= text.data + text.len);
}

static void
check_lint(PbSlice text, PbTemplateKind kind, PbLint compiled, const PbFinding *first, size_t small)
{
	PbFinding	all[FINDINGS];
	PbFinding	few[FINDINGS];
	size_t		count = pb_template_lint(text, kind, all, FINDINGS);
	size_t		kept = pb_template_lint(text, kind, few, small);

	HOLDS(kept == (count < small ? count : small));
	for (size_t i = 0; i < count; i++)
	{
		HOLDS(inside(all[i].what, text));
		HOLDS(all[i].what.len == 0 ? all[i].position == 0 : text.data + all[i].position == all[i].what.data);
		HOLDS(all[i].lint != PB_LINT_OK && strlen(pb_lint_name(all[i].lint)) > 0);
		HOLDS((all[i].nearest != NULL) == (all[i].lint == PB_LINT_UNKNOWN_MACRO));
		HOLDS(all[i].nearest == NULL || pb_macro_find(pb_slice(all[i].nearest)) != PB_M_UNKNOWN);
		HOLDS(i == 0 || !pb_lint_is_error(all[i].lint) || pb_lint_is_error(all[i - 1].lint));
		HOLDS(i >= kept || (few[i].lint == all[i].lint && few[i].position == all[i].position));
	}
	HOLDS((compiled != PB_LINT_OK) == (count > 0 && pb_lint_is_error(all[0].lint)));
	HOLDS(compiled == PB_LINT_OK || (first->lint == compiled && all[0].lint == compiled && all[0].position == first->position));
}

/* What a part stands for: an empty value is the fallback, another what the map has for it. */
static PbSlice
value_of(const PbPart *part, const PbMacroValues *values)
{
	PbSlice		value = part->minor ? values->minor[part->macro] : values->text[part->macro];

	if (!part->is_macro)
		return part->literal;
	if (value.len == 0)
		return part->fallback;
	for (size_t at = 0; at < part->map.len;)
	{
		size_t		end = pb_slice_find(part->map, ',', at);
		size_t		equals = pb_slice_find(part->map, '=', at);

		if (pb_slice_equal_nocase((PbSlice) {part->map.data + at, equals - at}, value))
			return (PbSlice) {part->map.data + equals + 1, end - equals - 1};
		at = end + 1;
	}
	return value;
}

static bool
stays(const PbPart *part, unsigned char c)
{
	bool		unreserved = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
		(c != 0 && strchr("-._~", c) != NULL);
	bool		may_stand = c > ' ' && c < 0x7F && c != '"' && c != '\\';

	if (part->is_macro && !part->raw)
		return unreserved;
	if (part->is_macro)
		return may_stand && c != '#' && c != '&';
	return may_stand;
}

/* What the parts of one place come to, written here byte by byte. */
static PbSlice
expected_of(const PbTemplate *template, const PbMacroValues *values, PbPlace place)
{
	return WRITTEN(out, ({
				for (size_t i = 0; i < template->part_count; i++)
				{
					const PbPart *part = &template->parts[i];
					PbSlice		value = value_of(part, values);

					for (size_t k = 0; part->place == place && k < value.len; k++)
					{
						char		escape[4];

						snprintf(escape, sizeof(escape), "%%%02X", (unsigned) (uint8_t) value.data[k]);
						if (place == PB_PLACE_PLAIN || stays(part, (unsigned char) value.data[k]))
							pb_out_char(&out, value.data[k]);
						else
							pb_out_slice(&out, pb_slice(escape));
					}
				}
			}));
}

static bool
is_dots(PbSlice segment)
{
	return pb_slice_equal(segment, PB_LITERAL(".")) || pb_slice_equal(segment, PB_LITERAL(".."));
}

static PbSlice
take_segment(PbSlice *path)
{
	size_t		end = pb_slice_find(*path, '/', 0);
	PbSlice		segment = {path->data, end};

	end += end < path->len;
	*path = (PbSlice) {path->data + end, path->len - end};
	return segment;
}

static void
check_url(PbSlice text, const PbTemplate *template, const PbMacroValues *values, PbSlice rendered, PbSlice benign)
{
	PbUrl		url;
	PbUrl		usual;
	size_t		origin;
	bool		any_raw = false;

	HOLDS(pb_url_split(rendered, &url) == PB_URL_OK);
	HOLDS(pb_url_split(benign, &usual) == PB_URL_OK);
	HOLDS(pb_slice_equal(url.scheme, usual.scheme) && pb_slice_equal(url.authority, usual.authority));
	origin = url.scheme.len + strlen("://") + url.authority.len;
	HOLDS(origin <= text.len && memcmp(rendered.data, text.data, origin) == 0);
	HOLDS(!url.has_fragment && !usual.has_fragment);
	HOLDS(url.has_query == usual.has_query);
	for (size_t i = 0; i < template->part_count; i++)
		any_raw = any_raw || template->parts[i].raw;
	HOLDS(count_of(url.query, '&') == count_of(usual.query, '&'));
	HOLDS(any_raw || count_of(url.query, '=') == count_of(usual.query, '='));
	HOLDS(count_of(url.path, '/') == count_of(usual.path, '/'));
	while (url.path.len > 0 && usual.path.len > 0)
		HOLDS(is_dots(take_segment(&url.path)) == is_dots(take_segment(&usual.path)));
	if (url.has_query)
	{
		PbSlice		query = expected_of(template, values, PB_PLACE_QUERY);

		HOLDS(query.len == url.query.len + 1);
		HOLDS(memcmp(query.data + 1, url.query.data, url.query.len) == 0);
	}
}

static void
check_rendering(PbSlice text, PbTemplateKind kind, const PbTemplate *template, PbSlice value)
{
	PbMacroValues values;
	PbMacroValues harmless;
	PbSlice		rendered;
	PbSlice		benign;

	for (int m = 0; m < PB_MACRO_COUNT; m++)
	{
		values.text[m] = m % 3 == 2 ? (PbSlice) {0} : value;
		values.minor[m] = (PbSlice) {value.data, value.len / 2};
		harmless.text[m] = harmless.minor[m] = PB_LITERAL("v");
	}
	rendered = WRITTEN(out, pb_template_render(template, &values, &out));
	benign = WRITTEN(out, pb_template_render(template, &harmless, &out));
	if (kind == PB_TEMPLATE_VALUE)
		HOLDS(pb_slice_equal(rendered, expected_of(template, &values, PB_PLACE_PLAIN)));
	else
		check_url(text, template, &values, rendered, benign);
}

static void
check_parts(PbSlice text, PbTemplateKind kind, const PbTemplate *template)
{
	HOLDS(template->part_count <= PB_TEMPLATE_PARTS_MAX);
	for (size_t i = 0; i < template->part_count; i++)
	{
		const PbPart *part = &template->parts[i];

		HOLDS(inside(part->literal, text) && inside(part->fallback, text) && inside(part->map, text));
		HOLDS((part->place == PB_PLACE_PLAIN) == (kind == PB_TEMPLATE_VALUE));
		HOLDS(!part->is_macro || pb_template_uses(template, part->macro));
		HOLDS(!part->minor || pb_macro_is_money(part->macro));
	}
}

static void
check_properties(Input *in)
{
	static PbTemplate template;
	PbTemplateKind kind = take_choice(in, 2) == 0 ? PB_TEMPLATE_URL : PB_TEMPLATE_VALUE;
	size_t		small = (size_t) take_choice(in, 4);
	PbSlice		value = take_text(in);
	PbSlice		text = take_rest(in);
	PbFinding	first = {0};
	PbLint		lint = pb_template_compile(text, kind, &template, &first);

	check_lint(text, kind, lint, &first, small);
	HOLDS(lint == PB_LINT_OK || template.part_count == 0);
	if (lint != PB_LINT_OK)
		return;
	check_parts(text, kind, &template);
	check_rendering(text, kind, &template, value);
}

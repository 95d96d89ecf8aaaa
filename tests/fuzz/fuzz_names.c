/*
 * fuzz_names.c: look-ups by name (parameters, status words, states, currencies, macros, codes) find exactly what the tables
 * list, without case where the manual says so.
 */
#include "fuzz.h"

#include <strings.h>

#include "code.h"
#include "currency.h"
#include "macro.h"
#include "parameter.h"
#include "state.h"

static bool
is(PbSlice text, const char *name)
{
	return text.len == strlen(name) && (text.len == 0 || strncasecmp(text.data, name, text.len) == 0);
}

static void
check_parameters(PbSlice text)
{
	PbParameter found = PB_P_UNKNOWN;

	for (int p = 0; p < PB_PARAMETER_COUNT; p++)
	{
		HOLDS(strcmp(pb_parameter_name((PbParameter) p), pb_parameter_alias((PbParameter) p, 0)) == 0);
		HOLDS(pb_parameter_limit((PbParameter) p) >= 16);
		for (int i = 0; pb_parameter_alias((PbParameter) p, i) != NULL; i++)
			if (is(text, pb_parameter_alias((PbParameter) p, i)))
				found = (PbParameter) p;
	}
	HOLDS(pb_parameter_find(text) == found);
}

static void
check_macros(PbSlice text)
{
	PbMacro		found = PB_M_UNKNOWN;

	for (int m = 0; m < PB_MACRO_COUNT; m++)
	{
		if (is(text, pb_macro_name((PbMacro) m)))
			found = (PbMacro) m;
		for (int i = 0; pb_macro_alias((PbMacro) m, i) != NULL; i++)
			if (is(text, pb_macro_alias((PbMacro) m, i)))
				found = (PbMacro) m;
	}
	HOLDS(pb_macro_find(text) == found);
}

/* The words of the manual, section 4. */
static void
check_status_words(PbSlice text)
{
	static const char *const words[PB_SENT_COUNT][9] = {
		[PB_SENT_NEW] = {"", "new", "pending"},
		[PB_SENT_APPROVED] = {"approved", "approve", "done", "confirmed", "accepted"},
		[PB_SENT_REVERSED] = {"reversed", "cancelled", "canceled", "denied", "rejected", "declined", "refunded", "chargeback"},
		[PB_SENT_PARTIAL] = {"partial", "adjusted"},
	};
	PbSent		sent = PB_SENT_COUNT;
	bool		known = pb_status_word(text, &sent);

	for (int s = 0; s < PB_SENT_COUNT; s++)
		for (int i = 0; i < 9 && words[s][i] != NULL; i++)
			if (is(text, words[s][i]))
			{
				HOLDS(known && sent == (PbSent) s);
				return;
			}
	HOLDS(!known);
}

static void
check_states(PbSlice text)
{
	PbState		state = PB_STATE_COUNT;
	bool		known = pb_state_find(text, &state);

	HOLDS(!known || pb_slice_equal(text, pb_slice(pb_state_name(state))));
	for (int s = PB_NONE + 1; s < PB_STATE_COUNT; s++)
		HOLDS(!pb_slice_equal(text, pb_slice(pb_state_name((PbState) s))) || state == (PbState) s);
}

static void
check_currencies(PbSlice text)
{
	const PbCurrency *found = NULL;

	for (size_t i = 0; i < pb_currency_count; i++)
		if (is(text, pb_currencies[i].code))
			found = &pb_currencies[i];
	HOLDS(pb_currency_find(text) == found);
}

/* Whatever is asked, what is decided is one of the actions, and a refusal has a code. */
static void
check_decision(Input *in)
{
	PbFacts		facts = {
		.now = (PbState) take_choice(in, PB_STATE_COUNT),.sent = (PbSent) take_choice(in, PB_SENT_COUNT),
	};
	int			flags = take_choice(in, 8);
	PbDecision	decision;

	facts.has_value = (flags & 1) != 0;
	facts.test = (flags & 2) != 0;
	facts.unpriced = (flags & 4) != 0;
	facts.value = take_int64(in);
	facts.current = take_int64(in);
	decision = pb_decide(&facts);
	HOLDS((decision.action != PB_DO_REFUSE && decision.action != PB_DO_PARK) || pb_code_http(decision.code) >= 400);
	HOLDS((facts.now == PB_NONE) != (decision.action == PB_DO_DUPLICATE || decision.action == PB_DO_APPROVE ||
			decision.action == PB_DO_REVERSE || decision.action == PB_DO_ADJUST || decision.action == PB_DO_REOPEN) ||
		decision.action == PB_DO_REFUSE || decision.action == PB_DO_PARK);
	/* Money only ever goes down by a postback, and nothing that was approved changes. */
	HOLDS(decision.action != PB_DO_ADJUST || (facts.has_value && facts.value < facts.current));
	HOLDS(decision.action != PB_DO_APPROVE || !facts.has_value || facts.value == facts.current);
	HOLDS(facts.now != PB_APPROVED || decision.action == PB_DO_DUPLICATE || decision.action == PB_DO_REFUSE);
	HOLDS(facts.now != PB_REVERSED || facts.test || decision.action == PB_DO_DUPLICATE || decision.action == PB_DO_REFUSE);
}

static void
check_properties(Input *in)
{
	PbSlice		text;

	check_decision(in);
	text = take_rest(in);
	check_parameters(text);
	check_macros(text);
	check_status_words(text);
	check_states(text);
	check_currencies(text);
}

/*
 * test_csv.c: reading comma separated values (extension/core/csv.c).
 *
 * Expectations follow the rules and the grammar of RFC 4180, section 2.
 */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <string.h>
#include <cmocka.h>

#include "csv.h"

/* All fields of a text as "line.number=field", "!" after the last of a record, "|" between them. */
static void
assert_fields(PbSlice text, char delimiter, const char *expected)
{
	PbCsv		csv = {.text = text,.delimiter = delimiter};
	PbCsvField	field;
	PbCsvToken	token;
	char		buffer[512];
	char		plain[128];
	PbOut		out = pb_out(buffer, sizeof(buffer));

	while ((token = pb_csv_next(&csv, &field)) == PB_CSV_FIELD)
	{
		if (out.len > 0)
			pb_out_char(&out, '|');
		pb_out_int(&out, field.line);
		pb_out_char(&out, '.');
		pb_out_int(&out, field.number);
		pb_out_char(&out, '=');
		assert_true(field.raw.len <= sizeof(plain));
		if (field.quoted)
			pb_out_bytes(&out, plain, pb_csv_unquote(field.raw, plain));
		else
			pb_out_slice(&out, field.raw);
		if (field.last)
			pb_out_char(&out, '!');
	}
	assert_int_equal(token, PB_CSV_END);
	assert_true(pb_out_fits(&out));
	assert_int_equal(out.len, strlen(expected));
	assert_memory_equal(buffer, expected, out.len);
}

#define ASSERT_FIELDS(text, expected) assert_fields(PB_LITERAL(text), ',', expected)

/* The text must end in this error, about this field. */
static void
assert_error(PbSlice text, PbCsvToken expected, int line, int number)
{
	PbCsv		csv = {.text = text,.delimiter = ','};
	PbCsvField	field;
	PbCsvToken	token;

	while ((token = pb_csv_next(&csv, &field)) == PB_CSV_FIELD)
		;
	assert_int_equal(token, expected);
	assert_int_equal(field.line, line);
	assert_int_equal(field.number, number);
}

#define ASSERT_ERROR(text, expected, line, number) assert_error(PB_LITERAL(text), expected, line, number)

static void
records_end_with_the_line(void **state)
{
	(void) state;
	ASSERT_FIELDS("aaa,bbb,ccc\r\nzzz,yyy,xxx\r\n", "1.1=aaa|1.2=bbb|1.3=ccc!|2.1=zzz|2.2=yyy|2.3=xxx!");
	ASSERT_FIELDS("aaa,bbb\nzzz,yyy", "1.1=aaa|1.2=bbb!|2.1=zzz|2.2=yyy!");
	ASSERT_FIELDS("aaa,bbb\rzzz,yyy\r", "1.1=aaa|1.2=bbb!|2.1=zzz|2.2=yyy!");
}

static void
fields_may_be_empty(void **state)
{
	(void) state;
	ASSERT_FIELDS(",,\n", "1.1=|1.2=|1.3=!");
	ASSERT_FIELDS("a,", "1.1=a|1.2=!");
	ASSERT_FIELDS("a,\nb,\"\"", "1.1=a|1.2=!|2.1=b|2.2=!");
}

static void
spaces_belong_to_the_field(void **state)
{
	(void) state;
	ASSERT_FIELDS(" a , b \n", "1.1= a |1.2= b !");
}

static void
empty_lines_are_skipped_and_counted(void **state)
{
	(void) state;
	ASSERT_FIELDS("", "");
	ASSERT_FIELDS("\r\n\n", "");
	ASSERT_FIELDS("\n\na\r\n\r\nb\n\n", "3.1=a!|5.1=b!");
}

static void
quotes_hold_delimiters_quotes_and_line_ends(void **state)
{
	(void) state;
	ASSERT_FIELDS("\"aaa\",\"bbb\"\r\nzzz,yyy", "1.1=aaa|1.2=bbb!|2.1=zzz|2.2=yyy!");
	ASSERT_FIELDS("\"a,b\",c", "1.1=a,b|1.2=c!");
	ASSERT_FIELDS("\"a\"\"b\"\"\",\"\"\"\"", "1.1=a\"b\"|1.2=\"!");
	ASSERT_FIELDS("\"a\r\nb\",c\nd", "1.1=a\r\nb|2.2=c!|3.1=d!");
}

static void
a_byte_order_mark_is_skipped_at_the_start_only(void **state)
{
	(void) state;
	ASSERT_FIELDS("\xEF\xBB\xBF" "a,b", "1.1=a|1.2=b!");
	ASSERT_FIELDS("\xEF\xBB\xBF" "\"a\"", "1.1=a!");
	ASSERT_FIELDS("a,\xEF\xBB\xBF" "b", "1.1=a|1.2=\xEF\xBB\xBF" "b!");
	ASSERT_FIELDS("\xEF\xBB\xBF", "");
	ASSERT_FIELDS("\xEF\xBB", "1.1=\xEF\xBB!");
}

static void
the_delimiter_may_be_another(void **state)
{
	(void) state;
	assert_fields(PB_LITERAL("a;b,c\n\"d;e\";f"), ';', "1.1=a|1.2=b,c!|2.1=d;e|2.2=f!");
}

static void
misplaced_quotes_are_errors(void **state)
{
	(void) state;
	ASSERT_ERROR("a\nb,c\"d\"", PB_CSV_QUOTE_INSIDE, 2, 2);
	ASSERT_ERROR("a, \"b\"", PB_CSV_QUOTE_INSIDE, 1, 2);
	ASSERT_ERROR("\"a\"b,c", PB_CSV_TEXT_AFTER_QUOTE, 1, 1);
	ASSERT_ERROR("\"a\" ,c", PB_CSV_TEXT_AFTER_QUOTE, 1, 1);
	ASSERT_ERROR("a,\"b\nc", PB_CSV_QUOTE_NOT_CLOSED, 1, 2);
	ASSERT_ERROR("\"", PB_CSV_QUOTE_NOT_CLOSED, 1, 1);
	ASSERT_ERROR("\"a\"\"", PB_CSV_QUOTE_NOT_CLOSED, 1, 1);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(records_end_with_the_line),
		cmocka_unit_test(fields_may_be_empty),
		cmocka_unit_test(spaces_belong_to_the_field),
		cmocka_unit_test(empty_lines_are_skipped_and_counted),
		cmocka_unit_test(quotes_hold_delimiters_quotes_and_line_ends),
		cmocka_unit_test(a_byte_order_mark_is_skipped_at_the_start_only),
		cmocka_unit_test(the_delimiter_may_be_another),
		cmocka_unit_test(misplaced_quotes_are_errors),
	};

	return cmocka_run_group_tests_name("csv", tests, NULL, NULL);
}

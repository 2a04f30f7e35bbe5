/* SPDX-License-Identifier: MIT
 *
 * The JSON writer. Seconds come from integer ns and are written from them, digit by digit: no float rounds
 * them.
 */
#include "emit.h"

#include <inttypes.h>
#include <string.h>

#include "../prose.h"

static void text_write(struct emit *j, const char *s)
{
	FILE *out = j->out;
	putc_unlocked('"', out);
	while (*s) {
		const char *from = s;
		while ((unsigned char)*s >= 0x20 && (unsigned char)*s < 0x7f && *s != '"' && *s != '\\')
			s++;
		fwrite_unlocked(from, 1, s - from, out);
		if (!*s)
			break;
		from = s;
		int32_t code = utf8_next(&s);
		if (code == '"' || code == '\\')
			fprintf(out, "\\%c", code);
		else if (code == '\n')
			fputs("\\n", out);
		else if (code == '\t')
			fputs("\\t", out);
		else if (code < 0)
			fputs("\xef\xbf\xbd", out); /* U+FFFD: the byte was no UTF-8 */
		else if (code < 0xa0)		    /* C1 controls too: a terminal may obey them */
			fprintf(out, "\\u%04x", (unsigned)code);
		else
			fwrite_unlocked(from, 1, s - from, out);
	}
	putc_unlocked('"', out);
}

static void line_begin(struct emit *j)
{
	static const char blanks[] = "                                        ";
	size_t n = 2 * j->depth;
	putc_unlocked('\n', j->out);
	fwrite_unlocked(blanks, 1, n < sizeof(blanks) - 1 ? n : sizeof(blanks) - 1, j->out);
}

/* What stands before a value. */
static void value_begin(struct emit *j, const char *key)
{
	if (!j->empty)
		putc_unlocked(',', j->out);
	if (j->line)
		;
	else if (j->flat)
		putc_unlocked(' ', j->out);
	else if (j->depth)
		line_begin(j);
	j->empty = false;
	if (key) {
		text_write(j, key);
		fwrite_unlocked(": ", 1, j->line ? 1 : 2, j->out);
	}
}

static void value_write(struct emit *j, const char *key, const char *value)
{
	value_begin(j, key);
	fwrite_unlocked(value, 1, strlen(value), j->out);
}

static void open(struct emit *j, const char *key, char bracket)
{
	value_begin(j, key);
	putc_unlocked(bracket, j->out);
	j->depth++;
	j->empty = true;
}

void emit_object(struct emit *j, const char *key)
{
	open(j, key, '{');
}

void emit_object_flat(struct emit *j, const char *key)
{
	open(j, key, '{');
	j->flat = true;
}

void emit_array(struct emit *j, const char *key)
{
	open(j, key, '[');
}

void emit_close(struct emit *j, char bracket)
{
	j->depth--;
	if (j->line)
		;
	else if (j->flat)
		putc_unlocked(' ', j->out);
	else if (!j->empty)
		line_begin(j);
	putc_unlocked(bracket, j->out);
	j->flat = j->empty = false;
}

void emit_string(struct emit *j, const char *key, const char *s)
{
	if (!s) {
		emit_null(j, key);
		return;
	}
	value_begin(j, key);
	text_write(j, s);
}

void emit_integer(struct emit *j, const char *key, int64_t n)
{
	char digits[32];
	snprintf(digits, sizeof(digits), "%" PRId64, n);
	value_write(j, key, digits);
}

/* Without the zeros at the end, but for the first decimal: 1.5, 2.0. */
static void decimal_write(struct emit *j, const char *key, char *digits)
{
	for (char *end = digits + strlen(digits) - 1; *end == '0' && end[-1] != '.'; end--)
		*end = 0;
	value_write(j, key, digits);
}

void emit_seconds(struct emit *j, const char *key, int64_t ns)
{
	char digits[48];
	uint64_t n = ns < 0 ? -(uint64_t)ns : (uint64_t)ns;
	snprintf(digits, sizeof(digits), "%s%" PRIu64 ".%09" PRIu64, ns < 0 ? "-" : "", n / 1000000000,
		 n % 1000000000);
	decimal_write(j, key, digits);
}

void emit_micros(struct emit *j, const char *key, uint64_t ns)
{
	char digits[32];
	snprintf(digits, sizeof(digits), "%" PRIu64 ".%03" PRIu64, ns / 1000, ns % 1000);
	decimal_write(j, key, digits);
}

void emit_real(struct emit *j, const char *key, double x)
{
	char digits[400];
	if (!(x >= -1e15 && x <= 1e15)) { /* also NaN */
		emit_null(j, key);
		return;
	}
	snprintf(digits, sizeof(digits), "%.6f", x);
	decimal_write(j, key, digits);
}

void emit_raw(struct emit *j, const char *key, const char *json)
{
	value_write(j, key, json);
}

void emit_bool(struct emit *j, const char *key, bool b)
{
	value_write(j, key, b ? "true" : "false");
}

void emit_null(struct emit *j, const char *key)
{
	value_write(j, key, "null");
}

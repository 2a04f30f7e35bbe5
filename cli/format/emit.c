/* SPDX-License-Identifier: MIT
 *
 * The JSON writer. Seconds come from integer ns and are written from them, digit by digit: no float rounds
 * them. A large report is some hundred megabytes in pieces of a few bytes: they are gathered here, for a call
 * of stdio takes longer than to write what it is called for.
 */
#include "emit.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "../prose.h"
#include "../util.h"

#define GATHERED (256u << 10)

static void flush(struct emit *j)
{
	if (j->used && !j->err && fwrite_unlocked(j->text, 1, j->used, j->out) < j->used)
		j->err = errno ? -errno : -EIO;
	j->used = 0;
}

/* Room for n bytes at the end of the text. */
static char *room(struct emit *j, size_t n)
{
	if (j->room - j->used >= n)
		return j->text + j->used;
	if (j->out && n <= GATHERED)
		flush(j);
	if (j->room - j->used < n) {
		j->room = j->out ? n > GATHERED ? n : GATHERED : 2 * (j->room + n);
		j->text = xrealloc(j->text, j->room, 1);
	}
	return j->text + j->used;
}

static inline void put(struct emit *j, const char *s, size_t n)
{
	memcpy(room(j, n), s, n);
	j->used += n;
}

static inline void put_char(struct emit *j, char c)
{
	*room(j, 1) = c;
	j->used++;
}

static void code_put(struct emit *j, int32_t code, const char *from, size_t n)
{
	char escape[16];
	if (code == '"' || code == '\\')
		put(j, (char[]){'\\', (char)code}, 2);
	else if (code == '\n')
		put(j, "\\n", 2);
	else if (code == '\t')
		put(j, "\\t", 2);
	else if (code < 0)
		put(j, "\xef\xbf\xbd", 3); /* U+FFFD: the byte was no UTF-8 */
	else if (code < 0xa0)		   /* C1 controls too: a terminal may obey them */
		put(j, escape, (size_t)snprintf(escape, sizeof escape, "\\u%04x", (unsigned)code));
	else
		put(j, from, n);
}

static void text_put(struct emit *j, const char *s)
{
	put_char(j, '"');
	while (*s) {
		const char *from = s;
		while ((unsigned char)*s >= 0x20 && (unsigned char)*s < 0x7f && *s != '"' && *s != '\\')
			s++;
		put(j, from, (size_t)(s - from));
		if (!*s)
			break;
		from = s;
		int32_t code = utf8_next(&s);
		code_put(j, code, from, (size_t)(s - from));
	}
	put_char(j, '"');
}

static bool in_line(const struct emit *j)
{
	return j->line || j->flat;
}

static void line_begin(struct emit *j)
{
	static const char blanks[] = "\n                                        ";
	size_t n = 1 + 2 * (size_t)j->depth;
	put(j, blanks, n < sizeof(blanks) - 1 ? n : sizeof(blanks) - 1);
}

/* What stands before a value. */
static void value_begin(struct emit *j, const char *key)
{
	if (!j->empty)
		put_char(j, ',');
	if (!in_line(j) && j->depth)
		line_begin(j);
	j->empty = false;
	if (key) {
		put_char(j, '"');
		put(j, key, strlen(key));
		put(j, "\": ", in_line(j) ? 2 : 3);
	}
}

static void begin(struct emit *j, const char *key, char bracket, bool flat)
{
	value_begin(j, key);
	put_char(j, bracket);
	j->depth++;
	j->empty = true;
	if (flat && !j->flat)
		j->flat = j->depth;
}

void emit_object(struct emit *j, const char *key)
{
	begin(j, key, '{', false);
}

void emit_object_flat(struct emit *j, const char *key)
{
	begin(j, key, '{', true);
}

void emit_array(struct emit *j, const char *key)
{
	begin(j, key, '[', false);
}

void emit_array_flat(struct emit *j, const char *key)
{
	begin(j, key, '[', true);
}

void emit_close(struct emit *j, char bracket)
{
	j->depth--;
	if (!in_line(j) && !j->empty)
		line_begin(j);
	if (j->depth < j->flat)
		j->flat = 0;
	put_char(j, bracket);
	j->empty = false;
}

void emit_string(struct emit *j, const char *key, const char *s)
{
	if (!s) {
		emit_null(j, key);
		return;
	}
	value_begin(j, key);
	text_put(j, s);
}

/* Writes them before `end`, at least so many; returns where they begin. */
static char *digits_before(char *end, uint64_t n, int least)
{
	for (; n || least > 0; n /= 10, least--)
		*--end = (char)('0' + n % 10);
	return end;
}

/* A number with so many decimals, without the zeros at the end, but for the first: 1.5, 2.0. */
static void decimal_emit(struct emit *j, const char *key, bool minus, uint64_t n, uint64_t unit, int decimals)
{
	char digits[48], *end = digits + sizeof digits, *begin = digits_before(end, n % unit, decimals);
	*--begin = '.';
	begin = digits_before(begin, n / unit, 1);
	if (minus)
		*--begin = '-';
	while (end[-1] == '0' && end[-2] != '.')
		end--;
	emit_raw(j, key, begin, (size_t)(end - begin));
}

void emit_integer(struct emit *j, const char *key, int64_t n)
{
	char digits[24], *end = digits + sizeof digits,
			 *begin = digits_before(end, n < 0 ? -(uint64_t)n : (uint64_t)n, 1);
	if (n < 0)
		*--begin = '-';
	emit_raw(j, key, begin, (size_t)(end - begin));
}

void emit_seconds(struct emit *j, const char *key, int64_t ns)
{
	decimal_emit(j, key, ns < 0, ns < 0 ? -(uint64_t)ns : (uint64_t)ns, NS, 9);
}

void emit_micros(struct emit *j, const char *key, uint64_t ns)
{
	decimal_emit(j, key, false, ns, 1000, 3);
}

void emit_real(struct emit *j, const char *key, double x)
{
	if (!(x >= -1e12 && x <= 1e12)) { /* also NaN */
		emit_null(j, key);
		return;
	}
	double millionths = (x < 0 ? -x : x) * 1e6 + 0.5;
	decimal_emit(j, key, x < 0 && millionths >= 1, (uint64_t)millionths, 1000000, 6);
}

void emit_raw(struct emit *j, const char *key, const char *json, size_t n)
{
	value_begin(j, key);
	put(j, json, n);
}

void emit_bool(struct emit *j, const char *key, bool b)
{
	emit_raw(j, key, b ? "true" : "false", b ? 4 : 5);
}

void emit_null(struct emit *j, const char *key)
{
	emit_raw(j, key, "null", 4);
}

void emit_newline(struct emit *j)
{
	put_char(j, '\n');
	j->empty = true;
}

int emit_end(struct emit *j)
{
	flush(j);
	free(j->text);
	j->text = NULL;
	j->room = 0;
	if (fflush(j->out) && !j->err)
		j->err = errno ? -errno : -EIO;
	return j->err;
}

/* SPDX-License-Identifier: MIT
 *
 * Cleaning, measuring, cutting and wrapping of text. Every name is decoded by our own strict UTF-8 reader, so
 * that the result does not depend on the user's locale; only the width of a character is asked of libc.
 */
#include "prose.h"

#include <locale.h>
#include <stdbool.h>
#include <string.h>
#include <wchar.h>

#include "util.h"

int32_t utf8_next(const char **s)
{
	static const int32_t least[] = {0, 0x80, 0x800, 0x10000}; /* shorter forms exist: overlong */
	const unsigned char *p = (const unsigned char *)*s;
	int more = *p < 0x80 ? 0 : *p < 0xc2 ? -1 : *p < 0xe0 ? 1 : *p < 0xf0 ? 2 : *p < 0xf5 ? 3 : -1;
	if (!*p)
		return 0;
	(*s)++;
	if (more <= 0)
		return more ? -1 : *p;
	int32_t code = *p & (0x3f >> more);
	for (int i = 1; i <= more; i++) {
		if ((p[i] & 0xc0) != 0x80)
			return -1;
		code = code << 6 | (p[i] & 0x3f);
	}
	if (code < least[more] || code > 0x10ffff || (code >= 0xd800 && code < 0xe000))
		return -1;
	*s += more;
	return code;
}

/* wcwidth answers by the thread's locale, which may be C. */
static int code_width(int32_t code)
{
	static _Thread_local locale_t utf8;
	if (code < 0x7f)
		return code >= 0x20 ? 1 : -1;
	/* zero-width and bidirectional controls: they would reorder or hide what follows */
	if (code == 0xad || code == 0x61c || (code >= 0x200b && code <= 0x200f) ||
	    (code >= 0x2028 && code <= 0x202e) || (code >= 0x2060 && code <= 0x206f) || code == 0xfeff)
		return -1;
	if (!utf8)
		utf8 = newlocale(LC_CTYPE_MASK, "C.UTF-8", 0);
	locale_t old = utf8 ? uselocale(utf8) : 0;
	int width = wcwidth((wchar_t)code);
	if (old)
		uselocale(old);
	return width;
}

/* One character cleaned: its bytes are *from..*s, or "?" if `from` comes back NULL. Its columns, -1 at the
 * end. */
static int glyph_next(const char **s, const char **from)
{
	const char *start = *s;
	int32_t code = utf8_next(s);
	if (!code)
		return -1;
	int width = code < 0 ? -1 : code_width(code);
	*from = width < 0 ? NULL : start;
	return width < 0 ? 1 : width;
}

int prose_columns(const char *s)
{
	const char *from = NULL;
	int columns = 0;
	for (int width; (width = glyph_next(&s, &from)) >= 0;)
		columns += width;
	return columns;
}

/* Copies whole characters while they fit in columns and bytes. */
static char *glyphs_copy(char *to, const char *end, const char *s, int columns)
{
	const char *from = NULL;
	for (int width; (width = glyph_next(&s, &from)) >= 0; columns -= width) {
		size_t bytes = from ? (size_t)(s - from) : 1;
		if (width > columns || to + bytes >= end)
			break;
		memcpy(to, from ? from : "?", bytes);
		to += bytes;
	}
	*to = 0;
	return to;
}

char *prose_fit(char *buf, size_t size, const char *s, int columns, enum fit keep)
{
	const char *end = buf + size, *from = NULL;
	int have = prose_columns(s), dots = columns > 3 ? 3 : columns > 0 ? columns : 0;
	if (have <= columns) {
		glyphs_copy(buf, end, s, columns);
	} else if (keep == FIT_HEAD) {
		char *to = glyphs_copy(buf, end - dots, s, columns - dots);
		snprintf(to, end - to, "%.*s", dots, "...");
	} else {
		while (have > columns - dots)
			have -= glyph_next(&s, &from);
		int n = snprintf(buf, size, "%.*s", dots, "...");
		glyphs_copy(buf + n, end, s, columns - dots);
	}
	return buf;
}

char *prose_count(char *buf, size_t size, uint64_t n, const char *word)
{
	char figure[32];
	snprintf(buf, size, "%s %s%s", count_format(figure, sizeof(figure), n), word, n == 1 ? "" : "s");
	return buf;
}

char *prose_percent(char *buf, size_t size, double share)
{
	double percent = 100 * share;
	if (percent >= 0.995 || percent <= 0)
		snprintf(buf, size, "%.0f %%", percent > 0 ? percent : 0);
	else if (percent < 0.1)
		snprintf(buf, size, "<0.1 %%");
	else
		snprintf(buf, size, "%.1f %%", percent);
	return buf;
}

static void spaces(FILE *out, int n)
{
	fprintf(out, "%*s", n > 0 ? n : 0, "");
}

/* Writes one word, breaking it where it reaches the edge. Returns the column it ends at. */
static int word_write(FILE *out, int columns, int at, int indent, const char *s, const char *end)
{
	const char *from = NULL;
	while (s < end) {
		int width = glyph_next(&s, &from);
		if (at + width > columns) {
			putc('\n', out);
			spaces(out, indent);
			at = indent;
		}
		if (from)
			fwrite(from, 1, s - from, out);
		else
			putc('?', out);
		at += width;
	}
	return at;
}

/* The end of a word, which a figure and its unit are together: "1.84 s", "35 %". */
static const char *word_end(const char *s)
{
	static const char *const units[] = {"s", "ms", "us", "min", "%"};
	const char *end = s + strcspn(s, " ");
	if (*end && end > s && end[-1] >= '0' && end[-1] <= '9') {
		size_t n = strcspn(end + 1, " ,.;:)");
		for (size_t i = 0; i < LENGTH(units); i++)
			if (n == strlen(units[i]) && !memcmp(end + 1, units[i], n))
				return end + 1 + strcspn(end + 1, " ");
	}
	return end;
}

void prose_wrap(FILE *out, int columns, int at, int indent, const char *s)
{
	bool first = true;
	for (s += strspn(s, " "); *s; s += strspn(s, " ")) {
		const char *end = word_end(s), *p = s, *from = NULL;
		int width = 0;
		while (p < end)
			width += glyph_next(&p, &from);
		if (!first && at + 1 + width > columns && (indent + width <= columns || at + 1 >= columns)) {
			putc('\n', out);
			spaces(out, indent);
			at = indent;
		} else if (!first) {
			putc(' ', out);
			at++;
		}
		at = word_write(out, columns, at, indent, s, end);
		first = false;
		s = end;
	}
	putc('\n', out);
}

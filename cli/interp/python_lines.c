/* SPDX-License-Identifier: MIT
 *
 * Line tables: which line an instruction belongs to. Three formats since 3.8. Pure functions over bytes that
 * may be anything.
 */
#include <limits.h>

#include "cli/interp/python.h"

/* Objects/lnotab_notes.txt: pairs of (bytecode delta, signed line delta). */
static long line_lnotab(const unsigned char *table, size_t size, int first, long at)
{
	long address = 0;
	long line = first;
	for (size_t i = 0; i + 1 < size; i += 2) {
		address += table[i];
		if (address > at)
			break;
		line += (signed char)table[i + 1];
	}
	return line;
}

/* PEP 626: pairs of (length in bytes, signed line delta), -128: these instructions have no line. */
static long line_deltas(const unsigned char *table, size_t size, int first, long at)
{
	long end = 0;
	long line = first;
	for (size_t i = 0; i + 1 < size; i += 2) {
		int delta = (signed char)table[i + 1];
		end += table[i];
		if (delta != -128)
			line += delta;
		if (at < end)
			return delta == -128 ? 0 : line;
	}
	return 0;
}

/* Six bits a byte, least significant first, bit 6: more follow. */
static unsigned varint(const unsigned char *table, size_t size, size_t *i)
{
	unsigned value = 0, shift = 0, byte;
	do {
		if (*i >= size)
			return 0;
		byte = table[(*i)++];
		if (shift < 30)
			value |= (byte & 63) << shift;
		shift += 6;
	} while (byte & 64);
	return value;
}

/* Objects/locations.md: each entry starts with a byte 1ccccnnn, c its kind, n+1 its length in code units. */
static long line_locations(const unsigned char *table, size_t size, int first, long at)
{
	enum {
		SHORT_LAST = 9,
		ONE_LINE_FIRST = 10,
		ONE_LINE_LAST = 12,
		NO_COLUMNS = 13,
		LONG = 14,
		NONE = 15
	};
	long end = 0;
	long line = first;
	for (size_t i = 0; i < size;) {
		int kind = table[i] >> 3 & 15;
		end += ((table[i] & 7) + 1) * 2;
		i++;
		if (kind == NO_COLUMNS || kind == LONG) {
			unsigned v = varint(table, size, &i);
			line += v & 1 ? -(int)(v >> 1) : (int)(v >> 1);
		} else if (kind >= ONE_LINE_FIRST && kind <= ONE_LINE_LAST) {
			line += kind - ONE_LINE_FIRST;
		}
		if (at < end)
			return kind == NONE ? 0 : line;
		while (i < size && !(table[i] & 128)) /* the rest of the entry: its columns */
			i++;
	}
	return 0;
}

int python_line(enum python_lines format, const unsigned char *table, size_t size, int first, long at)
{
	long line = first;
	if (at >= 0 && format == LINES_LNOTAB)
		line = line_lnotab(table, size, first, at);
	else if (at >= 0 && format == LINES_DELTAS)
		line = line_deltas(table, size, first, at);
	else if (at >= 0 && format == LINES_LOCATIONS)
		line = line_locations(table, size, first, at);
	return line > 0 && line <= INT_MAX ? (int)line : 0;
}

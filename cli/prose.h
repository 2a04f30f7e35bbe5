/* SPDX-License-Identifier: MIT
 *
 * Text for people, in columns. Names come from the target and are hostile: what is printed through here has
 * no control characters, no broken UTF-8 and nothing that reorders a line, and is as wide as it says, by
 * wcwidth.
 */
#ifndef WHYSTALL_PROSE_H
#define WHYSTALL_PROSE_H

#include <stdint.h>
#include <stdio.h>

/* The next code point of a UTF-8 string, and moves on; 0 at the end, -1 for a byte that is none of valid
 * UTF-8. */
int32_t utf8_next(const char **s);

#define PROSE_MAX 2048 /* bytes that a buffer for one cleaned piece of text needs at most */

/* Columns that the string takes once cleaned. */
int prose_columns(const char *s);

/* Cleaned, and cut to so many columns: "head..." or "...tail". Returns buf. */
enum fit { FIT_HEAD, FIT_TAIL };
char *prose_fit(char *buf, size_t size, const char *s, int columns, enum fit keep);

/* "1 stall", "9,812 stalls": the word's plural by an s. Returns buf. */
char *prose_count(char *buf, size_t size, uint64_t n, const char *word);

/* "35 %", "0.4 %", "<0.1 %". Returns buf. */
char *prose_percent(char *buf, size_t size, double share);

/* Writes a paragraph, cleaned and wrapped; the first line begins after `at` columns that the caller has
 * written, the others are indented by `indent`. Words longer than a line are broken. Ends the line. */
void prose_wrap(FILE *out, int columns, int at, int indent, const char *s);

#endif

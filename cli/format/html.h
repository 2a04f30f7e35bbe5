/* SPDX-License-Identifier: MIT
 *
 * The HTML report's parts, and text for markup: XML's and HTML's alike.
 */
#ifndef WHYSTALL_HTML_H
#define WHYSTALL_HTML_H

#include "text.h"

/* Cleaned (XML has no way to write most control characters), cut to so many columns, and escaped: whatever it
 * is, it is text. */
void markup_text(FILE *, const char *s, int columns);

/* --- html_chart.c --- */
/* What the loop did over time, as pictures: its stalls by cause, and how long its ticks were. */
void html_charts(const struct text *, const struct verdict_loop *);

#endif

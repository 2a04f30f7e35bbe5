/* SPDX-License-Identifier: MIT
 *
 * The contract of an output format, one file each under cli/format/, registered by PART(format, format, ...).
 */
#ifndef WHYSTALL_FORMAT_H
#define WHYSTALL_FORMAT_H

#include <stdio.h>

#include "part.h"
#include "verdict.h"

struct format_options {
	int columns;	    /* 80 unless a terminal says otherwise */
	bool colour;	    /* the output takes colours and Unicode */
	uint32_t stall;	    /* only this stall, in full; 0: all */
	const char *record; /* path of the record, for the last line; NULL: none */
	const char *prefix; /* "whystall: " on stderr, "" on stdout: the first line's beginning */
	bool newest;	    /* record is the one that commands read which are given none */
};

struct outcome; /* budget.h */

/* What a format is offered for. */
enum format_use { FORMAT_REPORT = 1, FORMAT_EXPORT = 2, FORMAT_CHECK = 4 };

struct format {
	const char *name;							     /* -f NAME */
	const char *help;							     /* one line */
	int (*write)(FILE *, const struct verdict *, const struct format_options *); /* 0 or -errno */
	unsigned use;								     /* enum format_use */
	/* FORMAT_CHECK: what a check came to. 0 or -errno. */
	int (*check)(FILE *, const struct outcome *, const struct verdict *, const struct format_options *);
};

PARTS_DECLARE(format, format);
const struct format *format_find(const char *name); /* NULL: none */

#define FORMATS_MAX 16
/* Sorted, ended by NULL: choices of an option. */
extern const char *format_names[FORMATS_MAX + 1], *format_names_export[FORMATS_MAX + 1],
	*format_names_check[FORMATS_MAX + 1];

#endif

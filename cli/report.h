/* SPDX-License-Identifier: MIT
 *
 * From a record to a report: load, judge, print. What `report` does, and `run` and `attach` at their end.
 */
#ifndef WHYSTALL_REPORT_H
#define WHYSTALL_REPORT_H

#include <stdint.h>
#include <stdio.h>

struct observations;
struct verdict;
struct format_options;

struct report {
	const char *record; /* path */
	const char *format; /* name; NULL: text */
	const char *output; /* file, written whole or not at all; NULL: to stream */
	FILE *stream;
	const char *colour; /* "auto", "always", "never"; NULL: auto */
	uint32_t stall;	    /* only this one, in full; 0: all */
	const char *prefix; /* before the first line: "whystall: " on stderr; NULL: nothing */
	/* Instead of the format's own; gets `closure`. 0, -errno, or 1: nothing is to be written, and the
	 * writer has said why. */
	int (*write)(FILE *, const struct verdict *, const struct format_options *, void *closure);
	void *closure;
};

/* Returns the exit status; what went wrong has been said. */
int report_record(const struct report *);

/* Before a command is started whose report is to go to this file (NULL: none): EXIT_FINE, or EXIT_BROKEN
 * after having said why it could not be written. */
int report_writable(const char *output);

/* Reads a record. 0; or -1 after having said what is wrong with it (EXIT_RECORD). */
int report_load(struct observations *, const char *record);

extern const char *const report_colours[]; /* the words for --color */

#endif

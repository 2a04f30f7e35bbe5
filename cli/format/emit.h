/* SPDX-License-Identifier: MIT
 *
 * Writes JSON as it goes, so that a report of a hundred thousand stalls needs no memory: jansson can only
 * print a tree that is whole. Every value has a key, or NULL in an array; keys are the program's own words,
 * which need no escape. Any string is made valid UTF-8.
 */
#ifndef WHYSTALL_EMIT_H
#define WHYSTALL_EMIT_H

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

struct emit {
	FILE *out; /* NULL: it is kept in `text`. Nobody else writes to it before emit_end */
	int depth;
	bool empty; /* nothing in the innermost object or array so far */
	bool line;  /* all of it is written on one line, without a blank */
	int flat;   /* so is what is inside of this depth, 0: nothing */
	int err;    /* 0, or -errno: out takes no more; what comes is dropped */
	char *text; /* what has not gone to out */
	size_t used, room;
};

void emit_object(struct emit *, const char *key);
void emit_object_flat(struct emit *, const char *key); /* on one line: holds plain values only */
void emit_array(struct emit *, const char *key);
void emit_array_flat(struct emit *, const char *key); /* on one line */
void emit_close(struct emit *, char bracket);	      /* '}' or ']' */

void emit_string(struct emit *, const char *key, const char *s); /* NULL: null */
void emit_integer(struct emit *, const char *key, int64_t n);
void emit_seconds(struct emit *, const char *key, int64_t ns); /* exact to the ns */
void emit_micros(struct emit *, const char *key, uint64_t ns); /* in us, exact to the ns */
void emit_real(struct emit *, const char *key, double x);      /* six decimals */
void emit_raw(struct emit *, const char *key, const char *json,
	      size_t n); /* a value that is written already */
void emit_bool(struct emit *, const char *key, bool b);
void emit_null(struct emit *, const char *key);

void emit_newline(struct emit *); /* ends a document: another may follow */
/* Hands what is left to out. 0 or -errno. */
int emit_end(struct emit *);

#endif

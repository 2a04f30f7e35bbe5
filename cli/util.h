/* SPDX-License-Identifier: MIT
 *
 * Messages, memory, strings, time: nothing here knows what a stall is.
 */
#ifndef WHYSTALL_UTIL_H
#define WHYSTALL_UTIL_H

#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <sys/types.h>

#define VERSION "0.1.0"
#define NS 1000000000ull
#define LENGTH(array) (sizeof(array) / sizeof((array)[0]))

enum exit_status {
	EXIT_FINE = 0,
	EXIT_OVER = 1,
	EXIT_USAGE = 2,
	EXIT_ATTACH = 3,
	EXIT_RECORD = 4,
	EXIT_BROKEN = 125,
};

extern int verbosity; /* -q: -1, default 0, -v: 1 */

/* "whystall: ..." on stderr, one line, one write. Say what failed, on what, why, and what to do. */
void say(const char *format, ...) __attribute__((format(printf, 1, 2)));
/* The same, only under -v. */
void say_verbose(const char *format, ...) __attribute__((format(printf, 1, 2)));

/* Never return NULL: out of memory says so and exits 125. Only the whystall process uses them, no target
 * does. */
void *xcalloc(size_t n, size_t size);
void *xrealloc(void *p, size_t n, size_t size);
char *xstrdup(const char *s);
char *xprintf(const char *format, ...) __attribute__((format(printf, 1, 2)));

/* A growing array: struct { T *at; size_t n, room; }. vec_push returns a pointer to a new zeroed element. */
#define VEC(T)                  \
	struct {                \
		T *at;          \
		size_t n, room; \
	}
#define vec_push(v)                                                             \
	((v)->at = vec_grow((v)->at, &(v)->room, (v)->n + 1, sizeof(*(v)->at)), \
	 __builtin_memset(&(v)->at[(v)->n], 0, sizeof(*(v)->at)), (v)->n++, &(v)->at[(v)->n - 1])
#define vec_trim(v) \
	((v)->at = vec_fit((v)->at, &(v)->room, (v)->n, sizeof(*(v)->at))) /* no room but what is taken */
#define vec_free(v) (free((v)->at), (v)->at = NULL, (v)->n = (v)->room = 0)
void *vec_grow(void *at, size_t *room, size_t need, size_t size); /* new room is not zeroed */
void *vec_fit(void *at, size_t *room, size_t n, size_t size);

bool text_ends(const char *s, const char *end);

/* One copy of every string, for the life of the program: equal strings are equal pointers. Thread safe.
 * Bounded: strings are cut at 4 KiB, and past 64 MiB in all every new one reads "(too many names)". NULL
 * gives NULL. */
const char *intern(const char *s);
const char *intern_n(const char *s, size_t n);
/* The same for text from outside: what comes back is UTF-8 without control characters, fit for a terminal,
 * JSON and a record; other bytes read "\x1b". */
const char *intern_text(const char *s, size_t n);

uint64_t now_ns(void); /* CLOCK_MONOTONIC */

/* "250us", "20ms", "1.5s", "2m", "1h" -> ns. 0; -EINVAL: no unit, negative, nonsense; -ERANGE: over a day. */
int time_parse(const char *s, uint64_t *ns);
/* "1.84 s", "31 ms", "0.3 ms", "45 us", "2 min 3 s": 2 or 3 significant figures. Returns buf. */
char *time_format(char *buf, size_t size, uint64_t ns);
/* 9812 -> "9,812" */
char *count_format(char *buf, size_t size, uint64_t n);

/* The nearest of the words (edit distance at most a third of the length, else NULL). */
const char *nearest(const char *word, const char *const *words, size_t n);

/* A whole small file: *out is malloced and NUL-terminated, at most max bytes. Returns length or -errno
 * (-EFBIG: it is longer). */
ssize_t file_read(const char *path, char **out, size_t max);

#endif

/* SPDX-License-Identifier: MIT
 *
 * The text report's parts, one file each, and the names they share. Nothing reaches the page but through
 * prose.h: every name is the target's and may be hostile.
 */
#ifndef WHYSTALL_TEXT_H
#define WHYSTALL_TEXT_H

#include "../format.h"
#include "../prose.h"

struct text {
	FILE *out;
	const struct verdict *verdict;
	const struct observations *seen;
	const struct format_options *options;
	int columns;
	char *root; /* the directory that the user's files have in common, "/srv/app/"; NULL: none */
};

/* --- text.c --- */
enum paint { PLAIN, BOLD, RED, DIM };
void text_paint(const struct text *, enum paint); /* nothing where there are no colours */
/* A paragraph after `at` columns already written; further lines are indented. */
void text_say(const struct text *, int at, int indent, const char *format, ...)
	__attribute__((format(printf, 4, 5)));

/* The rest of a line that names a command: the record, where it is not the newest. */
void text_record(const struct text *);

/* --- text_cause.c, text_stall.c, text_gil.c --- */
void text_causes(const struct text *, const struct verdict_loop *);
void text_stall(const struct text *, const struct verdict_stall *, bool full);
void text_gil(const struct text *, const struct verdict_process *);

/* --- text_check.c: what a check came to --- */
/* "heavy_cpu_work  app.py:19  (native: long_pow)" */
void text_culprit(const struct text *, FILE *, const struct culprit *);
struct comparison;
void text_changes(const struct text *, const struct comparison *);
int text_check(FILE *, const struct outcome *, const struct verdict *, const struct format_options *);

/* --- name.c: what things are called; all return buf, not cleaned unless it says so --- */
#define NAME_MAX_COLUMNS 48 /* of one name within a sentence */
/* From JSON argv: "uvicorn app:api", without the interpreter and its path. */
char *name_command(char *buf, size_t size, const char *json);
/* "app.py", or "gunicorn worker of gunicorn app:api" */
char *name_process(char *buf, size_t size, const struct obs_process *);
/* The program alone, without arguments: "uvicorn", "app.py"; cleaned and short. */
char *name_program(char *buf, size_t size, const char *json);
char *name_runtime(char *buf, size_t size, const struct obs_process *);
/* "asyncio/base_events.py:1915", cleaned, cut at the front so that the line number stays. */
char *name_place(const struct text *, char *buf, size_t size, const char *file, int line, int columns);
/* "12:00:07.412", in the time zone of the record. */
char *name_moment(char *buf, size_t size, const struct obs_capture *, uint64_t ns);
/* "recvfrom from 127.0.0.1:5432" */
char *name_call(char *buf, size_t size, const char *syscall, const char *target);
/* "GIL", "mutex cache" */
char *name_lock(char *buf, size_t size, const struct obs_lock *);
/* A thread's name, or "thread 4711"; cleaned and short. */
char *name_thread(char *buf, size_t size, const char *name, int tid);
/* "server-0", or "server-0 and 3 other threads" that share it */
char *name_loop(char *buf, size_t size, const struct verdict_loop *);
/* "running", "blocked in recvfrom from 127.0.0.1:5432", "without a CPU"; "" if not known. */
char *name_state(char *buf, size_t size, enum thread_run, const char *syscall, const char *target);
/* The directory that all of the user's files are below, with its slash. malloced, or NULL. */
char *name_root(const struct observations *);

#endif

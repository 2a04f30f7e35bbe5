/* SPDX-License-Identifier: MIT
 *
 * What of whystall works here, and for one process: each part is tried, not guessed, and where it fails the
 * finding says why and has the command that helps.
 */
#ifndef WHYSTALL_DOCTOR_H
#define WHYSTALL_DOCTOR_H

#include <stdbool.h>
#include <stdio.h>
#include <sys/types.h>

#include "observe.h"

enum doctor_state {
	DOCTOR_OK,
	DOCTOR_PARTLY, /* works with something missing, or there is something to know */
	DOCTOR_NO,
};

struct finding {
	const char *name; /* "attach" */
	enum doctor_state state;
	char *said; /* why, or what is missing: no sentence, no full stop; NULL: nothing to say */
	char *fix; /* shell commands or lines of a configuration, each ended by a newline; NULL: none known */
};

struct doctor {
	struct obs_process process; /* pid 0: only the host was asked about */
	uid_t uid;		    /* the process's */
	VEC(struct finding) findings;
};

/* 0; or -errno with a sentence: no such process. */
int doctor_examine(struct doctor *, pid_t pid, char *why, size_t why_size);
void doctor_free(struct doctor *);
bool doctor_all_well(const struct doctor *); /* nothing that does not work */

int doctor_text(FILE *, const struct doctor *, int columns, bool forms);
int doctor_json(FILE *, const struct doctor *);
extern const char schema_doctor[];

/* Shared by doctor*.c: `said` and `fix` are malloced or NULL, and the finding's from now on. */
void doctor_find(struct doctor *, const char *name, enum doctor_state, char *said, char *fix);
void doctor_process(struct doctor *, pid_t pid);

#endif

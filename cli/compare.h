/* SPDX-License-Identifier: MIT
 *
 * Two verdicts side by side, by culprit: cause, function and file; not the line, which moves. What two runs
 * of the same program differ by is no change.
 */
#ifndef WHYSTALL_COMPARE_H
#define WHYSTALL_COMPARE_H

#include "verdict.h"

enum change_kind { CHANGE_NEW, CHANGE_WORSE, CHANGE_BETTER, CHANGE_GONE };

struct change {
	enum change_kind kind;
	const char *cause;
	struct culprit culprit; /* as the newer record has it; the older's if it is gone */
	uint64_t old_ns, new_ns;
	uint64_t old_stalls, new_stalls;
	double old_share, new_share; /* of observed time */
	bool by_share;		     /* the records are not of one length: the shares are what differs */
	const struct verdict_cause *whole; /* with the advice; NULL: none */
};

struct comparison {
	VEC(struct change) changes; /* new, worse, better, gone; of each the most seconds first */
	size_t worse;		    /* how many of them are new or worse */
	uint64_t old_observed_ns, new_observed_ns;
};

/* `counted`: the causes that count (budget.h); a change of up to `tolerance` (0.2: 20 %) is none. */
void compare_make(struct comparison *out, const struct verdict *older, const struct verdict *newer,
		  unsigned counted, double tolerance);
void compare_free(struct comparison *);
/* Of two programs that have nothing to do with each other everything is new or gone. True if none of the
 * older's loops is of a program that the newer has a loop of; the names of one each are filled in, PROSE_MAX
 * bytes. */
bool compare_others(const struct verdict *older, const struct verdict *newer, char *was, char *is);
extern const char *const change_names[]; /* "new" ... */
/* What it comes to in the older or the newer record: "1.39 s", or "16 % of the time, 1.39 s". Returns buf. */
char *change_figure(char *buf, size_t size, const struct change *, bool older);

#define TOLERANCE_DEFAULT 0.2

#endif

/* SPDX-License-Identifier: MIT
 *
 * A verdict against a budget: which limit broke, by how much, by whom (design: check). What is ignored is
 * taken out of a stall before it is compared, so that a machine without a CPU to spare turns nothing red.
 */
#ifndef WHYSTALL_BUDGET_H
#define WHYSTALL_BUDGET_H

#include "verdict.h"

/* The causes by their words (design: Words), as bits of a set in this order. */
extern const char *const cause_words[];
#define CAUSE_WORDS 9
#define CAUSE_RUNQUEUE 5 /* their places */
#define CAUSE_STOPPED 7
#define CAUSE_BIT(i) (1u << (i))
/* "gil,lock" or "none" to a set. 0, or -EINVAL with the word that is none, and the nearest or NULL. */
int causes_parse(const char *list, unsigned *set, char *word, size_t word_size, const char **near);
/* "1", "0.5%". 0 or -EINVAL: nonsense, negative, over max. */
int percent_parse(const char *s, double max, double *percent);
unsigned cause_bit(const char *cause);
/* What counts where nothing is said: all but runqueue and stopped. */
unsigned causes_default(void);

struct budget {
	uint64_t max_stall_ns;	    /* longest allowed; 0: no such limit */
	double max_stalled_percent; /* of observed time; negative: no such limit */
	uint64_t max_p99_ns;	    /* of a tick; 0: no such limit */
	bool no_stall;		    /* none of the record's threshold or more, after what does not count */
	unsigned counted;	    /* the causes that count */
	const char *mark;	    /* only stalls in this test; NULL: all */
};

/* Whom a broken limit is due to: as a verdict's cause, but only what counts. */
struct charge {
	const char *cause;
	struct culprit culprit;
	uint64_t ns, line_ns;		   /* in all; of the part that the line is from */
	const struct verdict_cause *whole; /* with the advice; NULL: none */
};

typedef VEC(struct charge) charges_t;

enum limit_kind { LIMIT_STALL, LIMIT_STALLED, LIMIT_P99 };
struct limit {
	enum limit_kind kind;
	bool broken;
	bool warned;		 /* over, but what does not count may be why: no failure */
	bool unkept;		 /* LIMIT_STALL: by a stall that the record counts but does not have */
	uint64_t ns, allowed_ns; /* LIMIT_STALL, LIMIT_P99 */
	double percent, allowed_percent;
	uint64_t stalled_ns, observed_ns, apart_ns; /* apart: of all stalls, what does not count */
	/* of the worst loop; NULL: none came near */
	const struct verdict_process *process;
	const struct verdict_loop *loop;
	const struct verdict_stall *stall; /* LIMIT_STALL */
	charges_t charges;		   /* most seconds first */
	charges_t others;		   /* LIMIT_STALL: of the loop's other stalls that are over it too */
	size_t loops_over;		   /* loops that broke it, this one among them */
};

#define CAVEATS 3

struct outcome {
	struct limit limits[3];
	size_t n, broken, loops;
	uint64_t ignored_ns[CAUSE_WORDS];  /* what did not count */
	uint64_t suppressed;		   /* stalls that the record counts but does not have */
	char *caveats[CAVEATS];		   /* sentences: what the record lacks, NULL: nothing more */
	const struct comparison *compared; /* compare.h: with a baseline; NULL: none */
	size_t regressed;		   /* new and worse culprits in it */
};

/* What of a segment counts. */
uint64_t segment_counted(const struct segment *, unsigned counted);
/* What of a holder's part counts. */
uint64_t holder_counted(const struct holder *, unsigned counted);
uint64_t stall_counted(const struct verdict_stall *, unsigned counted);

void budget_apply(struct outcome *out, const struct budget *, const struct verdict *);
void outcome_free(struct outcome *);

/* "longest stall" and so on */
const char *limit_name(const struct limit *);
/* Its figures: "412 ms", "0.6 %". Return buf. */
char *limit_value(char *buf, size_t size, const struct limit *);
char *limit_allowed(char *buf, size_t size, const struct limit *);
/* Why nobody is named under a limit that is not kept, or why it is only a warning; "" where there is nothing
 * to say. Returns buf. */
char *limit_hint(char *buf, size_t size, const struct limit *);
/* "runqueue 220 ms, stopped 1 s"; "" where nothing was left out. Returns buf. */
char *outcome_ignored(char *buf, size_t size, const struct outcome *);

#endif

/* SPDX-License-Identifier: MIT
 *
 * What counts of a stall, and what that comes to against each limit. Each loop has the budget for itself; the
 * one that is worst is told.
 */
#include "budget.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "prose.h"

const char *const cause_words[CAUSE_WORDS] = {"gil",	  "lock",  "cpu",     "gc",	"syscall",
					      "runqueue", "fault", "stopped", "unknown"};
#define APART_SHARE 0.01 /* of the time that does not count: a quantile says nothing then */

unsigned causes_default(void)
{
	return (CAUSE_BIT(CAUSE_WORDS) - 1) & ~(CAUSE_BIT(CAUSE_RUNQUEUE) | CAUSE_BIT(CAUSE_STOPPED));
}

static int cause_index(const char *word, size_t n)
{
	for (int i = 0; i < CAUSE_WORDS; i++)
		if (strlen(cause_words[i]) == n && !memcmp(cause_words[i], word, n))
			return i;
	return -1;
}

unsigned cause_bit(const char *cause)
{
	int i = cause_index(cause, strlen(cause));
	return i < 0 ? 0 : CAUSE_BIT(i);
}

int causes_parse(const char *list, unsigned *set, char *word, size_t word_size, const char **near)
{
	*set = 0;
	if (!strcmp(list, "none"))
		return 0;
	for (const char *at = list;; at++) {
		at += strspn(at, " ");
		size_t n = strcspn(at, ", ");
		int i = cause_index(at, n);
		if (i < 0) {
			snprintf(word, word_size, "%.*s", (int)n, at);
			*near = nearest(word, cause_words, CAUSE_WORDS);
			return -EINVAL;
		}
		*set |= CAUSE_BIT(i);
		at += n + strspn(at + n, " ");
		if (!*at)
			return 0;
	}
}

int percent_parse(const char *s, double max, double *percent)
{
	char *end;
	if (s[strspn(s, "0123456789.")] &&
	    strcmp(s + strspn(s, "0123456789."), "%")) /* strtod takes hex, "inf" */
		return -EINVAL;
	*percent = strtod(s, &end);
	if (end != s && *end == '%')
		end++;
	return end != s && !*end && *percent >= 0 && *percent <= max ? 0 : -EINVAL;
}

/* How much of it the holder had no CPU for, or may have had. */
static uint64_t holder_starved(const struct holder *h)
{
	uint64_t starved = h->runnable_ns > 0 ? (uint64_t)h->runnable_ns : h->doubt_ns;
	return starved < h->ns ? starved : h->ns;
}

uint64_t holder_counted(const struct holder *h, unsigned counted)
{
	return counted & CAUSE_BIT(CAUSE_RUNQUEUE) ? h->ns : h->ns - holder_starved(h);
}

static uint64_t segment_starved(const struct segment *s)
{
	uint64_t starved = 0;
	if (!strcmp(s->cause, cause_words[CAUSE_RUNQUEUE]))
		return s->ns;
	for (size_t i = 0; i < s->holders.n; i++)
		starved += holder_starved(&s->holders.at[i]);
	starved = s->holders.n ? starved : s->doubt_ns;
	return starved < s->ns ? starved : s->ns;
}

uint64_t segment_counted(const struct segment *s, unsigned counted)
{
	unsigned bit = cause_bit(s->cause);
	if (bit && !(counted & bit))
		return 0;
	return counted & CAUSE_BIT(CAUSE_RUNQUEUE) ? s->ns : s->ns - segment_starved(s);
}

uint64_t stall_counted(const struct verdict_stall *s, unsigned counted)
{
	uint64_t ns = 0;
	for (size_t i = 0; i < s->segments.n; i++)
		ns += segment_counted(&s->segments.at[i], counted);
	return ns;
}

/* --- who --- */

static struct charge *charge_find(const charges_t *charges, const char *cause, const struct culprit *c)
{
	for (size_t i = 0; i < charges->n; i++) {
		struct charge *old = &charges->at[i];
		if (!strcmp(old->cause, cause) && old->culprit.function == c->function &&
		    old->culprit.file == c->file && (c->function || old->culprit.tid == c->tid))
			return old;
	}
	return NULL;
}

static void charge_add(charges_t *charges, const char *cause, const struct culprit *c, uint64_t ns)
{
	if (!ns)
		return;
	struct charge *charge = charge_find(charges, cause, c);
	if (!charge) {
		charge = vec_push(charges);
		charge->cause = cause;
	}
	charge->ns += ns;
	if (ns >= charge->line_ns) {
		charge->line_ns = ns;
		charge->culprit = *c;
	}
}

static void stall_charge(charges_t *charges, const struct verdict_stall *stall, unsigned counted)
{
	for (size_t i = 0; i < stall->segments.n; i++) {
		const struct segment *s = &stall->segments.at[i];
		uint64_t ns = segment_counted(s, counted);
		for (size_t h = 0; ns && h < s->holders.n; h++)
			charge_add(charges, s->cause, &s->holders.at[h].culprit,
				   holder_counted(&s->holders.at[h], counted));
		if (!s->holders.n)
			charge_add(charges, s->cause, &s->culprit, ns);
	}
}

static int charge_order(const void *a, const void *b)
{
	const struct charge *x = a, *y = b;
	return x->ns > y->ns ? -1 : x->ns < y->ns;
}

static void charges_finish(charges_t *charges, const struct verdict_loop *loop)
{
	for (size_t i = 0; i < charges->n; i++) {
		struct charge *charge = &charges->at[i];
		for (size_t c = 0; c < loop->causes.n && !charge->whole; c++) {
			const struct verdict_cause *v = &loop->causes.at[c];
			if (!strcmp(v->cause, charge->cause) &&
			    v->culprit.function == charge->culprit.function &&
			    v->culprit.file == charge->culprit.file)
				charge->whole = v;
		}
	}
	if (charges->n)
		qsort(charges->at, charges->n, sizeof *charges->at, charge_order);
}

/* --- the limits --- */

struct judging {
	const struct budget *budget;
	const struct verdict_process *process;
	const struct verdict_loop *loop;
	uint64_t threshold;
};

static struct limit limit_of(const struct judging *j, enum limit_kind kind)
{
	return (struct limit){.kind = kind, .process = j->process, .loop = j->loop};
}

static bool stall_asked(const struct judging *j, const struct verdict_stall *s)
{
	return !j->budget->mark || (s->mark && !strcmp(s->mark, j->budget->mark));
}

/* The other stalls that are over the limit, by those who are not named already. */
static void others_charge(const struct judging *j, struct limit *limit)
{
	charges_t all = {0};
	for (size_t i = 0; i < j->loop->stalls.n; i++) {
		const struct verdict_stall *s = &j->loop->stalls.at[i];
		if (s != limit->stall && stall_asked(j, s) &&
		    stall_counted(s, j->budget->counted) > limit->allowed_ns)
			stall_charge(&all, s, j->budget->counted);
	}
	for (size_t i = 0; i < all.n; i++)
		if (all.at[i].ns >= limit->allowed_ns / 20 &&
		    !charge_find(&limit->charges, all.at[i].cause, &all.at[i].culprit))
			*vec_push(&limit->others) = all.at[i];
	vec_free(&all);
}

/* The longest tick is counted whatever is kept of it: its causes are not known where it is not. */
static void unkept_judge(const struct judging *j, struct limit *limit)
{
	uint64_t kept = 0;
	for (size_t i = 0; i < j->loop->stalls.n; i++)
		kept = j->loop->stalls.at[i].ns > kept ? j->loop->stalls.at[i].ns : kept;
	if (!j->loop->seen->suppressed || j->budget->mark || j->loop->max_ns <= kept ||
	    j->loop->max_ns <= limit->allowed_ns || j->loop->max_ns <= limit->ns)
		return;
	limit->unkept = limit->broken = true;
	limit->ns = j->loop->max_ns;
	limit->stall = NULL;
}

/* A stall that would have been none but for what is ignored does not count at all. */
static struct limit stalls_judge(const struct judging *j)
{
	const struct budget *b = j->budget;
	struct limit limit = limit_of(j, LIMIT_STALL);
	for (size_t i = 0; i < j->loop->stalls.n; i++) {
		const struct verdict_stall *s = &j->loop->stalls.at[i];
		uint64_t ns = stall_counted(s, b->counted);
		if (stall_asked(j, s) && ns > limit.ns) {
			limit.ns = ns;
			limit.stall = s;
		}
	}
	limit.allowed_ns = b->no_stall ? j->threshold : b->max_stall_ns;
	limit.broken = b->no_stall ? limit.ns >= j->threshold : limit.ns > b->max_stall_ns;
	if (!b->no_stall)
		unkept_judge(j, &limit);
	if (!limit.broken)
		return limit;
	if (limit.stall)
		stall_charge(&limit.charges, limit.stall, b->counted);
	others_charge(j, &limit);
	return limit;
}

static struct limit stalled_judge(const struct judging *j)
{
	struct limit limit = limit_of(j, LIMIT_STALLED);
	for (size_t i = 0; i < j->loop->stalls.n; i++) {
		uint64_t ns = stall_counted(&j->loop->stalls.at[i], j->budget->counted);
		if (ns < j->threshold)
			continue;
		limit.stalled_ns += ns;
		stall_charge(&limit.charges, &j->loop->stalls.at[i], j->budget->counted);
	}
	limit.observed_ns = j->loop->observed_ns;
	if (limit.observed_ns)
		limit.percent = 100.0 * (double)limit.stalled_ns / (double)limit.observed_ns;
	limit.allowed_percent = j->budget->max_stalled_percent;
	limit.broken = limit.percent > limit.allowed_percent;
	return limit;
}

static struct limit p99_judge(const struct judging *j)
{
	struct limit limit = limit_of(j, LIMIT_P99);
	limit.ns = j->loop->p99_ns;
	limit.allowed_ns = j->budget->max_p99_ns;
	limit.observed_ns = j->loop->observed_ns;
	for (size_t i = 0; i < j->loop->stalls.n; i++) {
		const struct verdict_stall *s = &j->loop->stalls.at[i];
		uint64_t ns = stall_counted(s, j->budget->counted);
		limit.apart_ns += s->ns - ns;
		if (ns > limit.allowed_ns)
			stall_charge(&limit.charges, s, j->budget->counted);
	}
	limit.broken = limit.ns > limit.allowed_ns;
	/* a quantile cannot be cleaned of what does not count */
	if (limit.broken && (double)limit.apart_ns > APART_SHARE * (double)limit.observed_ns) {
		limit.broken = false;
		limit.warned = true;
	}
	return limit;
}

/* A broken limit is worse than one that is not, whatever the figures. */
static bool limit_worse(const struct limit *a, const struct limit *b)
{
	if (!b->loop || a->broken != b->broken)
		return !b->loop || a->broken;
	return a->kind == LIMIT_STALLED ? a->percent > b->percent : a->ns > b->ns;
}

static void limit_drop(struct limit *limit)
{
	vec_free(&limit->charges);
	vec_free(&limit->others);
}

static void limit_put(struct outcome *out, struct limit limit)
{
	struct limit *at = NULL;
	for (size_t i = 0; i < out->n && !at; i++)
		if (out->limits[i].kind == limit.kind)
			at = &out->limits[i];
	if (!at)
		at = &out->limits[out->n++];
	limit.loops_over = at->loops_over + limit.broken;
	if (limit_worse(&limit, at)) {
		limit_drop(at);
		*at = limit;
	} else {
		at->loops_over = limit.loops_over;
		limit_drop(&limit);
	}
}

static void loop_judge(struct outcome *out, const struct judging *j)
{
	const struct budget *b = j->budget;
	out->loops++;
	out->suppressed += j->loop->seen->suppressed;
	if (b->max_stall_ns || b->no_stall)
		limit_put(out, stalls_judge(j));
	if (b->max_stalled_percent >= 0)
		limit_put(out, stalled_judge(j));
	if (b->max_p99_ns)
		limit_put(out, p99_judge(j));
	for (size_t i = 0; i < j->loop->stalls.n; i++)
		for (size_t k = 0; k < j->loop->stalls.at[i].segments.n; k++) {
			const struct segment *s = &j->loop->stalls.at[i].segments.at[k];
			int cause = cause_index(s->cause, strlen(s->cause));
			if (cause >= 0 && !(b->counted & CAUSE_BIT(cause)))
				out->ignored_ns[cause] += s->ns;
			else
				out->ignored_ns[CAUSE_RUNQUEUE] += s->ns - segment_counted(s, b->counted);
		}
}

/* What is not in a record may be what would have broken a limit. */
static void caveats_fill(struct outcome *out, const struct obs_capture *c)
{
	char count[64];
	size_t n = 0;
	if (!c->complete)
		out->caveats[n++] =
			xstrdup("The record was never closed (it still grows, or whystall was killed): "
				"what came after its end is not judged.");
	if (c->lost_events)
		out->caveats[n++] = xprintf("%s lost: of some stalls a part, or all, is not known.",
					    prose_count(count, sizeof count, c->lost_events, "event"));
	if (out->suppressed)
		out->caveats[n++] =
			xprintf("%s counted but not kept: of them only how long the longest was is known.",
				prose_count(count, sizeof count, out->suppressed, "stall"));
}

void budget_apply(struct outcome *out, const struct budget *b, const struct verdict *v)
{
	memset(out, 0, sizeof *out);
	for (size_t p = 0; p < v->processes.n; p++)
		for (size_t l = 0; l < v->processes.at[p].loops.n; l++)
			loop_judge(out, &(struct judging){.budget = b,
							  .process = &v->processes.at[p],
							  .loop = &v->processes.at[p].loops.at[l],
							  .threshold = v->seen->capture.threshold_ns});
	for (size_t i = 0; i < out->n; i++) {
		out->broken += out->limits[i].broken;
		charges_finish(&out->limits[i].charges, out->limits[i].loop);
		charges_finish(&out->limits[i].others, out->limits[i].loop);
	}
	caveats_fill(out, &v->seen->capture);
}

void outcome_free(struct outcome *out)
{
	for (size_t i = 0; i < out->n; i++)
		limit_drop(&out->limits[i]);
	for (size_t i = 0; i < CAVEATS; i++)
		free(out->caveats[i]);
}

/* --- in words --- */

const char *limit_name(const struct limit *limit)
{
	static const char *const names[] = {
		[LIMIT_STALL] = "longest stall", [LIMIT_STALLED] = "stalled", [LIMIT_P99] = "p99 tick"};
	return names[limit->kind];
}

/* What is allowed was typed by a person: 0.25 % stays that. */
static char *percent_format(char *buf, size_t size, double percent)
{
	snprintf(buf, size, percent && percent < 0.01 ? "<0.01 %%" : "%.3g %%", percent);
	return buf;
}

char *limit_value(char *buf, size_t size, const struct limit *limit)
{
	if (limit->kind == LIMIT_STALLED)
		return percent_format(buf, size, limit->percent);
	if (limit->kind == LIMIT_STALL && !limit->ns) {
		snprintf(buf, size, "0 ms");
		return buf;
	}
	return time_format(buf, size, limit->ns);
}

char *limit_allowed(char *buf, size_t size, const struct limit *limit)
{
	if (limit->kind == LIMIT_STALLED)
		return percent_format(buf, size, limit->allowed_percent);
	return time_format(buf, size, limit->allowed_ns);
}

char *limit_hint(char *buf, size_t size, const struct limit *limit)
{
	char ns[32];
	*buf = 0;
	if (limit->warned)
		snprintf(buf, size,
			 "%s of the stalls does not count, and a quantile cannot be cleaned of that.",
			 time_format(ns, sizeof ns, limit->apart_ns));
	else if (limit->unkept)
		snprintf(buf, size,
			 "Its causes are not in the record, which did not keep all stalls: record with a "
			 "higher --threshold.");
	else if (limit->broken && limit->kind == LIMIT_P99 && !limit->charges.n)
		snprintf(buf, size,
			 "The record has no stall of that length: record with --threshold %gms to learn by "
			 "whom.",
			 (double)limit->allowed_ns / 1e6);
	return buf;
}

char *outcome_ignored(char *buf, size_t size, const struct outcome *out)
{
	size_t at = 0;
	*buf = 0;
	for (size_t i = 0; i < CAUSE_WORDS && at < size; i++) {
		char ns[32];
		if (out->ignored_ns[i] >= 1000000)
			at += (size_t)snprintf(buf + at, size - at, "%s%s %s", at ? ", " : "", cause_words[i],
					       time_format(ns, sizeof ns, out->ignored_ns[i]));
	}
	return buf;
}

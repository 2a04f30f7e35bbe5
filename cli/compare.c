/* SPDX-License-Identifier: MIT
 *
 * When is a difference none? A culprit's stalled time is a number of stalls times their length, and each is
 * asked apart whether chance explains it:
 *   how often    as counts that arrive at random (Poisson), three standard deviations;
 *   how long     by the spread of the lengths, where that of equal ones is not taken for more exact than a
 *                busy machine is.
 * What is only in one record must be more than a tick or two that passed the threshold this time. Whatever
 * passes these must also be beyond the tolerance, and matter beside all that the loops stalled.
 */
#include "compare.h"

#include <math.h>
#include <stdlib.h>

#include "budget.h"
#include "format/text.h"

#define DEVIATIONS 3.0
#define SPREAD 0.14  /* of lengths, at least: one stall alone must nearly double to be worse */
#define MATTERS 0.05 /* of all stalled time */
#define BEYOND 2     /* thresholds that new stalls must be beyond the threshold, in all */
#define OFTEN 9	     /* new stalls that count however short: chance makes that of none once in 10,000 */
#define SIMILAR 1.5  /* records no more different in length are taken for runs of the same work */

const char *const change_names[] = {
	[CHANGE_NEW] = "new", [CHANGE_WORSE] = "worse", [CHANGE_BETTER] = "better", [CHANGE_GONE] = "gone"};

/* One culprit's parts of stalls in one record. */
struct tally {
	double n, sum, squares; /* seconds */
	uint64_t stall;		/* the one being summed, and its part so far */
	double part;
};

struct item {
	const char *cause;
	struct culprit culprit;
	const struct verdict_cause *whole;
	struct tally old, new;
};

struct comparing {
	VEC(struct item) items;
	bool older; /* which record is being read */
	unsigned counted;
	uint64_t threshold; /* the larger one: what only one of the records has is not compared */
	uint64_t stall;
};

static void tally_flush(struct tally *t)
{
	if (t->part > 0) {
		t->n++;
		t->sum += t->part;
		t->squares += t->part * t->part;
	}
	t->part = 0;
}

static struct item *item_of(struct comparing *c, const char *cause, const struct culprit *culprit)
{
	unsigned bit = cause_bit(cause);
	for (size_t i = 0; i < c->items.n; i++) {
		struct item *item = &c->items.at[i];
		if (cause_bit(item->cause) == bit && item->culprit.function == culprit->function &&
		    item->culprit.file == culprit->file)
			return item;
	}
	struct item *item = vec_push(&c->items);
	item->cause = cause;
	item->culprit = *culprit;
	return item;
}

static void part_add(struct comparing *c, const char *cause, const struct culprit *culprit, uint64_t ns)
{
	if (!ns)
		return;
	struct item *item = item_of(c, cause, culprit);
	struct tally *t = c->older ? &item->old : &item->new;
	if (t->stall != c->stall)
		tally_flush(t);
	t->stall = c->stall;
	t->part += (double)ns / 1e9;
}

static void loop_add(struct comparing *c, const struct verdict_loop *l)
{
	for (size_t i = 0; i < l->stalls.n; i++) {
		if (l->stalls.at[i].ns < c->threshold)
			continue;
		c->stall++;
		for (size_t k = 0; k < l->stalls.at[i].segments.n; k++) {
			const struct segment *s = &l->stalls.at[i].segments.at[k];
			uint64_t ns = segment_counted(s, c->counted);
			for (size_t h = 0; ns && h < s->holders.n; h++)
				part_add(c, s->cause, &s->holders.at[h].culprit,
					 holder_counted(&s->holders.at[h], c->counted));
			if (!s->holders.n)
				part_add(c, s->cause, &s->culprit, ns);
		}
	}
	/* the newer record's names for it stand */
	for (size_t i = 0; i < l->causes.n; i++) {
		struct item *item = item_of(c, l->causes.at[i].cause, &l->causes.at[i].culprit);
		if (!item->whole || !c->older) {
			item->whole = &l->causes.at[i];
			item->culprit = l->causes.at[i].culprit;
		}
	}
}

static uint64_t verdict_add(struct comparing *c, const struct verdict *v, bool older)
{
	uint64_t observed = 0;
	c->older = older;
	for (size_t p = 0; p < v->processes.n; p++)
		for (size_t l = 0; l < v->processes.at[p].loops.n; l++) {
			loop_add(c, &v->processes.at[p].loops.at[l]);
			observed += v->processes.at[p].loops.at[l].observed_ns;
		}
	return observed;
}

/* --- chance or not --- */

struct scale {
	double old_s, new_s; /* observed */
	double threshold, floor;
	double tolerance;
};

static double deviation_of_mean(const struct tally *t)
{
	double mean = t->sum / t->n, spread = SPREAD * mean;
	double variance = t->n > 1 ? (t->squares - t->sum * mean) / (t->n - 1) : 0;
	if (variance > spread * spread)
		spread = sqrt(variance);
	return spread / sqrt(t->n);
}

static bool is_similar(double a_s, double b_s)
{
	return a_s < b_s * SIMILAR && b_s < a_s * SIMILAR;
}

/* Is the second larger than the first, beyond tolerance and chance? */
static bool larger(const struct tally *a, double a_s, const struct tally *b, double b_s,
		   const struct scale *s)
{
	if (b->sum / b_s <= a->sum / a_s * (1 + s->tolerance) ||
	    (b->sum / b_s - a->sum / a_s) * b_s < s->floor)
		return false;
	if (is_similar(a_s, b_s) && b->sum <= a->sum * (1 + s->tolerance))
		return false; /* the same work, done in less time */
	if (!a->n)
		return b->n >= OFTEN || b->sum - b->n * s->threshold >= BEYOND * s->threshold;
	double often = (b->n / b_s - a->n / a_s) / sqrt(a->n / (a_s * a_s) + b->n / (b_s * b_s));
	double longer = (b->sum / b->n - a->sum / a->n) / hypot(deviation_of_mean(a), deviation_of_mean(b));
	return often > DEVIATIONS || longer > DEVIATIONS;
}

static void item_judge(struct comparison *out, struct item *item, const struct scale *s)
{
	bool worse, better;
	tally_flush(&item->old);
	tally_flush(&item->new);
	worse = item->new.n &&larger(&item->old, s->old_s, &item->new, s->new_s, s);
	better = item->old.n && larger(&item->new, s->new_s, &item->old, s->old_s, s);
	if (!worse && !better)
		return;
	struct change *change = vec_push(&out->changes);
	change->kind = worse ? (item->old.n ? CHANGE_WORSE : CHANGE_NEW)
			     : (item->new.n ? CHANGE_BETTER : CHANGE_GONE);
	change->cause = item->cause;
	change->culprit = item->culprit;
	change->whole = item->whole;
	change->old_ns = (uint64_t)(item->old.sum * 1e9);
	change->new_ns = (uint64_t)(item->new.sum * 1e9);
	change->old_stalls = (uint64_t)item->old.n;
	change->new_stalls = (uint64_t)item->new.n;
	change->old_share = item->old.sum / s->old_s;
	change->new_share = item->new.sum / s->new_s;
	change->by_share = !is_similar(s->old_s, s->new_s);
	out->worse += worse;
}

static int change_order(const void *a, const void *b)
{
	const struct change *x = a, *y = b;
	double dx = fabs(x->new_share - x->old_share), dy = fabs(y->new_share - y->old_share);
	if (x->kind != y->kind)
		return x->kind < y->kind ? -1 : 1;
	return dx > dy ? -1 : dx < dy;
}

void compare_make(struct comparison *out, const struct verdict *older, const struct verdict *newer,
		  unsigned counted, double tolerance)
{
	struct comparing c = {.counted = counted};
	double all = 0;
	*out = (struct comparison){0};
	uint64_t threshold = older->seen->capture.threshold_ns > newer->seen->capture.threshold_ns
				     ? older->seen->capture.threshold_ns
				     : newer->seen->capture.threshold_ns;
	c.threshold = threshold;
	out->old_observed_ns = verdict_add(&c, older, true);
	out->new_observed_ns = verdict_add(&c, newer, false);
	struct scale s = {.old_s = (double)out->old_observed_ns / 1e9,
			  .new_s = (double)out->new_observed_ns / 1e9,
			  .threshold = (double)threshold / 1e9,
			  .tolerance = tolerance};
	for (size_t i = 0; i < c.items.n; i++)
		all += fmax(c.items.at[i].old.sum, c.items.at[i].new.sum);
	s.floor = fmax(2 * s.threshold, MATTERS * all);
	for (size_t i = 0; i < c.items.n && s.old_s > 0 && s.new_s > 0; i++)
		item_judge(out, &c.items.at[i], &s);
	if (out->changes.n)
		qsort(out->changes.at, out->changes.n, sizeof *out->changes.at, change_order);
	vec_free(&c.items);
}

char *change_figure(char *buf, size_t size, const struct change *c, bool older)
{
	char share[32], ns[32];
	time_format(ns, sizeof ns, older ? c->old_ns : c->new_ns);
	prose_percent(share, sizeof share, older ? c->old_share : c->new_share);
	if (c->by_share)
		snprintf(buf, size, "%s of the time, %s", share, ns);
	else
		snprintf(buf, size, "%s", ns);
	return buf;
}

void compare_free(struct comparison *c)
{
	vec_free(&c->changes);
}

bool compare_others(const struct verdict *older, const struct verdict *newer, char *was, char *is)
{
	bool any = false;
	*was = *is = 0;
	for (size_t i = 0; i < older->processes.n; i++)
		for (size_t k = 0; k < newer->processes.n; k++) {
			const struct verdict_process *o = &older->processes.at[i],
						     *n = &newer->processes.at[k];
			if (!o->loops.n || !n->loops.n)
				continue;
			name_program(was, PROSE_MAX, o->seen->command);
			name_program(is, PROSE_MAX, n->seen->command);
			if (!strcmp(was, is))
				return false;
			any = true;
		}
	return any;
}

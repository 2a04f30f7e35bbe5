/* SPDX-License-Identifier: MIT
 *
 * What is a change and what is chance: verdicts made by hand, one culprit each.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "cli/budget.h"
#include "cli/compare.h"

struct run {
	struct observations seen;
	struct verdict verdict;
};

/* n stalls of so many ms, the next ones longer by `step`, in so many seconds. */
static void run_make(struct run *r, double seconds, int n, double ms, double step)
{
	memset(r, 0, sizeof *r);
	r->seen.capture.threshold_ns = 20000000;
	r->verdict.seen = &r->seen;
	struct verdict_process *p = vec_push(&r->verdict.processes);
	struct verdict_loop *l = vec_push(&p->loops);
	l->observed_ns = (uint64_t)(seconds * 1e9);
	for (int i = 0; i < n; i++) {
		struct verdict_stall *stall = vec_push(&l->stalls);
		struct segment *s = vec_push(&stall->segments);
		s->cause = "cpu";
		s->culprit.function = "work";
		s->ns = stall->ns = (uint64_t)((ms + step * i) * 1e6);
	}
}

static void run_free(struct run *r)
{
	struct verdict_loop *l = &r->verdict.processes.at[0].loops.at[0];
	for (size_t i = 0; i < l->stalls.n; i++)
		vec_free(&l->stalls.at[i].segments);
	vec_free(&l->stalls);
	vec_free(&r->verdict.processes.at[0].loops);
	vec_free(&r->verdict.processes);
}

struct row {
	struct {
		double seconds;
		int n;
		double ms, step;
	} old, new;
	const char *is; /* "" no change */
};

static const struct row rows[] = {
	{{10, 1, 1000, 0}, {10, 1, 1200, 0}, ""},      /* a fifth: the tolerance */
	{{10, 1, 1000, 0}, {10, 1, 1300, 0}, ""},      /* one stall's length varies */
	{{10, 1, 1000, 0}, {10, 1, 2000, 0}, "worse"}, /* not that much */
	{{10, 1, 2000, 0}, {10, 1, 1000, 0}, "better"},
	{{10, 0, 0, 0}, {10, 1, 25, 0}, ""}, /* passed the threshold this time */
	{{10, 0, 0, 0}, {10, 3, 25, 0}, ""}, /* three did */
	{{10, 0, 0, 0}, {10, 1, 200, 0}, "new"},
	{{10, 0, 0, 0}, {10, 4, 50, 0}, "new"},
	{{10, 4, 50, 0}, {10, 0, 0, 0}, "gone"},
	{{10, 20, 50, 0}, {10, 28, 50, 0}, ""}, /* arrivals at random */
	{{10, 20, 50, 0}, {10, 60, 50, 0}, "worse"},
	{{10, 100, 50, 0}, {20, 200, 50, 0}, ""}, /* twice the time, twice the stalls */
	{{20, 100, 50, 0}, {10, 100, 50, 0}, "worse"},
	{{10, 100, 50, 0}, {8, 100, 50, 0}, ""},  /* the same work, faster */
	{{10, 10, 30, 30}, {10, 10, 40, 40}, ""}, /* lengths all over the place */
	{{10, 50, 30, 0}, {10, 50, 45, 0}, "worse"},
};

static void test_rows(void **state)
{
	(void)state;
	for (size_t i = 0; i < LENGTH(rows); i++) {
		struct run old, new;
		struct comparison c;
		run_make(&old, rows[i].old.seconds, rows[i].old.n, rows[i].old.ms, rows[i].old.step);
		run_make(&new, rows[i].new.seconds, rows[i].new.n, rows[i].new.ms, rows[i].new.step);
		compare_make(&c, &old.verdict, &new.verdict, causes_default(), TOLERANCE_DEFAULT);
		const char *is = c.changes.n ? change_names[c.changes.at[0].kind] : "";
		if (strcmp(is, rows[i].is))
			fail_msg("row %zu is \"%s\", not \"%s\"", i, is, rows[i].is);
		assert_int_equal(c.worse, !strcmp(is, "new") || !strcmp(is, "worse"));
		compare_free(&c);
		run_free(&old);
		run_free(&new);
	}
}

/* Each way round: what got worse one way got better the other. */
static void test_turned_round(void **state)
{
	static const char *const other[] = {"gone", "better", "worse", "new"};
	(void)state;
	for (size_t i = 0; i < LENGTH(rows); i++) {
		struct run old, new;
		struct comparison a, b;
		run_make(&old, rows[i].old.seconds, rows[i].old.n, rows[i].old.ms, rows[i].old.step);
		run_make(&new, rows[i].new.seconds, rows[i].new.n, rows[i].new.ms, rows[i].new.step);
		compare_make(&a, &old.verdict, &new.verdict, causes_default(), TOLERANCE_DEFAULT);
		compare_make(&b, &new.verdict, &old.verdict, causes_default(), TOLERANCE_DEFAULT);
		assert_int_equal(a.changes.n, b.changes.n);
		if (a.changes.n)
			assert_string_equal(change_names[b.changes.at[0].kind], other[a.changes.at[0].kind]);
		compare_free(&a);
		compare_free(&b);
		run_free(&old);
		run_free(&new);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {cmocka_unit_test(test_rows), cmocka_unit_test(test_turned_round)};
	return cmocka_run_group_tests_name("compare", tests, NULL, NULL);
}

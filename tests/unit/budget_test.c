/* SPDX-License-Identifier: MIT
 *
 * What counts of a stall, and which limit is broken: verdicts made by hand.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "cli/budget.h"

#define MS 1000000ull

struct scene {
	struct observations seen;
	struct obs_process process;
	struct obs_thread thread;
	struct obs_loop loop;
	struct obs_stall stalls[8];
	struct verdict verdict;
};

static void scene_open(struct scene *s)
{
	memset(s, 0, sizeof *s);
	s->seen.capture.threshold_ns = 20 * MS;
	s->verdict.seen = &s->seen;
	struct verdict_process *p = vec_push(&s->verdict.processes);
	p->seen = &s->process;
	struct verdict_loop *l = vec_push(&p->loops);
	l->seen = &s->loop;
	l->thread = &s->thread;
	l->observed_ns = 10 * NS;
}

static struct verdict_loop *scene_loop(struct scene *s)
{
	return &s->verdict.processes.at[0].loops.at[0];
}

static struct verdict_stall *scene_stall(struct scene *s)
{
	struct verdict_loop *l = scene_loop(s);
	struct verdict_stall *stall = vec_push(&l->stalls);
	stall->seen = &s->stalls[l->stalls.n - 1];
	return stall;
}

static struct segment *scene_segment(struct verdict_stall *stall, const char *cause, uint64_t ns)
{
	struct segment *segment = vec_push(&stall->segments);
	segment->cause = cause;
	segment->ns = ns;
	segment->culprit.tid = 1;
	segment->culprit.function = cause;
	stall->ns += ns;
	return segment;
}

static void scene_holder(struct segment *segment, uint64_t ns, int64_t runnable_ns)
{
	struct holder *h = vec_push(&segment->holders);
	h->ns = ns;
	h->runnable_ns = runnable_ns;
	h->culprit.tid = 2;
	h->culprit.function = "hold";
}

static void scene_close(struct scene *s)
{
	struct verdict_loop *l = scene_loop(s);
	for (size_t i = 0; i < l->stalls.n; i++) {
		for (size_t k = 0; k < l->stalls.at[i].segments.n; k++)
			vec_free(&l->stalls.at[i].segments.at[k].holders);
		vec_free(&l->stalls.at[i].segments);
	}
	vec_free(&l->stalls);
	vec_free(&l->causes);
	vec_free(&s->verdict.processes.at[0].loops);
	vec_free(&s->verdict.processes);
}

static struct budget budget_of(uint64_t max_stall)
{
	return (struct budget){
		.max_stall_ns = max_stall, .max_stalled_percent = -1, .counted = causes_default()};
}

static void test_causes(void **state)
{
	unsigned set;
	char word[16];
	const char *near;
	(void)state;
	assert_int_equal(causes_parse("gil,cpu", &set, word, sizeof word, &near), 0);
	assert_int_equal(set, cause_bit("gil") | cause_bit("cpu"));
	assert_int_equal(causes_parse("none", &set, word, sizeof word, &near), 0);
	assert_int_equal(set, 0);
	assert_int_not_equal(causes_parse("gil,sycall", &set, word, sizeof word, &near), 0);
	assert_string_equal(word, "sycall");
	assert_string_equal(near, "syscall");
	assert_int_not_equal(causes_parse("", &set, word, sizeof word, &near), 0);
	assert_int_not_equal(causes_parse("gil,", &set, word, sizeof word, &near), 0);
	assert_int_equal(cause_bit("runqueue"), CAUSE_BIT(CAUSE_RUNQUEUE));
	assert_int_equal(cause_bit("stopped"), CAUSE_BIT(CAUSE_STOPPED));
}

/* Time without a CPU, the loop's own and its holders', is taken out before a stall is compared. */
static void test_starved(void **state)
{
	struct scene s;
	struct outcome o;
	struct budget b = budget_of(50 * MS);
	(void)state;
	scene_open(&s);
	struct verdict_stall *stall = scene_stall(&s);
	scene_segment(stall, "runqueue", 200 * MS);
	scene_holder(scene_segment(stall, "gil", 100 * MS), 100 * MS, 60 * MS);
	budget_apply(&o, &b, &s.verdict);
	assert_int_equal(o.broken, 0);
	assert_int_equal(o.limits[0].ns, 40 * MS);
	assert_int_equal(o.ignored_ns[CAUSE_RUNQUEUE], 260 * MS);
	outcome_free(&o);

	b.counted |= CAUSE_BIT(CAUSE_RUNQUEUE);
	budget_apply(&o, &b, &s.verdict);
	assert_int_equal(o.broken, 1);
	assert_int_equal(o.limits[0].ns, 300 * MS);
	assert_int_equal(o.limits[0].charges.n, 2);
	assert_string_equal(o.limits[0].charges.at[0].cause, "runqueue");
	outcome_free(&o);
	scene_close(&s);
}

static void test_limits(void **state)
{
	struct scene s;
	struct outcome o;
	struct budget b = budget_of(50 * MS);
	(void)state;
	scene_open(&s);
	scene_holder(scene_segment(scene_stall(&s), "gil", 50 * MS), 50 * MS, -1);
	budget_apply(&o, &b, &s.verdict);
	assert_int_equal(o.broken, 0); /* exactly what is allowed */
	outcome_free(&o);

	scene_segment(scene_stall(&s), "cpu", 50 * MS + 1);
	b.max_stalled_percent = 1;
	budget_apply(&o, &b, &s.verdict);
	assert_int_equal(o.n, 2);
	assert_int_equal(o.broken, 2); /* 100 ms of 10 s and a little */
	assert_string_equal(o.limits[0].charges.at[0].cause, "cpu");
	assert_string_equal(o.limits[1].charges.at[1].culprit.function, "hold");
	outcome_free(&o);

	b = budget_of(0); /* --fail-on gil */
	b.no_stall = true;
	b.counted = cause_bit("gil");
	budget_apply(&o, &b, &s.verdict);
	assert_int_equal(o.broken, 1);
	outcome_free(&o);
	b.counted = cause_bit("syscall");
	budget_apply(&o, &b, &s.verdict);
	assert_int_equal(o.broken, 0);
	outcome_free(&o);
	scene_close(&s);
}

/* What is left of a stall below the threshold is none. */
static void test_leftovers(void **state)
{
	struct scene s;
	struct outcome o;
	struct budget b = budget_of(0);
	(void)state;
	b.max_stalled_percent = 0;
	scene_open(&s);
	struct verdict_stall *stall = scene_stall(&s);
	scene_segment(stall, "stopped", 900 * MS);
	scene_segment(stall, "cpu", 19 * MS);
	budget_apply(&o, &b, &s.verdict);
	assert_int_equal(o.broken, 0);
	assert_true(o.limits[0].percent == 0);
	assert_int_equal(o.ignored_ns[CAUSE_STOPPED], 900 * MS);
	outcome_free(&o);
	scene_close(&s);
}

static void test_quantile(void **state)
{
	struct scene s;
	struct outcome o;
	struct budget b = budget_of(0);
	(void)state;
	b.max_p99_ns = 10 * MS;
	scene_open(&s);
	scene_loop(&s)->p99_ns = 30 * MS;
	scene_segment(scene_stall(&s), "runqueue", 100 * MS);
	budget_apply(&o, &b, &s.verdict);
	assert_int_equal(o.broken, 1); /* 1 % is not more than that */
	outcome_free(&o);
	scene_segment(scene_stall(&s), "runqueue", 1 * MS);
	budget_apply(&o, &b, &s.verdict);
	assert_int_equal(o.broken, 0);
	assert_true(o.limits[0].warned);
	outcome_free(&o);
	b.counted |= CAUSE_BIT(CAUSE_RUNQUEUE);
	budget_apply(&o, &b, &s.verdict);
	assert_int_equal(o.broken, 1);
	outcome_free(&o);
	scene_close(&s);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_causes),	 cmocka_unit_test(test_starved),
		cmocka_unit_test(test_limits),	 cmocka_unit_test(test_leftovers),
		cmocka_unit_test(test_quantile),
	};
	return cmocka_run_group_tests_name("budget", tests, NULL, NULL);
}

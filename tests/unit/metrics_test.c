/* SPDX-License-Identifier: MIT
 *
 * Metrics of a record that grows: read bit by bit they come to the same as read at once, no counter ever
 * falls, and there are few series whatever a program does.
 */
#include "cli/metrics.h"
#include "cli/store.h"
#include "tests/unit/record_sample.h"

#include <errno.h>
#include <setjmp.h>
#include <sqlite3.h>

#include <cmocka.h>

#define LOOPS 3u
#define MS 1000000ull
#define T0 (1 * NS)

static char place[512], path[600], why[512];

struct growing {
	struct store *store;
	uint64_t now;
	uint32_t next_stall, functions;
	struct obs_stall open[LOOPS + 1]; /* by loop; id 0: none */
	unsigned seed;
};

static uint32_t stack_of(struct growing *g, uint32_t n)
{
	char name[32];
	struct stack stack = {1, 0, {{FRAME_PYTHON, ORIGIN_USER, NULL, NULL, "/srv/app.py", 7, 0}}};
	snprintf(name, sizeof name, "function_%u", n % g->functions);
	stack.at[0].function = intern(name);
	return store_stack(g->store, &stack);
}

static void growing_begin(struct growing *g, uint32_t functions, unsigned loops, const char *name)
{
	*g = (struct growing){.now = T0, .functions = functions, .seed = 7};
	snprintf(path, sizeof path, "%s/%s", place, name);
	assert_int_equal(store_create(&g->store, path, false, why, sizeof why), 0);
	struct obs_capture capture = sample_capture;
	capture.complete = false;
	capture.end_ns = 0;
	capture.note_count = 0;
	store_put_capture(g->store, &capture);
	for (uint32_t i = 1; i <= loops; i++) {
		char name[32];
		snprintf(name, sizeof name, "[\"app%u\", \"--secret=x\"]", i);
		store_put_process(g->store, &(struct obs_process){.id = i,
								  .pid = (int)i,
								  .command = intern(name),
								  .free_threaded = -1,
								  .switch_interval_s = -1,
								  .backend = BACKEND_PRELOAD,
								  .start_ns = T0});
		store_put_thread(g->store, &(struct obs_thread){.id = 10 + i,
								.process = i,
								.tid = (int)i,
								.name = "MainThread",
								.start_ns = T0,
								.cpu_ns = -1});
	}
}

static void stall_put(struct growing *g, struct obs_stall *s)
{
	s->end_ns = g->now;
	s->cpu_ns = (int64_t)(s->end_ns - s->start_ns);
	store_put_stall(g->store, s);
}

/* A second in the life of a loop: it may begin a stall, go on with one, or end it. */
static void loop_step(struct growing *g, uint32_t loop, struct obs_loop *seen)
{
	struct obs_stall *s = &g->open[loop];
	if (s->id && rand_r(&g->seed) % 3) {
		s->ongoing = false;
		stall_put(g, s);
		uint32_t ticks[TICK_BUCKETS] = {[5] = 3};
		ticks[tick_bucket(s->end_ns - s->start_ns)]++;
		store_add_ticks(g->store, loop, (g->now - T0) / NS, ticks);
		seen->ticks += 4;
		seen->tick_ns += s->end_ns - s->start_ns + 15000;
		s->id = 0;
	} else if (s->id) {
		stall_put(g, s);
	} else if (rand_r(&g->seed) % 2) {
		*s = (struct obs_stall){.id = ++g->next_stall,
					.loop = loop,
					.thread = 10 + loop,
					.start_ns = g->now - 30 * MS,
					.ongoing = true,
					.ready_after = -1,
					.delay_ns = 0};
		stall_put(g, s);
		store_add_sample(g->store, &(struct obs_sample){.stall = s->id,
								.thread = 10 + loop,
								.time_ns = g->now - 10 * MS,
								.run = RUN_RUNNING,
								.stack = stack_of(g, s->id),
								.cpu_ns = -1,
								.delay_ns = -1});
	}
	seen->last_ns = g->now;
	store_put_loop(g->store, seen);
}

/* --- what a scraper would have --- */

struct sample {
	char key[512];
	double value;
};
typedef VEC(struct sample) samples_t;

static int key_order(const void *a, const void *b)
{
	return strcmp(((const struct sample *)a)->key, ((const struct sample *)b)->key);
}

static samples_t samples_of(const struct metrics *m)
{
	samples_t list = {0};
	char *text, *rest, *line;
	size_t size;
	FILE *out = open_memstream(&text, &size);
	metrics_write(m, out, METRICS_OPEN);
	fclose(out);
	for (rest = text; (line = strsep(&rest, "\n"));) {
		if (!*line || *line == '#')
			continue;
		char *value = strrchr(line, ' ');
		assert_non_null(value);
		struct sample *s = vec_push(&list);
		snprintf(s->key, sizeof s->key, "%.*s", (int)(value - line), line);
		s->value = strtod(value + 1, NULL);
	}
	qsort(list.at, list.n, sizeof *list.at, key_order);
	for (size_t i = 1; i < list.n; i++) /* no series twice */
		assert_string_not_equal(list.at[i - 1].key, list.at[i].key);
	free(text);
	return list;
}

static double sum_of(const samples_t *list, const char *name, unsigned *n)
{
	double sum = 0;
	*n = 0;
	for (size_t i = 0; i < list->n; i++)
		if (!strncmp(list->at[i].key, name, strlen(name))) {
			sum += list->at[i].value;
			++*n;
		}
	return sum;
}

static void assert_none_fell(const samples_t *before, const samples_t *now)
{
	for (size_t i = 0; i < before->n; i++) {
		const struct sample *was = &before->at[i];
		if (!strncmp(was->key, "whystall_stall_under_way", 24))
			continue;
		const struct sample *is = bsearch(was, now->at, now->n, sizeof *now->at, key_order);
		assert_non_null(is);
		assert_true(is->value >= was->value);
	}
}

static void take(struct store_follow *follow, struct metrics *m)
{
	do {
		struct verdict v;
		assert_int_equal(store_follow(follow, path, why, sizeof why), 0);
		verdict_make(&v, &follow->seen);
		metrics_take(m, &v);
		verdict_free(&v);
	} while (follow->more);
}

static struct metrics *whole(void)
{
	struct observations seen;
	struct verdict v;
	struct metrics *m = metrics_new();
	assert_int_equal(store_load(&seen, path, why, sizeof why), 0);
	verdict_make(&v, &seen);
	metrics_take(m, &v);
	verdict_free(&v);
	observations_free(&seen);
	return m;
}

static void assert_same(const struct metrics *a, const struct metrics *b)
{
	samples_t x = samples_of(a), y = samples_of(b);
	assert_int_equal(x.n, y.n);
	for (size_t i = 0; i < x.n; i++) {
		assert_string_equal(x.at[i].key, y.at[i].key);
		assert_true(x.at[i].value == y.at[i].value);
	}
	vec_free(&x);
	vec_free(&y);
}

static void test_bit_by_bit_is_the_same(void **state)
{
	struct growing g;
	struct store_follow follow = {0};
	struct metrics *m = metrics_new(), *at_once;
	struct obs_loop loops[LOOPS + 1] = {0};
	samples_t before = {0};
	unsigned reads = 0;
	(void)state;
	growing_begin(&g, 20, LOOPS, "steps");
	for (uint32_t i = 1; i <= LOOPS; i++)
		loops[i] = (struct obs_loop){
			.id = i, .thread = 10 + i, .wait = "epoll_wait", .first_ns = T0, .last_ns = T0};
	for (int step = 0; step < 1500; step++) {
		g.now += 40 * MS + rand_r(&g.seed) % (400 * MS);
		for (uint32_t i = 1; i <= LOOPS; i++)
			loop_step(&g, i, &loops[i]);
		if (rand_r(&g.seed) % 8)
			continue;
		store_commit(g.store);
		take(&follow, m);
		reads++;
		at_once = whole();
		assert_same(m, at_once);
		metrics_free(at_once);
		samples_t now = samples_of(m);
		assert_none_fell(&before, &now);
		vec_free(&before);
		before = now;
		/* what it had need not be read again */
		assert_true(follow.seen.stalls.n < 100);
	}
	assert_true(reads > 100 && g.next_stall > 500);
	assert_int_equal(store_close(g.store), 0);
	take(&follow, m); /* stalls that were under way are cut off */
	at_once = whole();
	assert_same(m, at_once);
	metrics_free(at_once);
	metrics_free(m);
	vec_free(&before);
	store_follow_free(&follow);
}

static void test_much_at_once_comes_in_pieces(void **state)
{
	struct growing g;
	struct store_follow follow = {0};
	struct metrics *m = metrics_new(), *at_once;
	struct obs_loop loop = {.id = 1, .thread = 11, .wait = "epoll_wait", .first_ns = T0};
	(void)state;
	growing_begin(&g, 50, 1, "pieces");
	while (g.next_stall < 3500) {
		g.now += 100 * MS;
		loop_step(&g, 1, &loop);
	}
	store_commit(g.store);
	assert_int_equal(store_follow(&follow, path, why, sizeof why), 0);
	assert_true(follow.more && follow.seen.stalls.n <= 1000);
	store_follow_free(&follow);
	take(&follow, m);
	at_once = whole();
	assert_same(m, at_once);
	store_close(g.store);
	metrics_free(at_once);
	metrics_free(m);
	store_follow_free(&follow);
}

static void test_few_series_whatever_happens(void **state)
{
	struct growing g;
	struct store_follow follow = {0};
	struct metrics *m = metrics_new();
	samples_t before = {0}, now;
	unsigned n;
	(void)state;
	growing_begin(&g, 4000, 200, "many");
	for (uint32_t i = 1; i <= 200; i++)
		store_put_loop(g.store, &(struct obs_loop){.id = i,
							   .thread = 10 + i,
							   .wait = "epoll_wait",
							   .ticks = 9,
							   .tick_ns = i * MS,
							   .first_ns = T0,
							   .last_ns = T0 + NS});
	for (uint32_t i = 0; i < 4000; i++) {
		g.now += 100 * MS;
		/* the last function matters more than all others, and comes late */
		struct obs_stall s = {.id = i + 1,
				      .loop = 1 + i % 200,
				      .thread = 11 + i % 200,
				      .start_ns = g.now - (i % 100 == 99 ? 90 : 30) * MS,
				      .ready_after = -1};
		stall_put(&g, &s);
		store_add_sample(g.store,
				 &(struct obs_sample){.stall = i + 1,
						      .thread = 11 + i % 200,
						      .time_ns = g.now - 10 * MS,
						      .run = RUN_RUNNING,
						      .stack = stack_of(&g, i % 100 == 99 ? 3999 : i),
						      .cpu_ns = -1,
						      .delay_ns = -1});
		if (i % 500 != 499)
			continue;
		store_commit(g.store);
		take(&follow, m);
		now = samples_of(m);
		assert_none_fell(&before, &now);
		vec_free(&before);
		before = now;
	}
	double seconds = sum_of(&before, "whystall_culprit_seconds_total", &n);
	assert_true(n > 100 && n <= 160);
	double stalled = sum_of(&before, "whystall_stalled_seconds_total", &n);
	assert_int_equal(n, 33);
	assert_true(stalled > 100 && stalled - seconds < 1e-6 && seconds - stalled < 1e-6);
	bool late = false;
	for (size_t i = 0; i < before.n; i++) {
		assert_null(strstr(before.at[i].key, "secret")); /* no command line in a label */
		late = late || (strstr(before.at[i].key, "function_3999") && before.at[i].value > 0);
	}
	assert_true(late);
	store_close(g.store);
	vec_free(&before);
	metrics_free(m);
	store_follow_free(&follow);
}

static void test_a_record_that_is_not_there_yet(void **state)
{
	struct store_follow follow = {0};
	struct growing g;
	struct metrics *m = metrics_new(), *at_once;
	struct obs_loop loop = {.id = 1, .thread = 11, .wait = "epoll_wait", .first_ns = T0};
	(void)state;
	snprintf(path, sizeof path, "%s/none", place);
	assert_int_equal(store_follow(&follow, path, why, sizeof why), -ENOENT);
	growing_begin(&g, 5, 1, "later");
	assert_int_equal(store_follow(&follow, path, why, sizeof why), -ENODATA);
	for (int i = 0; i < 50; i++) {
		g.now += 200 * MS;
		loop_step(&g, 1, &loop);
		if (i != 25)
			continue;
		store_commit(g.store);
		take(&follow, m);
		/* and one that cannot be read for a while: nothing is counted twice after it */
		char gone[700];
		snprintf(gone, sizeof gone, "%s.gone", path);
		assert_int_equal(store_follow(&follow, gone, why, sizeof why), -ENOENT);
	}
	store_commit(g.store);
	take(&follow, m);
	at_once = whole();
	assert_same(m, at_once);
	store_close(g.store);
	metrics_free(at_once);
	metrics_free(m);
	store_follow_free(&follow);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_bit_by_bit_is_the_same),
		cmocka_unit_test(test_much_at_once_comes_in_pieces),
		cmocka_unit_test(test_few_series_whatever_happens),
		cmocka_unit_test(test_a_record_that_is_not_there_yet),
	};
	char remove[600];
	if (sample_place(place, sizeof place))
		return 1;
	int failed = cmocka_run_group_tests(tests, NULL, NULL);
	snprintf(remove, sizeof remove, "rm -rf '%s'", place);
	return system(remove) ? 1 : failed;
}

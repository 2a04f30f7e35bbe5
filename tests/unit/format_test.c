/* SPDX-License-Identifier: MIT
 *
 * The formats, over a verdict made by hand: what a person reads, word for word; that no name of a target,
 * however long or hostile, breaks a line, a terminal or the JSON; that a huge report is quick.
 */
#include "cli/format.h"
#include "cli/prose.h"

#include <errno.h>
#include <jansson.h>
#include <locale.h>
#include <setjmp.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <wchar.h>

#include <cmocka.h>

#define MS 1000000ull
#define T0 (1000 * NS)

/* Every name of the scene goes through this. */
static const char *(*rename_with)(const char *);

static const char *name(const char *s)
{
	return rename_with ? intern(rename_with(s)) : s;
}

struct scene {
	struct observations seen;
	struct verdict verdict;
	struct obs_thread *main, *worker;
	struct obs_loop *loop;
};

static uint32_t stack_add(struct observations *o, const struct frame *frames, size_t n)
{
	if (!o->stack_begin.n)
		*vec_push(&o->stack_begin) = 0;
	for (size_t i = 0; i < n; i++) {
		struct frame *f = vec_push(&o->frames);
		*f = frames[i];
		f->function = name(f->function);
		f->module = name(f->module);
		f->file = name(f->file);
		*vec_push(&o->stack_frames) = o->frames.n;
	}
	*vec_push(&o->stack_begin) = o->stack_frames.n;
	return o->stack_begin.n - 1;
}

#define F(k, o, f, m, path, l)                                                                               \
	{                                                                                                    \
		.kind = FRAME_##k, .origin = ORIGIN_##o, .function = f, .module = m, .file = path, .line = l \
	}
#define LIB "/usr/lib/python3.12/"
static uint32_t worker_stack(struct observations *o)
{
	const struct frame frames[] = {
		F(NATIVE, RUNTIME, "long_pow", "python3.12", NULL, 0),
		F(NATIVE, DISPATCH, "PyNumber_Power", "python3.12", NULL, 0),
		F(PYTHON, USER, "heavy_cpu_work", "app", "/srv/app/app.py", 19),
		F(PYTHON, RUNTIME, "run", NULL, LIB "concurrent/futures/thread.py", 58),
		F(NATIVE, RUNTIME, "thread_run", "python3.12", NULL, 0),
	};
	return stack_add(o, frames, LENGTH(frames));
}

static uint32_t loop_stack(struct observations *o)
{
	const struct frame frames[] = {
		F(NATIVE, RUNTIME, "take_gil", "python3.12", NULL, 0),
		F(PYTHON, RUNTIME, "select", "selectors", LIB "selectors.py", 468),
		F(PYTHON, RUNTIME, "BaseEventLoop._run_once", "asyncio.base_events",
		  LIB "asyncio/base_events.py", 1915),
	};
	return stack_add(o, frames, LENGTH(frames));
}

static void observations_make(struct scene *s)
{
	struct observations *o = &s->seen;
	o->capture = (struct obs_capture){.started = "2026-11-22T12:00:00.000+01:00",
					  .start_ns = T0,
					  .end_ns = T0 + 12400 * MS,
					  .threshold_ns = 20 * MS,
					  .backend = BACKEND_PRELOAD,
					  .complete = true};
	*vec_push(&o->processes) = (struct obs_process){
		.id = 1,
		.pid = 4711,
		.ppid = 4700,
		.command = name("[\"/usr/bin/python3.12\", \"-u\", \"/usr/bin/uvicorn\", \"app:api\"]"),
		.exe = name("/usr/bin/python3.12"),
		.runtime = "cpython",
		.runtime_version = name("3.12.1"),
		.switch_interval_s = 0.005,
		.backend = BACKEND_PRELOAD,
		.start_ns = T0};
	*vec_push(&o->processes) = (struct obs_process){.id = 2,
							.pid = 4733,
							.ppid = 4711,
							.command = name("[\"python3\", \"-c\", \"from "
									"multiprocessing.spawn import x\"]"),
							.free_threaded = -1,
							.switch_interval_s = -1,
							.start_ns = T0 + NS};
	*vec_push(&o->threads) = (struct obs_thread){.id = 1,
						     .process = 1,
						     .tid = 4711,
						     .name = name("MainThread"),
						     .cpu_ns = 900 * MS,
						     .gil_known = 1,
						     .gil_holds = 70,
						     .gil_held_ns = 910 * MS,
						     .gil_longest_ns = 11 * MS,
						     .gil_waits = 9,
						     .gil_waited_ns = 3600 * MS};
	*vec_push(&o->threads) = (struct obs_thread){.id = 2,
						     .process = 1,
						     .tid = 4730,
						     .name = name("ThreadPoolExecutor-0_0"),
						     .cpu_ns = 3500 * MS,
						     .gil_known = 1,
						     .gil_holds = 12,
						     .gil_held_ns = 3520 * MS,
						     .gil_longest_ns = 1840 * MS,
						     .gil_waited_ns = 10 * MS};
	*vec_push(&o->threads) =
		(struct obs_thread){.id = 3, .process = 2, .tid = 4733, .name = NULL, .cpu_ns = 3400 * MS};
	*vec_push(&o->loops) =
		(struct obs_loop){.id = 1, .thread = 1, .threads = 1, .wait = "epoll_wait", .ticks = 9812};
	*vec_push(&o->locks) = (struct obs_lock){
		.id = 1, .process = 1, .kind = LOCK_GIL, .address = 0x7f001122, .name = "GIL"};
}

static void stalls_make(struct scene *s, struct verdict_loop *loop, unsigned n)
{
	struct observations *o = &s->seen;
	uint32_t holder_at = worker_stack(o), loop_at = loop_stack(o);
	for (unsigned i = 0; i < n; i++)
		*vec_push(&o->stalls) = (struct obs_stall){.id = i + 1,
							   .loop = 1,
							   .thread = 1,
							   .start_ns = T0 + 7412 * MS + i,
							   .end_ns = T0 + 9252 * MS,
							   .ready_after = 37};
	for (unsigned i = 0; i < n; i++) {
		struct verdict_stall *stall = vec_push(&loop->stalls);
		stall->seen = &o->stalls.at[i];
		stall->thread = loop->thread;
		stall->ns = 1840 * MS - i % 1000 * MS;
		struct segment *segment = vec_push(&stall->segments);
		*segment = (struct segment){.cause = "gil",
					    .start_ns = stall->seen->start_ns,
					    .ns = stall->ns,
					    .culprit = loop->causes.at[0].culprit,
					    .stack = loop_at,
					    .lock = &o->locks.at[0]};
		struct holder *holder = vec_push(&segment->holders);
		*holder = (struct holder){.tid = 4730,
					  .thread = name("ThreadPoolExecutor-0_0"),
					  .ns = stall->ns,
					  .longest_hold_ns = 1840 * MS,
					  .runnable_ns = -1,
					  .run = RUN_RUNNING,
					  .stack = holder_at};
	}
}

static void causes_make(struct verdict_loop *loop)
{
	struct verdict_cause *c = vec_push(&loop->causes);
	*c = (struct verdict_cause){
		.cause = "gil",
		.ns = 3520 * MS,
		.share = 0.824,
		.stalls = 2,
		.worst_ns = 1840 * MS,
		.culprit = {4730, name("ThreadPoolExecutor-0_0"), name("heavy_cpu_work"),
			    name("/srv/app/app.py"), name("long_pow"), 19},
		.why = xstrdup(name(
			"One hold of 1.84 s, 368 switch intervals: native code that never lets go of the "
			"GIL.")),
		.advice =
			xstrdup("Run it in a ProcessPoolExecutor, or in native code that releases the GIL."),
		.fixed_known = true,
		.fixed_stalled_ns = 790 * MS,
		.fixed_p99_ns = 31 * MS,
		.fixed_max_ns = 120 * MS};
	c = vec_push(&loop->causes);
	*c = (struct verdict_cause){
		.cause = "syscall",
		.ns = 500 * MS,
		.share = 0.12,
		.stalls = 5,
		.worst_ns = 100 * MS,
		.culprit = {4711, name("MainThread"), name("sleepy"), name("/srv/app/api/x.py"), NULL, 44},
		.syscall = "clock_nanosleep",
		.why = xstrdup("5 calls of clock_nanosleep, 100 ms each, in a coroutine."),
		.advice = xstrdup("Use await asyncio.sleep()."),
		.calls = 5};
}

/* The scene of looks; healthy if it has no stalls. */
static struct scene *scene_make(unsigned stalls, const char *(*rename)(const char *))
{
	struct scene *s = xcalloc(1, sizeof(*s));
	rename_with = rename;
	observations_make(s);
	s->verdict.seen = &s->seen;
	for (size_t i = 0; i < s->seen.processes.n; i++)
		vec_push(&s->verdict.processes)->seen = &s->seen.processes.at[i];
	struct verdict_process *p = &s->verdict.processes.at[0];
	*vec_push(&p->threads) = &s->seen.threads.at[0];
	*vec_push(&p->threads) = &s->seen.threads.at[1];
	*vec_push(&s->verdict.processes.at[1].threads) = &s->seen.threads.at[2];
	struct verdict_loop *loop = vec_push(&p->loops);
	*loop = (struct verdict_loop){.seen = &s->seen.loops.at[0],
				      .thread = &s->seen.threads.at[0],
				      .observed_ns = 12400 * MS,
				      .busy_ns = 5000 * MS,
				      .p50_ns = 300000,
				      .p90_ns = MS,
				      .p99_ns = 612 * MS,
				      .p999_ns = 1200 * MS,
				      .max_ns = stalls ? 1840 * MS : 3100000,
				      .stall_count = stalls,
				      .stalled_ns = stalls ? 4310 * MS : 0};
	if (!stalls)
		return s;
	causes_make(loop);
	stalls_make(s, loop, stalls);
	return s;
}

static void scene_free(struct scene *s)
{
	verdict_free(&s->verdict);
	vec_free(&s->seen.processes);
	vec_free(&s->seen.threads);
	vec_free(&s->seen.loops);
	vec_free(&s->seen.locks);
	vec_free(&s->seen.stalls);
	vec_free(&s->seen.frames);
	vec_free(&s->seen.stack_frames);
	vec_free(&s->seen.stack_begin);
	free(s);
}

static char *scene_write(const struct scene *s, const char *format, const struct format_options *options)
{
	char *text;
	size_t size;
	FILE *out = open_memstream(&text, &size);
	assert_non_null(out);
	assert_int_equal(format_find(format)->write(out, &s->verdict, options), 0);
	fclose(out);
	return text;
}

static const struct format_options plain = {
	.columns = 80, .record = "/var/tmp/a.whystall", .prefix = "whystall: ", .newest = true};

static const char looks[] =
	"whystall: uvicorn app:api, pid 4711, CPython 3.12.1, observed 12.4 s\n"
	"\n"
	"The loop in MainThread stalled 7 times: 4.31 s of 12.4 s (35 %), worst 1.84 s.\n"
	"9,812 ticks: p50 0.3 ms, p99 612 ms, max 1.84 s (a stall: 20 ms or more).\n"
	"\n"
	"1  gil      heavy_cpu_work  app.py:19 (native: long_pow)  3.52 s  82 %  2 stalls\n"
	"            in ThreadPoolExecutor-0_0\n"
	"   why      One hold of 1.84 s, 368 switch intervals: native code that never\n"
	"            lets go of the GIL.\n"
	"   do       Run it in a ProcessPoolExecutor, or in native code that releases the\n"
	"            GIL.\n"
	"   fixed    The loop would have stalled 790 ms; p99 31 ms, max 120 ms.\n"
	"\n"
	"2  syscall  sleepy  api/x.py:44                           500 ms  12 %  5 stalls\n"
	"            in MainThread, the loop itself: clock_nanosleep\n"
	"   why      5 calls of clock_nanosleep, 100 ms each, in a coroutine.\n"
	"   do       Use await asyncio.sleep().\n"
	"\n"
	"Worst stall, #1: 12:00:07.412, 1.84 s; 37 descriptors were ready when it ended.\n"
	"   1.84 s  gil, held by ThreadPoolExecutor-0_0 (running)\n"
	"           long_pow                      python3.12\n"
	"           heavy_cpu_work                app.py:19\n"
	"           run                           concurrent/futures/thread.py:58\n"
	"           the loop was delayed at\n"
	"           select                        selectors.py:468\n"
	"           BaseEventLoop._run_once       asyncio/base_events.py:1915\n"
	"\n"
	"GIL                                     held    longest     waited\n"
	"   ThreadPoolExecutor-0_0             3.52 s     1.84 s      10 ms  ############\n"
	"   MainThread                         910 ms      11 ms     3.60 s  ###\n"
	"\n"
	"pid 4733 (multiprocessing worker): no loop, 3.40 s of CPU.\n"
	"\n"
	"Record /var/tmp/a.whystall, nothing lost.\n"
	"Try: whystall report --stall 1\n";

static void test_text(void **state)
{
	(void)state;
	struct scene *s = scene_make(7, NULL);
	char *text = scene_write(s, "text", &plain);
	assert_string_equal(text, looks);
	free(text);
	scene_free(s);
}

static void test_text_healthy(void **state)
{
	(void)state;
	struct scene *s = scene_make(0, NULL);
	s->verdict.processes.n = 1;
	char *text = scene_write(s, "text", &plain);
	assert_string_equal(text, "whystall: uvicorn app:api, pid 4711, CPython 3.12.1, observed 12.4 s\n"
				  "No stall of 20 ms or more; the longest of 9,812 ticks took 3.1 ms.\n"
				  "Record /var/tmp/a.whystall, nothing lost.\n");
	free(text);
	s->verdict.processes.n = 2;
	scene_free(s);
}

/* What a wrapper script starts on the way is counted, not listed; an interpreter's process is listed. */
static void test_text_helpers(void **state)
{
	(void)state;
	struct scene *s = scene_make(0, NULL);
	struct verdict_process *helper = &s->verdict.processes.at[1];
	const struct obs_process *seen = helper->seen;
	struct obs_process shell = {.pid = 4733, .command = "[\"sh\"]", .runtime = "native"};
	helper->seen = &shell;
	helper->threads.n = 0;
	char *text = scene_write(s, "text", &plain);
	assert_non_null(strstr(text, "\n1 other process without a stall.\n"));
	assert_null(strstr(text, "pid 4733"));
	free(text);
	shell.runtime = "cpython";
	text = scene_write(s, "text", &plain);
	assert_non_null(strstr(text, "\npid 4733 (sh): no loop.\n"));
	free(text);
	helper->seen = seen;
	scene_free(s);
}

/* A hundredth of the stalled time is not worth a line. */
static void test_text_lesser(void **state)
{
	(void)state;
	struct scene *s = scene_make(7, NULL);
	struct verdict_loop *loop = &s->verdict.processes.at[0].loops.at[0];
	struct verdict_cause *least = vec_push(&loop->causes);
	*least = (struct verdict_cause){.cause = "cpu", .ns = 9 * MS, .share = 0.002, .stalls = 2};
	char *text = scene_write(s, "text", &plain);
	assert_null(strstr(text, "lesser"));
	free(text);
	loop->causes.at[loop->causes.n - 1].ns = 90 * MS;
	text = scene_write(s, "text", &plain);
	assert_non_null(strstr(text, "\nAnd 1 lesser cause, 90 ms in all.\n"));
	free(text);
	scene_free(s);
}

static void test_text_one_stall(void **state)
{
	(void)state;
	struct scene *s = scene_make(1, NULL);
	struct format_options options = plain;
	struct obs_stall *seen = &s->seen.stalls.at[0];
	seen->ready_after = 1;
	s->seen.capture.lost_events = 1;
	s->seen.capture.suppressed_stalls = 2;
	s->seen.capture.complete = false;
	char *text = scene_write(s, "text", &options);
	assert_non_null(strstr(text, "stalled once: 4.31 s of 12.4 s (35 %).\n"));
	assert_non_null(strstr(text, "; 1 descriptor was ready when it ended.\n"));
	assert_non_null(strstr(text,
			       "1 event lost, 2 stalls counted but not kept; it still grows or was never "
			       "closed.\n"));
	free(text);
	options.stall = 1;
	seen->ongoing = true;
	text = scene_write(s, "text", &options);
	assert_non_null(strstr(text, "\nStall #1 of the loop in MainThread: 12:00:07.412, 1.84 s so far.\n"));
	assert_non_null(strstr(text, "to blame: heavy_cpu_work app.py:19 (native: long_pow)\n"));
	assert_non_null(
		strstr(text, "ThreadPoolExecutor-0_0 had it 1.84 s, longest hold 1.84 s, running:\n"));
	assert_non_null(strstr(text, "PyNumber_Power")); /* in full, all frames */
	free(text);
	scene_free(s);
}

static void test_text_many(void **state)
{
	(void)state;
	struct scene *s = scene_make(7, NULL);
	/* a second sick process: the first one's loop again */
	*vec_push(&s->verdict.processes.at[1].loops) = s->verdict.processes.at[0].loops.at[0];
	char *text = scene_write(s, "text", &plain);
	assert_true(!strncmp(text,
			     "whystall: 2 of 2 processes with a loop stalled, 14 times: 8.62 s of 24.8 s\n"
			     "(35 %), worst 1.84 s in pid 4733.\n\nuvicorn app:api, pid 4711,",
			     130));
	assert_null(strstr(strstr(text, "Worst stall") + 1, "Worst stall"));
	free(text);
	s->verdict.processes.at[1].loops.n = 0;
	/* a second, healthy loop */
	struct verdict_loop *second = vec_push(&s->verdict.processes.at[0].loops);
	*second = (struct verdict_loop){
		.seen = &s->seen.loops.at[0], .thread = &s->seen.threads.at[1], .max_ns = MS};
	text = scene_write(s, "text", &plain);
	assert_non_null(strstr(
		text, "\nOf its 2 loops 1 stalled, 7 times: 4.31 s of 12.4 s (35 %), worst 1.84 s.\n"));
	assert_non_null(strstr(
		text, "\n\nNo stall of 20 ms or more in ThreadPoolExecutor-0_0; the longest of 9,812 ticks\n"
		      "took 1.0 ms.\n"));
	free(text);
	scene_free(s);
}

/* --- hostile names --- */

static unsigned seed;
static char hostile_buf[5000];

static const char *hostile(const char *s)
{
	static const char *const parts[] = {"\033[31m",
					    "\n",
					    "\r",
					    "\t",
					    "\b\b\b",
					    "\x7f",
					    "\xc2\x9bJ",
					    "\xff\xfe",
					    "\xe4\xb8\xad\xe6\x96\x87",
					    "e\xcc\x81\xcc\x81\xcc\x81",
					    "\xe2\x80\xae",
					    "\xe2\x80\x8b",
					    "\xf0\x9f\x92\xa5",
					    "a b c",
					    "/",
					    "/usr/",
					    "/site-packages/",
					    "/python3.12/x.py",
					    "%s%n",
					    "\"\\\"",
					    "longlonglonglonglonglong",
					    "\xed\xa0\x80",
					    "<locals>.",
					    "'",
					    "\xe0\xa4\xa8\xe0\xa4\xbf",
					    " ",
					    "  ",
					    ".",
					    "<script>alert(1)</script>",
					    "\"><img src=x onerror=y>",
					    "' onload='",
					    "&lt;&#60;]]>",
					    "\xf4\x90\x80\x80"};
	size_t at = 0, want = rand_r(&seed) % 3 ? rand_r(&seed) % 90 : rand_r(&seed) % 4000;
	if (s == NULL || rand_r(&seed) % 8 == 0)
		return s;
	while (at < want) {
		const char *part = parts[rand_r(&seed) % LENGTH(parts)];
		at += snprintf(hostile_buf + at, sizeof(hostile_buf) - at, "%s", part);
	}
	hostile_buf[at] = 0;
	return hostile_buf;
}

/* By libc's own decoder, not by ours. */
static void line_check(const char *line, size_t n, int columns)
{
	mbstate_t at = {0};
	int width = 0;
	for (size_t i = 0; i < n;) {
		wchar_t c;
		size_t bytes = mbrtowc(&c, line + i, n - i, &at);
		assert_true(bytes > 0 && bytes <= n - i);
		assert_true(wcwidth(c) >= 0);
		assert_false((c >= 0x202a && c <= 0x202e) || (c >= 0x2066 && c <= 0x2069) || c == 0x200b);
		width += wcwidth(c);
		i += bytes;
	}
	if (width > columns)
		fail_msg("%d columns: %.*s", width, (int)n, line);
}

static void text_check(const char *text, int columns)
{
	while (*text) {
		size_t n = strcspn(text, "\n");
		assert_int_equal(text[n], '\n');
		line_check(text, n, columns);
		text += n + 1;
	}
}

static void strip_colours(char *text)
{
	char *to = text;
	for (char *p = text; *p;) {
		size_t n = 0;
		if (*p == '\033') {
			assert_int_equal(p[1], '[');
			n = strspn(p + 2, "0123456789;");
			assert_int_equal(p[2 + n], 'm');
			p += 3 + n;
		} else {
			*to++ = *p++;
		}
	}
	*to = 0;
}

static void scene_spoil(struct scene *s)
{
	struct verdict_loop *loop = &s->verdict.processes.at[0].loops.at[0];
	struct verdict_cause *c = &loop->causes.at[1];
	c->cause = "lock";
	c->lock = &s->seen.locks.at[0];
	s->seen.locks.at[0].kind = rand_r(&seed) % 9;
	s->seen.locks.at[0].name = name("cache");
	c->holder_run = rand_r(&seed) % 4;
	c->holder_syscall = c->syscall = name("recvfrom");
	c->holder_target = c->target = name("127.0.0.1:5432");
	c->holder_threads = rand_r(&seed) % 3;
	for (size_t i = 0; i < loop->stalls.n; i++) {
		struct segment *segment = &loop->stalls.at[i].segments.at[0];
		segment->syscall = name("read");
		segment->target = name("/etc/passwd");
		segment->cause = rand_r(&seed) % 2 ? "lock" : "gil";
		segment->holders.at[0].run = rand_r(&seed) % 4;
		segment->holders.at[0].syscall = name("futex");
		segment->holders.at[0].runnable_ns = rand_r(&seed);
	}
	s->seen.processes.at[1].note = name("CPython 3.5 is not supported");
	static const char *notes[1];
	notes[0] = name("a note");
	s->seen.capture.notes = notes;
	s->seen.capture.note_count = 1;
	s->seen.capture.started = name("2026-11-22T12:00:00Z");
}

static void test_hostile(void **state)
{
	(void)state;
	assert_non_null(setlocale(LC_CTYPE, "C.UTF-8"));
	for (unsigned i = 0; i < 300; i++) {
		seed = i;
		struct scene *s = scene_make(1 + i % 3, hostile);
		scene_spoil(s);
		struct format_options options = {
			.columns = 60 + i % 41, .prefix = "", .stall = i % 2, .colour = i % 5 == 0};
		char *text = scene_write(s, "text", &options);
		if (options.colour)
			strip_colours(text);
		text_check(text, options.columns);
		free(text);
		text = scene_write(s, "json", &options);
		json_error_t error;
		json_t *document = json_loads(text, 0, &error);
		if (!document)
			fail_msg("%s at %d: %s", error.text, error.position, text);
		json_decref(document);
		assert_null(strchr(text, '\033'));
		free(text);
		scene_free(s);
	}
	setlocale(LC_CTYPE, "C");
}

/* Of HTML only the tags that we write ourselves, with the attributes that these have. */
static void markup_check(const char *text)
{
	static const char tags[] =
		" html head meta title style body h1 h2 h3 p span b br i table tr th td code pre "
		"details summary svg g rect line div ";
	const char *body = strstr(text, "</style>");
	assert_non_null(body);
	for (const char *p = body; (p = strchr(p, '<'));) {
		char tag[16], quoted[32];
		p += p[1] == '/' ? 2 : 1;
		size_t n = strspn(p, "abcdefghijklmnopqrstuvwxyz123456");
		assert_true(n > 0 && n < sizeof(tag));
		snprintf(tag, sizeof(tag), "%.*s", (int)n, p);
		snprintf(quoted, sizeof(quoted), " %s ", tag);
		if (!strstr(tags, quoted))
			fail_msg("<%s>", tag);
		size_t end = strcspn(p, "<>");
		assert_int_equal(p[end], '>');
		for (size_t i = n; i < end; i++) /* no attribute that runs or loads anything */
			assert_false(p[i] == ' ' &&
				     (p[i + 1] == 'o' || !strncmp(p + i + 1, "src", 3) ||
				      !strncmp(p + i + 1, "href", 4)) &&
				     strncmp(p + i + 1, "open", 4) != 0);
		p += end;
	}
}

static void test_markup(void **state)
{
	(void)state;
	assert_non_null(setlocale(LC_CTYPE, "C.UTF-8"));
	for (unsigned i = 0; i < 300; i++) {
		seed = i;
		struct scene *s = scene_make(1 + i % 20, hostile);
		scene_spoil(s);
		struct format_options options = {.columns = 80, .prefix = "", .stall = i % 4 == 3};
		char *text = scene_write(s, "html", &options);
		markup_check(text);
		size_t bytes = strlen(text);
		mbstate_t at = {0};
		const char *from = text;
		assert_int_not_equal(mbsrtowcs(NULL, &from, 0, &at), (size_t)-1);
		assert_true(bytes > 2000);
		free(text);
		text = scene_write(s, "markdown", &options);
		assert_true(strlen(text) < 65536 / 8); /* of eight loops: what a comment may have */
		assert_null(strchr(text, '\033'));
		free(text);
		scene_free(s);
	}
	setlocale(LC_CTYPE, "C");
}

/* --- JSON --- */

static void test_json(void **state)
{
	(void)state;
	struct scene *s = scene_make(7, NULL);
	char *text = scene_write(s, "json", &plain);
	assert_non_null(strstr(text, "\n          \"start_s\": 7.412,\n          \"duration_s\": 1.84,\n"));
	assert_non_null(strstr(text, "\"duration_s\": 12.4,\n"));
	assert_non_null(strstr(text,
			       "{\"kind\":\"python\",\"function\":\"heavy_cpu_work\",\"module\":\"app\","
			       "\"file\":\"/srv/app/app.py\",\"line\":19},"));
	assert_non_null(
		strstr(text, "\"lock\": {\"kind\":\"gil\",\"address\":\"0x7f001122\",\"name\":\"GIL\"}"));
	assert_true(!strcmp(text + strlen(text) - 3, "\n}\n"));
	json_t *d = json_loads(text, 0, NULL);
	assert_non_null(d);
	json_t *p = json_array_get(json_object_get(d, "processes"), 0), *one;
	assert_int_equal(json_array_size(json_object_get(p, "stalls")), 7);
	one = json_array_get(json_object_get(p, "stalls"), 1);
	assert_true(json_real_value(json_object_get(one, "start_s")) == 7.412000001);
	one = json_array_get(json_object_get(d, "processes"), 1);
	assert_true(json_is_null(json_object_get(json_object_get(one, "runtime"), "free_threaded")));
	assert_true(json_is_null(json_object_get(json_object_get(one, "runtime"), "name")));
	assert_true(json_is_null(json_object_get(one, "exe")));
	assert_true(json_is_null(json_object_get(json_array_get(json_object_get(one, "threads"), 0), "gil")));
	json_decref(d);
	free(text);
	struct format_options options = plain;
	options.stall = 3;
	text = scene_write(s, "json", &options);
	d = json_loads(text, 0, NULL);
	p = json_object_get(json_array_get(json_object_get(d, "processes"), 0), "stalls");
	assert_int_equal(json_array_size(p), 1);
	json_decref(d);
	free(text);
	scene_free(s);
}

static void test_json_is_quick(void **state)
{
	(void)state;
	struct scene *s = scene_make(100000, NULL);
	FILE *out = fopen("/dev/null", "w");
	struct timespec from, to;
	clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &from);
	assert_int_equal(format_find("json")->write(out, &s->verdict, &plain), 0);
	assert_int_equal(format_find("text")->write(out, &s->verdict, &plain), 0);
	assert_int_equal(format_find("html")->write(out, &s->verdict, &plain), 0);
	clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &to);
	fclose(out);
	double seconds = to.tv_sec - from.tv_sec + (to.tv_nsec - from.tv_nsec) / 1e9;
	print_message("100,000 stalls as JSON, text and HTML: %.2f s\n", seconds);
	assert_true(seconds < 2);
	scene_free(s);
}

static void test_full_disk(void **state)
{
	(void)state;
	struct scene *s = scene_make(1000, NULL);
	static const char *const formats[] = {"text", "json", "html"};
	for (size_t i = 0; i < LENGTH(formats); i++) {
		FILE *out = fopen("/dev/full", "w");
		assert_int_equal(format_find(formats[i])->write(out, &s->verdict, &plain), -ENOSPC);
		fclose(out);
	}
	assert_null(format_find("nonesuch"));
	scene_free(s);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_text),	      cmocka_unit_test(test_text_healthy),
		cmocka_unit_test(test_text_helpers),  cmocka_unit_test(test_text_lesser),
		cmocka_unit_test(test_text_many),     cmocka_unit_test(test_text_one_stall),
		cmocka_unit_test(test_hostile),	      cmocka_unit_test(test_markup),
		cmocka_unit_test(test_json),	      cmocka_unit_test(test_full_disk),
		cmocka_unit_test(test_json_is_quick),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}

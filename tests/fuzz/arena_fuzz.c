/* SPDX-License-Identifier: MIT
 *
 * Targets write the shared memory, so they may write anything: the recorder polls an arena whose slots change
 * under it, and puts down what it made of them.
 */
#include "tests/fuzz/input.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <sys/prctl.h>
#include <sys/stat.h>

#include "cli/origin.h"
#include "cli/store.h"
#include "cli/watch.h"
#include "record/hooks.h"

#define SLOTS 3

static struct arena *arena;
static pid_t target;
static char record[64];
static struct watch_options options = {.threshold_ns = 20000000,
				       .rate_hz = 200,
				       .native = true,
				       .children = true,
				       .shim = "/libwhystall.so"};

static void end(void)
{
	char name[80];
	static const char *const suffixes[] = {"", "-wal", "-shm"};
	kill(target, SIGKILL);
	for (size_t i = 0; i < LENGTH(suffixes); i++) {
		snprintf(name, sizeof(name), "%s%s", record, suffixes[i]);
		unlink(name);
	}
}

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
	(void)argc, (void)argv;
	target = fork();
	if (!target) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		execl("/bin/sleep", "sleep", "1000000", NULL);
		_exit(127);
	}
	snprintf(record, sizeof(record), "/tmp/arena_fuzz.%d", (int)getpid());
	atexit(end);
	return arena_create(&arena, &options) < 0 ? -1 : 0;
}

/* A process with a loop in the middle of a tick. */
static void arena_fill(void)
{
	uint64_t now = now_ns();
	for (int i = 0; i < SLOTS; i++) {
		memset(&arena->proc[i], 0, sizeof(arena->proc[i]));
		memset(&arena->thread[i], 0, sizeof(arena->thread[i]));
	}
	arena->off = arena->alone = 0;
	arena->proc_high = arena->thread_high = SLOTS;
	arena->procs_refused = 0;
	struct arena_proc *p = &arena->proc[0];
	p->state = PROC_LIVE;
	p->serial = 1;
	p->pid = target;
	p->start = now - NS;
	snprintf(p->image, sizeof(p->image), "sleep");
	struct arena_thread *t = &arena->thread[0];
	t->state = THREAD_LIVE;
	t->serial = 1;
	t->tid = target;
	t->start = now - NS;
	t->loop_object = 4;
	t->loop_hook = HOOK_epoll_wait;
	t->loop_waits = 5;
	t->loop_first = now - NS;
	t->loop_last = now - NS / 10;
	t->tick_start = now - NS / 20;
}

static uint64_t value(struct input *in)
{
	uint8_t how = input_byte(in);
	int8_t small = (int8_t)input_byte(in);
	switch (how % 6) {
	case 0:
		return (uint64_t)(int64_t)small;
	case 1:
		return now_ns() + (uint64_t)((int64_t)small * 1000000);
	case 2:
		return (uint64_t)target;
	case 3:
		return 1ull << (small & 63);
	case 4:
		return input_byte(in);
	default:
		return input_word(in);
	}
}

static void write_something(struct input *in)
{
	uint8_t where = input_byte(in);
	size_t size, at = (size_t)input_byte(in) << 8 | input_byte(in);
	uint64_t v = value(in);
	char *base;
	struct arena_thread *t = &arena->thread[where % SLOTS];
	switch (where / SLOTS % 6) {
	case 0:
		base = (char *)&arena->proc[where % SLOTS];
		size = 512; /* what is not a table */
		break;
	case 1:
		base = (char *)&arena->proc[where % SLOTS];
		size = sizeof(struct arena_proc);
		break;
	case 2:
	case 3:
		base = (char *)t;
		size = 512;
		break;
	case 4: { /* an event, with kinds that exist */
		struct arena_event *e = &t->ring[t->head % ARENA_RING];
		*e = (struct arena_event){
			.time = v, .start = value(in), .object = value(in), .arg = (uint32_t)value(in)};
		e->kind = at % 12;
		e->hook = input_byte(in);
		t->head++;
		return;
	}
	default:
		base = (char *)&arena->off;
		size = sizeof(arena->off);
		if (where & 0x80) {
			base = (char *)&arena->alone;
			size = (size_t)((char *)&arena->proc[0] - base);
		}
	}
	at %= size / 4;
	memcpy(base + at * 4, &v, at * 4 + 8 <= size ? 8 : 4);
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t n)
{
	struct input in = {bytes, n};
	struct obs_capture capture = {0};
	struct store *store;
	char why[512];
	char *argv[] = {(char *)"sleep", NULL};

	arena_fill();
	if (store_create(&store, record, true, why, sizeof(why)))
		abort();
	struct writer *writer = writer_start(store);
	origin_fill(&capture);
	capture.threshold_ns = options.threshold_ns;
	capture.backend = BACKEND_PRELOAD;
	struct watch *watch = watch_start(arena, writer, &options, &capture);
	writer_put_capture(writer, &capture);
	watch_command(watch, target, argv, REFUSAL_NONE);
	uint64_t begin = now_ns();
	for (int i = 0; i < 100 && in.n; i++) {
		for (int k = input_byte(&in) % 16; k >= 0; k--)
			write_something(&in);
		watch_poll(watch);
	}
	watch_stop(watch, &capture);
	if (writer_stop(writer, why, sizeof(why)) || now_ns() - begin > 5 * NS)
		abort();
	free((void *)capture.notes);
	return 0;
}

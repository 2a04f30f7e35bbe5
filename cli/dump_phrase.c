/* SPDX-License-Identifier: MIT
 *
 * What a thread does or waits for, as one says it.
 */
#include <string.h>

#include "dump_page.h"

#define LOOP_WAITS_NS 20000000 /* for anything but events, and it is stalled */

const char *phrase_thread(char *buf, size_t size, const struct dump_thread *t)
{
	return name_thread(buf, size, t->name, t->tid);
}

/* "1.2 s", "at least 0.1 s" */
const char *phrase_length(char *buf, size_t size, int64_t ns, bool at_least)
{
	char figure[32];
	snprintf(buf, size, "%s%s", at_least ? "at least " : "",
		 time_format(figure, sizeof(figure), (uint64_t)ns));
	return buf;
}

const char *phrase_lock(char *buf, size_t size, const struct dump_wait *w)
{
	struct obs_lock lock = {.kind = w->kind, .name = w->name, .address = w->address};
	return name_lock(buf, size, &lock);
}

/* " held by worker-2 (4711)", "" where nobody is known to hold it */
static void holder_format(char *buf, size_t size, const struct dump_wait *w)
{
	char name[PROSE_MAX / 2];
	buf[0] = 0;
	if (!w->holder.tid)
		return;
	name_thread(name, sizeof(name), w->holder.name, w->holder.tid);
	snprintf(buf, size, " held by %s%s (%d)", w->holder.elsewhere ? "another process's thread " : "",
		 name, (int)w->holder.tid);
}

static void wait_format(char *buf, size_t size, const struct dump_wait *w)
{
	char length[64] = "", call[PROSE_MAX], lock[PROSE_MAX], holder[PROSE_MAX];
	const char *phrase = w->phrase ? w->phrase : "";
	if (w->ns >= 0) {
		length[0] = ' ';
		phrase_length(length + 1, sizeof(length) - 1, w->ns, w->at_least);
	}
	holder_format(holder, sizeof(holder), w);
	name_call(call, sizeof(call), w->syscall ? w->syscall : "a system call", w->target);
	switch (w->what) {
	case FOR_LOCK:
		if (w->phrase)
			snprintf(buf, size, "waiting%s in %s", length, phrase);
		else
			snprintf(buf, size, "waiting%s for %s%s", length, phrase_lock(lock, sizeof(lock), w),
				 holder);
		break;
	case FOR_JOIN:
		if (w->holder.tid)
			snprintf(buf, size, "waiting%s for the end of %s (%d)", length,
				 name_thread(lock, sizeof(lock), w->holder.name, w->holder.tid),
				 (int)w->holder.tid);
		else
			snprintf(buf, size, "waiting%s for the end of a thread: %s", length, phrase);
		break;
	case FOR_READY:
		snprintf(buf, size, "waiting%s for events: %s", length, call);
		break;
	case FOR_WORK:
		snprintf(buf, size, "waiting%s for work: %s", length, phrase);
		break;
	case FOR_FAULT:
		snprintf(buf, size, "blocked%s in a page fault", length);
		break;
	default:
		snprintf(buf, size, "blocked%s in %s", length, call);
	}
	if (w->wchan) {
		size_t n = strlen(buf);
		snprintf(buf + n, size - n, " (in the kernel's %s, uninterruptibly)", w->wchan);
	}
}

static void state_format(char *buf, size_t size, const struct dump_thread *t)
{
	char share[32];
	switch (t->state) {
	case DUMP_RUNNING:
		if (t->cpu_share >= 0.005 && t->cpu_share < 0.9)
			snprintf(buf, size, "running, %s of a CPU",
				 prose_percent(share, sizeof(share), t->cpu_share));
		else
			snprintf(buf, size, "running");
		break;
	case DUMP_RUNNABLE:
		snprintf(buf, size, "ready to run, but has no CPU");
		break;
	case DUMP_STOPPED:
		snprintf(buf, size, "stopped by a signal; kill -CONT lets it go on");
		break;
	case DUMP_TRACED:
		snprintf(buf, size, "stopped by its debugger, pid %d", (int)t->tracer);
		break;
	case DUMP_ENDED:
		snprintf(buf, size, "ended");
		break;
	default:
		wait_format(buf, size, &t->wait);
	}
}

/* "loop, stalled 1.21 s: waiting for the GIL" */
const char *phrase_doing(char *buf, size_t size, const struct dump_thread *t)
{
	char state[PROSE_MAX * 2], length[64];
	const char *loop = t->runner || t->tick_ns >= 0 ? "loop: " : "";
	char stalled[128];
	state_format(state, sizeof(state), t);
	if (t->tick_ns >= LOOP_WAITS_NS) {
		snprintf(stalled, sizeof(stalled),
			 "loop, stalled %s: ", phrase_length(length, sizeof(length), t->tick_ns, false));
		loop = stalled;
	} else if (*loop && t->state == DUMP_BLOCKED && t->wait.what != FOR_READY &&
		   t->wait.ns >= LOOP_WAITS_NS) {
		loop = "loop, stalled: ";
	}
	snprintf(buf, size, "%s%s%s", loop, state, t->gil ? "; has the GIL" : "");
	return buf;
}

/* SPDX-License-Identifier: MIT
 *
 * A queue and the thread that empties it into the store (writer.h). One transaction at most half a second
 * long, so that a kill of this process loses less than a second.
 */
#include "writer.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "merge.h"
#include "store.h"

#define COMMIT_NS (NS * 4 / 10)
#define NATIVE_QUEUED_MAX 1500u /* samples that may wait with their stack bytes, about 24 MB */
#define NATIVE_FRAMES 256
#define REFRESH_NS (NS / 100)

enum what {
	PUT_CAPTURE,
	PUT_PROCESS,
	PUT_MARK,
	PUT_THREAD,
	PUT_LOOP,
	ADD_TICKS,
	PUT_LOCK,
	PUT_STALL,
	ADD_SAMPLE,
	OPEN_NATIVE,
	CLOSE_NATIVE,
	SYNC
};

struct message {
	struct message *next;
	enum what what;
	union {
		struct obs_capture capture;
		struct obs_process process;
		struct obs_mark mark;
		struct obs_thread thread;
		struct obs_loop *loop;
		struct {
			uint32_t loop;
			uint64_t second;
			uint32_t *delta;
		} ticks;
		struct obs_lock lock;
		struct {
			struct obs_stall stall;
			struct obs_wait *waits;
			struct obs_hold *holds;
			size_t wait_count, hold_count;
		} stall;
		struct raw_sample sample;
		struct native_box *box;
		struct {
			uint32_t *done, value;
		} sync;
	};
};

struct native_box {
	struct native_box *next;
	pid_t pid;
	struct native *native;
	uint64_t refresh_after, refresh_ns;
};

struct writer {
	pthread_t thread;
	pthread_mutex_t mutex;
	pthread_cond_t more, flushed;
	struct message *first, **last;
	unsigned native_queued;
	uint64_t put, done; /* messages */
	bool stop, flush;

	/* the thread's own */
	struct store *store;
	struct native_box *boxes;
	uint64_t committed;
	bool dirty;
};

static void message_put(struct writer *w, struct message *m)
{
	m->next = NULL;
	pthread_mutex_lock(&w->mutex);
	*w->last = m;
	w->last = &m->next;
	w->put++;
	if (m->what == ADD_SAMPLE && m->sample.native) {
		if (w->native_queued < NATIVE_QUEUED_MAX) {
			w->native_queued++;
		} else {
			free(m->sample.native);
			m->sample.native = NULL;
		}
	}
	pthread_cond_signal(&w->more);
	pthread_mutex_unlock(&w->mutex);
}

static struct message *message_new(enum what what)
{
	struct message *m = xcalloc(1, sizeof *m);
	m->what = what;
	return m;
}

static void *copy_of(const void *at, size_t n, size_t size)
{
	if (!n)
		return NULL;
	void *p = xcalloc(n, size);
	memcpy(p, at, n * size);
	return p;
}

void writer_put_capture(struct writer *w, const struct obs_capture *c)
{
	struct message *m = message_new(PUT_CAPTURE);
	m->capture = *c;
	m->capture.notes = copy_of(c->notes, (size_t)c->note_count, sizeof *c->notes);
	message_put(w, m);
}

void writer_put_process(struct writer *w, const struct obs_process *p)
{
	struct message *m = message_new(PUT_PROCESS);
	m->process = *p;
	message_put(w, m);
}

void writer_put_mark(struct writer *w, const struct obs_mark *mark)
{
	struct message *m = message_new(PUT_MARK);
	m->mark = *mark;
	message_put(w, m);
}

void writer_sync(struct writer *w, uint32_t *done, uint32_t value)
{
	struct message *m = message_new(SYNC);
	m->sync.done = done;
	m->sync.value = value;
	message_put(w, m);
}

void writer_put_thread(struct writer *w, const struct obs_thread *t)
{
	struct message *m = message_new(PUT_THREAD);
	m->thread = *t;
	message_put(w, m);
}

void writer_put_loop(struct writer *w, const struct obs_loop *l)
{
	struct message *m = message_new(PUT_LOOP);
	m->loop = copy_of(l, 1, sizeof *l);
	message_put(w, m);
}

void writer_add_ticks(struct writer *w, uint32_t loop, uint64_t second, const uint32_t *delta)
{
	struct message *m = message_new(ADD_TICKS);
	m->ticks.loop = loop;
	m->ticks.second = second;
	m->ticks.delta = copy_of(delta, TICK_BUCKETS, sizeof *delta);
	message_put(w, m);
}

void writer_put_lock(struct writer *w, const struct obs_lock *l)
{
	struct message *m = message_new(PUT_LOCK);
	m->lock = *l;
	message_put(w, m);
}

void writer_put_stall(struct writer *w, const struct obs_stall *s, const struct obs_wait *waits,
		      size_t wait_count, const struct obs_hold *holds, size_t hold_count)
{
	struct message *m = message_new(PUT_STALL);
	m->stall.stall = *s;
	m->stall.waits = copy_of(waits, wait_count, sizeof *waits);
	m->stall.holds = copy_of(holds, hold_count, sizeof *holds);
	m->stall.wait_count = wait_count;
	m->stall.hold_count = hold_count;
	message_put(w, m);
}

void writer_add_sample(struct writer *w, const struct raw_sample *s)
{
	struct message *m = message_new(ADD_SAMPLE);
	m->sample = *s;
	message_put(w, m);
}

struct native_box *writer_open_native(struct writer *w, pid_t pid)
{
	struct native_box *box = xcalloc(1, sizeof *box);
	box->pid = pid;
	struct message *m = message_new(OPEN_NATIVE);
	m->box = box;
	message_put(w, m);
	return box;
}

void writer_close_native(struct writer *w, struct native_box *box)
{
	struct message *m = message_new(CLOSE_NATIVE);
	m->box = box;
	message_put(w, m);
}

static void box_close(struct writer *w, struct native_box *box)
{
	struct native_box **at = &w->boxes;
	while (*at != box)
		at = &(*at)->next;
	*at = box->next;
	native_close(box->native);
	free(box);
}

/* Does the stack lead into code that was not mapped when the maps were last read? It stops there. */
static bool stack_stops(struct native_box *box, const uint64_t *pcs, int n, bool cut)
{
	for (int i = 0; i < n && !cut; i++)
		cut = !native_covers(box->native, pcs[i]);
	return cut && n < NATIVE_FRAMES;
}

/* Unwinds; reads the maps again where that may help, if the process still has any: ever less often where it
 * does not (a JIT compiler's code). */
static int sample_unwind(struct native_box *box, const struct native_sample *sample, uint64_t *pcs, bool *cut)
{
	int n = native_unwind(box->native, sample, pcs, NATIVE_FRAMES, cut), before = n;
	uint64_t now = now_ns();
	if (!stack_stops(box, pcs, n, *cut) || now < box->refresh_after ||
	    native_refresh(box->native, box->pid))
		return n;
	n = native_unwind(box->native, sample, pcs, NATIVE_FRAMES, cut);
	box->refresh_ns = n > before ? REFRESH_NS : 2 * box->refresh_ns + REFRESH_NS;
	box->refresh_after = now + (box->refresh_ns < NS ? box->refresh_ns : NS);
	return n;
}

/* Native return addresses to frames, innermost first. */
static int sample_native_frames(struct native_box *box, const struct native_sample *sample, struct frame *out,
				int max, bool *cut)
{
	uint64_t pcs[NATIVE_FRAMES];
	int n = sample_unwind(box, sample, pcs, cut), count = 0;
	for (int i = 0; i < n && count < max; i++) {
		int got = native_symbolize(box->native, pcs[i], i == 0, out + count, max - count);
		/* our own wrapper between the caller and libc is nobody's business */
		bool own = out[count].module && !strcmp(out[count].module, "libwhystall.so");
		count += got > 0 && !own ? got : 0;
	}
	return count;
}

static void sample_write(struct writer *w, struct raw_sample *s)
{
	static struct stack python, merged; /* too large for a stack; one writer thread */
	static struct frame native[STACK_MAX];
	int native_count = 0;
	bool cut = false;
	if (s->native && s->box && s->box->native)
		native_count = sample_native_frames(s->box, s->native, native, STACK_MAX, &cut);
	s->seen.native = native_count > 0;
	python.n = s->frame_count;
	python.cut = 0;
	if (s->frame_count)
		memcpy(python.at, s->frames, (size_t)s->frame_count * sizeof *s->frames);
	stack_merge(&merged, native, native_count, &python, s->ops);
	if (merged.n)
		s->seen.stack = store_stack(w->store, &merged);
	store_add_sample(w->store, &s->seen);
}

static void writer_commit(struct writer *w)
{
	if (w->dirty)
		store_commit(w->store);
	w->dirty = false;
	w->committed = now_ns();
}

static void message_write(struct writer *w, struct message *m)
{
	switch (m->what) {
	case PUT_CAPTURE:
		store_put_capture(w->store, &m->capture);
		free((void *)m->capture.notes);
		break;
	case PUT_PROCESS:
		store_put_process(w->store, &m->process);
		break;
	case PUT_MARK:
		store_put_mark(w->store, &m->mark);
		break;
	case PUT_THREAD:
		store_put_thread(w->store, &m->thread);
		break;
	case PUT_LOOP:
		store_put_loop(w->store, m->loop);
		free(m->loop);
		break;
	case ADD_TICKS:
		store_add_ticks(w->store, m->ticks.loop, m->ticks.second, m->ticks.delta);
		free(m->ticks.delta);
		break;
	case PUT_LOCK:
		store_put_lock(w->store, &m->lock);
		break;
	case PUT_STALL:
		store_put_stall(w->store, &m->stall.stall);
		store_put_waits(w->store, m->stall.stall.id, m->stall.waits, m->stall.wait_count);
		store_put_holds(w->store, m->stall.stall.id, m->stall.holds, m->stall.hold_count);
		free(m->stall.waits);
		free(m->stall.holds);
		break;
	case ADD_SAMPLE:
		sample_write(w, &m->sample);
		free(m->sample.frames);
		break;
	case OPEN_NATIVE:
		m->box->native = native_open(m->box->pid);
		m->box->next = w->boxes;
		w->boxes = m->box;
		break;
	case CLOSE_NATIVE:
		box_close(w, m->box);
		break;
	case SYNC:
		writer_commit(w);
		__atomic_store_n(m->sync.done, m->sync.value, __ATOMIC_RELEASE);
		break;
	}
}

static struct message *message_take(struct writer *w)
{
	struct message *m = w->first;
	if (m) {
		w->first = m->next;
		if (!w->first)
			w->last = &w->first;
		if (m->what == ADD_SAMPLE && m->sample.native)
			w->native_queued--;
	}
	return m;
}

static void *writer_main(void *arg)
{
	struct writer *w = arg;
	pthread_setname_np(pthread_self(), "writer");
	/* Symbols can wait for the target's own threads. */
	setpriority(PRIO_PROCESS, (id_t)syscall(SYS_gettid), 5);
	pthread_mutex_lock(&w->mutex);
	for (;;) {
		struct message *m = message_take(w);
		if (m) {
			pthread_mutex_unlock(&w->mutex);
			w->dirty = w->dirty || (m->what != OPEN_NATIVE && m->what != SYNC);
			message_write(w, m);
			if (m->what == ADD_SAMPLE)
				free(m->sample.native);
			free(m);
			if (now_ns() - w->committed > COMMIT_NS)
				writer_commit(w);
			pthread_mutex_lock(&w->mutex);
			w->done++;
			continue;
		}
		if (w->dirty && (w->flush || w->stop || now_ns() - w->committed > COMMIT_NS)) {
			pthread_mutex_unlock(&w->mutex);
			writer_commit(w);
			pthread_mutex_lock(&w->mutex);
			continue;
		}
		if (w->flush) {
			w->flush = false;
			pthread_cond_broadcast(&w->flushed);
		}
		if (w->stop)
			break;
		if (w->dirty) {
			struct timespec t;
			clock_gettime(CLOCK_MONOTONIC, &t);
			uint64_t at = (uint64_t)t.tv_sec * NS + (uint64_t)t.tv_nsec + COMMIT_NS / 2;
			t.tv_sec = (time_t)(at / NS);
			t.tv_nsec = (long)(at % NS);
			pthread_cond_timedwait(&w->more, &w->mutex, &t);
		} else {
			pthread_cond_wait(&w->more, &w->mutex);
		}
	}
	pthread_mutex_unlock(&w->mutex);
	return NULL;
}

struct writer *writer_start(struct store *store)
{
	struct writer *w = xcalloc(1, sizeof *w);
	w->store = store;
	w->last = &w->first;
	pthread_mutex_init(&w->mutex, NULL);
	pthread_condattr_t attr;
	pthread_condattr_init(&attr);
	pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
	pthread_cond_init(&w->more, &attr);
	pthread_cond_init(&w->flushed, &attr);
	pthread_condattr_destroy(&attr);
	int error = pthread_create(&w->thread, NULL, writer_main, w);
	if (error) {
		free(w);
		errno = error;
		return NULL;
	}
	return w;
}

void writer_flush(struct writer *w)
{
	pthread_mutex_lock(&w->mutex);
	w->flush = true;
	pthread_cond_signal(&w->more);
	while (w->flush)
		pthread_cond_wait(&w->flushed, &w->mutex);
	pthread_mutex_unlock(&w->mutex);
}

int writer_stop(struct writer *w, char *why, size_t why_size)
{
	pthread_mutex_lock(&w->mutex);
	w->stop = true;
	pthread_cond_signal(&w->more);
	pthread_mutex_unlock(&w->mutex);
	pthread_join(w->thread, NULL);
	const char *error = store_error(w->store);
	snprintf(why, why_size, "%s", error ? error : "");
	int result = store_close(w->store);
	if (error && !result)
		result = -EIO;
	while (w->boxes)
		box_close(w, w->boxes);
	pthread_mutex_destroy(&w->mutex);
	pthread_cond_destroy(&w->more);
	pthread_cond_destroy(&w->flushed);
	free(w);
	return result;
}

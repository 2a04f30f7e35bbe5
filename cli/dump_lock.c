/* SPDX-License-Identifier: MIT
 *
 * From the word that a thread sleeps on to the lock that it is part of, and to its holder. The call says
 * which word, the native stack which function waits; who has the lock is believed only where the lock names a
 * thread that exists. The layouts are those of the C libraries:
 *   glibc pthread_mutex_t   int lock; unsigned count; int owner; unsigned nusers; int kind (x86-64:
 *                           sysdeps/x86/nptl/bits/struct_mutex.h)
 *   glibc pthread_rwlock_t  readers, writers, wrphase_futex, writers_futex, pad, pad, cur_writer
 *                           (sysdeps/x86/nptl/bits/struct_rwlock.h)
 *   glibc FILE's lock       int lock; int count; pthread_t owner (sysdeps/nptl/stdio-lock.h)
 *   a PI or robust mutex and musl's: the word itself is the holder's tid, with bits above it
 */
#include <linux/futex.h>
#include <string.h>

#include "dump_look.h"

#define GLIBC_TID 720 /* of a struct pthread, as in python_thread.c */
#define COND_SIZE 48  /* pthread_cond_t */
#define INNERMOST 12  /* native frames in which the waiting function is looked for */

struct futex {
	uint64_t address;
	int command;
	uint32_t expected, word;
	bool private;
};

static const char *const waiters[] = {"rwlock",	       "mutex",		"mtx_",	   "lll_lock",
				      "lll_timedlock", "cond_",		"cnd_",	   "sem_wait",
				      "sem_timedwait", "sem_clockwait", "barrier", "join"};
static const enum lock_kind waiter_kinds[] = {LOCK_RWLOCK, LOCK_MUTEX, LOCK_MUTEX, LOCK_MUTEX,
					      LOCK_MUTEX,  LOCK_COND,  LOCK_COND,  LOCK_SEM,
					      LOCK_SEM,	   LOCK_SEM,   LOCK_FUTEX, LOCK_FUTEX};

bool dump_futex(const struct dump_peek *p)
{
	const char *name = p->number >= 0 ? syscall_name(p->number) : NULL;
	int command = (int)p->args[1] & FUTEX_CMD_MASK;
	return name && !strcmp(name, "futex") &&
	       (command == FUTEX_WAIT || command == FUTEX_WAIT_BITSET || command == FUTEX_LOCK_PI ||
		command == FUTEX_LOCK_PI2 || command == FUTEX_WAIT_REQUEUE_PI);
}

int dump_gil_of(const struct dump_look *l, uint64_t address)
{
	for (int i = 0; i < l->lock_count; i++)
		if ((address >= l->locks[i].freed && address < l->locks[i].freed + COND_SIZE) ||
		    (address >= l->locks[i].taken && address < l->locks[i].taken + COND_SIZE))
			return i;
	return -1;
}

/* The innermost function that waits for a lock, by name: its kind, or 0. */
static enum lock_kind kind_by_stack(const struct dump_thread *t)
{
	int native = 0;
	for (int i = 0; i < t->n && native < INNERMOST && t->frames[i].kind == FRAME_NATIVE; i++, native++)
		for (size_t k = 0; t->frames[i].function && k < LENGTH(waiters); k++)
			if (strstr(t->frames[i].function, waiters[k]))
				return waiter_kinds[k];
	return 0;
}

static bool waits_in(const struct dump_thread *t, const char *word)
{
	for (int i = 0; i < t->n && i < INNERMOST && t->frames[i].kind == FRAME_NATIVE; i++)
		if (t->frames[i].function && strstr(t->frames[i].function, word))
			return true;
	return false;
}

/* A thread by the number that the target knows it by. */
static struct dump_thread *thread_inside(struct dump_look *l, pid_t ns_tid)
{
	for (size_t i = 0; ns_tid > 0 && i < l->dump->threads.n; i++)
		if (l->dump->threads.at[i].ns_tid == ns_tid)
			return &l->dump->threads.at[i];
	return NULL;
}

static bool holder_set(struct dump_look *l, struct dump_wait *w, pid_t ns_tid, enum dump_how how)
{
	struct dump_thread *t = thread_inside(l, ns_tid);
	if (!t)
		return false;
	w->holder = (struct dump_holder){.tid = t->tid, .how = how, .name = t->name};
	return true;
}

/* A process-shared lock may be another process's: by its number, where we count as the target does. */
static void holder_elsewhere(struct dump_look *l, struct dump_wait *w, pid_t tid)
{
	struct proc_status s;
	if (tid > 0 && l->dump->process.ns_pid == l->pid && !proc_status(tid, 0, &s))
		w->holder = (struct dump_holder){
			.tid = tid, .how = HOW_OWNER, .elsewhere = true, .name = intern(s.name)};
}

/* glibc's, at the word itself. */
static bool mutex_try(struct dump_look *l, struct dump_wait *w, const struct futex *f, bool named)
{
	struct {
		uint32_t lock, count;
		int32_t owner;
		uint32_t nusers;
		int32_t kind;
	} m;
	if (mem_read(l->pid, f->address, &m, sizeof(m)) || (m.kind & ~0x7ff) || m.nusers > 1u << 24)
		return false;
	bool known = m.nusers && holder_set(l, w, m.owner, HOW_OWNER);
	if (!known && !named)
		return false;
	if (!known && !f->private)
		holder_elsewhere(l, w, m.owner);
	w->kind = LOCK_MUTEX;
	return true;
}

static void rwlock_find(struct dump_look *l, struct dump_wait *w, const struct futex *f)
{
	static const unsigned words[] = {8, 12, 0};
	w->kind = LOCK_RWLOCK;
	for (size_t i = 0; i < LENGTH(words); i++) {
		uint64_t lock = f->address - words[i];
		int32_t writer;
		if (mem_read(l->pid, lock + 24, &writer, sizeof(writer)))
			continue;
		/* its readers only the shim knows */
		if (holder_set(l, w, writer, HOW_OWNER) ||
		    holder_set(l, w, dump_arena_reader(l->arena, lock), HOW_TAKER)) {
			w->address = lock;
			return;
		}
	}
}

/* The lock of a FILE names the holder's struct pthread. */
static bool file_try(struct dump_look *l, struct dump_wait *w, const struct futex *f)
{
	uint64_t owner;
	int32_t tid;
	if (mem_read(l->pid, f->address + 8, &owner, sizeof(owner)) || owner < 4096 || owner & 63 ||
	    mem_read(l->pid, owner + GLIBC_TID, &tid, sizeof(tid)) || !holder_set(l, w, tid, HOW_OWNER))
		return false;
	w->kind = LOCK_MUTEX;
	w->name = "a FILE's lock";
	return true;
}

static bool word_try(struct dump_look *l, struct dump_wait *w, const struct futex *f)
{
	bool pi = f->command == FUTEX_LOCK_PI || f->command == FUTEX_LOCK_PI2;
	if (!pi && !(f->word & FUTEX_WAITERS))
		return false;
	if (!holder_set(l, w, (pid_t)(f->word & FUTEX_TID_MASK), HOW_OWNER) && !pi)
		return false;
	if (!w->holder.tid && !f->private)
		holder_elsewhere(l, w, (pid_t)(f->word & FUTEX_TID_MASK));
	w->kind = LOCK_MUTEX;
	return true;
}

/* pthread_join waits for the tid in the other's struct pthread to become 0; the kernel wakes it, so the word
 * is not private. */
static bool join_try(struct dump_look *l, struct dump_wait *w, const struct futex *f)
{
	if (f->private || f->word != f->expected || !holder_set(l, w, (pid_t)f->word, HOW_OWNER))
		return false;
	w->what = FOR_JOIN;
	w->kind = LOCK_FUTEX;
	return true;
}

static void gil_wait(struct dump_look *l, struct dump_thread *t, int gil)
{
	struct dump_wait *w = &t->wait;
	w->kind = LOCK_GIL;
	w->address = l->locks[gil].address;
	w->timed = false; /* it asks again and again */
	int holder = dump_thread_of(l->dump, l->holders[gil]);
	if (holder >= 0)
		w->holder = (struct dump_holder){
			.tid = l->holders[gil], .how = HOW_OWNER, .name = l->dump->threads.at[holder].name};
}

static void taker_ask(struct dump_look *l, struct dump_wait *w, const struct dump_thread *t)
{
	pid_t taker = dump_arena_taker(l->arena, w->address);
	if (taker && taker != t->ns_tid) /* what its waiter took itself has no holder: an Event, a Queue */
		holder_set(l, w, taker, HOW_TAKER);
}

static struct dump_within *within_find(struct dump_look *l, uint64_t object)
{
	struct interp_thread thread;
	for (size_t i = 0; i < l->within.n; i++)
		if (l->within.at[i].object == object)
			return &l->within.at[i];
	struct dump_within *w = vec_push(&l->within);
	w->object = object;
	if (now_ns() < l->deadline && !l->ops->lock_within(l->interp, object, &thread, &w->taken))
		w->tid = thread.tid;
	return w;
}

/* Whose frames are inside the lock's own statement, and where that began. */
static void within_ask(struct dump_look *l, struct dump_wait *w, uint64_t object, bool nobody)
{
	if (!object || nobody || !l->ops->lock_within)
		return;
	const struct dump_within *within = within_find(l, object);
	int owner = dump_thread_of(l->dump, within->tid);
	if (owner < 0 || (w->holder.tid && w->holder.tid != within->tid))
		return;
	if (!w->holder.tid)
		w->holder = (struct dump_holder){
			.tid = within->tid, .how = HOW_WITH, .name = l->dump->threads.at[owner].name};
	w->taken = within->taken;
}

/* What the lock is to the program, and who has it as far as the runtime knows. */
static void runtime_ask(struct dump_look *l, struct dump_thread *t)
{
	struct dump_wait *w = &t->wait;
	struct interp_waited waited;
	if (!l->interp || !l->ops->lock_look || now_ns() > l->deadline ||
	    l->ops->lock_look(l->interp, (struct interp_thread){.tid = t->tid}, w->address, &waited))
		return;
	if (waited.name[0])
		w->name = intern_text(waited.name, strlen(waited.name));
	if (waited.nobody || waited.owner.tid)
		w->holder = (struct dump_holder){0};
	int owner = dump_thread_of(l->dump, waited.owner.tid);
	if (owner >= 0)
		w->holder = (struct dump_holder){
			.tid = waited.owner.tid, .how = HOW_OWNER, .name = l->dump->threads.at[owner].name};
	if (waited.ends)
		w->what = FOR_JOIN;
	else
		within_ask(l, w, waited.object, waited.nobody);
}

static void lock_find(struct dump_look *l, int thread)
{
	struct dump_thread *t = &l->dump->threads.at[thread];
	const struct dump_peek *p = &l->seen.at[thread].last;
	struct dump_wait *w = &t->wait;
	struct futex f = {.address = p->args[0],
			  .command = (int)p->args[1] & FUTEX_CMD_MASK,
			  .expected = (uint32_t)p->args[2],
			  .private = p->args[1] & FUTEX_PRIVATE_FLAG};
	w->what = FOR_LOCK;
	w->kind = LOCK_FUTEX;
	w->address = f.address;
	w->timed = p->args[3] != 0;
	int gil = dump_gil_of(l, f.address);
	if (gil >= 0) {
		gil_wait(l, t, gil);
		return;
	}
	enum lock_kind kind = kind_by_stack(t);
	if (mem_read(l->pid, f.address, &f.word, sizeof(f.word)) || word_try(l, w, &f) || join_try(l, w, &f))
		return;
	/* lll_lock's way to wait, also where pthread_cond_wait takes its mutex back: for the word 2 */
	if (f.command == FUTEX_WAIT && f.expected == 2) {
		if (mutex_try(l, w, &f, kind == LOCK_MUTEX && waits_in(t, "mutex")) || file_try(l, w, &f))
			return;
	} else if (kind == LOCK_MUTEX && mutex_try(l, w, &f, true)) {
		return;
	}
	if (kind == LOCK_RWLOCK) {
		rwlock_find(l, w, &f);
		return;
	}
	w->kind = kind ? kind : LOCK_FUTEX;
	if (w->kind == LOCK_SEM)
		taker_ask(l, w, t);
}

void dump_lock(struct dump_look *l, int thread)
{
	struct dump_thread *t = &l->dump->threads.at[thread];
	lock_find(l, thread);
	if (t->wait.what == FOR_LOCK && t->wait.kind != LOCK_GIL && t->wait.holder.how != HOW_OWNER)
		runtime_ask(l, t);
}

/* SPDX-License-Identifier: MIT
 *
 * The locks of a process, by address, and what its runtime calls them. A lock's memory may be another lock's
 * a moment later: one that is called otherwise than before gets an id of its own.
 */
#include <errno.h>
#include <stdlib.h>

#include "../record/hooks.h"
#include "watch_state.h"

static void lock_put(struct watch *w, const struct watch_proc *p, const struct watch_lock *l)
{
	struct obs_lock seen = {
		.id = l->id, .process = p->seen.id, .kind = l->kind, .address = l->address, .name = l->name};
	writer_put_lock(w->writer, &seen);
}

static size_t lock_hash(const struct watch_proc *p, uint64_t address)
{
	return ((address >> 3) * 0x9e3779b97f4a7c15ull >> 32) & (p->lock_room - 1);
}

static void lock_enter(struct watch_proc *p, size_t position)
{
	size_t i = lock_hash(p, p->locks.at[position].address);
	while (p->lock_at[i])
		i = (i + 1) & (p->lock_room - 1);
	p->lock_at[i] = (uint32_t)position + 1;
}

static void locks_grow(struct watch_proc *p)
{
	p->lock_room = p->lock_room ? 2 * p->lock_room : 64;
	free(p->lock_at);
	p->lock_at = xcalloc(p->lock_room, sizeof *p->lock_at);
	for (size_t i = 0; i < p->locks.n; i++)
		lock_enter(p, i);
}

void watch_locks_forget(struct watch_proc *p)
{
	vec_free(&p->locks);
	free(p->lock_at);
	p->lock_at = NULL;
	p->lock_room = 0;
}

static struct watch_lock *lock_find(const struct watch_proc *p, uint64_t address, enum lock_kind kind)
{
	if (!p->lock_room)
		return NULL;
	for (size_t i = lock_hash(p, address); p->lock_at[i]; i = (i + 1) & (p->lock_room - 1)) {
		struct watch_lock *l = &p->locks.at[p->lock_at[i] - 1];
		if (l->address == address && (l->kind == kind || l->kind == LOCK_GIL))
			return l;
	}
	return NULL;
}

struct watch_lock *watch_lock_of(struct watch *w, struct watch_proc *p, uint64_t address, enum lock_kind kind)
{
	struct watch_lock *l = lock_find(p, address, kind);
	if (l && l->passing) { /* that wait is over, or its id is known to whoever asked */
		l->id = ++w->next_id;
		l->name = NULL;
		l->passing = false;
		lock_put(w, p, l);
	}
	if (l)
		return l;
	if (p->lock_room < 2 * (p->locks.n + 1))
		locks_grow(p);
	l = vec_push(&p->locks);
	l->id = ++w->next_id;
	l->address = address;
	l->kind = kind;
	lock_enter(p, p->locks.n - 1);
	lock_put(w, p, l);
	return l;
}

void watch_lock_gil(struct watch *w, struct watch_proc *p, uint64_t freed)
{
	for (size_t i = p->lock_room ? lock_hash(p, freed) : 0; p->lock_room && p->lock_at[i];
	     i = (i + 1) & (p->lock_room - 1)) {
		struct watch_lock *l = &p->locks.at[p->lock_at[i] - 1];
		if (l->address != freed)
			continue;
		if (l->kind != LOCK_GIL) { /* it was met before we knew what it was */
			l->kind = LOCK_GIL;
			lock_put(w, p, l);
		}
		return;
	}
	watch_lock_of(w, p, freed, LOCK_GIL);
}

static uint32_t thread_id_of(struct watch *w, struct watch_proc *p, const struct interp_thread *key)
{
	for (size_t i = 0; i < w->threads.n && key->pthread; i++) {
		struct watch_thread *t = w->threads.at[i];
		if (t->proc == p && t->live && t->slot && t->slot->pthread == key->pthread)
			return t->seen.id;
	}
	struct watch_thread *t = key->tid ? watch_thread_of(w, p, key->tid) : NULL;
	return t ? t->seen.id : 0;
}

/* The lock that is there now is called `name`, NULL: nothing that the runtime knows. */
static struct watch_lock *lock_rename(struct watch *w, struct watch_proc *p, uint32_t id, uint64_t address,
				      const char *name)
{
	struct watch_lock *l = NULL;
	for (size_t i = lock_hash(p, address); p->lock_at[i] && !l; i = (i + 1) & (p->lock_room - 1))
		if (p->locks.at[p->lock_at[i] - 1].id == id)
			l = &p->locks.at[p->lock_at[i] - 1];
	if (!l || l->name == name)
		return l;
	if (l->name)
		l->id = ++w->next_id;
	l->name = name;
	lock_put(w, p, l);
	return l;
}

void watch_lock_ask(struct watch *w, struct watch_thread *t, const struct now_copy *now)
{
	struct watch_proc *p = t->proc;
	struct interp_waited waited;
	struct frame taken;
	struct interp_thread key = {.tid = t->seen.tid, .pthread = t->slot ? t->slot->pthread : 0};
	t->loop->asked.since = 0;
	if (!p->interp || !p->ops->lock_look)
		return;
	int result = p->ops->lock_look(p->interp, key, now->object, &waited);
	if (result && result != -ENOENT)
		return;
	uint32_t id = watch_lock_id(w, p, now->object, now->hook);
	const char *name = result	    ? NULL
			   : waited.ends    ? LOCK_NAME_JOIN
			   : waited.name[0] ? intern(waited.name)
					    : NULL;
	struct watch_lock *l = lock_rename(w, p, id, now->object, name);
	if (result || !l)
		return;
	l->passing = waited.nobody;
	/* a lock without an owner's name: whoever is inside `with lock:` has it */
	if (!waited.nobody && !waited.owner.pthread && !waited.owner.tid && !now->owner && waited.object &&
	    p->ops->lock_within && p->ops->lock_within(p->interp, waited.object, &waited.owner, &taken))
		waited.owner = (struct interp_thread){0};
	t->loop->asked = (struct watch_asked){.since = now->since,
					      .lock = l->id,
					      .owner = waited.nobody ? 0 : thread_id_of(w, p, &waited.owner),
					      .nobody = waited.nobody,
					      .name = l->name};
}

bool watch_lock_asked(const struct watch_thread *t, struct obs_wait *wait)
{
	const struct watch_asked *asked = t->loop ? &t->loop->asked : NULL;
	if (!asked || !asked->since || asked->since != wait->start_ns || !(asked->nobody || asked->owner))
		return false;
	wait->lock = asked->lock;
	wait->owner = asked->owner;
	wait->self_owned = asked->nobody;
	return true;
}

bool watch_lock_nobodys(const struct watch_thread *t, uint64_t since)
{
	struct obs_wait wait = {.start_ns = since};
	return watch_lock_asked(t, &wait) && wait.self_owned;
}

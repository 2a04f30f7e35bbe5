/* SPDX-License-Identifier: MIT
 *
 * The probe's maps and how its programs find the thread that they run in. Which threads are watched is kept
 * at the task itself (task storage), so that a thread that is none of ours costs one null pointer.
 */
#ifndef WHYSTALL_PROBE_STATE_H
#define WHYSTALL_PROBE_STATE_H

#include "kernel.h"
#include "probe.h"

#define INLINE static __always_inline
#define OUTLINE static __attribute__((noinline))
/* BPF has no fence; the machines that we are built for keep stores in order */
#define barrier_smp() asm volatile("" ::: "memory")

struct task_entry {
	uint32_t thread; /* entry of threads + 1 */
	uint32_t proc;
};

struct {
	__uint(type, BPF_MAP_TYPE_TASK_STORAGE);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, int);
	__type(value, struct task_entry);
} tasks SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(map_flags, BPF_F_MMAPABLE);
	__uint(max_entries, ARENA_THREADS);
	__type(key, uint32_t);
	__type(value, struct probe_thread);
} threads SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(map_flags, BPF_F_MMAPABLE);
	__uint(max_entries, ARENA_PROCS);
	__type(key, uint32_t);
	__type(value, struct probe_proc);
} procs SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(map_flags, BPF_F_MMAPABLE);
	__uint(max_entries, PROBE_LOOPS);
	__type(key, uint32_t);
	__type(value, struct probe_loop);
} loops SEC(".maps");

/* Entries that are free: user space puts in, the probe takes out. */
#define FREE_ENTRIES(name, n)                         \
	struct {                                      \
		__uint(type, BPF_MAP_TYPE_STACK);     \
		__uint(max_entries, n);               \
		__uint(value_size, sizeof(uint32_t)); \
	} name SEC(".maps")
FREE_ENTRIES(free_threads, ARENA_THREADS);
FREE_ENTRIES(free_procs, ARENA_PROCS);
FREE_ENTRIES(free_loops, PROBE_LOOPS);

struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, PROBE_RING);
} events SEC(".maps");

/* Set before loading. */
const volatile uint8_t syscall_class[PROBE_SYSCALLS];
const volatile uint64_t threshold_ns = 20000000, call_ns = 50000;
const volatile uint32_t own_namespace; /* inode of whystall's pid namespace */
const volatile bool follow = true;     /* children too */

/* Set while it runs. */
uint32_t wanted_pid; /* the process to take up, in whystall's namespace */
uint32_t procs_refused;
uint64_t hooked_calls;		   /* of functions with uprobes */
uint32_t hooks_on;		   /* there are such */
uint32_t threads_high, procs_high; /* entries used so far: user space looks no further */

INLINE struct probe_thread *thread_at(uint32_t i)
{
	return bpf_map_lookup_elem(&threads, &i);
}

INLINE struct probe_proc *proc_at(uint32_t i)
{
	return bpf_map_lookup_elem(&procs, &i);
}

INLINE struct task_entry *entry_of(struct task_struct *task)
{
	return bpf_task_storage_get(&tasks, task, 0, 0);
}

INLINE struct probe_thread *thread_of(struct task_struct *task)
{
	struct task_entry *e = entry_of(task);
	return e && e->thread ? thread_at(e->thread - 1) : NULL;
}

INLINE uint32_t thread_index(struct task_struct *task)
{
	struct task_entry *e = entry_of(task);
	return e ? e->thread - 1 : 0;
}

/* Is it, or will it be, a loop whose waits are told? */
INLINE bool followed(const struct probe_thread *t)
{
	return t->loop_object || t->before;
}

/* The number of a task in whystall's namespace, 0: it has none; *inner is what it knows itself by. */
OUTLINE uint32_t task_number(struct task_struct *task, uint32_t *inner)
{
	struct pid *pid = BPF_CORE_READ(task, thread_pid);
	unsigned level = BPF_CORE_READ(pid, level);
	uint32_t found = 0;
	int offset = bpf_core_field_offset(pid->numbers), size = bpf_core_type_size(struct upid);
	for (unsigned i = 0; i < 8; i++) {
		struct upid *at = (void *)pid + offset + i * size;
		if (i > level)
			break;
		uint32_t number = BPF_CORE_READ(at, nr), inode = BPF_CORE_READ(at, ns, ns.inum);
		if (inode == own_namespace)
			found = number;
		*inner = number;
	}
	return found;
}

INLINE struct probe_event *event_begin(struct probe_thread *t, uint32_t index)
{
	struct probe_event *out = bpf_ringbuf_reserve(&events, sizeof *out, 0);
	if (!out) {
		t->dropped++;
		return NULL;
	}
	out->thread = index;
	out->serial = t->serial;
	out->spare = 0;
	out->kind = PROBE_EVENT;
	return out;
}

/* An event for the arena's ring of this thread. Nobody is woken: user space looks by itself, every few ms. */
OUTLINE void event_put(struct probe_thread *t, uint32_t index, struct arena_event *e)
{
	struct probe_event *out = event_begin(t, index);
	if (!out)
		return;
	out->e = *e;
	bpf_ringbuf_submit(out, BPF_RB_NO_WAKEUP);
}
#define EVENT_PUT(t, index, ...)                      \
	do {                                          \
		struct arena_event e = {__VA_ARGS__}; \
		event_put(t, index, &e);              \
	} while (0)

INLINE void now_set(struct probe_thread *t, uint16_t now, uint16_t nr, uint64_t since, uint64_t object,
		    uint32_t owner)
{
	t->now_seq++;
	barrier_smp();
	t->now = now;
	t->nr = nr;
	t->now_since = since;
	t->now_object = object;
	t->now_owner = owner;
	barrier_smp();
	t->now_seq++;
}

#endif

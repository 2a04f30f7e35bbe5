/* SPDX-License-Identifier: MIT
 *
 * Runs a command under the shim with an arena of its own and prints what the shim wrote, one JSON object a
 * line: the smallest possible recorder, for tests of preload/ alone.
 *
 *   arena_dump [-t threshold_us] [-c call_us] [-k] [-n] [-g FILE] SHIM OUTPUT COMMAND [ARG...]
 *
 * -g: once FILE has two hexadecimal addresses, watches the lock whose conditions `freed` and `taken` they
 * are. -k: leaves before the command ends (a recorder that dies). -n: never drains a ring or frees a slot.
 * Its status is the command's, 128+N for a signal.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#define HOOK_INFO
#include "record/arena.h"
#include "record/hooks.h"

static const char *const event_name[] = {
#define EVENT(number, NAME, name) [number] = name,
	ARENA_EVENTS(EVENT)
#undef EVENT
};

static const char *hook_name(unsigned hook)
{
	return hook < HOOK_COUNT ? hook_info[hook].name : "";
}

static void print_events(FILE *out, const struct arena *a, struct arena_thread *t)
{
	uint32_t head = __atomic_load_n(&t->head, __ATOMIC_ACQUIRE);
	for (; t->tail != head; __atomic_store_n(&t->tail, t->tail + 1, __ATOMIC_RELEASE)) {
		const struct arena_event *e = &t->ring[t->tail % ARENA_RING];
		fprintf(out,
			"{\"what\":\"event\",\"pid\":%d,\"tid\":%d,\"kind\":\"%s\",\"hook\":\"%s\",\"start\":"
			"%lu,"
			"\"time\":%lu,\"object\":%lu,\"arg\":%u}\n",
			a->proc[t->proc % ARENA_PROCS].pid, t->tid, event_name[e->kind], hook_name(e->hook),
			(unsigned long)e->start, (unsigned long)e->time, (unsigned long)e->object, e->arg);
	}
}

static void print_thread(FILE *out, const struct arena *a, const struct arena_thread *t)
{
	unsigned long counted = 0;
	unsigned held = 0;
	for (unsigned i = 0; i < ARENA_HELD; i++)
		held += t->held[i] != 0;
	for (unsigned i = 0; i < TICK_BUCKETS; i++)
		counted += t->tick_count[i];
	fprintf(out,
		"{\"what\":\"thread\",\"pid\":%d,\"tid\":%d,\"state\":%u,\"now\":%u,\"pthread\":%lu,\"loop_"
		"object\":%lu,"
		"\"loop_waits\":%u,\"loop_hook\":\"%s\",\"ticks\":%lu,\"counted\":%lu,\"tick_ns\":%lu,\"tick_"
		"max\":%lu,"
		"\"wait_ns\":%lu,\"tick_start\":%lu,\"lock_holds\":%lu,\"lock_waits\":%lu,\"lock_held_ns\":%"
		"lu,"
		"\"lock_longest_ns\":%lu,\"held\":%u,\"dropped\":%lu,\"start\":%lu,\"end\":%lu}\n",
		a->proc[t->proc % ARENA_PROCS].pid, t->tid, t->state, t->now, (unsigned long)t->pthread,
		(unsigned long)t->loop_object, t->loop_waits, hook_name(t->loop_hook),
		(unsigned long)t->ticks, counted, (unsigned long)t->tick_ns, (unsigned long)t->tick_max,
		(unsigned long)t->wait_ns, (unsigned long)t->tick_start, (unsigned long)t->lock_holds,
		(unsigned long)t->lock_waits, (unsigned long)t->lock_held_ns,
		(unsigned long)t->lock_longest_ns, held, (unsigned long)t->dropped, (unsigned long)t->start,
		(unsigned long)t->end);
}

static void drain(FILE *out, struct arena *a, int all)
{
	for (unsigned i = 0; i < a->thread_high && i < ARENA_THREADS; i++) {
		struct arena_thread *t = &a->thread[i];
		uint32_t state = __atomic_load_n(&t->state, __ATOMIC_ACQUIRE);
		if (state != THREAD_LIVE && state != THREAD_ENDED)
			continue;
		print_events(out, a, t);
		if (!all && state != THREAD_ENDED)
			continue;
		print_thread(out, a, t);
		__atomic_store_n(&t->state, THREAD_FREE, __ATOMIC_RELEASE);
	}
}

static void print_procs(FILE *out, const struct arena *a)
{
	for (unsigned i = 0; i < a->proc_high && i < ARENA_PROCS; i++) {
		const struct arena_proc *p = &a->proc[i];
		unsigned sems = 0;
		for (unsigned k = 0; k < ARENA_SEMS; k++)
			sems += p->sem[k].address != 0;
		fprintf(out,
			"{\"what\":\"process\",\"slot\":%u,\"pid\":%d,\"ppid\":%d,\"image\":\"%.63s\","
			"\"state\":%u,\"refusal\":%u,\"end\":%lu,"
			"\"parent_slot\":%u,\"threads_refused\":%u,\"sems\":%u,\"sems_lost\":%u,\"held_"
			"lost\":%u,\"holder\":%"
			"u,\"waiters\":%u}\n",
			i, p->pid, p->ppid, p->image, p->state, p->refusal, (unsigned long)p->end,
			p->parent_slot, p->threads_refused, sems, p->sems_lost, p->held_lost,
			p->lock[0].holder, p->lock[0].waiters);
	}
}

static struct arena *arena_make(const char *shim, int *fd)
{
	*fd = memfd_create("whystall", MFD_CLOEXEC);
	if (*fd < 0 || ftruncate(*fd, sizeof(struct arena)))
		return NULL;
	struct arena *a = mmap(NULL, sizeof(*a), PROT_READ | PROT_WRITE, MAP_SHARED, *fd, 0);
	if (a == MAP_FAILED)
		return NULL;
	a->magic = ARENA_MAGIC;
	a->version = ARENA_VERSION;
	a->size = sizeof(*a) / 4096;
	a->recorder = getpid();
	snprintf(a->shim, sizeof(a->shim), "%s", shim);
	return a;
}

static void command_run(const char *shim, int fd, char **argv)
{
	char arena[64], preload[1024];
	const char *theirs = getenv("LD_PRELOAD");
	snprintf(arena, sizeof(arena), "%d:%d", getppid(), fd);
	snprintf(preload, sizeof(preload), "%s%s%s", shim, theirs ? ":" : "", theirs ? theirs : "");
	setenv(ARENA_ENV, arena, 1);
	setenv("LD_PRELOAD", preload, 1);
	execvp(argv[0], argv);
	_exit(127);
}

static void lock_watch(struct arena *a, const char *path)
{
	unsigned long freed, taken;
	FILE *f = a->proc[0].lock[0].freed ? NULL : fopen(path, "re");
	if (f && fscanf(f, "%lx %lx\n", &freed, &taken) == 2) {
		a->proc[0].lock[0].taken = taken;
		__atomic_store_n(&a->proc[0].lock[0].freed, freed, __ATOMIC_RELEASE);
	}
	if (f)
		fclose(f);
}

int main(int argc, char **argv)
{
	unsigned long threshold = 20000, call = 1000;
	const char *watch = NULL;
	int opt, fd, status, die = 0, keep = 0;
	while ((opt = getopt(argc, argv, "+t:c:kng:")) != -1) {
		if (opt == 't')
			threshold = strtoul(optarg, NULL, 10);
		else if (opt == 'c')
			call = strtoul(optarg, NULL, 10);
		else if (opt == 'k')
			die = 1;
		else if (opt == 'n')
			keep = 1;
		else if (opt == 'g')
			watch = optarg;
		else
			return 2;
	}
	if (argc - optind < 3)
		return 2;
	struct arena *a = arena_make(argv[optind], &fd);
	FILE *out = fopen(argv[optind + 1], "we");
	if (!a || !out)
		return 125;
	a->threshold_ns = threshold * 1000;
	a->call_ns = call * 1000;
	pid_t pid = fork();
	if (pid == 0)
		command_run(argv[optind], fd, argv + optind + 2);
	while (waitpid(pid, &status, WNOHANG) == 0) {
		if (!keep)
			drain(out, a, 0);
		fflush(out);
		if (watch)
			lock_watch(a, watch);
		usleep(5000);
		if (die && a->proc_high)
			_exit(0);
	}
	drain(out, a, 1);
	print_procs(out, a);
	fclose(out);
	return WIFSIGNALED(status) ? 128 + WTERMSIG(status) : WEXITSTATUS(status);
}

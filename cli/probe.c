/* SPDX-License-Identifier: MIT
 *
 * Loads the probe: one object file, compiled by clang for the BPF machine, carried in the program itself. Its
 * programs hang at tracepoints by their BTF (raw tracepoints), so tracefs is not needed.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <bpf/bpf.h>

#define HOOK_INFO
#include "../record/hooks.h"
#include "native.h"
#include "probe_state.h"
#include "util.h"

__asm__(".pushsection .rodata\n"
	".balign 8\n"
	".global probe_object, probe_object_end\n"
	"probe_object:\n"
	".incbin \"probe.bpf.o\"\n"
	"probe_object_end:\n"
	".popsection\n");
extern const char probe_object[], probe_object_end[];

static char libbpf_said[512]; /* its first complaint, for -v */

static int libbpf_print(enum libbpf_print_level level, const char *format, va_list args)
{
	char line[512];
	if (level != LIBBPF_WARN)
		return 0;
	vsnprintf(line, sizeof line, format, args);
	line[strcspn(line, "\n")] = 0;
	say_verbose("%s", line);
	if (!*libbpf_said)
		snprintf(libbpf_said, sizeof libbpf_said, "%s", line);
	return 0;
}

static enum probe_class class_of(const char *kernel, enum hook_class class)
{
	switch (class) {
	case HOOK_CLASS_READY_EPOLL:
		return PROBE_EPOLL;
	case HOOK_CLASS_READY_EPOLL2:
		return PROBE_EPOLL2;
	case HOOK_CLASS_READY_POLL:
		return PROBE_POLL;
	case HOOK_CLASS_READY_PPOLL:
		return PROBE_PPOLL;
	case HOOK_CLASS_READY_SELECT:
	case HOOK_CLASS_READY_PSELECT: /* the C library's select is the kernel's pselect6 */
		return PROBE_PSELECT;
	case HOOK_CLASS_CALL:
		return PROBE_CALL;
	default:
		return !strcmp(kernel, "futex") ? PROBE_FUTEX : PROBE_OTHER;
	}
}

/* What the table of hooks does not say: calls that only the kernel's side meets. */
static const struct {
	const char *name;
	enum probe_class class;
} more[] = {{"select", PROBE_SELECT},
	    {"io_uring_enter", PROBE_URING},
	    {"close", PROBE_CLOSE},
	    {"exit_group", PROBE_EXIT},
	    {"restart_syscall", PROBE_RESTART},
	    {"futex", PROBE_FUTEX},
	    {"nanosleep", PROBE_CALL},
	    {"open", PROBE_CALL},
	    {"vfork", PROBE_CALL},
	    {"futex_wait", PROBE_OTHER}};

static void classes_fill(uint8_t *out)
{
	for (uint32_t nr = 0; nr < PROBE_SYSCALLS; nr++) {
		const char *name = syscall_name((int)nr);
		if (!name)
			continue;
		for (unsigned h = 0; h < HOOK_COUNT && !out[nr]; h++)
			if (!strcmp(hook_info[h].kernel, name))
				out[nr] = (uint8_t)class_of(name, hook_info[h].class);
		for (size_t i = 0; i < LENGTH(more); i++)
			if (!strcmp(more[i].name, name))
				out[nr] = (uint8_t)more[i].class;
	}
}

uint16_t probe_hook(uint32_t nr)
{
	static uint16_t hooks[PROBE_SYSCALLS];
	if (nr >= PROBE_SYSCALLS)
		return (uint16_t)HOOK_COUNT;
	if (hooks[nr])
		return (uint16_t)(hooks[nr] - 1);
	const char *name = syscall_name((int)nr);
	uint16_t found = (uint16_t)(HOOK_COUNT + nr);
	for (unsigned h = 0; name && h < HOOK_COUNT; h++)
		if (!strcmp(hook_info[h].kernel, name) && hook_info[h].class != HOOK_CLASS_LIFE) {
			found = (uint16_t)h;
			break;
		}
	hooks[nr] = (uint16_t)(found + 1);
	return found;
}

/* Where a variable of the probe lies in its section, by the object's own BTF. -ENOENT: it is not there. */
static int variable_offset(const struct bpf_object *object, const char *section, const char *name)
{
	const struct btf *btf = bpf_object__btf(object);
	int id = btf ? btf__find_by_name_kind(btf, section, BTF_KIND_DATASEC) : -1;
	if (id < 0)
		return -ENOENT;
	const struct btf_type *type = btf__type_by_id(btf, (unsigned)id);
	const struct btf_var_secinfo *var = btf_var_secinfos(type);
	for (int i = 0; i < btf_vlen(type); i++, var++)
		if (!strcmp(btf__name_by_offset(btf, btf__type_by_id(btf, var->type)->name_off), name))
			return (int)var->offset;
	return -ENOENT;
}

/* Sets a constant before loading. */
static int variable_set(struct bpf_object *object, const char *name, const void *value, size_t size)
{
	struct bpf_map *map = bpf_object__find_map_by_name(object, ".rodata");
	size_t room = 0;
	char *data = map ? (char *)bpf_map__initial_value(map, &room) : NULL;
	int offset = variable_offset(object, ".rodata", name);
	if (!data || offset < 0 || (size_t)offset + size > room)
		return -ENOENT;
	memcpy(data + offset, value, size);
	return 0;
}

static int variables_set(struct bpf_object *object, const struct probe_options *options)
{
	uint8_t classes[PROBE_SYSCALLS] = {0};
	struct stat namespace;
	classes_fill(classes);
	if (stat("/proc/self/ns/pid", &namespace))
		return -errno;
	uint32_t inode = (uint32_t) namespace.st_ino;
	int e = variable_set(object, "syscall_class", classes, sizeof classes);
	if (!e)
		e = variable_set(object, "threshold_ns", &options->threshold_ns, 8);
	if (!e)
		e = variable_set(object, "own_namespace", &inode, 4);
	if (!e)
		e = variable_set(object, "follow", &options->children, 1);
	return e;
}

static void *table_map(struct bpf_object *object, const char *name, size_t size)
{
	struct bpf_map *map = bpf_object__find_map_by_name(object, name);
	size_t page = 4096;
	size = (size + page - 1) & ~(page - 1);
	void *at = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, map ? bpf_map__fd(map) : -1, 0);
	return at == MAP_FAILED ? NULL : at;
}

static int free_fill(struct bpf_object *object, const char *name, uint32_t n)
{
	int fd = bpf_object__find_map_fd_by_name(object, name);
	for (uint32_t i = n; i-- > 0 && fd >= 0;) /* a stack: the lowest is taken first */
		if (bpf_map_update_elem(fd, NULL, &i, BPF_ANY))
			return -errno;
	return fd;
}

static int tables_open(struct probe *p)
{
	struct bpf_object *o = p->object;
	p->threads = table_map(o, "threads", sizeof *p->threads * ARENA_THREADS);
	p->procs = table_map(o, "procs", sizeof *p->procs * ARENA_PROCS);
	p->loops = table_map(o, "loops", sizeof *p->loops * PROBE_LOOPS);
	p->variables = table_map(o, ".bss", 4096);
	if (!p->threads || !p->procs || !p->loops || !p->variables)
		return errno ? -errno : -ENOMEM;
	static const char *const names[] = {"wanted_pid", "procs_refused", "threads_high",
					    "procs_high", "hooked_calls",  "hooks_on"};
	void **const into[] = {(void **)&p->wanted_pid, (void **)&p->procs_refused, (void **)&p->threads_high,
			       (void **)&p->procs_high, (void **)&p->hooked_calls,  (void **)&p->hooks_on};
	for (size_t i = 0; i < LENGTH(names); i++) {
		int offset = variable_offset(o, ".bss", names[i]);
		if (offset < 0)
			return offset;
		*into[i] = p->variables + offset;
	}
	if ((p->free_threads = free_fill(o, "free_threads", ARENA_THREADS)) < 0)
		return p->free_threads;
	if ((p->free_procs = free_fill(o, "free_procs", ARENA_PROCS)) < 0)
		return p->free_procs;
	if ((p->free_loops = free_fill(o, "free_loops", PROBE_LOOPS)) < 0)
		return p->free_loops;
	return 0;
}

static int programs_attach(struct probe *p)
{
	struct bpf_program *program;
	bpf_object__for_each_program(program, p->object)
	{
		if (!strcmp(bpf_program__name(program), "hooked")) /* probe_hooks.c */
			continue;
		struct bpf_link *link = bpf_program__attach(program);
		if (!link)
			return -errno;
		if (!strcmp(bpf_program__name(program), "take_up"))
			p->iterator = bpf_link__fd(link);
		p->links[p->link_count++] = link;
	}
	return 0;
}

static int object_load(struct probe *p, const struct probe_options *options)
{
	LIBBPF_OPTS(bpf_object_open_opts, open, .object_name = "whystall");
	*libbpf_said = 0;
	libbpf_set_print(libbpf_print);
	p->object = bpf_object__open_mem(probe_object, (size_t)(probe_object_end - probe_object), &open);
	if (!p->object)
		return -errno;
	int e = variables_set(p->object, options);
	return e ? e : bpf_object__load(p->object);
}

static void why_fill(int error, char *why, size_t size)
{
	if (error == -EPERM || error == -EACCES)
		snprintf(why, size, "the kernel does not let it load BPF programs (%s)", strerror(-error));
	else if (access("/sys/kernel/btf/vmlinux", R_OK))
		snprintf(why, size,
			 "this kernel has no BTF (/sys/kernel/btf/vmlinux), which BPF programs need");
	else
		snprintf(why, size, "its BPF programs cannot be loaded: %s%s%s", strerror(-error),
			 *libbpf_said ? ": " : "", libbpf_said);
}

int probe_open(struct probe **out, const struct probe_options *options, char *why, size_t why_size)
{
	struct probe *p = xcalloc(1, sizeof *p);
	p->iterator = -1;
	int e = object_load(p, options);
	if (!e)
		e = tables_open(p);
	if (!e)
		e = programs_attach(p);
	if (!e) {
		*out = p;
		return 0;
	}
	why_fill(e, why, why_size);
	probe_close(p);
	return e;
}

void probe_close(struct probe *p)
{
	if (!p)
		return;
	ring_buffer__free(p->ring);
	probe_unhook(p);
	for (int i = 0; i < p->link_count; i++)
		bpf_link__destroy(p->links[i]);
	if (p->threads)
		munmap(p->threads, sizeof *p->threads * ARENA_THREADS);
	if (p->procs)
		munmap(p->procs, sizeof *p->procs * ARENA_PROCS);
	if (p->loops)
		munmap(p->loops, sizeof *p->loops * PROBE_LOOPS);
	if (p->variables)
		munmap(p->variables, 4096);
	bpf_object__close(p->object);
	free(p);
}

int probe_check(char *why, size_t why_size)
{
	struct probe *p;
	struct probe_options options = {.threshold_ns = 20000000};
	int e = probe_open(&p, &options, why, why_size);
	if (!e)
		probe_close(p);
	return e;
}

/* One reading of the iterator. Returns how many threads were taken up. */
static int iterate(struct probe *p, pid_t pid)
{
	struct probe_taken taken[64];
	int n = 0, fd = bpf_iter_create(p->iterator);
	if (fd < 0)
		return -errno;
	*p->wanted_pid = (uint32_t)pid;
	for (;;) {
		ssize_t got = read(fd, taken, sizeof taken);
		if (got < 0 && errno == EINTR)
			continue;
		if (got < 0 && errno == EAGAIN)
			continue;
		if (got <= 0)
			break;
		n += (int)((size_t)got / sizeof *taken);
	}
	close(fd);
	return n;
}

int probe_take(struct probe *p, pid_t pid)
{
	int all = 0;
	/* a thread that begins while the list is read may be missed, and is found by the next reading */
	for (int i = 0; i < 8; i++) {
		int n = iterate(p, pid);
		if (n < 0)
			return n;
		if (!n)
			break;
		all += n;
	}
	return all ? all : -ESRCH;
}

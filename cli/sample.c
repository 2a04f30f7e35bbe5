/* SPDX-License-Identifier: MIT
 *
 * The registers and the top of the stack of a thread, taken from outside without stopping it. A running
 * thread is sampled by the kernel's software clock (perf_event_open(2)); a blocked one shows its stack
 * pointer and instruction pointer in /proc/PID/task/TID/syscall (proc(5)). ptrace would give both, but makes
 * the target's waits return EINTR. perf_event_open is closed to ordinary users on some distributions and in
 * most containers: then running threads have no native frames, blocked ones still do.
 */
#include "native.h"

#include <asm/perf_regs.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/perf_event.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "mem.h"
#include "util.h"

#define PAGE 4096u
/* 128 KiB hold seven samples. What a user may lock for all events together is perf_event_mlock_kb (516) per
 * CPU and then RLIMIT_MEMLOCK, so smaller rings are tried too; below 8 pages not even one sample fits. */
#define RING_PAGES 32u
#define RING_PAGES_MIN 8u

/* perf's order of registers (asm/perf_regs.h), by DWARF number (System V ABI for AMD64, figure 3.36). */
static const unsigned char perf_register[NATIVE_REGS] = {
	PERF_REG_X86_AX,  PERF_REG_X86_DX,  PERF_REG_X86_CX,  PERF_REG_X86_BX,	PERF_REG_X86_SI,
	PERF_REG_X86_DI,  PERF_REG_X86_BP,  PERF_REG_X86_SP,  PERF_REG_X86_R8,	PERF_REG_X86_R9,
	PERF_REG_X86_R10, PERF_REG_X86_R11, PERF_REG_X86_R12, PERF_REG_X86_R13, PERF_REG_X86_R14,
	PERF_REG_X86_R15, PERF_REG_X86_IP,
};

struct perf_sampler {
	int fd;
	size_t data_size;
	struct perf_event_mmap_page *page; /* followed by the data */
};

static uint64_t perf_register_mask(void)
{
	uint64_t mask = 0;
	for (int i = 0; i < NATIVE_REGS; i++)
		mask |= 1ull << perf_register[i];
	return mask;
}

struct perf_sampler *perf_sampler_open(pid_t tid, unsigned hz)
{
	struct perf_event_attr attr = {
		.type = PERF_TYPE_SOFTWARE,
		.size = sizeof(attr),
		.config = PERF_COUNT_SW_TASK_CLOCK,
		.freq = 1,
		.sample_freq = hz,
		.sample_type =
			PERF_SAMPLE_TID | PERF_SAMPLE_TIME | PERF_SAMPLE_REGS_USER | PERF_SAMPLE_STACK_USER,
		.sample_regs_user = perf_register_mask(),
		.sample_stack_user = NATIVE_STACK_BYTES,
		.disabled = 1,
		.exclude_kernel = 1,
		.exclude_hv = 1,
		.use_clockid = 1,
		.clockid = CLOCK_MONOTONIC,
	};
	int fd = syscall(SYS_perf_event_open, &attr, tid, -1, -1, PERF_FLAG_FD_CLOEXEC);
	if (fd < 0)
		return NULL;
	for (size_t pages = RING_PAGES; pages >= RING_PAGES_MIN; pages /= 2) {
		void *at = mmap(NULL, (1 + pages) * PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
		if (at != MAP_FAILED) {
			struct perf_sampler *s = xcalloc(1, sizeof(*s));
			*s = (struct perf_sampler){fd, pages * PAGE, at};
			return s;
		}
		if (errno != EPERM && errno != ENOMEM)
			break;
	}
	int error = errno;
	close(fd);
	errno = error;
	return NULL;
}

void perf_sampler_close(struct perf_sampler *s)
{
	if (!s)
		return;
	munmap(s->page, PAGE + s->data_size);
	close(s->fd);
	free(s);
}

int perf_sampler_enable(struct perf_sampler *s, bool on)
{
	return ioctl(s->fd, on ? PERF_EVENT_IOC_ENABLE : PERF_EVENT_IOC_DISABLE, 0) < 0 ? -errno : 0;
}

/* The ring is a power of two; a record may begin at its end and go on at its start. */
static void ring_copy(const struct perf_sampler *s, uint64_t from, void *to, size_t len)
{
	const char *data = (const char *)s->page + PAGE;
	size_t at = from & (s->data_size - 1), first = s->data_size - at;
	if (first > len)
		first = len;
	memcpy(to, data + at, first);
	memcpy((char *)to + first, data, len - first);
}

/* The body of a PERF_RECORD_SAMPLE with our sample_type, in perf_event_open(2)'s order. */
static bool sample_parse(const struct perf_sampler *s, uint64_t at, uint64_t end, struct native_sample *out)
{
	struct {
		uint32_t pid, tid;
		uint64_t time, abi;
	} head;
	uint64_t regs[NATIVE_REGS], size, filled, mask = perf_register_mask();

	if (end - at < sizeof(head) + sizeof(regs) + sizeof(size))
		return false;
	ring_copy(s, at, &head, sizeof(head));
	at += sizeof(head);
	if (head.abi != PERF_SAMPLE_REGS_ABI_64)
		return false; /* no user registers: the thread is ending */
	ring_copy(s, at, regs, sizeof(regs));
	at += sizeof(regs);
	out->time = head.time;
	out->known = (1u << NATIVE_REGS) - 1;
	/* The kernel stores the chosen registers in order of their bits. */
	for (int i = 0; i < NATIVE_REGS; i++)
		out->regs[i] = regs[__builtin_popcountll(mask & ((1ull << perf_register[i]) - 1))];

	ring_copy(s, at, &size, sizeof(size));
	at += sizeof(size);
	out->len = 0;
	if (size == 0 || size > NATIVE_STACK_BYTES || end - at < size + sizeof(filled))
		return true;
	ring_copy(s, at + size, &filled, sizeof(filled));
	out->len = filled < size ? filled : size;
	ring_copy(s, at, out->stack, out->len);
	return true;
}

int perf_sampler_drain(struct perf_sampler *s, void (*take)(void *, const struct native_sample *), void *arg,
		       uint64_t *lost)
{
	struct native_sample sample;
	uint64_t head = __atomic_load_n(&s->page->data_head, __ATOMIC_ACQUIRE);
	uint64_t tail = s->page->data_tail;
	int n = 0;

	while (tail < head) {
		struct perf_event_header h;
		ring_copy(s, tail, &h, sizeof(h));
		if (h.size < sizeof(h) || h.size > head - tail)
			break;
		if (h.type == PERF_RECORD_SAMPLE) {
			if (sample_parse(s, tail + sizeof(h), tail + h.size, &sample)) {
				take(arg, &sample);
				n++;
			}
		} else if (h.type == PERF_RECORD_LOST && h.size >= sizeof(h) + 16) {
			uint64_t id_lost[2];
			ring_copy(s, tail + sizeof(h), id_lost, sizeof(id_lost));
			*lost += id_lost[1];
		}
		tail += h.size;
	}
	__atomic_store_n(&s->page->data_tail, head, __ATOMIC_RELEASE);
	return n;
}

/* As much of the stack as is mapped: one piece a page, for process_vm_readv(2) only promises whole pieces. */
static uint32_t stack_copy(pid_t pid, uint64_t sp, unsigned char *to)
{
	struct mem_part parts[NATIVE_STACK_BYTES / PAGE + 1];
	int n = 0;

	for (uint64_t at = sp, end = sp + NATIVE_STACK_BYTES; at < end && n < (int)LENGTH(parts); n++) {
		uint64_t next = (at | (PAGE - 1)) + 1;
		if (next > end)
			next = end;
		parts[n] = (struct mem_part){at, to + (at - sp), next - at};
		at = next;
	}
	ssize_t got = mem_read_some(pid, parts, n);
	return got > 0 ? (uint32_t)got : 0;
}

/* "7 0x1 0x2 0x3 0x4 0x5 0x6 0xSP 0xPC", "-1 0xSP 0xPC" (blocked, but in no system call: a page fault) or
 * "running". */
static int syscall_parse(const char *text, uint64_t args[6], uint64_t *sp, uint64_t *pc)
{
	uint64_t v[8];
	char *end;

	if (!strncmp(text, "running", 7))
		return -EAGAIN;
	long nr = strtol(text, &end, 10);
	int want = nr == -1 ? 2 : 8;
	if (end == text || nr < -1 || nr >= SYSCALL_NONE)
		return -EINVAL;
	for (int i = 0; i < want; i++) {
		const char *from = end;
		v[i] = strtoull(from, &end, 16);
		if (end == from)
			return -EINVAL;
	}
	*sp = v[want - 2];
	*pc = v[want - 1];
	if (args) {
		memset(args, 0, 6 * sizeof(*args));
		if (nr >= 0)
			memcpy(args, v, 6 * sizeof(*args));
	}
	return nr == -1 ? SYSCALL_NONE : (int)nr;
}

static int syscall_text(pid_t pid, pid_t tid, char *buf, size_t size)
{
	char path[64];
	snprintf(path, sizeof(path), "/proc/%d/task/%d/syscall", pid, tid);
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return errno == ENOENT ? -ESRCH : -errno;
	ssize_t n = read(fd, buf, size - 1);
	int error = n < 0 ? -errno : n == 0 ? -ESRCH : 0;
	close(fd);
	if (n > 0)
		buf[n] = 0;
	return error;
}

int blocked_sample(pid_t pid, pid_t tid, struct native_sample *out, uint64_t args[6])
{
	char before[256], after[256];
	uint64_t sp, pc;

	int error = syscall_text(pid, tid, before, sizeof(before));
	if (error)
		return error;
	int nr = syscall_parse(before, args, &sp, &pc);
	if (nr < 0 || !out)
		return nr;
	memset(out->regs, 0, sizeof(out->regs));
	out->time = now_ns();
	out->regs[NATIVE_RSP] = sp;
	out->regs[NATIVE_RIP] = pc;
	out->known = 1u << NATIVE_RSP | 1u << NATIVE_RIP;
	out->len = stack_copy(pid, sp, out->stack);
	/* It may have gone on meanwhile: then the copy is of no moment. */
	error = syscall_text(pid, tid, after, sizeof(after));
	if (error)
		return error;
	return strcmp(before, after) ? -EAGAIN : nr;
}

const char *syscall_name(int number)
{
	static const char *const names[] = {
#include "syscalls.inc" /* made from <asm/unistd_64.h>: see Makefile */
	};
	return number >= 0 && (size_t)number < LENGTH(names) ? names[number] : NULL;
}

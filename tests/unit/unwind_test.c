/* SPDX-License-Identifier: MIT
 *
 * native.h on a child of this program: known frames, running and blocked, named also when the child is gone;
 * samples that are short, empty or nonsense; JIT code named by a perf map; and what is refused.
 */
#include "cli/modules.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#ifdef __clang__
#define KEEP __attribute__((noinline, optnone))
#else
#define KEEP __attribute__((noipa))
#endif

static volatile uint64_t sink;

static KEEP void leaf_spin(void)
{
	for (;;)
		sink++;
}
static KEEP void leaf_sleep(void)
{
	struct timespec t = {600, 0};
	nanosleep(&t, NULL);
	sink++;
}
static KEEP int middle(void (*leaf)(void))
{
	leaf();
	return ++sink;
}
static KEEP int outer(void (*leaf)(void))
{
	return middle(leaf) + 1;
}
static KEEP int deep(int n, void (*leaf)(void))
{
	volatile char room[512];
	room[n & 255] = n;
	if (!n)
		return outer(leaf) + room[0]; /* no tail call */
	return deep(n - 1, leaf) + room[n & 255];
}

static pid_t child(int depth, void (*leaf)(void))
{
	pid_t pid = fork();
	if (pid == 0) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		deep(depth, leaf);
		_exit(0);
	}
	return pid;
}
static void end(pid_t pid)
{
	kill(pid, SIGKILL);
	waitpid(pid, NULL, 0);
}

static void keep(void *arg, const struct native_sample *s)
{
	*(struct native_sample *)arg = *s;
}

static int blocked(pid_t pid, struct native_sample *out)
{
	uint64_t args[6];
	int nr = -EAGAIN;
	for (int i = 0; i < 500 && nr == -EAGAIN; i++) {
		usleep(2000);
		nr = blocked_sample(pid, pid, out, args);
	}
	return nr;
}

static const char *names(struct native *n, const struct native_sample *s, bool *cut)
{
	static char text[8192];
	uint64_t pcs[256];
	struct frame frames[16];
	int count = native_unwind(n, s, pcs, LENGTH(pcs), cut);

	strcpy(text, " ");
	for (int i = 0; i < count; i++) {
		int k = native_symbolize(n, pcs[i], i == 0, frames, LENGTH(frames));
		for (int j = 0; j < k; j++)
			snprintf(text + strlen(text), sizeof(text) - strlen(text), "%s ", frames[j].function);
	}
	return text;
}

static void a_running_thread(void **state)
{
	(void)state;
	static struct native_sample s;
	uint64_t lost = 0;
	bool cut;
	pid_t pid = child(0, leaf_spin);
	struct perf_sampler *perf = perf_sampler_open(pid, 1000);
	if (!perf) {
		int error = errno;
		end(pid);
		assert_true(error == EACCES || error == EPERM || error == ENOSYS);
		skip();
	}
	assert_int_equal(perf_sampler_enable(perf, true), 0);
	struct native *n = native_open(pid);
	assert_non_null(n);
	int got = 0;
	uint64_t before = now_ns();
	for (int i = 0; i < 500 && got < 20; i++) {
		usleep(5000);
		got += perf_sampler_drain(perf, keep, &s, &lost);
	}
	assert_true(got >= 20);
	assert_true(s.time > before - NS && s.time <= now_ns());
	assert_int_equal(s.known, (1u << NATIVE_REGS) - 1);
	/* disabled: nothing comes */
	assert_int_equal(perf_sampler_enable(perf, false), 0);
	perf_sampler_drain(perf, keep, &s, &lost);
	usleep(50000);
	assert_int_equal(perf_sampler_drain(perf, keep, &s, &lost), 0);
	/* full: what is dropped is counted, and it goes on */
	perf_sampler_enable(perf, true);
	usleep(300000);
	lost = 0;
	for (int i = 0; i < 100 && !lost; i++) {
		perf_sampler_drain(perf, keep, &s, &lost);
		usleep(10000);
	}
	assert_true(lost > 0);
	end(pid);
	const char *stack = names(n, &s, &cut);
	assert_true(strstr(stack, " leaf_spin middle outer deep ") == stack);
	assert_non_null(strstr(stack, " main "));
	assert_false(cut);
	perf_sampler_close(perf);
	native_close(n);
}

static void a_blocked_thread(void **state)
{
	(void)state;
	static struct native_sample s;
	bool cut;
	pid_t pid = child(3, leaf_sleep);
	int nr = blocked(pid, &s);
	struct native *n = native_open(pid);
	end(pid); /* names come from what was opened */
	assert_true(nr >= 0);
	assert_string_equal(syscall_name(nr), "clock_nanosleep");
	assert_non_null(n);
	const char *stack = names(n, &s, &cut);
	assert_non_null(strstr(stack, " leaf_sleep middle outer deep deep deep deep "));
	assert_non_null(strstr(stack, "nanosleep "));
	assert_non_null(strstr(stack, " main "));
	assert_false(cut);
	native_close(n);
}

static void a_deep_stack_is_cut(void **state)
{
	(void)state;
	static struct native_sample s;
	bool cut;
	pid_t pid = child(100, leaf_sleep);
	blocked(pid, &s);
	struct native *n = native_open(pid);
	end(pid);
	assert_int_equal(s.len, NATIVE_STACK_BYTES);
	assert_non_null(strstr(names(n, &s, &cut), " leaf_sleep middle outer deep "));
	assert_true(cut);
	native_close(n);
}

static void nonsense_is_survived(void **state)
{
	(void)state;
	static struct native_sample s;
	uint64_t pcs[8];
	bool cut;
	pid_t pid = child(0, leaf_sleep);
	blocked(pid, &s);
	struct native *n = native_open(pid);
	end(pid);
	uint64_t pc = s.regs[NATIVE_RIP];
	uint32_t len = s.len;

	for (s.len = 0; s.len < len && s.len < 200; s.len++) {
		assert_true(native_unwind(n, &s, pcs, LENGTH(pcs), &cut) >= 1);
		assert_true(cut);
		assert_int_equal(pcs[0], pc);
	}
	s.len = len;
	s.regs[NATIVE_RIP] = 0x1234;
	assert_int_equal(native_unwind(n, &s, pcs, LENGTH(pcs), &cut), 1);
	assert_true(cut);
	struct frame f;
	assert_int_equal(native_symbolize(n, 0x1234, true, &f, 1), 1);
	assert_string_equal(f.function, "[unknown]+0x1234");
	s.regs[NATIVE_RIP] = pc;
	srandom(1);
	for (int round = 0; round < 300; round++) {
		for (uint32_t i = 0; i < s.len; i++)
			s.stack[i] = (round % 3	     ? (uint64_t)random()
				      : random() & 1 ? pc
						     : s.regs[NATIVE_RSP]) >>
				     i % 8 * 8;
		s.known = round % 2 ? (1u << NATIVE_REGS) - 1 : 1u << NATIVE_RIP | 1u << NATIVE_RSP;
		int count = native_unwind(n, &s, pcs, LENGTH(pcs), &cut);
		assert_in_range(count, 1, LENGTH(pcs));
	}
	native_close(n);
}

static void who_is_not_there(void **state)
{
	(void)state;
	pid_t pid = child(0, leaf_sleep);
	end(pid);
	assert_null(native_open(pid));
	assert_int_equal(errno, ENOENT == errno ? ENOENT : ESRCH);
	assert_int_equal(blocked_sample(pid, pid, NULL, NULL), -ESRCH);
	assert_null(perf_sampler_open(pid, 100));
	assert_true(errno == ESRCH || errno == EACCES || errno == EPERM);
	native_close(NULL);
	perf_sampler_close(NULL);
}

/* What containers do: perf_event_open is EPERM by a seccomp filter. */
static void perf_denied(void **state)
{
	(void)state;
	struct sock_filter code[] = {
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_perf_event_open, 0, 1),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | EPERM),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
	};
	struct sock_fprog program = {LENGTH(code), code};
	pid_t pid = fork();
	if (pid == 0) {
		prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
		if (prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program))
			_exit(1);
		_exit(!perf_sampler_open(getpid(), 100) && errno == EPERM ? 0 : 2);
	}
	int status;
	waitpid(pid, &status, 0);
	assert_int_equal(status, 0);
}

static void names_for_people(void **state)
{
	(void)state;
	static const struct {
		const char *symbol, *shown;
	} rows[] = {
		{"long_pow", "long_pow"},
		{"long_pow.part.0", "long_pow"},
		{"f.constprop.0.isra.1.cold", "f"},
		{"g.lto_priv.12", "g"},
		{"h.llvm.123456", "h"},
		{"__libc_start_main@@GLIBC_2.34", "__libc_start_main"},
		{"_ZN3foo3Bar3bazEi", "foo::Bar::baz"},
		{"_ZN3foo3Bar3bazEi.cold", "foo::Bar::baz"},
		{"_ZN4core3fmt5write17h0123456789abcdefE", "core::fmt::write"},
		{"_RNvC6_123foo3bar", "123foo::bar"},
		{"_Znot mangled", "_Znot mangled"},
		{"", ""},
	};
	for (size_t i = 0; i < LENGTH(rows); i++)
		assert_string_equal(symbol_display(rows[i].symbol), rows[i].shown);
	char *huge = malloc(100001);
	memset(huge, 'Z', 100000);
	memcpy(huge, "_Z", 2);
	huge[100000] = 0;
	assert_non_null(symbol_display(huge));
	free(huge);
	assert_string_equal(syscall_name(0), "read");
	assert_null(syscall_name(-1));
	assert_null(syscall_name(SYSCALL_NONE));
}

static void code_of_a_jit_compiler(void **state)
{
	(void)state;
	char path[64];
	uint64_t at = (uint64_t)(uintptr_t)mmap(NULL, 8192, PROT_READ | PROT_WRITE | PROT_EXEC,
						MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	snprintf(path, sizeof(path), "/tmp/perf-%d.map", getpid());
	int fd = open(path, O_WRONLY | O_CREAT | O_EXCL, 0600);
	assert_true(fd >= 0);
	dprintf(fd, "nonsense\n%lx\n%lx 10\nzz 10 a\n%lx 10 py::f:/app.py\n\n%lx ffffffffffffffff \n",
		(long)at, (long)at, (long)at, (long)at);
	struct native *n = native_open(getpid());
	struct frame f;
	assert_true(native_covers(n, at));
	assert_false(native_covers(n, at - 1));
	native_symbolize(n, at + 1, true, &f, 1);
	assert_string_equal(f.function, "py::f:/app.py");
	/* it grows; a line not yet whole waits */
	dprintf(fd, "%lx 10 later", (long)at + 0x20);
	native_symbolize(n, at + 0x21, true, &f, 1);
	assert_non_null(strstr(f.function, "[unknown]"));
	dprintf(fd, "\n");
	native_symbolize(n, at + 0x22, true, &f, 1);
	assert_string_equal(f.function, "later");
	native_close(n);
	/* another user's file is not believed */
	if (geteuid() == 0) {
		pid_t pid = fork();
		if (pid == 0) {
			if (setresuid(65534, 65534, 65534))
				_exit(1);
			pause();
		}
		usleep(50000);
		char other[64];
		snprintf(other, sizeof(other), "/tmp/perf-%d.map", pid);
		assert_int_equal(rename(path, other), 0);
		assert_int_equal(fchown(fd, 12345, 12345), 0);
		assert_null(perfmap_open(pid));
		assert_int_equal(fchown(fd, 65534, 65534), 0);
		struct perfmap *map = perfmap_open(pid);
		assert_non_null(map);
		perfmap_close(map);
		unlink(other);
		assert_int_equal(symlink("/etc/passwd", other), 0);
		assert_int_equal(fchown(fd, 0, 0), 0);
		unlink(other);
		assert_int_equal(mkfifo(other, 0600), 0); /* must not wait for a writer */
		assert_null(perfmap_open(pid));
		unlink(other);
		end(pid);
	}
	unlink(path);
	close(fd);
	munmap((void *)at, 8192);
}

/* A perf map of a million lines, out of order, that grows by one each time a name is asked for. */
static void code_without_end(void **state)
{
	(void)state;
	char path[64];
	snprintf(path, sizeof(path), "/tmp/perf-%d.map", getpid());
	FILE *file = fopen(path, "wx");
	assert_non_null(file);
	for (unsigned long i = 0; i < 1000000; i++)
		fprintf(file, "%lx 8 f%lu\n", 0x1000000 + i * 7919 % 1000003 * 16, i);
	fflush(file);
	struct perfmap *map = perfmap_open(getpid());
	assert_non_null(map);
	assert_string_equal(perfmap_find(map, 0x1000000 + 7919 * 16), "f1");
	assert_null(perfmap_find(map, 0x1000000 + 7919 * 16 + 8));
	for (unsigned i = 0; i < 10000; i++) { /* each a reading and sorting: hours */
		fprintf(file, "%x 1 g%u\n", 0x10 + i, i);
		fflush(file);
		assert_null(perfmap_find(map, 8));
	}
	usleep(300000);
	for (int i = 0; i < 600 && !perfmap_find(map, 0x10 + 9999); i++)
		usleep(100000);
	assert_string_equal(perfmap_find(map, 0x10 + 9999), "g9999");
	assert_string_equal(perfmap_find(map, 0x1000000 + 16 * (7919 * 100 % 1000003)), "f100");
	perfmap_close(map);
	fclose(file);
	unlink(path);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_running_thread),    cmocka_unit_test(a_blocked_thread),
		cmocka_unit_test(a_deep_stack_is_cut), cmocka_unit_test(nonsense_is_survived),
		cmocka_unit_test(who_is_not_there),    cmocka_unit_test(perf_denied),
		cmocka_unit_test(names_for_people),    cmocka_unit_test(code_of_a_jit_compiler),
		cmocka_unit_test(code_without_end),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}

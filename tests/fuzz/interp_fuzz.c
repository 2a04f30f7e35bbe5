/* SPDX-License-Identifier: MIT
 *
 * The interpreter reader on a real Python that lies: a stopped one is read, and what is read is changed on
 * its way, the Kth word of the Nth read to another number, a neighbour, or an address that was read before
 * (which makes cycles). The interpreter is $FUZZ_PYTHON.
 */
#include "tests/fuzz/input.h"

#include <signal.h>
#include <stdio.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/wait.h>

#include "cli/interp.h"
#include "cli/util.h"

#define LIES 64

static const char program[] =
	"import threading, queue, logging, sys\n"
	"class Cache:\n"
	"    __slots__ = ('lock',)\n"
	"    def __init__(self): self.lock = threading.Lock()\n"
	"    def use(self):\n"
	"        with self.lock: return [inner() for _ in range(3)]\n"
	"cache = Cache(); cache.lock.acquire(); event = threading.Event(); q = queue.Queue()\n"
	"def inner(): return event.wait()\n"
	"def generate(): yield q.get()\n"
	"def decorated(f): return lambda *a: f(*a)\n"
	"@decorated\n"
	"def consume(): return list(generate())\n"
	"for i, f in enumerate((cache.use, consume, inner, cache.use)):\n"
	"    threading.Thread(target=f, name='worker \\u00e9%d' % i, daemon=True).start()\n"
	"def deep(n):\n"
	"    if n: return deep(n - 1)\n"
	"    print(flush=True)\n"
	"    return sys.stdin.read()\n"
	"deep(12)\n";

static const struct interp_ops *ops;
static struct interp *interp;
static pid_t python;
static struct maps maps;
static struct interp_thread threads[8];
static int thread_count;

static struct lie {
	uint32_t read; /* this many reads after the one before */
	uint16_t word;
	uint8_t how;
	uint64_t value;
} lies[LIES];
static int lie_count, lie_next;
static uint32_t reads;
static uint64_t seen[64];

static void lie(uint64_t *words, size_t n)
{
	while (lie_next < lie_count && reads >= lies[lie_next].read) {
		const struct lie *l = &lies[lie_next++];
		uint64_t *w = &words[l->word % n];
		switch (l->how % 6) {
		case 0:
			*w = l->value;
			break;
		case 1:
			*w = seen[l->value % 64];
			break;
		case 2:
			*w += (int8_t)l->value * 8;
			break;
		case 3:
			*w ^= 1ull << l->value % 64;
			break;
		case 4:
			memset(w, (int)l->value, sizeof(*w));
			break;
		default:
			for (size_t i = 0; i < n; i++)
				words[i] = l->value;
		}
		reads = 0;
	}
}

/* The C library's, for all of whystall in this program. */
ssize_t process_vm_readv(pid_t pid, const struct iovec *local, unsigned long n, const struct iovec *remote,
			 unsigned long m, unsigned long flags)
{
	ssize_t got = syscall(SYS_process_vm_readv, pid, local, n, remote, m, flags);
	for (unsigned long i = 0; i < n && got > 0; i++) {
		uint64_t words[512];
		size_t some = local[i].iov_len / 8 < 512 ? local[i].iov_len / 8 : 512;
		if (!some)
			continue;
		memcpy(words, local[i].iov_base, some * 8);
		seen[reads % 64] = words[0] ? words[0] : (uint64_t)remote[i].iov_base;
		reads++;
		lie(words, some);
		memcpy(local[i].iov_base, words, some * 8);
	}
	return got;
}

static void child_end(void)
{
	kill(python, SIGKILL);
}

static void child_start(const char *path)
{
	int in[2], out[2];
	char byte;
	if (pipe(in) || pipe(out))
		abort();
	python = fork();
	if (!python) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		dup2(in[0], 0);
		dup2(out[1], 1);
		execl(path, path, "-S", "-c", program, NULL);
		_exit(127);
	}
	atexit(child_end);
	if (read(out[0], &byte, 1) != 1)
		abort();
	usleep(200000);
	kill(python, SIGSTOP);
}

static void reader_open(void)
{
	char version[64], why[256];
	if (interp)
		ops->close(interp);
	interp = NULL;
	ops->open(&interp, python, &maps, version, sizeof(version), why, sizeof(why));
}

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
	const char *path = getenv("FUZZ_PYTHON");
	(void)argc, (void)argv;
	for (PARTS(interp, interp_ops, p))
		if (!strcmp((*p)->name, "cpython"))
			ops = *p;
	child_start(path ? path : "/usr/bin/python3");
	if (maps_read(python, &maps))
		abort();
	reader_open();
	if (!interp)
		abort();
	for (pid_t tid = python; tid < python + 64 && thread_count < 8; tid++) {
		static struct stack stack;
		if (!ops->stack(interp, (struct interp_thread){.tid = tid}, &stack))
			threads[thread_count++].tid = tid;
	}
	return thread_count ? 0 : -1;
}

static void look(struct interp_thread thread, uint64_t address)
{
	static struct stack stack;
	struct interp_lock locks[4];
	struct interp_thread holder;
	struct interp_collection collection;
	struct interp_waited waited;
	char name[64];
	if (!ops->stack(interp, thread, &stack) && (stack.n < 1 || stack.n > STACK_MAX))
		abort();
	if (!ops->thread_name(interp, thread, name, sizeof(name)) &&
	    strnlen(name, sizeof(name)) == sizeof(name))
		abort();
	int n = ops->locks(interp, locks, 4);
	if (n > 4)
		abort();
	if (n > 0)
		ops->lock_holder(interp, locks[0].address, &holder);
	ops->switch_interval(interp);
	if (ops->collects)
		ops->collects(interp, thread, &collection);
	if (ops->lock_look && !ops->lock_look(interp, thread, address, &waited) &&
	    strnlen(waited.name, sizeof(waited.name)) == sizeof(waited.name))
		abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t n)
{
	struct input in = {bytes, n};
	uint8_t first = input_byte(&in);
	uint64_t address = first & 0x40 ? seen[input_byte(&in) % 64] : input_word(&in);

	for (lie_count = lie_next = 0; in.n && lie_count < LIES; lie_count++) {
		struct lie *l = &lies[lie_count];
		l->read = input_byte(&in);
		l->how = input_byte(&in);
		l->word = l->how & 0x80 ? input_byte(&in) : input_byte(&in) % 8;
		l->value = l->how & 0x40 ? input_word(&in) : input_byte(&in);
	}
	reads = 0;
	uint64_t begin = now_ns();
	if (!interp || first & 0x80)
		reader_open();
	if (interp)
		look(threads[first % thread_count], address);
	lie_count = 0;
	if (now_ns() - begin > 5 * NS)
		abort(); /* whatever it is told, the answer comes soon */
	return 0;
}

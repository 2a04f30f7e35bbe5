/* SPDX-License-Identifier: MIT
 *
 * Whatever bytes a record holds, reading it ends soon and in order. With libFuzzer (clang -fsanitize=fuzzer,
 * address,undefined -DLIBFUZZER) or alone: record_fuzz [-n ROUNDS] [-s SEED] RECORD... reads each as it is,
 * then with bytes, numbers and pages changed; a crash leaves the last input in record_fuzz.crash. Build it
 * with -fsanitize=address,undefined.
 */
#include "cli/store.h"
#include "tests/unit/record_sample.h"

#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <sys/mman.h>
#include <unistd.h>

static char name[600];
static int fd;

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t n);
int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t n)
{
	struct observations o;
	char why[512];

	if (!fd) {
		const char *base = getenv("TMPDIR");
		snprintf(name, sizeof(name), "%s/record_fuzz.XXXXXX", base ? base : P_tmpdir);
		fd = mkstemp(name);
	}
	if (fd < 0 || ftruncate(fd, 0) || pwrite(fd, bytes, n, 0) != (ssize_t)n)
		abort();
	uint64_t begin = now_ns();
	int err = store_load(&o, name, why, sizeof(why));
	if (err ? !why[0] : o.stack_begin.n != o.stack_cut.n + 1)
		abort();
	observations_free(&o);
	if (now_ns() - begin > 10 * NS)
		abort(); /* no record this small takes so long */
	return 0;
}

static void mutate(uint8_t *bytes, size_t n)
{
	static const uint8_t odd[] = {0, 1, 2, 5, 10, 13, 0x7f, 0x80, 0x81, 0xff};

	for (int k = 1 + rand() % 6; k > 0; k--) {
		size_t page = (size_t)rand() % (n / 4096) * 4096, at = (size_t)rand() % n;
		switch (rand() % 5) {
		case 0:
			bytes[at] ^= (uint8_t)(1 << rand() % 8);
			break;
		case 1: /* a page's header and cell pointers */
			bytes[page + (size_t)rand() % 40] = odd[(size_t)rand() % LENGTH(odd)];
			break;
		case 2: /* its last cells: record headers, values */
			bytes[page + 4095 - (size_t)rand() % 200] = odd[(size_t)rand() % LENGTH(odd)];
			break;
		case 3:
			memmove(bytes + page, bytes + (size_t)rand() % (n / 4096) * 4096, 4096);
			break;
		default:
			memset(bytes + at, odd[(size_t)rand() % LENGTH(odd)], (size_t)rand() % 16 % (n - at));
		}
	}
}

#ifdef LIBFUZZER
size_t LLVMFuzzerMutate(uint8_t *bytes, size_t n, size_t max);
size_t LLVMFuzzerCustomMutator(uint8_t *bytes, size_t n, size_t max, unsigned seed);
size_t LLVMFuzzerCustomMutator(uint8_t *bytes, size_t n, size_t max, unsigned seed)
{
	if (seed % 8 == 0 || n < 4096)
		return LLVMFuzzerMutate(bytes, n, max);
	srand(seed);
	mutate(bytes, n);
	return n;
}
#else
static uint8_t *input;
static size_t input_size;

static void crashed(int number)
{
	int to = open("record_fuzz.crash", O_WRONLY | O_CREAT | O_TRUNC, 0600);
	ssize_t n = write(to, input, input_size);

	unlink(name);
	signal(number, SIG_DFL);
	raise(number);
	_exit(n < 0);
}

int main(int argc, char **argv)
{
	long rounds = 2000, seed = 1;
	int option;

	while ((option = getopt(argc, argv, "n:s:")) > 0)
		*(option == 'n' ? &rounds : &seed) = atol(optarg);
	signal(SIGABRT, crashed);
	signal(SIGSEGV, crashed);
	for (; optind < argc; optind++) {
		char *bytes;
		ssize_t n = file_read(argv[optind], &bytes, 64 << 20);
		if (n < 0)
			return say("cannot read %s: %s", argv[optind], strerror((int)-n)), 1;
		input = xcalloc((size_t)n + 1, 1);
		for (long i = 0; i <= rounds; i++) {
			memcpy(input, bytes, input_size = (size_t)n);
			srand((unsigned)(seed + i));
			if (i && n >= 4096)
				mutate(input, input_size);
			LLVMFuzzerTestOneInput(input, input_size);
		}
		free(bytes);
		free(input);
	}
	unlink(name);
	return 0;
}
#endif

/* SPDX-License-Identifier: MIT
 *
 * A perf map that says anything, and grows while it is read.
 */
#include "tests/fuzz/input.h"

#include <fcntl.h>
#include <stdio.h>

#include "cli/modules.h"

static char name[64];

static void forget(void)
{
	unlink(name);
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t n)
{
	static int fd = -1;
	struct input in = {bytes, n};
	uint64_t pc[4] = {0, UINT64_MAX, input_word(&in) & 0xffff, input_word(&in)};
	size_t first = in.n ? input_byte(&in) * in.n / 256 : 0;

	if (fd < 0) {
		snprintf(name, sizeof(name), "/tmp/perf-%d.map", (int)getpid());
		fd = open(name, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
		atexit(forget);
	}
	file_fill(fd, in.at, first);
	struct perfmap *map = perfmap_open(getpid());
	if (!map)
		abort();
	for (size_t i = 0; i < LENGTH(pc); i++)
		perfmap_find(map, pc[i]);
	file_fill(fd, in.at, in.n);
	for (size_t i = 0; i < LENGTH(pc); i++)
		perfmap_find(map, pc[i]);
	perfmap_close(map);
	return 0;
}

/* SPDX-License-Identifier: MIT
 *
 * The shim's file, and the words for why it is not in a program (shim.h).
 */
#include "shim.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "util.h"

static const char *const reasons[REFUSALS] = {
	[REFUSAL_NONE] = "the shim did not come up in it",
	[REFUSAL_STATIC] = "it is statically linked",
	[REFUSAL_WORD_SIZE] = "it is built for another word size or machine",
	[REFUSAL_LIBC] = "its C library is not glibc",
	[REFUSAL_SETUID] = "it is setuid or setgid",
	[REFUSAL_UNREADABLE] = "it may be executed but not read",
	[REFUSAL_ASAN] = "its AddressSanitizer must be loaded before anything else",
	[REFUSAL_FORMAT] = "it is no program that ld.so loads",
	[REFUSAL_SHIM] = "libwhystall.so cannot be opened by it (another root directory or user)",
	[REFUSAL_OFF] = "the shim was off in the process that started it",
};

const char *shim_refusal(enum refusal why)
{
	return why < REFUSALS && reasons[why] ? reasons[why] : reasons[REFUSAL_NONE];
}

int shim_find(char *buf, size_t size)
{
	static const char *const places[] = {"libwhystall.so", "../lib/whystall/libwhystall.so"};
	char self[PATH_MAX];
	ssize_t n = readlink("/proc/self/exe", self, sizeof self - 1);
	if (n < 0)
		return -errno;
	self[n] = 0;
	*strrchr(self, '/') = 0;
	for (size_t i = 0; i < LENGTH(places); i++) {
		char path[PATH_MAX * 2], real[PATH_MAX];
		snprintf(path, sizeof path, "%s/%s", self, places[i]);
		if (!realpath(path, real))
			continue;
		snprintf(buf, size, "%s", real);
		if (strpbrk(real, " :$")) { /* they part LD_PRELOAD: a name without them */
			int fd = open(real, O_RDONLY | O_CLOEXEC);
			if (fd < 0)
				return -errno;
			snprintf(buf, size, "/proc/%d/fd/%d", (int)getpid(), fd);
		}
		return 0;
	}
	return -ENOENT;
}

bool shim_require(char *buf, size_t size)
{
	if (!shim_find(buf, size))
		return true;
	say("cannot find libwhystall.so beside this program or in ../lib/whystall: is the installation "
	    "whole?");
	return false;
}

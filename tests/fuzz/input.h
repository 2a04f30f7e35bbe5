/* SPDX-License-Identifier: MIT
 *
 * A fuzzer's bytes as the numbers and pieces that a harness wants; when they end, zeros. And a file in the
 * temporary directory that holds some of them.
 */
#ifndef WHYSTALL_FUZZ_INPUT_H
#define WHYSTALL_FUZZ_INPUT_H

#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t n);
int LLVMFuzzerInitialize(int *argc, char ***argv);

struct input {
	const uint8_t *at;
	size_t n;
};

static inline void input_take(struct input *in, void *to, size_t n)
{
	size_t some = n < in->n ? n : in->n;
	memset(to, 0, n);
	memcpy(to, in->at, some);
	in->at += some;
	in->n -= some;
}
static inline uint8_t input_byte(struct input *in)
{
	uint8_t v;
	input_take(in, &v, sizeof(v));
	return v;
}
static inline uint64_t input_word(struct input *in)
{
	uint64_t v;
	input_take(in, &v, sizeof(v));
	return v;
}

/* The file's whole content from now on. */
static inline void file_fill(int fd, const void *bytes, size_t n)
{
	if (fd < 0 || ftruncate(fd, 0) || pwrite(fd, bytes, n, 0) != (ssize_t)n)
		abort();
}

#endif

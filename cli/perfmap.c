/* SPDX-License-Identifier: MIT
 *
 * Names of JIT-compiled code: /tmp/perf-PID.map, one "START SIZE NAME" a line in hex (the kernel's
 * tools/perf/Documentation/jit-interface.txt), PID as the target itself knows it. It is written by the
 * target, so it is believed only if it belongs to the target's user or root, and is bounded. It grows while
 * the target runs: the descriptor is kept and what is new read when a name is missing.
 */
#include "modules.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define PERFMAP_MAX_BYTES (64u << 20)
#define PERFMAP_MAX_ROWS 2000000
/* A map that grows all the time is not read for each name that is missing: a reading that takes longer than
 * this is followed by a pause of so many times its length. */
#define READ_NS (NS / 1000)
#define READ_PAUSE 16
#define READ_PAUSE_MAX (2 * NS) /* it took so long because the machine is busy */

struct row {
	uint64_t start, size;
	uint32_t name; /* offset in text; the later, the newer */
};

struct perfmap {
	int fd;
	char *text; /* what has been read, lines ended by NUL once parsed */
	size_t len, parsed;
	uint64_t read, took;  /* when it was last read, and how long that was, ns */
	VEC(struct row) rows; /* sorted; of two at one address the later comes later */
};

/* The innermost of NSpid's numbers. */
static pid_t pid_in_namespace(pid_t pid)
{
	char path[64], *text;
	pid_t inner = pid;

	snprintf(path, sizeof(path), "/proc/%d/status", pid);
	if (file_read(path, &text, 65536) < 0)
		return pid;
	const char *at = strstr(text, "\nNSpid:");
	if (at)
		for (at += 7; *at == '\t' || *at == ' ';)
			inner = strtol(at, (char **)&at, 10);
	free(text);
	return inner;
}

struct perfmap *perfmap_open(pid_t pid)
{
	char path[64];
	struct stat file, process;

	snprintf(path, sizeof(path), "/proc/%d", pid);
	if (stat(path, &process))
		return NULL;
	snprintf(path, sizeof(path), "/tmp/perf-%d.map", pid_in_namespace(pid));
	int fd = target_open(pid, path);
	if (fd < 0)
		return NULL;
	if (fstat(fd, &file) || (file.st_uid != process.st_uid && file.st_uid != 0)) {
		close(fd);
		return NULL;
	}
	struct perfmap *map = xcalloc(1, sizeof(*map));
	map->fd = fd;
	return map;
}

void perfmap_close(struct perfmap *map)
{
	if (!map)
		return;
	close(map->fd);
	free(map->text);
	vec_free(&map->rows);
	free(map);
}

static void line_parse(struct perfmap *map, char *line)
{
	char *end;
	uint64_t start = strtoull(line, &end, 16);
	if (end == line || *end != ' ' || map->rows.n >= PERFMAP_MAX_ROWS)
		return;
	char *from = end;
	uint64_t size = strtoull(from, &end, 16);
	if (end == from || *end != ' ' || !size || !end[1])
		return;
	*vec_push(&map->rows) = (struct row){start, size, end + 1 - map->text};
}

static int row_compare(const void *a, const void *b)
{
	const struct row *x = a, *y = b;
	if (x->start != y->start)
		return x->start < y->start ? -1 : 1;
	return x->name < y->name ? -1 : x->name > y->name;
}

/* The rows from `old` on are new. */
static void rows_merge(struct perfmap *map, size_t old)
{
	size_t n = map->rows.n - old, to = map->rows.n;
	if (!n)
		return;
	qsort(map->rows.at + old, n, sizeof(*map->rows.at), row_compare);
	struct row *fresh = xcalloc(n, sizeof(*fresh));
	memcpy(fresh, map->rows.at + old, n * sizeof(*fresh));
	while (n) {
		bool later = old && row_compare(&map->rows.at[old - 1], &fresh[n - 1]) > 0;
		map->rows.at[--to] = later ? map->rows.at[--old] : fresh[--n];
	}
	free(fresh);
}

/* Reads what has been appended, whole lines only. False: nothing new. */
static bool perfmap_read(struct perfmap *map)
{
	struct stat st;
	uint64_t begin = now_ns(), pause = map->took > READ_NS ? READ_PAUSE * map->took : 0;
	size_t old = map->rows.n;
	if (pause > READ_PAUSE_MAX)
		pause = READ_PAUSE_MAX;
	if (map->len >= PERFMAP_MAX_BYTES || begin - map->read < pause || fstat(map->fd, &st) ||
	    (size_t)st.st_size <= map->len)
		return false;
	size_t want = (size_t)st.st_size < PERFMAP_MAX_BYTES ? (size_t)st.st_size : PERFMAP_MAX_BYTES;
	map->text = xrealloc(map->text, want + 1, 1);
	ssize_t n = pread(map->fd, map->text + map->len, want - map->len, map->len);
	if (n <= 0)
		return false;
	map->len += n;
	map->text[map->len] = 0;
	for (char *end; (end = memchr(map->text + map->parsed, '\n', map->len - map->parsed));) {
		*end = 0;
		line_parse(map, map->text + map->parsed);
		map->parsed = end + 1 - map->text;
	}
	rows_merge(map, old);
	map->read = now_ns();
	map->took = map->read - begin;
	return true;
}

static const char *row_find(const struct perfmap *map, uint64_t pc)
{
	size_t low = 0, high = map->rows.n;
	while (low < high) {
		size_t middle = low + (high - low) / 2;
		if (map->rows.at[middle].start <= pc)
			low = middle + 1;
		else
			high = middle;
	}
	const struct row *r = low ? &map->rows.at[low - 1] : NULL;
	return r && pc - r->start < r->size ? map->text + r->name : NULL;
}

const char *perfmap_find(struct perfmap *map, uint64_t pc)
{
	const char *name = row_find(map, pc);
	if (!name && perfmap_read(map))
		name = row_find(map, pc);
	return name ? intern(name) : NULL;
}

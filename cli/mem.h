/* SPDX-License-Identifier: MIT
 *
 * A target's bytes and its memory map, read from outside without stopping it. What is read may be torn, stale
 * or hostile: callers bound and check everything.
 */
#ifndef WHYSTALL_MEM_H
#define WHYSTALL_MEM_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

/* Reads exactly len bytes at address (process_vm_readv). 0 or -errno (-EFAULT, -ESRCH, -EPERM). */
int mem_read(pid_t pid, uint64_t address, void *to, size_t len);
/* Reads a NUL-terminated string of at most size-1 bytes. 0 or -errno. */
int mem_string(pid_t pid, uint64_t address, char *to, size_t size);
/* Several reads in as few system calls as can be: all of them (0) or -errno, what was read then being
 * undefined. */
struct mem_part {
	uint64_t address;
	void *to;
	size_t len;
};
int mem_read_parts(pid_t pid, const struct mem_part *parts, int n);
/* As many bytes of them, in order, as can be read: at most 256 parts. How many, or -errno for none. */
ssize_t mem_read_some(pid_t pid, const struct mem_part *parts, int n);

struct map {
	uint64_t start, end, offset;
	uint64_t inode;
	unsigned dev_major, dev_minor;
	bool r, w, x, shared;
	bool deleted;
	/* interned, as the target sees it (below its root); "" for anonymous memory, "[stack]", "[vdso]" */
	const char *path;
};
struct maps {
	struct map *at; /* sorted by start */
	size_t n;
};
/* Reads /proc/PID/maps (at most 65,536 lines). 0 or -errno. Owned by the caller: maps_free. */
int maps_read(pid_t pid, struct maps *out);
void maps_free(struct maps *maps);
const struct map *maps_find(const struct maps *maps, uint64_t address);
/* The path by which whystall itself can open the file behind a map: /proc/PID/root/PATH, or
 * /proc/PID/map_files/.. for a deleted one. Writes to buf, returns buf. */
const char *map_host_path(pid_t pid, const struct map *map, char *buf, size_t size);

#endif

/* SPDX-License-Identifier: MIT
 *
 * A target's memory and its map. process_vm_readv copies without stopping the target and without a descriptor
 * that could go stale; whether it may is decided by the kernel at each call (ptrace access). Containers that
 * forbid the call leave /proc/PID/mem, for which the kernel asks the same.
 */
#include "mem.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/uio.h>
#include <unistd.h>

#include "util.h"

#define MAPS_MAX 65536
#define PAGE 4096ull
#define PARTS_MAX 256 /* of one call; the kernel takes IOV_MAX */

int mem_read(pid_t pid, uint64_t address, void *to, size_t len)
{
	struct mem_part part = {address, to, len};
	return mem_read_parts(pid, &part, 1);
}

static ssize_t file_read_parts(pid_t pid, const struct mem_part *parts, int n)
{
	char path[64];
	ssize_t got = 0;
	snprintf(path, sizeof path, "/proc/%d/mem", (int)pid);
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return -errno;
	for (int i = 0; i < n; i++) {
		ssize_t one = pread(fd, parts[i].to, parts[i].len, (off_t)parts[i].address);
		got += one > 0 ? one : 0;
		if (one < 0 && !got)
			got = errno == EIO ? -EFAULT : -errno;
		if (one < 0 || (size_t)one != parts[i].len)
			break;
	}
	close(fd);
	return got;
}

ssize_t mem_read_some(pid_t pid, const struct mem_part *parts, int n)
{
	struct iovec local[PARTS_MAX], remote[PARTS_MAX];
	if (n > PARTS_MAX)
		return -EINVAL;
	for (int i = 0; i < n; i++) {
		local[i] = (struct iovec){parts[i].to, parts[i].len};
		remote[i] = (struct iovec){(void *)(uintptr_t)parts[i].address, parts[i].len};
	}
	ssize_t got = process_vm_readv(pid, local, (unsigned long)n, remote, (unsigned long)n, 0);
	if (got >= 0)
		return got;
	if (errno == EPERM || errno == EACCES || errno == ENOSYS)
		return file_read_parts(pid, parts, n);
	return -errno;
}

int mem_read_parts(pid_t pid, const struct mem_part *parts, int n)
{
	while (n > 0) {
		int some = n < PARTS_MAX ? n : PARTS_MAX;
		size_t want = 0;
		for (int i = 0; i < some; i++)
			want += parts[i].len;
		ssize_t got = want ? mem_read_some(pid, parts, some) : 0;
		if (got < 0)
			return (int)got;
		if ((size_t)got != want)
			return -EFAULT; /* a later page was not there: the call stops short */
		parts += some;
		n -= some;
	}
	return 0;
}

int mem_string(pid_t pid, uint64_t address, char *to, size_t size)
{
	size_t n = 0;
	if (!size)
		return -EINVAL;
	while (n + 1 < size) {
		/* never across a page that the string may not reach */
		size_t some = PAGE - (address + n) % PAGE;
		if (some > size - 1 - n)
			some = size - 1 - n;
		int e = mem_read(pid, address + n, to + n, some);
		if (e)
			return e;
		if (memchr(to + n, 0, some))
			return 0;
		n += some;
	}
	to[n] = 0;
	return 0;
}

/* "\012" is how the kernel writes the one character that would break its lines (fs/seq_file.c, mangle_path).
 */
static void path_unescape(char *s)
{
	char *to = s;
	while (*s) {
		if (!strncmp(s, "\\012", 4)) {
			*to++ = '\n';
			s += 4;
		} else {
			*to++ = *s++;
		}
	}
	*to = 0;
}

static bool map_parse(char *line, struct map *m)
{
	unsigned long long start, end, offset, inode;
	char flags[5];
	int at = 0;
	if (sscanf(line, "%llx-%llx %4s %llx %x:%x %llu %n", &start, &end, flags, &offset, &m->dev_major,
		   &m->dev_minor, &inode, &at) < 7 ||
	    !at || start >= end)
		return false;
	m->start = start;
	m->end = end;
	m->offset = offset;
	m->inode = inode;
	m->r = flags[0] == 'r';
	m->w = flags[1] == 'w';
	m->x = flags[2] == 'x';
	m->shared = flags[3] == 's';
	char *path = line + at;
	path[strcspn(path, "\n")] = 0;
	static const char gone[] = " (deleted)";
	size_t n = strlen(path);
	if (n >= sizeof(gone) && !strcmp(path + n - sizeof(gone) + 1, gone)) {
		m->deleted = true;
		path[n - sizeof(gone) + 1] = 0;
	}
	path_unescape(path);
	m->path = intern(path);
	return true;
}

/* The kernel writes paths as they are from our root; in a chroot of the target's they begin elsewhere. What
 * is not below that (another mount namespace's) stays. */
static size_t root_length(pid_t pid, char *root, size_t size)
{
	char name[64];
	snprintf(name, sizeof(name), "/proc/%d/root", (int)pid);
	ssize_t n = readlink(name, root, size);
	return n > 1 && (size_t)n < size ? (size_t)n : 0;
}

static void path_below(struct map *m, const char *root, size_t length)
{
	if (length && !strncmp(m->path, root, length) && m->path[length] == '/')
		m->path = intern(m->path + length);
}

int maps_read(pid_t pid, struct maps *out)
{
	char name[64], root[PATH_MAX], *line = NULL;
	size_t room = 0, length = root_length(pid, root, sizeof(root));
	VEC(struct map) all = {0};
	*out = (struct maps){0};
	snprintf(name, sizeof(name), "/proc/%d/maps", (int)pid);
	FILE *f = fopen(name, "re");
	if (!f)
		return -errno;
	int e = 0;
	while (all.n < MAPS_MAX && getline(&line, &room, f) > 0) {
		struct map m = {0};
		if (!map_parse(line, &m))
			continue;
		path_below(&m, root, length);
		*vec_push(&all) = m;
	}
	if (ferror(f))
		e = errno ? -errno : -EIO;
	else if (!all.n)
		e = -ESRCH; /* a zombie, or a kernel thread */
	free(line);
	fclose(f);
	if (e) {
		vec_free(&all);
		return e;
	}
	out->at = all.at;
	out->n = all.n;
	return 0;
}

void maps_free(struct maps *maps)
{
	free(maps->at);
	*maps = (struct maps){0};
}

const struct map *maps_find(const struct maps *maps, uint64_t address)
{
	size_t low = 0, high = maps->n;
	while (low < high) {
		size_t middle = low + (high - low) / 2;
		if (address >= maps->at[middle].end)
			low = middle + 1;
		else
			high = middle;
	}
	return low < maps->n && address >= maps->at[low].start ? &maps->at[low] : NULL;
}

const char *map_host_path(pid_t pid, const struct map *map, char *buf, size_t size)
{
	struct stat st;
	if (map->path[0] != '/') {
		snprintf(buf, size, "%s", "");
	} else if (!map->deleted) {
		snprintf(buf, size, "/proc/%d/root%s", (int)pid, map->path);
	} else {
		/* map_files wants CAP_CHECKPOINT_RESTORE, exe does not */
		snprintf(buf, size, "/proc/%d/exe", (int)pid);
		if (stat(buf, &st) || st.st_ino != map->inode || major(st.st_dev) != map->dev_major ||
		    minor(st.st_dev) != map->dev_minor)
			snprintf(buf, size, "/proc/%d/map_files/%llx-%llx", (int)pid,
				 (unsigned long long)map->start, (unsigned long long)map->end);
	}
	return buf;
}

/* SPDX-License-Identifier: MIT
 *
 * What a blocked call concerns, asked of /proc while the thread is in it. A socket's peer is in
 * /proc/PID/net/{tcp,tcp6,udp,udp6,unix} (the target's network namespace; proc_pid_net(5) and the kernel's
 * Documentation/networking/proc_net_tcp.rst have the formats), found by the socket's inode. These files may
 * be long: no more than NET_BYTES are read of each, and what was found is believed for a second.
 */
#include "target.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include "mem.h"
#include "util.h"

#define NET_BYTES (2u << 20)
#define FRESH_NS NS
#define TCP_LISTEN 10 /* include/net/tcp_states.h */

const char *target_of_string(pid_t pid, uint64_t address)
{
	char text[512];
	return address && !mem_string(pid, address, text, sizeof text) && *text ? intern(text) : NULL;
}

static const char *address_text(int family, const void *address, unsigned port)
{
	char host[INET6_ADDRSTRLEN], text[INET6_ADDRSTRLEN + 16];
	if (!inet_ntop(family, address, host, sizeof host))
		return NULL;
	snprintf(text, sizeof text, family == AF_INET6 ? "[%s]:%u" : "%s:%u", host, port);
	return intern(text);
}

static const char *path_text(const char *path, size_t n)
{
	char text[sizeof(struct sockaddr_un) + 8];
	bool abstract = n > 1 && !path[0];
	snprintf(text, sizeof text, "unix:%s%.*s", abstract ? "@" : "", (int)(n - abstract), path + abstract);
	return n && text[5] ? intern(text) : NULL;
}

/* What connect() and sendto() are given. */
static const char *target_of_sockaddr(pid_t pid, uint64_t address, uint64_t length)
{
	union {
		sa_family_t family;
		struct sockaddr_in in;
		struct sockaddr_in6 in6;
		struct sockaddr_un un;
	} a = {0};
	size_t n = length < sizeof a ? (size_t)length : sizeof a,
	       path = offsetof(struct sockaddr_un, sun_path);
	if (!address || n < sizeof a.family || mem_read(pid, address, &a, n))
		return NULL;
	if (a.family == AF_INET && n >= sizeof a.in)
		return address_text(AF_INET, &a.in.sin_addr, ntohs(a.in.sin_port));
	if (a.family == AF_INET6 && n >= offsetof(struct sockaddr_in6, sin6_scope_id))
		return address_text(AF_INET6, &a.in6.sin6_addr, ntohs(a.in6.sin6_port));
	if (a.family == AF_UNIX && n > path)
		return path_text(a.un.sun_path, n - path);
	return NULL;
}

/* "0100007F:1F90": 32-bit words of the address in the host's order, each as eight digits, and the port. */
static const char *address_parse(int family, const char *text)
{
	uint32_t words[4] = {0};
	int n = family == AF_INET ? 1 : 4;
	for (int i = 0; i < n; i++, text += 8)
		if (sscanf(text, "%8x", &words[i]) != 1)
			return NULL;
	unsigned port = *text == ':' ? (unsigned)strtoul(text + 1, NULL, 16) : 0;
	return port ? address_text(family, words, port) : NULL;
}

/* sl local_address rem_address st tx_queue:rx_queue tr:tm->when retrnsmt uid timeout inode ...: the peer, or
 * where it listens. */
static const char *inet_line(int family, const char *line, uint64_t inode)
{
	char local[48], peer[48];
	unsigned state;
	unsigned long found;
	if (sscanf(line, "%*[^:]: %47s %47s %x %*s %*s %*s %*s %*s %lu", local, peer, &state, &found) != 4 ||
	    found != inode)
		return NULL;
	return address_parse(family, state == TCP_LISTEN ? local : peer);
}

/* Num: RefCount Protocol Flags Type St Inode [Path] */
static const char *unix_line(int family, const char *line, uint64_t inode)
{
	unsigned long found;
	int at = 0;
	(void)family;
	if (sscanf(line, "%*[^:]: %*s %*s %*s %*s %*s %lu %n", &found, &at) != 1 || found != inode || !at)
		return NULL;
	return path_text(line + at, strcspn(line + at, "\n"));
}

static const char *net_find(pid_t pid, const char *file, int family, uint64_t inode,
			    const char *(*line)(int, const char *, uint64_t))
{
	char path[64], buf[1024];
	const char *found = NULL;
	size_t read = 0;
	snprintf(path, sizeof path, "/proc/%d/net/%s", pid, file);
	FILE *f = fopen(path, "re");
	if (!f)
		return NULL;
	while (!found && read < NET_BYTES && fgets(buf, sizeof buf, f)) {
		found = line(family, buf, inode);
		read += strlen(buf) + 1;
	}
	fclose(f);
	return found;
}

static const char *socket_ask(pid_t pid, uint64_t inode)
{
	static const struct {
		const char *file;
		int family;
		const char *(*line)(int, const char *, uint64_t);
	} files[] = {{"tcp", AF_INET, inet_line},
		     {"tcp6", AF_INET6, inet_line},
		     {"unix", AF_UNIX, unix_line},
		     {"udp", AF_INET, inet_line},
		     {"udp6", AF_INET6, inet_line}};
	const char *found = NULL;
	for (size_t i = 0; !found && i < LENGTH(files); i++)
		found = net_find(pid, files[i].file, files[i].family, inode, files[i].line);
	return found;
}

static const char *target_of_socket(pid_t pid, uint64_t inode)
{
	static struct known {
		uint64_t inode, asked;
		const char *name;
	} known[16];
	static unsigned next;
	uint64_t now = now_ns();
	for (size_t i = 0; i < LENGTH(known); i++)
		if (known[i].inode == inode && known[i].asked + FRESH_NS > now)
			return known[i].name;
	struct known *k = &known[next++ % LENGTH(known)];
	*k = (struct known){inode, now, socket_ask(pid, inode)};
	return k->name;
}

const char *target_of_fd(pid_t pid, int fd)
{
	char path[64], link[4096];
	unsigned long inode;
	snprintf(path, sizeof path, "/proc/%d/fd/%d", pid, fd);
	ssize_t n = fd < 0 ? -1 : readlink(path, link, sizeof link - 1);
	if (n <= 0)
		return NULL;
	link[n] = 0;
	if (sscanf(link, "socket:[%lu]", &inode) == 1)
		return target_of_socket(pid, inode);
	return strncmp(link, "anon_inode:", 11) ? intern(link) : NULL;
}

static const char *target_of_pid(uint64_t pid)
{
	char text[32];
	if ((int)pid <= 0)
		return NULL;
	snprintf(text, sizeof text, "pid %d", (int)pid);
	return intern(text);
}

/* The one descriptor that is polled; of several nobody can say which. */
static const char *target_of_poll(pid_t pid, uint64_t address, uint64_t count)
{
	struct pollfd p;
	return count == 1 && !mem_read(pid, address, &p, sizeof p) ? target_of_fd(pid, p.fd) : NULL;
}

static bool listed(const char *name, const char *const *list)
{
	for (; *list; list++)
		if (!strcmp(name, *list))
			return true;
	return false;
}

const char *target_of_call(pid_t pid, const char *name, const uint64_t a[6])
{
	static const char *const first_is_fd[] = {
		"read",	     "write",	 "pread64", "pwrite64",	  "readv",    "writev", "recvfrom",
		"recvmsg",   "recvmmsg", "sendmsg", "sendmmsg",	  "fsync",    "flock",	"fdatasync",
		"ftruncate", "accept",	 "accept4", "fallocate",  "sendfile", "splice", "copy_file_range",
		"syncfs",    "fcntl",	 "ioctl",   "getdents64", NULL};
	static const char *const first_is_path[] = {"open",	"creat",  "stat", "lstat",
						    "truncate", "unlink", NULL};
	static const char *const second_is_path[] = {"openat", "newfstatat", "unlinkat", NULL};
	const char *found = NULL;
	if (!name)
		return NULL;
	if (listed(name, first_is_fd))
		return target_of_fd(pid, (int)a[0]);
	if (listed(name, first_is_path))
		return target_of_string(pid, a[0]);
	if (listed(name, second_is_path))
		return target_of_string(pid, a[1]);
	if (!strcmp(name, "connect"))
		found = target_of_sockaddr(pid, a[1], (uint32_t)a[2]);
	else if (!strcmp(name, "sendto"))
		found = target_of_sockaddr(pid, a[4], (uint32_t)a[5]);
	if (found || !strcmp(name, "connect") || !strcmp(name, "sendto"))
		return found ? found : target_of_fd(pid, (int)a[0]);
	if (!strcmp(name, "poll") || !strcmp(name, "ppoll"))
		return target_of_poll(pid, a[0], a[1]);
	if (!strcmp(name, "wait4"))
		return target_of_pid(a[0]);
	if (!strcmp(name, "waitid") && a[0] == P_PID)
		return target_of_pid(a[1]);
	return NULL;
}

/* SPDX-License-Identifier: MIT
 *
 * --listen (listen.h): the address, the thread, and the text that it answers with. The text is made when
 * somebody asks, of what the record has got since somebody last did (store_follow), at most twice a second
 * and never for more than a twentieth of the thread's time: else the last one is given again.
 */
#include "listen.h"

#include <ctype.h>
#include <errno.h>
#include <limits.h>
#include <netdb.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "http.h"
#include "metrics.h"
#include "store.h"

#define FRESH_NS (NS / 2)
#define FRESH_COSTS 20

struct listener {
	int listening, stop;
	char url[NI_MAXHOST + 64];
	pthread_t thread;
	bool answers;
	pthread_mutex_t reading; /* the record; or nobody may */
	char record[PATH_MAX];
	/* the thread's own */
	struct store_follow follow;
	struct metrics *metrics;
	char *text[2];
	size_t size[2];
	uint64_t made, cost;
	char why[512];
};

/* --- the text --- */

static int record_take(struct listener *l)
{
	int err;
	do {
		struct verdict verdict;
		pthread_mutex_lock(&l->reading);
		err = store_follow(&l->follow, l->record, l->why, sizeof l->why);
		pthread_mutex_unlock(&l->reading);
		if (err)
			break;
		verdict_make(&verdict, &l->follow.seen);
		metrics_take(l->metrics, &verdict);
		verdict_free(&verdict);
	} while (l->follow.more);
	return err == -ENODATA ? 0 : err; /* nothing is in it yet */
}

static const char *text_make(void *closure, bool openmetrics, const char **at, size_t *size)
{
	struct listener *l = closure;
	uint64_t begin = now_ns(), fresh = l->cost * FRESH_COSTS;
	if (!l->text[0] || begin - l->made > (fresh > FRESH_NS ? fresh : FRESH_NS)) {
		if (record_take(l))
			return *l->why ? l->why : "The record cannot be read.";
		for (int i = 0; i < 2; i++) {
			free(l->text[i]);
			FILE *out = open_memstream(&l->text[i], &l->size[i]);
			if (!out)
				return "Out of memory.";
			metrics_write(l->metrics, out, i ? METRICS_OPEN : METRICS_PROMETHEUS);
			fclose(out);
		}
		l->made = now_ns();
		l->cost = l->made - begin;
	}
	*at = l->text[openmetrics];
	*size = l->size[openmetrics];
	return NULL;
}

static void *listener_main(void *arg)
{
	struct listener *l = arg;
	pthread_setname_np(pthread_self(), "listener");
	/* A scraper can wait for the target's own threads. */
	setpriority(PRIO_PROCESS, (id_t)syscall(SYS_gettid), 5);
	http_serve(l->listening, l->stop, text_make, l);
	return NULL;
}

/* --- the address --- */

static bool port_valid(const char *port)
{
	size_t n = strspn(port, "0123456789");
	return n && n <= 5 && !port[n] && atoi(port) <= 65535;
}

/* Parts it, in place. A sentence of what is wrong, or NULL. */
static const char *address_part(char *address, const char **host, const char **port)
{
	char *colon = strrchr(address, ':'), *bracket = strchr(address, ']');
	*host = "127.0.0.1";
	*port = address;
	if (*address == '[') {
		if (!bracket || bracket == address + 1 || bracket[1] != ':')
			return "is no [IPv6 address]:PORT";
		*bracket = 0;
		*host = address + 1;
		*port = bracket + 2;
	} else if (colon) {
		if (strchr(address, ':') != colon)
			return "has colons in its address, which goes in brackets: [::1]:9464";
		*colon = 0;
		*port = colon + 1;
		if (!strcmp(address, "*"))
			return "has no address that is one: 0.0.0.0 or [::] stands for all";
		if (colon != address)
			*host = address;
	} else if (*address && !isdigit((unsigned char)*address)) {
		return "has no port: 127.0.0.1:9464, or 9464 alone";
	}
	return port_valid(*port) ? NULL : "has no port from 0 to 65535";
}

/* A socket that listens on the first of them that lets us; or -errno. */
static int addresses_listen(const struct addrinfo *list)
{
	int error = EADDRNOTAVAIL;
	for (const struct addrinfo *a = list; a; a = a->ai_next) {
		int fd = socket(a->ai_family, a->ai_socktype | SOCK_CLOEXEC | SOCK_NONBLOCK, a->ai_protocol),
		    one = 1;
		if (fd < 0) {
			error = errno;
			continue;
		}
		setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
		if (!bind(fd, a->ai_addr, a->ai_addrlen) && !listen(fd, SOMAXCONN))
			return fd;
		error = errno;
		close(fd);
	}
	return -error;
}

static void url_fill(struct listener *l)
{
	struct sockaddr_storage address;
	socklen_t size = sizeof address;
	char host[NI_MAXHOST] = "?", port[16] = "?";
	if (!getsockname(l->listening, (struct sockaddr *)&address, &size))
		getnameinfo((struct sockaddr *)&address, size, host, sizeof host, port, sizeof port,
			    NI_NUMERICHOST | NI_NUMERICSERV);
	bool six = strchr(host, ':');
	snprintf(l->url, sizeof l->url, "http://%s%s%s:%s" HTTP_PATH, six ? "[" : "", host, six ? "]" : "",
		 port);
}

int listener_open(struct listener **out, const char *command, const char *address)
{
	struct addrinfo hints = {.ai_socktype = SOCK_STREAM, .ai_flags = AI_NUMERICSERV}, *list;
	char *copy = xstrdup(address);
	const char *host, *port, *wrong = address_part(copy, &host, &port);
	int error = wrong ? 0 : getaddrinfo(host, port, &hints, &list), fd = -1;
	if (wrong) {
		say("%s: --listen \"%s\" %s", command, address, wrong);
	} else if (error) {
		say("cannot listen on %s: %s", address,
		    error == EAI_SYSTEM ? strerror(errno) : gai_strerror(error));
	} else {
		fd = addresses_listen(list);
		freeaddrinfo(list);
		if (fd < 0)
			say(strchr(host, ':') ? "cannot listen on [%s]:%s: %s%s"
					      : "cannot listen on %s:%s: %s%s",
			    host, port, strerror(-fd),
			    fd == -EADDRINUSE ? "; name another port, or 0 for any" : "");
	}
	free(copy);
	if (fd < 0)
		return wrong ? EXIT_USAGE : EXIT_BROKEN;
	struct listener *l = *out = xcalloc(1, sizeof *l);
	l->listening = fd;
	l->stop = -1;
	pthread_mutex_init(&l->reading, NULL);
	url_fill(l);
	return EXIT_FINE;
}

/* --- the thread --- */

int listener_start(struct listener *l, const char *record, char *why, size_t size)
{
	if (!l)
		return 0;
	snprintf(l->record, sizeof l->record, "%s", record);
	l->metrics = metrics_new();
	l->stop = eventfd(0, EFD_CLOEXEC);
	int error = l->stop < 0 ? errno : pthread_create(&l->thread, NULL, listener_main, l);
	l->answers = !error;
	if (error)
		snprintf(why, size, "cannot serve metrics: %s", strerror(error));
	else if (verbosity >= 0)
		say("metrics at %s", l->url);
	return -error;
}

void listener_pause(struct listener *l)
{
	if (l)
		pthread_mutex_lock(&l->reading);
}

void listener_resume(struct listener *l)
{
	if (l)
		pthread_mutex_unlock(&l->reading);
}

void listener_stop(struct listener *l)
{
	if (!l)
		return;
	if (l->answers && eventfd_write(l->stop, 1) == 0)
		pthread_join(l->thread, NULL);
	close(l->listening);
	if (l->stop >= 0)
		close(l->stop);
	store_follow_free(&l->follow);
	if (l->metrics)
		metrics_free(l->metrics);
	free(l->text[0]);
	free(l->text[1]);
	pthread_mutex_destroy(&l->reading);
	free(l);
}

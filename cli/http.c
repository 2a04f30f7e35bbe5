/* SPDX-License-Identifier: MIT
 *
 * The little HTTP server (http.h): one poll loop over non-blocking sockets. A library would do more than is
 * needed, and bring TLS with it. Whoever is slow loses: a connection has so long for its request and so long
 * for its answer, and the oldest one makes room for a new one where there are too many.
 */
#include "http.h"

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/socket.h>
#include <unistd.h>

#include "util.h"

#define CLIENTS_MAX 16
#define REQUEST_MAX 8192
#define REQUEST_NS (5 * NS)
#define RESPONSE_NS (10 * NS)
#define DRAIN_NS (1 * NS)

enum client_state { CLIENT_FREE, CLIENT_READS, CLIENT_WRITES, CLIENT_DRAINS };

struct client {
	enum client_state state;
	int fd;
	uint64_t since, deadline;
	char request[REQUEST_MAX + 1];
	size_t got;
	char *response;
	size_t size, sent;
};

struct server {
	int listening;
	http_body *body;
	void *closure;
	uint64_t refuse_until; /* no descriptor was to be had */
	struct client clients[CLIENTS_MAX];
};

/* --- requests --- */

/* Blanks before and after taken away, in place. */
static char *trimmed(char *s)
{
	s += strspn(s, " \t");
	size_t n = strlen(s);
	while (n && strchr(" \t\r", s[n - 1]))
		s[--n] = 0;
	return s;
}

/* RFC 9110, 12.5.1: "text/plain;version=0.0.4;q=0.5, ...". A browser or curl takes anything: plain text. */
bool http_wants_openmetrics(const char *accept)
{
	char *copy = xstrdup(accept), *rest = copy, *range;
	double open = 0, plain = 0;
	while ((range = strsep(&rest, ","))) {
		char *type = trimmed(strsep(&range, ";")), *parameter;
		double q = 1;
		while ((parameter = strsep(&range, ";"))) {
			parameter = trimmed(parameter);
			if (!strncasecmp(parameter, "q=", 2))
				q = strtod(parameter + 2, NULL);
		}
		if (!strcasecmp(type, "application/openmetrics-text"))
			open = q > open ? q : open;
		else if (!strcasecmp(type, "text/plain"))
			plain = q > plain ? q : plain;
	}
	free(copy);
	return open > 0 && open >= plain;
}

static void respond(struct client *c, const char *status, const char *headers, const char *body, size_t size,
		    bool head)
{
	char *start = xprintf("HTTP/1.1 %s\r\n%sContent-Length: %zu\r\nConnection: close\r\n\r\n", status,
			      headers, size);
	size_t length = strlen(start);
	c->response = xrealloc(start, 1, length + size);
	if (!head)
		memcpy(c->response + length, body, size);
	c->size = length + (head ? 0 : size);
	c->sent = 0;
	c->state = CLIENT_WRITES;
	c->deadline = now_ns() + RESPONSE_NS;
}

#define PLAIN "Content-Type: text/plain; charset=utf-8\r\n"

static void refuse(struct client *c, const char *status, const char *headers)
{
	char *body = xprintf("%s\n", status);
	char *all = xprintf(PLAIN "%s", headers);
	respond(c, status, all, body, strlen(body), false);
	free(all);
	free(body);
}

static void metrics_send(struct server *s, struct client *c, const char *accept, bool head)
{
	bool open = http_wants_openmetrics(accept);
	const char *body = NULL;
	size_t size = 0;
	const char *trouble = s->body(s->closure, open, &body, &size);
	if (trouble)
		respond(c, "503 Service Unavailable", PLAIN, trouble, strlen(trouble), head);
	else
		respond(c, "200 OK",
			open ? "Content-Type: application/openmetrics-text; version=1.0.0; charset=utf-8\r\n"
			       "Vary: Accept\r\n"
			     : "Content-Type: text/plain; version=0.0.4; charset=utf-8\r\nVary: Accept\r\n",
			body, size, head);
}

/* Of the request's target: the path, also where a proxy names the whole address. */
static bool target_is_path(const char *target)
{
	if (!strncasecmp(target, "http://", 7))
		target += 7 + strcspn(target + 7, "/");
	return strcspn(target, "?") == strlen(HTTP_PATH) && !strncmp(target, HTTP_PATH, strlen(HTTP_PATH));
}

/* The headers are all there, ended by a NUL. */
static void request_answer(struct server *s, struct client *c)
{
	char *rest = c->request, *line = strsep(&rest, "\n"), *accept = NULL;
	char *method = strsep(&line, " "), *target = line ? strsep(&line, " ") : NULL,
	     *version = line ? trimmed(line) : NULL;
	if (!version || !*method || !*target || strncmp(version, "HTTP/", 5)) {
		refuse(c, "400 Bad Request", "");
		return;
	}
	if (strncmp(version, "HTTP/1.", 7)) {
		refuse(c, "505 HTTP Version Not Supported", "");
		return;
	}
	if (!target_is_path(target)) {
		refuse(c, "404 Not Found", "");
		return;
	}
	if (strcmp(method, "GET") && strcmp(method, "HEAD")) {
		refuse(c, "405 Method Not Allowed", "Allow: GET, HEAD\r\n");
		return;
	}
	while ((line = strsep(&rest, "\n"))) {
		if (strncasecmp(line, "Accept:", 7))
			continue;
		/* several are one list */
		char *both = xprintf("%s%s%s", accept ? accept : "", accept ? "," : "", trimmed(line + 7));
		free(accept);
		accept = both;
	}
	metrics_send(s, c, accept ? accept : "", *method == 'H');
	free(accept);
}

/* --- connections --- */

static void client_end(struct client *c)
{
	close(c->fd);
	free(c->response);
	c->response = NULL;
	c->state = CLIENT_FREE;
}

static void client_read(struct server *s, struct client *c)
{
	ssize_t n = recv(c->fd, c->request + c->got, REQUEST_MAX - c->got, 0);
	if (n <= 0) {
		if (!n || (errno != EAGAIN && errno != EINTR))
			client_end(c);
		return;
	}
	c->got += (size_t)n;
	c->request[c->got] = 0;
	char *end = strstr(c->request, "\r\n\r\n"), *bare = strstr(c->request, "\n\n");
	end = !end || (bare && bare < end) ? bare : end;
	if (end) {
		*end = 0;
		request_answer(s, c);
	} else if (memchr(c->request, 0, c->got)) {
		refuse(c, "400 Bad Request", "");
	} else if (c->got == REQUEST_MAX) {
		refuse(c, "431 Request Header Fields Too Large", "");
	}
}

static void client_write(struct client *c)
{
	ssize_t n = send(c->fd, c->response + c->sent, c->size - c->sent, MSG_NOSIGNAL);
	if (n < 0) {
		if (errno != EAGAIN && errno != EINTR)
			client_end(c);
		return;
	}
	c->sent += (size_t)n;
	if (c->sent < c->size)
		return;
	/* what the client still sends is read: to close before that would reset the connection, and the
	 * answer with it (RFC 9112, 9.6) */
	shutdown(c->fd, SHUT_WR);
	c->state = CLIENT_DRAINS;
	c->deadline = now_ns() + DRAIN_NS;
}

static void client_drain(struct client *c)
{
	ssize_t n = recv(c->fd, c->request, REQUEST_MAX, 0);
	if (!n || (n < 0 && errno != EAGAIN && errno != EINTR))
		client_end(c);
}

static void client_turn(struct server *s, struct client *c, short events)
{
	if (now_ns() >= c->deadline) {
		if (c->state == CLIENT_READS && c->got)
			refuse(c, "408 Request Timeout", "");
		else
			client_end(c);
	} else if (events && c->state == CLIENT_READS) {
		client_read(s, c);
	} else if (events && c->state == CLIENT_DRAINS) {
		client_drain(c);
	}
	if (c->state == CLIENT_WRITES)
		client_write(c);
}

static void client_accept(struct server *s)
{
	struct client *c = NULL, *oldest = &s->clients[0];
	int fd = accept4(s->listening, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
	if (fd < 0) {
		if (errno != EAGAIN && errno != EINTR && errno != ECONNABORTED)
			s->refuse_until = now_ns() + NS;
		return;
	}
	for (int i = 0; i < CLIENTS_MAX; i++) {
		if (s->clients[i].state == CLIENT_FREE)
			c = &s->clients[i];
		if (s->clients[i].since < oldest->since)
			oldest = &s->clients[i];
	}
	if (!c) {
		client_end(oldest);
		c = oldest;
	}
	c->fd = fd;
	c->got = 0;
	c->since = now_ns();
	c->deadline = c->since + REQUEST_NS;
	c->state = CLIENT_READS;
}

static int time_left(const struct server *s)
{
	uint64_t now = now_ns(), until = s->refuse_until > now ? s->refuse_until : UINT64_MAX;
	for (int i = 0; i < CLIENTS_MAX; i++)
		if (s->clients[i].state != CLIENT_FREE && s->clients[i].deadline < until)
			until = s->clients[i].deadline;
	if (until == UINT64_MAX)
		return -1;
	return until > now ? (int)((until - now) / 1000000 + 1) : 0;
}

void http_serve(int listening, int stop, http_body *body, void *closure)
{
	struct server *s = xcalloc(1, sizeof *s);
	struct pollfd fds[CLIENTS_MAX + 2];
	s->listening = listening;
	s->body = body;
	s->closure = closure;
	for (;;) {
		fds[0] = (struct pollfd){.fd = stop, .events = POLLIN};
		fds[1] = (struct pollfd){.fd = s->refuse_until > now_ns() ? -1 : listening, .events = POLLIN};
		for (int i = 0; i < CLIENTS_MAX; i++) {
			struct client *c = &s->clients[i];
			fds[i + 2] = (struct pollfd){.fd = c->state == CLIENT_FREE ? -1 : c->fd,
						     .events = c->state == CLIENT_WRITES ? POLLOUT : POLLIN};
		}
		poll(fds, CLIENTS_MAX + 2, time_left(s));
		if (fds[0].revents)
			break;
		for (int i = 0; i < CLIENTS_MAX; i++)
			if (s->clients[i].state != CLIENT_FREE)
				client_turn(s, &s->clients[i], fds[i + 2].revents);
		if (fds[1].revents)
			client_accept(s);
	}
	for (int i = 0; i < CLIENTS_MAX; i++)
		if (s->clients[i].state != CLIENT_FREE)
			client_end(&s->clients[i]);
	free(s);
}

/* SPDX-License-Identifier: MIT
 *
 * --listen: a record that grows, as OpenMetrics over HTTP, from a thread of its own that the watcher never
 * waits for. Everything but listener_open accepts NULL: there is none.
 */
#ifndef WHYSTALL_LISTEN_H
#define WHYSTALL_LISTEN_H

#include <stddef.h>

struct listener;

/* The option's argument: "9464", ":9464", "host:9464", "[::1]:9464"; without a host it is 127.0.0.1, port 0
 * is any. Listens, but nobody answers yet. EXIT_FINE, or another status after having said what is wrong. */
int listener_open(struct listener **, const char *command, const char *address);
/* The record is there (path): answers, and says where. 0; or -errno with a sentence. */
int listener_start(struct listener *, const char *record, char *why, size_t size);
/* Between the two nobody reads the record: it can be closed into one file. */
void listener_pause(struct listener *);
void listener_resume(struct listener *);
void listener_stop(struct listener *);

#endif

/* SPDX-License-Identifier: MIT
 *
 * As much of HTTP/1.1 as a scraper needs (RFC 9110, RFC 9112): GET and HEAD of one path, a bounded request
 * within a bounded time, several clients at once, each connection closed after its answer.
 */
#ifndef WHYSTALL_HTTP_H
#define WHYSTALL_HTTP_H

#include <stdbool.h>
#include <stddef.h>

#define HTTP_PATH "/metrics"

/* The text to answer with: *at, *size. NULL; or a sentence why there is none. */
typedef const char *http_body(void *closure, bool openmetrics, const char **at, size_t *size);

/* Serves on a listening socket until the descriptor `stop` is readable. */
void http_serve(int listening, int stop, http_body *, void *closure);

/* Is OpenMetrics what an Accept header asks for, rather than plain text? For the tests, too. */
bool http_wants_openmetrics(const char *accept);

#endif

/* SPDX-License-Identifier: MIT
 *
 * The capture's own row (origin.h). The service is OpenTelemetry's, from its two environment variables
 * (opentelemetry.io, "General SDK configuration"); the container's id is the 64 hexadecimal digits in the
 * cgroup path or in the source of a mount, where runtimes leave it.
 */
#include "origin.h"

#include <ctype.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

static const char *line_of(const char *path)
{
	char *text = NULL;
	const char *result = NULL;
	if (file_read(path, &text, 256) > 0) {
		text[strcspn(text, "\n")] = 0;
		result = intern(text);
	}
	free(text);
	return result;
}

static const char *hex64_in(const char *path)
{
	char *text = NULL;
	const char *result = NULL;
	if (file_read(path, &text, 1 << 20) > 0)
		for (const char *p = text; *p && !result;) {
			size_t n = 0;
			while (isxdigit((unsigned char)p[n]))
				n++;
			if (n == 64)
				result = intern_n(p, n);
			p += n ? n : 1;
		}
	free(text);
	return result;
}

static const char *service_name(void)
{
	const char *name = getenv("OTEL_SERVICE_NAME");
	if (name && *name)
		return intern(name);
	const char *at = getenv("OTEL_RESOURCE_ATTRIBUTES");
	while (at && *at) {
		size_t n = strcspn(at, ",");
		if (!strncmp(at, "service.name=", 13) && n > 13)
			return intern_n(at + 13, n - 13);
		at += n + (at[n] == ',');
	}
	return NULL;
}

static const char *time_rfc3339(void)
{
	struct timespec t;
	struct tm tm;
	char buf[64], zone[16];
	clock_gettime(CLOCK_REALTIME, &t);
	localtime_r(&t.tv_sec, &tm);
	strftime(zone, sizeof zone, "%z", &tm); /* +0100 */
	size_t n = strftime(buf, sizeof buf, "%Y-%m-%dT%H:%M:%S", &tm);
	snprintf(buf + n, sizeof buf - n, ".%06ld%.3s:%.2s", t.tv_nsec / 1000, zone, zone + 3);
	return intern(buf);
}

void origin_fill(struct obs_capture *c)
{
	char host[256] = "";
	gethostname(host, sizeof host - 1);
	c->host = intern(host);
	c->run_id = line_of("/proc/sys/kernel/random/uuid");
	c->boot_id = line_of("/proc/sys/kernel/random/boot_id");
	c->container_id = hex64_in("/proc/self/cgroup");
	if (!c->container_id)
		c->container_id = hex64_in("/proc/self/mountinfo");
	c->service = service_name();
	c->version = VERSION;
	c->start_ns = now_ns();
	c->started = time_rfc3339();
}

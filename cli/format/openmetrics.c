/* SPDX-License-Identifier: MIT
 *
 * OpenMetrics text of a whole record: what --listen would have said at its end.
 */
#include <errno.h>

#include "../format.h"
#include "../metrics.h"

static int openmetrics_write(FILE *out, const struct verdict *v, const struct format_options *options)
{
	struct metrics *m = metrics_new();
	(void)options;
	metrics_take(m, v);
	metrics_write(m, out, METRICS_OPEN);
	metrics_free(m);
	return fflush(out) || ferror(out) ? -(errno ? errno : EIO) : 0;
}

static const struct format openmetrics = {.name = "openmetrics",
					  .help = "counters and a histogram, for Prometheus",
					  .use = FORMAT_EXPORT,
					  .write = openmetrics_write};
PART(format, format, openmetrics);

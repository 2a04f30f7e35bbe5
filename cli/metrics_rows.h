/* SPDX-License-Identifier: MIT
 *
 * The rows of metrics.c, which counts them, for metrics_text.c, which writes them.
 */
#ifndef WHYSTALL_METRICS_ROWS_H
#define WHYSTALL_METRICS_ROWS_H

#include "observe.h"

#define METRICS_LOOPS 32
#define METRICS_OTHER "(other)"
#define METRICS_BOUNDS 13
extern const uint64_t metrics_bounds_ms[METRICS_BOUNDS];

enum {
	TOTAL_OBSERVED,
	TOTAL_STALLED,
	TOTAL_STALLS,
	TOTAL_BUSY,
	TOTAL_TICKS,
	TOTAL_BELOW,
	TOTALS = TOTAL_BELOW + METRICS_BOUNDS
};

/* One set of labels. */
struct metrics_loop {
	const char *process, *thread;
	bool other;
	uint64_t now[TOTALS], shown[TOTALS];
};
/* One loop of the record: its stalls that have ended, and corrections of its ticks. */
struct metrics_source {
	uint32_t loop, series;
	int64_t sum[TOTALS];
};
struct metrics_culprit {
	uint32_t series, stall; /* stall: of a part that is not summed yet */
	const char *cause, *function, *file;
	uint64_t ns, stalls, hidden_ns;
	bool shown;
};
typedef VEC(struct metrics_culprit) parts_t;

struct metrics {
	VEC(struct metrics_loop) loops;
	VEC(struct metrics_source) sources;
	parts_t culprits, others, under_way;
	uint64_t stalled_ns, shown;
	struct obs_capture capture;
};

#endif

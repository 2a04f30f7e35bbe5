/* SPDX-License-Identifier: MIT
 *
 * Verdicts as time series for a scraper: counters that never fall, by labels of which there are few whatever
 * happens. A whole record at once (export), or a growing one bit by bit (--listen).
 */
#ifndef WHYSTALL_METRICS_H
#define WHYSTALL_METRICS_H

#include <stdio.h>

#include "verdict.h"

struct metrics;

struct metrics *metrics_new(void);
/* Of the same record each time. Its loops are counted as a whole, its stalls once they have ended: none of
 * these may come again (store_follow sees to it). */
void metrics_take(struct metrics *, const struct verdict *);
/* OpenMetrics text 1.0.0 (openmetrics.io); or Prometheus' own text format, version 0.0.4. */
enum metrics_text { METRICS_OPEN, METRICS_PROMETHEUS };
void metrics_write(const struct metrics *, FILE *, enum metrics_text);
void metrics_free(struct metrics *);

#endif

/* SPDX-License-Identifier: MIT
 *
 * Between stall.c (every stall's segments) and the formats: a loop's stalls summed by culprit.
 */
#ifndef WHYSTALL_SUM_H
#define WHYSTALL_SUM_H

#include "verdict.h"

/* Fills in what l has but stalls and cuts; *p is for the causes' sentences. */
void loop_sum(const struct verdict_process *p, struct verdict_loop *l, uint64_t threshold);

#endif

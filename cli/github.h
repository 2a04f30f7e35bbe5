/* SPDX-License-Identifier: MIT
 *
 * What GitHub Actions shows of a check: annotations at the culprit's file and line ("workflow commands" on
 * stdout), and the job's summary ($GITHUB_STEP_SUMMARY).
 */
#ifndef WHYSTALL_GITHUB_H
#define WHYSTALL_GITHUB_H

#include "format.h"

void github_annotate(FILE *, const struct outcome *);
/* Appends to the job's summary, if there is one. 0 or -errno. */
int github_summarize(const struct outcome *, const struct verdict *, const struct format_options *);

#endif

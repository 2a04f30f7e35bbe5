/* SPDX-License-Identifier: MIT
 *
 * `run` for another command's sake (check): the command under the shim, recorded in the default place,
 * without a summary.
 */
#ifndef WHYSTALL_CAPTURE_RUN_H
#define WHYSTALL_CAPTURE_RUN_H

#include <limits.h>
#include <stdint.h>

struct capture_run {
	uint64_t threshold_ns;
	char record[PATH_MAX]; /* where it was recorded; "": nothing was, which has been said */
};

/* Returns the command's exit status as `run` does. */
int capture_run(struct capture_run *, int argc, char **argv);

#endif

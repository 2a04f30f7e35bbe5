/* SPDX-License-Identifier: MIT
 *
 * Which addresses a thread's major page faults were at: the kernel tells of each, once it is over, by a perf
 * event (perf_event_open(2), PERF_COUNT_SW_PAGE_FAULTS_MAJ), to whoever may have samples of running threads.
 */
#ifndef WHYSTALL_FAULTS_H
#define WHYSTALL_FAULTS_H

#include <stdint.h>
#include <sys/types.h>

struct faults;

/* NULL with errno. */
struct faults *faults_open(pid_t tid);
void faults_close(struct faults *); /* accepts NULL */
/* The address of the latest fault that was not told yet, 0: none came. */
uint64_t faults_latest(struct faults *);

#endif

/* SPDX-License-Identifier: MIT
 *
 * What kind of lock a futex belongs to, where the capture saw only the futex (the probe): the C library's
 * function that the waiter had called tells.
 */
#ifndef WHYSTALL_LOCK_KIND_H
#define WHYSTALL_LOCK_KIND_H

#include "observe.h"

/* Changes the kind (and gives a name) of each lock of kind LOCK_FUTEX for which a waiter's stack tells it. */
void lock_kinds_infer(struct observations *);

#endif

/* SPDX-License-Identifier: MIT
 *
 * The epoll instance that a thread's loop waits on, and who else waits on it (arena.h).
 */
#ifndef WHYSTALL_INSTANCE_H
#define WHYSTALL_INSTANCE_H

#include "shim.h"

/* The thread's loop waits on this descriptor (+ 1) from now on. */
void instance_take(struct self *, int32_t fd) HIDDEN;
/* It has been closed, maybe by another thread. */
bool instance_gone(const struct self *) HIDDEN;
/* The thread begins to wait. Returns the start of the tick that ends with this, 0: none does; *whose is the
 * tid of the thread whose tick it was, 0: this one's. */
uint64_t instance_enter(struct self *, uint32_t *whose) HIDDEN;
/* The thread's wait is over, and slot->tick_start set. false: others wait on, so it is no tick. */
bool instance_leave(struct self *) HIDDEN;
/* The thread has done with it. */
void instance_abandon(struct self *) HIDDEN;
/* The descriptor at this place is closed. */
void instance_close(uint32_t entry) HIDDEN;
void instances_clear(struct arena_proc *) HIDDEN;

#endif

/* SPDX-License-Identifier: MIT
 *
 * The line about a stall under way: redrawn in place on a terminal, one line once it is a second old
 * elsewhere.
 */
#ifndef WHYSTALL_TERMINAL_H
#define WHYSTALL_TERMINAL_H

struct watch;

void terminal_stall(struct watch *);
void terminal_clear(void);

#endif

/* SPDX-License-Identifier: MIT
 *
 * A record's ticks second by second, for the formats that draw them.
 */
#ifndef WHYSTALL_TICKS_H
#define WHYSTALL_TICKS_H

#include <stdint.h>

/* Those since the record's start, which store_load only sums: by loop, then second, then length. 0 or -errno.
 */
typedef void tick_visitor(void *closure, uint32_t loop, uint64_t second, uint32_t bucket, uint64_t count);
int store_ticks(const char *path, tick_visitor *, void *closure);

#endif

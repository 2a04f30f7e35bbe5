/* SPDX-License-Identifier: MIT
 *
 * Where and when a capture was made: what lets thousands of records lie in one database side by side.
 */
#ifndef WHYSTALL_ORIGIN_H
#define WHYSTALL_ORIGIN_H

#include "observe.h"

/* Fills run id, host, boot id, container id, service, start. Strings are interned; what is not known is NULL.
 */
void origin_fill(struct obs_capture *);

#endif

/* SPDX-License-Identifier: MIT
 *
 * The table of CPython layouts, and how a process' own offsets go over it (python_layout.h).
 */
#include <errno.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include "cli/interp/python_layout.h"
#include "cli/util.h"

static const struct python_layout rows[] = {
#include "python_offsets.def"
};

/* Larger than any structure of CPython; a published offset beyond it is nonsense. */
#define OFFSET_MAX (1u << 20)

const struct python_layout *python_layout_find(int minor, bool free_threaded)
{
	for (size_t i = 0; i < LENGTH(rows); i++)
		if (rows[i].minor == minor && rows[i].free_threaded == free_threaded)
			return &rows[i];
	return NULL;
}

const char *python_layout_versions(void)
{
	static char text[32];
	snprintf(text, sizeof(text), "3.%d to 3.%d", rows[0].minor, rows[LENGTH(rows) - 1].minor);
	return text;
}

int python_layout_publish(struct python_layout *layout, const unsigned char *debug)
{
	bool sane = !memcmp(debug, "xdebugpy", 8);
	uint64_t value;
	struct python_layout before = *layout;
#define FIELD(name)                                                          \
	if (layout->debug_##name >= 0) {                                     \
		memcpy(&value, debug + layout->debug_##name, sizeof(value)); \
		sane = sane && value < OFFSET_MAX;                           \
		if (sane)                                                    \
			layout->name = (int)value;                           \
	}
	PYTHON_DEBUG_FIELDS(FIELD)
#undef FIELD
	/* what is not published moves with its neighbour that is: they are declared together */
	layout->runtime_interpreters_main +=
		layout->runtime_interpreters_head - before.runtime_interpreters_head;
	layout->tstate_datastack_top += layout->tstate_datastack_chunk - before.tstate_datastack_chunk;
	return sane && layout->tstate_size >= 64 ? 0 : -EINVAL;
}

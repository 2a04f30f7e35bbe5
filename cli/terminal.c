/* SPDX-License-Identifier: MIT
 *
 * One line on stderr while a loop is stalled (terminal.h). The command writes there too: nothing is drawn for
 * stalls under half a second, and the line is erased as soon as the stall is over.
 */
#include "terminal.h"

#include <string.h>
#include <time.h>
#include <unistd.h>

#include "prose.h"
#include "util.h"
#include "watch.h"

#define SHOWN_AFTER_NS (NS / 2)
#define TOLD_AFTER_NS NS
#define REDRAW_NS (NS / 4)

static bool drawn;
static uint64_t drawn_at, told; /* told: start of the stall that was told off a terminal */

void terminal_clear(void)
{
	if (drawn && write(STDERR_FILENO, "\r\033[K", 4) < 0)
		return;
	drawn = false;
}

static void line_make(char *line, size_t size, uint64_t since, const char *what)
{
	char length[32], clock[16], clean[PROSE_MAX];
	time_t start = time(NULL) - (time_t)((now_ns() - since) / NS);
	struct tm tm;
	localtime_r(&start, &tm);
	strftime(clock, sizeof clock, "%H:%M:%S", &tm);
	snprintf(line, size, "%s loop stalled %s so far: %s", clock,
		 time_format(length, sizeof length, now_ns() - since),
		 prose_fit(clean, sizeof clean, what, 200, FIT_HEAD));
}

void terminal_stall(struct watch *w)
{
	char what[512], line[PROSE_MAX + 128], fit[PROSE_MAX];
	uint64_t now = now_ns(), since = watch_ongoing(w, what, sizeof what);
	bool terminal = isatty(STDERR_FILENO);
	if (!since || now - since < SHOWN_AFTER_NS) {
		terminal_clear();
		return;
	}
	if (!terminal) {
		if (since != told && now - since >= TOLD_AFTER_NS) {
			told = since;
			line_make(line, sizeof line, since, what);
			say("%s", line);
		}
		return;
	}
	if (drawn && now - drawn_at < REDRAW_NS)
		return;
	line_make(line, sizeof line, since, what);
	dprintf(STDERR_FILENO, "\r\033[K%s", prose_fit(fit, sizeof fit, line, 79, FIT_HEAD));
	drawn = true;
	drawn_at = now;
}

/* SPDX-License-Identifier: MIT
 *
 * The causes of a loop's stalls, ranked: who is to blame, why, and what to do. The figures stand in columns
 * at the right edge; what does not fit beside them goes to the next line, whole.
 */
#include <stdlib.h>
#include <string.h>

#include "text.h"

#define INDENT 12
#define CAUSES_SHOWN 5

struct figures {
	char total[32], share[16], stalls[32]; /* stalls: the number alone */
};

static void figures_make(struct figures *f, const struct verdict_cause *c)
{
	time_format(f->total, sizeof(f->total), c->ns);
	prose_percent(f->share, sizeof(f->share), c->share);
	count_format(f->stalls, sizeof(f->stalls), c->stalls);
}

static void widen(int *width, const char *s)
{
	if ((int)strlen(s) > *width)
		*width = strlen(s);
}

/* "in ThreadPoolExecutor-0_0, which held ... and was itself blocked in recvfrom from 127.0.0.1:5432" */
static void where_write(FILE *out, const struct verdict_cause *c, const struct verdict_loop *loop)
{
	char name[PROSE_MAX], state[PROSE_MAX];
	bool held = !strcmp(c->cause, "gil") || !strcmp(c->cause, "lock");
	if (!c->culprit.tid)
		return;
	bool shared = loop->seen->threads > 1; /* then any of its threads may be the loop's own */
	bool own = c->culprit.tid == loop->thread->tid || !held;
	if (shared && held)
		own = !c->hold_count;
	fprintf(out, "in %s", name_thread(name, sizeof(name), c->culprit.thread, c->culprit.tid));
	if (own)
		fputs(shared ? ", one of the loop's own" : ", the loop itself", out);
	if (held && c->holder_threads > 1)
		fprintf(out, " and %s",
			prose_count(name, sizeof(name), c->holder_threads - 1, "other thread"));
	bool lock = c->lock && !strcmp(c->cause, "lock");
	bool ends = lock && !own && c->lock->name && !strcmp(c->lock->name, LOCK_NAME_JOIN);
	if (ends)
		fputs(", whose end the loop waited for", out);
	else if (lock)
		fprintf(out, ", %s %s", own ? "waiting for" : "which held",
			name_lock(name, sizeof(name), c->lock));
	if (lock && !ends && c->lock_count > 1)
		fprintf(out, " and %s", prose_count(name, sizeof(name), c->lock_count - 1, "other lock"));
	if (c->syscall && !held)
		fprintf(out, ": %s", name_call(name, sizeof(name), c->syscall, c->target));
	if (held && c->holder_threads < 2 && (c->holder_run == RUN_BLOCKED || c->holder_run == RUN_RUNNABLE))
		fprintf(out, "%s was itself %s",
			ends   ? "; it"
			: lock ? " and"
			       : ", which",
			name_state(state, sizeof(state), c->holder_run, c->holder_syscall, c->holder_target));
}

/* The culprit beside the figures; what finds no room is written to `below`. Returns the columns used. */
static int culprit_write(const struct text *t, const struct culprit *c, int room, FILE *below)
{
	char function[PROSE_MAX], place[PROSE_MAX] = "", native[PROSE_MAX] = "";
	const char *name = c->function ? c->function : c->native;
	if (!name) {
		fputs("(not known)", t->out);
		return 11;
	}
	prose_fit(function, sizeof(function), name, room, FIT_TAIL);
	if (c->file)
		name_place(t, place, sizeof(place), c->file, c->line, NAME_MAX_COLUMNS);
	if (c->native && c->function)
		prose_fit(native, sizeof(native), c->native, NAME_MAX_COLUMNS, FIT_TAIL);
	text_paint(t, BOLD);
	fputs(function, t->out);
	text_paint(t, PLAIN);
	int at = prose_columns(function);
	if (*place && at + 2 + prose_columns(place) <= room) {
		fprintf(t->out, "  %s", place);
		at += 2 + prose_columns(place);
	} else if (*place) {
		fprintf(below, "%s ", place);
	}
	if (*native && at + 11 + prose_columns(native) <= room) {
		fprintf(t->out, " (native: %s)", native);
		at += 11 + prose_columns(native);
	} else if (*native) {
		fprintf(below, "(native: %s) ", native);
	}
	return at;
}

static void labelled(const struct text *t, const char *label, const char *sentence)
{
	if (!sentence || !*sentence)
		return;
	text_paint(t, DIM);
	fprintf(t->out, "   %-9s", label);
	text_paint(t, PLAIN);
	prose_wrap(t->out, t->columns, INDENT, INDENT, sentence);
}

static void fixed_write(const struct text *t, const struct verdict_cause *c)
{
	char stalled[64], p99[64], max[64], sentence[256];
	if (!c->fixed_known)
		return;
	time_format(p99, sizeof(p99), c->fixed_p99_ns);
	time_format(max, sizeof(max), c->fixed_max_ns);
	if (c->fixed_stalled_ns)
		snprintf(sentence, sizeof(sentence), "The loop would have stalled %s; p99 %s, max %s.",
			 time_format(stalled, sizeof(stalled), c->fixed_stalled_ns), p99, max);
	else
		snprintf(sentence, sizeof(sentence), "The loop would not have stalled; p99 %s, max %s.", p99,
			 max);
	labelled(t, "fixed", sentence);
}

static void cause_write(const struct text *t, const struct verdict_loop *loop, size_t i, const int width[3])
{
	const struct verdict_cause *c = &loop->causes.at[i];
	struct figures f;
	char *below = NULL;
	size_t size;
	FILE *more = open_memstream(&below, &size);
	int right = width[0] + 2 + width[1] + 2 + width[2] + (int)strlen(" stalls"),
	    room = t->columns - INDENT - 2 - right;
	if (!more)
		return;
	figures_make(&f, c);
	text_paint(t, RED);
	fprintf(t->out, "%-2zu %-8.8s ", i + 1, c->cause);
	text_paint(t, PLAIN);
	int at = culprit_write(t, &c->culprit, room, more);
	fprintf(t->out, "%*s  %*s  %*s  %*s %s\n", room - at, "", width[0], f.total, width[1], f.share,
		width[2], f.stalls, c->stalls == 1 ? "stall" : "stalls");
	where_write(more, c, loop);
	fclose(more);
	if (*below) {
		fprintf(t->out, "%*s", INDENT, "");
		prose_wrap(t->out, t->columns, INDENT, INDENT, below);
	}
	free(below);
	labelled(t, "why", c->why);
	labelled(t, "do", c->advice);
	fixed_write(t, c);
}

void text_causes(const struct text *t, const struct verdict_loop *loop)
{
	int width[3] = {0};
	size_t shown = 0, n = loop->causes.n;
	uint64_t rest = 0;
	/* the least ones are left out: those below 1 %, and those after the fifth */
	while (shown < n &&
	       (verbosity > 0 || !shown || (shown < CAUSES_SHOWN && loop->causes.at[shown].share >= 0.01)))
		shown++;
	for (size_t i = 0; i < shown; i++) {
		struct figures f;
		figures_make(&f, &loop->causes.at[i]);
		widen(&width[0], f.total);
		widen(&width[1], f.share);
		widen(&width[2], f.stalls);
	}
	for (size_t i = 0; i < shown; i++) {
		putc('\n', t->out);
		cause_write(t, loop, i, width);
	}
	for (size_t i = shown; i < n; i++)
		rest += loop->causes.at[i].ns;
	if (n > shown && rest * 100 >= loop->stalled_ns) {
		char total[32], count[64];
		putc('\n', t->out);
		text_say(t, 0, 3, "And %s, %s in all.",
			 prose_count(count, sizeof(count), n - shown, "lesser cause"),
			 time_format(total, sizeof(total), rest));
	}
}

/* SPDX-License-Identifier: MIT
 *
 * One stall: its parts in order of time, who had what the loop waited for, and where everybody was. In short,
 * for the worst one of a report, or in full, for --stall.
 */
#include <stdlib.h>
#include <string.h>

#include "text.h"

#define INDENT 11
#define FUNCTION_COLUMNS 30
#define HOLDER_FRAMES 8 /* in short */
#define LOOP_FRAMES 5
#define PARTS_SHOWN 4

struct shown {
	const struct frame *frame;
	int times; /* in a row: recursion */
};

static bool frame_is_native(const struct frame *f)
{
	return f->kind == FRAME_NATIVE || f->kind == FRAME_KERNEL;
}

/* In short, of the native frames only those inside the innermost Python one are of interest, and of the loop,
 * which is the victim, none. */
static bool frame_wanted(const struct frame *f, bool below, bool bare, bool full)
{
	if (full || !frame_is_native(f))
		return true;
	return !bare && !below && f->origin != ORIGIN_DISPATCH && f->origin != ORIGIN_EVAL;
}

/* The frames to print into out. Returns how many; *user is the index of the innermost of the user's own, or
 * -1. */
static int frames_choose(const struct text *t, uint32_t stack, bool victim, bool full, struct shown *out,
			 int *user)
{
	int n = 0, kept = 0;
	const uint32_t *ids = stack ? verdict_stack(t->seen, stack, &n) : NULL;
	bool python = false, below = false;
	*user = -1;
	for (int i = 0; i < n; i++)
		python |= !frame_is_native(verdict_frame(t->seen, ids[i]));
	for (int i = 0; i < n && kept < STACK_MAX; i++) {
		const struct frame *f = verdict_frame(t->seen, ids[i]),
				   *last = kept ? out[kept - 1].frame : NULL;
		bool wanted = frame_wanted(f, below, victim && python, full);
		below |= !frame_is_native(f);
		if (!wanted)
			continue;
		if (last && last->function == f->function && last->file == f->file &&
		    last->module == f->module && f->function) {
			out[kept - 1].times++;
			continue;
		}
		if (*user < 0 && f->origin == ORIGIN_USER && !frame_is_native(f))
			*user = kept;
		out[kept++] = (struct shown){f, 1};
	}
	return kept;
}

static void frame_write(const struct text *t, const struct shown *s)
{
	const struct frame *f = s->frame;
	char function[PROSE_MAX], place[PROSE_MAX] = "", times[32] = "";
	int room = t->columns - INDENT, column = FUNCTION_COLUMNS;
	if (s->times > 1)
		room -= snprintf(times, sizeof(times), " (%d times)", s->times);
	if (f->file && (!frame_is_native(f) || (f->origin == ORIGIN_USER && f->line > 0)))
		name_place(t, place, sizeof(place), f->file, f->line, room - column);
	else if (f->module)
		prose_fit(place, sizeof(place), f->module, room - column, FIT_TAIL);
	/* a long name goes on into what its place leaves free */
	room -= prose_columns(place) + 2;
	prose_fit(function, sizeof(function), f->function ? f->function : "?", room, FIT_TAIL);
	if (prose_columns(function) + 2 > column)
		column = prose_columns(function) + 2;
	fprintf(t->out, "%*s%s%*s", INDENT, "", function,
		*place || *times ? column - prose_columns(function) : 0, "");
	text_paint(t, DIM);
	fprintf(t->out, "%s%s\n", place, times);
	text_paint(t, PLAIN);
}

static void left_out(const struct text *t, int n)
{
	if (n > 0)
		fprintf(t->out, "%*s... %d more\n", INDENT, "", n);
}

/* Returns whether there was anything to write. */
static bool stack_write(const struct text *t, uint32_t stack, bool victim, bool full)
{
	struct shown *frames = xcalloc(STACK_MAX, sizeof(*frames));
	int user, n = frames_choose(t, stack, victim, full, frames, &user);
	int most = full ? n : victim ? LOOP_FRAMES : HOLDER_FRAMES, first = n <= most + 1 ? n : most;
	/* the user's own frame is shown, however deep in a library its callee is */
	bool apart = first < n && user >= first;
	if (apart)
		first -= 2;
	for (int i = 0; i < first; i++)
		frame_write(t, &frames[i]);
	if (apart) {
		left_out(t, user - first);
		frame_write(t, &frames[user]);
		first = user + 1;
	}
	left_out(t, n - first);
	free(frames);
	return n > 0;
}

static void holder_name(FILE *out, const struct holder *h, bool seconds)
{
	char name[PROSE_MAX], state[PROSE_MAX], had[32];
	fprintf(out, "%s", name_thread(name, sizeof(name), h->thread, h->tid));
	if (seconds)
		fprintf(out, " %s", time_format(had, sizeof(had), h->ns));
	if (*name_state(state, sizeof(state), h->run, h->syscall, h->target))
		fprintf(out, " (%s)", state);
}

/* Indices of the holders, the one with most seconds first. Owned by the caller. */
static size_t *holders_ranked(const struct segment *s)
{
	size_t *rank = xcalloc(s->holders.n, sizeof(*rank));
	for (size_t i = 0; i < s->holders.n; i++) {
		size_t j = i;
		for (; j > 0 && s->holders.at[rank[j - 1]].ns < s->holders.at[i].ns; j--)
			rank[j] = rank[j - 1];
		rank[j] = i;
	}
	return rank;
}

/* "gil, held by ThreadPoolExecutor-0_0 (running)" */
static void title_write(FILE *out, const struct segment *s, const size_t *rank, bool full)
{
	char name[PROSE_MAX], count[64];
	bool lock = !strcmp(s->cause, "lock");
	fputs(s->cause, out);
	if (s->syscall)
		fprintf(out, ", %s", name_call(name, sizeof(name), s->syscall, s->target));
	if (lock && s->lock) {
		/* the cause has said that it is a lock */
		name_lock(name, sizeof(name), s->lock);
		bool said = !strncmp(name, "a lock", 6);
		fprintf(out, "%s%s", said ? "" : ", ", said ? name + 6 : name);
	}
	if (!s->holders.n) {
		if (lock)
			fputs(", which nobody held", out);
		else if (!strcmp(s->cause, "gil"))
			fputs(", by whom is not known", out);
		return;
	}
	size_t shown = full || s->holders.n <= 3 ? s->holders.n : 2;
	fputs(", held by ", out);
	for (size_t i = 0; i < shown; i++) {
		fputs(!i ? "" : i + 1 < s->holders.n ? ", " : " and ", out);
		holder_name(out, &s->holders.at[rank[i]], s->holders.n > 1);
	}
	if (shown < s->holders.n)
		fprintf(out, " and %s",
			prose_count(count, sizeof(count), s->holders.n - shown, "other thread"));
}

static void holder_write(const struct text *t, const struct holder *h)
{
	char name[PROSE_MAX], had[32], longest[32], state[PROSE_MAX], waited[32];
	fprintf(t->out, "%*s", INDENT - 2, "");
	name_state(state, sizeof(state), h->run, h->syscall, h->target);
	text_say(t, INDENT - 2, INDENT, "%s had it %s, longest hold %s%s%s%s%s%s:",
		 name_thread(name, sizeof(name), h->thread, h->tid), time_format(had, sizeof(had), h->ns),
		 h->at_least ? "at least " : "", time_format(longest, sizeof(longest), h->longest_hold_ns),
		 *state ? ", " : "", state, h->runnable_ns > 0 ? "; without a CPU " : "",
		 h->runnable_ns > 0 ? time_format(waited, sizeof(waited), h->runnable_ns) : "");
	if (!stack_write(t, h->stack, false, true))
		fprintf(t->out, "%*sits stack could not be read\n", INDENT, "");
}

static void blame_write(const struct text *t, const struct culprit *c)
{
	char function[PROSE_MAX], place[PROSE_MAX] = "", native[PROSE_MAX] = "";
	if (!c->function && !c->native)
		return;
	prose_fit(function, sizeof(function), c->function ? c->function : c->native, NAME_MAX_COLUMNS,
		  FIT_TAIL);
	if (c->file)
		name_place(t, place, sizeof(place), c->file, c->line, NAME_MAX_COLUMNS);
	if (c->function && c->native)
		prose_fit(native, sizeof(native), c->native, NAME_MAX_COLUMNS, FIT_TAIL);
	fprintf(t->out, "%*s", INDENT, "");
	text_say(t, INDENT, INDENT, "to blame: %s %s%s%s%s", function, place, *native ? " (native: " : "",
		 native, *native ? ")" : "");
}

/* *loop_stack is where the loop was said to be last: it is not said twice in a row. */
static void segment_write(const struct text *t, const struct segment *s, bool full, uint32_t *loop_stack)
{
	char seconds[32], *title;
	size_t size, *rank = holders_ranked(s);
	FILE *out = open_memstream(&title, &size);
	if (!out)
		return;
	title_write(out, s, rank, full);
	fclose(out);
	int at = fprintf(t->out, "%*.16s  ", INDENT - 2, time_format(seconds, sizeof(seconds), s->ns));
	prose_wrap(t->out, t->columns, at, INDENT, title);
	free(title);
	if (full)
		blame_write(t, &s->culprit);
	if (full)
		for (size_t i = 0; i < s->holders.n; i++)
			holder_write(t, &s->holders.at[rank[i]]);
	else if (s->holders.n)
		stack_write(t, s->holders.at[rank[0]].stack, false, false);
	if (s->stack && (s->stack != *loop_stack || !s->holders.n)) {
		if (s->holders.n)
			fprintf(t->out, "%*sthe loop was delayed at\n", INDENT - (full ? 2 : 0), "");
		stack_write(t, s->stack, s->holders.n, full);
		*loop_stack = s->stack;
	}
	free(rank);
}

/* The segment so long that no more than PARTS_SHOWN are as long or longer: in short, the others are summed
 * up. */
static bool segment_matters(const struct verdict_stall *stall, const struct segment *s)
{
	size_t longer = 0;
	for (size_t i = 0; i < stall->segments.n; i++)
		longer += stall->segments.at[i].ns > s->ns ||
			  (stall->segments.at[i].ns == s->ns && &stall->segments.at[i] < s);
	return longer < PARTS_SHOWN && (longer == 0 || s->ns >= stall->ns / 20);
}

static void ready_write(FILE *out, const struct verdict_stall *stall)
{
	const struct obs_stall *seen = stall->seen;
	char count[64];
	if (seen->ongoing)
		fputs(" so far", out);
	if (seen->began_before)
		fputs("; it was under way when recording began", out);
	if (stall->mark)
		fprintf(out, ", in test %s", stall->mark);
	if (!seen->ongoing && seen->ready_after > 0)
		fprintf(out, "; %s %s ready when it ended",
			prose_count(count, sizeof(count), seen->ready_after, "descriptor"),
			seen->ready_after == 1 ? "was" : "were");
	fputc('.', out);
	if (seen->lost)
		fprintf(out, " %s %s lost meanwhile: what follows may not be all.",
			prose_count(count, sizeof(count), seen->lost, "event"),
			seen->lost == 1 ? "was" : "were");
}

void text_stall(const struct text *t, const struct verdict_stall *stall, bool full)
{
	char moment[64], seconds[32], *end, name[PROSE_MAX];
	size_t size, parts = 0;
	uint64_t rest = 0;
	uint32_t loop_stack = 0;
	FILE *out = open_memstream(&end, &size);
	if (!out)
		return;
	ready_write(out, stall);
	fclose(out);
	name_moment(moment, sizeof(moment), &t->seen->capture, stall->seen->start_ns);
	time_format(seconds, sizeof(seconds), stall->ns);
	text_paint(t, BOLD);
	if (full)
		text_say(t, 0, 0, "Stall #%u of the loop in %s: %s, %s%s", stall->seen->id,
			 name_thread(name, sizeof(name), stall->thread->name, stall->thread->tid), moment,
			 seconds, end);
	else
		text_say(t, 0, 0, "Worst stall, #%u: %s, %s%s", stall->seen->id, moment, seconds, end);
	text_paint(t, PLAIN);
	free(end);
	for (size_t i = 0; i < stall->segments.n; i++) {
		const struct segment *s = &stall->segments.at[i];
		if (full || segment_matters(stall, s)) {
			segment_write(t, s, full, &loop_stack);
		} else {
			rest += s->ns;
			parts++;
		}
	}
	if (parts) {
		int at = fprintf(t->out, "%*.16s  ", INDENT - 2, time_format(seconds, sizeof(seconds), rest));
		text_say(t, at, INDENT, "in %s", prose_count(name, sizeof(name), parts, "shorter part"));
	}
}

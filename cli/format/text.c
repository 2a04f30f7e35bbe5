/* SPDX-License-Identifier: MIT
 *
 * The report for people: verdict before evidence, plain text in 80 columns, silence about what is fine. This
 * file has the order of things; the parts are text_*.c, the names name.c.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "text.h"

#define LINES_SHOWN 8 /* of processes about which there is little to say */

void text_paint(const struct text *t, enum paint paint)
{
	static const char *const codes[] = {[PLAIN] = "", [BOLD] = "1", [RED] = "1;31", [DIM] = "2"};
	if (t->options->colour)
		fprintf(t->out, "\033[%sm", codes[paint]);
}

void text_say(const struct text *t, int at, int indent, const char *format, ...)
{
	char *s;
	va_list ap;
	va_start(ap, format);
	if (vasprintf(&s, format, ap) < 0)
		s = NULL;
	va_end(ap);
	prose_wrap(t->out, t->columns, at, indent, s ? s : "");
	free(s);
}

/* What a loop, or all of them, came to. */
struct total {
	size_t loops, sick, worst_pid;
	uint64_t stalls, stalled_ns, observed_ns, worst_ns;
};

static void total_add(struct total *sum, const struct verdict_process *p)
{
	for (size_t i = 0; i < p->loops.n; i++) {
		const struct verdict_loop *l = &p->loops.at[i];
		sum->loops++;
		sum->sick += l->stall_count > 0;
		sum->stalls += l->stall_count;
		sum->stalled_ns += l->stalled_ns;
		sum->observed_ns += l->observed_ns;
		if (l->stall_count && l->max_ns >= sum->worst_ns) {
			sum->worst_ns = l->max_ns;
			sum->worst_pid = p->seen->pid;
		}
	}
}

static struct total process_total(const struct verdict_process *p)
{
	struct total sum = {0};
	total_add(&sum, p);
	return sum;
}

/* "once: 0.41 s of 12.4 s (3 %)" or "7 times: 4.31 s of 12.4 s (35 %), worst 1.84 s" */
static char *stalled_format(char *buf, size_t size, const struct total *sum)
{
	char times[64], stalled[32], observed[32], share[32], worst[64] = "", longest[32];
	prose_count(times, sizeof(times), sum->stalls, "time");
	if (sum->stalls > 1)
		snprintf(worst, sizeof(worst), ", worst %s",
			 time_format(longest, sizeof(longest), sum->worst_ns));
	snprintf(buf, size, "%s: %s of %s (%s)%s", sum->stalls == 1 ? "once" : times,
		 time_format(stalled, sizeof(stalled), sum->stalled_ns),
		 time_format(observed, sizeof(observed), sum->observed_ns),
		 prose_percent(share, sizeof(share),
			       sum->observed_ns ? (double)sum->stalled_ns / sum->observed_ns : 0),
		 worst);
	return buf;
}

static uint64_t process_observed(const struct text *t, const struct verdict_process *p)
{
	const struct obs_capture *c = &t->seen->capture;
	uint64_t most = 0, end = p->seen->end_ns ? p->seen->end_ns : c->end_ns;
	for (size_t i = 0; i < p->loops.n; i++)
		if (p->loops.at[i].observed_ns > most)
			most = p->loops.at[i].observed_ns;
	return most ? most : end > p->seen->start_ns ? end - p->seen->start_ns : 0;
}

/* "whystall: uvicorn app:api, pid 4711, CPython 3.12.1, observed 12.4 s" */
static void head_write(const struct text *t, const struct verdict_process *p, const char *prefix)
{
	char command[PROSE_MAX * 2], shortened[PROSE_MAX], runtime[128], rest[256], observed[32];
	name_runtime(runtime, sizeof(runtime), p->seen);
	snprintf(rest, sizeof(rest), ", pid %d%s%s, observed %s", p->seen->pid, *runtime ? ", " : "", runtime,
		 time_format(observed, sizeof(observed), process_observed(t, p)));
	int room = t->columns - (int)strlen(prefix) - prose_columns(rest);
	name_process(command, sizeof(command), p->seen);
	prose_fit(shortened, sizeof(shortened), command, room > 12 ? room : 12, FIT_HEAD);
	fputs(prefix, t->out);
	text_say(t, strlen(prefix), 0, "%s%s", shortened, rest);
}

/* A loop that is its process's only one needs no name. */
static void healthy_write(const struct text *t, const struct verdict_loop *l, bool only)
{
	char threshold[32], ticks[64], name[PROSE_MAX], longest[32];
	time_format(threshold, sizeof(threshold), t->seen->capture.threshold_ns);
	prose_count(ticks, sizeof(ticks), l->seen->ticks, "tick");
	name_loop(name, sizeof(name), l);
	text_say(t, 0, 0, "No stall of %s or more%s%s; the longest of %s took %s.", threshold,
		 only ? "" : " in ", only ? "" : name, ticks,
		 time_format(longest, sizeof(longest), l->max_ns));
}

static const struct verdict_stall *loop_worst(const struct verdict_loop *l)
{
	const struct verdict_stall *worst = NULL;
	for (size_t i = 0; i < l->stalls.n; i++)
		if (!worst || l->stalls.at[i].ns > worst->ns)
			worst = &l->stalls.at[i];
	return worst;
}

static void loop_write(const struct text *t, const struct verdict_loop *l, bool with_stall)
{
	struct total sum = {.stalls = l->stall_count,
			    .stalled_ns = l->stalled_ns,
			    .observed_ns = l->observed_ns,
			    .worst_ns = l->max_ns};
	char name[PROSE_MAX], stalled[256], ticks[64], p50[32], p99[32], max[32], threshold[32];
	const struct verdict_stall *last = l->stalls.n ? &l->stalls.at[l->stalls.n - 1] : NULL;
	text_paint(t, BOLD);
	text_say(t, 0, 0, "The loop in %s stalled %s.", name_loop(name, sizeof(name), l),
		 stalled_format(stalled, sizeof(stalled), &sum));
	text_paint(t, PLAIN);
	text_say(t, 0, 0, "%s: p50 %s, p99 %s, max %s (a stall: %s or more).",
		 prose_count(ticks, sizeof(ticks), l->seen->ticks, "tick"),
		 time_format(p50, sizeof(p50), l->p50_ns), time_format(p99, sizeof(p99), l->p99_ns),
		 time_format(max, sizeof(max), l->max_ns),
		 time_format(threshold, sizeof(threshold), t->seen->capture.threshold_ns));
	if (last && last->seen->ongoing)
		text_say(t, 0, 0, "Stall #%u had not ended: %s so far.", last->seen->id,
			 time_format(max, sizeof(max), last->ns));
	text_causes(t, l);
	const struct verdict_stall *worst = loop_worst(l);
	if (worst && with_stall) {
		putc('\n', t->out);
		text_stall(t, worst, false);
	}
}

static bool gil_matters(const struct verdict_process *p)
{
	for (size_t l = 0; l < p->loops.n; l++)
		for (size_t c = 0; c < p->loops.at[l].causes.n; c++)
			if (!strcmp(p->loops.at[l].causes.at[c].cause, "gil") &&
			    (p->loops.at[l].causes.at[c].share >= 0.01 || verbosity > 0))
				return true;
	return false;
}

static int loop_order(const void *a, const void *b)
{
	const struct verdict_loop *x = *(const struct verdict_loop *const *)a;
	const struct verdict_loop *y = *(const struct verdict_loop *const *)b;
	if (x->stalled_ns != y->stalled_ns)
		return x->stalled_ns < y->stalled_ns ? 1 : -1;
	return x < y ? -1 : x > y;
}

/* A process with its loops, the worst first. Only the first loop's worst stall is shown, and only if asked
 * for. */
static void process_write(const struct text *t, const struct verdict_process *p, const char *prefix,
			  bool with_stall)
{
	struct total sum = process_total(p);
	const struct verdict_loop **loops = xcalloc(p->loops.n, sizeof(*loops));
	char stalled[256];
	for (size_t i = 0; i < p->loops.n; i++)
		loops[i] = &p->loops.at[i];
	qsort(loops, p->loops.n, sizeof(*loops), loop_order);
	head_write(t, p, prefix);
	if (p->seen->note)
		text_say(t, 0, 0, "%s", p->seen->note);
	if (sum.sick)
		putc('\n', t->out);
	if (sum.loops > 1 && sum.sick) {
		stalled_format(stalled, sizeof(stalled), &sum);
		if (sum.sick < sum.loops)
			text_say(t, 0, 0, "Of its %zu loops %zu stalled, %s.", sum.loops, sum.sick, stalled);
		else if (sum.loops == 2)
			text_say(t, 0, 0, "Both of its loops stalled, %s.", stalled);
		else
			text_say(t, 0, 0, "All %zu of its loops stalled, %s.", sum.loops, stalled);
	}
	for (size_t i = 0; i < p->loops.n; i++) {
		if (sum.loops > 1 && sum.sick)
			putc('\n', t->out);
		if (loops[i]->stall_count)
			loop_write(t, loops[i], with_stall && !i);
		else
			healthy_write(t, loops[i], sum.loops == 1);
	}
	if (gil_matters(p))
		text_gil(t, p);
	free(loops);
}

/* -1: not known of any thread */
static int64_t process_cpu(const struct verdict_process *p)
{
	int64_t cpu = -1;
	for (size_t i = 0; i < p->threads.n; i++)
		if (p->threads.at[i]->cpu_ns >= 0)
			cpu = (cpu < 0 ? 0 : cpu) + p->threads.at[i]->cpu_ns;
	return cpu;
}

static void plain_write(const struct text *t, const struct verdict_process *p)
{
	char command[PROSE_MAX * 2], name[PROSE_MAX], figure[32], ticks[64];
	uint64_t longest = 0, count = 0;
	int64_t cpu = process_cpu(p);
	for (size_t i = 0; i < p->loops.n; i++) {
		count += p->loops.at[i].seen->ticks;
		longest = p->loops.at[i].max_ns > longest ? p->loops.at[i].max_ns : longest;
	}
	name_command(command, sizeof(command), p->seen->command);
	prose_fit(name, sizeof(name), p->seen->role ? p->seen->role : command, 40, FIT_HEAD);
	if (p->loops.n)
		text_say(t, 0, 3, "pid %d (%s): no stall; the longest of %s took %s.%s%s", p->seen->pid, name,
			 prose_count(ticks, sizeof(ticks), count, "tick"),
			 time_format(figure, sizeof(figure), longest), p->seen->note ? " " : "",
			 p->seen->note ? p->seen->note : "");
	else
		text_say(t, 0, 3, "pid %d (%s): no loop%s%s%s.%s%s", p->seen->pid, name, cpu >= 0 ? ", " : "",
			 cpu >= 0 ? time_format(figure, sizeof(figure), cpu) : "", cpu >= 0 ? " of CPU" : "",
			 p->seen->note ? " " : "", p->seen->note ? p->seen->note : "");
}

/* All processes, in the order in which they are reported. */
struct listing {
	const struct verdict_process **at;
	size_t n, sick, looped;
};

static int process_rank(const struct verdict_process *p)
{
	struct total sum = process_total(p);
	return sum.sick ? 0 : sum.loops ? 1 : 2;
}

static int process_order(const void *a, const void *b)
{
	const struct verdict_process *x = *(const struct verdict_process *const *)a;
	const struct verdict_process *y = *(const struct verdict_process *const *)b;
	int rank = process_rank(x) - process_rank(y);
	uint64_t xs = process_total(x).stalled_ns, ys = process_total(y).stalled_ns;
	if (rank)
		return rank;
	if (xs != ys)
		return xs < ys ? 1 : -1;
	return x < y ? -1 : x > y;
}

static struct listing listing_make(const struct verdict *v)
{
	struct listing list = {.at = xcalloc(v->processes.n, sizeof(*list.at)), .n = v->processes.n};
	for (size_t i = 0; i < list.n; i++) {
		list.at[i] = &v->processes.at[i];
		list.sick += process_rank(list.at[i]) == 0;
		list.looped += process_rank(list.at[i]) < 2;
	}
	qsort(list.at, list.n, sizeof(*list.at), process_order);
	return list;
}

static void totals_write(const struct text *t, const struct listing *list)
{
	struct total sum = {0};
	char stalled[256];
	for (size_t i = 0; i < list->n; i++)
		total_add(&sum, list->at[i]);
	fputs(t->options->prefix, t->out);
	text_say(t, strlen(t->options->prefix), 0, "%zu of %zu processes with a loop stalled, %s in pid %zu.",
		 list->sick, list->looped, stalled_format(stalled, sizeof(stalled), &sum), sum.worst_pid);
}

/* The processes with their verdicts; returns how many of the list that was. */
static size_t verdicts_write(const struct text *t, const struct listing *list)
{
	const char *prefix = t->options->prefix;
	if (!list->n) {
		fputs(prefix, t->out);
		text_say(t, strlen(prefix), 0,
			 "no process was seen from inside, so nothing is known of its loops.");
		return 0;
	}
	if (list->sick > 1)
		totals_write(t, list);
	for (size_t i = 0; i < list->sick; i++) {
		if (list->sick > 1)
			putc('\n', t->out); /* the totals came first */
		process_write(t, list->at[i], list->sick > 1 ? "" : prefix, i == 0);
	}
	if (list->sick)
		return list->sick;
	process_write(t, list->at[0], prefix, false);
	if (!list->looped)
		text_say(t, 0, 0,
			 "No event loop was seen: no thread came back again and again to a readiness wait.");
	return 1;
}

/* A shell's short helpers, of which a wrapper script starts dozens, say nothing about a loop. */
static bool process_interests(const struct verdict_process *p)
{
	const char *runtime = p->seen->runtime;
	return p->loops.n || process_cpu(p) >= 100000000 || (runtime && strcmp(runtime, "native"));
}

static void others_write(const struct text *t, const struct listing *list, size_t from)
{
	size_t lines = 0, left = 0;
	if (from < list->n && list->sick)
		putc('\n', t->out);
	for (size_t i = from; i < list->n; i++) {
		bool room = lines < LINES_SHOWN && process_interests(list->at[i]);
		if (room || list->at[i]->seen->note || verbosity > 0) {
			plain_write(t, list->at[i]);
			lines++;
		} else {
			left++;
		}
	}
	if (left) {
		char count[64];
		count_format(count, sizeof(count), left);
		text_say(t, 0, 3, "%s%s other process%s without a stall.", lines ? "And " : "", count,
			 left == 1 ? "" : "es");
	}
}

static void losses_write(FILE *out, const struct obs_capture *c)
{
	char count[64];
	const char *and = "";
	if (c->lost_events) {
		fprintf(out, "%s lost", prose_count(count, sizeof(count), c->lost_events, "event"));
		and = ", ";
	}
	if (c->suppressed_stalls) {
		fprintf(out, "%s%s counted but not kept", and,
			prose_count(count, sizeof(count), c->suppressed_stalls, "stall"));
		and = ", ";
	}
	if (!*and)
		fputs("nothing lost", out);
	if (!c->complete)
		fputs("; it still grows or was never closed", out);
	fputc('.', out);
}

/* As a shell takes it: "~/x" for what is below the home directory, in quotes where it has to be. malloced. */
static char *path_short(const char *path)
{
	static const char safe[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789/._-+:,@%=";
	const char *home = getenv("HOME");
	size_t n = home ? strlen(home) : 0, size = strlen(path) + 1;
	char *clean = xcalloc(1, size), *out;
	prose_fit(clean, size, path, size, FIT_HEAD);
	if (clean[strspn(clean, safe)])
		out = xprintf("'%s'", clean);
	else if (n > 1 && !strncmp(clean, home, n) && clean[n] == '/')
		out = xprintf("~%s", clean + n);
	else
		out = xstrdup(clean);
	free(clean);
	return out;
}

/* The path is one word, to be copied: it is never broken, so a long one has a line of its own. */
static void record_write(const struct text *t)
{
	char *losses, *path = t->options->record ? path_short(t->options->record) : NULL;
	size_t size;
	FILE *out = open_memstream(&losses, &size);
	if (out) {
		losses_write(out, &t->seen->capture);
		fclose(out);
		if (!path)
			text_say(t, 0, 0, "Record: %s", losses);
		else if (7 + prose_columns(path) + 2 + prose_columns(losses) <= t->columns)
			fprintf(t->out, "Record %s, %s\n", path, losses);
		else
			fprintf(t->out, "Record %s\n   %s\n", path, losses);
		free(losses);
	}
	free(path);
}

void text_record(const struct text *t)
{
	char *path = t->options->record && !t->options->newest ? path_short(t->options->record) : NULL;
	fprintf(t->out, "%s%s\n", path ? " " : "", path ? path : "");
	free(path);
}

/* The next useful command. */
static void next_write(const struct text *t, const struct listing *list)
{
	const struct verdict_stall *worst = NULL;
	for (size_t i = 0; list->sick && i < list->at[0]->loops.n; i++) {
		const struct verdict_stall *s = loop_worst(&list->at[0]->loops.at[i]);
		if (s && (!worst || s->ns > worst->ns))
			worst = s;
	}
	if (!worst || !t->options->record)
		return;
	fprintf(t->out, "Try: whystall report --stall %u", worst->seen->id);
	text_record(t);
}

static void notes_write(const struct text *t)
{
	for (int i = 0; i < t->seen->capture.note_count; i++)
		text_say(t, 0, 3, "%s", t->seen->capture.notes[i]);
}

/* --stall N */
static void one_write(const struct text *t)
{
	for (size_t p = 0; p < t->verdict->processes.n; p++) {
		const struct verdict_process *process = &t->verdict->processes.at[p];
		for (size_t l = 0; l < process->loops.n; l++) {
			const struct verdict_loop *loop = &process->loops.at[l];
			for (size_t s = 0; s < loop->stalls.n; s++) {
				if (loop->stalls.at[s].seen->id != t->options->stall)
					continue;
				head_write(t, process, t->options->prefix);
				putc('\n', t->out);
				text_stall(t, &loop->stalls.at[s], true);
			}
		}
	}
}

static int text_write(FILE *out, const struct verdict *verdict, const struct format_options *options)
{
	int columns = options->columns < 60 ? 60 : options->columns > 100 ? 100 : options->columns;
	struct text t = {.out = out,
			 .verdict = verdict,
			 .seen = verdict->seen,
			 .options = options,
			 .columns = columns};
	struct listing list = listing_make(verdict);
	t.root = name_root(t.seen);
	if (options->stall) {
		one_write(&t);
	} else {
		size_t written = verdicts_write(&t, &list);
		others_write(&t, &list, written);
		if (list.sick)
			putc('\n', out);
		notes_write(&t);
		record_write(&t);
		next_write(&t, &list);
	}
	free(list.at);
	free(t.root);
	return fflush(out) || ferror(out) ? -(errno ? errno : EIO) : 0;
}

static const struct format text = {
	.name = "text",
	.help = "for people: the verdict, then the evidence",
	.use = FORMAT_REPORT | FORMAT_CHECK,
	.write = text_write,
	.check = text_check,
};
PART(format, format, text);

/* SPDX-License-Identifier: MIT
 *
 * One page to send to a colleague: the verdict, pictures of the time, the causes with their evidence, the
 * worst stalls with their stacks. It is a single file that loads nothing and runs nothing; a policy in its
 * head says so to the browser, should a name of the target's ever get past markup_text.
 */
#include "html.h"
#include "walk.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define LOOPS_SHOWN 20
#define CAUSES_SHOWN 20
#define STALLS_SHOWN 10

static const char style[] =
	":root{color-scheme:light dark;--fg:#1f2328;--dim:#656d76;--bg:#fff;--line:#d1d9e0;--box:#f6f8fa}\n"
	"@media(prefers-color-scheme:dark){:root{--fg:#e6edf3;--dim:#9198a1;--bg:#0d1117;--line:#3d444d;--"
	"box:#"
	"161b22}}\n"
	"body{font:15px/1.5 "
	"system-ui,sans-serif;color:var(--fg);background:var(--bg);max-width:68em;margin:2em "
	"auto;padding:0 1em}rect{shape-rendering:crispEdges}\n"
	"h1{font-size:1.4em}h2{font-size:1.15em;margin-top:2em;border-top:1px solid "
	"var(--line);padding-top:1em}\n"
	"h3{font-size:1em;margin:1.2em 0 .3em}.verdict{font-weight:600}.dim{color:var(--dim)}\n"
	"table{border-collapse:collapse;width:100%}th,td{text-align:left;vertical-align:top;padding:.35em "
	".6em;"
	"border-bottom:1px solid var(--line)}\n"
	"th.n,td.n{text-align:right}.n,.c{white-space:nowrap}code,pre{font:13px/1.45 ui-monospace,monospace}"
	"code{overflow-wrap:anywhere}\n"
	"pre{background:var(--box);padding:.8em;overflow-x:auto;border-radius:6px}summary{cursor:pointer;"
	"padding:"
	".2em 0}\n"
	"svg{display:block;width:100%;background:var(--box);border-radius:6px}.axis{display:flex;"
	"justify-content:space-between}\n"
	".tick{fill:var(--dim)}.mark{stroke:var(--fg);stroke-dasharray:6 4;stroke-width:1;vector-effect:"
	"non-scaling-stroke}\n"
	"i{display:inline-block;width:.75em;height:.75em;border-radius:2px;margin-right:.35em}\n"
	".gil{fill:#d1242f;background:#d1242f}.lock{fill:#e16f24;background:#e16f24}.cpu{fill:#218bff;"
	"background:"
	"#218bff}\n"
	".gc{fill:#a475f9;background:#a475f9}.syscall{fill:#2da44e;background:#2da44e}.runqueue{fill:#8c959f;"
	"background:#8c959f}\n"
	".fault{fill:#e85aad;background:#e85aad}.stopped{fill:#bf8700;background:#bf8700}.unknown{fill:#"
	"57606a;"
	"background:#57606a}\n";

void markup_text(FILE *out, const char *s, int columns)
{
	char clean[PROSE_MAX];
	for (const char *p = prose_fit(clean, sizeof clean, s, columns, FIT_HEAD); *p; p++) {
		if (*p == '&')
			fputs("&amp;", out);
		else if (*p == '<')
			fputs("&lt;", out);
		else if (*p == '>')
			fputs("&gt;", out);
		else if (*p == '"')
			fputs("&quot;", out);
		else if (*p == '\'')
			fputs("&#39;", out);
		else
			putc(*p, out);
	}
}

/* What the text report writes, after its first lines, which are said already. */
static void preformatted(const struct text *t, int said, void (*write)(const struct text *, const void *),
			 const void *what)
{
	char *text, *rest, *line;
	size_t size;
	struct format_options plain = {.columns = 100, .prefix = ""};
	struct text to = *t;
	to.options = &plain;
	to.columns = plain.columns;
	to.out = open_memstream(&text, &size);
	if (!to.out)
		return;
	write(&to, what);
	fclose(to.out);
	fputs("<pre>", t->out);
	for (rest = text + strspn(text, "\n"); (line = strsep(&rest, "\n"));) {
		if (said-- > 0)
			continue;
		markup_text(t->out, line, 200);
		if (rest && *rest)
			putc('\n', t->out);
	}
	fputs("</pre>\n", t->out);
	free(text);
}

static void culprit_write(const struct text *t, const struct culprit *c)
{
	char place[PROSE_MAX], thread[PROSE_MAX];
	fputs("<code>", t->out);
	markup_text(t->out, c->function ? c->function : c->native ? c->native : "(not known)", 120);
	if (c->file) {
		fputs("</code> <code class=\"dim\">", t->out);
		markup_text(t->out, name_place(t, place, sizeof place, c->file, c->line, 80), 80);
	}
	fputs("</code>", t->out);
	if (c->function && c->native) {
		fputs(" native <code>", t->out);
		markup_text(t->out, c->native, 80);
		fputs("</code>", t->out);
	}
	if (c->tid) {
		fputs(" <span class=\"dim\">in ", t->out);
		markup_text(t->out, name_thread(thread, sizeof thread, c->thread, c->tid), 80);
		fputs("</span>", t->out);
	}
}

static void cause_write(const struct text *t, const struct verdict_cause *c)
{
	char total[32], worst[32], share[32], p99[32];
	fprintf(t->out, "<tr><td class=\"c\"><i class=\"%s\"></i>%s</td><td>", c->cause, c->cause);
	culprit_write(t, &c->culprit);
	fputs("<br>", t->out);
	markup_text(t->out, c->why ? c->why : "", 600);
	if (c->advice) {
		fputs("<br><b>", t->out);
		markup_text(t->out, c->advice, 600);
		fputs("</b>", t->out);
	}
	if (c->fixed_known)
		fprintf(t->out,
			"<br><span class=\"dim\">Without it the loop would have stalled %s; p99 %s.</span>",
			time_format(total, sizeof total, c->fixed_stalled_ns),
			time_format(p99, sizeof p99, c->fixed_p99_ns));
	fprintf(t->out, "</td><td class=\"n\">%s</td><td class=\"n\">%s</td><td class=\"n\">%u</td>",
		time_format(total, sizeof total, c->ns), prose_percent(share, sizeof share, c->share),
		c->stalls);
	fprintf(t->out, "<td class=\"n\">%s</td></tr>\n", time_format(worst, sizeof worst, c->worst_ns));
}

static void causes_write(const struct text *t, const struct verdict_loop *l)
{
	size_t n = 0;
	while (n < l->causes.n && n < CAUSES_SHOWN && (!n || l->causes.at[n].share >= 0.01))
		n++;
	fputs("<h3>Causes</h3>\n<table><tr><th>cause</th><th>who is to blame</th><th class=\"n\">stalled</th>"
	      "<th class=\"n\">share</th><th class=\"n\">stalls</th><th class=\"n\">worst</th></tr>\n",
	      t->out);
	for (size_t i = 0; i < n; i++)
		cause_write(t, &l->causes.at[i]);
	fputs("</table>\n", t->out);
	if (n < l->causes.n)
		fprintf(t->out, "<p class=\"dim\">%zu lesser not shown.</p>\n", l->causes.n - n);
}

static void stall_in_text(const struct text *t, const void *stall)
{
	text_stall(t, stall, t->options->stall != 0);
}

static void gil_in_text(const struct text *t, const void *process)
{
	text_gil(t, process);
}

static int stall_order(const void *a, const void *b)
{
	const struct verdict_stall *x = *(const struct verdict_stall *const *)a,
				   *y = *(const struct verdict_stall *const *)b;
	return x->ns > y->ns ? -1 : x->ns < y->ns ? 1 : x->seen->id > y->seen->id ? 1 : -1;
}

static void stalls_write(const struct text *t, const struct verdict_loop *l)
{
	const struct verdict_stall **all = xcalloc(l->stalls.n, sizeof *all);
	char moment[64], ns[32];
	size_t n = 0;
	for (size_t i = 0; i < l->stalls.n; i++)
		if (!t->options->stall || l->stalls.at[i].seen->id == t->options->stall)
			all[n++] = &l->stalls.at[i];
	qsort(all, n, sizeof *all, stall_order);
	fprintf(t->out, "<h3>%s</h3>\n", t->options->stall ? "Stall" : "Worst stalls");
	for (size_t i = 0; i < n && i < STALLS_SHOWN; i++) {
		const struct segment *worst = all[i]->segments.at;
		for (size_t k = 1; k < all[i]->segments.n; k++)
			if (all[i]->segments.at[k].ns > worst->ns)
				worst = &all[i]->segments.at[k];
		fprintf(t->out, "<details%s><summary>#%u at %s, %s", i ? "" : " open", all[i]->seen->id,
			name_moment(moment, sizeof moment, &t->seen->capture, all[i]->seen->start_ns),
			time_format(ns, sizeof ns, all[i]->ns));
		if (all[i]->segments.n) {
			fprintf(t->out, ": <i class=\"%s\"></i>%s ", worst->cause, worst->cause);
			culprit_write(t, &worst->culprit);
		}
		fputs("</summary>\n", t->out);
		preformatted(t, 1, stall_in_text, all[i]);
		fputs("</details>\n", t->out);
	}
	free(all);
}

static void loop_write(const struct text *t, const struct verdict_process *p, const struct verdict_loop *l)
{
	char text[PROSE_MAX * 2], count[64], a[32], b[32], c[32], d[32];
	fputs("<h2>", t->out);
	markup_text(t->out, name_command(text, sizeof text, p->seen->command), 200);
	fprintf(t->out, " <span class=\"dim\">pid %d", p->seen->pid);
	if (*name_runtime(text, sizeof text, p->seen)) {
		fputs(", ", t->out);
		markup_text(t->out, text, 60);
	}
	fputs("</span></h2>\n<p class=\"verdict\">The loop in ", t->out);
	markup_text(t->out, name_loop(text, sizeof text, l), 120);
	if (l->stall_count)
		fprintf(t->out, " stalled %s: %s of %s (%s), worst %s.</p>\n",
			prose_count(count, sizeof count, l->stall_count, "time"),
			time_format(a, sizeof a, l->stalled_ns), time_format(b, sizeof b, l->observed_ns),
			prose_percent(c, sizeof c,
				      l->observed_ns ? (double)l->stalled_ns / (double)l->observed_ns : 0),
			time_format(d, sizeof d, l->max_ns));
	else
		fprintf(t->out, " had no stall in %s.</p>\n", time_format(b, sizeof b, l->observed_ns));
	fprintf(t->out, "<p>%s: p50 %s, p99 %s, longest %s",
		prose_count(count, sizeof count, l->seen->ticks, "tick"), time_format(a, sizeof a, l->p50_ns),
		time_format(b, sizeof b, l->p99_ns), time_format(c, sizeof c, l->max_ns));
	fprintf(t->out, " (a stall: %s or more).</p>\n",
		time_format(d, sizeof d, t->seen->capture.threshold_ns));
	html_charts(t, l);
	if (l->causes.n && !t->options->stall)
		causes_write(t, l);
	if (l->stalls.n)
		stalls_write(t, l);
}

static bool has_stall(const struct verdict_loop *l, uint32_t id)
{
	for (size_t i = 0; i < l->stalls.n; i++)
		if (l->stalls.at[i].seen->id == id)
			return true;
	return !id;
}

/* The worst first; a process's GIL after its first loop. */
static void loops_write(const struct text *t)
{
	loop_places_t places;
	size_t shown = 0;
	loops_ranked(t->verdict, &places);
	for (size_t i = 0; i < places.n && shown < LOOPS_SHOWN; i++) {
		const struct verdict_process *p = places.at[i].process;
		const struct verdict_loop *l = places.at[i].loop;
		if (!has_stall(l, t->options->stall))
			continue;
		shown++;
		loop_write(t, p, l);
		if (l == &p->loops.at[0] && !t->options->stall && l->stall_count && verdict_python(p)) {
			fputs("<h3>Who had the GIL</h3>\n", t->out);
			preformatted(t, 0, gil_in_text, p);
		}
	}
	if (!places.n)
		fputs("<p class=\"verdict\">No event loop was seen.</p>\n", t->out);
	if (places.n > shown && !t->options->stall)
		fprintf(t->out, "<p class=\"dim\">%zu other loops, stalled less, are not shown.</p>\n",
			places.n - shown);
	vec_free(&places);
}

static void foot_write(const struct text *t)
{
	const struct obs_capture *c = &t->seen->capture;
	char count[64];
	fputs("<h2>This record</h2>\n<p>", t->out);
	markup_text(t->out, c->started ? c->started : "", 60);
	fputs(" on ", t->out);
	markup_text(t->out, c->host ? c->host : "a host not known", 120);
	fprintf(t->out, "; %zu process%s", t->verdict->processes.n, t->verdict->processes.n == 1 ? "" : "es");
	if (c->lost_events)
		fprintf(t->out, "; %s lost", prose_count(count, sizeof count, c->lost_events, "event"));
	if (c->suppressed_stalls)
		fprintf(t->out, "; %s counted but not kept",
			prose_count(count, sizeof count, c->suppressed_stalls, "stall"));
	fprintf(t->out, "%s.</p>\n", c->complete ? "" : "; it still grows or was never closed");
	for (int i = 0; i < c->note_count; i++) {
		fputs("<p>", t->out);
		markup_text(t->out, c->notes[i], 600);
		fputs("</p>\n", t->out);
	}
	fputs("<p class=\"dim\">whystall " VERSION "</p>\n", t->out);
}

static int html_write(FILE *out, const struct verdict *v, const struct format_options *options)
{
	struct text t = {.out = out, .verdict = v, .seen = v->seen, .options = options, .columns = 100};
	t.root = name_root(v->seen);
	fprintf(out,
		"<!DOCTYPE html>\n<html lang=\"en\"><head><meta charset=\"utf-8\">\n"
		"<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src "
		"'unsafe-inline'\">\n"
		"<meta name=\"viewport\" content=\"width=device-width\">\n<title>whystall</title>\n"
		"<style>\n%s</style></head><body>\n<h1>Why the event loop stalled</h1>\n",
		style);
	loops_write(&t);
	foot_write(&t);
	fputs("</body></html>\n", out);
	free(t.root);
	return fflush(out) || ferror(out) ? -(errno ? errno : EIO) : 0;
}

static const struct format html = {.name = "html",
				   .help = "one page for a browser, that loads and runs nothing",
				   .use = FORMAT_REPORT,
				   .write = html_write};
PART(format, format, html);

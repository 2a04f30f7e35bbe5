/* SPDX-License-Identifier: MIT
 *
 * The HTML report's pictures (inline SVG), as wide as the page whatever their time span: how much of each
 * slice of the time was stalled, by cause; and the longest tick of each second, on a logarithmic scale.
 */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "../budget.h"
#include "../ticks.h"
#include "html.h"

#define SLICES 400
#define WIDTH 1000.0
#define HEIGHT 100.0
#define SHORTEST_NS 100000.0 /* the bottom of the logarithmic scale */

struct chart {
	const struct text *text;
	const struct verdict_loop *loop;
	uint64_t start_ns, span_ns;
	uint64_t stalled[SLICES][CAUSE_WORDS], longest[SLICES];
};

static size_t slice_at(const struct chart *c, uint64_t ns)
{
	uint64_t at = ns > c->start_ns ? ns - c->start_ns : 0;
	size_t slice = (size_t)((double)at / (double)c->span_ns * SLICES);
	return slice < SLICES ? slice : SLICES - 1;
}

static uint64_t slice_begin(const struct chart *c, size_t slice)
{
	return c->start_ns + (uint64_t)((double)c->span_ns * (double)slice / SLICES);
}

static void segment_add(struct chart *c, const struct segment *s)
{
	int cause = 0;
	while (cause < CAUSE_WORDS - 1 && strcmp(cause_words[cause], s->cause))
		cause++;
	uint64_t end = s->start_ns + s->ns;
	for (size_t i = slice_at(c, s->start_ns); i < SLICES; i++) {
		uint64_t from = slice_begin(c, i), to = slice_begin(c, i + 1);
		from = from > s->start_ns ? from : s->start_ns;
		to = to < end ? to : end;
		if (to > from)
			c->stalled[i][cause] += to - from;
		if (slice_begin(c, i + 1) >= end)
			break;
	}
}

static void axis_write(const struct chart *c)
{
	FILE *out = c->text->out;
	char moment[64];
	fputs("<div class=\"axis dim\">", out);
	for (unsigned i = 0; i <= 4; i++)
		fprintf(out, "<span>%s</span>",
			name_moment(moment, sizeof moment, &c->text->seen->capture,
				    c->start_ns + c->span_ns / 4 * i));
	fputs("</div>\n", out);
}

static void rect_write(FILE *out, const char *class, double x, double width, double y, double height)
{
	fprintf(out, "<rect class=\"%s\" x=\"%.1f\" y=\"%.1f\" width=\"%.1f\" height=\"%.1f\"/>", class, x, y,
		width, height);
}

static void stalled_chart(struct chart *c)
{
	FILE *out = c->text->out;
	uint64_t sums[CAUSE_WORDS] = {0};
	char time[32], moment[64];
	for (size_t i = 0; i < c->loop->stalls.n; i++)
		for (size_t k = 0; k < c->loop->stalls.at[i].segments.n; k++)
			segment_add(c, &c->loop->stalls.at[i].segments.at[k]);
	fputs("<h3>Stalled time by cause</h3>\n<svg viewBox=\"0 0 1000 100\" height=\"100\" "
	      "preserveAspectRatio=\"none\" role=\"img\" aria-label=\"stalled time by cause\">\n",
	      out);
	for (size_t i = 0; i < SLICES; i++) {
		double slice = (double)(slice_begin(c, i + 1) - slice_begin(c, i)), y = HEIGHT;
		uint64_t all = 0;
		for (int k = 0; k < CAUSE_WORDS; k++)
			all += c->stalled[i][k];
		if (!all)
			continue;
		fprintf(out, "<g><title>%s: stalled %s</title>",
			name_moment(moment, sizeof moment, &c->text->seen->capture, slice_begin(c, i)),
			time_format(time, sizeof time, all));
		for (int k = 0; k < CAUSE_WORDS; k++) {
			double height = slice > 0 ? (double)c->stalled[i][k] / slice * HEIGHT : 0;
			sums[k] += c->stalled[i][k];
			if (height < 0.05)
				continue;
			y -= height;
			rect_write(out, cause_words[k], (double)i * WIDTH / SLICES, WIDTH / SLICES, y,
				   height);
		}
		fputs("</g>\n", out);
	}
	fputs("</svg>\n", out);
	axis_write(c);
	fputs("<p>", out);
	for (int k = 0; k < CAUSE_WORDS; k++)
		if (sums[k])
			fprintf(out, "<i class=\"%s\"></i>%s %s &nbsp; ", cause_words[k], cause_words[k],
				time_format(time, sizeof time, sums[k]));
	fputs("</p>\n", out);
}

static void tick_visit(void *closure, uint32_t loop, uint64_t second, uint32_t bucket, uint64_t count)
{
	struct chart *c = closure;
	uint64_t ns = c->text->seen->capture.start_ns + second * NS;
	if (loop != c->loop->seen->id || !count || ns + NS < c->start_ns)
		return;
	size_t first = slice_at(c, ns), last = slice_at(c, ns + NS);
	last = last > first ? last - 1 : last;
	for (size_t i = first; i <= last; i++)
		if (tick_bucket_ns(bucket) > c->longest[i])
			c->longest[i] = tick_bucket_ns(bucket);
}

static double log_height(const struct chart *c, uint64_t ns)
{
	double top = log10((double)c->loop->max_ns * 1.1 / SHORTEST_NS), at = log10((double)ns / SHORTEST_NS);
	return at <= 0 || top <= 0 ? 0 : at / top * HEIGHT;
}

static void ticks_chart(struct chart *c)
{
	FILE *out = c->text->out;
	char time[32], moment[64];
	uint64_t threshold = c->text->seen->capture.threshold_ns;
	if (store_ticks(c->text->options->record, tick_visit, c))
		return;
	fputs("<h3>Longest tick of each second, logarithmic</h3>\n<svg viewBox=\"0 0 1000 100\" "
	      "height=\"100\" "
	      "preserveAspectRatio=\"none\" role=\"img\" aria-label=\"longest tick of each second\">\n",
	      out);
	for (size_t i = 0, to; i < SLICES; i = to) {
		for (to = i + 1; to < SLICES && c->longest[to] == c->longest[i];)
			to++;
		double height = log_height(c, c->longest[i]);
		if (height < 0.5)
			continue;
		fprintf(out, "<g><title>%s: %s</title>",
			name_moment(moment, sizeof moment, &c->text->seen->capture, slice_begin(c, i)),
			time_format(time, sizeof time, c->longest[i]));
		rect_write(out, "tick", (double)i * WIDTH / SLICES, (double)(to - i) * WIDTH / SLICES,
			   HEIGHT - height, height);
		fputs("</g>\n", out);
	}
	double mark = HEIGHT - log_height(c, threshold);
	if (mark > 0)
		fprintf(out,
			"<line class=\"mark\" x1=\"0\" x2=\"1000\" y1=\"%.1f\" y2=\"%.1f\"><title>threshold "
			"%s</title></line>\n",
			mark, mark, time_format(time, sizeof time, threshold));
	fputs("</svg>\n", out);
	axis_write(c);
}

void html_charts(const struct text *t, const struct verdict_loop *l)
{
	if (l->seen->last_ns <= l->seen->first_ns)
		return;
	struct chart *c = xcalloc(1, sizeof *c);
	c->text = t;
	c->loop = l;
	c->start_ns = l->seen->first_ns;
	c->span_ns = l->seen->last_ns - l->seen->first_ns;
	if (l->stalls.n)
		stalled_chart(c);
	if (t->options->record && c->span_ns >= 10 * NS) /* it has a bar a second */
		ticks_chart(c);
	free(c);
}

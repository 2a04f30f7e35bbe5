/* SPDX-License-Identifier: MIT
 *
 * A record that grows, read again and again at a cost that does not grow with it (store.h). It rests on the
 * order in which a capture writes: a snapshot that has a stall has all of lower ids, one that has a stall's
 * end has all that belongs to it, and one that has ticks of a second has all ticks of the seconds before.
 */
#include <stdlib.h>
#include <string.h>

#include "store_read.h"

#define BATCH 1000u /* stalls at once, so that a large record takes little memory */

char *follow_rows(const struct store_follow *f, enum table_id id)
{
	const char *key = id == TABLE_STALL ? "id" : "stall";
	uint32_t low = f ? f->settled + 1 : 0;
	char *rows = NULL;
	size_t size;

	if (!f)
		return xstrdup("");
	switch (id) {
	case TABLE_TICKS: /* loop by loop: that is the order of its key */
		return xprintf(" WHERE loop IN (SELECT id FROM loop) AND second >= %llu",
			       (unsigned long long)f->second);
	case TABLE_FRAME:
		return xprintf(" WHERE id > %u", f->frames);
	case TABLE_STACK:
		return xprintf(" WHERE id > %u", f->stacks);
	case TABLE_STACK_FRAME:
		return xprintf(" WHERE stack > %u", f->stacks);
	case TABLE_STALL:
	case TABLE_WAIT:
	case TABLE_HOLD:
	case TABLE_SAMPLE:
		break;
	default:
		return xstrdup("");
	}
	FILE *out = open_memstream(&rows, &size);
	if (!out)
		return xstrdup("");
	for (size_t i = 0; i < f->open.n; i++)
		low = f->open.at[i] < low ? f->open.at[i] : low;
	fprintf(out, " WHERE %s >= %u AND %s <= %u AND (%s > %u OR %s IN (0", key, low, key, f->until, key,
		f->settled, key);
	for (size_t i = 0; i < f->open.n; i++)
		fprintf(out, ", %u", f->open.at[i]);
	fputs("))", out);
	fclose(out);
	return rows;
}

void follow_ticks(struct store_follow *f, uint32_t loop, uint64_t second, uint32_t bucket, uint64_t count)
{
	struct tick_sum *sum = NULL;

	for (size_t i = f->ticks.n; i-- > 0 && !sum;)
		if (f->ticks.at[i].loop == loop)
			sum = &f->ticks.at[i];
	if (!sum) {
		sum = vec_push(&f->ticks);
		sum->loop = loop;
	}
	if (second > sum->second) {
		for (unsigned b = 0; b < TICK_BUCKETS; b++)
			sum->count[b] += sum->latest[b];
		memset(sum->latest, 0, sizeof(sum->latest));
		sum->second = second;
	}
	sum->latest[bucket] += count;
}

/* What was read before and may have changed since is forgotten. */
static void follow_begin(struct store_follow *f)
{
	struct observations kept = {.frames = f->seen.frames,
				    .stack_frames = f->seen.stack_frames,
				    .stack_begin = f->seen.stack_begin,
				    .stack_cut = f->seen.stack_cut};

	memset(&f->seen.frames, 0, sizeof(f->seen.frames));
	memset(&f->seen.stack_frames, 0, sizeof(f->seen.stack_frames));
	memset(&f->seen.stack_begin, 0, sizeof(f->seen.stack_begin));
	memset(&f->seen.stack_cut, 0, sizeof(f->seen.stack_cut));
	observations_free(&f->seen);
	f->seen = kept;
	f->frames = (uint32_t)kept.frames.n;
	f->stacks = (uint32_t)kept.stack_cut.n;
	for (size_t i = 0; i < f->ticks.n; i++)
		if (f->ticks.at[i].second == f->second)
			memset(f->ticks.at[i].latest, 0, sizeof(f->ticks.at[i].latest));
}

static void follow_end(struct store_follow *f)
{
	struct observations *o = &f->seen;

	for (size_t i = 0; i < f->ticks.n; i++) {
		struct tick_sum *sum = &f->ticks.at[i];
		f->second = sum->second > f->second ? sum->second : f->second;
		for (size_t k = 0; k < o->loops.n; k++)
			for (unsigned b = 0; b < TICK_BUCKETS && o->loops.at[k].id == sum->loop; b++)
				o->loops.at[k].count[b] = sum->count[b] + sum->latest[b];
	}
	f->settled = f->until;
	f->open.n = 0;
	for (size_t i = 0; i < o->stalls.n; i++)
		if (stall_under_way(o, &o->stalls.at[i]))
			*vec_push(&f->open) = o->stalls.at[i].id;
}

static int follow_read(struct load *l)
{
	struct store_follow *f = l->follow;
	int64_t last = 0;
	int err = load_number(l, "SELECT coalesce(max(id), 0) FROM stall", &last);

	f->until = last > f->settled && last <= (int64_t)UINT32_MAX ? (uint32_t)last : f->settled;
	f->more = f->until - f->settled > BATCH;
	if (f->more)
		f->until = f->settled + BATCH;
	return err ? err : load_all(l);
}

int store_follow(struct store_follow *f, const char *path, char *why, size_t why_size)
{
	struct load l = {.out = &f->seen, .path = path, .why = why, .why_size = why_size, .follow = f};

	follow_begin(f);
	int err = load_file(&l, follow_read);
	if (err) { /* what stays is read anew, what was had is not had twice */
		vec_free(&l.notes);
		observations_free(&f->seen);
		vec_free(&f->ticks);
		f->second = 0;
		return err;
	}
	load_finish(&l);
	follow_end(f);
	return 0;
}

void store_follow_free(struct store_follow *f)
{
	observations_free(&f->seen);
	vec_free(&f->ticks);
	vec_free(&f->open);
	memset(f, 0, sizeof(*f));
}

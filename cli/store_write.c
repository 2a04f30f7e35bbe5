/* SPDX-License-Identifier: MIT
 *
 * Filling a record while a capture runs: one transaction from commit to commit, in WAL mode, so that readers
 * in other processes neither wait nor make us wait. A row that no reader would accept (row_fault) is refused
 * alone, with -EINVAL: a clock that misbehaved must not cost the record.
 */
#include "store_write.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

static const char *const extra_sql[EXTRA_COUNT] = {
	[CLEAR_WAITS] = "DELETE FROM wait WHERE stall = ?",
	[CLEAR_HOLDS] = "DELETE FROM hold WHERE stall = ?",
	[CLEAR_SAMPLES] = "DELETE FROM sample WHERE stall = ?",
	[CLEAR_STALL] = "DELETE FROM stall WHERE id = ?",
	[CLEAR_NOTES] = "DELETE FROM note",
	[STAMP] = "UPDATE capture SET end_ns = ?",
};

/* Runs a bound statement that returns no rows. */
static int store_step(struct store *s, sqlite3_stmt *stmt)
{
	int rc = sqlite3_step(stmt);

	sqlite3_reset(stmt);
	return rc == SQLITE_DONE || rc == SQLITE_ROW ? 0 : store_fail_rc(s, rc);
}

static int store_ready(struct store *s, sqlite3_stmt **stmt, const char *sql)
{
	if (s->error)
		return -s->error_number;
	if (!*stmt) {
		int rc = sqlite3_prepare_v3(s->db, sql, -1, SQLITE_PREPARE_PERSISTENT, stmt, NULL);
		if (rc != SQLITE_OK)
			return store_fail_rc(s, rc);
	}
	return sqlite3_get_autocommit(s->db) ? store_exec(s, "BEGIN IMMEDIATE") : 0;
}

/* INSERT of all columns; ticks add up. */
static int store_ready_put(struct store *s, enum table_id id)
{
	const struct table *t = &tables[id];
	char sql[256];

	int n = snprintf(sql, sizeof(sql), "INSERT %sINTO %s VALUES(?",
			 id == TABLE_TICKS ? "" : "OR REPLACE ", t->name);
	for (int i = 1; i < t->n; i++)
		n += snprintf(sql + n, sizeof(sql) - (size_t)n, ",?");
	snprintf(sql + n, sizeof(sql) - (size_t)n, ")%s",
		 id == TABLE_TICKS ? " ON CONFLICT DO UPDATE SET count = count + excluded.count" : "");
	return store_ready(s, &s->put[id], sql);
}

static void bind_text(sqlite3_stmt *stmt, int i, const char *s, bool nullable)
{
	s = intern_text(s, s ? strlen(s) : 0);
	if (!s && nullable)
		sqlite3_bind_null(stmt, i);
	else
		sqlite3_bind_text(stmt, i, s ? s : "", -1, SQLITE_STATIC);
}

static void bind_or_null(sqlite3_stmt *stmt, int i, bool null, int64_t value)
{
	if (null)
		sqlite3_bind_null(stmt, i);
	else
		sqlite3_bind_int64(stmt, i, value);
}

static void bind_column(sqlite3_stmt *stmt, int i, const struct column *c, const char *row)
{
	union {
		uint32_t u32;
		int i32;
		bool b;
		uint64_t u64;
		int64_t i64;
		double real;
		const char *text;
	} v = {0};
	const void *at = row + c->at;

	switch (c->kind) {
	case COLUMN_ID:
	case COLUMN_REF:
	case COLUMN_REF0:
	case COLUMN_INDEX:
		memcpy(&v.u32, at, 4);
		bind_or_null(stmt, i, c->kind == COLUMN_REF0 && v.u32 == 0, v.u32);
		break;
	case COLUMN_INT:
	case COLUMN_INT0:
	case COLUMN_FLAG:
	case COLUMN_FLAG0:
		memcpy(&v.i32, at, 4);
		bind_or_null(stmt, i, v.i32 < 0 || (v.i32 == 0 && c->kind == COLUMN_INT0), v.i32);
		break;
	case COLUMN_BOOL:
		memcpy(&v.b, at, 1);
		sqlite3_bind_int(stmt, i, v.b);
		break;
	case COLUMN_COUNT:
	case COLUMN_END:
	case COLUMN_END0:
	case COLUMN_COUNT0:
		memcpy(&v.i64, at, 8);
		bind_or_null(stmt, i, v.i64 < 0 || (v.i64 == 0 && c->kind == COLUMN_END0), v.i64);
		break;
	case COLUMN_REAL0:
		memcpy(&v.real, at, 8);
		if (v.real >= 0)
			sqlite3_bind_double(stmt, i, v.real);
		else
			sqlite3_bind_null(stmt, i);
		break;
	case COLUMN_TEXT:
	case COLUMN_TEXT0:
		memcpy(&v.text, at, sizeof(v.text));
		bind_text(stmt, i, v.text, c->kind == COLUMN_TEXT0);
		break;
	case COLUMN_ENUM:
	case COLUMN_ENUM0:
		memcpy(&v.u32, at, 4);
		bind_text(stmt, i, v.u32 ? c->names[v.u32 - 1] : NULL, true);
		break;
	}
}

static int store_put(struct store *s, enum table_id id, const void *row)
{
	const struct table *t = &tables[id];
	uint32_t key = 0;

	if (s->error)
		return -s->error_number;
	const struct column *fault = row_fault(t, row);
	if (fault) {
		s->refused++;
		say_verbose("an observation was not recorded: impossible value of %s.%s", t->name,
			    fault->name);
		return -EINVAL;
	}
	/* Rows with an id of their own may be put again: the id says how many there are. */
	if (t->keys == 1)
		memcpy(&key, row, sizeof(key));
	if (t->keys == 1 ? key > t->limit : t->keys > 1 && s->rows[id] >= t->limit)
		return store_fail(s, E2BIG, "it is as long as a record can be");
	int err = store_ready_put(s, id);
	if (err)
		return err;
	for (int i = 0; i < t->n; i++)
		bind_column(s->put[id], i + 1, &t->columns[i], row);
	s->rows[id]++;
	return store_step(s, s->put[id]);
}

/* Runs an extra statement with one number. */
static int store_extra(struct store *s, enum extra_statement which, uint64_t number)
{
	int err = store_ready(s, &s->extra[which], extra_sql[which]);

	if (err)
		return err;
	if (sqlite3_bind_parameter_count(s->extra[which]) > 0)
		sqlite3_bind_int64(s->extra[which], 1, (int64_t)number);
	return store_step(s, s->extra[which]);
}

int store_put_capture(struct store *s, const struct obs_capture *c)
{
	struct obs_capture row = *c;

	row.complete = false; /* store_close knows */
	int err = store_put(s, TABLE_CAPTURE, &row);
	if (!err)
		err = store_extra(s, CLEAR_NOTES, 0);
	for (int i = 0; i < c->note_count && !err && (uint64_t)i < tables[TABLE_NOTE].limit; i++)
		err = store_put(s, TABLE_NOTE, &(struct row_note){(uint32_t)i + 1, c->notes[i]});
	s->ends_known = !err && c->end_ns != 0;
	return err;
}

int store_put_process(struct store *s, const struct obs_process *p)
{
	return store_put(s, TABLE_PROCESS, p);
}

int store_put_mark(struct store *s, const struct obs_mark *m)
{
	return store_put(s, TABLE_MARK, m);
}

int store_put_thread(struct store *s, const struct obs_thread *t)
{
	return store_put(s, TABLE_THREAD, t);
}

int store_put_loop(struct store *s, const struct obs_loop *l)
{
	return store_put(s, TABLE_LOOP, l);
}

int store_add_ticks(struct store *s, uint32_t loop, uint64_t second, const uint32_t delta[TICK_BUCKETS])
{
	int err = 0;

	for (uint32_t b = 0; b < TICK_BUCKETS && !err; b++)
		if (delta[b])
			err = store_put(s, TABLE_TICKS,
					&(struct row_ticks){loop, second, tick_bucket_from_us(b), delta[b]});
	return err;
}

int store_put_lock(struct store *s, const struct obs_lock *l)
{
	return store_put(s, TABLE_LOCK, l);
}

int store_put_stall(struct store *s, const struct obs_stall *stall)
{
	return store_put(s, TABLE_STALL, stall);
}

/* The first refused row is reported, the others are stored all the same. */
int store_put_waits(struct store *s, uint32_t stall, const struct obs_wait *waits, size_t n)
{
	int err = store_extra(s, CLEAR_WAITS, stall), first = err;

	for (size_t i = 0; i < n && !s->error; i++) {
		struct row_wait row = {waits[i], (uint32_t)i};
		row.wait.stall = stall;
		err = store_put(s, TABLE_WAIT, &row);
		first = first ? first : err;
	}
	return first;
}

int store_put_holds(struct store *s, uint32_t stall, const struct obs_hold *holds, size_t n)
{
	int err = store_extra(s, CLEAR_HOLDS, stall), first = err;

	for (size_t i = 0; i < n && !s->error; i++) {
		struct row_hold row = {holds[i], (uint32_t)i};
		row.hold.stall = stall;
		err = store_put(s, TABLE_HOLD, &row);
		first = first ? first : err;
	}
	return first;
}

int store_add_sample(struct store *s, const struct obs_sample *sample)
{
	return store_put(s, TABLE_SAMPLE, sample);
}

int store_drop_stall(struct store *s, uint32_t stall)
{
	int err = store_extra(s, CLEAR_STALL, stall);

	err = err ? err : store_extra(s, CLEAR_WAITS, stall);
	err = err ? err : store_extra(s, CLEAR_HOLDS, stall);
	return err ? err : store_extra(s, CLEAR_SAMPLES, stall);
}

/* splitmix64's finalizer over a running sum, twice with different odd constants */
static void mix(struct known *k, uint64_t v)
{
	k->a = (k->a ^ v) * 0xbf58476d1ce4e5b9ull;
	k->a ^= k->a >> 29;
	k->b = (k->b + v) * 0x94d049bb133111ebull;
	k->b ^= k->b >> 31;
}

/* The place of a key: its id is 0 if it is new. */
static struct known *known_find(struct known_set *set, const struct known *key)
{
	if (set->n * 2 >= set->room) {
		struct known_set old = *set;
		set->room = old.room ? old.room * 2 : 1024;
		set->at = xcalloc(set->room, sizeof(*set->at));
		set->n = 0;
		for (size_t i = 0; i < old.room; i++) {
			if (!old.at[i].id)
				continue;
			*known_find(set, &old.at[i]) = old.at[i];
			set->n++;
		}
		free(old.at);
	}
	for (size_t i = key->a & (set->room - 1);; i = (i + 1) & (set->room - 1)) {
		struct known *k = &set->at[i];
		if (!k->id || (k->a == key->a && k->b == key->b))
			return k;
	}
}

/* Strings are interned: their addresses stand for them. */
static uint32_t store_frame(struct store *s, const struct frame *f)
{
	struct known key = {1, 2, 0};

	mix(&key, (uint64_t)f->kind << 32 | f->origin);
	mix(&key, (uintptr_t)f->function);
	mix(&key, (uintptr_t)f->module);
	mix(&key, (uintptr_t)f->file);
	mix(&key, (uint64_t)(uint32_t)f->line << 1 | !!f->entry);
	struct known *k = known_find(&s->frames, &key);
	if (k->id)
		return k->id;
	struct row_frame row = {(uint32_t)s->frames.n + 1, *f};
	row.frame.entry = !!f->entry;
	row.frame.line = f->line > 0 ? f->line : 0;
	if (store_put(s, TABLE_FRAME, &row))
		return 0;
	*k = (struct known){key.a, key.b, row.id};
	s->frames.n++;
	return row.id;
}

uint32_t store_stack(struct store *s, const struct stack *stack)
{
	struct known key = {3, 4, 0};
	uint32_t ids[STACK_MAX];

	if (stack->n <= 0 || stack->n > STACK_MAX || s->error)
		return 0;
	for (int i = 0; i < stack->n; i++) {
		ids[i] = store_frame(s, &stack->at[i]);
		if (!ids[i])
			return 0;
		mix(&key, ids[i]);
	}
	mix(&key, (uint64_t)stack->n << 1 | !!stack->cut);
	struct known *k = known_find(&s->stacks, &key);
	if (k->id)
		return k->id;
	struct row_stack row = {(uint32_t)s->stacks.n + 1, stack->cut};
	if (store_put(s, TABLE_STACK, &row))
		return 0;
	for (uint32_t i = 0; i < (uint32_t)stack->n; i++)
		if (store_put(s, TABLE_STACK_FRAME, &(struct row_stack_frame){row.id, i, ids[i]}))
			return 0;
	*k = (struct known){key.a, key.b, row.id};
	s->stacks.n++;
	return row.id;
}

int store_commit(struct store *s)
{
	if (s->error)
		return -s->error_number;
	int err = s->ends_known ? 0 : store_extra(s, STAMP, now_ns());
	s->ends_known = false;
	if (!err && !sqlite3_get_autocommit(s->db))
		err = store_exec(s, "COMMIT");
	return err;
}

const char *store_error(struct store *s)
{
	return s->error;
}

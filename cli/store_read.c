/* SPDX-License-Identifier: MIT
 *
 * The rows of a record, which may come from anywhere: every type, range, name and reference is checked,
 * tables are read once each in the order of their keys (which must rise: a b-tree that leads in circles ends
 * at once), and what is read is bounded by schema.c's limits. A value that no record may have is damage; a
 * row that refers to something not there is left out and counted, for a killed capture may have come no
 * further.
 */
#include "store_read.h"

#include <errno.h>
#include <jansson.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>

/* --- one row --- */

static int value_number(sqlite3_value *value, int64_t max, bool *null, int64_t *out)
{
	int type = sqlite3_value_type(value);

	*null = type == SQLITE_NULL;
	*out = 0;
	if (*null)
		return 0;
	if (type != SQLITE_INTEGER)
		return -EINVAL;
	*out = sqlite3_value_int64(value);
	return *out < 0 || *out > max ? -EINVAL : 0;
}

/* Integers; whether 0 and NULL are allowed at all is left to row_fault, where that is the whole story. */
static int decode_number(sqlite3_value *from, const struct column *c, void *at)
{
	bool wide = c->kind == COLUMN_COUNT || c->kind == COLUMN_END || c->kind == COLUMN_END0 ||
		    c->kind == COLUMN_COUNT0;
	bool small = c->kind == COLUMN_BOOL || c->kind == COLUMN_FLAG || c->kind == COLUMN_FLAG0;
	bool ids = c->kind == COLUMN_ID || c->kind == COLUMN_REF || c->kind == COLUMN_REF0 ||
		   c->kind == COLUMN_INDEX;
	bool may_miss = c->kind == COLUMN_REF0 || c->kind == COLUMN_INT0 || c->kind == COLUMN_FLAG0 ||
			c->kind == COLUMN_END0 || c->kind == COLUMN_COUNT0;
	bool minus = c->kind == COLUMN_FLAG0 || c->kind == COLUMN_COUNT0;
	int64_t max = wide ? NUMBER_MAX : small ? 1 : ids ? (int64_t)UINT32_MAX : INT_MAX, value;
	bool null;

	if (value_number(from, max, &null, &value) || (null && !may_miss))
		return -EINVAL;
	if (null && minus)
		value = -1;
	if (wide)
		memcpy(at, &value, 8);
	else if (c->kind == COLUMN_BOOL)
		*(bool *)at = value;
	else
		memcpy(at, &(uint32_t){(uint32_t)value}, 4);
	return 0;
}

static int decode_real(sqlite3_value *from, void *at)
{
	int type = sqlite3_value_type(from);
	double value = type == SQLITE_NULL ? -1 : sqlite3_value_double(from);

	if (type != SQLITE_NULL && ((type != SQLITE_FLOAT && type != SQLITE_INTEGER) || value < 0))
		return -EINVAL;
	memcpy(at, &value, sizeof(value));
	return 0;
}

static int decode_text(sqlite3_value *from, const struct column *c, void *at)
{
	int type = sqlite3_value_type(from);
	const char *text = NULL;

	if (type == SQLITE_TEXT) {
		text = (const char *)sqlite3_value_text(from);
		if (!text)
			return -ENOMEM;
	} else if (type != SQLITE_NULL) {
		return -EINVAL;
	}
	if (c->kind == COLUMN_TEXT || c->kind == COLUMN_TEXT0) {
		if (!text && c->kind == COLUMN_TEXT)
			return -EINVAL;
		text = text ? intern_text(text, (size_t)sqlite3_value_bytes(from)) : NULL;
		memcpy(at, &text, sizeof(text));
		return 0;
	}
	uint32_t value = 0;
	for (uint32_t n = 0; text && c->names[n] && !value; n++)
		if (strcmp(text, c->names[n]) == 0)
			value = n + 1;
	if (!value && (text || c->kind == COLUMN_ENUM))
		return -EINVAL;
	memcpy(at, &value, sizeof(value));
	return 0;
}

/* The value is asked, not the statement for its column each time: SQLite checks a statement at every call. */
static int decode_column(sqlite3_value *from, const struct column *c, char *row)
{
	switch (c->kind) {
	case COLUMN_REAL0:
		return decode_real(from, row + c->at);
	case COLUMN_TEXT:
	case COLUMN_TEXT0:
	case COLUMN_ENUM:
	case COLUMN_ENUM0:
		return decode_text(from, c, row + c->at);
	default:
		return decode_number(from, c, row + c->at);
	}
}

/* --- references --- */

/* Every such row begins with its id. The index, -1 for none. */
static ssize_t id_find(const void *at, size_t n, size_t size, uint32_t id)
{
#define ID_AT(i) (*(const uint32_t *)((const char *)at + (i)*size))
	size_t low = 0;

	if (id > 0 && id <= n && ID_AT(id - 1) == id)
		return id - 1; /* mostly there are no gaps */
	while (low < n) {
		size_t mid = low + (n - low) / 2;
		if (ID_AT(mid) == id)
			return (ssize_t)mid;
		if (ID_AT(mid) < id)
			low = mid + 1;
		else
			n = mid;
	}
	return -1;
}
#define ID_FIND(v, id) id_find((v).at, (v).n, sizeof(*(v).at), id)

static bool refers_to_something(const struct observations *o, int table, uint32_t id)
{
	switch (table) {
	case TABLE_PROCESS:
		return ID_FIND(o->processes, id) >= 0;
	case TABLE_THREAD:
		return ID_FIND(o->threads, id) >= 0;
	case TABLE_LOOP:
		return ID_FIND(o->loops, id) >= 0;
	case TABLE_LOCK:
		return ID_FIND(o->locks, id) >= 0;
	case TABLE_STALL:
		return ID_FIND(o->stalls, id) >= 0;
	case TABLE_FRAME:
		return id <= o->frames.n;
	case TABLE_STACK:
		return id <= o->stack_cut.n;
	default:
		return false;
	}
}

/* A reference that may be missing is forgotten; any other takes its row with it. Rows of a stall that was
 * dropped (or not yet put) are no loss. */
static bool references_hold(struct load *l, const struct table *t, char *row)
{
	for (int i = 0; i < t->n; i++) {
		const struct column *c = &t->columns[i];
		uint32_t id;
		if (c->kind != COLUMN_REF && c->kind != COLUMN_REF0)
			continue;
		memcpy(&id, row + c->at, 4);
		if ((id == 0 && c->kind == COLUMN_REF0) || refers_to_something(l->out, c->refers, id))
			continue;
		l->left_out += c->refers != TABLE_STALL;
		if (c->kind == COLUMN_REF)
			return false;
		memset(row + c->at, 0, 4);
	}
	return true;
}

bool stall_under_way(const struct observations *o, const struct obs_stall *s)
{
	ssize_t thread = ID_FIND(o->threads, s->thread),
		process = thread < 0 ? -1 : ID_FIND(o->processes, o->threads.at[thread].process);

	return s->ongoing && !s->outside && !o->capture.complete && process >= 0 &&
	       !o->threads.at[thread].end_ns && !o->processes.at[process].end_ns;
}

/* --- tables --- */

static bool command_is_list(const char *command)
{
	json_t *json = json_loads(command, JSON_REJECT_DUPLICATES, NULL), *word;
	bool good = json_is_array(json);
	size_t i;

	json_array_foreach(json, i, word) good = good && json_is_string(word);
	json_decref(json);
	return good;
}

static int accept_ticks(struct load *l, const struct row_ticks *row)
{
	ssize_t at = ID_FIND(l->out->loops, row->loop);
	uint32_t bucket = tick_bucket(row->from_us % (1ull << 32) * 1000);

	if (at < 0 || row->count > UINT32_MAX || tick_bucket_from_us(bucket) != row->from_us)
		return -EINVAL;
	if (l->visit)
		l->visit(l->closure, row->loop, row->second, bucket, row->count);
	else if (l->follow)
		follow_ticks(l->follow, row->loop, row->second, bucket, row->count);
	else
		l->out->loops.at[at].count[bucket] += row->count;
	return 0;
}

/* Stacks come with depths 0, 1, 2 ...; those without a frame are made up for. */
static int accept_stack_frame(struct load *l, const struct row_stack_frame *row)
{
	struct observations *o = l->out;
	bool same = row->stack == o->stack_begin.n;

	if (row->depth >= STACK_MAX ||
	    row->depth != (same ? o->stack_frames.n - o->stack_begin.at[row->stack - 1] : 0))
		return -EINVAL;
	while (o->stack_begin.n < row->stack)
		*vec_push(&o->stack_begin) = (uint32_t)o->stack_frames.n;
	*vec_push(&o->stack_frames) = row->frame;
	return 0;
}

static int accept(struct load *l, enum table_id id, const void *row)
{
	struct observations *o = l->out;

	switch (id) {
	case TABLE_CAPTURE:
		o->capture = *(const struct obs_capture *)row;
		return 0;
	case TABLE_NOTE:
		*vec_push(&l->notes) = ((const struct row_note *)row)->text;
		return 0;
	case TABLE_PROCESS: {
		struct obs_process *p = vec_push(&o->processes);
		*p = *(const struct obs_process *)row;
		if (!command_is_list(p->command))
			p->command = intern("[]");
		return 0;
	}
	case TABLE_MARK:
		*vec_push(&o->marks) = *(const struct obs_mark *)row;
		return 0;
	case TABLE_THREAD:
		*vec_push(&o->threads) = *(const struct obs_thread *)row;
		return 0;
	case TABLE_LOOP:
		*vec_push(&o->loops) = *(const struct obs_loop *)row;
		return 0;
	case TABLE_TICKS:
		return accept_ticks(l, row);
	case TABLE_LOCK:
		*vec_push(&o->locks) = *(const struct obs_lock *)row;
		return 0;
	case TABLE_STALL:
		*vec_push(&o->stalls) = *(const struct obs_stall *)row;
		return 0;
	case TABLE_WAIT:
		*vec_push(&o->waits) = ((const struct row_wait *)row)->wait;
		return 0;
	case TABLE_HOLD:
		*vec_push(&o->holds) = ((const struct row_hold *)row)->hold;
		return 0;
	case TABLE_FRAME:
		*vec_push(&o->frames) = ((const struct row_frame *)row)->frame;
		return ((const struct row_frame *)row)->id == o->frames.n ? 0 : -EINVAL;
	case TABLE_STACK:
		*vec_push(&o->stack_cut) = ((const struct row_stack *)row)->cut;
		return ((const struct row_stack *)row)->id == o->stack_cut.n ? 0 : -EINVAL;
	case TABLE_STACK_FRAME:
		return accept_stack_frame(l, row);
	case TABLE_SAMPLE:
		*vec_push(&o->samples) = *(const struct obs_sample *)row;
		return 0;
	default:
		return -EINVAL;
	}
}

/* Keys rise, strictly: the first columns, all numbers. */
static bool key_rises(sqlite3_stmt *stmt, const struct table *t, int64_t *last)
{
	for (int i = 0; i < t->keys; i++) {
		int64_t now = sqlite3_column_int64(stmt, i);
		if (now < last[i])
			return false;
		if (now == last[i])
			continue;
		for (; i < t->keys; i++)
			last[i] = sqlite3_column_int64(stmt, i);
		return true;
	}
	return false;
}

static int rows_read(struct load *l, enum table_id id, sqlite3_stmt *stmt)
{
	const struct table *t = &tables[id];
	union {
		char at[1];
		struct obs_loop biggest;
	} row;
	int64_t last[3] = {-1, -1, -1};
	uint64_t rows = 0;
	int rc;

	for (; (rc = sqlite3_step(stmt)) == SQLITE_ROW; rows++) {
		if (rows == t->limit)
			return load_refuse(l, -EINVAL, "is damaged: its table %s has more than %llu rows",
					   t->name, (unsigned long long)t->limit);
		memset(&row, 0, t->size);
		for (int i = 0; i < t->n; i++)
			if (decode_column(sqlite3_column_value(stmt, i), &t->columns[i], row.at))
				return load_refuse(l, -EINVAL,
						   "is damaged: %s.%s has a value that it cannot have",
						   t->name, t->columns[i].name);
		const struct column *fault = row_fault(t, row.at);
		if (fault)
			return load_refuse(l, -EINVAL, "is damaged: %s.%s has a value that it cannot have",
					   t->name, fault->name);
		if (t->keys > 0 && !key_rises(stmt, t, last))
			return load_refuse(l, -EINVAL, "is damaged: the rows of its table %s are in disorder",
					   t->name);
		if (references_hold(l, t, row.at) && accept(l, id, row.at))
			return load_refuse(l, -EINVAL, "is damaged: a row of its table %s cannot be",
					   t->name);
	}
	if (rc == SQLITE_INTERRUPT)
		return load_refuse(l, -EINVAL, "is damaged: its table %s has no end", t->name);
	if (rc != SQLITE_DONE)
		return load_refuse_rc(l, rc);
	if (id == TABLE_CAPTURE && rows == 0)
		return load_refuse(
			l, -ENODATA, "is empty: whystall was ended before it had recorded anything%s",
			l->wal_missing ? ", or the -wal file beside it was not copied with it" : "");
	return 0;
}

static int query(struct load *l, sqlite3_stmt **stmt, const char *format, ...)
{
	va_list ap;

	va_start(ap, format);
	char *sql = sqlite3_vmprintf(format, ap);
	va_end(ap);
	int rc = sql ? sqlite3_prepare_v2(l->db, sql, -1, stmt, NULL) : SQLITE_NOMEM;
	sqlite3_free(sql);
	return rc == SQLITE_OK ? 0 : load_refuse_rc(l, rc);
}

/* A real table: no view, no virtual table, nothing computed where the record has a value. */
static int table_check(struct load *l, const struct table *t)
{
	sqlite3_stmt *stmt = NULL;
	int rc = SQLITE_OK, found = 0, computed = 0;
	int err = query(
		l, &stmt,
		"SELECT count(*) FROM sqlite_master WHERE name = %Q AND type = 'table' AND rootpage > 0 "
		"AND sql LIKE 'CREATE TABLE%%'",
		t->name);

	if (!err && (rc = sqlite3_step(stmt)) == SQLITE_ROW)
		found = sqlite3_column_int(stmt, 0);
	sqlite3_finalize(stmt);
	if (err || rc != SQLITE_ROW)
		return err ? err : load_refuse_rc(l, rc);
	stmt = NULL;
	err = query(l, &stmt, "PRAGMA table_xinfo(%Q)", t->name);
	while (!err && (rc = sqlite3_step(stmt)) == SQLITE_ROW)
		computed += sqlite3_column_int(stmt, 6) != 0; /* "hidden" */
	sqlite3_finalize(stmt);
	if (err || rc != SQLITE_DONE)
		return err ? err : load_refuse_rc(l, rc);
	return found == 1 && !computed ? 0
				       : load_refuse(l, -EINVAL, "is damaged: it has no table %s", t->name);
}

int load_number(struct load *l, const char *sql, int64_t *out)
{
	sqlite3_stmt *stmt = NULL;
	int err = query(l, &stmt, "%s", sql), rc = err ? 0 : sqlite3_step(stmt);

	if (!err && rc == SQLITE_ROW)
		*out = sqlite3_column_int64(stmt, 0);
	sqlite3_finalize(stmt);
	return err || rc == SQLITE_ROW ? err : load_refuse_rc(l, rc);
}

int load_table(struct load *l, enum table_id id)
{
	const struct table *t = &tables[id];
	sqlite3_stmt *stmt = NULL;
	char columns[512] = "", keys[64] = "", *which = follow_rows(l->follow, id);
	int err = table_check(l, t);

	for (int i = 0, n = 0; i < t->n; i++)
		n += snprintf(columns + n, sizeof(columns) - (size_t)n, "%s%s", i ? ", " : "",
			      t->columns[i].name);
	for (int i = 0, n = 0; i < t->keys; i++)
		n += snprintf(keys + n, sizeof(keys) - (size_t)n, "%s%s", i ? ", " : " ORDER BY ",
			      t->columns[i].name);
	if (!err)
		err = query(l, &stmt, "SELECT %s FROM %s NOT INDEXED%s%s", columns, t->name, which, keys);
	if (!err)
		err = rows_read(l, id, stmt);
	sqlite3_finalize(stmt);
	free(which);
	return err;
}

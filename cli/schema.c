/* SPDX-License-Identifier: MIT
 *
 * The rows of schema.h, and the SQL that they make. Enumerations are stored as words, so that a query needs
 * no key to them. Comments go into the SQL, where `sqlite3 RECORD .schema` shows them.
 */
#include "schema.h"

#include <stdlib.h>
#include <string.h>

static const char *const backends[] = {"preload", "ebpf", "mixed", NULL};
static const char *const lock_kinds[] = {"gil", "mutex", "rwlock", "sem", "cond", "futex", NULL};
static const char *const runs[] = {"running", "blocked", "runnable", "stopped", "faulting", NULL};
static const char *const whats[] = {"lock", "call", "stopped", "fault", "runqueue", NULL};
static const char *const collects[] = {"not", "young", "middle", "full", "some", NULL};
static const char *const gil_known[] = {"all", "contended", NULL};
static const char *const frame_kinds[] = {"python", "native", "kernel", "js", "ruby", NULL};
static const char *const origins[] = {"user", "package", "runtime", "dispatch", "eval", "collector", NULL};

/* clang-format off */

/* offsetof that also refuses a field of another size than its kind is read and written with */
#define AT(type, field, size)                                                                                   \
	(offsetof(type, field) + 0 * sizeof(char[sizeof(((type *)0)->field) == (size) ? 1 : -1]))
#define SIZE_ID 4
#define SIZE_INDEX 4
#define SIZE_INT 4
#define SIZE_INT0 4
#define SIZE_BOOL 1
#define SIZE_FLAG 4
#define SIZE_FLAG0 4
#define SIZE_COUNT 8
#define SIZE_END 8
#define SIZE_END0 8
#define SIZE_COUNT0 8
#define SIZE_REAL0 8
#define SIZE_TEXT 8
#define SIZE_TEXT0 8
#define COLUMN(kind, type, name, field, about)                                                                  \
	{#name, COLUMN_##kind, AT(type, field, SIZE_##kind), NULL, 0, about}
#define REF(kind, type, name, field, table, about)                                                              \
	{#name, COLUMN_##kind, AT(type, field, 4), NULL, TABLE_##table, about}
#define ENUM(kind, type, name, field, names, about) {#name, COLUMN_##kind, AT(type, field, 4), names, 0, about}

#define T struct obs_capture
static const struct column capture[] = {
	COLUMN(TEXT, T, run_id, run_id, "UUID of the capture: the key when many records are loaded together"),
	COLUMN(TEXT0, T, host, host, NULL),
	COLUMN(TEXT0, T, boot_id, boot_id, "of the host; within one boot all times are on one clock"),
	COLUMN(TEXT0, T, container_id, container_id, NULL),
	COLUMN(TEXT0, T, service, service, "OTEL_SERVICE_NAME"),
	COLUMN(TEXT, T, version, version, "of the whystall that wrote it"),
	COLUMN(TEXT, T, started, started, "RFC 3339, the instant of start_ns"),
	COLUMN(COUNT, T, start_ns, start_ns, "CLOCK_MONOTONIC, as every *_ns that is an instant"),
	COLUMN(END0, T, end_ns, end_ns, "of the capture; while it grows, of the latest commit"),
	COLUMN(COUNT, T, threshold_ns, threshold_ns, "a tick of at least this is a stall"),
	ENUM(ENUM, T, backend, backend, backends, NULL),
	COLUMN(BOOL, T, complete, complete, "closed in an orderly way"),
	COLUMN(COUNT, T, lost_events, lost_events, NULL),
	COLUMN(COUNT, T, suppressed_stalls, suppressed_stalls, "counted but not kept"),
};
#undef T
#define T struct row_note
static const struct column note[] = {
	COLUMN(ID, T, id, id, NULL),
	COLUMN(TEXT, T, text, text, "one sentence"),
};
#undef T
#define T struct obs_process
static const struct column process[] = {
	COLUMN(ID, T, id, id, NULL),
	COLUMN(INT, T, pid, pid, "as whystall sees it"),
	COLUMN(INT, T, ppid, ppid, NULL),
	COLUMN(INT, T, ns_pid, ns_pid, "as the process itself sees it"),
	COLUMN(TEXT, T, command, command, "JSON array of strings"),
	COLUMN(TEXT0, T, exe, exe, NULL),
	COLUMN(TEXT0, T, runtime, runtime, "cpython ...; native: no interpreter was found"),
	COLUMN(TEXT0, T, runtime_version, runtime_version, NULL),
	COLUMN(FLAG0, T, free_threaded, free_threaded, NULL),
	COLUMN(REAL0, T, switch_interval_s, switch_interval_s, NULL),
	ENUM(ENUM, T, backend, backend, backends, NULL),
	COLUMN(COUNT, T, start_ns, start_ns, NULL),
	COLUMN(END0, T, end_ns, end_ns, "NULL: it ran on"),
	COLUMN(TEXT0, T, role, role, "what it is to the one that started it: ProcessPoolExecutor worker ..."),
	COLUMN(TEXT0, T, note, note, "why less is known of it"),
	COLUMN(REAL0, T, quota_s, quota_s, "CPU time that its cgroup may use in each period; NULL: no quota"),
	COLUMN(REAL0, T, quota_period_s, quota_period_s, NULL),
};
#undef T
#define T struct obs_mark
static const struct column mark[] = {
	COLUMN(ID, T, id, id, NULL),
	REF(REF, T, process, process, PROCESS, NULL),
	COLUMN(COUNT, T, start_ns, start_ns, "from here on, until the process's next one"),
	COLUMN(TEXT, T, text, text, "the test that it ran; empty: none"),
};
#undef T
#define T struct obs_thread
static const struct column thread[] = {
	COLUMN(ID, T, id, id, NULL),
	REF(REF, T, process, process, PROCESS, NULL),
	COLUMN(INT, T, tid, tid, "as whystall sees it"),
	COLUMN(INT, T, ns_tid, ns_tid, "as the process itself sees it"),
	COLUMN(TEXT, T, name, name, "the runtime's name for it, else the kernel's"),
	COLUMN(COUNT, T, start_ns, start_ns, NULL),
	COLUMN(END0, T, end_ns, end_ns, "NULL: it ran on"),
	COLUMN(COUNT0, T, cpu_ns, cpu_ns, NULL),
	ENUM(ENUM0, T, gil_known, gil_known, gil_known, "which holds the gil_* columns count, NULL is none"),
	COLUMN(COUNT, T, gil_holds, gil_holds, NULL),
	COLUMN(COUNT, T, gil_held_ns, gil_held_ns, NULL),
	COLUMN(COUNT, T, gil_longest_ns, gil_longest_ns, NULL),
	COLUMN(COUNT, T, gil_waits, gil_waits, NULL),
	COLUMN(COUNT, T, gil_waited_ns, gil_waited_ns, NULL),
};
#undef T
#define T struct obs_loop
static const struct column loop[] = {
	COLUMN(ID, T, id, id, NULL),
	REF(REF, T, thread, thread, THREAD, "of several: the first"),
	COLUMN(INT, T, threads, threads, "that wait on it; several share an epoll instance"),
	COLUMN(TEXT, T, wait, wait, "the readiness wait, as the kernel names it"),
	COLUMN(COUNT, T, ticks, ticks, NULL),
	COLUMN(COUNT, T, tick_ns, tick_ns, "sum of all ticks"),
	COLUMN(COUNT, T, tick_max_ns, tick_max_ns, NULL),
	COLUMN(COUNT, T, wait_ns, wait_ns, "sum of all waits"),
	COLUMN(COUNT, T, first_ns, first_ns, "observed from"),
	COLUMN(COUNT, T, last_ns, last_ns, "observed to"),
	COLUMN(COUNT, T, suppressed, suppressed, "stalls counted but not kept"),
	COLUMN(TEXT0, T, runner, runner, "the function that runs it; where that is not on the stack is outside the loop"),
	COLUMN(TEXT0, T, root, root, "the outermost frame of the thread's stack then: function, file"),
};
#undef T
#define T struct row_ticks
static const struct column ticks[] = {
	REF(REF, T, loop, loop, LOOP, NULL),
	COLUMN(COUNT, T, second, second, "since the capture's start"),
	COLUMN(COUNT, T, from_us, from_us, "they took this long or up to 1/32 (below 32 us: 1 us) longer"),
	COLUMN(COUNT, T, count, count, NULL),
};
#undef T
#define T struct obs_lock
static const struct column lock[] = {
	COLUMN(ID, T, id, id, NULL),
	REF(REF, T, process, process, PROCESS, NULL),
	ENUM(ENUM, T, kind, kind, lock_kinds, NULL),
	COLUMN(COUNT, T, address, address, NULL),
	COLUMN(TEXT0, T, name, name, NULL),
};
#undef T
#define T struct obs_stall
static const struct column stall[] = {
	COLUMN(ID, T, id, id, NULL),
	REF(REF, T, loop, loop, LOOP, NULL),
	REF(REF, T, thread, thread, THREAD, "whose tick it is: of several, the one that took the last events"),
	COLUMN(COUNT, T, start_ns, start_ns, NULL),
	COLUMN(END, T, end_ns, end_ns, "of an ongoing one: as far as it was seen"),
	COLUMN(BOOL, T, ongoing, ongoing, "it had not ended"),
	COLUMN(BOOL, T, began_before, began_before, "it was under way when recording began"),
	COLUMN(BOOL, T, outside, outside, "the runtime's loop was not on the stack: no stall after all"),
	COLUMN(COUNT0, T, ready_after, ready_after, "descriptors that the wait after it returned"),
	COLUMN(COUNT, T, lost, lost, "events of the process lost meanwhile"),
	COLUMN(COUNT0, T, cpu_ns, cpu_ns, "of the loop thread, during the stall"),
	COLUMN(COUNT0, T, delay_ns, delay_ns, "it was ready to run but had no CPU"),
	COLUMN(COUNT0, T, faults, faults, "major page faults of the loop thread"),
	COLUMN(COUNT0, T, throttled_ns, throttled_ns, "throttled meanwhile, as the process's cgroup counts it: the sum of its CPUs"),
	COLUMN(COUNT0, T, throttled_periods, throttled_periods, NULL),
};
#undef T
#define T struct row_wait
static const struct column wait[] = {
	REF(REF, T, stall, wait.stall, STALL, NULL),
	COLUMN(INDEX, T, n, n, "in order of time"),
	ENUM(ENUM, T, what, wait.what, whats, NULL),
	COLUMN(COUNT, T, start_ns, wait.start_ns, NULL),
	COLUMN(END, T, end_ns, wait.end_ns, NULL),
	REF(REF0, T, lock, wait.lock, LOCK, NULL),
	REF(REF0, T, owner, wait.owner, THREAD, "had it when the wait began"),
	COLUMN(BOOL, T, self_owned, wait.self_owned, "the waiter itself took it last (Event, Queue, Future)"),
	COLUMN(TEXT0, T, syscall, wait.syscall, NULL),
	COLUMN(TEXT0, T, target, wait.target, "file, peer or pid; of a fault, the file mapped"),
};
#undef T
#define T struct row_hold
static const struct column hold[] = {
	REF(REF, T, stall, hold.stall, STALL, NULL),
	COLUMN(INDEX, T, n, n, "in order of time"),
	REF(REF, T, lock, hold.lock, LOCK, NULL),
	REF(REF, T, thread, hold.thread, THREAD, NULL),
	COLUMN(COUNT, T, start_ns, hold.start_ns, "of the whole hold, not clipped to the wait"),
	COLUMN(END, T, end_ns, hold.end_ns, NULL),
	COLUMN(BOOL, T, at_least, hold.at_least, "it may have begun before start_ns"),
};
#undef T
#define T struct row_frame
static const struct column frame[] = {
	COLUMN(ID, T, id, id, "from 1 without a gap"),
	ENUM(ENUM, T, kind, frame.kind, frame_kinds, NULL),
	ENUM(ENUM, T, origin, frame.origin, origins, NULL),
	COLUMN(TEXT0, T, function, frame.function, NULL),
	COLUMN(TEXT0, T, module, frame.module, NULL),
	COLUMN(TEXT0, T, file, frame.file, NULL),
	COLUMN(INT0, T, line, frame.line, NULL),
	COLUMN(FLAG, T, entry, frame.entry, "entered from native code: an evaluation loop began here"),
};
#undef T
#define T struct row_stack
static const struct column stack[] = {
	COLUMN(ID, T, id, id, "from 1 without a gap"),
	COLUMN(BOOL, T, cut, cut, "the real stack went on"),
};
#undef T
#define T struct row_stack_frame
static const struct column stack_frame[] = {
	REF(REF, T, stack, stack, STACK, NULL),
	COLUMN(INDEX, T, depth, depth, "0 is the innermost frame"),
	REF(REF, T, frame, frame, FRAME, NULL),
};
#undef T
#define T struct obs_sample
static const struct column sample[] = {
	REF(REF, T, stall, stall, STALL, NULL),
	COLUMN(COUNT, T, time_ns, time_ns, NULL),
	REF(REF, T, thread, thread, THREAD, NULL),
	ENUM(ENUM, T, run, run, runs, NULL),
	COLUMN(TEXT0, T, syscall, syscall, "a blocked thread was in it"),
	COLUMN(TEXT0, T, target, target, "file, peer or pid"),
	REF(REF0, T, stack, stack, STACK, NULL),
	COLUMN(COUNT0, T, cpu_ns, cpu_ns, "of the thread since its birth"),
	COLUMN(COUNT0, T, delay_ns, delay_ns, "ready to run but without a CPU, since its birth"),
	COLUMN(BOOL, T, native, native, "the native stack was read too"),
	COLUMN(COUNT0, T, faults, faults, "major page faults since its birth"),
	ENUM(ENUM0, T, collects, collects, collects, "it ran the cycle collector, over which generation"),
	COLUMN(INT0, T, gc_objects, gc_objects, "that survived the last full collection"),
};
#undef T

#define TABLE(name, type, keys, limit, start, about) {#name, about, sizeof(type), limit, keys, name, LENGTH(name), start}
const struct table tables[TABLE_COUNT] = {
	[TABLE_CAPTURE] = TABLE(capture, struct obs_capture, 0, 1, offsetof(struct obs_capture, start_ns), "one row"),
	[TABLE_NOTE] = TABLE(note, struct row_note, 1, 1000, 0, "what is missing, and why"),
	[TABLE_PROCESS] = TABLE(process, struct obs_process, 1, 1 << 20, offsetof(struct obs_process, start_ns),
				"an exec starts a new one"),
	[TABLE_MARK] = TABLE(mark, struct obs_mark, 1, 1 << 22, 0, "what a process said that it did (whystall_mark)"),
	[TABLE_THREAD] = TABLE(thread, struct obs_thread, 1, 1 << 22, offsetof(struct obs_thread, start_ns), NULL),
	[TABLE_LOOP] = TABLE(loop, struct obs_loop, 1, 1 << 14, 0, "what returns again and again to a readiness wait"),
	[TABLE_TICKS] = TABLE(ticks, struct row_ticks, 3, 1ull << 32, 0, "how many ticks were how long, by the second"),
	[TABLE_LOCK] = TABLE(lock, struct obs_lock, 1, 1 << 22, 0, NULL),
	[TABLE_STALL] = TABLE(stall, struct obs_stall, 1, 1 << 22, offsetof(struct obs_stall, start_ns), NULL),
	[TABLE_WAIT] = TABLE(wait, struct row_wait, 2, 1 << 24, offsetof(struct row_wait, wait.start_ns),
			     "the loop thread waited, within a stall"),
	[TABLE_HOLD] = TABLE(hold, struct row_hold, 2, 1 << 24, offsetof(struct row_hold, hold.start_ns),
			     "another thread had the lock meanwhile"),
	[TABLE_FRAME] = TABLE(frame, struct row_frame, 1, 1 << 22, 0, NULL),
	[TABLE_STACK] = TABLE(stack, struct row_stack, 1, 1 << 22, 0, NULL),
	[TABLE_STACK_FRAME] = TABLE(stack_frame, struct row_stack_frame, 2, 1 << 27, 0, NULL),
	[TABLE_SAMPLE] = TABLE(sample, struct obs_sample, 3, 1 << 24, 0, "a look at a thread during a stall"),
};

/* For users: seconds since the capture's start, names instead of ids, and what tells records apart. */
static const char views[] =
	"CREATE VIEW stall_s AS -- a stall in seconds, with its thread\n"
	"\tSELECT c.run_id, c.host, c.service, s.id, p.pid, t.tid, t.name AS thread,\n"
	"\t\t(s.start_ns - c.start_ns) / 1e9 AS start_s, (s.end_ns - s.start_ns) / 1e9 AS duration_s,\n"
	"\t\tstrftime('%Y-%m-%dT%H:%M:%fZ', c.started, ((s.start_ns - c.start_ns) / 1e9) || ' seconds') AS at,\n"
	"\t\ts.ongoing, s.began_before, s.ready_after, s.cpu_ns / 1e9 AS cpu_s, s.delay_ns / 1e9 AS delay_s, s.lost\n"
	"\tFROM stall s JOIN thread t ON t.id = s.thread\n"
	"\t\tJOIN process p ON p.id = t.process, capture c WHERE NOT s.outside;\n"
	"CREATE VIEW wait_s AS -- what the loop thread waited for in a stall\n"
	"\tSELECT c.run_id, w.stall, w.n, w.what, (w.start_ns - c.start_ns) / 1e9 AS start_s,\n"
	"\t\t(w.end_ns - w.start_ns) / 1e9 AS seconds, k.kind AS lock_kind, k.name AS lock_name, t.tid AS owner_tid,\n"
	"\t\tt.name AS owner, w.syscall, w.target\n"
	"\tFROM wait w LEFT JOIN lock k ON k.id = w.lock LEFT JOIN thread t ON t.id = w.owner, capture c;\n"
	"CREATE VIEW hold_s AS -- who had the lock, and how long\n"
	"\tSELECT c.run_id, h.stall, h.n, k.kind AS lock_kind, k.name AS lock_name, t.tid, t.name AS thread,\n"
	"\t\t(h.start_ns - c.start_ns) / 1e9 AS start_s, (h.end_ns - h.start_ns) / 1e9 AS seconds, h.at_least\n"
	"\tFROM hold h JOIN lock k ON k.id = h.lock JOIN thread t ON t.id = h.thread, capture c;\n"
	"CREATE VIEW sample_s AS -- a sample with the innermost frame and the innermost one of the user's code\n"
	"\tSELECT c.run_id, m.stall, (m.time_ns - c.start_ns) / 1e9 AS time_s, t.tid, t.name AS thread, m.run, m.syscall,\n"
	"\t\tm.target, m.stack,\n"
	"\t\t(SELECT f.function FROM stack_frame x JOIN frame f ON f.id = x.frame\n"
	"\t\t\tWHERE x.stack = m.stack ORDER BY x.depth LIMIT 1) AS innermost,\n"
	"\t\t(SELECT f.function || coalesce(' ' || f.file || ':' || f.line, '') FROM stack_frame x\n"
	"\t\t\tJOIN frame f ON f.id = x.frame WHERE x.stack = m.stack AND f.origin = 'user' AND f.kind <> 'native'\n"
	"\t\t\tORDER BY x.depth LIMIT 1) AS user_code\n"
	"\tFROM sample m JOIN thread t ON t.id = m.thread, capture c;\n"
	"CREATE VIEW stack_text AS -- a stack in one line, innermost frame first\n"
	"\tSELECT stack, group_concat(coalesce(function, '?') || coalesce(' ' || file || ':' || line, ''), ' < ') AS frames\n"
	"\tFROM (SELECT x.stack, f.function, f.file, f.line FROM stack_frame x JOIN frame f ON f.id = x.frame\n"
	"\t\tORDER BY x.stack, x.depth) GROUP BY stack;\n";
/* clang-format on */

static void column_print(FILE *out, const struct table *table, int i)
{
	const struct column *c = &table->columns[i];
	bool text = c->kind == COLUMN_TEXT || c->kind == COLUMN_TEXT0 || c->kind == COLUMN_ENUM ||
		    c->kind == COLUMN_ENUM0;
	bool null = c->kind == COLUMN_REF0 || c->kind == COLUMN_INT0 || c->kind == COLUMN_FLAG0 ||
		    c->kind == COLUMN_END0 || c->kind == COLUMN_COUNT0 || c->kind == COLUMN_REAL0 ||
		    c->kind == COLUMN_TEXT0 || c->kind == COLUMN_ENUM0;

	fprintf(out, "\t%s %s", c->name, text ? "TEXT" : c->kind == COLUMN_REAL0 ? "REAL" : "INTEGER");
	if (table->keys < 2 && i == 0)
		fprintf(out, " PRIMARY KEY");
	if (!null && c->kind != COLUMN_ID)
		fprintf(out, " NOT NULL");
	if (c->kind == COLUMN_REF || c->kind == COLUMN_REF0)
		fprintf(out, " REFERENCES %s", tables[c->refers].name);
	if (i < table->n - 1 || table->keys > 1)
		fprintf(out, ",");
	if (c->about || c->names)
		fprintf(out, " -- %s", c->about ? c->about : "");
	for (int n = 0; c->names && c->names[n]; n++)
		fprintf(out, "%s%s", n ? ", " : c->about ? ": " : "", c->names[n]);
	fprintf(out, "\n");
}

char *schema_sql(void)
{
	char *sql = NULL;
	size_t size;
	FILE *out = open_memstream(&sql, &size);

	if (!out)
		return xstrdup("");
	for (const struct table *t = tables; t < tables + TABLE_COUNT; t++) {
		fprintf(out, "CREATE TABLE %s (%s%s\n", t->name, t->about ? " -- " : "",
			t->about ? t->about : "");
		for (int i = 0; i < t->n; i++)
			column_print(out, t, i);
		for (int i = 0; t->keys > 1 && i < t->keys; i++)
			fprintf(out, "%s%s", i ? ", " : "\tPRIMARY KEY (", t->columns[i].name);
		fprintf(out, "%s;\n", t->keys > 1 ? ")\n) WITHOUT ROWID" : ")");
	}
	fputs(views, out);
	fclose(out);
	return sql;
}

static bool value_fits(const struct table *table, const struct column *c, const char *row)
{
	const void *v = row + c->at;
	uint32_t u32;
	uint64_t u64, start;
	double real;
	int i;

	switch (c->kind) {
	case COLUMN_ID:
	case COLUMN_REF:
		memcpy(&u32, v, 4);
		return u32 > 0;
	case COLUMN_INT:
	case COLUMN_INT0:
		memcpy(&i, v, 4);
		return i >= 0;
	case COLUMN_FLAG:
		memcpy(&i, v, 4);
		return i == 0 || i == 1;
	case COLUMN_FLAG0:
		memcpy(&i, v, 4);
		return i >= -1 && i <= 1;
	case COLUMN_COUNT:
		memcpy(&u64, v, 8);
		return u64 <= NUMBER_MAX;
	case COLUMN_END:
	case COLUMN_END0:
		memcpy(&u64, v, 8);
		memcpy(&start, row + table->start, 8);
		return u64 <= NUMBER_MAX && (u64 >= start || (u64 == 0 && c->kind == COLUMN_END0));
	case COLUMN_COUNT0:
		memcpy(&u64, v, 8);
		return u64 <= NUMBER_MAX || u64 == UINT64_MAX;
	case COLUMN_REAL0:
		memcpy(&real, v, 8);
		return !(real > 1e9); /* seconds; NaN and negative ones are NULL */
	case COLUMN_ENUM:
	case COLUMN_ENUM0:
		memcpy(&u32, v, 4);
		for (i = 0; c->names[i]; i++)
			if (u32 == (uint32_t)i + 1)
				return true;
		return u32 == 0 && c->kind == COLUMN_ENUM0;
	default:
		return true;
	}
}

const struct column *row_fault(const struct table *table, const void *row)
{
	for (int i = 0; i < table->n; i++)
		if (!value_fits(table, &table->columns[i], row))
			return &table->columns[i];
	return NULL;
}

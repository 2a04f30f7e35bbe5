/* SPDX-License-Identifier: MIT
 *
 * What the CPython module (cli/interp/python*.c) sees of a process, as JSON, for
 * tests/case/test_interp_python.py.
 *
 *   pystack_dump PID            one look at everything
 *   pystack_dump PID TID N      N stacks of one thread: how often each was seen, failures, and the time one
 * took
 *   pystack_dump PID lock TID ADDRESS   what the thread waits for there
 */
#include <dirent.h>
#include <errno.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "cli/interp.h"
#include "cli/util.h"

static const struct interp_ops *ops;
static struct stack stack;

static json_t *frames_json(void)
{
	json_t *list = json_array();
	for (int i = 0; i < stack.n; i++) {
		const struct frame *f = &stack.at[i];
		json_array_append_new(list, json_pack("{s:s?,s:s?,s:s?,s:i,s:i,s:i}", "function", f->function,
						      "module", f->module, "file", f->file, "line", f->line,
						      "origin", (int)f->origin, "entry", f->entry));
	}
	return list;
}

static void look(struct interp *in, pid_t pid, json_t *out)
{
	struct interp_lock lock[8];
	int n = ops->locks(in, lock, 8);
	json_t *locks = json_array(), *threads = json_array();
	for (int i = 0; i < n; i++) {
		struct interp_thread holder = {0};
		int e = ops->lock_holder(in, lock[i].address, &holder);
		json_array_append_new(
			locks,
			json_pack("{s:I,s:I,s:I,s:i,s:i,s:I}", "address", (json_int_t)lock[i].address,
				  "freed", (json_int_t)lock[i].freed, "taken", (json_int_t)lock[i].taken,
				  "error", e, "tid", (int)holder.tid, "pthread", (json_int_t)holder.pthread));
	}
	char path[64];
	snprintf(path, sizeof(path), "/proc/%d/task", (int)pid);
	DIR *dir = opendir(path);
	struct dirent *entry;
	while (dir && (entry = readdir(dir))) {
		struct interp_thread thread = {.tid = atoi(entry->d_name)};
		char name[256] = "";
		if (!thread.tid)
			continue;
		int named = ops->thread_name(in, thread, name, sizeof(name));
		int e = ops->stack(in, thread, &stack);
		json_array_append_new(threads, json_pack("{s:i,s:i,s:s,s:i,s:i,s:o}", "tid", (int)thread.tid,
							 "named", named, "name", name, "error", e, "cut",
							 stack.cut, "stack", frames_json()));
	}
	if (dir)
		closedir(dir);
	json_object_set_new(out, "lock_count", json_integer(n));
	json_object_set_new(out, "locks", locks);
	json_object_set_new(out, "threads", threads);
	json_object_set_new(out, "switch_interval", json_real(ops->switch_interval(in)));
	json_object_set_new(out, "free_threaded", json_boolean(ops->free_threaded(in)));
}

static void sample(struct interp *in, struct interp_thread thread, int count, json_t *out)
{
	json_t *seen = json_object(), *errors = json_object();
	uint64_t spent = 0;
	for (int i = 0; i < count; i++) {
		char key[65536] = "", number[16];
		size_t at = 0;
		/* far enough apart that the target does not rest while we look */
		nanosleep(&(struct timespec){.tv_nsec = 100000 + i * 7919 % 100000}, NULL);
		uint64_t start = now_ns();
		int e = ops->stack(in, thread, &stack);
		spent += now_ns() - start;
		for (int k = 0; k < stack.n && at + 600 < sizeof(key); k++)
			at += (size_t)snprintf(key + at, 600, "%s%.500s:%d", k ? "|" : "",
					       stack.at[k].function ? stack.at[k].function : "?",
					       stack.at[k].line);
		snprintf(number, sizeof(number), "%d", e);
		json_t *into = e ? errors : seen;
		const char *name = e ? number : key;
		json_object_set_new(into, name,
				    json_integer(json_integer_value(json_object_get(into, name)) + 1));
	}
	json_object_set_new(out, "seen", seen);
	json_object_set_new(out, "errors", errors);
	json_object_set_new(out, "us", json_real(count ? (double)spent / count / 1e3 : 0));
}

static void lock(struct interp *in, struct interp_thread thread, uint64_t address, json_t *out)
{
	struct interp_waited waited;
	uint64_t start = now_ns();
	int e = ops->lock_look(in, thread, address, &waited);
	json_object_set_new(out, "us", json_real((double)(now_ns() - start) / 1e3));
	json_object_set_new(out, "lock",
			    json_pack("{s:i,s:s,s:b,s:b,s:i}", "error", e, "name", waited.name, "nobody",
				      waited.nobody, "ends", waited.ends, "owner", (int)waited.owner.tid));
}

int main(int argc, char **argv)
{
	if (argc < 2)
		return EXIT_USAGE;
	pid_t pid = atoi(argv[1]);
	struct maps maps;
	struct interp *in = NULL;
	char version[64] = "", why[256] = "";
	for (PARTS(interp, interp_ops, p))
		if (!strcmp((*p)->name, "cpython"))
			ops = *p;
	int e = maps_read(pid, &maps);
	uint64_t start = now_ns();
	if (!e)
		e = ops->open(&in, pid, &maps, version, sizeof(version), why, sizeof(why));
	maps_free(&maps);
	json_t *out = json_pack("{s:i,s:s,s:s,s:f}", "error", e, "version", version, "why", why, "open_ms",
				(double)(now_ns() - start) / 1e6);
	if (in && argc > 4)
		lock(in, (struct interp_thread){.tid = atoi(argv[3])}, strtoull(argv[4], NULL, 0), out);
	else if (in && argc > 3)
		sample(in, (struct interp_thread){.tid = atoi(argv[2])}, atoi(argv[3]), out);
	else if (in)
		look(in, pid, out);
	ops->close(in);
	json_dumpf(out, stdout, JSON_INDENT(1));
	json_decref(out);
	return 0;
}

/* SPDX-License-Identifier: MIT
 *
 * The parts of whystall's JSON documents that are written in one way wherever they stand.
 */
#include <jansson.h>

#include "json.h"

static const char *const lock_names[] = {[LOCK_GIL] = "gil", [LOCK_MUTEX] = "mutex", [LOCK_RWLOCK] = "rwlock",
					 [LOCK_SEM] = "sem", [LOCK_COND] = "cond",   [LOCK_FUTEX] = "futex"};
static const char *const frame_names[] = {[FRAME_PYTHON] = "python",
					  [FRAME_NATIVE] = "native",
					  [FRAME_KERNEL] = "kernel",
					  [FRAME_JS] = "js",
					  [FRAME_RUBY] = "ruby"};
/* A record may come from anywhere: its numbers are looked up within bounds. */
#define NAME(names, i) ((size_t)(i) < LENGTH(names) ? (names)[i] : NULL)

void json_command(struct emit *j, const char *command)
{
	json_t *words = command ? json_loads(command, 0, NULL) : NULL, *word;
	size_t i;
	emit_array(j, "command");
	json_array_foreach(words, i, word) if (json_is_string(word))
		emit_string(j, NULL, json_string_value(word));
	emit_close(j, ']');
	json_decref(words);
}

void json_runtime(struct emit *j, const struct obs_process *p)
{
	emit_object_flat(j, "runtime");
	emit_string(j, "name", p->runtime);
	emit_string(j, "version", p->runtime_version);
	if (p->free_threaded >= 0)
		emit_bool(j, "free_threaded", p->free_threaded);
	else
		emit_null(j, "free_threaded");
	if (p->switch_interval_s >= 0)
		emit_real(j, "switch_interval_s", p->switch_interval_s);
	else
		emit_null(j, "switch_interval_s");
	emit_close(j, '}');
}

void json_frame(struct emit *j, const char *key, const struct frame *f)
{
	emit_object_flat(j, key);
	emit_string(j, "kind", NAME(frame_names, f->kind));
	emit_string(j, "function", f->function);
	emit_string(j, "module", f->module);
	emit_string(j, "file", f->file);
	if (f->line > 0)
		emit_integer(j, "line", f->line);
	else
		emit_null(j, "line");
	emit_close(j, '}');
}

const char *json_lock_kind(enum lock_kind kind)
{
	return NAME(lock_names, kind);
}

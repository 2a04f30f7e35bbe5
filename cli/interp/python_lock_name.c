/* SPDX-License-Identifier: MIT
 *
 * How a frame calls an object: as a global of its module, as an attribute of what its variables or the names
 * in its code lead to, as a variable. Only what the code can mean is followed, so that the search is short.
 */
#include <stdio.h>

#include "cli/interp/python_lock.h"
#include "cli/util.h"

#define CLIMBS_MAX 4
#define LOOKS_MAX 128 /* objects looked into for one frame */

bool python_synchronizes(const char *module)
{
	static const char *const names[] = {"threading", "queue", "concurrent.futures", "multiprocessing"};
	for (size_t i = 0; module && i < LENGTH(names); i++) {
		size_t n = strlen(names[i]);
		if (!strncmp(module, names[i], n) && (!module[n] || module[n] == '.'))
			return true;
	}
	return false;
}

/* A module's name as it is imported: not concurrent.futures._base, not multiprocessing.synchronize. */
static void module_shorten(char *module)
{
	static const char *const names[] = {"concurrent.futures", "multiprocessing"};
	for (size_t i = 0; i < LENGTH(names); i++) {
		size_t n = strlen(names[i]);
		if (!strncmp(module, names[i], n) && module[n] == '.')
			module[n] = 0;
	}
	if (module[0] == '_') /* C's own: _queue, _io */
		memmove(module, module + 1, strlen(module));
}

void hunt_climb(struct hunt *h, uint64_t owner)
{
	char class[PYTHON_NAME], module[PYTHON_NAME];
	if (python_class(h->py, owner, class, module, sizeof(class)))
		return;
	h->object = owner;
	h->rank = RANK_NONE;
	bool main = !strcmp(module, "__main__");
	if (!main)
		module_shorten(module);
	snprintf(h->word, sizeof(h->word), "%s%s%s", main ? "" : module, main || !module[0] ? "" : ".",
		 class);
}

/* What the user calls a module: __main__ is the script, nothing if that came with -c or from standard input.
 */
static void module_name(const struct frame *frame, const char *module, char *buf, size_t size)
{
	if (strcmp(module, "__main__") || !frame->file) {
		snprintf(buf, size, "%s", module);
		return;
	}
	if (frame->file[0] == '<') {
		buf[0] = 0;
		return;
	}
	const char *slash = strrchr(frame->file, '/'), *base = slash ? slash + 1 : frame->file;
	const char *dot = strrchr(base, '.');
	snprintf(buf, size, "%.*s", (int)(dot && dot != base ? dot - base : (long)strlen(base)), base);
}

struct scene {
	struct hunt *h;
	const struct python_scope *scope;
	const struct frame *frame;
	int looks;
	bool climbed;
};

static void name_take(struct hunt *h, enum rank rank, const char *owner, const char *field)
{
	if (rank <= h->rank)
		return;
	h->rank = rank;
	snprintf(h->name, sizeof(h->name), "%s%s", owner, field);
	if (h->name[0] == '.') /* of a module without a name */
		memmove(h->name, h->name + 1, strlen(h->name));
}

/* Looks into an object, which the code calls `as` ("" if by an attribute of something: then `as` is what that
 * is called). True: found. */
static bool look_into(struct scene *s, uint64_t object, const char *as, enum rank item)
{
	struct hunt *h = s->h;
	char field[PYTHON_NAME], class[PYTHON_NAME], module[PYTHON_NAME];
	if (object == h->object || s->looks++ > LOOKS_MAX || now_ns() > h->until ||
	    !python_has_fields(h->py, object) || python_field(h->py, object, h->object, field, sizeof(field)))
		return false;
	if (field[0] == '[') {
		name_take(h, item, as, field);
		return true;
	}
	if (python_class(h->py, object, class, module, sizeof(class)))
		return false;
	if (!class[0]) {
		module_name(s->frame, module, class, sizeof(class));
		name_take(h, RANK_GLOBAL, class, field);
	} else if (python_synchronizes(module)) {
		hunt_climb(h, object);
		s->climbed = true;
	} else {
		name_take(h, RANK_FIELD, class, field);
	}
	return true;
}

/* Looks into the attributes of an object that the code names. */
static bool look_through(struct scene *s, uint64_t object)
{
	struct hunt *h = s->h;
	struct python_dict all = {0};
	char class[PYTHON_NAME], module[PYTHON_NAME], key[PYTHON_NAME], as[2 * PYTHON_NAME + 2];
	bool found = false;
	uint64_t dict;
	if (!python_check(h->py, object, h->py->at.module)) {
		if (!python_pointer(h->py, object + (uint64_t)h->py->layout.module_dict, &dict))
			python_dict_read(h->py, dict, 16384, &all);
	} else {
		python_attributes(h->py, object, &all);
	}
	for (int i = 0; i < all.n && !found; i++) {
		if (!python_scope_uses(s->scope, all.key[i]) ||
		    python_string(h->py, all.key[i], key, sizeof(key)) ||
		    python_class(h->py, object, class, module, sizeof(class)))
			continue;
		snprintf(as, sizeof(as), "%s.%s", class[0] ? class : module, key);
		found = look_into(s, all.value[i], as, RANK_FIELD);
	}
	python_dict_free(&all);
	return found;
}

/* The object itself among the module's globals. */
static bool in_globals(struct scene *s, const char *module)
{
	const struct python_dict *all = &s->scope->globals;
	char key[PYTHON_NAME], field[PYTHON_NAME + 1];
	for (int i = 0; i < all->n; i++) {
		if (all->value[i] != s->h->object || python_string(s->h->py, all->key[i], key, sizeof(key)))
			continue;
		snprintf(field, sizeof(field), ".%s", key);
		name_take(s->h, RANK_GLOBAL, module, field);
		return true;
	}
	return false;
}

static bool in_used_globals(struct scene *s, const char *module, bool through)
{
	const struct python_dict *all = &s->scope->globals;
	char key[PYTHON_NAME], as[2 * PYTHON_NAME + 2];
	for (int i = 0; i < all->n; i++) {
		if (!python_scope_uses(s->scope, all->key[i]) ||
		    python_string(s->h->py, all->key[i], key, sizeof(key)))
			continue;
		snprintf(as, sizeof(as), "%s.%s", module, key);
		if (through ? look_through(s, all->value[i]) : look_into(s, all->value[i], as, RANK_FIELD))
			return true;
	}
	return false;
}

static bool in_variables(struct scene *s, bool through)
{
	char name[PYTHON_NAME];
	for (int i = 0; i < s->scope->variables; i++) {
		if (python_string(s->h->py, s->scope->name[i], name, sizeof(name)))
			continue;
		if (through ? look_through(s, s->scope->value[i])
			    : look_into(s, s->scope->value[i], name, RANK_ITEM))
			return true;
	}
	return false;
}

static bool is_variable(struct scene *s)
{
	char name[PYTHON_NAME];
	for (int i = 0; i < s->scope->variables; i++)
		if (s->scope->value[i] == s->h->object &&
		    !python_string(s->h->py, s->scope->name[i], name, sizeof(name))) {
			name_take(s->h, RANK_VARIABLE, name, "");
			return true;
		}
	return false;
}

bool hunt_scope(struct hunt *h, const struct python_scope *scope, const struct frame *frame)
{
	struct scene s = {.h = h, .scope = scope, .frame = frame};
	char module[PYTHON_NAME];
	module_name(frame, frame->module ? frame->module : "", module, sizeof(module));
	enum rank before = h->rank;
	for (int climbs = 0; climbs < CLIMBS_MAX; climbs++) {
		s.climbed = false;
		if (!in_globals(&s, module) && !(in_variables(&s, false) && h->rank != RANK_ITEM) &&
		    !in_used_globals(&s, module, false) && !in_variables(&s, true) &&
		    !in_used_globals(&s, module, true))
			is_variable(&s);
		if (!s.climbed)
			break;
	}
	return h->rank > before;
}

/* SPDX-License-Identifier: MIT
 *
 * Private to cli/interp/python*.c: what a frame can name (its variables, its module's, the names in its code)
 * and what an object keeps (attributes, slots, items). Everything is bounded; strings are only read once
 * asked for.
 */
#ifndef WHYSTALL_PYTHON_SCOPE_H
#define WHYSTALL_PYTHON_SCOPE_H

#include "cli/interp/python.h"

#define SCOPE_MAX 256 /* variables, values under way, names: of each */

struct python_scope {
	uint64_t name[SCOPE_MAX],
		value[SCOPE_MAX]; /* variables that have a value; cells are looked through */
	int variables;
	uint64_t item[SCOPE_MAX]; /* values under way; above the top there are old ones, maybe freed */
	int items;
	uint64_t used[SCOPE_MAX]; /* names of globals and attributes in the code */
	int names;
	struct python_dict globals;
};
/* 0 or -errno; python_scope_free. */
int python_scope_read(struct interp *py, const struct python_frame *frame, struct python_scope *out);
void python_scope_free(struct python_scope *);
/* Is it a name that the code uses? */
bool python_scope_uses(const struct python_scope *, uint64_t name);

/* The first bytes of each object: head[i] is all zero where one cannot be read. */
#define PYTHON_HEAD 48
void python_heads(struct interp *py, const uint64_t *object, int n, unsigned char (*head)[PYTHON_HEAD]);

/* How an object's value is to be written after its owner: ".lock", "['a']", "[3]". 0, -ENOENT: it has no such
 * value, or -errno. */
int python_field(struct interp *py, uint64_t object, uint64_t value, char *buf, size_t size);
/* Is there anything in it that python_field could find: an instance, class, module, dict, list or tuple? */
bool python_has_fields(struct interp *py, uint64_t object);
/* The name of an object's class, and the module that it is of ("" where not known). For a class or a module,
 * those of itself; *module then is its name and *name is "". */
int python_class(struct interp *py, uint64_t object, char *name, char *module, size_t size);

#endif

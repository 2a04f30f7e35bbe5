/* SPDX-License-Identifier: MIT
 *
 * How a command, interpreter, cause or format adds itself: PART(cmd, run_command) puts a pointer into the
 * linker section "parts_cmd"; PARTS(cmd, p) walks that section. A new part is a new file and nothing else.
 */
#ifndef WHYSTALL_PART_H
#define WHYSTALL_PART_H

#define PART(kind, type, object) \
	static const struct type *const part_##object __attribute__((used, section("parts_" #kind))) = &object

/* for (PARTS(cmd, command, p)) use(*p); the order is the linker's: sort where order matters */
#define PARTS_DECLARE(kind, type)                               \
	extern const struct type *const __start_parts_##kind[]; \
	extern const struct type *const __stop_parts_##kind[]
#define PARTS(kind, type, p)                                \
	const struct type *const *p = __start_parts_##kind; \
	p < __stop_parts_##kind;                            \
	p++

#endif

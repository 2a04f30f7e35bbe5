/* SPDX-License-Identifier: MIT
 *
 * JavaScript's names in perf maps, as several versions of V8 write them.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "../../cli/modules.h"

static void test_names(void **state)
{
	static const struct {
		const char *name, *function, *file;
		int line;
		enum frame_origin origin;
	} good[] = {
		{"JS:*sum /srv/app.js:13:20", "sum", "/srv/app.js", 13, ORIGIN_USER},
		{"JS:^ /srv/my app.js:25:27", "(anonymous)", "/srv/my app.js", 25, ORIGIN_USER},
		{"LazyCompile:~get name file:///srv/a:b.mjs:1:2", "get name", "/srv/a:b.mjs", 1, ORIGIN_USER},
		{"JS:+A.b /srv/node_modules/x/y.js:7:1", "A.b", "/srv/node_modules/x/y.js", 7,
		 ORIGIN_PACKAGE},
		{"Function:listOnTimeout node:internal/timers:524:25", "listOnTimeout",
		 "node:internal/timers", 524, ORIGIN_RUNTIME},
	};
	static const char *const bad[] = {"",
					  "JS:",
					  "JS:*",
					  "JS:*sum",
					  "JS:*sum /srv/app.js",
					  "JS:*sum /srv/app.js:1",
					  "JS: :1:2:",
					  "JS:*sum /a:99999999999:1",
					  "Builtin:x /a:1:2",
					  "py::f:/a.py"};
	(void)state;
	for (size_t i = 0; i < LENGTH(good); i++) {
		struct frame f = {.kind = FRAME_NATIVE};
		assert_true(js_frame(good[i].name, &f));
		assert_string_equal(f.function, good[i].function);
		assert_string_equal(f.file, good[i].file);
		assert_true(f.kind == FRAME_JS && f.line == good[i].line && f.origin == good[i].origin);
	}
	for (size_t i = 0; i < LENGTH(bad); i++) {
		struct frame f = {.kind = FRAME_NATIVE};
		assert_false(js_frame(bad[i], &f));
		assert_true(f.kind == FRAME_NATIVE && !f.function);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {cmocka_unit_test(test_names)};
	return cmocka_run_group_tests(tests, NULL, NULL);
}

/* SPDX-License-Identifier: MIT
 *
 * merge.h, on stacks written as words: "long_pow Power! EVAL|": native, ! a dispatcher, ^ inlined into the
 * next; "f|" a Python frame that an evaluation loop began with.
 */
#include "cli/merge.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "cli/util.h"

static enum frame_origin origin(const char *symbol, const char *module)
{
	(void)module;
	if (!strncmp(symbol, "EVAL", 4))
		return ORIGIN_EVAL;
	return strchr(symbol, '!') ? ORIGIN_DISPATCH : ORIGIN_RUNTIME;
}
static const struct interp_ops ops = {.native_origin = origin};

static int frames_of(const char *words, enum frame_kind kind, struct frame *out)
{
	char copy[512], *save;
	int n = 0;
	snprintf(copy, sizeof(copy), "%s", words);
	for (char *w = strtok_r(copy, " ", &save); w; w = strtok_r(NULL, " ", &save)) {
		size_t len = strlen(w);
		struct frame f = {.kind = kind, .origin = ORIGIN_USER, .module = "m"};
		f.entry = kind == FRAME_PYTHON && w[len - 1] == '|';
		f.inlined = kind == FRAME_NATIVE && w[len - 1] == '^';
		f.function = intern_n(w, len - (f.entry || f.inlined));
		out[n++] = f;
	}
	return n;
}

static struct stack python, out;

static const char *merged_cut(const char *native_words, const char *python_words, int cut)
{
	static char text[1024];
	struct frame native[64];
	int n = frames_of(native_words, FRAME_NATIVE, native);
	python.n = frames_of(python_words, FRAME_PYTHON, python.at);
	python.cut = cut;
	stack_merge(&out, native, n, &python, &ops);
	text[0] = 0;
	for (int i = 0; i < out.n; i++)
		snprintf(text + strlen(text), sizeof(text) - strlen(text), "%s%s", i ? " " : "",
			 out.at[i].function);
	return text;
}
static const char *merged(const char *native, const char *py)
{
	return merged_cut(native, py, 0);
}

static void loops_become_their_python_frames(void **state)
{
	(void)state;
	/* 3.11: one loop ran two frames */
	assert_string_equal(merged("k_mul long_pow Power! EVAL PyEval_EvalCode main", "heavy run <module>|"),
			    "k_mul long_pow Power! heavy run <module>");
	/* 3.10: a loop each */
	assert_string_equal(merged("sleep EVAL vectorcall! EVAL main", "f| g|"), "sleep f vectorcall! g");
	/* a C function between (map, sort) */
	assert_string_equal(merged("cmp EVAL call! sort EVAL start", "key| work bootstrap|"),
			    "cmp key call! sort work bootstrap");
}

static void pure_python_has_no_callee(void **state)
{
	(void)state;
	assert_string_equal(merged("EVAL main", "f g|"), "f g");
	/* what was inlined into the loop is the loop */
	assert_string_equal(merged("Py_DECREF^ EVAL _PyEval_Vector^ PyEval_EvalCode main", "f g|"), "f g");
	assert_string_equal(merged("x_mul^ k_mul EVAL main", "f|"), "x_mul k_mul f");
	/* a wrapper of the loop is no second loop, inlined or not; the same function again is */
	assert_string_equal(merged("a EVAL EVALFrame^ Vector! b EVAL main", "f| g|"), "a f Vector! b g");
	assert_string_equal(merged("a EVAL EVALFrame Vector! b EVAL EVALFrame main", "f| g|"),
			    "a f Vector! b g");
	assert_string_equal(merged("a EVAL EVAL b EVAL main", "f| g| h|"), "a f g b h");
}

static void either_may_be_missing(void **state)
{
	(void)state;
	assert_string_equal(merged("", "f g|"), "f g");
	assert_string_equal(merged("read main", ""), "read main");
	struct frame native[4];
	int n = frames_of("read main", FRAME_NATIVE, native);
	stack_merge(&out, native, n, NULL, NULL);
	assert_int_equal(out.n, 2);
	assert_int_equal(out.at[0].origin, ORIGIN_USER);
}

static void stacks_that_do_not_fit(void **state)
{
	(void)state;
	/* the native one was cut: the rest of the Python frames follow */
	assert_string_equal(merged("a EVAL b", "f| g| h|"), "a f g h");
	assert_string_equal(merged("a b", "f| g|"), "a b f g");
	/* more loops than Python frames: the outer ends agree ... */
	assert_string_equal(merged("a EVAL b EVAL c EVAL main", "f| g|"), "a b f c g");
	/* ... unless the outer end was not read */
	assert_string_equal(merged_cut("a EVAL b EVAL c EVAL main", "f| g|", 1), "a f b g");
	assert_true(out.cut);
	/* no entry mark at all on the outermost frame */
	assert_string_equal(merged("a EVAL main", "f g"), "a f g");
}

static void deep_stacks_are_cut(void **state)
{
	(void)state;
	static struct frame native[STACK_MAX + 10];
	for (size_t i = 0; i < LENGTH(native); i++)
		native[i] = (struct frame){.kind = FRAME_NATIVE, .function = "f", .module = "m"};
	stack_merge(&out, native, LENGTH(native), NULL, &ops);
	assert_int_equal(out.n, STACK_MAX);
	assert_true(out.cut);
}

static const char *callee(const char *native, const char *py, int index)
{
	const struct frame *at[64];
	merged(native, py);
	for (int i = 0; i < out.n; i++)
		at[i] = &out.at[i];
	const struct frame *f = stack_native_of(at, out.n, index);
	return f ? f->function : "-";
}

static void the_native_callee(void **state)
{
	(void)state;
	assert_string_equal(callee("k_mul long_pow Power! EVAL main", "heavy run|", 3), "long_pow");
	assert_string_equal(callee("EVAL main", "heavy run|", 0), "-");
	assert_string_equal(callee("sleep EVAL call! sort EVAL main", "f| g|", 1), "sleep");
	assert_string_equal(callee("sleep EVAL call! sort EVAL main", "f| g|", 4), "sort");
	assert_string_equal(callee("call! EVAL main", "f|", 1), "-");
	/* stripped: the nearest name on the way, else the address */
	assert_string_equal(callee("p+0x9 p+0x7 Power! Vector! EVAL main", "f|", 4), "Power!");
	assert_string_equal(callee("p+0x9 p+0x7 EVAL main", "f|", 2), "p+0x7");
	assert_string_equal(callee("a EVAL main", "f|", 9), "-");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(loops_become_their_python_frames),
		cmocka_unit_test(pure_python_has_no_callee),
		cmocka_unit_test(either_may_be_missing),
		cmocka_unit_test(stacks_that_do_not_fit),
		cmocka_unit_test(deep_stacks_are_cut),
		cmocka_unit_test(the_native_callee),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}

/* SPDX-License-Identifier: MIT
 *
 * The parts of the CPython module that need no process: line tables, native names, layouts.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <cmocka.h>

#include "cli/interp/python.h"

static void test_lnotab(void **unused)
{
	(void)unused;
	/* def f():          line 10
	 *     a = 1         line 11, byte 0
	 *     b = 2         line 12, byte 4
	 *     c = (         line 20, byte 8, then back to 14 at byte 10 */
	static const unsigned char table[] = {0, 1, 4, 1, 4, 8, 2, (unsigned char)-6};
	static const int lines[] = {11, 11, 12, 12, 20, 14, 14};
	for (int i = 0; i < 7; i++)
		assert_int_equal(python_line(LINES_LNOTAB, table, sizeof(table), 10, i * 2), lines[i]);
	assert_int_equal(python_line(LINES_LNOTAB, table, sizeof(table), 10, -1), 10);
	assert_int_equal(python_line(LINES_LNOTAB, table, 3, 10, 100), 11); /* half a pair */
}

static void test_deltas(void **unused)
{
	(void)unused;
	static const unsigned char table[] = {4, 1, 2, 0x80, 6, 2};
	assert_int_equal(python_line(LINES_DELTAS, table, sizeof(table), 10, 0), 11);
	assert_int_equal(python_line(LINES_DELTAS, table, sizeof(table), 10, 4), 0); /* no line */
	assert_int_equal(python_line(LINES_DELTAS, table, sizeof(table), 10, 6), 13);
	assert_int_equal(python_line(LINES_DELTAS, table, sizeof(table), 10, 12), 0); /* past its end */
}

static void test_locations(void **unused)
{
	(void)unused;
	/* one line +1, two units; short form, one unit; none; no columns, -3; long, +70 */
	static const unsigned char table[] = {0x80 | 11 << 3 | 1,
					      0,
					      4,
					      0x80 | 2 << 3 | 0,
					      0x14,
					      0x80 | 15 << 3 | 0,
					      0x80 | 13 << 3 | 0,
					      7,
					      0x80 | 14 << 3 | 0,
					      0x4c,
					      2,
					      0,
					      1,
					      1};
	static const int lines[] = {11, 11, 11, 0, 8, 78};
	static const int at[] = {0, 2, 4, 6, 8, 10};
	for (int i = 0; i < 6; i++)
		assert_int_equal(python_line(LINES_LOCATIONS, table, sizeof(table), 10, at[i]), lines[i]);
	assert_int_equal(python_line(LINES_LOCATIONS, table, sizeof(table), 10, 12), 0);
}

/* Whatever the bytes are: an end, and a line or none. */
static void test_noise(void **unused)
{
	(void)unused;
	unsigned char table[512];
	srand(1);
	for (int round = 0; round < 20000; round++) {
		size_t size = (size_t)rand() % sizeof(table);
		for (size_t i = 0; i < size; i++)
			table[i] = (unsigned char)rand();
		for (enum python_lines f = LINES_LNOTAB; f <= LINES_LOCATIONS; f++)
			assert_true(python_line(f, table, size, rand(), rand() % 2000 - 10) >= 0);
	}
}

static void test_native(void **unused)
{
	(void)unused;
	static const struct {
		const char *symbol, *module;
		enum frame_origin origin;
	} cases[] = {
		{"_PyEval_EvalFrameDefault", "python3.11", ORIGIN_EVAL},
		{"_PyEval_EvalFrameDefault.cold", "libpython3.12.so.1.0", ORIGIN_EVAL},
		{"_PyEval_EvalFrameDefault.lto_priv.0", "service", ORIGIN_EVAL},
		{"PyNumber_Power", "libpython3.12.so.1.0", ORIGIN_DISPATCH},
		{"ternary_op", "python3.11", ORIGIN_DISPATCH},
		{"builtin_pow", "python3.11", ORIGIN_DISPATCH},
		{"builtin_pow_impl.isra.0", "python3.11", ORIGIN_DISPATCH},
		{"cfunction_vectorcall_FASTCALL_KEYWORDS", "python3.11", ORIGIN_DISPATCH},
		{"slot_tp_call", "python3.11", ORIGIN_DISPATCH},
		{"long_pow", "python3.11", ORIGIN_RUNTIME},
		{"long_pow.lto_priv.0", "libpython3.8.so.1.0", ORIGIN_RUNTIME},
		{"list_sort_impl", "python3.11", ORIGIN_RUNTIME},
		{"builtin_sorted", "python3.11", ORIGIN_RUNTIME},
		{"wrap_numbers", "_extension.cpython-311-x86_64-linux-gnu.so", ORIGIN_USER},
		{"sha256_block_data_order", "libcrypto.so.3", ORIGIN_USER},
		{"__GI___clock_nanosleep", "libc.so.6", ORIGIN_RUNTIME},
		{"memcpy", "libc-2.31.so", ORIGIN_RUNTIME},
		{NULL, "[vdso]", ORIGIN_RUNTIME},
		{NULL, NULL, ORIGIN_USER},
	};
	for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++)
		assert_int_equal(python_native_origin(cases[i].symbol, cases[i].module), cases[i].origin);
}

static void test_layouts(void **unused)
{
	(void)unused;
	for (int minor = 8; minor <= 13; minor++)
		assert_int_equal(python_layout_find(minor, false)->minor, minor);
	assert_null(python_layout_find(7, false));
	assert_null(python_layout_find(99, false));
	assert_true(python_layout_find(13, true)->free_threaded);
	struct python_layout l = *python_layout_find(13, false);
	unsigned char debug[2048] = "nonsense";
	assert_int_equal(python_layout_publish(&l, debug), -EINVAL);
	memset(debug, 0xff, sizeof(debug));
	memcpy(debug, "xdebugpy", 8);
	l = *python_layout_find(13, false);
	assert_int_equal(python_layout_publish(&l, debug), -EINVAL);
	assert_int_equal(l.tstate_next, python_layout_find(13, false)->tstate_next);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_lnotab),	  cmocka_unit_test(test_deltas),
		cmocka_unit_test(test_locations), cmocka_unit_test(test_noise),
		cmocka_unit_test(test_native),	  cmocka_unit_test(test_layouts),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}

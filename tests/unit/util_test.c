/* SPDX-License-Identifier: MIT
 *
 * util.h: what everything else takes for granted.
 */
#include "cli/util.h"

#include <errno.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

/* What `speak` writes to stderr, read back through a pipe. */
static const char *heard(void (*speak)(void))
{
	static char text[8192];
	int pipe_fd[2], saved = dup(STDERR_FILENO);

	assert_int_equal(pipe(pipe_fd), 0);
	dup2(pipe_fd[1], STDERR_FILENO);
	close(pipe_fd[1]);
	speak();
	dup2(saved, STDERR_FILENO);
	close(saved);
	ssize_t n = read(pipe_fd[0], text, sizeof(text) - 1);
	close(pipe_fd[0]);
	text[n > 0 ? n : 0] = '\0';
	return text;
}

static void speak_plain(void)
{
	errno = ENOENT;
	say("cannot open %s: %s", "a\x1b[31m\nb", strerror(errno));
	assert_int_equal(errno, ENOENT);
}

static void speak_long(void)
{
	char *s = xcalloc(10000, 1);
	memset(s, 'x', 9999);
	say("%s", s);
	free(s);
}

static void speak_quiet(void)
{
	say_verbose("nothing");
	verbosity = 1;
	say_verbose("something");
	verbosity = 0;
}

static void test_say(void **state)
{
	(void)state;
	assert_string_equal(heard(speak_plain),
			    "whystall: cannot open a?[31m b: No such file or directory\n");
	const char *s = heard(speak_long);
	assert_int_equal(strlen(s), 4095);
	assert_int_equal(s[4094], '\n');
	assert_string_equal(heard(speak_quiet), "whystall: something\n");
}

struct pair {
	int a, b;
};

static void test_vec(void **state)
{
	(void)state;
	VEC(struct pair) v = {0};

	for (int i = 0; i < 1000; i++) {
		assert_int_equal(vec_push(&v)->a, 0);
		v.at[i].a = i;
	}
	assert_int_equal(v.n, 1000);
	assert_int_equal(v.at[999].a, 999);
	v.n = 0; /* a used place is zeroed again */
	assert_int_equal(vec_push(&v)->a, 0);
	vec_free(&v);
	assert_null(v.at);
}

static void test_out_of_memory(void **state)
{
	(void)state;
#ifdef __SANITIZE_ADDRESS__
	skip(); /* its allocator aborts instead */
#endif
	pid_t pid = fork();
	if (pid == 0) {
		close(STDERR_FILENO);
		volatile size_t huge = SIZE_MAX / 2;
		xrealloc(NULL, huge, 16);
		_exit(0);
	}
	int status;
	waitpid(pid, &status, 0);
	assert_true(WIFEXITED(status));
	assert_int_equal(WEXITSTATUS(status), EXIT_BROKEN);
}

static void *intern_many(void *out)
{
	const char **at = out;
	char s[32];

	for (int i = 0; i < 20000; i++) {
		snprintf(s, sizeof(s), "name %d", i);
		at[i] = intern(s);
	}
	return NULL;
}

static void test_intern(void **state)
{
	(void)state;
	static const char *seen[4][20000];
	pthread_t t[4];
	char big[5001] = {0};

	assert_null(intern(NULL));
	assert_ptr_equal(intern("a"), intern_n("abc", 1));
	assert_string_equal(intern(""), "");
	assert_string_equal(intern_n("ab\0cd", 5), "ab");
	memset(big, 'x', 5000);
	assert_int_equal(strlen(intern(big)), 4096);
	memcpy(big + 4094, "\xe2\x82\xac", 3); /* a character across the cut goes whole */
	assert_int_equal(strlen(intern(big)), 4094);
	for (int i = 0; i < 4; i++)
		pthread_create(&t[i], NULL, intern_many, seen[i]);
	for (int i = 0; i < 4; i++)
		pthread_join(t[i], NULL);
	for (int i = 1; i < 4; i++)
		assert_memory_equal(seen[0], seen[i], sizeof(seen[0]));
	assert_string_equal(seen[0][12345], "name 12345");
}

/* Last, for it fills the table. */
static void test_intern_bound(void **state)
{
	(void)state;
	const char *kept = intern("kept"), *s = NULL;
	char big[4001] = {0};

	memset(big, 'y', 4000);
	for (int i = 0; i < 20000; i++) {
		memcpy(big, &i, sizeof(i));
		for (int k = 0; k < 4; k++)
			big[k] = (char)('a' + (i >> (k * 4)) % 16);
		s = intern(big);
	}
	assert_string_equal(s, "(too many names)");
	assert_ptr_equal(intern("kept"), kept);
}

static void test_time_parse(void **state)
{
	(void)state;
	static const struct {
		const char *s;
		uint64_t ns;
	} good[] = {
		{"250us", 250000}, {"20ms", 20000000},	{"1.5s", 1500000000},
		{"2m", 120 * NS},  {"0.25ms", 250000},	{".5s", NS / 2},
		{"1.s", NS},	   {"24h", 86400 * NS}, {"0.1234567891234s", 123456789},
		{"7ns", 7},	   {"0s", 0},
	};
	static const char *const bad[] = {
		"",	 "20",	   "ms",   ".ms",  "-1ms",  "+1ms", " 1ms", "1 ms", "1ms ",
		"1e3ms", "0x10ms", "nans", "infs", "1..5s", "1,5s", "1M",   "1MS",
	};
	static const char *const much[] = {"25h", "86401s", "99999999999999999999999999s"};
	uint64_t ns;

	for (size_t i = 0; i < LENGTH(good); i++) {
		assert_int_equal(time_parse(good[i].s, &ns), 0);
		assert_int_equal(ns, good[i].ns);
	}
	for (size_t i = 0; i < LENGTH(bad); i++)
		assert_int_equal(time_parse(bad[i], &ns), -EINVAL);
	for (size_t i = 0; i < LENGTH(much); i++)
		assert_int_equal(time_parse(much[i], &ns), -ERANGE);
}

static void test_time_format(void **state)
{
	(void)state;
	static const struct {
		uint64_t ns;
		const char *s;
	} rows[] = {
		{1840000000, "1.84 s"},
		{612000000, "612 ms"},
		{31000000, "31 ms"},
		{310000, "0.3 ms"},
		{45000, "45 us"},
		{123 * NS, "2 min 3 s"},
		{4500, "4.5 us"},
		{120, "120 ns"},
		{0, "0 s"},
		{3100000, "3.1 ms"},
		{999600000, "1.00 s"},
		{9996000000, "10.0 s"},
		{59960000000, "1 min 0 s"},
		{12400000000, "12.4 s"},
		{99700, "0.1 ms"},
		{9970000, "10 ms"},
		{3599600000000, "1 h 0 min"},
		{7500 * NS, "2 h 5 min"},
		{UINT64_MAX, "5124095 h 34 min"},
	};
	char buf[32];

	for (size_t i = 0; i < LENGTH(rows); i++)
		assert_string_equal(time_format(buf, sizeof(buf), rows[i].ns), rows[i].s);
}

static void test_count_format(void **state)
{
	(void)state;
	char buf[32], tiny[4];

	assert_string_equal(count_format(buf, sizeof(buf), 0), "0");
	assert_string_equal(count_format(buf, sizeof(buf), 999), "999");
	assert_string_equal(count_format(buf, sizeof(buf), 9812), "9,812");
	assert_string_equal(count_format(buf, sizeof(buf), UINT64_MAX), "18,446,744,073,709,551,615");
	assert_true(strlen(count_format(tiny, sizeof(tiny), 1234567)) < sizeof(tiny));
}

static void test_nearest(void **state)
{
	(void)state;
	static const char *const words[] = {"run", "attach", "report", "check", "--threshold"};

	assert_string_equal(nearest("reprot", words, LENGTH(words)), "report");
	assert_string_equal(nearest("rum", words, LENGTH(words)), "run");
	assert_string_equal(nearest("--treshold", words, LENGTH(words)), "--threshold");
	assert_null(nearest("zzz", words, LENGTH(words)));
	assert_null(nearest("", words, LENGTH(words)));
	char *big = xcalloc(5000, 1);
	memset(big, 'r', 4999);
	assert_null(nearest(big, words, LENGTH(words)));
	free(big);
}

static void test_file_read(void **state)
{
	(void)state;
	char *text = NULL;

	assert_true(file_read("/proc/self/maps", &text, 1 << 20) > 0);
	assert_non_null(strstr(text, "[stack]"));
	free(text);
	assert_int_equal(file_read("/proc/self/maps", &text, 10), -EFBIG);
	assert_int_equal(file_read("/nonexistent", &text, 10), -ENOENT);
	assert_int_equal(file_read("/", &text, 10), -EISDIR);
	assert_int_equal(file_read("/dev/null", &text, 10), 0);
	assert_string_equal(text, "");
	free(text);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_say),	      cmocka_unit_test(test_vec),
		cmocka_unit_test(test_out_of_memory), cmocka_unit_test(test_intern),
		cmocka_unit_test(test_time_parse),    cmocka_unit_test(test_time_format),
		cmocka_unit_test(test_count_format),  cmocka_unit_test(test_nearest),
		cmocka_unit_test(test_file_read),     cmocka_unit_test(test_intern_bound),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

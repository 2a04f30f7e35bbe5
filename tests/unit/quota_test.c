/* SPDX-License-Identifier: MIT
 *
 * CPU quotas are found in either version of control groups, at any level, whatever part of the hierarchy is
 * mounted; what is not understood is no quota.
 */
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "cli/quota.h"
#include "cli/util.h"

static char base[256];

static void file(const char *name, const char *text)
{
	char path[512];
	snprintf(path, sizeof path, "%s/%s", base, name);
	for (char *at = path + strlen(base) + 1; (at = strchr(at, '/')); *at++ = '/') {
		*at = 0;
		mkdir(path, 0700);
	}
	int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC, 0600);
	assert_true(fd >= 0 && write(fd, text, strlen(text)) == (ssize_t)strlen(text));
	close(fd);
}

static void find(struct quota *q, const char *cgroup, const char *mount_format)
{
	char mounts[1024];
	snprintf(mounts, sizeof mounts, mount_format, base);
	quota_find(q, cgroup, mounts);
}

static int setup(void **unused)
{
	(void)unused;
	const char *tmp = getenv("TMPDIR");
	snprintf(base, sizeof base, "%s/quota_test.XXXXXX", tmp ? tmp : P_tmpdir);
	return mkdtemp(base) ? 0 : -1;
}

static int teardown(void **unused)
{
	(void)unused;
	char command[512];
	snprintf(command, sizeof command, "rm -r '%s'", base);
	return system(command);
}

#define V2 "30 23 0:26 / %1$s/two rw,nosuid - cgroup2 cgroup2 rw,nsdelegate\n"

static void test_v2(void **unused)
{
	(void)unused;
	struct quota q = {0};
	struct quota_count before[QUOTA_LEVELS], after[QUOTA_LEVELS], rose;
	file("two/cpu.stat", "usage_usec 1\n");
	file("two/pod/cpu.max", "200000 100000\n");
	file("two/pod/cpu.stat", "usage_usec 9\nnr_periods 5\nnr_throttled 2\nthrottled_usec 70\n");
	file("two/pod/app/cpu.max", "50000 100000\n");
	file("two/pod/app/cpu.stat", "nr_throttled 10\nthrottled_usec 1000\n");
	file("two/pod/app/leaf/cpu.max", "max 100000\n");
	find(&q, "0::/pod/app/leaf\n", V2);
	assert_int_equal(q.n, 2);
	int tightest = quota_tightest(&q);
	assert_true(q.level[tightest].quota_us == 50000 && q.level[tightest].period_us == 100000);
	quota_read(&q, before);
	assert_int_equal(quota_most(&q, before, before, &rose), -1);
	assert_true(!rose.throttled_ns && !rose.periods);
	file("two/pod/app/cpu.stat", "nr_throttled 13\nthrottled_usec 151000\n");
	file("two/pod/cpu.stat", "nr_throttled 3\nthrottled_usec 80\n");
	quota_read(&q, after);
	assert_int_equal(quota_most(&q, before, after, &rose), tightest);
	assert_true(rose.throttled_ns == 150000000 && rose.periods == 3);
	quota_close(&q);
	quota_close(&q);
}

static void test_v1(void **unused)
{
	(void)unused;
	struct quota q = {0};
	struct quota_count now[QUOTA_LEVELS];
	file("one/app/cpu.cfs_quota_us", "25000\n");
	file("one/app/cpu.cfs_period_us", "50000\n");
	file("one/app/cpu.stat", "nr_periods 4\nnr_throttled 3\nthrottled_time 12345\n");
	file("one/cpu.cfs_quota_us", "-1\n");
	file("one/cpu.cfs_period_us", "100000\n");
	find(&q, "5:cpuset:/x\n4:cpuacct,cpu:/docker/app\n0::/elsewhere\n",
	     "31 30 0:27 / %1$s/set rw - cgroup cgroup rw,cpuset\n"
	     "32 30 0:28 /docker %1$s/one rw master:1 - cgroup cgroup rw,cpuacct,cpu\n");
	assert_int_equal(q.n, 1);
	assert_true(q.level[0].quota_us == 25000 && q.level[0].period_us == 50000);
	quota_read(&q, now);
	assert_true(now[0].throttled_ns == 12345 && now[0].periods == 3);
	/* what the kernel says is not understood */
	file("one/app/cpu.stat", "");
	quota_read(&q, now);
	assert_true(!now[0].throttled_ns && !now[0].periods);
	quota_close(&q);
}

static void test_none(void **unused)
{
	(void)unused;
	static const char *const cgroups[] = {
		"",	    "\n",	  "0::",       "0::/../outside\n", "nonsense",
		"4:cpu:\n", "4:cpuset:/", ":::::\n\n", "0::/missing\n",	   "1:name=cpu:/pod/app\n"};
	struct quota q = {0};
	for (size_t i = 0; i < LENGTH(cgroups); i++) {
		find(&q, cgroups[i], V2);
		assert_int_equal(q.n, 0);
	}
	find(&q, "0::/pod/app\n", "nonsense\n\n - - -\n%s");
	assert_int_equal(q.n, 0);
	find(&q, "0::/pod/app\n", "30 23 0:26 /other %1$s/two rw - cgroup2 cgroup2 rw\n");
	assert_int_equal(q.n, 0);
	file("two/odd/cpu.max", "0 0\n");
	find(&q, "0::/odd\n", V2);
	assert_int_equal(q.n, 0);
	assert_int_equal(quota_tightest(&q), -1);
	quota_close(&q);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_v2),
		cmocka_unit_test(test_v1),
		cmocka_unit_test(test_none),
	};
	return cmocka_run_group_tests(tests, setup, teardown);
}

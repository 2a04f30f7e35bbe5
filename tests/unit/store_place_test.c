/* SPDX-License-Identifier: MIT
 *
 * Where records are kept by default, which is the newest, which are removed, and reading where one may not
 * write.
 */
#include "cli/store.h"
#include "tests/unit/record_sample.h"

#include <errno.h>
#include <limits.h>
#include <setjmp.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

static char home[512];
static char buf[PATH_MAX], want[PATH_MAX];
static char why[1024];

static const char *in_home(const char *rest)
{
	stpcpy(stpcpy(stpcpy(want, home), "/"), rest);
	return want;
}

static void touch(const char *name)
{
	FILE *f = fopen(name, "w");

	assert_non_null(f);
	fputs("x", f);
	fclose(f);
}

static bool there(const char *rest)
{
	return access(in_home(rest), F_OK) == 0;
}

static void test_directory(void **state)
{
	(void)state;
	struct stat st;

	unsetenv("XDG_STATE_HOME");
	setenv("HOME", home, 1);
	setenv("TMPDIR", in_home("tmp"), 1);
	mkdir(want, 0700);
	assert_int_equal(store_directory(buf, sizeof(buf), false),
			 0); /* not made: the next one that is there */
	assert_string_equal(buf, in_home("tmp"));
	assert_int_equal(store_directory(buf, sizeof(buf), true), 0);
	assert_string_equal(buf, in_home(".local/state/whystall"));
	assert_int_equal(stat(buf, &st), 0);
	assert_int_equal(st.st_mode & 0777, 0700);
	setenv("XDG_STATE_HOME", in_home("xdg"), 1);
	assert_int_equal(store_directory(buf, sizeof(buf), true), 0);
	assert_string_equal(buf, in_home("xdg/whystall"));
	setenv("XDG_STATE_HOME", "relative", 1);
	assert_int_equal(store_directory(buf, sizeof(buf), true), 0);
	assert_string_equal(buf, in_home(".local/state/whystall"));
	touch(in_home("file")); /* where nothing can be made */
	setenv("XDG_STATE_HOME", want, 1);
	setenv("HOME", want, 1);
	assert_int_equal(store_directory(buf, sizeof(buf), true), 0);
	assert_string_equal(buf, in_home("tmp"));
	unsetenv("TMPDIR");
	unsetenv("HOME");
	unsetenv("XDG_STATE_HOME");
	assert_int_equal(store_directory(buf, sizeof(buf), true), 0);
	assert_string_equal(buf, "/tmp");
	setenv("XDG_STATE_HOME", home, 1);
	char tiny[4];
	assert_true(store_directory(tiny, sizeof(tiny), false) < 0);
}

static void test_name(void **state)
{
	(void)state;
	setenv("TZ", "Asia/Tokyo", 1);
	store_default_name(buf, sizeof(buf), 1795348800, 4711);
	assert_string_equal(buf, "2026-11-22T120000-4711.whystall");
}

static void record(int n, bool finish)
{
	char name[64];
	struct store *s;

	store_default_name(name, sizeof(name), 1000000000 + n, 42);
	store_directory(buf, sizeof(buf), true);
	strcat(strcat(buf, "/"), name);
	if (finish) {
		assert_int_equal(sample_record(buf), 0);
	} else if (fork() == 0) {
		_exit(store_create(&s, buf, false, why, sizeof(why)) || sample_put(s) || store_commit(s));
	} else {
		int status;
		wait(&status);
		assert_int_equal(status, 0);
	}
}

static void test_newest_and_prune(void **state)
{
	(void)state;
	struct store *mine;
	int ready[2], stop[2];
	char byte = 0;

	setenv("XDG_STATE_HOME", in_home("state"), 1);
	setenv("HOME", want, 1);
	setenv("TMPDIR", want, 1);
	for (int i = 0; i < 6; i++)
		record(10 + i, true);
	for (int i = 0; i < 5; i++)
		record(20 + i, false);
	assert_int_equal(store_newest(buf, sizeof(buf)), 0);
	assert_string_equal(buf, in_home("state/whystall/2001-09-09T014704-42.whystall"));
	touch(in_home("state/whystall/mine.whystall"));
	touch(in_home("state/whystall/2001-09-09T014709-42.whystall.bak"));
	assert_int_equal(store_create(&mine, in_home("state/whystall/2001-09-09T014600-1.whystall"), false,
				      why, sizeof(why)),
			 0);
	assert_int_equal(pipe(ready) | pipe(stop), 0);
	if (fork() == 0) { /* another process still writes an old one */
		struct store *s;
		char go = store_create(&s, in_home("state/whystall/2001-09-09T014601-2.whystall"), false, why,
				       sizeof(why)) == 0;
		close(stop[1]);
		_exit(write(ready[1], &go, 1) != 1 || read(stop[0], &go, 1) != 0);
	}
	assert_int_equal(read(ready[0], &byte, 1), 1);
	assert_int_equal(byte, 1);
	store_prune(2);
	close(stop[1]);
	wait(NULL);
	static const char *const kept[] = {"2001-09-09T014654", "2001-09-09T014655", "2001-09-09T014703",
					   "2001-09-09T014704"};
	static const char *const gone[] = {"2001-09-09T014650", "2001-09-09T014653", "2001-09-09T014700",
					   "2001-09-09T014702"};
	for (size_t i = 0; i < 4; i++) {
		snprintf(buf, sizeof(buf), "state/whystall/%s-42.whystall", kept[i]);
		assert_true(there(buf));
		snprintf(buf, sizeof(buf), "state/whystall/%s-42.whystall", gone[i]);
		assert_false(there(buf));
		strcat(buf, "-wal");
		assert_false(there(buf));
	}
	assert_true(there("state/whystall/mine.whystall"));
	assert_true(there("state/whystall/2001-09-09T014709-42.whystall.bak"));
	assert_true(there("state/whystall/2001-09-09T014600-1.whystall"));
	assert_true(there("state/whystall/2001-09-09T014601-2.whystall"));
	store_close(mine);
}

/* As a user who may not write the directory: 0 if it was read, else why is printed. */
static void read_as_nobody(const char *sentence)
{
	int status, fd[2];
	struct observations o;

	assert_int_equal(pipe(fd), 0);
	pid_t pid = fork();
	if (pid == 0) {
		int err = setgid(65534) || setuid(65534) ? 1 : store_load(&o, buf, why, sizeof(why));
		_exit(write(fd[1], why, strlen(why) + 1) < 0 || (err && !*why));
	}
	waitpid(pid, &status, 0);
	assert_int_equal(status, 0);
	assert_true(read(fd[0], why, sizeof(why)) > 0);
	if (!strstr(why, sentence))
		print_error("%s\n", why);
	assert_true(sentence[0] ? strstr(why, sentence) != NULL : why[0] == '\0');
}

static void test_read_only_directory(void **state)
{
	(void)state;
	int status;

	if (geteuid() != 0)
		skip();
	chmod(home, 0755);
	mkdir(in_home("ro"), 0777);
	chown(want, 65534, 65534);
	stpcpy(stpcpy(buf, want), "/r.whystall");
	pid_t pid = fork();
	if (pid == 0) {
		struct store *s;
		_exit(setgid(65534) || setuid(65534) || store_create(&s, buf, false, why, sizeof(why)) ||
		      sample_put(s) || store_commit(s));
	}
	waitpid(pid, &status, 0);
	assert_int_equal(status, 0);
	chmod(in_home("ro"), 0555);
	read_as_nobody(""); /* never closed, all files there */
	strcat(buf, "-shm");
	unlink(buf);
	buf[strlen(buf) - 4] = '\0';
	read_as_nobody(
		"was never closed, and this directory cannot be written; copy it together with its -wal");
	chmod(buf, 0);
	read_as_nobody("cannot be read: Permission denied");
	unlink(buf);
	strcat(buf, "-wal");
	unlink(buf);
	buf[strlen(buf) - 4] = '\0';
	assert_int_equal(sample_record(buf), 0);
	chmod(buf, 0444);
	read_as_nobody(""); /* closed */
}

static int begin(void **state)
{
	(void)state;
	return sample_place(home, sizeof(home));
}

static int end(void **state)
{
	(void)state;
	char command[620];

	snprintf(command, sizeof(command), "rm -rf %s", home);
	return system(command);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_directory),
		cmocka_unit_test(test_name),
		cmocka_unit_test(test_newest_and_prune),
		cmocka_unit_test(test_read_only_directory),
	};

	return cmocka_run_group_tests(tests, begin, end);
}

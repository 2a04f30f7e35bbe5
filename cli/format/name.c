/* SPDX-License-Identifier: MIT
 *
 * Names as a person would say them: no interpreter paths, no site-packages, no pids where there is a name.
 */
#include <jansson.h>
#include <stdlib.h>
#include <string.h>

#include "text.h"

static const char *base_name(const char *path)
{
	const char *slash = strrchr(path, '/');
	return slash && slash[1] ? slash + 1 : path;
}

/* How many words an interpreter's own options take from argv[1] on. */
static size_t python_options(char *const *argv, size_t n)
{
	size_t i = 1;
	while (i < n && argv[i][0] == '-' && argv[i][1] && argv[i][1] != 'm' && argv[i][1] != 'c') {
		if (!strcmp(argv[i], "-X") || !strcmp(argv[i], "-W") ||
		    !strcmp(argv[i], "--check-hash-based-pycs"))
			i++;
		i++;
	}
	return i < n ? i : n;
}

static void words_join(char *buf, size_t size, const char *first, char *const *argv, size_t n)
{
	size_t at = snprintf(buf, size, "%s", first);
	for (size_t i = 0; i < n && at < size; i++)
		at += snprintf(buf + at, size - at, "%s%s", at ? " " : "", argv[i]);
}

static void python_command(char *buf, size_t size, char *const *argv, size_t n)
{
	size_t i = python_options(argv, n);
	if (i == n)
		snprintf(buf, size, "%s", base_name(argv[0]));
	else if (argv[i][0] != '-') {
		words_join(buf, size, base_name(argv[i]), argv + i + 1, n - i - 1);
	} else if (i + 1 < n && strstr(argv[i + 1], "multiprocessing.spawn")) {
		snprintf(buf, size, "multiprocessing worker");
	} else if (i + 1 < n && strstr(argv[i + 1], "multiprocessing.resource_tracker")) {
		snprintf(buf, size, "multiprocessing resource tracker");
	} else if (i + 1 < n && strstr(argv[i + 1], "multiprocessing.forkserver")) {
		snprintf(buf, size, "multiprocessing fork server");
	} else {
		words_join(buf, size, "python", argv + i, n - i);
	}
}

char *name_command(char *buf, size_t size, const char *json)
{
	json_t *words = json ? json_loads(json, 0, NULL) : NULL, *word;
	size_t n = 0, i;
	char **argv = xcalloc(json_array_size(words) + 1, sizeof(*argv));
	json_array_foreach(words, i, word) if (json_is_string(word)) argv[n++] =
		(char *)json_string_value(word);
	if (!n)
		snprintf(buf, size, "%s", json && !words ? json : "(command not known)");
	else if (!strncmp(base_name(argv[0]), "python", 6) || !strncmp(base_name(argv[0]), "pypy", 4))
		python_command(buf, size, argv, n);
	else
		words_join(buf, size, base_name(argv[0]), argv + 1, n - 1);
	free(argv);
	json_decref(words);
	return buf;
}

char *name_process(char *buf, size_t size, const struct obs_process *p)
{
	char command[PROSE_MAX * 2];
	name_command(command, sizeof command, p->command);
	/* of a spawned worker the command says less than its role */
	if (!p->role || !strncmp(command, "multiprocessing ", 16))
		snprintf(buf, size, "%s", p->role ? p->role : command);
	else
		snprintf(buf, size, "%s of %s", p->role, command);
	return buf;
}

/* The first word of name_command's, but of "python -m x" that is x. */
char *name_program(char *buf, size_t size, const char *json)
{
	char command[PROSE_MAX * 2];
	static const char *const whole[] = {"multiprocessing ", "(command not known)"};
	name_command(command, sizeof command, json);
	char *end = command + strcspn(command, " ");
	for (size_t i = 0; i < LENGTH(whole); i++)
		if (!strncmp(command, whole[i], strlen(whole[i])))
			end = command + strlen(command);
	if (!strncmp(command, "python -m ", 10))
		memmove(command, command + 10, strlen(command + 10) + 1),
			end = command + strcspn(command, " ");
	*end = 0;
	return prose_fit(buf, size, command, NAME_MAX_COLUMNS, FIT_TAIL);
}

char *name_runtime(char *buf, size_t size, const struct obs_process *p)
{
	static const struct {
		const char *name, *said;
	} names[] = {{"cpython", "CPython"}, {"node", "Node.js"}, {"ruby", "Ruby"}};
	const char *said = p->runtime ? p->runtime : "";
	for (size_t i = 0; i < LENGTH(names); i++)
		if (!strcmp(said, names[i].name))
			said = names[i].said;
	snprintf(buf, size, "%.20s%s%.20s%s", said, p->runtime_version ? " " : "",
		 p->runtime_version ? p->runtime_version : "", p->free_threaded > 0 ? " free-threaded" : "");
	return buf;
}

/* Behind the standard library's or the packages' directory, NULL if the file is in neither. */
static const char *library_file(const char *file)
{
	static const char *const packages[] = {"/site-packages/", "/dist-packages/"};
	for (size_t i = 0; i < LENGTH(packages); i++) {
		const char *at = strstr(file, packages[i]);
		if (at)
			return at + strlen(packages[i]);
	}
	for (const char *at = file; (at = strstr(at, "/python")); at++) {
		size_t version = strspn(at + 7, "0123456789.t");
		if (version && at[7 + version] == '/' && strstr(at + 7 + version + 1, ".py"))
			return at + 7 + version + 1;
	}
	return NULL;
}

static bool file_is_users(const struct frame *f)
{
	return f->origin == ORIGIN_USER && f->kind != FRAME_NATIVE && f->file && f->file[0] == '/' &&
	       !library_file(f->file);
}

char *name_root(const struct observations *seen)
{
	const char *root = NULL;
	size_t length = 0;
	for (size_t i = 0; i < seen->frames.n; i++) {
		const struct frame *f = &seen->frames.at[i];
		if (!file_is_users(f))
			continue;
		if (!root) {
			root = f->file;
			length = base_name(root) - root;
		}
		size_t same = 0;
		while (same < length && root[same] == f->file[same])
			same++;
		while (same && root[same - 1] != '/')
			same--;
		length = same;
	}
	return length > 1 ? xprintf("%.*s", (int)length, root) : NULL;
}

char *name_place(const struct text *t, char *buf, size_t size, const char *file, int line, int columns)
{
	char path[PROSE_MAX], number[16] = "";
	const char *shorter = library_file(file);
	if (!shorter)
		shorter = t->root && !strncmp(file, t->root, strlen(t->root)) ? file + strlen(t->root) : file;
	if (line > 0)
		snprintf(number, sizeof(number), ":%d", line);
	prose_fit(path, sizeof(path), shorter, columns - (int)strlen(number), FIT_TAIL);
	snprintf(buf, size, "%s%s", path, number);
	return buf;
}

/* RFC 3339 has the wall clock's own fields: no time zone need be known here. */
char *name_moment(char *buf, size_t size, const struct obs_capture *c, uint64_t ns)
{
	int hour, minute;
	double second;
	const int64_t day = 86400 * (int64_t)NS;
	if (!c->started ||
	    sscanf(c->started, "%*4d-%*2d-%*2d%*1[Tt ]%2d:%2d:%lf", &hour, &minute, &second) != 3 ||
	    !(second >= 0 && second < 62) || hour < 0 || minute < 0) {
		char after[32];
		snprintf(buf, size, "%s after the start",
			 time_format(after, sizeof(after), ns - c->start_ns));
		return buf;
	}
	int64_t at = (hour * 3600 + minute * 60) * (int64_t)NS + (int64_t)(second * NS);
	at = ((at + (int64_t)(ns - c->start_ns)) % day + day) % day / 1000000;
	snprintf(buf, size, "%02d:%02d:%02d.%03d", (int)(at / 3600000), (int)(at / 60000 % 60),
		 (int)(at / 1000 % 60), (int)(at % 1000));
	return buf;
}

char *name_call(char *buf, size_t size, const char *syscall, const char *target)
{
	const char *word = "on";
	char short_target[PROSE_MAX];
	if (!strncmp(syscall, "recv", 4) || !strncmp(syscall, "read", 4) || !strncmp(syscall, "pread", 5))
		word = "from";
	else if (!strncmp(syscall, "send", 4) || !strncmp(syscall, "write", 5) || !strcmp(syscall, "connect"))
		word = "to";
	else if (!strncmp(syscall, "wait", 4))
		word = "for";
	if (target)
		snprintf(buf, size, "%.64s %s %s", syscall, word,
			 prose_fit(short_target, sizeof(short_target), target, NAME_MAX_COLUMNS, FIT_TAIL));
	else
		snprintf(buf, size, "%.64s", syscall);
	return buf;
}

char *name_lock(char *buf, size_t size, const struct obs_lock *lock)
{
	static const char *const kinds[] = {[LOCK_GIL] = "the GIL",	 [LOCK_MUTEX] = "a mutex",
					    [LOCK_RWLOCK] = "an rwlock", [LOCK_SEM] = "a lock (semaphore)",
					    [LOCK_COND] = "a condition", [LOCK_FUTEX] = "a futex"};
	char name[PROSE_MAX];
	const char *kind = (size_t)lock->kind < LENGTH(kinds) ? kinds[lock->kind] : NULL;
	if (lock->name && lock->kind != LOCK_GIL)
		snprintf(buf, size, "%s%s", lock_article(lock->name),
			 prose_fit(name, sizeof(name), lock->name, NAME_MAX_COLUMNS, FIT_HEAD));
	else
		snprintf(buf, size, "%s", kind ? kind : "a lock");
	return buf;
}

char *name_thread(char *buf, size_t size, const char *name, int tid)
{
	if (name && *name)
		return prose_fit(buf, size, name, NAME_MAX_COLUMNS, FIT_TAIL);
	if (tid)
		snprintf(buf, size, "thread %d", tid);
	else
		snprintf(buf, size, "a thread not known");
	return buf;
}

char *name_loop(char *buf, size_t size, const struct verdict_loop *l)
{
	char first[PROSE_MAX], others[64];
	name_thread(first, sizeof first, l->thread->name, l->thread->tid);
	if (l->seen->threads < 2)
		snprintf(buf, size, "%s", first);
	else
		snprintf(buf, size, "%s and %s", first,
			 prose_count(others, sizeof others, (uint64_t)l->seen->threads - 1, "other thread"));
	return buf;
}

char *name_state(char *buf, size_t size, enum thread_run run, const char *syscall, const char *target)
{
	char call[PROSE_MAX];
	if (run == RUN_BLOCKED && syscall)
		snprintf(buf, size, "blocked in %s", name_call(call, sizeof(call), syscall, target));
	else
		snprintf(buf, size, "%s",
			 run == RUN_BLOCKED    ? "blocked"
			 : run == RUN_RUNNING  ? "running"
			 : run == RUN_RUNNABLE ? "without a CPU"
					       : "");
	return buf;
}

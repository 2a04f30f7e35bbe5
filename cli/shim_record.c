/* SPDX-License-Identifier: MIT
 *
 * The shim's shared memory bears the recorder's pid, and the recorder has its record open. Both are other
 * processes' words: what is opened in the end is opened with our own rights, as a record, for reading.
 */
#include "shim_record.h"

#include <dirent.h>
#include <errno.h>
#include <signal.h>
#include <sqlite3.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "../record/arena.h"
#include "util.h"

uint64_t shim_arena(const struct maps *maps)
{
	for (size_t i = 0; i < maps->n; i++)
		if (!strcmp(maps->at[i].path, "/memfd:whystall") && !maps->at[i].offset &&
		    maps->at[i].end - maps->at[i].start >= sizeof(struct arena))
			return maps->at[i].start;
	return 0;
}

/* The file that the recorder has open of which it has the write-ahead log open too. */
static bool record_of(pid_t recorder, char *path, size_t size)
{
	char directory[64], link[320], other[PATH_MAX + 8];
	struct dirent *entry;
	bool found = false;
	snprintf(directory, sizeof directory, "/proc/%d/fd", (int)recorder);
	DIR *dir = opendir(directory);
	while (dir && !found && (entry = readdir(dir))) {
		snprintf(link, sizeof link, "%s/%s", directory, entry->d_name);
		ssize_t n = readlink(link, path, size - 1);
		if (n < 5 || strncmp(path + n - 4, "-wal", 4))
			continue;
		path[n - 4] = 0;
		snprintf(other, sizeof other, "/proc/%d/root%s", (int)recorder, path);
		if (access(path, R_OK) && !access(other, R_OK) && strlen(other) < size)
			memcpy(path, other, strlen(other) + 1);
		found = !access(path, R_OK);
	}
	if (dir)
		closedir(dir);
	return found;
}

int shim_record_find(pid_t pid, struct shim_record *out, char *why, size_t why_size)
{
	struct maps maps;
	struct { /* how an arena begins */
		uint64_t magic;
		uint32_t version, size;
		int32_t recorder;
	} head;
	int e = maps_read(pid, &maps);
	uint64_t at = e ? 0 : shim_arena(&maps);
	if (!e)
		maps_free(&maps);
	if (!at)
		return -ENOENT;
	e = mem_read(pid, at, &head, sizeof head);
	if (e) {
		snprintf(why, why_size, "its memory cannot be read: %s", strerror(-e));
		return e;
	}
	if (head.magic != ARENA_MAGIC || head.recorder <= 0 || kill(head.recorder, 0)) {
		snprintf(why, why_size, "the whystall that recorded it has gone");
		return -ENOENT;
	}
	out->recorder = head.recorder;
	if (record_of(out->recorder, out->path, sizeof out->path))
		return 0;
	snprintf(why, why_size, "the record that whystall %d makes of it cannot be read by this user",
		 (int)out->recorder);
	return -EACCES;
}

int shim_record_copy(const struct shim_record *record, const char *to, char *why, size_t why_size)
{
	sqlite3 *db = NULL;
	sqlite3_stmt *statement = NULL;
	int rc = sqlite3_open_v2(record->path, &db, SQLITE_OPEN_READONLY, NULL);
	if (rc == SQLITE_OK)
		rc = sqlite3_busy_timeout(db, 2000);
	if (rc == SQLITE_OK)
		rc = sqlite3_prepare_v2(db, "VACUUM INTO ?", -1, &statement, NULL);
	if (rc == SQLITE_OK)
		rc = sqlite3_bind_text(statement, 1, to, -1, SQLITE_STATIC);
	if (rc == SQLITE_OK && (rc = sqlite3_step(statement)) == SQLITE_DONE)
		rc = SQLITE_OK;
	if (rc != SQLITE_OK)
		snprintf(why, why_size, "cannot copy the record to %s: %s", to,
			 db ? sqlite3_errmsg(db) : "no memory");
	sqlite3_finalize(statement);
	sqlite3_close(db);
	return rc == SQLITE_OK ? 0 : -EIO;
}

bool shim_record_grows(const struct shim_record *record)
{
	struct shim_record now;
	return !kill(record->recorder, 0) && record_of(record->recorder, now.path, sizeof now.path) &&
	       !strcmp(now.path, record->path);
}

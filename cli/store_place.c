/* SPDX-License-Identifier: MIT
 *
 * Where records are kept when nobody says where: finding the newest one, and not letting them pile up. The
 * place may be a shared /tmp, so only our own files with a record's name count.
 */
#include "store_write.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

void store_default_name(char *buf, size_t size, time_t when, pid_t pid)
{
	struct tm t = {0};
	char stamp[32];

	gmtime_r(&when, &t);
	strftime(stamp, sizeof(stamp), "%Y-%m-%dT%H%M%S", &t);
	snprintf(buf, size, "%s-%d.whystall", stamp, (int)pid);
}

static bool name_is_record(const char *name)
{
	static const char pattern[] = "dddd-dd-ddTdddddd-"; /* d: a digit */
	size_t i;

	for (i = 0; pattern[i]; i++)
		if (pattern[i] == 'd' ? name[i] < '0' || name[i] > '9' : name[i] != pattern[i])
			return false;
	size_t digits = strspn(name + i, "0123456789");
	return digits > 0 && strcmp(name + i + digits, ".whystall") == 0;
}

/* The nth place there could be. 0, -ENOENT: no such (then go on), -E2BIG: no more. */
static int place_name(int nth, char *buf, size_t size)
{
	static const struct {
		const char *variable, *below;
	} places[] = {{"XDG_STATE_HOME", "/whystall"},
		      {"HOME", "/.local/state/whystall"},
		      {"TMPDIR", ""},
		      {NULL, "/tmp"}};

	if (nth >= (int)LENGTH(places))
		return -E2BIG;
	const char *base = places[nth].variable ? getenv(places[nth].variable) : "";
	if (!base || (places[nth].variable && base[0] != '/')) /* XDG: a relative path is to be ignored */
		return -ENOENT;
	int n = snprintf(buf, size, "%s%s", base, places[nth].below);
	return n < 0 || (size_t)n >= size ? -ENOENT : 0;
}

/* mkdir -p; private, as XDG wants it. */
static int place_make(char *path)
{
	for (char *slash = strchr(path + 1, '/'); slash; slash = strchr(slash + 1, '/')) {
		*slash = '\0';
		int err = mkdir(path, 0700) < 0 && errno != EEXIST ? -errno : 0;
		*slash = '/';
		if (err)
			return err;
	}
	return mkdir(path, 0700) < 0 && errno != EEXIST ? -errno : 0;
}

int store_directory(char *buf, size_t size, bool make)
{
	int err, first = 0;

	for (int i = 0; (err = place_name(i, buf, size)) != -E2BIG; i++) {
		if (err)
			continue;
		err = make ? place_make(buf) : 0;
		if (!err && access(buf, make ? R_OK | W_OK | X_OK : R_OK | X_OK) < 0)
			err = -errno;
		if (!err)
			return 0;
		first = first ? first : err;
	}
	return first ? first : -ENOENT;
}

struct record {
	char *path;
	const char *name; /* in path */
};
struct records {
	VEC(struct record) all;
};

static int compare_newest_first(const void *a, const void *b)
{
	return strcmp(((const struct record *)b)->name, ((const struct record *)a)->name);
}

static void records_find(struct records *out, const char *directory)
{
	DIR *dir = opendir(directory);
	struct dirent *entry;
	struct stat st;

	while (dir && (entry = readdir(dir))) {
		if (!name_is_record(entry->d_name) ||
		    fstatat(dirfd(dir), entry->d_name, &st, AT_SYMLINK_NOFOLLOW) < 0 ||
		    !S_ISREG(st.st_mode) || st.st_uid != geteuid() || st.st_size == 0)
			continue;
		struct record *r = vec_push(&out->all);
		r->path = xprintf("%s/%s", directory, entry->d_name);
		r->name = strrchr(r->path, '/') + 1;
	}
	if (dir)
		closedir(dir);
	if (out->all.n)
		qsort(out->all.at, out->all.n, sizeof(*out->all.at), compare_newest_first);
}

static void records_free(struct records *r)
{
	for (size_t i = 0; i < r->all.n; i++)
		free(r->all.at[i].path);
	vec_free(&r->all);
}

/* Of all places: the first may have become writable, or unwritable, since. */
int store_newest(char *buf, size_t size)
{
	struct records records = {0};
	char place[PATH_MAX];
	int err;

	for (int i = 0; (err = place_name(i, place, sizeof(place))) != -E2BIG; i++)
		if (!err)
			records_find(&records, place);
	err = -ENOENT;
	if (records.all.n > 0) {
		int n = snprintf(buf, size, "%s", records.all.at[0].path);
		err = n < 0 || (size_t)n >= size ? -ENAMETOOLONG : 0;
	}
	records_free(&records);
	return err;
}

enum record_state { RECORD_FINISHED, RECORD_UNCLOSED, RECORD_IN_USE };

/* From the outside: a closed record is out of WAL mode (offset 18 of the header,
 * sqlite.org/fileformat2.html 1.3.1), and whoever has one open holds SQLite's shared lock on it. OFD locks so
 * that our own locks are seen as well. */
static enum record_state record_state(const char *path)
{
	struct flock lock = {.l_type = F_WRLCK, .l_whence = SEEK_SET};
	enum record_state state = RECORD_IN_USE;
	unsigned char version = 0;
	int fd = store_is_open(path) ? -1 : open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);

	if (fd < 0)
		return state;
	if (fcntl(fd, F_OFD_GETLK, &lock) == 0 && lock.l_type == F_UNLCK)
		state = pread(fd, &version, 1, 18) == 1 && version == 1 ? RECORD_FINISHED : RECORD_UNCLOSED;
	close(fd);
	return state;
}

static void place_prune(const char *place, int keep)
{
	static const char *const beside[] = {"", "-wal", "-shm"};
	int seen[] = {[RECORD_FINISHED] = 0, [RECORD_UNCLOSED] = 0, [RECORD_IN_USE] = INT_MIN};
	struct records records = {0};

	records_find(&records, place);
	for (size_t i = 0; i < records.all.n; i++) {
		if (++seen[record_state(records.all.at[i].path)] <= keep)
			continue;
		for (size_t k = 0; k < LENGTH(beside); k++) {
			char *name = xprintf("%s%s", records.all.at[i].path, beside[k]);
			unlink(name);
			free(name);
		}
	}
	records_free(&records);
}

void store_prune(int keep)
{
	char place[PATH_MAX];
	int err;

	for (int i = 0; (err = place_name(i, place, sizeof(place))) != -E2BIG; i++)
		if (!err)
			place_prune(place, keep);
}

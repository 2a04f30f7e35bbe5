/* SPDX-License-Identifier: MIT
 *
 * dpkg keeps the files of every package in /var/lib/dpkg/info/PACKAGE[:ARCH].list, a path a line. Names of
 * debug packages: libc6-dbg and pythonX.Y-dbg are in Debian itself, everything else is PACKAGE-dbgsym in the
 * debug archive (wiki.debian.org, "AutomaticDebugPackages"). The database is the target's: bounded, and what
 * comes of it is a name to print, of the letters that names of packages may have.
 */
#include "debuginfo.h"

#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "modules.h"

#define LISTS_MAX 20000
#define LIST_BYTES (8u << 20)

/* Where /usr has been merged, a package may still name the file by its old path. */
static const char *other_path(const char *file)
{
	return !strncmp(file, "/usr/lib", 8) || !strncmp(file, "/usr/bin", 8) ? file + 4 : file;
}

static bool line_in(const char *text, const char *line)
{
	size_t n = strlen(line);
	for (const char *at = text; (at = strstr(at, line)); at += n)
		if ((at == text || at[-1] == '\n') && (at[n] == '\n' || !at[n]))
			return true;
	return false;
}

static bool list_has(pid_t pid, const char *list, const char *file)
{
	char path[PATH_MAX], *text;
	size_t n = 0;
	snprintf(path, sizeof(path), "/var/lib/dpkg/info/%s", list);
	int fd = target_open(pid, path);
	FILE *in = fd >= 0 ? fdopen(fd, "r") : NULL;
	if (!in)
		return false;
	text = xcalloc(1, LIST_BYTES + 1);
	n = fread(text, 1, LIST_BYTES, in);
	text[n] = 0;
	fclose(in);
	bool has = line_in(text, file) || line_in(text, other_path(file));
	free(text);
	return has;
}

static bool name_is_sane(const char *s)
{
	return *s && s[strspn(s, "abcdefghijklmnopqrstuvwxyz0123456789+-.")] == 0;
}

static void package_name(const char *package, char *buf, size_t size)
{
	const char *python = strstr(package, "python3.");
	if (!strcmp(package, "libc6"))
		snprintf(buf, size, "libc6-dbg");
	else if (python)
		snprintf(buf, size, "python3.%.*s-dbg", (int)strspn(python + 8, "0123456789"), python + 8);
	else
		snprintf(buf, size, "%s-dbgsym", package);
}

int debuginfo_package(pid_t pid, const char *file, char *buf, size_t size)
{
	char path[64], package[256];
	int e = -ENOENT, n = 0;
	snprintf(path, sizeof(path), "/proc/%d/root/var/lib/dpkg/info", (int)pid);
	DIR *dir = opendir(path);
	for (struct dirent *entry; e && dir && n < LISTS_MAX && (entry = readdir(dir)); n++) {
		size_t length = strlen(entry->d_name);
		if (length < 6 || length >= sizeof(package) || strcmp(entry->d_name + length - 5, ".list") ||
		    !list_has(pid, entry->d_name, file))
			continue;
		snprintf(package, sizeof(package), "%.*s", (int)strcspn(entry->d_name, ":"), entry->d_name);
		if (!strcmp(package, entry->d_name)) /* no architecture in it */
			package[length - 5] = 0;
		if (!name_is_sane(package))
			break;
		package_name(package, buf, size);
		e = 0;
	}
	if (dir)
		closedir(dir);
	return e;
}

/* Fedora, RHEL and their kin have a command that knows the way. */
int debuginfo_command(pid_t pid, const char *file, char *buf, size_t size)
{
	char path[64];
	snprintf(path, sizeof(path), "/proc/%d/root/usr/bin/dnf", (int)pid);
	if (access(path, X_OK) || strpbrk(file, "'\n"))
		return -ENOENT;
	snprintf(buf, size, "sudo dnf debuginfo-install $(rpm -qf '%s')", file);
	return 0;
}

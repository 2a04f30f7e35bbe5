/* SPDX-License-Identifier: MIT
 *
 * From a record to a report. A report that goes to a file is written beside it and moved into place, so that
 * nobody ever reads half of one; where the file is no regular one (a pipe, /dev/stdout) it is simply written
 * to.
 */
#include "report.h"

#include <errno.h>
#include <fcntl.h>
#include <langinfo.h>
#include <locale.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "format.h"
#include "lock_kind.h"
#include "store.h"
#include "util.h"

#define FILE_BUFFER (1u << 20) /* a document may have hundreds of megabytes */

const char *const report_colours[] = {"auto", "always", "never", NULL};

static bool variable_set(const char *name)
{
	const char *value = getenv(name);
	return value && *value;
}

/* NO_COLOR (no-color.org) and CLICOLOR_FORCE (bixense.com/clicolors) count where --color is auto. */
static bool colour_wanted(const char *choice, FILE *out)
{
	const char *term = getenv("TERM"), *force = getenv("CLICOLOR_FORCE");
	if (choice && strcmp(choice, "auto"))
		return !strcmp(choice, "always");
	if (variable_set("NO_COLOR"))
		return false;
	if (force && *force && strcmp(force, "0"))
		return true;
	if (!isatty(fileno(out)) || !term || !strcmp(term, "dumb"))
		return false;
	/* block characters come with the colours */
	locale_t user = newlocale(LC_CTYPE_MASK, "", 0);
	bool utf8 = user && !strcmp(nl_langinfo_l(CODESET, user), "UTF-8");
	if (user)
		freelocale(user);
	return utf8;
}

static int columns_of(FILE *out)
{
	struct winsize size;
	if (!isatty(fileno(out)) || ioctl(fileno(out), TIOCGWINSZ, &size) || !size.ws_col)
		return 80;
	return size.ws_col;
}

static bool stall_exists(const struct verdict *v, uint32_t id)
{
	for (size_t p = 0; p < v->processes.n; p++)
		for (size_t l = 0; l < v->processes.at[p].loops.n; l++) {
			const struct verdict_loop *loop = &v->processes.at[p].loops.at[l];
			for (size_t s = 0; s < loop->stalls.n; s++)
				if (loop->stalls.at[s].seen->id == id)
					return true;
		}
	return false;
}

static int report_print(const struct report *r, const struct verdict *v, FILE *out)
{
	char newest[4096];
	const struct format *format = format_find(r->format ? r->format : "text");
	struct format_options options = {
		.columns = columns_of(out),
		.colour = colour_wanted(r->colour, out),
		.stall = r->stall,
		.record = r->record,
		.prefix = r->prefix ? r->prefix : "",
		.newest = !store_newest(newest, sizeof(newest)) && !strcmp(newest, r->record),
	};
	if (r->write)
		return r->write(out, v, &options, r->closure);
	return format->write(out, v, &options);
}

/* stderr is not buffered: what others write there at the same time would come between the lines. */
static int stream_print(const struct report *r, const struct verdict *v, FILE *stream)
{
	char buffer[BUFSIZ * 8];
	if (stream != stderr)
		return report_print(r, v, stream);
	FILE *out = fdopen(dup(STDERR_FILENO), "w");
	if (!out)
		return -errno;
	setvbuf(out, buffer, _IOFBF, sizeof(buffer));
	int err = report_print(r, v, out);
	return fclose(out) && !err ? -errno : err;
}

static int file_print(const struct report *r, const struct verdict *v, const char *path)
{
	FILE *out = fopen(path, "we");
	if (!out)
		return -errno;
	int err = report_print(r, v, out);
	return fclose(out) && !err ? -errno : err;
}

/* Written whole or not at all. 0 or -errno. */
static int output_write(const struct report *r, const struct verdict *v)
{
	struct stat st;
	bool there = !stat(r->output, &st);
	if (there && !S_ISREG(st.st_mode))
		return file_print(r, v, r->output);
	char *real = there ? realpath(r->output, NULL) : xstrdup(r->output); /* a link stays one */
	if (!real)
		return -errno;
	char *beside = xprintf("%s.%d.part", real, (int)getpid());
	int fd = open(beside, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
	int err = fd < 0 ? -errno : 0;
	if (!err && there && fchmod(fd, st.st_mode & 0777))
		err = -errno;
	FILE *out = err ? NULL : fdopen(fd, "w");
	if (out) {
		setvbuf(out, NULL, _IOFBF, FILE_BUFFER);
		err = report_print(r, v, out);
		if (fclose(out) && !err)
			err = -errno;
		if (!err && rename(beside, real))
			err = -errno;
	} else if (fd >= 0) {
		close(fd);
	}
	if (err && fd >= 0)
		unlink(beside);
	free(beside);
	free(real);
	return err;
}

int report_writable(const char *output)
{
	struct stat st;
	int err = 0;
	char *place = output ? realpath(output, NULL) : NULL; /* a link stays one */
	if (!output)
		return EXIT_FINE;
	bool there = place && !stat(place, &st);
	if (!place)
		place = xstrdup(output);
	if (there && S_ISDIR(st.st_mode))
		err = EISDIR;
	else if (there && !S_ISREG(st.st_mode))
		err = access(place, W_OK) ? errno : 0;
	else { /* it is made beside, and moved into place */
		char *slash = strrchr(place, '/');
		if (slash)
			slash[slash == place] = 0;
		err = access(slash ? place : ".", W_OK | X_OK) ? errno : 0;
	}
	free(place);
	if (err)
		say("cannot write the report to %s: %s", output, strerror(err));
	return err ? EXIT_BROKEN : EXIT_FINE;
}

int report_load(struct observations *seen, const char *record)
{
	char why[512] = "";
	int err = store_load(seen, record, why, sizeof(why));
	if (!err) {
		lock_kinds_infer(seen);
		return 0;
	}
	if (*why)
		say("%s", why);
	else
		say("cannot read %s: %s", record, strerror(-err));
	return -1;
}

int report_record(const struct report *r)
{
	struct observations seen = {0};
	struct verdict verdict = {0};
	int err, status = EXIT_FINE;
	if (report_load(&seen, r->record))
		return EXIT_RECORD;
	verdict_make(&verdict, &seen);
	if (r->stall && !stall_exists(&verdict, r->stall)) {
		say("%s has no stall %u", r->record, r->stall);
		status = EXIT_USAGE;
	} else if ((err = r->output ? output_write(r, &verdict) : stream_print(r, &verdict, r->stream))) {
		if (err < 0)
			say("cannot write the report to %s: %s",
			    r->output		  ? r->output
			    : r->stream == stderr ? "standard error"
						  : "standard output",
			    strerror(-err));
		status = err < 0 ? EXIT_BROKEN : EXIT_FINE;
	}
	verdict_free(&verdict);
	observations_free(&seen);
	return status;
}

/* SPDX-License-Identifier: MIT
 *
 * Messages, memory, time and words (strings that live for ever are intern.c's). What is printed here can
 * carry names taken from a target, so control characters never reach the terminal; sizes are checked, because
 * they may come from a hostile file.
 */
#include "util.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

int verbosity;

#define SAY_MAX 4096
#define WORD_MAX 64
#define VEC_LEAST 512 /* bytes */

static void write_all(int fd, const char *from, size_t len)
{
	while (len > 0) {
		ssize_t n = write(fd, from, len);
		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return; /* nowhere left to say it */
		from += n;
		len -= (size_t)n;
	}
}

static void say_v(const char *format, va_list ap)
{
	static const char prefix[] = "whystall: ";
	const size_t start = sizeof(prefix) - 1;
	char line[SAY_MAX];
	int saved = errno;

	memcpy(line, prefix, start);
	int n = vsnprintf(line + start, sizeof(line) - start - 1, format, ap);
	size_t end = start + (n < 0 ? 0 : (size_t)n);
	if (end > sizeof(line) - 2)
		end = sizeof(line) - 2;
	for (size_t i = start; i < end; i++)
		if ((unsigned char)line[i] < ' ' || line[i] == 0x7f)
			line[i] = line[i] == '\n' || line[i] == '\t' ? ' ' : '?';
	line[end++] = '\n';
	write_all(STDERR_FILENO, line, end);
	errno = saved;
}

void say(const char *format, ...)
{
	va_list ap;

	va_start(ap, format);
	say_v(format, ap);
	va_end(ap);
}

void say_verbose(const char *format, ...)
{
	va_list ap;

	if (verbosity < 1)
		return;
	va_start(ap, format);
	say_v(format, ap);
	va_end(ap);
}

/* _exit: the handlers of exit() may well allocate. */
static void __attribute__((noreturn)) out_of_memory(size_t n, size_t size)
{
	say("out of memory (wanted %zu times %zu bytes); free some, or raise the limit, and try again", n,
	    size);
	_exit(EXIT_BROKEN);
}

void *xcalloc(size_t n, size_t size)
{
	void *p = calloc(n ? n : 1, size ? size : 1);

	if (!p)
		out_of_memory(n, size);
	return p;
}

void *xrealloc(void *p, size_t n, size_t size)
{
	p = reallocarray(p, n ? n : 1, size ? size : 1);
	if (!p)
		out_of_memory(n, size);
	return p;
}

char *xstrdup(const char *s)
{
	char *copy = strdup(s);

	if (!copy)
		out_of_memory(1, strlen(s) + 1);
	return copy;
}

char *xprintf(const char *format, ...)
{
	va_list ap;
	char *s;

	va_start(ap, format);
	int n = vasprintf(&s, format, ap);
	va_end(ap);
	if (n < 0)
		out_of_memory(1, strlen(format));
	return s;
}

void *vec_grow(void *at, size_t *room, size_t need, size_t size)
{
	if (need <= *room)
		return at;
	size_t more = *room > SIZE_MAX / 2 ? SIZE_MAX : *room * 2;
	if (more * size < VEC_LEAST)
		more = VEC_LEAST / size;
	if (more < need)
		more = need;
	at = xrealloc(at, more, size);
	*room = more;
	return at;
}

void *vec_fit(void *at, size_t *room, size_t n, size_t size)
{
	if (n == *room)
		return at;
	*room = n;
	if (n)
		return xrealloc(at, n, size);
	free(at);
	return NULL;
}

uint64_t now_ns(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * NS + (uint64_t)t.tv_nsec;
}

/* No strtod: it takes hex, "inf", blanks and the locale's decimal point. */
int time_parse(const char *s, uint64_t *ns)
{
	static const struct {
		const char *name;
		uint64_t ns;
	} units[] = {{"ns", 1}, {"us", 1000}, {"ms", 1000000}, {"s", NS}, {"m", 60 * NS}, {"h", 3600 * NS}};
	const uint64_t day = 24 * 3600 * NS;
	uint64_t whole = 0, fraction = 0, scale = 1;
	bool digits = false;

	for (; *s >= '0' && *s <= '9'; s++, digits = true) {
		whole = whole * 10 + (uint64_t)(*s - '0');
		if (whole > day)
			return -ERANGE;
	}
	if (*s == '.') {
		for (s++; *s >= '0' && *s <= '9'; s++, digits = true) {
			if (scale == 1000000000) /* finer than the clock */
				continue;
			fraction = fraction * 10 + (uint64_t)(*s - '0');
			scale *= 10;
		}
	}
	for (size_t i = 0; digits && i < LENGTH(units); i++) {
		if (strcmp(s, units[i].name) != 0)
			continue;
		unsigned __int128 sum = (unsigned __int128)whole * units[i].ns +
					(unsigned __int128)fraction * units[i].ns / scale;
		if (sum > day)
			return -ERANGE;
		*ns = (uint64_t)sum;
		return 0;
	}
	return -EINVAL;
}

/* Each row holds below `below` once rounded to its `step`, so that 999.9 ms reads "1.00 s", never "1000 ms".
 */
char *time_format(char *buf, size_t size, uint64_t ns)
{
	static const struct {
		uint64_t below, step, unit;
		int decimals;
		const char *name;
	} rows[] = {
		{1000, 1, 1, 0, "ns"},		 {10000, 100, 1000, 1, "us"},
		{100000, 1000, 1000, 0, "us"},	 {10000000, 100000, 1000000, 1, "ms"},
		{NS, 1000000, 1000000, 0, "ms"}, {10 * NS, NS / 100, NS, 2, "s"},
		{60 * NS, NS / 10, NS, 1, "s"},
	};

	if (ns == 0) {
		snprintf(buf, size, "0 s");
		return buf;
	}
	for (size_t i = 0; i < LENGTH(rows); i++) {
		uint64_t round = (ns + rows[i].step / 2) / rows[i].step * rows[i].step;
		if (ns >= rows[i].below || round >= rows[i].below)
			continue;
		snprintf(buf, size, "%.*f %s", rows[i].decimals, (double)round / (double)rows[i].unit,
			 rows[i].name);
		return buf;
	}
	uint64_t s = ns / NS + (ns % NS >= NS / 2);
	if (s < 3600)
		snprintf(buf, size, "%" PRIu64 " min %" PRIu64 " s", s / 60, s % 60);
	else
		snprintf(buf, size, "%" PRIu64 " h %" PRIu64 " min", s / 3600, s % 3600 / 60);
	return buf;
}

char *count_format(char *buf, size_t size, uint64_t n)
{
	char plain[24];
	size_t digits = (size_t)snprintf(plain, sizeof(plain), "%" PRIu64, n), to = 0;

	for (size_t i = 0; i < digits && to + 2 < size; i++) {
		if (i > 0 && (digits - i) % 3 == 0)
			buf[to++] = ',';
		buf[to++] = plain[i];
	}
	if (size > 0)
		buf[to] = '\0';
	return buf;
}

/* Optimal string alignment: insertions, deletions, replacements and swapped neighbours cost one each. */
static size_t distance(const char *a, size_t n, const char *b, size_t m)
{
	size_t d[WORD_MAX + 1][WORD_MAX + 1];

	for (size_t i = 0; i <= n; i++)
		d[i][0] = i;
	for (size_t j = 0; j <= m; j++)
		d[0][j] = j;
	for (size_t i = 1; i <= n; i++) {
		for (size_t j = 1; j <= m; j++) {
			size_t best = d[i - 1][j - 1] + (a[i - 1] != b[j - 1]);
			if (d[i - 1][j] + 1 < best)
				best = d[i - 1][j] + 1;
			if (d[i][j - 1] + 1 < best)
				best = d[i][j - 1] + 1;
			if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] &&
			    d[i - 2][j - 2] + 1 < best)
				best = d[i - 2][j - 2] + 1;
			d[i][j] = best;
		}
	}
	return d[n][m];
}

const char *nearest(const char *word, const char *const *words, size_t n)
{
	size_t len = strlen(word), best = SIZE_MAX;
	const char *found = NULL;

	if (len > WORD_MAX)
		return NULL;
	for (size_t i = 0; i < n; i++) {
		size_t other = strlen(words[i]);
		if (other > WORD_MAX)
			continue;
		size_t d = distance(word, len, words[i], other);
		if (d < best && d <= (len > other ? len : other) / 3) {
			best = d;
			found = words[i];
		}
	}
	return found;
}

/* By read(2) to the end: files in /proc say that they are empty. */
ssize_t file_read(const char *path, char **out, size_t max)
{
	VEC(char) text = {0};
	int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY);
	ssize_t n = 0;

	if (fd < 0)
		return -errno;
	for (;;) {
		text.at = vec_grow(text.at, &text.room, text.n + 4096, 1);
		n = read(fd, text.at + text.n, text.room - text.n - 1);
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			n = -errno;
		if (n <= 0)
			break;
		text.n += (size_t)n;
		if (text.n > max) {
			n = -EFBIG;
			break;
		}
	}
	close(fd);
	if (n < 0) {
		vec_free(&text);
		return n;
	}
	text.at[text.n] = '\0';
	*out = text.at;
	return (ssize_t)text.n;
}

bool text_ends(const char *s, const char *end)
{
	size_t n = strlen(s), m = strlen(end);
	return n >= m && !strcmp(s + n - m, end);
}

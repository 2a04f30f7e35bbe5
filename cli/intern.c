/* SPDX-License-Identifier: MIT
 *
 * One copy of every string. Names come by the million (a frame each time a stack is read) and repeat, and
 * they come from targets and records that may be hostile, so the whole is bounded. Strings are never freed: a
 * pointer to one may be kept anywhere.
 */
#include "util.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/auxv.h>

#define STRING_MAX 4096
#define TOTAL_MAX (64u << 20)
#define BLOCK (256u << 10) /* strings are laid into blocks: no malloc each */

struct entry {
	uint32_t hash, len;
	const char *s; /* NULL: free */
};

static struct {
	pthread_mutex_t lock;
	struct entry *at; /* open addressing, at most half full */
	size_t n, room;
	char *block;
	size_t left;  /* in the block */
	size_t total; /* bytes handed out */
	uint64_t seed;
} table = {.lock = PTHREAD_MUTEX_INITIALIZER};

static pthread_once_t once = PTHREAD_ONCE_INIT;

static void seed(void)
{
	const void *random = (const void *)getauxval(AT_RANDOM); /* 16 bytes */

	if (random)
		memcpy(&table.seed, random, sizeof(table.seed));
}

static const char too_many[] = "(too many names)";

/* FNV-1a, 64 bits folded: short strings, no secrets; the table's size bounds what crafted collisions can
 * cost. */
static uint32_t hash(const char *s, size_t n)
{
	uint64_t h = 0xcbf29ce484222325ull;

	for (size_t i = 0; i < n; i++)
		h = (h ^ (unsigned char)s[i]) * 0x100000001b3ull;
	return (uint32_t)(h ^ (h >> 32));
}

static struct entry *find(const char *s, size_t n, uint32_t h)
{
	for (size_t i = h & (table.room - 1);; i = (i + 1) & (table.room - 1)) {
		struct entry *e = &table.at[i];
		if (!e->s || (e->hash == h && e->len == n && memcmp(e->s, s, n) == 0))
			return e;
	}
}

static void grow(void)
{
	struct entry *old = table.at;
	size_t room = table.room;

	table.room = room ? room * 2 : 1024;
	table.at = xcalloc(table.room, sizeof(*table.at));
	for (size_t i = 0; i < room; i++)
		if (old[i].s)
			*find(old[i].s, old[i].len, old[i].hash) = old[i];
	free(old);
}

static const char *keep(const char *s, size_t n)
{
	if (table.total + n + 1 + sizeof(struct entry) > TOTAL_MAX)
		return NULL;
	if (table.left < n + 1) {
		table.block = xcalloc(1, BLOCK);
		table.left = BLOCK;
	}
	char *copy = table.block;
	memcpy(copy, s, n); /* the block was zero: terminated */
	table.block += n + 1;
	table.left -= n + 1;
	table.total += n + 1 + sizeof(struct entry);
	return copy;
}

const char *intern_n(const char *s, size_t n)
{
	if (!s)
		return NULL;
	n = strnlen(s, n);
	if (n > STRING_MAX) {
		n = STRING_MAX;
		while (n > STRING_MAX - 4 && ((unsigned char)s[n] & 0xc0) == 0x80)
			n--; /* not through the middle of a character */
	}
	pthread_once(&once, seed);
	uint32_t h = hash(s, n);
	pthread_mutex_lock(&table.lock);
	if (table.n * 2 >= table.room)
		grow();
	struct entry *e = find(s, n, h);
	const char *found = e->s;
	if (!found) {
		found = keep(s, n);
		if (found) {
			*e = (struct entry){h, (uint32_t)n, found};
			table.n++;
		} else {
			found = too_many;
		}
	}
	pthread_mutex_unlock(&table.lock);
	return found;
}

const char *intern(const char *s)
{
	return s ? intern_n(s, strlen(s)) : NULL;
}

/* The length of the UTF-8 character at s (RFC 3629: shortest form, no surrogates), 0 for none, or a control.
 */
static size_t character(const unsigned char *s, size_t n)
{
	static const unsigned low[] = {0, 0, 0x80, 0x800, 0x10000};
	size_t len = s[0] < 0x80   ? 1
		     : s[0] < 0xc2 ? 0
		     : s[0] < 0xe0 ? 2
		     : s[0] < 0xf0 ? 3
		     : s[0] < 0xf5 ? 4
				   : 0;
	unsigned c = len < 2 ? s[0] : s[0] & (0xffu >> (len + 1));

	if (len == 0 || len > n)
		return 0;
	for (size_t i = 1; i < len; i++) {
		if ((s[i] & 0xc0) != 0x80)
			return 0;
		c = c << 6 | (s[i] & 0x3f);
	}
	if (c < low[len] || c > 0x10ffff || (c >= 0xd800 && c < 0xe000))
		return 0;
	return c < 0x20 || (c >= 0x7f && c < 0xa0) ? 0 : len;
}

const char *intern_text(const char *s, size_t n)
{
	char clean[STRING_MAX + 8];
	size_t plain = 0, to = 0;

	if (!s)
		return NULL;
	while (plain < n && s[plain] >= ' ' && s[plain] < 0x7f)
		plain++;
	if (plain == n)
		return intern_n(s, n);
	for (size_t i = 0; i < n && to <= STRING_MAX;) {
		size_t len = character((const unsigned char *)s + i, n - i);
		if (len == 0) {
			to += (size_t)snprintf(clean + to, 5, "\\x%02x", (unsigned char)s[i++]);
			continue;
		}
		memcpy(clean + to, s + i, len);
		to += len;
		i += len;
	}
	return intern_n(clean, to);
}

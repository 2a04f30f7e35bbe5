/* SPDX-License-Identifier: MIT
 *
 * Python's objects seen from outside: str, int, dict, attributes. Layouts: Include/cpython/unicodeobject.h,
 * Include/internal/pycore_dict.h (Objects/dict-common.h to 3.10), pycore_object.h, pycore_long.h.
 */
#include <stdlib.h>

#include "cli/interp/python.h"
#include "cli/util.h"

#define DICT_MAX 65536
#define FLAG_INLINE_VALUES (1u << 2) /* Py_TPFLAGS_INLINE_VALUES, 3.13 */
#define FLAG_MANAGED_DICT (1u << 4)  /* Py_TPFLAGS_MANAGED_DICT, 3.11 */
#define KEY_BYTES 96		     /* of a str that is compared with a key of ours, header included */
#define VALUES_MAX 64		     /* SHARED_KEYS_MAX_SIZE is 30; to 3.10 there may be some more */

int python_pointer(struct interp *py, uint64_t address, uint64_t *out)
{
	return mem_read(py->pid, address, out, sizeof(*out));
}

int python_check(struct interp *py, uint64_t object, uint64_t type)
{
	uint64_t now;
	int e = python_pointer(py, object + (uint64_t)py->layout.object_type, &now);
	return e ? e : now == type && type ? 0 : -EAGAIN;
}

/* Appends a code point. Lone surrogates (surrogateescape) become U+FFFD. */
static size_t utf8_put(char *to, uint32_t c)
{
	if (c > 0x10ffff || (c >= 0xd800 && c < 0xe000))
		c = 0xfffd;
	if (c < 0x80) {
		to[0] = (char)c;
		return 1;
	}
	if (c < 0x800) {
		to[0] = (char)(0xc0 | c >> 6);
		to[1] = (char)(0x80 | (c & 63));
		return 2;
	}
	if (c < 0x10000) {
		to[0] = (char)(0xe0 | c >> 12);
		to[1] = (char)(0x80 | (c >> 6 & 63));
		to[2] = (char)(0x80 | (c & 63));
		return 3;
	}
	to[0] = (char)(0xf0 | c >> 18);
	to[1] = (char)(0x80 | (c >> 12 & 63));
	to[2] = (char)(0x80 | (c >> 6 & 63));
	to[3] = (char)(0x80 | (c & 63));
	return 4;
}

/* From a str's header: where its characters are, how wide each is, how many. */
static int string_shape(const struct python_layout *l, const unsigned char *head, uint64_t *length,
			int *width, int *data)
{
	unsigned state = (unsigned)python_i32(head, l->unicode_state);
	bool ascii = state >> l->unicode_ascii_shift & 1;
	*length = python_u64(head, l->unicode_length);
	*width = (int)(state >> l->unicode_kind_shift & 7);
	*data = ascii ? l->unicode_ascii_size : l->unicode_compact_size;
	bool sane = (state >> l->unicode_compact_shift & 1) && (*width == 1 || *width == 2 || *width == 4) &&
		    (!ascii || *width == 1);
	return sane ? 0 : -EAGAIN;
}

int python_string(struct interp *py, uint64_t object, char *buf, size_t size)
{
	const struct python_layout *l = &py->layout;
	unsigned char head[128], data[PYTHON_STRING];
	uint64_t length;
	int width, at;
	buf[0] = 0;
	int e = mem_read(py->pid, object, head, (size_t)l->unicode_state + 4);
	if (e)
		return e;
	if (python_u64(head, l->object_type) != py->at.unicode)
		return -EAGAIN;
	e = string_shape(l, head, &length, &width, &at);
	if (e)
		return e;
	if (length > sizeof(data) / (size_t)width)
		length = sizeof(data) / (size_t)width;
	if (length && (e = mem_read(py->pid, object + (uint64_t)at, data, length * (size_t)width)))
		return e;
	size_t n = 0;
	for (uint64_t i = 0; i < length && n + 5 < size; i++) {
		uint32_t c = data[i];
		if (width == 2)
			c = data[2 * i] | (uint32_t)data[2 * i + 1] << 8;
		else if (width == 4)
			memcpy(&c, data + 4 * i, 4);
		if (!c)
			c = 0xfffd;
		n += utf8_put(buf + n, c);
	}
	buf[n] = 0;
	return 0;
}

int python_integer(struct interp *py, uint64_t object, uint64_t *out)
{
	const struct python_layout *l = &py->layout;
	unsigned char bytes[64];
	int e = mem_read(py->pid, object, bytes, (size_t)l->int_digits + 12);
	if (e)
		return e;
	uint64_t size = python_u64(bytes, l->int_size);
	if (python_u64(bytes, l->object_type) != py->at.integer)
		return -EAGAIN;
	if (l->int_size_shift && size & 3) /* pycore_long.h: SIGN_MASK; zero or negative */
		return -ERANGE;
	size >>= l->int_size_shift;
	if (size < 1 || size > 2)
		return -ERANGE;
	*out = (uint32_t)python_i32(bytes, l->int_digits);
	if (size == 2)
		*out |= (uint64_t)(uint32_t)python_i32(bytes, l->int_digits + 4) << 30; /* PyLong_SHIFT */
	return 0;
}

/* --- dictionaries --- */

struct keys {
	uint64_t entries; /* address */
	uint64_t n;
	int stride, key, value; /* offsets in an entry */
};

static int keys_read(struct interp *py, uint64_t address, struct keys *out)
{
	const struct python_layout *l = &py->layout;
	unsigned char head[64];
	int e = mem_read(py->pid, address, head, (size_t)l->keys_indices);
	if (e)
		return e;
	uint64_t index_bytes;
	*out = (struct keys){.n = python_u64(head, l->keys_nentries), .stride = 24, .key = 8, .value = 16};
	if (l->keys_size >= 0) {
		uint64_t size = python_u64(head, l->keys_size);
		if (size > (1ull << 32))
			return -EAGAIN;
		index_bytes = size * (size <= 0xff ? 1 : size <= 0xffff ? 2 : size <= 0xffffffff ? 4 : 8);
	} else {
		unsigned log2 = head[l->keys_log2_index_bytes], kind = head[l->keys_kind];
		if (log2 > 40 || kind > 2)
			return -EAGAIN;
		index_bytes = 1ull << log2;
		if (kind) /* DICT_KEYS_UNICODE, DICT_KEYS_SPLIT: PyDictUnicodeEntry, without the hash */
			out->stride = 16, out->key = 0, out->value = 8;
	}
	if (out->n > index_bytes)
		return -EAGAIN;
	out->entries = address + (uint64_t)l->keys_indices + index_bytes;
	return 0;
}

/* Entries of combined keys (values = 0), or keys with values elsewhere. */
static int entries_read(struct interp *py, uint64_t keys_at, uint64_t values, int max,
			struct python_dict *out)
{
	struct keys k;
	int e = keys_read(py, keys_at, &k);
	if (e)
		return e;
	if (values && k.n > VALUES_MAX)
		return -EAGAIN;
	size_t n = k.n < (uint64_t)max ? (size_t)k.n : (size_t)max;
	unsigned char *raw = xcalloc(n + 1, (size_t)k.stride);
	uint64_t apart[VALUES_MAX];
	out->key = xcalloc(n + 1, sizeof(uint64_t));
	out->value = xcalloc(n + 1, sizeof(uint64_t));
	struct mem_part part[2] = {{k.entries, raw, n * (size_t)k.stride},
				   {values, apart, n * sizeof(uint64_t)}};
	e = n ? mem_read_parts(py->pid, part, values ? 2 : 1) : 0;
	for (size_t i = 0; i < n && !e; i++) {
		uint64_t key = python_u64(raw + i * (size_t)k.stride, k.key);
		uint64_t value = values ? apart[i] : python_u64(raw + i * (size_t)k.stride, k.value);
		if (!key || !value)
			continue;
		out->key[out->n] = key;
		out->value[out->n++] = value;
	}
	free(raw);
	if (e)
		python_dict_free(out);
	return e;
}

int python_dict_read_any(struct interp *py, uint64_t dict, int max, struct python_dict *out)
{
	const struct python_layout *l = &py->layout;
	unsigned char head[96];
	*out = (struct python_dict){0};
	int e = mem_read(py->pid, dict, head, (size_t)l->dict_values + 8);
	if (e)
		return e;
	uint64_t values = python_u64(head, l->dict_values);
	return entries_read(py, python_u64(head, l->dict_keys),
			    values ? values + (uint64_t)l->values_first : 0, max < DICT_MAX ? max : DICT_MAX,
			    out);
}

int python_dict_read(struct interp *py, uint64_t dict, int max, struct python_dict *out)
{
	*out = (struct python_dict){0};
	int e = python_check(py, dict, py->at.dict);
	return e ? e : python_dict_read_any(py, dict, max, out);
}

void python_dict_free(struct python_dict *dict)
{
	free(dict->key);
	free(dict->value);
	*dict = (struct python_dict){0};
}

int python_dict_find_same(const struct python_dict *dict, uint64_t key, uint64_t *value)
{
	for (int i = 0; i < dict->n; i++) {
		if (dict->key[i] == key) {
			*value = dict->value[i];
			return 0;
		}
	}
	return -ENOENT;
}

static bool key_equal(const struct interp *py, const unsigned char *head, const char *key, size_t length)
{
	uint64_t n;
	int width, at;
	return python_u64(head, py->layout.object_type) == py->at.unicode &&
	       !string_shape(&py->layout, head, &n, &width, &at) && width == 1 && n == length &&
	       (size_t)at + length <= KEY_BYTES && !memcmp(head + at, key, length);
}

int python_dict_find(struct interp *py, const struct python_dict *dict, const char *key, uint64_t *value)
{
	enum { SOME = 128 };
	unsigned char head[SOME][KEY_BYTES];
	struct mem_part part[SOME];
	size_t length = strlen(key), want = (size_t)py->layout.unicode_ascii_size + length;
	for (int from = 0; from < dict->n; from += SOME) {
		int n = dict->n - from < SOME ? dict->n - from : SOME;
		for (int i = 0; i < n; i++)
			part[i] = (struct mem_part){dict->key[from + i], head[i], want};
		int e = mem_read_parts(py->pid, part, n);
		for (int i = 0; i < n; i++) {
			/* one key at a page's end spoils the batch: then each by itself */
			if (e && mem_read_parts(py->pid, &part[i], 1))
				continue;
			if (key_equal(py, head[i], key, length)) {
				*value = dict->value[from + i];
				return 0;
			}
		}
	}
	return -ENOENT;
}

/* Where an instance's attributes are: a dict, or values with the type's keys. Both 0: it has none. */
static int attributes_find(struct interp *py, uint64_t object, const unsigned char *type, uint64_t *dict,
			   uint64_t *values)
{
	const struct python_layout *l = &py->layout;
	uint64_t flags = python_u64(type, l->type_flags),
		 managed = object + (uint64_t)(int64_t)l->managed_dict;
	int64_t offset = (int64_t)python_u64(type, l->type_dictoffset);
	unsigned char valid = 0;
	*dict = *values = 0;
	if (l->attributes == ATTRIBUTES_DICT || !(flags & FLAG_MANAGED_DICT))
		return offset > 0 ? python_pointer(py, object + (uint64_t)offset, dict) : -ENOENT;
	int e = python_pointer(py, managed, dict);
	if (e)
		return e;
	switch (l->attributes) {
	case ATTRIBUTES_VALUES:
		return *dict ? 0 : python_pointer(py, managed - 8, values);
	case ATTRIBUTES_TAGGED:
		if (*dict & 1) {
			*values = *dict + 1;
			*dict = 0;
		}
		return 0;
	default:
		if (*dict || !(flags & FLAG_INLINE_VALUES))
			return 0;
		*values = object + python_u64(type, l->type_basicsize);
		e = mem_read(py->pid, *values + (uint64_t)l->values_valid, &valid, 1);
		*values += (uint64_t)l->values_first;
		return e ? e : valid ? 0 : -ENOENT;
	}
}

int python_attributes(struct interp *py, uint64_t object, struct python_dict *out)
{
	const struct python_layout *l = &py->layout;
	unsigned char type[1024];
	uint64_t type_at, dict, values;
	*out = (struct python_dict){0};
	if ((size_t)l->type_cached_keys + 8 > sizeof(type))
		return -ENOTSUP;
	int e = python_pointer(py, object + (uint64_t)l->object_type, &type_at);
	/* a class made in Python is a PyHeapTypeObject; only such a one has instances with attributes of
	 * their own */
	if (!e)
		e = mem_read(py->pid, type_at, type, (size_t)l->type_cached_keys + 8);
	if (!e)
		e = attributes_find(py, object, type, &dict, &values);
	if (e)
		return e;
	if (dict)
		return python_dict_read(py, dict, VALUES_MAX * 4, out);
	if (values)
		return entries_read(py, python_u64(type, l->type_cached_keys), values, VALUES_MAX, out);
	return -ENOENT;
}

int python_attribute(struct interp *py, uint64_t object, const char *name, uint64_t *value)
{
	struct python_dict entries;
	int e = python_attributes(py, object, &entries);
	if (!e)
		e = python_dict_find(py, &entries, name, value);
	python_dict_free(&entries);
	return e;
}

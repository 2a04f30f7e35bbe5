/* SPDX-License-Identifier: MIT
 *
 * Small readers of what others wrote: times and options on a command line, mangled names, Python's line
 * tables, text that is to become a name, and (by way of a file that takes the place of /proc/PID/maps) memory
 * maps.
 */
#include "tests/fuzz/input.h"

#include <fcntl.h>
#include <stdio.h>

/* cli/mem.c as it is, but for where it opens /proc/PID/maps. */
static const uint8_t *maps_text;
static size_t maps_size;
static FILE *maps_open(const char *path, const char *mode)
{
	return strstr(path, "/maps") && maps_size ? fmemopen((void *)maps_text, maps_size, "r")
						  : fopen(path, mode);
}
#define fopen(path, mode) maps_open(path, mode)
#define maps_read fuzz_maps_read
#define maps_free fuzz_maps_free
#define maps_find fuzz_maps_find
#define map_host_path fuzz_map_host_path
#define mem_read fuzz_mem_read
#define mem_string fuzz_mem_string
#define mem_read_parts fuzz_mem_read_parts
#define mem_read_some fuzz_mem_read_some
#include "cli/mem.c"

#include "cli/cmd.h"
#include "cli/interp/python.h"
#include "cli/modules.h"

static void maps_check(struct input *in)
{
	struct maps maps;
	char path[4096];
	uint64_t address = input_word(in);
	maps_text = in->at;
	maps_size = in->n;
	if (maps_read(getpid(), &maps))
		return;
	if (!maps.n)
		abort();
	for (size_t i = 0; i < maps.n; i++)
		if (maps.at[i].start >= maps.at[i].end || !maps.at[i].path)
			abort();
	maps_find(&maps, address);
	maps_find(&maps, maps.at[0].start);
	map_host_path(getpid(), &maps.at[0], path, sizeof(path));
	maps_free(&maps);
}

/* Words between newlines, as a command line of one of our commands. */
static void options_check(struct input *in, char *text)
{
	char *argv[64] = {(char *)"whystall"};
	int argc = 1;
	size_t commands = (size_t)(__stop_parts_cmd - __start_parts_cmd);
	const struct command *c = __start_parts_cmd[input_byte(in) % commands];
	for (char *word = strtok(text, "\n"); word && argc < 63; word = strtok(NULL, "\n"))
		if (strcmp(word, "-h") && strcmp(word, "--help")) /* long, and the same each time */
			argv[argc++] = word;
	int first = options_parse(c, argc, argv, c->stops);
	if (first > argc || first < -2)
		abort();
}

static void name_check(char *text)
{
	char *name;
	if (asprintf(&name, "%s%s", (text[0] & 1) ? "_Z" : "_R", text + (*text != 0)) < 0)
		abort();
	symbol_display(text);
	symbol_display(name);
	free(name);
}

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
	(void)argc, (void)argv;
	/* what options_parse says is not what we are here for; libFuzzer keeps a descriptor of its own */
	return verbosity = -1, 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t n)
{
	struct input in = {bytes, n};
	uint64_t ns;
	uint8_t which = input_byte(&in);

	if (n > 16384)
		return -1;
	char *text = strndup((const char *)in.at, in.n);
	switch (which % 6) {
	case 0:
		if (!time_parse(text, &ns) && ns > 24 * 3600 * NS)
			abort();
		break;
	case 1:
		options_check(&in, text);
		break;
	case 2:
		name_check(text);
		break;
	case 3: {
		long at = (long)input_word(&in);
		for (int format = LINES_LNOTAB; format <= LINES_LOCATIONS; format++) {
			python_line((enum python_lines)format, in.at, in.n, which, at);
			python_line((enum python_lines)format, in.at, in.n, which, at & 0xfff);
		}
		break;
	}
	case 4: {
		const char *kept = intern_text((const char *)in.at, in.n);
		for (const char *s = kept; *s; s++)
			if ((unsigned char)*s < ' ' || *s == 0x7f)
				abort();
		nearest(text, (const char *const[]){"threshold", "duration"}, 2);
		break;
	}
	default:
		maps_check(&in);
	}
	free(text);
	return 0;
}

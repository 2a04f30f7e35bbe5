/* SPDX-License-Identifier: MIT
 *
 * Options by table, in the GNU manner: --name=value, --name value, -n value, -nvalue, clusters of flags,
 * operands anywhere unless the command says that they end the options. Not getopt_long, because the same rows
 * make the help, the man page and the nearest-word hints, and because its messages are not ours.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "cmd.h"
#include "help.h"
#include "util.h"

static bool wants_help, wants_version, quiet, verbose;

const struct option_row options_common[] = {
	{'h', "help", NULL, "say what this command does and takes", OPT_FLAG, &wants_help, NULL, true, NULL},
	{'q', "quiet", NULL, "say nothing but errors", OPT_FLAG, &quiet, NULL, true, NULL},
	{'v', "verbose", NULL, "say more of what goes on", OPT_FLAG, &verbose, NULL, true, NULL},
	{'V', "version", NULL, "print the version", OPT_FLAG, &wants_version, NULL, true, NULL},
	{0},
};

static const struct option_row *row_find(const struct command *c, const char *name, size_t n, char letter)
{
	const struct option_row *const tables[] = {c->options, options_common};
	for (size_t i = 0; i < LENGTH(tables); i++)
		for (const struct option_row *row = tables[i]; row && row->name; row++)
			if (name ? strlen(row->name) == n && !memcmp(row->name, name, n)
				 : row->letter == letter)
				return row;
	return NULL;
}

/* One sentence on an unknown option, with the nearest that there is. */
static int unknown(const struct command *c, const char *word)
{
	const char *words[128];
	size_t n = 0, length = strcspn(word, "=");
	for (const struct option_row *row = c->options; row && row->name && n < LENGTH(words) - 8; row++)
		words[n++] = row->name;
	for (const struct option_row *row = options_common; row->name; row++)
		words[n++] = row->name;
	char *name = xprintf("%.*s", (int)length, word);
	const char *near = strncmp(name, "--", 2) ? NULL : nearest(name + 2, words, n);
	if (near)
		say("%s: unknown option %s; did you mean --%s? See whystall %s --help", c->name, name, near,
		    c->name);
	else
		say("%s: unknown option %s; see whystall %s --help", c->name, name, c->name);
	free(name);
	return -1;
}

static int choice_store(const struct command *c, const struct option_row *row, const char *value)
{
	size_t n = 0;
	for (; row->choices[n]; n++) {
		if (!strcmp(row->choices[n], value)) {
			*(const char **)row->into = row->choices[n];
			return 0;
		}
	}
	const char *near = nearest(value, row->choices, n);
	if (near) {
		say("%s: --%s %s is unknown; did you mean %s?", c->name, row->name, value, near);
		return -1;
	}
	char *list = xstrdup("");
	for (size_t i = 0; i < n; i++) {
		char *longer = xprintf("%s%s%s", list, !i ? "" : i + 1 < n ? ", " : " or ", row->choices[i]);
		free(list);
		list = longer;
	}
	say("%s: --%s is %s, not \"%s\"", c->name, row->name, list, value);
	free(list);
	return -1;
}

static int time_store(const struct command *c, const struct option_row *row, const char *value)
{
	uint64_t ns;
	int err = time_parse(value, &ns);
	if (!err) {
		*(uint64_t *)row->into = ns;
		return 0;
	}
	if (err == -ERANGE)
		say("%s: --%s %s is too long: a day at most", c->name, row->name, value);
	else if (*value && value[strspn(value, "0123456789.")] == 0)
		say("%s: --%s %s needs a unit, for instance 20ms", c->name, row->name, value);
	else
		say("%s: --%s %s is no time; write it like 250us, 20ms, 1.5s or 2m", c->name, row->name,
		    value);
	return -1;
}

static int number_store(const struct command *c, const struct option_row *row, const char *value)
{
	char *end;
	errno = 0;
	long number = strtol(value, &end, 10);
	if (errno || end == value || *end) {
		say("%s: --%s wants a whole number, not \"%s\"", c->name, row->name, value);
		return -1;
	}
	*(long *)row->into = number;
	return 0;
}

/* A variable of a script's that was never set names no file. */
static int string_store(const struct command *c, const struct option_row *row, const char *value)
{
	if (value && !*value && (!strcmp(row->argument, "FILE") || !strcmp(row->argument, "RECORD"))) {
		say("%s: --%s is given an empty name", c->name, row->name);
		return -1;
	}
	*(const char **)row->into = value;
	return 0;
}

static int value_store(const struct command *c, const struct option_row *row, const char *value)
{
	int err = 0;
	if (row->type == OPT_FLAG)
		*(bool *)row->into = row->flag_value;
	else if (row->type == OPT_STRING)
		err = string_store(c, row, value);
	else if (row->type == OPT_TIME)
		err = time_store(c, row, value);
	else if (row->type == OPT_NUMBER)
		err = number_store(c, row, value);
	else
		err = choice_store(c, row, value);
	if (row->given && !err)
		*row->given = true;
	return err;
}

static int value_missing(const struct command *c, const struct option_row *row)
{
	say("%s: --%s needs %s; see whystall %s --help", c->name, row->name, row->argument, c->name);
	return -1;
}

/* "--name", "--name=value". Returns how many words it took more than its own (0 or 1), -1 for an error. */
static int long_parse(const struct command *c, const char *word, const char *next)
{
	size_t n = strcspn(word + 2, "=");
	const struct option_row *row = row_find(c, word + 2, n, 0);
	const char *value = word[2 + n] ? word + 3 + n : NULL;
	if (!row)
		return unknown(c, word);
	if (row->type == OPT_FLAG && value) {
		say("%s: --%s takes no value", c->name, row->name);
		return -1;
	}
	if (row->type == OPT_FLAG || value)
		return value_store(c, row, value);
	if (!next)
		return value_missing(c, row);
	return value_store(c, row, next) ? -1 : 1;
}

/* "-abc": flags, the last of which may have its value behind it or as the next word. Returns as long_parse.
 */
static int cluster_parse(const struct command *c, const char *word, const char *next)
{
	for (const char *p = word + 1; *p; p++) {
		const struct option_row *row = row_find(c, NULL, 0, *p);
		if (!row) {
			char one[3] = {'-', *p};
			return unknown(c, (unsigned char)*p < 0x80 ? one : word);
		}
		if (row->type == OPT_FLAG) {
			value_store(c, row, NULL);
			continue;
		}
		if (p[1])
			return value_store(c, row, p + 1);
		if (!next)
			return value_missing(c, row);
		return value_store(c, row, next) ? -1 : 1;
	}
	return 0;
}

/* All words; operands are gathered at the end. Returns the index of the first of them or -1. */
static int words_parse(const struct command *c, int argc, char **argv, bool stop_at_operand)
{
	char **operands = xcalloc(argc + 1, sizeof(*operands));
	int n = 0, i = 1, more = 0;
	for (; i < argc && more >= 0; i += 1 + more) {
		char *word = argv[i];
		more = 0;
		if (!strcmp(word, "--")) {
			i++;
			break;
		}
		if (word[0] != '-' || !word[1]) {
			if (stop_at_operand)
				break;
			operands[n++] = word;
		} else if (word[1] == '-') {
			more = long_parse(c, word, argv[i + 1]);
		} else {
			more = cluster_parse(c, word, argv[i + 1]);
		}
		if (wants_help || wants_version)
			break;
	}
	/* the operands seen so far go right before what was not looked at: options have been read, so their
	 * words may be overwritten */
	int first = i > argc ? argc : i;
	first -= n;
	if (n)
		memcpy(argv + first, operands, n * sizeof(*operands));
	free(operands);
	return more < 0 ? -1 : first;
}

int options_parse(const struct command *c, int argc, char **argv, bool stop_at_operand)
{
	wants_help = wants_version = quiet = verbose = false;
	int first = words_parse(c, argc, argv, stop_at_operand);
	if (first < 0)
		return -1;
	if (wants_help)
		help_command(stdout, c);
	else if (wants_version)
		printf("whystall " VERSION "\n");
	if (wants_help || wants_version)
		return -2;
	if (quiet || verbose)
		verbosity = quiet ? -1 : 1;
	return first;
}

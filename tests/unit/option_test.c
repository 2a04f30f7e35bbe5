/* SPDX-License-Identifier: MIT
 *
 * Options by table: every way to write them, and what is said of those that are wrong.
 */
#include "cli/cmd.h"
#include "cli/help.h"
#include "cli/util.h"

#include <setjmp.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

static bool flag, native, given;
static const char *output, *colour;
static uint64_t threshold;
static long rate;

static const char *const colours[] = {"auto", "always", "never", NULL};
static const struct option_row rows[] = {
	{'x', "flag", NULL, "a flag", OPT_FLAG, &flag, NULL, true, NULL},
	{'n', "native", NULL, "a flag", OPT_FLAG, &native, NULL, true, NULL},
	{0, "no-native", NULL, "and its opposite", OPT_FLAG, &native, NULL, false, NULL},
	{'o', "output", "FILE", "a string", OPT_STRING, &output, NULL, false, &given},
	{0, "threshold", "TIME", "a time", OPT_TIME, &threshold, NULL, false, NULL},
	{0, "rate", "HZ", "a number", OPT_NUMBER, &rate, NULL, false, NULL},
	{0, "color", "WHEN", "a choice", OPT_CHOICE, &colour, colours, false, NULL},
	{0},
};
static const struct command sick = {
	.name = "sick",
	.usage = "[options] [WORD...]",
	.help = "Tests.",
	.about = "One line.\nAnd a line that is so long that it has to be wrapped, for "
		 "no terminal is wide enough for it.",
	.options = rows,
	.examples = "whystall sick -x\n"};

#define WORDS 12
static char *words[WORDS];
static char said[4096];

/* Parses a line split at blanks; what was said on stderr is in `said`. */
static int parse(const char *line, bool stop)
{
	static char copy[512];
	int argc = 0, saved = dup(STDERR_FILENO);
	FILE *to = tmpfile();
	flag = given = false;
	native = true;
	output = colour = NULL;
	threshold = 0;
	rate = 0;
	snprintf(copy, sizeof(copy), "%s", line);
	words[argc++] = "sick";
	for (char *p = strtok(copy, " "); p; p = strtok(NULL, " "))
		words[argc++] = p;
	words[argc] = NULL;
	dup2(fileno(to), STDERR_FILENO);
	int first = options_parse(&sick, argc, words, stop);
	dup2(saved, STDERR_FILENO);
	close(saved);
	rewind(to);
	said[fread(said, 1, sizeof(said) - 1, to)] = 0;
	fclose(to);
	return first;
}

static void test_ways(void **state)
{
	(void)state;
	assert_int_equal(parse("", false), 1);
	assert_int_equal(parse("--output=a=b --flag --threshold 20ms rest", true), 5);
	assert_string_equal(output, "a=b");
	assert_true(flag && given && native);
	assert_true(threshold == 20000000);
	assert_int_equal(parse("-xoFILE --no-native --rate -5", true), 5);
	assert_string_equal(output, "FILE");
	assert_true(flag && !native);
	assert_int_equal(rate, -5);
	assert_int_equal(parse("-xo FILE --color=never", true), 4);
	assert_string_equal(output, "FILE");
	assert_string_equal(colour, "never");
	assert_int_equal(parse("--output= x", true),
			 -1); /* an empty name is a script's variable that was not set */
	assert_int_equal(parse("-q", true), 2);
	assert_int_equal(verbosity, -1);
	assert_int_equal(parse("-v", true), 2);
	assert_int_equal(verbosity, 1);
	verbosity = 0;
	assert_string_equal(said, "");
}

static void test_operands(void **state)
{
	(void)state;
	assert_int_equal(parse("a -x b --rate 7 c", false), 4);
	assert_string_equal(words[4], "a");
	assert_string_equal(words[5], "b");
	assert_string_equal(words[6], "c");
	assert_true(flag && rate == 7);
	assert_int_equal(parse("a -x -- -b --rate", false), 3);
	assert_string_equal(words[3], "a");
	assert_string_equal(words[4], "-b");
	assert_string_equal(words[5], "--rate");
	assert_int_equal(parse("a -x", true), 1);
	assert_false(flag);
	assert_int_equal(parse("-x -- -n", true), 3);
	assert_string_equal(words[3], "-n");
	assert_int_equal(parse("- -x", false), 2); /* a lone "-" is an operand */
	assert_string_equal(words[2], "-");
}

static void refused(const char *line, const char *sentence)
{
	assert_int_equal(parse(line, false), -1);
	assert_string_equal(said, sentence);
}

static void test_wrong(void **state)
{
	(void)state;
	refused("--treshold 20ms", "whystall: sick: unknown option --treshold; did you mean --threshold? See "
				   "whystall sick --help\n");
	refused("--zzz=5", "whystall: sick: unknown option --zzz; see whystall sick --help\n");
	refused("-xz", "whystall: sick: unknown option -z; see whystall sick --help\n");
	refused("--threshold 20", "whystall: sick: --threshold 20 needs a unit, for instance 20ms\n");
	refused("--threshold=soon",
		"whystall: sick: --threshold soon is no time; write it like 250us, 20ms, 1.5s or 2m\n");
	refused("--threshold", "whystall: sick: --threshold needs TIME; see whystall sick --help\n");
	refused("-o", "whystall: sick: --output needs FILE; see whystall sick --help\n");
	refused("--rate 5x", "whystall: sick: --rate wants a whole number, not \"5x\"\n");
	refused("--rate 99999999999999999999",
		"whystall: sick: --rate wants a whole number, not \"99999999999999999999\"\n");
	refused("--flag=yes", "whystall: sick: --flag takes no value\n");
	refused("--color alwys", "whystall: sick: --color alwys is unknown; did you mean always?\n");
	refused("--color blue", "whystall: sick: --color is auto, always or never, not \"blue\"\n");
}

static void test_help(void **state)
{
	(void)state;
	char *text;
	size_t size;
	FILE *out = open_memstream(&text, &size);
	help_command(out, &sick);
	fclose(out);
	for (const char *line = text; *line; line += strcspn(line, "\n") + 1)
		assert_true(strcspn(line, "\n") <= 80);
	assert_non_null(strstr(text, "  -o, --output FILE         a string\n"));
	assert_non_null(strstr(text, "      --color WHEN          a choice: auto, always or never\n"));
	assert_true(strstr(text, "--color") < strstr(text, "--flag")); /* sorted */
	assert_non_null(strstr(text, "\nFor example:\n  whystall sick -x\n"));
	free(text);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_ways),
		cmocka_unit_test(test_operands),
		cmocka_unit_test(test_wrong),
		cmocka_unit_test(test_help),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}

/* SPDX-License-Identifier: MIT
 *
 * Finds the command, lets it run, and sees to it that what it printed has arrived: a full disk or a closed
 * pipe behind stdout is a failure like any other. Which commands there are is nobody's business here
 * (part.h).
 */
#include <errno.h>
#include <string.h>
#include <unistd.h>

#include "help.h"
#include "privilege.h"
#include "util.h"

/* The status, unless stdout could not take what was written to it. */
static int output_check(int status)
{
	if ((!fflush(stdout) && !ferror(stdout)) || status == EXIT_BROKEN) /* which has been said */
		return status;
	say("cannot write to standard output: %s", strerror(errno));
	return EXIT_BROKEN;
}

static int command_unknown(const char *word)
{
	char hint[128];
	if (word[0] == '-')
		say("unknown option %s: options follow the command; see whystall --help", word);
	else
		say("unknown command %s%s See whystall --help", word,
		    *command_hint(hint, sizeof(hint), word) ? hint : ".");
	return EXIT_USAGE;
}

int main(int argc, char **argv)
{
	if (argc < 2) {
		help_brief(stderr);
		return EXIT_USAGE;
	}
	const char *word = argv[1];
	if (!strcmp(word, "--help") || !strcmp(word, "-h")) {
		help_overview(stdout);
		return output_check(EXIT_FINE);
	}
	if (!strcmp(word, "--version") || !strcmp(word, "-V")) {
		printf("whystall " VERSION "\n");
		return output_check(EXIT_FINE);
	}
	const struct command *command = command_find(word);
	if (!command)
		return command_unknown(word);
	int first = options_parse(command, argc - 1, argv + 1, command->stops);
	if (first == -1)
		return EXIT_USAGE;
	if (first == -2)
		return output_check(EXIT_FINE);
	privilege_keep(command->capabilities);
	return output_check(command->run(argc - 1 - first, argv + 1 + first));
}

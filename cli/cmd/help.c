/* SPDX-License-Identifier: MIT
 *
 * whystall help: what there is. The man page's lists are printed by --man, so that they can be compared with
 * the page.
 */
#include <string.h>

#include "../help.h"
#include "../util.h"

static bool man;
static const char *completion;
static const char *const shells[] = {"bash", "zsh", NULL};

static int help_run(int argc, char **argv)
{
	char hint[128];
	if (man)
		help_man(stdout);
	else if (completion)
		(strcmp(completion, "zsh") ? completion_bash : completion_zsh)(stdout);
	else if (!argc)
		help_overview(stdout);
	for (int i = 0; i < argc; i++) {
		const struct command *c = command_find(argv[i]);
		if (!c) {
			say("help: unknown command %s%s See whystall --help", argv[i],
			    *command_hint(hint, sizeof(hint), argv[i]) ? hint : ".");
			return EXIT_USAGE;
		}
		if (i)
			putchar('\n');
		help_command(stdout, c);
	}
	return EXIT_FINE;
}

static const struct option_row help_options[] = {
	{0, "man", NULL, "print the commands and options as they stand in the man page", OPT_FLAG, &man, NULL,
	 true, NULL},
	{0, "completion", "SHELL", "print what completes words in that shell", OPT_CHOICE, &completion,
	 shells, false, NULL},
	{0},
};

static const struct command help = {
	.name = "help",
	.usage = "[options] [COMMAND...]",
	.help = "Says what there is, and what a command does and takes.",
	.order = 99,
	.options = help_options,
	.run = help_run,
	.examples = "whystall help report\nsource <(whystall help --completion bash)\n",
};
PART(cmd, command, help);

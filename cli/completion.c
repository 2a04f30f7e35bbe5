/* SPDX-License-Identifier: MIT
 *
 * Completion for bash and zsh out of the same rows as the help: commands, options, the words that an option
 * takes, and what an argument's name says it is. Behind "--" another command's completion takes over.
 */
#include <string.h>

#include "budget.h"
#include "help.h"
#include "util.h"

enum operand { OPERAND_NONE, OPERAND_FILE, OPERAND_PID, OPERAND_COMMAND, OPERAND_PROGRAM };

/* What the words behind the options are, by the usage line. */
static enum operand operand_of(const struct command *c)
{
	if (c->stops)
		return OPERAND_PROGRAM;
	if (strstr(c->usage, "RECORD") || strstr(c->usage, "OLD"))
		return OPERAND_FILE;
	if (strstr(c->usage, "PID"))
		return OPERAND_PID;
	return strstr(c->usage, "COMMAND") ? OPERAND_COMMAND : OPERAND_NONE;
}

static bool names_file(const struct option_row *row)
{
	return row->argument && (!strcmp(row->argument, "FILE") || !strcmp(row->argument, "RECORD"));
}

static bool names_causes(const struct option_row *row)
{
	return row->argument && !strncmp(row->argument, "CAUSE", 5);
}

static void words_print(FILE *out, const char *const *words, size_t n)
{
	for (size_t i = 0; i < n && words[i]; i++)
		fprintf(out, "%s%s", i ? " " : "", words[i]);
}

static size_t words_count(const char *const *words)
{
	size_t n = 0;
	while (words[n])
		n++;
	return n;
}

/* Calls print for each option of the command, the common ones too. */
static void options_each(FILE *out, const struct command *c,
			 void (*print)(FILE *, const struct command *, const struct option_row *))
{
	const struct option_row *sorted[OPTIONS_MAX] = {0};
	size_t n = options_sorted(c->options, sorted);
	for (size_t i = 0; i < n; i++)
		print(out, c, sorted[i]);
	n = options_sorted(options_common, sorted);
	for (size_t i = 0; i < n; i++)
		print(out, c, sorted[i]);
}

static void names_print(FILE *out)
{
	const struct command *commands[COMMANDS_MAX] = {0};
	size_t n = commands_sorted(commands);
	for (size_t i = 0; i < n; i++)
		fprintf(out, "%s%s", i ? " " : "", commands[i]->name);
}

/* --- bash --- */

static const char bash_head[] = "# bash completion of whystall; written by whystall help --completion bash\n"
				"_whystall()\n"
				"{\n"
				"	local cur=${COMP_WORDS[COMP_CWORD]} option=${COMP_WORDS[COMP_CWORD - "
				"1]} command=${COMP_WORDS[1]} i\n"
				"	# --name=value comes as three words\n"
				"	if [[ $cur == = ]]; then\n"
				"		cur=\n"
				"	elif [[ $option == = ]]; then\n"
				"		option=${COMP_WORDS[COMP_CWORD - 2]}\n"
				"	fi\n"
				"	COMPREPLY=()\n";

/* Where another command line begins: behind "--" or, where options end at the first operand, there. */
static const char bash_program[] =
	"	for ((i = 2; i < COMP_CWORD; i++)); do\n"
	"		if [[ ${COMP_WORDS[i]} == -- ]]; then\n"
	"			((i++))\n"
	"		elif [[ -z $takes || ${COMP_WORDS[i]} == [-=]* || ${COMP_WORDS[i - 1]} == = ||\n"
	"			$takes == *\" ${COMP_WORDS[i - 1]} \"* ]]; then\n"
	"			continue\n"
	"		fi\n"
	"		if declare -F _command_offset >/dev/null; then\n"
	"			_command_offset $i\n"
	"		elif ((i == COMP_CWORD)); then\n"
	"			mapfile -t COMPREPLY < <(compgen -c -- \"$cur\")\n"
	"		else\n"
	"			compopt -o filenames\n"
	"			mapfile -t COMPREPLY < <(compgen -f -- \"$cur\")\n"
	"		fi\n"
	"		return\n"
	"	done\n";

static void bash_takes(FILE *out, const struct command *c, const struct option_row *row)
{
	(void)c;
	if (row->argument)
		fprintf(out, " --%s", row->name);
	if (row->argument && row->letter)
		fprintf(out, " -%c", row->letter);
}

static void bash_value(FILE *out, const struct command *c, const struct option_row *row)
{
	if (!row->argument)
		return;
	fprintf(out, "	\"%s --%s\"", c->name, row->name);
	if (row->letter)
		fprintf(out, " | \"%s -%c\"", c->name, row->letter);
	fputs(")\n", out);
	if (row->type == OPT_CHOICE) {
		fputs("		mapfile -t COMPREPLY < <(compgen -W \"", out);
		words_print(out, row->choices, words_count(row->choices));
		fputs("\" -- \"$cur\")\n", out);
	} else if (names_causes(row)) {
		/* what stands before the last comma stays */
		fputs("		compopt -o nospace\n		i=${cur%\"${cur##*,}\"}\n"
		      "		mapfile -t COMPREPLY < <(compgen -P \"$i\" -W \"",
		      out);
		words_print(out, cause_words, CAUSE_WORDS);
		fputs("\" -- \"${cur##*,}\")\n", out);
	} else if (names_file(row)) {
		fputs("		compopt -o filenames\n		mapfile -t COMPREPLY < <(compgen -f -- "
		      "\"$cur\")\n",
		      out);
	}
	fputs("		return\n		;;\n", out);
}

static void bash_option(FILE *out, const struct command *c, const struct option_row *row)
{
	(void)c;
	fprintf(out, " --%s", row->name);
}

static void bash_operand(FILE *out, const struct command *c)
{
	enum operand operand = operand_of(c);
	fprintf(out, "	%s)\n		[[ $cur == -* ]] && mapfile -t COMPREPLY < <(compgen -W \"", c->name);
	options_each(out, c, bash_option);
	fputs("\" -- \"$cur\") && return\n", out);
	if (operand == OPERAND_FILE)
		fputs("		compopt -o filenames\n		mapfile -t COMPREPLY < <(compgen -f -- "
		      "\"$cur\")\n",
		      out);
	else if (operand == OPERAND_PROGRAM)
		fputs("		mapfile -t COMPREPLY < <(compgen -c -- \"$cur\")\n", out);
	else if (operand == OPERAND_PID)
		fputs("		mapfile -t COMPREPLY < <(compgen -W \"$(cd /proc && echo [0-9]*)\" -- "
		      "\"$cur\")\n",
		      out);
	else if (operand == OPERAND_COMMAND)
		fputs("		mapfile -t COMPREPLY < <(compgen -W \"$commands\" -- \"$cur\")\n", out);
	fputs("		;;\n", out);
}

void completion_bash(FILE *out)
{
	const struct command *commands[COMMANDS_MAX] = {0};
	size_t n = commands_sorted(commands);
	fputs(bash_head, out);
	fputs("	local commands=\"", out);
	names_print(out);
	fputs("\"\n	if ((COMP_CWORD == 1)); then\n"
	      "		mapfile -t COMPREPLY < <(compgen -W \"$commands --help --version\" -- \"$cur\")\n"
	      "		return\n	fi\n",
	      out);
	/* the options whose next word is no operand */
	fputs("	local takes=\n	case $command in\n", out);
	for (size_t i = 0; i < n; i++)
		if (operand_of(commands[i]) == OPERAND_PROGRAM) {
			fprintf(out, "	%s) takes=\"", commands[i]->name);
			options_each(out, commands[i], bash_takes);
			fputs(" \" ;;\n", out);
		}
	fputs("	esac\n", out);
	fputs(bash_program, out);
	fputs("	case \"$command $option\" in\n", out);
	for (size_t i = 0; i < n; i++)
		options_each(out, commands[i], bash_value);
	fputs("	esac\n	case $command in\n", out);
	for (size_t i = 0; i < n; i++)
		bash_operand(out, commands[i]);
	fputs("	esac\n}\ncomplete -F _whystall whystall\n", out);
}

/* --- zsh: _arguments' specs (zshcompsys(1)) --- */

/* Within single quotes; `special` needs a backslash there. */
static void zsh_text(FILE *out, const char *text, const char *special)
{
	for (; *text; text++) {
		if (*text == '\'')
			fputs("'\\'", out);
		else if (strchr(special, *text))
			putc('\\', out);
		putc(*text, out);
	}
}

static void zsh_option(FILE *out, const struct command *c, const struct option_row *row)
{
	const char *equals = row->argument ? "=" : "";
	(void)c;
	fputs("			", out);
	if (row->letter)
		fprintf(out, "'(-%c --%s)'{-%c%s,--%s%s}'[", row->letter, row->name, row->letter,
			row->argument ? "+" : "", row->name, equals);
	else
		fprintf(out, "'--%s%s[", row->name, equals);
	zsh_text(out, row->help, "[]\\:");
	putc(']', out);
	if (row->argument) {
		putc(':', out);
		zsh_text(out, row->argument, ":\\");
		putc(':', out);
	}
	if (row->type == OPT_CHOICE) {
		putc('(', out);
		words_print(out, row->choices, words_count(row->choices));
		putc(')', out);
	} else if (names_causes(row)) {
		fputs("_sequence compadd - ", out);
		words_print(out, cause_words, CAUSE_WORDS);
	} else if (names_file(row)) {
		fputs("_files", out);
	}
	fputs("' \\\n", out);
}

static void zsh_command(FILE *out, const struct command *c)
{
	static const char *const operands[] = {
		[OPERAND_NONE] = "&& return",
		[OPERAND_FILE] = "'*:record:_files'",
		[OPERAND_PID] = "'*:pid:_pids'",
		[OPERAND_COMMAND] = "\"*:command:($names)\"",
		[OPERAND_PROGRAM] = "'(-)1:command: _command_names -e' '*::arguments: _normal'"};
	fprintf(out, "	(%s)\n		_arguments -s -S : \\\n", c->name);
	options_each(out, c, zsh_option);
	fprintf(out, "			%s\n		;;\n", operands[operand_of(c)]);
}

void completion_zsh(FILE *out)
{
	const struct command *commands[COMMANDS_MAX] = {0};
	size_t n = commands_sorted(commands);
	fputs("#compdef whystall\n# written by whystall help --completion zsh\n\n_whystall()\n{\n"
	      "	local -a subcommands=(\n",
	      out);
	for (size_t i = 0; i < n; i++) {
		fprintf(out, "		'%s:", commands[i]->name);
		zsh_text(out, commands[i]->help, "\\:");
		fputs("'\n", out);
	}
	fputs("	)\n	local names=\"", out);
	names_print(out);
	fputs("\" dash=${words[(i)--]}\n"
	      "	if ((CURRENT == 2)); then\n"
	      "		_describe -t commands command subcommands\n"
	      "		return\n"
	      "	fi\n"
	      "	if ((dash < CURRENT)); then # behind it is another command's line\n"
	      "		shift $dash words\n"
	      "		((CURRENT -= dash))\n"
	      "		_normal\n"
	      "		return\n"
	      "	fi\n"
	      "	shift words\n"
	      "	((CURRENT--))\n"
	      "	case $words[1] in\n",
	      out);
	for (size_t i = 0; i < n; i++)
		zsh_command(out, commands[i]);
	fputs("	esac\n}\n\n_whystall \"$@\"\n", out);
}

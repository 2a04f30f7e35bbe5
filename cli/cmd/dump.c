/* SPDX-License-Identifier: MIT
 *
 * whystall dump: one look at a process.
 */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "../cmd.h"
#include "../dump.h"
#include "../privilege.h"

static const char *format = "text", *output;
static bool native = true, full, schema;
static const char *const formats[] = {"text", "json", NULL};

/* 0, or -1 after having said what is wrong. */
static int pid_parse(const char *word, pid_t *out)
{
	char *end;
	errno = 0;
	long pid = strtol(word, &end, 10);
	if (errno || end == word || *end || pid <= 0 || pid > INT32_MAX) {
		say("dump: %s is no process: it takes the number of one, 1 or more", word);
		return -1;
	}
	*out = (pid_t)pid;
	return 0;
}

static int dump_write(FILE *out, const struct dump *d)
{
	struct winsize size;
	struct dump_options options = {.columns = 80, .full = full};
	if (isatty(fileno(out)) && !ioctl(fileno(out), TIOCGWINSZ, &size) && size.ws_col)
		options.columns = size.ws_col;
	return strcmp(format, "json") ? dump_text(out, d, &options) : dump_json(out, d);
}

static int dump_print(const struct dump *d)
{
	FILE *out = output ? fopen(output, "we") : stdout;
	int e = out ? dump_write(out, d) : -errno;
	if (output && out && fclose(out) && !e)
		e = -errno;
	if (!e)
		return EXIT_FINE;
	say("cannot write the dump to %s: %s", output ? output : "standard output", strerror(-e));
	return EXIT_BROKEN;
}

static int dump_run(int argc, char **argv)
{
	static struct dump d;
	char why[1024] = "";
	pid_t pid;
	signal(SIGPIPE, SIG_IGN); /* a closed pipe is told, and its status is ours */
	if (!output && fcntl(STDOUT_FILENO, F_GETFD) < 0) {
		say("cannot write the dump: standard output is closed");
		return EXIT_BROKEN;
	}
	if (schema) {
		fputs(schema_dump, stdout);
		return EXIT_FINE;
	}
	if (argc != 1) {
		if (argc)
			say("dump: one PID at a time, not also %s; see whystall dump --help", argv[1]);
		else
			say("dump: which process? whystall dump PID; see whystall dump --help");
		return EXIT_USAGE;
	}
	if (pid_parse(argv[0], &pid))
		return EXIT_USAGE;
	int status = EXIT_ATTACH;
	if (dump_take(&d, pid, native, why, sizeof(why)))
		say("%s", why);
	else
		status = dump_print(&d);
	dump_free(&d);
	return status;
}

static const struct option_row dump_options[] = {
	{'f', "format", "FORMAT", "what to print (default text)", OPT_CHOICE, &format, formats, false, NULL},
	{'o', "output", "FILE", "write it to FILE", OPT_STRING, &output, NULL, false, NULL},
	{0, "full", NULL, "every frame of every stack", OPT_FLAG, &full, NULL, true, NULL},
	{'n', "native", NULL, "native frames too (the default)", OPT_FLAG, &native, NULL, true, NULL},
	{0, "no-native", NULL, "no native frames", OPT_FLAG, &native, NULL, false, NULL},
	{0, "json-schema", NULL, "print the JSON Schema of -f json", OPT_FLAG, &schema, NULL, true, NULL},
	{0},
};

static const struct command dump = {
	.name = "dump",
	.usage = "[options] PID",
	.help = "One look at a process: what each thread waits for, and who has it.",
	.about = "Every thread with its state, its Python and native stack, who has the GIL and each lock, "
		 "and "
		 "deadlocks spelled out. Nothing is stopped, and the process need not be prepared. It reads "
		 "twice, a tenth of a second apart: what both agree on stood still.",
	.order = 25,
	.options = dump_options,
	.run = dump_run,
	.capabilities = privilege_dump,
	.examples = "whystall dump 4711\nwhystall dump -f json 4711\n",
};
PART(cmd, command, dump);

/* SPDX-License-Identifier: MIT
 *
 * whystall doctor: what works here.
 */
#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "../cmd.h"
#include "../doctor.h"
#include "../privilege.h"

static bool json, schema;

static int columns_of(FILE *out)
{
	struct winsize size;
	if (!isatty(fileno(out)) || ioctl(fileno(out), TIOCGWINSZ, &size) || size.ws_col < 60)
		return 80;
	return size.ws_col > 100 ? 100 : size.ws_col;
}

static int doctor_run(int argc, char **argv)
{
	struct doctor d;
	char why[256] = "", *end;
	long pid = 0;
	signal(SIGPIPE, SIG_IGN); /* a closed pipe is told, and its status is ours */
	if (schema) {
		fputs(schema_doctor, stdout);
		return EXIT_FINE;
	}
	if (argc > 1) {
		say("doctor: one PID at a time, not also %s; see whystall doctor --help", argv[1]);
		return EXIT_USAGE;
	}
	errno = 0;
	if (argc && ((pid = strtol(argv[0], &end, 10)) <= 0 || errno || *end || pid > INT32_MAX)) {
		say("doctor: %s is no process: it takes the number of one, 1 or more", argv[0]);
		return EXIT_USAGE;
	}
	if (doctor_examine(&d, (pid_t)pid, why, sizeof(why))) {
		say("%s", why);
		doctor_free(&d);
		return EXIT_ATTACH;
	}
	int e = json ? doctor_json(stdout, &d) : doctor_text(stdout, &d, columns_of(stdout), verbosity > 0);
	int status = e ? EXIT_BROKEN : doctor_all_well(&d) ? EXIT_FINE : EXIT_OVER;
	if (e)
		say("cannot write to standard output: %s", strerror(-e));
	doctor_free(&d);
	return status;
}

static const struct option_row doctor_options[] = {
	{0, "json", NULL, "whystall.doctor/1, for programs", OPT_FLAG, &json, NULL, true, NULL},
	{0, "json-schema", NULL, "print the JSON Schema of --json", OPT_FLAG, &schema, NULL, true, NULL},
	{0},
};

static const struct command doctor = {
	.name = "doctor",
	.usage = "[options] [PID]",
	.help = "Tells what works here and for a process, and the commands that fix what does not.",
	.about = "Each part is tried, nothing is changed. The exit status is 0 if all works, 1 if something "
		 "does "
		 "not. With -v also the ways to let others than root attach: capabilities of the program's "
		 "file, "
		 "of a systemd service, of a container of Kubernetes, Docker or Podman.",
	.order = 90,
	.options = doctor_options,
	.run = doctor_run,
	.capabilities = privilege_attach,
	.examples = "whystall doctor\nwhystall doctor 4711\n",
};
PART(cmd, command, doctor);

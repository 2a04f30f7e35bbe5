/* SPDX-License-Identifier: MIT
 *
 * The findings, for people and for programs.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/utsname.h>
#include <unistd.h>

#include "doctor.h"
#include "format/json.h"
#include "format/text.h"
#include "privilege.h"

#define NAME 2
#define SAID 11

/* As report_schema.c does. (The Makefile says that this object depends on it.) */
__asm__(".pushsection .rodata\n"
	".global schema_doctor\n"
	".type schema_doctor, %object\n"
	"schema_doctor:\n"
	".incbin \"doc/doctor.schema.json\"\n"
	".byte 0\n"
	".size schema_doctor, . - schema_doctor\n"
	".popsection\n");

static const char *const states[] = {[DOCTOR_OK] = "ok", [DOCTOR_PARTLY] = "partly", [DOCTOR_NO] = "no"};

/* "6.18.44": of the release as much as is a version */
static int release_digits(const char *release)
{
	int n = (int)strspn(release, "0123456789.");
	return n && release[n - 1] == '.' ? n - 1 : n;
}

static void lines_write(FILE *out, int indent, const char *lines)
{
	for (const char *line = lines; line && *line;) {
		size_t n = strcspn(line, "\n");
		char clean[PROSE_MAX], *copy = xprintf("%.*s", (int)n, line);
		fprintf(out, "%*s%s\n", indent, "", prose_fit(clean, sizeof(clean), copy, 4096, FIT_HEAD));
		free(copy);
		line += n + (line[n] == '\n');
	}
}

static void head_write(FILE *out, const struct doctor *d, int columns)
{
	struct utsname host;
	char runtime[128] = "", command[PROSE_MAX * 2], name[PROSE_MAX], *head;
	uname(&host);
	if (!d->process.pid) {
		head = xprintf("whystall " VERSION " on Linux %.*s, %s; uid %d", release_digits(host.release),
			       host.release, host.machine, (int)geteuid());
	} else {
		if (d->process.runtime && strcmp(d->process.runtime, "native"))
			name_runtime(runtime, sizeof(runtime), &d->process);
		prose_fit(name, sizeof(name), name_command(command, sizeof(command), d->process.command), 40,
			  FIT_HEAD);
		head = xprintf("whystall " VERSION " on Linux %.*s, %s, uid %d; %s, pid %d%s%s, uid %d",
			       release_digits(host.release), host.release, host.machine, (int)geteuid(), name,
			       d->process.pid, *runtime ? ", " : "", runtime, (int)d->uid);
	}
	prose_wrap(out, columns, 0, 0, head);
	free(head);
}

int doctor_text(FILE *out, const struct doctor *d, int columns, bool forms)
{
	head_write(out, d, columns);
	for (size_t i = 0; i < d->findings.n; i++) {
		const struct finding *f = &d->findings.at[i];
		const char *state = f->state == DOCTOR_NO ? "no" : "ok";
		char *said = f->said ? xprintf("%s%s %s", state, f->state == DOCTOR_NO ? ":" : ";", f->said)
				     : xstrdup(state);
		fprintf(out, "%*s%-*s", NAME, "", SAID - NAME, f->name);
		prose_wrap(out, columns, SAID, SAID, said);
		lines_write(out, SAID, f->fix);
		free(said);
	}
	if (forms) {
		char *systemd = privilege_form(PRIVILEGE_SYSTEMD),
		     *pod = privilege_form(PRIVILEGE_KUBERNETES), *file = privilege_form(PRIVILEGE_FILE),
		     *docker = privilege_form(PRIVILEGE_DOCKER);
		fputs("\nTo let a group's members attach:\n", out);
		lines_write(out, NAME, file);
		fputs("a systemd service, in [Service]:\n", out);
		lines_write(out, NAME, systemd);
		fputs("a Kubernetes container:\n", out);
		lines_write(out, NAME, pod);
		fputs("a container of Docker or Podman:\n", out);
		lines_write(out, NAME, docker);
		free(systemd);
		free(pod);
		free(file);
		free(docker);
	}
	return fflush(out) || ferror(out) ? -(errno ? errno : EIO) : 0;
}

static void fix_write(struct emit *j, const char *lines)
{
	emit_array(j, "fix");
	for (const char *line = lines; line && *line;) {
		size_t n = strcspn(line, "\n");
		char *copy = xprintf("%.*s", (int)n, line);
		emit_string(j, NULL, copy);
		free(copy);
		line += n + (line[n] == '\n');
	}
	emit_close(j, ']');
}

int doctor_json(FILE *out, const struct doctor *d)
{
	struct emit j = {.out = out, .empty = true};
	struct utsname host;
	uname(&host);
	emit_object(&j, NULL);
	emit_string(&j, "schema", "whystall.doctor/1");
	emit_string(&j, "version", VERSION);
	emit_string(&j, "kernel", host.release);
	emit_string(&j, "machine", host.machine);
	emit_integer(&j, "uid", geteuid());
	emit_bool(&j, "all_well", doctor_all_well(d));
	if (d->process.pid) {
		emit_object(&j, "process");
		emit_integer(&j, "pid", d->process.pid);
		emit_integer(&j, "uid", d->uid);
		json_command(&j, d->process.command);
		emit_string(&j, "exe", d->process.exe);
		json_runtime(&j, &d->process);
		emit_close(&j, '}');
	} else {
		emit_null(&j, "process");
	}
	emit_array(&j, "findings");
	for (size_t i = 0; i < d->findings.n; i++) {
		emit_object(&j, NULL);
		emit_string(&j, "name", d->findings.at[i].name);
		emit_string(&j, "state", states[d->findings.at[i].state]);
		emit_string(&j, "said", d->findings.at[i].said);
		fix_write(&j, d->findings.at[i].fix);
		emit_close(&j, '}');
	}
	emit_close(&j, ']');
	emit_close(&j, '}');
	emit_newline(&j);
	return emit_end(&j);
}

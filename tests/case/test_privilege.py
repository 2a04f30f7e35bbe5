# SPDX-License-Identifier: MIT
"""A whystall whose file has capabilities, and callers who have them themselves: what each may look into."""

import json
import os
import shutil
import subprocess
import sys
import tempfile
import time

import pytest

from conftest import BINARY, PROGRAMS

SLEEP = "import ctypes, sys, time\nif 'dark' in sys.argv: ctypes.CDLL(None).prctl(4, 0, 0, 0, 0)\nprint('up', flush=True)\n" \
        "time.sleep(1000)\n"
FOUR = "cap_bpf,cap_perfmon,cap_sys_ptrace,cap_dac_read_search"


@pytest.fixture(scope="module")
def lent(ordinary_user):
    """A copy of whystall with file capabilities that the ordinary user can execute."""
    path = ordinary_user.directory / "lent" / "whystall"
    path.parent.mkdir()
    shutil.copy2(BINARY, path)
    shutil.copy2(BINARY.parent / "libwhystall.so", path.parent)
    done = subprocess.run(["setcap", FOUR + "=ep", path], stderr=subprocess.PIPE, text=True)
    if done.returncode:
        pytest.skip(done.stderr)
    return str(path)


@pytest.fixture
def up(ordinary_user):
    """up("dark", user=...) -> the pid of a process that runs."""
    running = []
    nobody = os.stat(ordinary_user.directory).st_uid, os.stat(ordinary_user.directory).st_gid

    def start(*arguments, user=nobody[0], group=nobody[1], before=()):
        process = subprocess.Popen([*before, "/usr/bin/python3", "-c", SLEEP, *arguments], stdout=subprocess.PIPE,
                                   text=True, user=user, group=group, extra_groups=[], cwd="/")
        running.append(process)
        assert process.stdout.readline() == "up\n"
        return process.pid

    yield start
    for process in running:
        process.kill()
        process.wait()
        process.stdout.close()


def ask(user, *command):
    done = user(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, timeout=60)
    return done.returncode, done.stdout, done.stderr


def yama():
    try:
        return int(open("/proc/sys/kernel/yama/ptrace_scope").read())
    except FileNotFoundError:
        return 0


def test_lent_capabilities_open_only_what_the_caller_could_trace(ordinary_user, lent, up):
    status, out, err = ask(ordinary_user, lent, "dump", "-f", "json", up())
    if yama():
        assert status == 3 and "ptrace_scope" in err
    else:
        assert status == 0 and json.loads(out)["threads"], err


@pytest.mark.parametrize("what, words", [
    (dict(user=0, group=0), "is not wholly uid"), (dict(user=1, group=1), "is not wholly uid"),
    (dict(group=1), "is not wholly uid"), (dict(user=0), "is not wholly uid")])
def test_not_those_of_others(ordinary_user, lent, up, what, words):
    pid = up(**what)
    status, out, err = ask(ordinary_user, lent, "dump", str(pid))
    assert (status, out) == (3, "") and words in err and "has its capabilities from its file" in err, err
    status, out, _ = ask(ordinary_user, lent, "doctor", str(pid))
    assert status == 1 and words in " ".join(out.split())


def test_nor_one_that_does_not_let_itself_be_traced(ordinary_user, lent, up):
    status, out, err = ask(ordinary_user, lent, "dump", str(up("dark")))
    assert (status, out) == (3, "") and "PR_SET_DUMPABLE" in err


def test_nor_one_that_has_capabilities_of_its_own(ordinary_user, lent, up):
    before = ["setpriv", "--reuid", "65534", "--regid", "65534", "--clear-groups", "--inh-caps", "+net_raw",
              "--ambient-caps", "+net_raw"]
    if os.stat(ordinary_user.directory).st_uid != 65534:
        pytest.skip("nobody has another number here")
    status, out, err = ask(ordinary_user, lent, "dump", str(up(user=0, group=0, before=before)))
    assert (status, out) == (3, "") and "has capabilities of its own" in err


def test_nor_one_in_a_user_namespace_of_its_own(ordinary_user, lent, up):
    probe = ordinary_user(["unshare", "--user", "true"], stderr=subprocess.PIPE)
    if probe.returncode:
        pytest.skip(f"no user namespaces for ordinary users: {probe.stderr}")
    status, out, err = ask(ordinary_user, lent, "dump", str(up(before=["unshare", "--user"])))
    assert (status, out) == (3, "") and "another user namespace" in err, err


def test_files_are_read_with_the_callers_own_rights(ordinary_user, lent, tmp_path_factory):
    """CAP_DAC_READ_SEARCH is for attach alone: a record that the caller may not read stays unread."""
    secret = tmp_path_factory.mktemp("secret") / "r"
    subprocess.run([BINARY, "run", "-q", "-o", secret, "--", "true"], check=True)
    secret.parent.chmod(0o700)
    status, out, err = ask(ordinary_user, lent, "report", str(secret))
    assert (status, out) == (4, "") and "ermission denied" in err


def test_the_callers_own_capabilities_are_no_loan(ordinary_user, up):
    """As a systemd service has them: AmbientCapabilities."""
    caps = "+" + FOUR.replace("cap_", "").replace(",", ",+")
    call = ["setpriv", "--reuid", "65534", "--regid", "65534", "--clear-groups", "--inh-caps", caps, "--ambient-caps",
            caps, ordinary_user.binary, "dump", "-f", "json", str(up(user=1, group=1))]
    done = subprocess.run(call, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd="/")
    if yama() >= 3:
        assert done.returncode == 3
    else:
        assert done.returncode == 0, done.stderr
        assert json.loads(done.stdout)["process"]["uid"] == 1


def test_an_ordinary_whystall_says_what_helps(ordinary_user, up):
    status, out, err = ask(ordinary_user, ordinary_user.binary, "dump", str(up(user=1, group=1)))
    assert (status, out) == (3, "") and "belongs to another user (uid 1). Try: sudo whystall dump" in err
    status, out, err = ask(ordinary_user, ordinary_user.binary, "dump", str(up("dark")))
    assert (status, out) == (3, "") and ("PR_SET_DUMPABLE" in err or "ptrace_scope" in err)


# --- attach, by users who have just these capabilities ---

STALLS = """
import asyncio, time
def blocks():
    time.sleep(0.15)
async def main():
    print("up", flush=True)
    while True:
        await asyncio.sleep(0.05)
        blocks()
asyncio.run(main())
"""


@pytest.fixture
def attached(ordinary_user):
    """attached(call, binary, user) -> what attach says as call's user of a process of that user's."""
    running = []

    def look(call, program, user, group):
        process = subprocess.Popen(["/usr/bin/python3", "-c", STALLS], stdout=subprocess.PIPE, text=True, user=user,
                                   group=group, extra_groups=[], cwd="/")
        running.append(process)
        assert process.stdout.readline() == "up\n"
        ordinary_user.open_up()
        with tempfile.TemporaryDirectory() as place:
            os.chmod(place, 0o777)
            done = call([program, "attach", "-d", "2s", "-o", f"{place}/r", "-f", "json", str(process.pid)],
                        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, timeout=60)
        assert done.returncode == 0, done.stderr
        return [s["culprit"]["function"] for p in json.loads(done.stdout)["processes"] for st in p["stalls"]
                for s in st["segments"] if s["seconds"] > 0.1 and s["cause"] == "syscall"]

    yield look
    for process in running:
        process.kill()
        process.wait()
        process.stdout.close()


@pytest.mark.skipif(yama() > 0, reason="kernel.yama.ptrace_scope")
def test_attach_with_capabilities_of_the_file(ordinary_user, lent, attached):
    found = attached(ordinary_user, lent, 65534, 65534)
    assert found and set(found) == {"blocks"}


def test_attach_with_a_services_capabilities(ordinary_user, attached):
    caps = "+" + FOUR.replace("cap_", "").replace(",", ",+")

    def service(command, **more):
        return subprocess.run(["setpriv", "--reuid", "65534", "--regid", "65534", "--clear-groups", "--inh-caps", caps,
                               "--ambient-caps", caps, *command], cwd="/", **more)

    found = attached(service, ordinary_user.binary, 1, 1)
    assert found and set(found) == {"blocks"}


def test_attach_with_a_containers_capabilities(ordinary_user, attached):
    def container(command, **more):
        return subprocess.run(["setpriv", "--inh-caps", "-all", "--bounding-set",
                               "-all,+bpf,+perfmon,+sys_ptrace,+dac_read_search", *command], cwd="/", **more)

    found = attached(container, ordinary_user.binary, 1, 1)
    assert found and set(found) == {"blocks"}


def test_attach_is_refused_what_the_caller_could_not_trace(ordinary_user, lent, up):
    status, out, err = ask(ordinary_user, lent, "attach", "-d", "1s", str(up(user=1, group=1)))
    assert (status, out) == (3, "") and "is not wholly uid" in err, err


# --- doctor ---

def doctor(user, binary, *arguments):
    import jsonschema

    schema = json.loads(ask(user, binary, "doctor", "--json-schema")[1])
    jsonschema.Draft202012Validator.check_schema(schema)
    status, out, err = ask(user, binary, "doctor", "--json", *arguments)
    document = json.loads(out)
    jsonschema.Draft202012Validator(schema).validate(document)
    assert status == (0 if document["all_well"] else 1), err
    return {f["name"]: f for f in document["findings"]}, document


def root(command, **more):
    more.setdefault("stdin", subprocess.DEVNULL)
    return subprocess.run(command, **more)


def test_doctor_as_an_ordinary_user(ordinary_user):
    found, _ = doctor(ordinary_user, ordinary_user.binary)
    assert found["run"]["state"] == "ok" and found["record"]["state"] == "ok"
    assert found["attach"]["state"] == "no" and "CAP_BPF, CAP_PERFMON, CAP_SYS_PTRACE" in found["attach"]["said"]
    assert any("cap_bpf,cap_perfmon" in line or "cap-add=BPF" in line or "BPF, PERFMON" in line
               for line in found["attach"]["fix"])


def test_the_commands_that_doctor_prints_help(ordinary_user, tmp_path_factory):
    """The form for the program's file, run as it stands: then attach works for a member of the group."""
    place = ordinary_user.directory / "fixed"
    place.mkdir()
    for name in ("whystall", "libwhystall.so"):
        shutil.copy2(BINARY.parent / name, place / name)
    found, _ = doctor(ordinary_user, str(place / "whystall"))
    lines = "\n".join(found["attach"]["fix"])
    if "setcap" not in lines:
        pytest.skip("a container: it has another form")
    script = lines.replace("sudo ", "")
    assert subprocess.run(["sh", "-c", script]).returncode == 0
    group = os.stat(place / "whystall").st_gid
    assert group != 0 and os.stat(place / "whystall").st_mode & 0o777 == 0o750

    def member(command, **more):
        return subprocess.run(command, user=65534, group=65534, extra_groups=[group], cwd="/", **more)

    assert doctor(root, str(BINARY))[0]["attach"]["state"] == "ok", "attach does not work here even for root"
    found, _ = doctor(member, str(place / "whystall"))
    assert found["attach"]["state"] == "ok", found
    with pytest.raises(PermissionError):  # and nobody else may execute it
        ordinary_user([place / "whystall", "doctor"])


def test_a_service_with_the_capabilities_that_doctor_names(ordinary_user):
    caps = "+" + FOUR.replace("cap_", "").replace(",", ",+")

    def service(command, **more):
        return subprocess.run(["setpriv", "--reuid", "65534", "--regid", "65534", "--clear-groups", "--inh-caps", caps,
                               "--ambient-caps", caps, *command], cwd="/", **more)

    text = ordinary_user([ordinary_user.binary, "doctor", "-v"], stdout=subprocess.PIPE, text=True).stdout
    assert "AmbientCapabilities=CAP_BPF CAP_PERFMON CAP_SYS_PTRACE CAP_DAC_READ_SEARCH" in text
    assert "capabilities: {add: [BPF, PERFMON, SYS_PTRACE, DAC_READ_SEARCH]}" in text
    found, _ = doctor(service, ordinary_user.binary)
    assert found["attach"]["state"] == "ok", found


def test_a_container_with_the_capabilities_that_doctor_names(ordinary_user):
    """Root, but with a bounding set like a container's."""
    bounding = "-all,+bpf,+perfmon,+sys_ptrace,+dac_read_search"

    def container(command, **more):
        return subprocess.run(["setpriv", "--inh-caps", "-all", "--bounding-set", bounding, *command], cwd="/", **more)

    found, _ = doctor(container, ordinary_user.binary)
    assert found["attach"]["state"] == "ok", found

    def bare(command, **more):
        return subprocess.run(["setpriv", "--inh-caps", "-all", "--bounding-set", "-all", *command], cwd="/", **more)

    found, _ = doctor(bare, ordinary_user.binary)
    assert found["attach"]["state"] == "no"


def test_doctor_where_a_filter_forbids_bpf_and_perf_events(cc):
    """As a container's seccomp profile does, to root too."""
    deny = cc(PROGRAMS / "deny.c")
    BPF, PERF_EVENT_OPEN = 321, 298

    def filtered(command, **more):
        return root([deny, f"{BPF},{PERF_EVENT_OPEN}", *command], **more)

    found, _ = doctor(filtered, str(BINARY))
    assert found["attach"]["state"] == "no" and "seccomp" in found["attach"]["said"]
    assert found["stacks"]["state"] == "partly" and "perf_event_open" in found["stacks"]["said"]
    assert found["run"]["state"] == "ok"


def test_doctor_of_a_process(ordinary_user, up):
    found, document = doctor(root, str(BINARY), str(up()))
    assert found["dump"]["state"] == "ok" and found["runtime"]["state"] == "ok"
    assert document["process"]["runtime"]["name"] == "cpython"
    assert "names" in found
    found, _ = doctor(ordinary_user, ordinary_user.binary, str(up(user=1, group=1)))
    assert found["dump"]["state"] == "no" and found["dump"]["fix"][0].startswith("sudo whystall dump")


def test_doctor_names_the_package_with_the_debug_information(cc, tmp_path):
    """Of coreutils nobody has it installed; libc6's package is known by its own name."""
    process = subprocess.Popen(["/usr/bin/sleep", "1000"])
    try:
        time.sleep(0.2)
        found, _ = doctor(root, str(BINARY), str(process.pid))
        names = found["names"]
        if names["state"] == "ok":
            pytest.skip("the debug information of coreutils is installed")
        assert "sleep" in names["said"] and "coreutils-dbgsym" in names["fix"][0]
    finally:
        process.kill()
        process.wait()


def test_doctor_sees_a_program_that_the_shim_cannot_enter(cc):
    program = cc("#include <stdio.h>\n#include <unistd.h>\nint main(void) { puts(\"up\"); fflush(stdout); pause(); }\n",
                 "-static")
    process = subprocess.Popen([program], stdout=subprocess.PIPE, text=True)
    try:
        process.stdout.readline()
        found, _ = doctor(root, str(BINARY), str(process.pid))
        assert "statically linked" in found["shim"]["said"]
        assert found["shim"]["fix"] == [f"sudo whystall attach {process.pid}"]
    finally:
        process.kill()
        process.wait()
        process.stdout.close()


def test_doctor_sees_a_quota():
    from test_causes import quota_group

    group, why = quota_group()
    if group is None:
        pytest.skip(why)
    process = subprocess.Popen(["sleep", "1000"])
    try:
        (group / "cgroup.procs").write_text(str(process.pid))
        found, _ = doctor(root, str(BINARY), str(process.pid))
        assert "may use 0.08 CPUs" in found["cpu"]["said"]
    finally:
        process.kill()
        process.wait()
        for _ in range(50):
            try:
                group.rmdir()
                break
            except OSError:
                time.sleep(0.05)


def test_doctor_sees_a_program_under_run(binary, tmp_path):
    process = subprocess.Popen([binary, "run", "-q", "-o", tmp_path / "r", "--", sys.executable, "-c", SLEEP],
                               stdout=subprocess.PIPE, text=True)
    child = 0
    try:
        process.stdout.readline()
        child = int(open(f"/proc/{process.pid}/task/{process.pid}/children").read().split()[0])
        found, _ = doctor(root, str(BINARY), str(child))
        assert found["shim"]["state"] == "ok" and "under whystall run already" in found["shim"]["said"]
    finally:
        if child:
            os.kill(child, 9)
        process.wait()
        process.stdout.close()


@pytest.mark.parametrize("arguments, status, words", [
    (["0"], 2, "0 is no process"), (["--", "-1"], 2, "-1 is no process"), (["x"], 2, "x is no process"),
    (["1", "2"], 2, "one PID at a time"), (["2147483647"], 3, "there is no process 2147483647")])
def test_what_is_no_process(binary, arguments, status, words):
    done = subprocess.run([binary, "doctor", *arguments], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert (done.returncode, done.stdout) == (status, "") and words in done.stderr

# SPDX-License-Identifier: MIT
"""Native stacks of real programs, by tests/prog/native_dump over the modules that `run` uses."""

import os
import pathlib
import re
import shutil
import subprocess
import time

import pytest

import sid
from conftest import BINARY, DEBIAN, ROOT, python_path, pythons

CHAIN = """
#include <pthread.h>
#include <time.h>
#include <unistd.h>
volatile long sink;
static inline __attribute__((always_inline)) void tight(void) { for (;;) sink++; }
#define KEEP __attribute__((noinline))
KEEP int spin(void) { tight(); return sink; }
KEEP int naps(void) { struct timespec t = {99}; nanosleep(&t, 0); return ++sink; }
KEEP int reads(void) { char c; int p[2]; if (pipe(p)) return 1; return read(p[0], &c, 1) + ++sink; }
KEEP int waits(void) {
	pthread_mutex_t m = PTHREAD_MUTEX_INITIALIZER; pthread_cond_t c = PTHREAD_COND_INITIALIZER;
	pthread_mutex_lock(&m);
	return pthread_cond_wait(&c, &m) + ++sink;
}
KEEP int c(int how) {
	switch (how) {
	case 's': return spin() + 1;
	case 'n': return naps() + 1;
	case 'r': return reads() + 1;
	default: return waits() + 1;
	}
}
KEEP int b(int how) { return c(how) + ++sink; }
KEEP int a(int how) { return b(how) + ++sink; }
int main(int argc, char **argv) { return a(argv[1][0]) + argc; }
"""
LEAN = ("-O2", "-fomit-frame-pointer", "-pthread", "-Wl,--build-id")


@pytest.fixture(scope="session")
def native_dump():
    build = BINARY.parent
    target = build / "tests" / "prog" / "native_dump"
    subprocess.run(["make", "-C", str(ROOT), f"BUILD={build}", str(target)], check=True, stdout=subprocess.DEVNULL)
    return str(target)


class Stack:
    """One sample: .state, .syscall, .frames [(function, module, inlined, file, line)], .names, .cut."""

    def __init__(self, text):
        head, *rows = text.strip().split("\n")
        self.state, self.syscall = head.split()
        self.cut = rows.pop() == "cut"
        self.frames = []
        for row in rows:
            function, module, inlined, file, line = row.split("\t")
            self.frames.append((function, module, bool(inlined), file, int(line)))
        self.names = [f[0] for f in self.frames]

    def has(self, *names):
        return " ".join(names) in " ".join(self.names)


@pytest.fixture
def look(native_dump):
    """look(argv, "-k", samples=1) -> [Stack] of the main thread of argv, which is started and killed here."""
    running = []

    def start(argv, *options, samples=1, wait=0.4, then=lambda: None, **more):
        process = subprocess.Popen([str(a) for a in argv], stdin=subprocess.PIPE, stdout=subprocess.DEVNULL,
                                   stderr=subprocess.DEVNULL, **more)
        running.append(process)
        time.sleep(wait)
        then()
        done = subprocess.run([native_dump, "-s", str(samples), *options, str(process.pid), str(process.pid)],
                              stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, timeout=60)
        assert done.returncode == 0, done.stderr
        if samples == 1 and "perf_sampler_open" in done.stderr and "running" not in done.stdout:
            pytest.skip(done.stderr)
        return [Stack(t) for t in re.split(r"(?<=\n)(?=running |blocked )", done.stdout)]

    yield start
    for process in running:
        process.kill()
        process.wait()
        process.stdin.close()


@pytest.mark.parametrize("how, syscall, leaf", [
    ("s", "-", "spin"), ("n", "clock_nanosleep", "naps"), ("r", "read", "reads"), ("w", "futex", "waits")])
def test_a_known_chain_without_frame_pointers(cc, look, how, syscall, leaf):
    stack, = look([cc(CHAIN, *LEAN), how])
    assert stack.syscall == syscall
    assert stack.has(leaf, "c", "b", "a", "main"), stack.names
    assert not stack.cut


@pytest.mark.parametrize("how, leaf", [("n", "naps"), ("r", "reads"), ("w", "waits")])
@pytest.mark.parametrize("flags", [["-O0"], ["-O2", "-fno-omit-frame-pointer"]])
def test_a_blocked_thread_with_frame_pointers(cc, look, how, leaf, flags):
    """rbp of a blocked thread is not told, and these functions are found by it."""
    stack, = look([cc(CHAIN, "-pthread", *flags), how])
    assert stack.has(leaf, "c", "b", "a", "main"), stack.names
    assert not stack.cut


def test_an_inlined_function_has_its_own_frame_and_lines(cc, look):
    program = cc(CHAIN, *LEAN)
    stack, = look([program, "s"])
    tight, spin = stack.frames[:2]
    assert tight[0] == "tight" and tight[2] and tight[4] == 6
    assert spin[0] == "spin" and not spin[2] and spin[4] == 8
    assert os.path.isabs(tight[3]) and tight[3] == spin[3] and tight[3].endswith(".c")


def test_clang_leaves_out_aranges(cc, look):
    stack, = look([cc(CHAIN, *LEAN, compiler="clang"), "s"])
    assert stack.frames[0][0] == "tight" and stack.frames[0][4] == 6, stack.frames


def test_names_when_the_target_has_ended(cc, look):
    stack, = look([cc(CHAIN, *LEAN), "s"], "-k")
    assert stack.has("spin", "c", "b", "a", "main"), stack.names
    assert stack.frames[0][4] == 6


def test_cplusplus_is_demangled(tmp_path, look):
    source = tmp_path / "shapes.cc"
    source.write_text("""
namespace shape { template <class T> struct Square { [[gnu::noinline]] int turn(T n); };
volatile long sink;
template <class T> int Square<T>::turn(T n) { for (;;) sink += n; } }
int main() { shape::Square<long> s; return s.turn(1) + 1; }
""")
    subprocess.run(["g++", "-O2", "-g", "-o", tmp_path / "shapes", source], check=True)
    stack, = look([tmp_path / "shapes"])
    assert stack.names[:2] == ["shape::Square<long>::turn", "main"]


def test_a_stripped_program_gives_addresses_not_guesses(cc, look):
    program = cc(CHAIN, *LEAN)
    subprocess.run(["strip", program], check=True)
    stack, = look([program, "n"])
    mine = [f[0] for f in stack.frames if f[1] == pathlib.Path(program).name]
    assert len(mine) >= 5 and all(re.fullmatch(re.escape(pathlib.Path(program).name) + r"\+0x[0-9a-f]+", name)
                                  for name in mine), mine
    assert stack.names[0] == "clock_nanosleep"


def test_a_debug_file_beside_it_is_used(cc, look):
    program = cc(CHAIN, *LEAN)
    subprocess.run(["objcopy", "--only-keep-debug", program, program + ".debug"], check=True)
    subprocess.run(["objcopy", "--strip-all", f"--add-gnu-debuglink={program}.debug", program], check=True)
    stack, = look([program, "s"])
    assert stack.has("tight", "spin", "c", "b", "a", "main") and stack.frames[0][4] == 6
    # one that belongs to another build is not
    with open(program + ".debug", "ab") as f:
        f.write(b"x")
    stack, = look([program, "s"])
    assert not stack.has("spin")


def test_a_library_loaded_later(tmp_path, look):
    (tmp_path / "plugin.c").write_text("volatile long sink; void plugin_work(void) { for (;;) sink++; }\n")
    (tmp_path / "host.c").write_text("""
#include <dlfcn.h>
#include <unistd.h>
int main(int argc, char **argv) {
	usleep(300000);
	void (*work)(void) = (void (*)(void))dlsym(dlopen(argv[1], RTLD_NOW), "plugin_work");
	work();
	return argc;
}
""")
    subprocess.run(["gcc", "-O2", "-shared", "-fPIC", "-o", tmp_path / "plugin.so", tmp_path / "plugin.c"], check=True)
    subprocess.run(["gcc", "-O2", "-o", tmp_path / "host", tmp_path / "host.c"], check=True)
    stacks = look([tmp_path / "host", tmp_path / "plugin.so"], samples=60, wait=0.05)
    last = stacks[-1]
    if last.state != "running":
        pytest.skip("no perf events here")
    assert stacks[0].syscall == "clock_nanosleep" and stacks[0].has("main")
    assert last.names[:2] == ["plugin_work", "main"] and last.frames[0][1] == "plugin.so"


@pytest.mark.skipif(os.geteuid() != 0, reason="chroot needs root")
def test_another_root_with_its_own_debug_files(cc, look, tmp_path):
    program = cc(CHAIN, *LEAN)
    root = tmp_path / "root"
    libraries = re.findall(r"(/\S+) \(0x", subprocess.run(["ldd", program], stdout=subprocess.PIPE, text=True).stdout)
    for library in libraries:
        (root / library[1:]).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(library, root / library[1:])
    notes = subprocess.run(["readelf", "-n", program], stdout=subprocess.PIPE, text=True).stdout
    build_id = re.search(r"Build ID: (\w+)", notes).group(1)
    debug = root / "usr/lib/debug/.build-id" / build_id[:2]
    debug.mkdir(parents=True)
    subprocess.run(["objcopy", "--only-keep-debug", program, debug / (build_id[2:] + ".debug")], check=True)
    subprocess.run(["strip", "-o", root / "prog", program], check=True)
    stack, = look(["chroot", root, "/prog", "n"])
    assert stack.has("naps", "c", "b", "a", "main"), stack.names


@pytest.mark.skipif(os.geteuid() != 0, reason="an ordinary user may not open what is deleted")
def test_a_program_deleted_while_it_runs(cc, look):
    program = cc(CHAIN, *LEAN)
    stack, = look([program, "n"], then=lambda: os.unlink(program))
    assert stack.has("naps", "c", "b", "a", "main"), stack.names


def test_a_program_replaced_while_it_runs(cc, look, tmp_path):
    """Another file has its name now: its symbols would be lies."""
    program, other = cc(CHAIN, *LEAN), cc(CHAIN.replace("int a(", "int imposter(").replace("a(argv", "imposter(argv"))
    stack, = look([program, "n"], then=lambda: os.replace(other, program))
    assert not stack.has("imposter"), stack.names


def pow_stack(look, python):
    stacks = look([python, "-c", "while True: 7 ** 2000000"], samples=5)
    if not any(s.state == "running" for s in stacks):
        pytest.skip("no perf events here")
    return [s for s in stacks if s.has("long_pow")]


@pytest.mark.parametrize("version", sorted(pythons()))
def test_the_native_function_under_python(look, version):
    """pyenv's have symbols; Debian's is stripped, python3-dbg has them."""
    python = pythons()[version]
    if python == DEBIAN and not any(pathlib.Path("/usr/lib/debug/.build-id").glob("*/*")):
        pytest.skip("python3-dbg is not installed")
    stacks = pow_stack(look, python)
    assert stacks
    for stack in stacks:
        assert "_PyEval_EvalFrameDefault" in stack.names and stack.names[-1] == "_start" and not stack.cut
        at = stack.names.index("_PyEval_EvalFrameDefault")
        assert stack.names.index("long_pow") < at
        assert stack.frames[stack.names.index("long_pow")][3].endswith("/Objects/longobject.c")


COLD = """
volatile int sink;
__attribute__((noinline, cold)) int slow(int n) { sink += n; return sink; }
int f(int n)
{
	int sum = 0;
	for (int i = 0; i < 8; i++) {
		if (__builtin_expect(n > i, 0)) {
			do
				sum += slow(n) ^ sink;
			while (sum != -1 || sink < 0);
			sum += slow(sum);
		}
		sum += sink * i;
	}
	return sum;
}
int main(int argc, char **argv) { return f(argc + 9) + sink; }
"""


def test_the_unlikely_part_of_a_function_without_its_symbol(cc, look):
    program = cc(COLD, "-O2", "-rdynamic")
    subprocess.run(["strip", program], check=True)
    for stack in look([program], samples=4):
        assert stack.state != "running" or stack.has("f", "main"), stack.names


@pytest.mark.parametrize("version", sid.VERSIONS)
def test_an_evaluation_loop_that_is_mostly_unlikely(look, version):
    stacks = look([python_path(version), "-c", "def f():\n    while True: 7 ** 2000000\nf()"], samples=5, wait=1)
    stacks = [s for s in stacks if s.state == "running"]
    if not stacks:
        pytest.skip("no perf events here")
    for stack in stacks:
        assert stack.has("_PyEval_EvalFrameDefault", "PyEval_EvalCode") and stack.names[-1] == "_start", stack.names


def test_an_ordinary_user(native_dump, ordinary_user, cc):
    """Own children need no privilege where perf_event_paranoid is 2 or less; other people's are refused."""
    program = shutil.copy2(cc(CHAIN, *LEAN), ordinary_user.directory / "chain")
    dump = shutil.copy2(native_dump, ordinary_user.directory / "native_dump")
    script = f"{program} s & {dump} -s 1 $! $!; status=$?; kill -9 $!; exit $status"
    done = ordinary_user(["sh", "-c", script], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, timeout=60)
    if "perf_sampler_open: EACCES" in done.stderr:
        pytest.skip("perf_event_paranoid is above 2")
    assert done.returncode == 0, done.stderr
    assert Stack(done.stdout).has("tight", "spin", "c", "b", "a", "main")

    process = subprocess.Popen([program, "s"])
    try:
        done = ordinary_user([dump, process.pid, process.pid], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
                             timeout=60)
        assert done.returncode == 1 and re.search("E(ACCES|PERM)", done.stderr) and done.stdout == ""
    finally:
        process.kill()
        process.wait()


def test_nobody_is_asked_for_debug_files(native_dump, cc, look):
    """A debuginfod server named in the environment hears nothing."""
    import socket
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(0.2)
        os.environ["DEBUGINFOD_URLS"] = f"http://127.0.0.1:{server.getsockname()[1]}/"
        try:
            program = cc(CHAIN, *LEAN)
            subprocess.run(["strip", program], check=True)
            look([program, "n"])
        finally:
            del os.environ["DEBUGINFOD_URLS"]
        with pytest.raises(socket.timeout):
            server.accept()

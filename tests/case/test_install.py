# SPDX-License-Identifier: MIT
"""What make install, make deb and make wheel (pip install) put on a machine: the installed program is run, not the
tree's."""

import os
import pathlib
import re
import shutil
import subprocess
import sys

import pytest

from conftest import BINARY, DEBIAN, ROOT, pythons

BUILD = BINARY.parent
SICK = "import asyncio, time\nasync def main():\n await asyncio.sleep(0.001)\n time.sleep(0.15)\n" \
       " await asyncio.sleep(0.001)\nasyncio.run(main())\n"
TEST = "import asyncio, time\ndef test_sick():\n    async def main():\n        await asyncio.sleep(0.001)\n" \
       "        time.sleep(0.15)\n    asyncio.run(main())\ndef test_fine():\n    pass\n"


def make(*goals, **variables):
    done = subprocess.run(["make", "-C", ROOT, "--no-print-directory", f"BUILD={os.path.relpath(BUILD, ROOT)}", *goals,
                           *(f"{k}={v}" for k, v in variables.items())],
                          stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    assert done.returncode == 0, done.stdout
    return done.stdout


def files(root):
    return sorted(str(p.relative_to(root)) for p in root.rglob("*") if not p.is_dir())


def works(program, tmp_path, root=None):
    """The program, run from where it is, tells why a program stalls."""
    (tmp_path / "sick.py").write_text(SICK)
    done = subprocess.run([program, "run", "-o", tmp_path / "record", "--", DEBIAN, "sick.py"], cwd=tmp_path,
                          stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, timeout=60)
    assert done.returncode == 0 and "sick.py:4" in done.stderr, done.stderr
    version = subprocess.run([program, "--version"], stdout=subprocess.PIPE, text=True).stdout
    assert version.startswith("whystall ")


def test_make_install_and_uninstall(tmp_path):
    place = tmp_path / "staged"
    (place / "opt" / "it" / "lib").mkdir(parents=True)
    (place / "opt" / "it" / "lib" / "other").write_text("")
    make("install", PREFIX="/opt/it", DESTDIR=place)
    assert files(place) == [
        "opt/it/bin/whystall", "opt/it/lib/other", "opt/it/lib/whystall/libwhystall.so",
        "opt/it/share/bash-completion/completions/whystall", "opt/it/share/man/man1/whystall.1",
        "opt/it/share/zsh/site-functions/_whystall"]
    works(place / "opt" / "it" / "bin" / "whystall", tmp_path)
    # what it loads into programs is the installed one
    seen = subprocess.run([place / "opt/it/bin/whystall", "run", "-q", "-o", tmp_path / "r", "--", "grep", "-o", "/.*libwhystall.so",
                           "/proc/self/maps"], stdout=subprocess.PIPE, text=True).stdout
    assert set(seen.split()) == {str(place / "opt/it/lib/whystall/libwhystall.so")}
    (place / "opt/it/lib/whystall/libwhystall.so").unlink()
    done = subprocess.run([place / "opt/it/bin/whystall", "run", "--", "true"], stderr=subprocess.PIPE, text=True)
    assert done.returncode == 125 and done.stderr.startswith("whystall: cannot find libwhystall.so")
    make("uninstall", PREFIX="/opt/it", DESTDIR=place)
    assert files(place) == ["opt/it/lib/other"]


# --- deb ---


@pytest.fixture(scope="module")
def deb():
    return ROOT / re.findall(r"\S+\.deb", make("deb"))[-1]


def test_a_debian_package(deb, tmp_path):
    fields = subprocess.run(["dpkg-deb", "-f", deb], stdout=subprocess.PIPE, text=True, check=True).stdout
    depends = re.search(r"^Depends: (.*)$", fields, re.M)[1]
    for library in ("libc6 (>=", "libdw1", "libsqlite3-0", "libjansson4"):
        assert library in depends
    assert re.search(r"^Version: 0\.", fields, re.M) and "Architecture: amd64" in fields
    root = tmp_path / "root"
    subprocess.run(["dpkg-deb", "-x", deb, root], check=True)
    assert {"usr/bin/whystall", "usr/lib/whystall/libwhystall.so", "usr/share/man/man1/whystall.1.gz",
            "usr/share/doc/whystall/copyright", "usr/share/doc/whystall/changelog.gz",
            "usr/share/bash-completion/completions/whystall", "usr/share/zsh/vendor-completions/_whystall"} <= set(files(root))
    assert subprocess.run(["man", "-l", root / "usr/share/man/man1/whystall.1.gz"], stdout=subprocess.DEVNULL,
                          stderr=subprocess.PIPE).stderr == b"" if shutil.which("man") else True
    works(root / "usr" / "bin" / "whystall", tmp_path)


def test_lintian_has_nothing_to_say(deb):
    done = subprocess.run(["lintian", "--allow-root", "--fail-on", "error,warning", deb], stdout=subprocess.PIPE,
                          stderr=subprocess.PIPE, text=True)
    assert done.returncode == 0 and done.stdout == "", done.stdout + done.stderr


@pytest.mark.all
def test_the_debian_package_in_a_fresh_bookworm(deb, tmp_path):
    """Installed by apt with what it says it depends on, and run there; removed without a trace."""
    if os.geteuid() != 0 or not shutil.which("debootstrap"):
        pytest.skip("needs root and debootstrap")
    root = tmp_path / "bookworm"
    if subprocess.run(["debootstrap", "--variant=minbase", "--include=python3-minimal", "bookworm", root],
                      stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL).returncode:
        pytest.skip("debootstrap cannot reach its archive")
    shutil.copy2(deb, root / "root" / "whystall.deb")
    (root / "root" / "sick.py").write_text("import select, time\ne = select.epoll()\nfor i in range(8):\n e.poll(0.001)\n"
                                           " time.sleep(0.1 if i == 4 else 0)\n")

    def inside(*command):
        done = subprocess.run(["chroot", root, *command], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                              stderr=subprocess.STDOUT, text=True, timeout=300, env={"PATH": "/usr/sbin:/usr/bin:/sbin:/bin",
                                                                                     "DEBIAN_FRONTEND": "noninteractive"})
        assert done.returncode == 0, done.stdout
        return done.stdout

    subprocess.run(["mount", "-t", "proc", "proc", root / "proc"], check=True)
    try:
        inside("apt-get", "install", "-y", "--no-install-recommends", "/root/whystall.deb")
        said = inside("whystall", "run", "--", "python3", "/root/sick.py")
        assert "sick.py:5" in said and "clock_nanosleep" in said
        inside("dpkg", "--purge", "whystall")
        assert [p for p in (root / "usr").rglob("*whystall*")] == []
    finally:
        subprocess.run(["umount", root / "proc"], check=True)


# --- wheel ---


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    """As pip builds it from the source."""
    out = tmp_path_factory.mktemp("wheel")
    done = subprocess.run([DEBIAN, "-m", "pip", "wheel", "--no-index", "--no-deps", "-w", out, ROOT], cwd=out,
                          stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    assert done.returncode == 0, done.stdout
    return next(out.glob("*.whl"))


def environment(python, place, *packages, site=False):
    """A fresh virtual environment with these. Its bin directory."""
    subprocess.run([python, "-m", "venv", *(["--system-site-packages"] if site else []), place], check=True)
    subprocess.run([place / "bin" / "python", "-m", "pip", "install", "-q", "--disable-pip-version-check",
                    *(["--no-index"] if site else []), *packages], check=True, stdin=subprocess.DEVNULL)
    return place / "bin"


def clean_environment(bin, place):
    env = {k: v for k, v in os.environ.items() if not k.startswith(("PYTHON", "PYTEST", "WHYSTALL"))}
    return dict(env, PATH=f"{bin}:/usr/bin:/bin", XDG_STATE_HOME=str(place / "state"))


@pytest.fixture(scope="module")
def venv(wheel, tmp_path_factory):
    """With Debian's pytest, and whystall from the wheel alone."""
    return environment(DEBIAN, tmp_path_factory.mktemp("venv") / "it", wheel, site=True)


def test_the_installed_wheel(venv, tmp_path):
    assert (venv.parent / "lib" / "whystall" / "libwhystall.so").exists()
    works(venv / "whystall", tmp_path)
    found = subprocess.run([venv / "whystall", "doctor"], stdout=subprocess.PIPE, text=True).stdout
    assert re.search(r"^  run +ok", found, re.M), found
    done = subprocess.run([venv / "whystall", "run", "-q", "--listen", "localhost:0", "--", "true"], stderr=subprocess.PIPE)
    assert done.returncode == 0, done.stderr


def test_pytest_finds_the_installed_plugin(venv, tmp_path):
    (tmp_path / "test_it.py").write_text(TEST)
    env = clean_environment(venv, tmp_path)
    done = subprocess.run([venv / "python", "-m", "pytest", "--whystall-max-stall=50ms"], cwd=tmp_path, env=env,
                          stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, timeout=60)
    assert done.returncode == 1 and "1 failed, 1 passed" in done.stdout, done.stdout + done.stderr
    assert "test_it.py:5" in done.stdout
    done = subprocess.run([venv / "whystall", "check", "--max-stall", "50ms", "--", venv / "python", "-m", "pytest", "-q"],
                          cwd=tmp_path, env=env, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True, timeout=60)
    assert done.returncode == 1 and "in test test_it.py::test_sick" in re.sub(r"\s+", " ", done.stdout)


def test_the_wheel_asks_for_nothing_that_a_machine_may_lack(wheel, tmp_path):
    """A program without libraries, and a shim that glibc 2.28 has all functions for."""
    shutil.unpack_archive(wheel, tmp_path, "zip")
    program, shim = next(tmp_path.rglob("scripts/whystall")), next(tmp_path.rglob("libwhystall.so"))
    assert "NEEDED" not in subprocess.run(["objdump", "-p", program], stdout=subprocess.PIPE, text=True, check=True).stdout
    private = subprocess.run(["objdump", "-p", shim], stdout=subprocess.PIPE, text=True, check=True).stdout
    assert re.findall(r"NEEDED +(\S+)", private) == ["libc.so.6"]
    versions = [tuple(map(int, v.split("."))) for v in re.findall(r"GLIBC_([0-9.]+)", private)]
    assert versions and max(versions) <= (2, 28)
    assert "manylinux_2_28_x86_64" in wheel.name


def test_a_source_distribution_makes_the_same_wheel(wheel, tmp_path):
    if not (ROOT / ".git").exists():
        pytest.skip("no git here")
    code = "import sys; sys.path.insert(0, 'python'); import backend; print(getattr(backend, sys.argv[1])(sys.argv[2]))"
    name = subprocess.run([DEBIAN, "-c", code, "build_sdist", tmp_path], cwd=ROOT, stdout=subprocess.PIPE, text=True,
                          check=True).stdout.strip()
    shutil.unpack_archive(tmp_path / name, tmp_path)
    source = tmp_path / name[:-len(".tar.gz")]
    assert (source / "PKG-INFO").read_text().startswith("Metadata-Version: 2.1\nName: whystall\n")
    assert (source / "preload" / "mark.c").exists() and not (source / "build").exists()


@pytest.mark.all
@pytest.mark.parametrize("version", [v for v in sorted(pythons()) if v != "debian"])
def test_the_plugin_with_todays_pytest(wheel, tmp_path, version):
    """pip install whystall pytest pytest-asyncio pytest-xdist, on each Python here."""
    bin = environment(pythons()[version], tmp_path / "it", wheel, "pytest", "pytest-asyncio", "pytest-xdist")
    (tmp_path / "test_it.py").write_text(TEST + "import pytest\n@pytest.mark.asyncio\nasync def test_async():\n"
                                         "    await asyncio.sleep(0.001)\n    time.sleep(0.15)\n")
    for options, workers in ([], 0), (["-n", "2"], 2):
        done = subprocess.run([bin / "pytest", "--whystall-max-stall=50ms", "--junitxml=out.xml", *options], cwd=tmp_path,
                              env=clean_environment(bin, tmp_path), stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                              stderr=subprocess.PIPE, text=True, timeout=120)
        assert done.returncode == 1 and "2 failed, 1 passed" in done.stdout, done.stdout + done.stderr
        assert len(re.findall(r"^FAILED test_it\.py::\w+ - (?:Stall: )?loop stalled \d+ ms", done.stdout, re.M)) == 2, done.stdout
        assert "in 2 tests an event loop stalled for too long" in done.stdout


@pytest.mark.all
def test_the_wheel_beside_an_older_c_library(wheel, tmp_path):
    """Debian bullseye, glibc 2.31: the program and the shim of the wheel, made here, there."""
    from test_shim_root import BULLSEYE

    if os.geteuid() != 0 or not shutil.which("debootstrap"):
        pytest.skip("needs root and debootstrap")
    if not (BULLSEYE / "usr" / "bin" / "gcc").exists():
        shutil.rmtree(BULLSEYE, ignore_errors=True)  # one that was begun
        BULLSEYE.parent.mkdir(parents=True, exist_ok=True)
        if subprocess.run(["debootstrap", "--variant=minbase", "--include=python3,gcc,libc6-dev", "bullseye", BULLSEYE],
                          stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL).returncode:
            pytest.skip("debootstrap cannot reach its archive")
    shutil.unpack_archive(wheel, tmp_path, "zip")
    place = BULLSEYE / "opt" / "wheel"
    shutil.rmtree(place, ignore_errors=True)
    for name, to in (("scripts/whystall", "bin/whystall"), ("lib/whystall/libwhystall.so", "lib/whystall/libwhystall.so")):
        (place / to).parent.mkdir(parents=True)
        shutil.copy2(next(tmp_path.rglob(name)), place / to)
        (place / to).chmod(0o755)
    (BULLSEYE / "root" / "sick.py").write_text(SICK)
    shutil.copytree(next(tmp_path.rglob("recorder.py")).parent, place / "python" / "whystall")
    subprocess.run(["mount", "-t", "proc", "proc", BULLSEYE / "proc"], check=True)
    try:
        done = subprocess.run(["chroot", BULLSEYE, "/opt/wheel/bin/whystall", "run", "-o", "/root/record", "--", "python3",
                               "/root/sick.py"], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                              text=True, timeout=60)
        late = subprocess.run(["chroot", BULLSEYE, "sh", "-c", "PYTHONPATH=/opt/wheel/python WHYSTALL=/opt/wheel/bin/whystall "
                               "python3 -c 'from whystall import recorder; record = recorder.start().record; "
                               "exec(compile(open(\"/root/sick.py\").read(), \"/root/sick.py\", \"exec\")); print(record)' "
                               ">/root/name && sleep 0.5 && /opt/wheel/bin/whystall report $(cat /root/name)"],
                              stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=60)
    finally:
        subprocess.run(["umount", BULLSEYE / "proc"], check=True)
    assert done.returncode == 0 and "sick.py:4" in done.stderr and "CPython 3.9" in done.stderr, done.stderr
    assert "sick.py:4" in late.stdout and "CPython 3.9" in late.stdout, late.stdout

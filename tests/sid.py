# SPDX-License-Identifier: MIT
"""The newest Pythons, in a root of their own: Debian's sid has them, beside another C library. The root is kept under
build/ and used again. What is made here for each Python is a small shell script that runs it in there, with the tree,
/tmp and its working directory where they are outside, so that a test may start it like any other Python. It needs root,
debootstrap, and the network once, for half a minute."""

import fcntl
import functools
import os
import pathlib
import shutil
import subprocess

TREE = pathlib.Path(__file__).resolve().parent.parent
ROOTS = TREE / "build" / "roots"
ROOT = ROOTS / "sid"
VERSIONS = ("3.14", "3.15")
PACKAGES = [f"{name}{version}{rest}" for version in ("3.13", *VERSIONS) for name, rest in (("python", ""), ("libpython", "-dev"))]

# The mounts are in a namespace of the program's own: they end with it. It stays the process that was started.
WRAPPER = """#!/bin/sh
exec unshare --mount sh -c '
root=$1 here=$2 && shift 2 || exit 125
for d in /proc /dev /tmp {tree}; do mount --rbind "$d" "$root$d" || exit 125; done
exec chroot "$root" sh -c "cd \\"\\$0\\" 2>/dev/null; exec \\"\\$@\\"" "$here" "$@"
' sh {root} "$PWD" {program} "$@"
"""


def trouble():
    """Why there can be no such root here, or None."""
    if os.geteuid() != 0:
        return "not root: cannot make a root of another Debian"
    return None if shutil.which("debootstrap") else "no debootstrap"


@functools.lru_cache(None)
def root():
    """The root, made if it is not there. Raises where it cannot be made."""
    done = ROOTS / "sid.done"
    ROOTS.mkdir(parents=True, exist_ok=True)
    with open(ROOTS / "sid.lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not done.exists() or done.read_text() != " ".join(PACKAGES):
            shutil.rmtree(ROOT, ignore_errors=True)
            made = subprocess.run(["debootstrap", "--variant=minbase", f"--include={','.join(PACKAGES)}", "sid", ROOT],
                                  stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
            if made.returncode:
                raise OSError(f"debootstrap: {made.stdout[-500:]}")
            for name in ("tmp", str(TREE)[1:]):
                (ROOT / name).mkdir(parents=True, exist_ok=True)
            done.write_text(" ".join(PACKAGES))
    return ROOT


def wrapped(program, name):
    """The path of a script that runs the program, a path inside, in there."""
    path = ROOTS / "bin" / name
    path.parent.mkdir(parents=True, exist_ok=True)
    text = WRAPPER.format(tree=TREE, root=root(), program=program)
    if not path.exists() or path.read_text() != text:
        path.write_text(text)
        path.chmod(0o755)
    return str(path)


def python(version):
    """Runs that version, "3.14"."""
    return wrapped(f"/usr/bin/python{version}", f"python{version}")


def headers():
    """Folders of headers like /usr/include, of 3.13 and those."""
    return root() / "usr" / "include"

# SPDX-License-Identifier: MIT
"""The tools that users feed our output to, for the cases that do the same. They come from where users get them, into
build/tools, once: Debian's packages unpacked rather than installed (no service of theirs may start here), PyPI's and
npm's in an environment of their own."""

import os
import pathlib
import shutil
import subprocess
import tempfile

CACHE = pathlib.Path(__file__).resolve().parent.parent / "build" / "tools"


def command(*words, **more):
    done = subprocess.run([str(w) for w in words], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                          stderr=subprocess.STDOUT, text=True, **more)
    assert done.returncode == 0, f"{' '.join(map(str, words))}:\n{done.stdout[-3000:]}"
    return done.stdout


def made(name, make):
    """CACHE/name, made by make(directory) whole or not at all."""
    place = CACHE / name
    if not place.exists():
        CACHE.mkdir(parents=True, exist_ok=True)
        beside = pathlib.Path(tempfile.mkdtemp(prefix=f".{name}.", dir=CACHE))
        try:
            make(beside)
            beside.rename(place)
        finally:
            shutil.rmtree(beside, ignore_errors=True)
    return place


def debian(package):
    """Where Debian's package is unpacked."""

    def unpack(directory):
        if subprocess.run(["apt-get", "download", package], cwd=directory, stdin=subprocess.DEVNULL,
                          stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL).returncode:
            command(*([] if os.geteuid() == 0 else ["sudo", "-n"]), "apt-get", "-q", "update")
            command("apt-get", "download", package, cwd=directory)
        (archive,) = directory.glob("*.deb")
        command("dpkg-deb", "-x", archive, directory)
        archive.unlink()

    return made(package, unpack)

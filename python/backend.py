# SPDX-License-Identifier: MIT
"""Builds the wheel (PEP 517) with make: the program, linked statically so that it runs beside any C library, the shim,
which needs only functions that glibc has had since 2.15, the man page, completions and the Python package.

`pip install .`, or `make wheel` for one in build/. Uses nothing but the standard library."""

import base64
import glob
import hashlib
import io
import os
import pathlib
import platform
import re
import subprocess
import sys
import tarfile
import tempfile
import zipfile

ROOT = pathlib.Path(__file__).resolve().parent.parent
NAME = "whystall"
# The oldest glibc that the shim is made for, which is more than it asks of one (tests/case/test_install.py)
TAG = "py3-none-manylinux_2_28_x86_64"
LIBRARIES = """The program in this wheel is linked statically with: glibc and libbpf (LGPL-2.1), elfutils (LGPL-3+ or GPL-2+), libiberty
(LGPL-2+), jansson (MIT), SQLite (public domain), zlib (Zlib), xz (public domain), bzip2 (BSD-like), zstd (BSD). To link it
with others, build whystall from its source: https://peps.python.org/pep-0517/ says how, as does CONTRIBUTING.md.
"""


def version():
    return re.search(r'#define VERSION "(.*)"', (ROOT / "cli" / "util.h").read_text())[1]


def metadata():
    """The METADATA file, out of pyproject.toml's few lines (tomllib came with Python 3.11)."""
    text = (ROOT / "pyproject.toml").read_text()

    def value(key):
        return re.search(rf'^{key} = "(.*)"$', text, re.M)[1]

    classifiers = re.findall(r'^    "(.* :: .*)",$', text, re.M)
    return "\n".join(["Metadata-Version: 2.1", f"Name: {NAME}", f"Version: {version()}", f"Summary: {value('description')}",
                      "License: MIT", f"Requires-Python: {value('requires-python')}",
                      *(f"Classifier: {c}" for c in classifiers), "Description-Content-Type: text/markdown", "",
                      (ROOT / "README.md").read_text()])


def entry_points():
    section = re.search(r"^\[project\.entry-points\.pytest11\]\n(.*?)\n\n", (ROOT / "pyproject.toml").read_text(), re.M | re.S)
    return "[pytest11]\n" + section[1].replace('"', "") + "\n"


def make(build, *goals):
    command = ["make", "--no-print-directory", f"-j{os.cpu_count()}", f"BUILD={build}", *goals]
    done = subprocess.run(command, cwd=ROOT, stdin=subprocess.DEVNULL, stdout=sys.stderr)
    if done.returncode:
        raise SystemExit("whystall: make failed; a wheel needs what `tools/install-deps.sh build wheel` installs")


def stripped(path, *options):
    with tempfile.NamedTemporaryFile() as out:
        subprocess.run(["strip", *options, "-o", out.name, path], check=True)
        return pathlib.Path(out.name).read_bytes()


class Wheel:
    def __init__(self, path):
        self.zip = zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED)
        self.record = []

    def add(self, name, data, mode=0o644):
        data = data.encode() if isinstance(data, str) else data
        info = zipfile.ZipInfo(name, (1980, 1, 1, 0, 0, 0))
        info.external_attr = (0o100000 | mode) << 16
        info.compress_type = zipfile.ZIP_DEFLATED
        self.zip.writestr(info, data)
        digest = base64.urlsafe_b64encode(hashlib.sha256(data).digest()).rstrip(b"=").decode()
        self.record.append(f"{name},sha256={digest},{len(data)}")

    def close(self, place):
        record = "\n".join([*self.record, f"{place}/RECORD,,", ""])
        self.add(f"{place}/RECORD", record)
        self.zip.close()


def build_wheel(wheel_directory, config_settings=None, metadata_directory=None):
    if sys.platform != "linux" or platform.machine() != "x86_64":
        raise SystemExit("whystall: there is only one for Linux on x86-64")
    build = ROOT / "build"
    make(build, "all", "static", f"{build}/completion/whystall", f"{build}/completion/_whystall")
    name = f"{NAME}-{version()}-{TAG}.whl"
    wheel = Wheel(pathlib.Path(wheel_directory) / name)
    for path in sorted(glob.glob(str(ROOT / "python" / NAME / "*.py"))):
        wheel.add(f"{NAME}/{os.path.basename(path)}", pathlib.Path(path).read_bytes())
    data = f"{NAME}-{version()}.data"
    wheel.add(f"{data}/scripts/whystall", stripped(build / "static" / "whystall"), 0o755)
    wheel.add(f"{data}/data/lib/whystall/libwhystall.so", stripped(build / "libwhystall.so", "--strip-unneeded"), 0o755)
    wheel.add(f"{data}/data/share/man/man1/whystall.1", (ROOT / "doc" / "whystall.1").read_bytes())
    wheel.add(f"{data}/data/share/bash-completion/completions/whystall", (build / "completion" / "whystall").read_bytes())
    wheel.add(f"{data}/data/share/zsh/site-functions/_whystall", (build / "completion" / "_whystall").read_bytes())
    info = f"{NAME}-{version()}.dist-info"
    wheel.add(f"{info}/METADATA", metadata())
    wheel.add(f"{info}/WHEEL", f"Wheel-Version: 1.0\nGenerator: whystall {version()}\nRoot-Is-Purelib: false\nTag: {TAG}\n")
    wheel.add(f"{info}/entry_points.txt", entry_points())
    wheel.add(f"{info}/LICENSE", (ROOT / "LICENSE").read_bytes())
    wheel.add(f"{info}/LICENSE.libraries", LIBRARIES)
    wheel.close(info)
    return name


def build_sdist(sdist_directory, config_settings=None):
    """All that git knows: a wheel is built from it with make."""
    base = f"{NAME}-{version()}"
    names = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, check=True, stdout=subprocess.PIPE).stdout.decode().split("\0")
    with tarfile.open(pathlib.Path(sdist_directory) / f"{base}.tar.gz", "w:gz") as out:
        for name in filter(None, names):
            out.add(ROOT / name, f"{base}/{name}")
        info = tarfile.TarInfo(f"{base}/PKG-INFO")
        data = metadata().encode()
        info.size = len(data)
        out.addfile(info, io.BytesIO(data))
    return f"{base}.tar.gz"


if __name__ == "__main__":
    print(f"  {sys.argv[1]}/{build_wheel(sys.argv[1])}")

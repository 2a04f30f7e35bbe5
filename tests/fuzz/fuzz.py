# SPDX-License-Identifier: MIT
"""Runs each fuzzer for a while: `make fuzz`, ARGS="--seconds 600 stack_fuzz" for one of them.

What it finds worth keeping stays below BUILD/corpus and is where the next run begins; an input that breaks something is
left there as crash-... and named. The first seeds are made here from what a real run yields."""

import argparse
import os
import pathlib
import re
import subprocess
import sys
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent))
from conftest import pythons  # noqa: E402

SICK = """
import asyncio, time
async def main():
    for _ in range(3):
        time.sleep(0.03)
        await asyncio.sleep(0.01)
asyncio.run(main())
"""
BROKEN = ("crash-", "timeout-", "oom-", "leak-")
# by harness: libFuzzer's own options. 10 s for one input is forever; memory is what a sanitizer needs and some more.
OPTIONS = {"record_fuzz": ["-max_len=200000"], "stack_fuzz": ["-max_len=60000"], "interp_fuzz": ["-max_len=600"],
           "perfmap_fuzz": ["-max_len=4000"], "arena_fuzz": ["-max_len=2000"],
           "text_fuzz": ["-max_len=4000", "-close_fd_mask=3"]}


def seeds(name, corpus, whystall):
    if name == "record_fuzz":
        subprocess.run([whystall, "run", "-q", "-o", corpus / "run", "--", sys.executable, "-c", SICK], check=True)
    elif name == "stack_fuzz":
        source = "int f(int x) { return x + 1; }\nint main(void) { return f(1); }\n"
        for flags in (["-g", "-shared", "-fPIC"], ["-shared", "-fPIC", "-s"], ["-g1", "-no-pie"]):
            out = corpus / ("elf" + "".join(flags))
            subprocess.run(["gcc", "-xc", "-", "-nostdlib", "-Wl,-e,main", "-Wl,-z,max-page-size=4096", "-o", out,
                            *flags], input=source, text=True, check=True)
            out.write_bytes(b"\xff" + out.read_bytes() + bytes(400))
    elif name == "perfmap_fuzz":
        (corpus / "map").write_bytes(bytes(17) + b"7f00 20 py::f:/app.py\n7f20 100 LazyCompile:*g\n")
    elif name == "text_fuzz":
        (corpus / "time").write_bytes(b"\0" + b"1.5ms")
        (corpus / "options").write_bytes(b"\1" + b"--threshold\n5ms\n-qo\nfile\n--\nx")
        (corpus / "name").write_bytes(b"\2" + b"_ZN5boost6system12system_errorD0Ev.part.0@GLIBC_2.3")
        (corpus / "maps").write_bytes(b"\5" + bytes(8) + pathlib.Path("/proc/self/maps").read_bytes()[:2000])


def run(harness, corpus, seconds, environment):
    """(how many runs, what is wrong)"""
    corpus.mkdir(parents=True, exist_ok=True)
    found = set(corpus.glob("*-*"))
    command = [harness, corpus, f"-max_total_time={seconds}", "-timeout=10", "-rss_limit_mb=2048", "-len_control=0",
               "-print_final_stats=1",
               f"-artifact_prefix={corpus}/", *OPTIONS.get(harness.name, [])]
    log = corpus.parent / f"{corpus.name}.log"
    with open(log, "wb") as out:
        status = subprocess.run(command, stdin=subprocess.DEVNULL, stdout=out, stderr=out, cwd=corpus,
                                env=dict(os.environ, **environment)).returncode
    text = log.read_text(errors="replace")
    runs = re.search(r"number_of_executed_units: (\d+)", text)
    wrong = [] if status == 0 else [f"status {status}, see {log}"]
    wrong += [str(p) for p in sorted(set(corpus.glob("*-*")) - found) if p.name.startswith(BROKEN)]
    return int(runs[1]) if runs else 0, wrong


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--build", default="build/fuzz")
    parser.add_argument("--whystall", default="build/whystall")
    parser.add_argument("--seconds", type=int, default=60)
    parser.add_argument("only", nargs="*")
    options = parser.parse_args()
    build, failed = pathlib.Path(options.build).absolute(), 0
    for harness in sorted((build / "tests" / "fuzz").glob("*_fuzz")):
        if options.only and harness.name not in options.only:
            continue
        corpus = build / "corpus" / harness.name
        corpus.mkdir(parents=True, exist_ok=True)
        seeds(harness.name, corpus, pathlib.Path(options.whystall).absolute())
        versions = {"": {}}
        if harness.name == "interp_fuzz":
            known = pythons()
            versions = {v: {"FUZZ_PYTHON": known[v]} for v in ("3.8", "debian", "3.13") if v in known}
        for version, environment in versions.items():
            begin = time.monotonic()
            where = corpus.with_name(f"{corpus.name}.{version}") if version else corpus
            runs, wrong = run(harness, where, max(1, options.seconds // len(versions)), environment)
            print(f"{harness.name + ' ' + version:24} {runs:9} inputs in {time.monotonic() - begin:4.0f} s  "
                  f"{'ok' if not wrong else '; '.join(wrong)}", flush=True)
            failed += bool(wrong)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())

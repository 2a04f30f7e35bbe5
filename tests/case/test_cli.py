# SPDX-License-Identifier: MIT
"""The command line: help, usage errors, exit statuses, records that cannot be read, outputs that cannot be written."""

import json
import os
import re
import subprocess
import sys

import pytest

from conftest import ROOT


@pytest.fixture
def cli(binary, tmp_path):
    """cli("report", "-f", "json") -> the finished process, with a state directory of its own."""

    def call(*arguments, **more):
        environment = dict(os.environ, XDG_STATE_HOME=str(tmp_path / "state"), HOME=str(tmp_path),
                           TMPDIR=str(tmp_path), **more.pop("env", {}))
        more.setdefault("stdout", subprocess.PIPE)
        return subprocess.run([binary, *map(str, arguments)], stderr=subprocess.PIPE, text=True, timeout=30,
                              env=environment, stdin=subprocess.DEVNULL, **more)

    return call


STALL = "import asyncio, time\nasync def main():\n for _ in range(5): await asyncio.sleep(0.01)\n time.sleep(0.1)\n" \
        " await asyncio.sleep(0.01)\nasyncio.run(main())\n"


@pytest.fixture(scope="module")
def record(binary, tmp_path_factory):
    path = tmp_path_factory.mktemp("cli") / "a b.whystall"
    subprocess.run([binary, "run", "-q", "-o", path, "--", sys.executable, "-c", STALL], check=True, timeout=30)
    return path


def test_help_is_for_all_commands_within_80_columns(cli):
    overview = cli("--help")
    assert overview.returncode == 0 and overview.stderr == ""
    commands = re.findall(r"^  ([a-z]+) ", overview.stdout.split("Commands:")[1].split("Common")[0], re.M)
    assert {"run", "report", "help"} <= set(commands)
    assert cli("help").stdout == overview.stdout
    for command in commands:
        told = cli("help", command)
        assert told.returncode == 0
        assert told.stdout == cli(command, "--help").stdout == cli(command, "-h").stdout
        assert told.stdout.startswith(f"Usage: whystall {command}")
        assert "For example:" in told.stdout
        assert max(map(len, told.stdout.splitlines())) <= 80
        names = re.findall(r"^  (?:-\w,|   ) --([a-z-]+)", told.stdout.split("\nCommon options")[0], re.M)
        assert names == sorted(names)


def test_version(cli):
    for arguments in (["--version"], ["-V"], ["report", "-V"], ["run", "--version"]):
        done = cli(*arguments)
        assert (done.returncode, done.stdout, done.stderr) == (0, "whystall 0.1.0\n", "")


def test_no_command_is_a_short_help_on_stderr(cli):
    done = cli()
    assert done.returncode == 2 and done.stdout == ""
    assert done.stderr.startswith("Usage: whystall COMMAND")


@pytest.mark.parametrize("arguments, words", [
    (["reprot"], "unknown command reprot; did you mean report?"),
    (["zzzzzzz"], "unknown command zzzzzzz. See whystall --help"),
    (["--format"], "unknown option --format: options follow the command"),
    (["help", "rnu"], "unknown command rnu; did you mean run?"),
    (["report", "--fromat", "json"], "did you mean --format? See whystall report --help"),
    (["report", "-f", "jsn"], "--format jsn is unknown; did you mean json?"),
    (["report", "-f", "yellow"], "--format is html, json, junit, markdown or text"),
    (["report", "-f"], "--format needs FORMAT"),
    (["report", "--stall", "0"], "--stall wants the number of a stall"),
    (["report", "--stall", "two"], 'wants a whole number, not "two"'),
    (["report", "a", "b"], "one RECORD at a time, not also b"),
    (["report", "--color=pink"], "--color is auto, always or never"),
    (["report", "-q\x1b[31m"], "unknown option"),
    (["run", "--threshold", "20", "--", "true"], "--threshold 20 needs a unit, for instance 20ms"),
    (["run", "--tresholds=20ms", "--", "true"], "did you mean --threshold?"),
])
def test_usage_errors_are_one_sentence_and_status_2(cli, arguments, words):
    done = cli(*arguments)
    assert done.returncode == 2, done.stderr
    assert done.stdout == ""
    assert done.stderr.startswith("whystall: ") and done.stderr.count("\n") == 1
    assert words in done.stderr
    assert "\x1b" not in done.stderr


def test_records_that_cannot_be_read_are_status_4(cli, tmp_path):
    done = cli("report")
    assert done.returncode == 4
    assert "no record" in done.stderr and "whystall run -- COMMAND makes one" in done.stderr
    (tmp_path / "empty").write_bytes(b"")
    (tmp_path / "text").write_text("no record\n" * 1000)
    (tmp_path / "directory").mkdir()
    for name in ("missing", "empty", "text", "directory"):
        done = cli("report", tmp_path / name)
        assert done.returncode == 4, (name, done.stderr)
        assert done.stdout == "" and done.stderr.count("\n") == 1
        assert str(tmp_path / name) in done.stderr


def test_the_report_of_a_record(cli, record, report):
    text = cli("report", record)
    assert text.returncode == 0 and text.stderr == ""
    lines = text.stdout.splitlines()
    assert max(len(line) for line in lines if not line.startswith(("Record", "Try"))) <= 80
    assert f"Record '{record}'" in text.stdout
    assert "\x1b" not in text.stdout
    document = report(record)
    stall = document["processes"][0]["stalls"][0]
    assert max(stall["segments"], key=lambda s: s["seconds"])["cause"] == "syscall"
    one = cli("report", "--stall", stall["id"], record)
    assert f"Stall #{stall['id']} of the loop" in one.stdout
    assert cli("report", "--stall", 99, record).returncode == 2
    assert [s["id"] for s in json.loads(cli("report", "-f", "json", "--stall", stall["id"], record).stdout)
            ["processes"][0]["stalls"]] == [stall["id"]]


def test_colour(cli, record):
    def coloured(*arguments, **env):
        return "\x1b[" in cli("report", *arguments, record, env=env).stdout

    assert not coloured() and not coloured("--color=never", CLICOLOR_FORCE="1")
    assert coloured("--color", "always") and coloured(CLICOLOR_FORCE="1")
    assert not coloured(CLICOLOR_FORCE="1", NO_COLOR="1") and not coloured(CLICOLOR_FORCE="0")
    assert coloured("--color=always", NO_COLOR="1")


def test_output_is_written_whole_or_not_at_all(cli, record, tmp_path):
    out = tmp_path / "out" / "report.json"
    done = cli("report", "-f", "json", "-o", out, record)
    assert done.returncode == 125 and f"{out}: No such file or directory" in done.stderr
    out.parent.mkdir()
    assert cli("report", "-f", "json", "-o", out, record).returncode == 0
    assert json.loads(out.read_text())["schema"] == "whystall.report/1"
    out.chmod(0o640)
    link = out.parent / "link"
    link.symlink_to(out)
    assert cli("report", "-o", link, record).returncode == 0
    assert link.is_symlink() and out.read_text() == cli("report", record).stdout
    assert out.stat().st_mode & 0o777 == 0o640
    before = out.read_text()
    done = cli("report", "-f", "json", "-o", out, record, preexec_fn=lambda: limit_files(512))
    assert done.returncode == 125 and "File too large" in done.stderr
    assert out.read_text() == before
    assert sorted(p.name for p in out.parent.iterdir()) == ["link", "report.json"]
    assert cli("report", "-o", "/dev/stdout", record).stdout == before


def limit_files(size):
    import resource
    import signal

    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, size))


@pytest.mark.parametrize("arguments", [["report"], ["report", "-f", "json"]])
def test_an_output_that_takes_nothing_is_status_125(cli, record, arguments):
    with open("/dev/full", "w") as full:
        done = cli(*arguments, record, stdout=full)
        assert done.returncode == 125 and "No space left on device" in done.stderr
    done = cli(*arguments, record, stdout=None, preexec_fn=lambda: os.close(1))
    assert done.returncode == 125 and "standard output" in done.stderr
    read, write = os.pipe()
    os.close(read)
    done = cli(*arguments, record, stdout=write)
    os.close(write)
    assert done.returncode == 125 and "Broken pipe" in done.stderr
    assert done.stderr.count("\n") == 1
    done = cli("report", "-o", "/dev/full", record)
    assert done.returncode == 125 and "/dev/full: No space left on device" in done.stderr


def test_help_and_version_notice_a_full_output_too(cli):
    for arguments in (["--help"], ["--version"], ["help", "run"], ["report", "--json-schema"]):
        with open("/dev/full", "w") as full:
            done = cli(*arguments, stdout=full)
        assert done.returncode == 125 and "No space left on device" in done.stderr, arguments


def test_the_schema_is_the_one_in_doc(cli):
    import jsonschema

    done = cli("report", "--json-schema")
    assert done.returncode == 0
    assert done.stdout == (ROOT / "doc" / "report.schema.json").read_text()
    jsonschema.Draft202012Validator.check_schema(json.loads(done.stdout))


def test_the_man_page_has_the_commands_and_options_that_there_are(cli):
    page = (ROOT / "doc" / "whystall.1").read_text()
    part = re.search(r'^\.\\" \{ whystall help --man\n(.*?)^\.\\" \}\n', page, re.M | re.S).group(1)
    assert part == cli("help", "--man").stdout, "make man puts it there"

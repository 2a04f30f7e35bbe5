# SPDX-License-Identifier: MIT
"""Completion in a bash and a zsh on a terminal of their own: what is typed, a tab, and what the line has become."""

import os
import pty
import re
import select
import subprocess
import time

import pytest


class Shell:
    """An interactive shell in which `whystall` prints its words, each in <>."""

    def __init__(self, command, place):
        self.seen = ""
        self.pid, self.fd = pty.fork()
        if not self.pid:
            os.chdir(place)
            os.execvpe(command[0], command, {"PATH": os.environ["PATH"], "TERM": "dumb", "HOME": str(place), "LC_ALL": "C",
                                             "COLUMNS": "200", "LINES": "50"})

    def type(self, text):
        os.write(self.fd, text.encode())

    def until(self, pattern, timeout=20):
        """The match of the pattern in what the terminal shows from now on."""
        end = time.monotonic() + timeout
        while not re.search(pattern, self.seen):
            assert time.monotonic() < end, self.seen
            if select.select([self.fd], [], [], 0.1)[0]:
                more = os.read(self.fd, 65536).decode(errors="replace")
                self.seen += re.sub(r"\x1b\[[?0-9;]*[A-Za-z]|\x1b[=>]|\r", "", more)
        match = re.search(pattern, self.seen)
        self.seen = self.seen[match.end():]
        return match

    def quiet(self, seconds):
        while select.select([self.fd], [], [], seconds)[0]:
            self.seen += os.read(self.fd, 65536).decode(errors="replace").replace("\r", "")

    def becomes(self, text, words):
        """The line is these words after it was typed. A newline that comes while the shell completes may end the line as
        it was: on a slow machine once more, with more time."""
        for seconds in 0.5, 3, 10:
            self.type(text)
            self.quiet(seconds)
            self.type("\n")
            seen = re.findall("<(.*?)>", self.until(r"WORDS(.*)END\n")[1])
            if seen == words:
                return
        assert seen == words

    def close(self):
        os.close(self.fd)
        os.waitpid(self.pid, 0)


@pytest.fixture(params=["bash", "zsh"])
def shell(request, binary, tmp_path):
    (tmp_path / "first record.whystall").write_text("")
    text = subprocess.run([binary, "help", "--completion", request.param], stdout=subprocess.PIPE, check=True).stdout
    (tmp_path / "lib").mkdir()
    (tmp_path / "lib" / "_whystall").write_bytes(text)
    if request.param == "bash":
        it = Shell(["bash", "--norc", "--noprofile", "-i"], tmp_path)
        it.type("source lib/_whystall\n")
    else:
        it = Shell(["zsh", "-f", "-i"], tmp_path)
        it.type("fpath=($PWD/lib $fpath); autoload -Uz compinit; compinit -u -D\n")
    it.type("whystall() { printf WORDS; printf '<%s>' \"$@\"; printf 'END\\n'; }; echo REA''DY\n")
    it.until("READY\n")
    it.name = request.param
    yield it
    it.close()


def test_words_are_completed(shell):
    shell.becomes("whystall rep\t", ["report"])
    shell.becomes("whystall run --no-c\t", ["run", "--no-children"])
    shell.becomes("whystall report -f js\t", ["report", "-f", "json"])
    shell.becomes("whystall report --format=mark\t", ["report", "--format=markdown"])
    shell.becomes("whystall export --format open\t", ["export", "--format", "openmetrics"])
    shell.becomes("whystall help dif\t", ["help", "diff"])
    shell.becomes("whystall help --completion zs\t", ["help", "--completion", "zsh"])
    shell.becomes("whystall report fir\t", ["report", "first record.whystall"])
    shell.becomes("whystall check --baseline fir\t", ["check", "--baseline", "first record.whystall"])
    shell.becomes("whystall check --ignore gil,sysc\t", ["check", "--ignore", "gil,syscall"])


def test_behind_two_dashes_is_another_command(shell):
    shell.becomes("whystall run -- mkfif\t", ["run", "--", "mkfifo"])
    shell.becomes("whystall check --max-stall 50ms -- cat fir\t", ["check", "--max-stall", "50ms", "--", "cat", "first record.whystall"])
    shell.becomes("whystall run -d 5s mkfif\t", ["run", "-d", "5s", "mkfifo"])
    shell.becomes("whystall run --threshold=5ms -q cat fir\t", ["run", "--threshold=5ms", "-q", "cat", "first record.whystall"])


def test_all_that_fits_is_listed(shell):
    shell.type("whystall \t\t")
    shell.until(r"(?s)attach.*check")
    shell.type("\x15whystall check --max\t\t\t")
    shell.until(r"(?s)--max-p99.*--max-stall.*--max-stalled")


def test_every_option_of_every_command_is_in_both(binary):
    def lines(*arguments):
        return subprocess.run([binary, *arguments], stdout=subprocess.PIPE, text=True, check=True).stdout

    commands = re.findall(r"^  ([a-z]+) ", lines("--help").split("Commands:")[1].split("Common")[0], re.M)
    bash, zsh = lines("help", "--completion", "bash"), lines("help", "--completion", "zsh")
    for command in commands:
        names = set(re.findall(r"^  (?:-\w,|   ) (--[a-z0-9-]+)", lines("help", command), re.M))
        assert {"--help", "--version"} < names
        ours = re.search(rf"^\t{command}\)\n.*?-W \"(.*?)\"", bash, re.M)[1]
        assert set(ours.split()) == names
        ours = re.search(rf"^\t\({command}\)\n(.*?)\t\t;;", zsh, re.M | re.S)[1]
        assert set(re.findall(r"[',{](--[a-z0-9-]+)=?[\[},]", ours)) == names


def test_a_shell_that_we_do_not_know(binary):
    done = subprocess.run([binary, "help", "--completion", "fish"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert done.returncode == 2 and done.stdout == "" and "--completion is bash or zsh" in done.stderr

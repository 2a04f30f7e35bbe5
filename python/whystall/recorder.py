# SPDX-License-Identifier: MIT
"""What a program can say to the recorder that watches it, and ask: thin calls of functions that libwhystall.so exports
(preload/mark.c). Under `whystall run` nothing here is needed for being watched; elsewhere start() begins it."""

import os
import sys
import time


class Trouble(Exception):
    """One sentence: why nothing can be recorded."""


def program():
    """Path of the whystall program, None where there is none: $WHYSTALL, this environment's, PATH's, the parent's."""
    import shutil

    named = os.environ.get("WHYSTALL")
    if named:
        return named if os.access(named, os.X_OK) else None
    beside = os.path.join(sys.prefix, "bin", "whystall")
    if os.access(beside, os.X_OK):
        return beside
    found = shutil.which("whystall")
    try:
        parent = os.readlink("/proc/%d/exe" % os.getppid())
    except OSError:
        parent = ""
    return found or (parent if os.path.basename(parent) == "whystall" else None)


class Recorder:
    """The one that watches this process. None of its calls waits, but for sync()."""

    def __init__(self, functions, ctypes):
        self._mark = functions.whystall_mark
        self._mark.argtypes = [ctypes.c_char_p]
        functions.whystall_record.restype = ctypes.c_char_p
        functions.whystall_threshold.restype = ctypes.c_uint64
        functions.whystall_stalls.restype = functions.whystall_sync.restype = ctypes.c_uint
        functions.whystall_synced.argtypes = [ctypes.c_uint]
        self.stalls = functions.whystall_stalls  # ticks of the threshold or more so far, in all processes
        self._functions = functions
        record = functions.whystall_record()
        self.record = os.fsdecode(record) if record else None
        self.threshold = functions.whystall_threshold() / 1e9  # seconds: a tick of at least this is a stall

    def mark(self, text):
        """From now on this process does that; "": nothing in particular. (At most 499 bytes are kept.)"""
        return self._mark(text.encode("utf-8", "backslashreplace")) == 0

    def sync(self, timeout=5.0):
        """Waits until all that has happened so far is in the record. False: that took too long."""
        ticket, end = self._functions.whystall_sync(), time.monotonic() + timeout
        while not self._functions.whystall_synced(ticket):
            if time.monotonic() > end:
                return False
            time.sleep(0.002)
        return True


def _recorder(functions, ctypes):
    """The Recorder that the library says there is, or None."""
    return Recorder(functions, ctypes) if functions.whystall_mark(None) == 0 else None


_started = None  # the Recorder that start() made


def find():
    """The Recorder, None: nobody watches this process."""
    if _started is not None:
        return _started
    try:
        with open("/proc/self/maps", "rb") as maps:  # cheaper than to load ctypes' machinery for nothing
            if b"libwhystall" not in maps.read():
                return None
        import ctypes

        return _recorder(ctypes.PyDLL(None), ctypes)
    except (OSError, AttributeError):
        return None


class Start:
    """A whystall that comes up beside this process; ready() waits for it."""

    def __init__(self, threshold=0.02):
        """Threshold: seconds; a tick of at least this is a stall. Raises Trouble."""
        whystall = program()
        if whystall is None:
            raise Trouble("the program is not on PATH; pip install whystall brings it")
        self._pipe, write = os.pipe()
        ends = [write]
        while ends[-1] < 3:  # a standard stream's number, where that is closed
            ends.append(os.dup(ends[-1]))
        self._pid = os.posix_spawn(
            whystall, [whystall, "attach", "-q", "--threshold", "%gus" % (threshold * 1e6), "--join-fd", "2", str(os.getpid())],
            os.environ, file_actions=[(os.POSIX_SPAWN_OPEN, 0, "/dev/null", os.O_RDWR, 0), (os.POSIX_SPAWN_DUP2, 0, 1),
                                      (os.POSIX_SPAWN_DUP2, ends[-1], 2)])
        for end in ends:
            os.close(end)

    def ready(self):
        """The Recorder: from here on this process is recorded, and those that it starts. Raises Trouble."""
        global _started
        import ctypes  # takes a while, in which the other comes up

        with open(self._pipe, "rb") as answers:
            answer = answers.read().decode("utf-8", "replace")
        os.waitpid(self._pid, 0)  # it has left its place to a child of its own
        if not answer.startswith("WHYSTALL_ARENA="):
            raise Trouble(answer.strip().replace("whystall: ", "") or "%s does not start" % program())
        arena, library, _ = answer.split("\n", 2)
        try:
            functions = ctypes.PyDLL(library)  # keeps the GIL: these calls are over before it could be handed round
            if functions.whystall_join(os.fsencode(arena)):
                raise OSError("%s is short of memory, or in a pid namespace of its own" % sys.executable)
        except (OSError, AttributeError) as trouble:
            raise Trouble("this process cannot be recorded: %s" % trouble)
        _started = _recorder(functions, ctypes)
        _bind_imports(functions)
        return _started


def start(threshold=0.02):
    """Records this process from now on, as `whystall run` would have from its start, until it ends: returns the Recorder,
    whose .record is where. Raises Trouble."""
    return find() or Start(threshold).ready()


def _bind_imports(functions):
    """Extension modules that are imported later are seen too."""
    import _imp

    create = _imp.create_dynamic

    def create_dynamic(*arguments):
        module = create(*arguments)
        functions.whystall_bind()
        return module

    _imp.create_dynamic = create_dynamic

# SPDX-License-Identifier: MIT
"""What a program can say to the `whystall run` that watches it, and ask: thin calls of functions that the preloaded
libwhystall.so exports (preload/mark.c). Nothing here is needed for being watched."""

import os
import sys
import time


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


def find():
    """The Recorder, None: nobody watches this process."""
    try:
        with open("/proc/self/maps", "rb") as maps:  # cheaper than to load ctypes' machinery for nothing
            if b"libwhystall" not in maps.read():
                return None
        import ctypes

        functions = ctypes.PyDLL(None)  # keeps the GIL: these calls are over before it could be handed round
        return Recorder(functions, ctypes) if functions.whystall_mark(None) == 0 else None
    except (OSError, AttributeError):
        return None

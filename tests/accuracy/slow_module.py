# SPDX-License-Identifier: MIT
"""A module whose body takes long: lock_import.py imports it again and again."""
import sys
import time

import stamp


def load_tables(seconds):
    time.sleep(seconds)  # ill: load


main = sys.modules["__main__"]
with stamp.holding("import", "slow_module.py:load", "sem"):
    main.begun.set()
    load_tables(main.seconds)

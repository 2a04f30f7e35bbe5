# SPDX-License-Identifier: MIT
"""whystall: why does the event loop of a live Linux process stall, and who is to blame?

The program is `whystall` on PATH; here are what a Python program may say to the recorder that watches it
(whystall.recorder) and the pytest plugin (whystall.pytest_plugin)."""

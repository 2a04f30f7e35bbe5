# SPDX-License-Identifier: MIT
"""What POSIX says of shared, robust and prioritized locks, of cancellation, signals, clocks and fork holds under the
shim: the same lines come out."""

import pytest

from shim_arena import arena_dump, program, same, shim  # noqa: F401


@pytest.mark.parametrize("what", ["processes", "cancel", "interrupted", "conditions", "forks"])
def test_posix_holds(same, program, what):
    assert same(program("shim_posix", "-w"), what).stdout.count("\n") >= 4

"""The fuzzing of `make fuzz`, for a moment."""

import pytest

from fuzz.run import TARGETS, fuzz


@pytest.mark.parametrize("name", TARGETS)
def test_a_moment_of_fuzzing_finds_nothing(name: str) -> None:
    report = fuzz(name, 1.0, 0)
    assert report.examples > 100
    assert not report.problem, report.problem

"""Memory of `lmteach predict RUN FOLDER` does not grow with the rows."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

BENCHMARK = Path(__file__).parents[2] / "benchmarks" / "classifier_memory.py"


@pytest.mark.slow
def test_four_times_the_rows_take_the_same_memory() -> None:
    """42 MB of text more; held whole as rows, records and tokens it would be several times that.

    The fewer rows fill a window (4,096), which is what memory is for.
    """
    sizes = ("5000", "20000")
    done = subprocess.run(
        [sys.executable, BENCHMARK, "--words", "400", "--rows", *sizes],
        capture_output=True,
        text=True,
        check=True,
    )
    few, many = (float(peak.replace(",", "")) for peak in re.findall(r"peak ([\d,]+) MB", done.stdout))
    assert many < few + 60, done.stdout

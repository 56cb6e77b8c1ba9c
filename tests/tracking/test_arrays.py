"""Arrays in one file: whole or not at all, and one error where it is something else."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from lmteach.errors import RunError
from lmteach.tracking.arrays import read_arrays, write_arrays


@pytest.mark.parametrize("compressed", [False, True])
def test_what_is_written_is_read(tmp_path: Path, compressed: bool) -> None:
    path = tmp_path / "a.npz"
    write_arrays(path, {"x": np.arange(1000) // 9, "said": "yes"}, compressed=compressed)
    with read_arrays(path, "This", "") as file:
        np.testing.assert_array_equal(file["x"], np.arange(1000) // 9)
        assert str(file["said"]) == "yes"
    assert [p.name for p in tmp_path.iterdir()] == ["a.npz"]
    assert (path.stat().st_size < 4000) == compressed


def test_a_write_that_fails_leaves_what_was_there(tmp_path: Path) -> None:
    class Unwritable:
        def __array__(self, dtype: object = None, copy: object = None) -> np.ndarray:
            raise MemoryError("no room")

    path = tmp_path / "a.npz"
    write_arrays(path, {"x": np.ones(3)})
    before = path.read_bytes()
    with pytest.raises(MemoryError):
        write_arrays(path, {"x": np.zeros(3), "y": Unwritable()})
    assert path.read_bytes() == before
    assert [p.name for p in tmp_path.iterdir()] == ["a.npz"]


@pytest.mark.parametrize("content", [None, b"", b"not a zip", b"PK\x03\x04 cut short"])
def test_a_file_that_cannot_be_read_is_one_error(tmp_path: Path, content: bytes | None) -> None:
    path = tmp_path / "a.npz"
    if content is not None:
        path.write_bytes(content)
    message = r"a\.npz: These verdicts cannot be read: [\s\S]*Make them anew\."
    with (
        pytest.raises(RunError, match=message),
        read_arrays(path, "These verdicts", "Make them anew.") as file,
    ):
        file["x"]


def test_a_file_of_something_else_is_the_same_error(tmp_path: Path) -> None:
    path = tmp_path / "a.npz"
    write_arrays(path, {"y": np.ones(3)})
    with (
        pytest.raises(RunError, match="These verdicts cannot be read"),
        read_arrays(path, "These verdicts", "") as f,
    ):
        f["x"]


def test_objects_are_refused(tmp_path: Path) -> None:
    """A pickle inside could run anything."""
    path = tmp_path / "a.npz"
    np.savez(path, x=np.array([{}], dtype=object))
    with pytest.raises(RunError, match="cannot be read"), read_arrays(path, "This", "") as file:
        file["x"]

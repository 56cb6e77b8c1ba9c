"""The feature store: what was appended is read, whatever killed a writer, and memory stays small."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lmteach.errors import StoreError
from lmteach.students.feature_store import FeatureColumn
from lmteach.students.hash_rows import text_hash


def column(folder: Path, dim: int = 3, dtype: str = "fp32") -> FeatureColumn:
    return FeatureColumn(folder / "column", dim, dtype)  # type: ignore[arg-type]


def rows(*values: float) -> np.ndarray:
    return np.array([[v, v + 0.5, -v] for v in values], np.float32)


def test_texts_are_found_and_read_in_any_order_by_another_process_too(tmp_path: Path) -> None:
    names = [text_hash(t) for t in "abc"]
    column(tmp_path).append(names[:2], rows(1, 2))
    column(tmp_path).append(names[2:], rows(3))
    again = column(tmp_path)
    assert len(again) == 3
    assert again.find([names[2], text_hash("d"), names[0]]).tolist() == [2, -1, 0]
    np.testing.assert_array_equal(again.read(np.array([2, 0, 2])), rows(3, 1, 3))


@settings(max_examples=30, deadline=None)
@given(
    st.lists(st.lists(st.integers(-60_000, 60_000), min_size=1, max_size=5), min_size=1, max_size=5),
    st.integers(0, 2),
)
def test_a_column_is_a_dictionary_on_disk(
    tmp_path_factory: pytest.TempPathFactory, batches: list[list[int]], seed: int
) -> None:
    folder = tmp_path_factory.mktemp("store")
    expected = {}
    for batch in batches:
        distinct = [v for v in dict.fromkeys(batch) if v not in expected]
        column(folder, dtype="fp16").append(
            [text_hash(str(v)) for v in distinct], rows(*distinct).reshape(-1, 3)
        )
        expected |= {v: np.float16(rows(v)[0]).astype(np.float32) for v in distinct}
    wanted = np.random.default_rng(seed).choice(list(expected), 8)
    found = column(folder, dtype="fp16")
    read = found.read(found.find([text_hash(str(v)) for v in wanted]))
    np.testing.assert_array_equal(read, np.stack([expected[v] for v in wanted]))


@pytest.mark.parametrize(("file", "extra"), [("vectors.bin", 7), ("texts.bin", 5)])
def test_what_a_killed_writer_left_is_never_read_and_cut_off(tmp_path: Path, file: str, extra: int) -> None:
    column(tmp_path).append([text_hash("a")], rows(1))
    with (tmp_path / "column" / file).open("ab") as torn:
        torn.write(b"\xff" * extra)
    assert len(column(tmp_path)) == 1
    column(tmp_path).append([text_hash("b")], rows(2))
    found = column(tmp_path)
    np.testing.assert_array_equal(found.read(found.find([text_hash("b"), text_hash("a")])), rows(2, 1))


def test_vectors_that_went_missing_are_an_error_with_a_way_out(tmp_path: Path) -> None:
    column(tmp_path).append([text_hash("a"), text_hash("b")], rows(1, 2))
    with (tmp_path / "column" / "vectors.bin").open("rb+") as file:
        file.truncate(12)
    with pytest.raises(StoreError, match="fewer than the 2 vectors") as error:
        column(tmp_path)
    assert "computed again" in str(error.value)


def test_numbers_beyond_fp16_and_other_widths_are_refused(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match=r"1 of 2 vectors .* float16 cannot"):
        column(tmp_path, dtype="fp16").append([text_hash("a"), text_hash("b")], rows(1, 70_000))
    assert not len(column(tmp_path, dtype="fp16"))
    with pytest.raises(StoreError, match="width 3, not 4"):
        column(tmp_path, dim=4)


WRITER = """
import sys, numpy as np
from pathlib import Path
from lmteach.students.feature_store import FeatureColumn
from lmteach.students.hash_rows import text_hash
name = sys.argv[2]
for i in range(40):
    value = i + (1000 if name == "x" else 0)
    FeatureColumn(Path(sys.argv[1]), 2, "fp32").append([text_hash(f"{name}{i}")], np.full((1, 2), value, np.float32))
"""


def test_two_writers_at_once_lose_nothing(tmp_path: Path) -> None:
    writers = [subprocess.Popen([sys.executable, "-c", WRITER, str(tmp_path / "c"), name]) for name in "xy"]
    assert [writer.wait() for writer in writers] == [0, 0]
    found = FeatureColumn(tmp_path / "c", 2, "fp32")
    assert len(found) == 80
    for name, offset in (("x", 1000), ("y", 0)):
        read = found.read(found.find([text_hash(f"{name}{i}") for i in range(40)]))
        assert read[:, 0].tolist() == [i + offset for i in range(40)]


READER = """
import resource, sys, numpy as np
from pathlib import Path
from lmteach.students.feature_store import FeatureColumn
column = FeatureColumn(Path(sys.argv[1]), 4096, "fp16")
rng, before = np.random.default_rng(0), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
for _ in range(60):
    column.read(rng.integers(0, len(column), 1024))
print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) // 1024)
"""


def test_reading_all_of_a_column_does_not_bring_it_into_memory(tmp_path: Path) -> None:
    """400 MB on disk, read at random several times over, 8 MB at a time."""
    made = FeatureColumn(tmp_path / "c", 4096, "fp16")
    block = np.ones((2_500, 4096), np.float32)
    for i in range(20):
        made.append([text_hash(f"{i} {j}") for j in range(2_500)], block)
    grown = subprocess.run(
        [sys.executable, "-c", READER, str(tmp_path / "c")], capture_output=True, text=True, check=True
    )
    assert int(grown.stdout) < 160, "megabytes"

"""The page and the text: whole, without network, safe from the texts it shows, and true to the facts."""

from __future__ import annotations

import dataclasses
import json
import re
import shutil
from collections.abc import Callable
from html.parser import HTMLParser
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lmteach.tracking.report.charts import COLOURS, heading
from lmteach.tracking.report.facts import gather
from lmteach.tracking.report.html import escape
from lmteach.tracking.report.page import build_page
from lmteach.tracking.report.svg import Frame, Plot, nice_ticks
from lmteach.tracking.test_scores import FILE, TestScores

pytestmark = pytest.mark.usefixtures("own_cache")

Finished = tuple[Path, dict[str, Any]]
Call = Callable[..., tuple[int, str, str]]
VOID = {"meta", "br", "img", "link", "input", "hr"}


class Reader(HTMLParser):
    """Collects tags, attributes and text; fails where elements are not closed in order."""

    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.open: list[str] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.texts: list[str] = []
        self.titles: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open, f"</{tag}> closes nothing"
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.open and self.open[-1] == "title" and "svg" in self.open:
            self.titles.append(data)
        elif "style" not in self.open:
            self.texts.append(data)


def read(page: str) -> Reader:
    reader = Reader()
    reader.feed(page)
    reader.close()
    assert reader.open == []
    return reader


@pytest.fixture(scope="module")
def page(finished_run: Finished, cache_folder: Path) -> str:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("LMTEACH_CACHE", str(cache_folder))
        return build_page([gather(finished_run[0])])


def test_the_page_fetches_nothing_and_runs_nothing(page: str) -> None:
    reader = read(page)
    for tag, attributes in reader.tags:
        assert tag not in {"script", "link", "iframe", "object", "embed", "img", "base", "form"}
        for name, value in attributes.items():
            assert not name.startswith("on"), f"<{tag} {name}>"
            assert name not in {"src", "href", "xlink:href", "srcset", "action"}, f"{name}={value}"
    style = page[page.index("<style>") : page.index("</style>")]
    assert "url(" not in style
    assert "@import" not in style
    assert "default-src 'none'" in page
    assert len(page) < 300_000


def test_the_page_has_every_section_and_light_and_dark(page: str) -> None:
    text = " ".join(read(page).texts)
    for part in ("How it was made", "Quality", "Teacher", "Yes-rate by place", "Shortlist recall by k",
                 "Frequent and rare labels", "PSP@5", "Cost", "Hardest documents", "Recipe and machine",
                 "Training loss"):  # fmt: skip
        assert part in text
    assert "prefers-color-scheme:dark" in page
    style = page[page.index("<style>") : page.index("</style>")]
    light, dark = re.findall(r":root\{(?:color-scheme:light dark;)?(--[^}]*)\}", style)
    names = [set(re.findall(r"(--\w+):", block)) for block in (light, dark)]
    assert names[0] == names[1], "each colour has both forms"
    assert {f"--{colour}" for colour in COLOURS} <= names[0]


def test_numbers_in_the_pictures_are_those_of_the_run(page: str, finished_run: Finished) -> None:
    _, final = finished_run
    titles = read(page).titles
    for name, means in final["by_name"].items():
        low, high = final["intervals"][name]["p@1"]
        assert f"{name}: {means['p@1']:.3f} [{low:.3f}, {high:.3f}]" in titles
    assert "cycle 0: 1,240 made" in titles
    assert any(re.fullmatch(r"place 1: yes \d+\.\d% of 100", title) for title in titles)


def test_marks_stand_where_their_numbers_say(page: str) -> None:
    frame = Frame((0, 2), (0, 0.5), width=380, height=240)
    assert frame.at_y(0) == 240 - frame.bottom
    assert frame.at_y(0.5) == frame.top
    assert frame.at_x(1) == pytest.approx((frame.left + 380 - frame.right) / 2)
    plot = Plot(frame, "t")
    plot.bar(1, 0.5, 0.25, "blue")
    [(y, height)] = re.findall(r'y="([\d.]+)" width="[\d.]+" height="([\d.]+)"', plot.marks[0])
    assert float(height) == pytest.approx((240 - frame.top - frame.bottom) / 2, abs=0.1)
    assert float(y) + float(height) == pytest.approx(240 - frame.bottom, abs=0.11)
    for number in re.findall(r'[xy][12]?="(-?[\d.]+)"', page):
        assert -5 <= float(number) <= 1100, "nothing is drawn outside"
    assert "nan" not in re.findall(r'(?:cx|cy|points|x|y|width|height)="([^"]*)"', page)


@pytest.mark.parametrize(("low", "high"), [(0, 0.83), (0, 1), (0, 12_400), (0, 0.0031), (0, 0), (3, 3)])
def test_ticks_are_round_and_span_the_data(low: float, high: float) -> None:
    ticks = nice_ticks(low, high)
    assert ticks[0] <= low
    assert ticks[-1] >= high
    assert 3 <= len(ticks) <= 8
    steps = {round(b - a, 8) for a, b in pairwise(ticks)}
    assert len(steps) == 1


def test_hostile_texts_are_shown_not_obeyed(hostile_run: Path) -> None:
    page = build_page([gather(hostile_run), gather(hostile_run)])
    reader = read(page)
    assert not [tag for tag, attributes in reader.tags if tag in {"script", "img"}]
    assert all("onclick" not in attributes and "onerror" not in attributes for _, attributes in reader.tags)
    text = " ".join(reader.texts)
    assert '<script>alert("pwned")</script>' in text, "the text itself is there, as text"
    assert "\x07" not in page
    assert "<script" not in page


def test_escape_leaves_no_way_out_of_text_or_attribute() -> None:
    assert escape("<a href='x' title=\"y\">&") == "&lt;a href=&#x27;x&#x27; title=&quot;y&quot;&gt;&amp;"
    assert escape("a\x00b\x1bc\td\ne") == "abc\td\ne"


def test_several_runs_are_compared(finished_run: Finished, call: Call, tmp_path: Path) -> None:
    folder, final = finished_run
    out = tmp_path / "both.html"
    status, said, err = call("report", folder, folder, "--output", out, "--json", tmp_path / "facts.json")
    assert status == 0, err
    assert str(out) in said
    reader = read(out.read_text())
    text = " ".join(reader.texts)
    assert "Runs compared" in text
    assert "B - A" in text
    facts = json.loads((tmp_path / "facts.json").read_text())
    assert facts[0]["students"]["untuned"]["p@1"]["mean"] == final["untuned"]["p@1"]


def test_an_oracle_run_is_the_ceiling(finished_run: Finished, call: Call, tmp_path: Path) -> None:
    folder, final = finished_run
    out = tmp_path / "o.html"
    status, _, err = call("report", folder, "--oracle", folder, "--output", out)
    assert status == 0, err
    texts = read(out.read_text()).texts
    assert texts.count(f"{final['student']['p@1']:.3f}") >= 2, (
        "in the headline, and beside the line in the chart"
    )
    assert any("The ceiling is the student of desks, taught by gold." in text for text in texts)


def test_the_text_says_what_the_page_says(finished_run: Finished, call: Call) -> None:
    folder, final = finished_run
    status, out, err = call("report", folder, folder, "--text")
    assert status == 0, err
    low, high = final["intervals"]["untuned"]["p@1"]
    assert f"{final['untuned']['p@1']:.3f} [{low:.3f}, {high:.3f}]" in out
    for part in ("quality on held-out documents", "yes-rate by place", "gold among the first k", "frequent and rare",
                 "cost", "hard: Note", "paired bootstrap over documents"):  # fmt: skip
        assert part in out
    assert not (folder / "report.html").exists()


def test_the_default_place_is_the_runs_folder(hostile_run: Path, call: Call) -> None:
    status, out, _ = call("report", hostile_run)
    assert status == 0
    assert (hostile_run / "report.html").is_file()
    assert "report.html" in out


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("{tmp}",), "no run here"),
        (("{run}", "--hardest", "-1"), "0 or more"),
        (("{run}", "--text", "--output", "x"), "--output"),
    ],
)
def test_wrong_calls_are_explained(
    arguments: tuple[str, ...], says: str, finished_run: Finished, call: Call, tmp_path: Path
) -> None:
    status, _, err = call("report", *(a.format(tmp=tmp_path, run=finished_run[0]) for a in arguments))
    assert status == 1
    assert says in err


def test_metric_names_are_the_papers() -> None:
    assert [heading(m) for m in ("p@1", "psndcg@5", "macro_f1")] == ["P@1", "PSnDCG@5", "macro f1"]


def test_names_of_levels_do_not_cover_each_other() -> None:
    plot = Plot(Frame((0, 1), (0, 1)), "t")
    for value in (0.5, 0.51, 0.52, 0.5):
        plot.level(value, "grey", f"{value}")
    places = sorted(
        float(y) for y in re.findall(r'<text class="name t-grey" x="[\d.]+" y="([\d.]+)"', plot.render())
    )
    assert len(places) == 4
    assert all(b - a >= 11.9 for a, b in pairwise(places))


@pytest.mark.parametrize("lacks", ["its end", "test gold", "training gold", "the corpus"])
def test_a_run_that_lacks_something_still_has_its_page_and_text(
    lacks: str, finished_run: Finished, call: Call, tmp_path: Path
) -> None:
    folder = tmp_path / "run"
    shutil.copytree(finished_run[0], folder)
    lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    arguments: tuple[str, ...] = ()
    if lacks == "its end":
        lines, name = lines[:1], "not finished"
        (folder / FILE).unlink()
    elif lacks == "test gold":
        for key in ("untuned", "student", "by_name", "intervals", "gain", "chosen", "test_documents"):
            del lines[-1][key]
        (folder / FILE).unlink()
        name = "lmteach evaluate"
    elif lacks == "training gold":
        scores = TestScores.load(folder)
        dataclasses.replace(scores, label_counts_l=np.zeros(0, dtype=np.int64)).save(folder)
        name = "Hardest documents"
    else:
        arguments, name = ("--no-corpus",), "label "
    (folder / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    status, _, err = call("report", folder, *arguments)
    assert status == 0, err
    text = " ".join(read((folder / "report.html").read_text()).texts)
    assert name in text
    assert "Teacher" in text
    status, _, err = call("report", folder, "--text", *arguments)
    assert status == 0, err

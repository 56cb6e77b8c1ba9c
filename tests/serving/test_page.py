"""The page in a real browser: a text in, tags with scores and the nearest labels out; nothing fetched elsewhere."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from lmteach import load_student

pytest.importorskip("fastapi")
TEXT = "A note on bread, oven, flour, dough, salt, moon."


@pytest.fixture
def page(browser: Any, server: Any) -> Iterator[Any]:
    context = browser.new_context()
    opened = context.new_page()
    opened.troubles = []
    opened.asked = []
    opened.on("console", lambda message: opened.troubles.append(message.text))
    opened.on("pageerror", lambda error: opened.troubles.append(str(error)))
    opened.on("request", lambda request: opened.asked.append(request.url))
    yield opened
    context.close()


def test_a_text_gets_its_tags_and_the_nearest_labels(page: Any, server: Any, exported: Path) -> None:
    student = load_student(exported)
    page.goto(server.url + "/")
    page.fill("#text", TEXT)
    page.select_option("#threshold", "f1")
    page.click("#go")
    page.wait_for_selector("#result:not([hidden])")
    (tags,) = student.predict([TEXT], 12, threshold="f1")
    (every,) = student.predict([TEXT], 12)
    assert tuple(page.locator("#tags tbody td.name").all_inner_texts()) == tags.labels
    assert tuple(page.locator("#nearest tbody td.name").all_inner_texts()) == every.labels[len(tags.labels) :]
    first = page.locator("#tags tbody tr").first.locator("td.number").all_inner_texts()
    assert first == [f"{every.probabilities[0]:.2f}", f"{every.scores[0]:.3f}"]
    assert page.title() == student.about.name
    assert (page.inner_text("#tags-title"), page.inner_text("#nearest-title")) == ("Tags", "Nearest labels")
    assert page.troubles == []
    assert all(url.startswith((server.url, "data:")) for url in page.asked)


def test_a_text_is_never_taken_for_markup(page: Any, server: Any) -> None:
    page.goto(server.url + "/")
    page.fill("#text", "<img src=x onerror=\"document.title='taken'\">")
    page.keyboard.press("Control+Enter")
    page.wait_for_selector("#result:not([hidden])")
    assert page.title() != "taken"
    assert page.troubles == []


def test_a_refusal_is_shown(page: Any, server: Any) -> None:
    page.goto(server.url + "/")
    page.fill("#text", "x" * 30_000)
    page.click("#go")
    page.wait_for_selector("#problem:not([hidden])")
    assert "20,000 bytes" in page.inner_text("#problem")
    assert page.is_hidden("#result")


def test_the_token_is_asked_for_where_it_is_needed(browser: Any, start: Any, exported: Path) -> None:
    server = start(exported, env={"LMTEACH_TOKEN": "sesame"})
    page = browser.new_page()
    page.goto(server.url + "/")
    assert page.is_hidden("#token-field")
    page.fill("#text", TEXT)
    page.click("#go")
    page.wait_for_selector("#token-field:not([hidden])")
    page.fill("#token", "sesame")
    page.click("#go")
    page.wait_for_selector("#result:not([hidden])")
    page.close()


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_every_text_can_be_read(browser: Any, server: Any, scheme: str) -> None:
    """Contrast of 4.5 to 1 (WCAG 2.1 AA), and nothing wider than a small screen."""
    context = browser.new_context(color_scheme=scheme, viewport={"width": 360, "height": 700})
    page = context.new_page()
    for path, ready in (("/", "#result:not([hidden])"), ("/docs", ".route")):
        page.goto(server.url + path)
        if path == "/":
            page.fill("#text", TEXT)
            page.click("#go")
        page.wait_for_selector(ready)
        assert page.evaluate("document.documentElement.scrollWidth") <= 360
        for text, ratio in page.evaluate(CONTRASTS):
            assert ratio >= 4.5, (scheme, path, text)
    context.close()


CONTRASTS = """() => {
  const parse = (color) => color.match(/[\\d.]+/g).map(Number);
  const light = (rgb) => {
    const linear = (v) => v <= 0.03928 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4;
    const parts = rgb.slice(0, 3).map((v) => linear(v / 255));
    return 0.2126 * parts[0] + 0.7152 * parts[1] + 0.0722 * parts[2];
  };
  const ground = (node) => {
    for (let at = node; at; at = at.parentElement) {
      const rgb = parse(getComputedStyle(at).backgroundColor);
      if (rgb.length < 4 || rgb[3] > 0) return rgb;
    }
    return [255, 255, 255];
  };
  const found = [];
  for (const node of document.querySelectorAll("main *")) {
    const own = [...node.childNodes].some((c) => c.nodeType === 3 && c.textContent.trim());
    if (!own || !node.offsetParent) continue;
    const [a, b] = [light(parse(getComputedStyle(node).color)), light(ground(node))];
    found.push([node.textContent.trim().slice(0, 40), (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05)]);
  }
  return found;
}"""

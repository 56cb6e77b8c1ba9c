"""Hooks of mkdocs: pages that are not there yet leave the menu; generated parts are put in."""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent))

from reference import GENERATED

_MARK = re.compile(r"<!-- generated: ([a-z-]+) -->")
_OUTSIDE = re.compile(r"\[([^\]]+)\]\(\.\./([^)]+)\)")


def on_config(config: Any) -> Any:
    """Drop entries of the menu whose page is not written."""
    folder = Path(config["docs_dir"])
    config["nav"] = _present(config["nav"], folder)
    return config


def on_page_markdown(markdown: str, page: Any, config: Any, files: Any) -> str:
    """Put the generated parts in; name files beside `docs`, which the site does not hold, instead of linking them."""
    markdown = _MARK.sub(lambda mark: GENERATED[mark[1]](), markdown)
    return markdown if "/" in page.file.src_uri else _OUTSIDE.sub(r"\1 (`\2`)", markdown)


def _present(entries: list[Any], folder: Path) -> list[Any]:
    return [entry for entry in (_there(entry, folder) for entry in entries) if entry]


def _there(entry: Any, folder: Path) -> Any:
    if isinstance(entry, str):
        return entry if (folder / entry).is_file() else None
    ((title, target),) = entry.items()
    if isinstance(target, str):
        return entry if (folder / target).is_file() else None
    inner = _present(target, folder)
    return {title: inner} if inner else None

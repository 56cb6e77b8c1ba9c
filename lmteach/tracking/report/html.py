"""HTML pieces. Whatever comes from a corpus, a recipe or a model goes through `escape` here and nowhere else."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape as _escape


def escape(text: object) -> str:
    """Return text that a browser shows as it is, in elements and attributes; control characters are dropped."""
    shown = "".join(c for c in str(text) if c in "\n\t" or ord(c) >= 32)
    return _escape(shown, quote=True)


_MARK = ' class="ours"'


def tile(value: str, name: str) -> str:
    """Return a large number with what it is."""
    return f'<div class="tile"><b>{escape(value)}</b><span>{escape(name)}</span></div>'


def tiles(pairs: Sequence[tuple[str, str]]) -> str:
    """Return a row of large numbers."""
    return f'<div class="tiles">{"".join(tile(value, name) for value, name in pairs)}</div>'


def table(columns: Sequence[str], rows: Sequence[Sequence[str]], *, ours: Sequence[int] = ()) -> str:
    """Return a table; rows whose number is in `ours` stand out."""
    head = "".join(f"<th>{escape(column)}</th>" for column in columns)
    body = "".join(
        f"<tr{_MARK if i in ours else ''}>{''.join(f'<td>{escape(cell)}</td>' for cell in row)}</tr>"
        for i, row in enumerate(rows)
    )
    return f'<div class="scroll"><table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>'


def card(title: str, about: str, picture: str, keys: Sequence[tuple[str, str]] = ()) -> str:
    """Return a chart in its box; `keys` are colours and what they stand for."""
    legend = "".join(f'<span class="key"><i class="b-{c}"></i>{escape(name)}</span>' for c, name in keys)
    text = f"<p>{escape(about)}</p>" if about else ""
    return f'<section class="card"><h3>{escape(title)}</h3>{text}{legend}{picture}</section>'


def folded(title: str, inner: str) -> str:
    """Return something that opens on a click."""
    return f"<details><summary>{escape(title)}</summary>{inner}</details>"

"""Text templates: `{title}\\t{text}` over the fields of a document or label."""

from __future__ import annotations

import string
from collections.abc import Iterable, Mapping
from typing import Any

from lmteach.errors import CorpusError, nearest_name

_SEPARATORS = " \t\r\n:;,-–—|/"


class Template:
    """Fills named fields into a text. A field that one record lacks is empty; one that none has is an error.

    Args:
        pattern: text with `{field}` places; `{{` and `}}` stand for braces, a backslash with t or n for a tab
            or line break, which neither a command line nor YAML's single quotes can hold.
        key: the recipe key it came from, for errors.

    Raises:
        CorpusError: unbalanced braces, no field at all, or more than a plain name within the braces.
    """

    def __init__(self, pattern: str, key: str) -> None:
        self.pattern, self.key = pattern, key
        try:
            parts = list(string.Formatter().parse(pattern.replace("\\t", "\t").replace("\\n", "\n")))
        except ValueError as error:
            raise CorpusError(f"'{pattern}' is no text template: {error}.", where=key) from error
        for _, name, spec, conversion in parts:
            if name is not None and (spec or conversion or not name.isidentifier()):
                raise CorpusError(
                    f"'{{{name}}}' in '{pattern}' is more than a field's name.",
                    where=key,
                    mend="Write {field}, with nothing but the name between the braces.",
                )
        self._parts = [(literal, name) for literal, name, _, _ in parts]
        self.fields = tuple(dict.fromkeys(name for _, name in self._parts if name is not None))
        if not self.fields:
            raise CorpusError(f"'{pattern}' names no field, so every text would be the same.", where=key)

    def fill(self, fields: Mapping[str, Any], where: str) -> str:
        """Return the text of one record: empty if all its fields are.

        A separator (say `: `) is left out where the field before or after it is empty.

        Raises:
            CorpusError: a field's value is no text, number or list of these.
        """
        values = {name: as_text(fields.get(name), name, where) for name in self.fields}
        if not any(map(str.strip, values.values())):
            return ""
        text = ""
        for literal, name in self._parts:
            value = "" if name is None else values[name]
            separates = name is not None and not literal.strip(_SEPARATORS)
            text += value if separates and not (text and value) else literal + value
        return text

    def check_known(self, known: Iterable[str], where: str) -> None:
        """Raise CorpusError unless every field of the template is among `known`."""
        known = sorted(known)
        there = ", ".join(known)
        for name in self.fields:
            if name not in known:
                raise CorpusError(
                    f"There is no field '{name}' for {self.key}={self.pattern}; there are: {there}.",
                    where=where,
                    nearest=nearest_name(name, known),
                )


def as_text(value: Any, name: str, where: str) -> str:
    """Return a field's value as text; lists are joined by commas, None is empty.

    Raises:
        CorpusError: it is anything else, or holds half a character (a lone surrogate), as no file may.
    """
    if isinstance(value, str):
        return _encodable(value, name, where)
    if value is None:
        return ""
    if isinstance(value, int | float) and not isinstance(value, bool):
        return str(value)
    if isinstance(value, list | tuple) and all(isinstance(v, str | int | float) for v in value):
        return _encodable(", ".join(map(str, value)), name, where)
    raise CorpusError(f"The field '{name}' is no text but {type(value).__name__}.", where=where)


def _encodable(value: str, name: str, where: str) -> str:
    try:
        value.encode()
    except UnicodeEncodeError as error:
        raise CorpusError(
            f"The field '{name}' holds half a character, \\u{ord(value[error.start]):04x}: no text may.",
            where=where,
        ) from error
    return value

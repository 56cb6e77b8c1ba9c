"""Small SVG plots without a plotting library: axes, lines, bars, intervals; colours are the page's, light or dark."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from html import escape

FONT = 12
LABEL = 16  # height of an axis's name


@dataclass(frozen=True)
class Frame:
    """The box that data are drawn in. `x` and `y` hold the data's least and greatest value."""

    x: tuple[float, float]
    y: tuple[float, float]
    width: int = 380
    height: int = 240
    left: int = 44
    right: int = 14
    top: int = 12
    bottom: int = 38

    def at_x(self, value: float) -> float:
        """Return where a value of x stands."""
        low, high = self.x
        return self.left + (value - low) / (high - low or 1) * (self.width - self.left - self.right)

    def at_y(self, value: float) -> float:
        """Return where a value of y stands."""
        low, high = self.y
        inner = self.height - self.top - self.bottom
        return self.height - self.bottom - (value - low) / (high - low or 1) * inner


@dataclass
class Plot:
    """Collects marks; `render` gives the SVG element.

    Args:
        title: what the plot shows, for those who cannot see it.
    """

    frame: Frame
    title: str
    marks: list[str] = field(default_factory=list)
    labelled: bool = False
    levels: list[float] = field(default_factory=list)

    def y_axis(self, ticks: Sequence[float], form: str = "{:.2f}") -> None:
        """Draw horizontal grid lines with their values."""
        frame = self.frame
        for tick in ticks:
            y = frame.at_y(tick)
            self._line(frame.left, y, frame.width - frame.right, y, "rule")
            self.text(frame.left - 6, y + 4, form.format(tick), anchor="end", css="tick")

    def x_axis(self, ticks: Sequence[tuple[float, str]], label: str = "") -> None:
        """Write values under the plot."""
        frame = self.frame
        bottom = frame.height - frame.bottom
        self._line(frame.left, bottom, frame.width - frame.right, bottom, "base")
        for value, name in ticks:
            self.text(frame.at_x(value), bottom + 15, name, anchor="middle", css="tick")
        if label:
            self.labelled = True
            middle = (frame.left + frame.width - frame.right) / 2
            self.text(middle, frame.height - 5, label, anchor="middle", css="axis")

    def line(self, points: Sequence[tuple[float, float]], colour: str, tip: str = "") -> None:
        """Draw a line through points."""
        path = " ".join(f"{_n(self.frame.at_x(x))},{_n(self.frame.at_y(y))}" for x, y in points)
        self.marks.append(f'<polyline class="line s-{colour}" points="{path}">{_tip(tip)}</polyline>')

    def dot(self, x: float, y: float, colour: str, tip: str = "", radius: float = 4) -> None:
        """Draw a point."""
        self.marks.append(
            f'<circle class="f-{colour}" cx="{_n(self.frame.at_x(x))}" cy="{_n(self.frame.at_y(y))}" '
            f'r="{radius}">{_tip(tip)}</circle>'
        )

    def whisker(self, x: float, low: float, high: float, colour: str) -> None:
        """Draw an upright interval."""
        at, top, bottom = self.frame.at_x(x), self.frame.at_y(high), self.frame.at_y(low)
        self._line(at, top, at, bottom, f"whisker s-{colour}")
        for end in (top, bottom):
            self._line(at - 4, end, at + 4, end, f"whisker s-{colour}")

    def bar(
        self, x: float, width: float, value: float, colour: str, tip: str = "", base: float = 0.0
    ) -> None:
        """Draw an upright bar, `width` in units of x, centred at x."""
        left, right = self.frame.at_x(x - width / 2), self.frame.at_x(x + width / 2)
        top, bottom = self.frame.at_y(base + value), self.frame.at_y(base)
        self.marks.append(
            f'<rect class="f-{colour}" x="{_n(left)}" y="{_n(top)}" width="{_n(right - left)}" '
            f'height="{_n(max(0.0, bottom - top))}" rx="1.5">{_tip(tip)}</rect>'
        )

    def level(self, y: float, colour: str, name: str) -> None:
        """Draw a dashed line across, with a short name in the right margin; names do not cover each other."""
        frame, at = self.frame, self.frame.at_y(y)
        self._line(frame.left, at, frame.width - frame.right, at, f"level s-{colour}")
        place = at + 4
        while any(abs(place - other) < FONT for other in self.levels):
            place -= 1
        self.levels.append(place)
        self.text(frame.width - frame.right + 5, place, name, css=f"name t-{colour}")

    def upright(self, x: float, colour: str) -> None:
        """Draw a dashed line from top to bottom."""
        frame, at = self.frame, self.frame.at_x(x)
        self._line(at, frame.top, at, frame.height - frame.bottom, f"level s-{colour}")

    def text(self, x: float, y: float, text: str, *, anchor: str = "start", css: str = "") -> None:
        """Write text at a place of the picture, not of the data."""
        self.marks.append(
            f'<text class="{css}" x="{_n(x)}" y="{_n(y)}" text-anchor="{anchor}">{escape(text)}</text>'
        )

    def render(self) -> str:
        """Return the SVG element."""
        frame = self.frame
        height = frame.height - (0 if self.labelled else LABEL)
        return (
            f'<svg class="plot" viewBox="0 0 {frame.width} {height}" role="img" '
            f'aria-label="{escape(self.title, quote=True)}">{"".join(self.marks)}</svg>'
        )

    def _line(self, x1: float, y1: float, x2: float, y2: float, css: str) -> None:
        self.marks.append(f'<line class="{css}" x1="{_n(x1)}" y1="{_n(y1)}" x2="{_n(x2)}" y2="{_n(y2)}"/>')


def nice_ticks(low: float, high: float, n: int = 5) -> list[float]:
    """Return about n round values that span low to high."""
    import math

    if not high > low:
        high = low + 1
    raw = (high - low) / n
    size = 10 ** math.floor(math.log10(raw))
    step = next(size * factor for factor in (1, 2, 2.5, 5, 10) if size * factor >= raw * 0.999)
    first = math.floor(low / step + 1e-9)
    last = math.ceil(high / step - 1e-9)
    return [round(i * step, 10) for i in range(first, last + 1)]


def _n(value: float) -> str:
    return f"{value:.1f}".rstrip("0").rstrip(".")


def _tip(text: str) -> str:
    return f"<title>{escape(text)}</title>" if text else ""

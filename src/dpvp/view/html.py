"""HTML that cannot be broken out of: what is not made by `tag` is text, and is escaped."""

from __future__ import annotations

import html
from collections.abc import Iterable, Sequence

import numpy as np

from dpvp.plan import Array

_VOID = ("meta", "img")


class Html(str):
    """Text that is HTML already."""

    __slots__ = ()


def tag(name: str, /, *content: object, **attributes: object) -> Html:
    """Return an element; `content` that is no `Html` is escaped, as are the values of `attributes`.

    Attributes are written with `_` for `-`, and `class_` for `class`.
    """
    words = "".join(f' {key.rstrip("_").replace("_", "-")}="{html.escape(str(v))}"' for key, v in attributes.items())
    if name in _VOID:
        return Html(f"<{name}{words}>")
    return Html(f"<{name}{words}>{join(content)}</{name}>")


def join(content: Iterable[object]) -> Html:
    """Return parts one after another, those that are no `Html` escaped."""
    return Html("".join(part if isinstance(part, Html) else html.escape(str(part)) for part in content))


def table(rows: Iterable[Sequence[object]], head: Sequence[str] = ()) -> Html:
    """Return a table, which is scrolled where it is wider than the page."""
    top = [tag("tr", *(tag("th", cell) for cell in head))] if head else []
    body = [tag("tr", *(tag("td", cell) for cell in row)) for row in rows]
    return tag("div", tag("table", *top, *body), class_="wide")


def histogram(values: Array, unit: str, bins: int = 60) -> Html:
    """Return the distribution of `values`, one finite at least; the last bar has the latest half percent."""
    values = values[np.isfinite(values)]
    low, high = float(values.min()), float(np.percentile(values, 99.5))
    high = high if high > low else low + 1e-3
    counts, _ = np.histogram(values.clip(low, high), bins=bins, range=(low, high))
    heights = 100.0 * np.sqrt(counts / counts.max())  # few late ones are what matters: they have to be seen
    bars = [
        tag("rect", x=i, y=f"{100.0 - height:.1f}", width=0.9, height=f"{height:.1f}")
        for i, height in enumerate(heights)
        if height
    ]
    picture = tag("svg", *bars, viewBox=f"0 0 {bins} 100", preserveAspectRatio="none", class_="histogram")
    ends = [f"{low:.3g} {unit}", "height: square root of the count", f"{high:.3g} {unit} and more"]
    return join([picture, tag("div", *(tag("span", end) for end in ends), class_="axis")])


def lane(stretches: Iterable[tuple[float, float, str, str]], begin: float, end: float) -> Html:
    """Return a bar of stretches (from, to, kind, words) between the times `begin` and `end`; `kind` is their class."""
    length = max(end - begin, 1e-9)
    parts = [
        tag(
            "rect",
            tag("title", words),
            x=f"{1e3 * (since - begin) / length:.2f}",
            y=0,
            width=f"{max(1e3 * (until - since) / length, 1.5):.2f}",
            height=10,
            class_=kind,
        )
        for since, until, kind, words in stretches
    ]
    return tag("svg", *parts, viewBox="0 0 1000 10", preserveAspectRatio="none", class_="lane")

"""Small pieces of HTML and SVG by which results show themselves in a notebook."""

import html
import math
from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

#: Columns of a drawn line: more than the eye resolves at this width.
_POINTS = 256
_WIDTH, _HEIGHT = 480, 80


def facts(title: str, rows: Iterable[tuple[str, str]], drawing: str = "") -> str:
    """A heading, a drawing and a table of names and values.

    Parameters
    ----------
    title : str
    rows : iterable of (str, str)
        Rows without a value are left out.
    drawing : str
        HTML, from :func:`line`.
    """
    body = "".join(f"<tr><th>{html.escape(k)}</th><td>{html.escape(v)}</td></tr>" for k, v in rows if v)
    return f"<h4>{html.escape(title)}</h4>{drawing}<table><tbody>{body}</tbody></table>"


def line(values: NDArray[np.floating] | NDArray[np.integer]) -> str:
    """A series as a small drawing: of every column the range of its values; "" when nothing is finite.

    Parameters
    ----------
    values : ndarray, shape (n,)
    """
    n = len(values)
    ncols = min(n, _POINTS)
    edges = np.linspace(0, n, ncols + 1).astype(np.int64)
    low, high = np.full(ncols, np.nan), np.full(ncols, np.nan)
    for i in range(ncols):
        part = np.asarray(values[edges[i] : edges[i + 1]], dtype=np.float64)
        part = part[np.isfinite(part)]
        if part.size:
            low[i], high[i] = part.min(), part.max()
    if not np.isfinite(low).any():
        return ""
    bottom, top = float(np.nanmin(low)), float(np.nanmax(high))
    scale = (_HEIGHT - 4) / (top - bottom) if top > bottom else 0.0
    step = _WIDTH / ncols

    def at(i: int, value: float) -> str:
        return f"{(i + 0.5) * step:.1f},{_HEIGHT - 2 - (value - bottom) * scale:.1f}"

    shown = [i for i in range(ncols) if math.isfinite(low[i])]
    points = " ".join([at(i, high[i]) for i in shown] + [at(i, low[i]) for i in reversed(shown)])
    return (
        f'<svg width="{_WIDTH}" height="{_HEIGHT}" viewBox="0 0 {_WIDTH} {_HEIGHT}">'
        f'<polygon points="{points}" fill="#9fb8d9" stroke="#14213d" stroke-width="1"/></svg>'
    )


def known(value: float, form: str, unit: str = "") -> str:
    """A number with its unit; "" when it is not known."""
    return f"{value:{form}} {unit}".rstrip() if math.isfinite(value) else ""

"""Texts that come from files, made safe for a terminal and for the name of a file; and results in words.

Names of sources and files, notes and columns of a product are written by others. A control code in one of them could
move the cursor, set colours or hide what follows; a slash or two dots could lead to another folder. Readers pass what
they read through :func:`printable`, and so does everything that is printed; pages escape markup themselves.

Numbers stand here as tables, sheets and pages show them, and small pieces of HTML and SVG for notebooks.
"""

import html
import json
import math
import re
import unicodedata
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


def printable(text: str, *, lines: bool = False) -> str:
    """The text with everything that is no visible character written as its escape, ``\\x1b``.

    Parameters
    ----------
    lines : bool
        Ends of lines and tabs may stay.
    """
    if text.isprintable() or (lines and text.translate(_LINES).isprintable()):
        return text
    keep = "\n\t" if lines else ""
    return "".join(c if c.isprintable() or c in keep else _escaped(c) for c in text)


_LINES: Final = {ord("\n"): None, ord("\t"): None}


def _escaped(char: str) -> str:
    code = ord(char)
    # Wide and narrow spaces, and those at which no line breaks.
    if unicodedata.category(char) == "Zs":
        return " "
    if code < 0x100:
        return f"\\x{code:02x}"
    return f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"


def shown(value: object) -> str:
    """What was found in place of something else, as a message tells it."""
    return printable(repr(value))[:80]


def ascii_only(text: str) -> str:
    """The text with a question mark in place of every letter that formats of ASCII do not know."""
    return text.encode("ascii", "replace").decode()


def parsed(text: object) -> float:
    """The number that a text is, with Fortran's exponents, too; NaN where it is none."""
    try:
        return float(str(text).upper().replace("D", "E"))
    except ValueError:
        return math.nan


def toml_value(value: Any) -> str:
    """A value of TOML: a switch, a number, a text, a list or a table; what is None in a table is left out."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        # A JSON string is a TOML basic string; what is not seen, DEL among it, is written as its code.
        text = json.dumps(value, ensure_ascii=False)
        return "".join(c if c.isprintable() else f"\\U{ord(c):08x}" for c in text)
    if isinstance(value, Mapping):
        return "{ " + ", ".join(f"{key} = {toml_value(v)}" for key, v in value.items() if v is not None) + " }"
    if isinstance(value, tuple | list):
        return "[" + ", ".join(toml_value(v) for v in value) + "]"
    if isinstance(value, float):
        return repr(value) if math.isfinite(value) else {math.inf: "inf", -math.inf: "-inf"}.get(value, "nan")
    return str(value)


def literal(text: str) -> str:
    """The text for a picture, in which a pair of ``$`` would begin a formula, and a wrong formula end the drawing."""
    return printable(text).replace("$", r"\$")


def cell(text: str) -> str:
    """The text for a cell of a table of comma-separated values, which a spreadsheet does not take for a formula.

    An apostrophe comes before what would begin one, as OWASP has it ("CSV Injection"), and before such an apostrophe:
    :func:`of_cell` finds the text again. Numbers are no texts: they are written as they are.
    """
    return f"'{text}" if _FORMULA.match(text) else text


def of_cell(text: str) -> str:
    """The text of which :func:`cell` has made this."""
    return text[1:] if text.startswith("'") and _FORMULA.match(text) else text


_FORMULA: Final = re.compile("'*[=+\\-@\t\r]")


def file_name(text: str) -> str:
    """The text as part of a file's name: letters, digits and ``+-._``, not hidden, and no longer than names may be."""
    name = "".join(c if _plain(c) else "-" for c in text)
    name = re.sub(r"^[.]+", "-", name)
    # File systems take 255 bytes, and beam, date and suffix come to it.
    return name.encode()[:120].decode(errors="ignore")


def is_file_name(text: str) -> bool:
    """True if a text is a name such as those of :func:`file_name`: of a file in the same folder, and not hidden."""
    # A program may add a dot, suffixes, and the numbers of a process.
    return 0 < len(text.encode(errors="replace")) <= 200 and text[0] != "." and all(map(_plain, text))


def _plain(char: str) -> bool:
    return char.isalnum() or char in "+-._"


def counted(count: int, nouns: str) -> str:
    """How many of something there are: "3 beams", "1 beam"."""
    return f"{count} {nouns if count != 1 else nouns.removesuffix('s')}"


def number(value: Any, form: str, unknown: str = "-") -> str:
    """A number in that format; `unknown` where it is not known."""
    value = float(value)
    return format(value, form) if math.isfinite(value) else unknown


def utc_of(mjd: float) -> datetime:
    """The moment of an MJD (UTC), days of 86400 s."""
    return datetime(1858, 11, 17, tzinfo=UTC) + timedelta(days=mjd)


def iso_time(mjd: float) -> str:
    """The same as text to the microsecond, without a zone: 2020-05-31T06:00:00.000000."""
    return utc_of(mjd).replace(tzinfo=None).isoformat(timespec="microseconds")


def value_error(value: Any, uncertainty: Any) -> str:
    """A value with its error in brackets, in units of the last digit: 163.7113(12); "-" where it is unknown."""
    value, uncertainty = float(value), float(uncertainty)
    if not math.isfinite(value):
        return "-"
    if not (math.isfinite(uncertainty) and uncertainty > 0):
        return f"{value:.8g}"
    digits = max(0, 1 - math.floor(math.log10(uncertainty)))
    if digits > 12:
        return f"{value:.12f}"
    scaled = round(uncertainty * 10**digits)
    return f"{value:.{digits}f}({scaled if digits else round(uncertainty)})"


def duty_cycle(width: Any, uncertainty: Any) -> str:
    """A duty cycle with its error in brackets; three digits where that is not known."""
    return value_error(width, uncertainty) if float(uncertainty) > 0 else number(width, ".3f")


def small_error(value: Any, uncertainty: Any) -> str:
    """The same with a power of ten, for numbers far from 1: -1.23(45)e-15."""
    value, uncertainty = float(value), float(uncertainty)
    largest = max(abs(value), abs(uncertainty) if math.isfinite(uncertainty) else 0.0)
    if not math.isfinite(value) or largest == 0.0 or 1e-3 <= largest < 1e6:
        return value_error(value, uncertainty)
    power = math.floor(math.log10(largest))
    scale = 10.0**-power
    return f"{value_error(value * scale, uncertainty * scale)}e{power}"


def band_text(low: Any, high: Any, between: str = "–") -> str:
    """Edges of a part of the band, in words; empty for the whole."""
    return f"{low:.6g}{between}{high:.6g}" if low < high else ""


def significant(value: Any, uncertainty: Any) -> bool:
    """True if a value is more than three of its errors from zero: otherwise its digits say nothing."""
    return bool(abs(float(value)) > 3 * float(uncertainty))


def si(value: float) -> str:
    """Three digits and the prefix: 12.3 G; "-" for nothing."""
    if not value > 0:
        return "-"
    for factor, prefix in ((1e12, " T"), (1e9, " G"), (1e6, " M"), (1e3, " k")):
        if value >= 0.9995 * factor:
            return f"{value / factor:.3g}{prefix}"
    return f"{value:.3g}"


def duration(seconds: float) -> str:
    """A time in the largest units that tell it: 12 s, 3 min 20 s, 2 h 05 min."""
    if seconds < 60:
        return f"{seconds:.3g} s"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes:02d} min" if hours else f"{minutes} min {rest:02d} s"


_WIDTH, _HEIGHT = 480, 80


def facts(title: str, rows: Iterable[tuple[str, str]], drawing: str = "") -> str:
    """A heading, a drawing and a table of names and values.

    Parameters
    ----------
    rows : iterable of (str, str)
        Rows without a value are left out.
    drawing : str
        HTML, from :func:`line`.
    """
    body = "".join(f"<tr><th>{html.escape(k)}</th><td>{html.escape(v)}</td></tr>" for k, v in rows if v)
    return f"<h4>{html.escape(title)}</h4>{drawing}<table><tbody>{body}</tbody></table>"


def line(values: "NDArray[np.floating] | NDArray[np.integer]") -> str:
    """A series as a small drawing: of every column the range of its values; "" when nothing is finite.

    Parameters
    ----------
    values : ndarray, shape (n,)
    """
    import numpy as np

    n = len(values)
    # More columns the eye does not resolve at this width.
    ncols = min(n, 256)
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

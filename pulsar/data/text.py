"""Texts that come from files, made safe: for a terminal, and for the name of a file.

Names of sources and files, notes and columns of a product are written by others. A control code in one of them could
move the cursor, set colours or hide what follows; a slash or two dots could lead to another folder. Readers pass what
they read through :func:`printable`, and so does everything that is printed; pages escape markup themselves.
"""

import json
import math
import re
import unicodedata
from collections.abc import Mapping
from typing import Any, Final


def printable(text: str, *, lines: bool = False) -> str:
    """The text with everything that is no visible character written as its escape, ``\\x1b``.

    Parameters
    ----------
    text : str
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
    """The text as part of a file's name: letters, digits and ``+-._``, not hidden, and no longer than names may be.

    Parameters
    ----------
    text : str
    """
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

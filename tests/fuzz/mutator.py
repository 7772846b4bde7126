"""Valid files made hostile: bits, bytes and pieces, and values of fields replaced by what no writer writes."""

import random
import re
import struct
from collections.abc import Callable
from typing import Final

#: Numbers as texts, and what is no number.
NUMBERS: Final = (
    "0", "-1", "1", "2", "-0.0", "1e999", "-1e999", "nan", "inf", "-inf", "1e308", "1e-320", "1e15", "-1e15", "1e5",
    "2147483647", "-2147483648", "99999999999999999999", "9" * 400, "0.5", "", "abc", "0x10", "1_000", "١٢", "1D5",
    "1:2:3:4", "-", "*", "T", "[1, 2]", "true", '""',
)  # fmt: skip
TEXTS: Final = (
    b"../../../x", b"/etc/passwd", b"\x1b[31mred\x1b]0;title\x07", b"$\\frac{1}$", b"<b>&</b>", b"[red]bold[/]",
    "\u202egnp.exe".encode(), b"A" * 4000, b"\0\0", b"\xff\xfe\xc3", b"\r\n\n", b"%s%n{}{0}", b"'\"`",
    b" ", b".", b"..",
    "\U0001f52d".encode(), b"=", b"#", b"\t", b"-" * 300,
)  # fmt: skip
INTS: Final = (0, -1, 1, 2, 3, 7, 8, 255, 256, 65535, 1 << 16, 1 << 20, (1 << 31) - 1, -(1 << 31))
FLOATS: Final = (
    0.0, -0.0, -1.0, 1.0, float("nan"), float("inf"), float("-inf"), 1e308, -1e308, 5e-324, 1e-300, 1e15, 1e-12, 1e6,
)  # fmt: skip

Change = Callable[[random.Random, bytes], bytes]


def _place(rng: random.Random, data: bytes, near: int = 4096) -> int:
    # Headers are at the start: half of all changes are made there.
    return rng.randrange(min(len(data), near) if rng.random() < 0.5 else len(data)) if data else 0


def flip(rng: random.Random, data: bytes) -> bytes:
    """Some bits."""
    out = bytearray(data)
    for _ in range(rng.choice((1, 1, 2, 8)) if data else 0):
        out[_place(rng, data)] ^= 1 << rng.randrange(8)
    return bytes(out)


def run(rng: random.Random, data: bytes) -> bytes:
    """A run of equal or of random bytes."""
    at, n = _place(rng, data), rng.choice((1, 2, 4, 8, 64, 1000))
    new = bytes([rng.choice((0, 255, 32, 127, 1))]) * n if rng.random() < 0.6 else rng.randbytes(n)
    return data[:at] + new + data[at + n :]


def cut(rng: random.Random, data: bytes) -> bytes:
    """The beginning only."""
    return data[: _place(rng, data)]


def grow(rng: random.Random, data: bytes) -> bytes:
    """More at the end, or in the middle."""
    at = len(data) if rng.random() < 0.5 else _place(rng, data)
    return data[:at] + rng.randbytes(rng.choice((1, 3, 80, 5000))) + data[at:]


def drop(rng: random.Random, data: bytes) -> bytes:
    """Without some bytes."""
    at = _place(rng, data)
    return data[:at] + data[at + rng.choice((1, 2, 4, 8, 80, 512)) :]


def repeat(rng: random.Random, data: bytes) -> bytes:
    """A piece twice, or many times."""
    at, n = _place(rng, data), rng.choice((4, 16, 80, 300))
    return data[:at] + data[at : at + n] * rng.choice((2, 3, 50)) + data[at + n :]


def swap(rng: random.Random, data: bytes) -> bytes:
    """Two pieces in each other's place."""
    n = rng.choice((1, 4, 8, 80))
    a, b = sorted((_place(rng, data), _place(rng, data)))
    if b < a + n:
        return data
    return data[:a] + data[b : b + n] + data[a + n : b] + data[a : a + n] + data[b + n :]


def text(rng: random.Random, data: bytes) -> bytes:
    """A hostile text somewhere."""
    at, new = _place(rng, data), rng.choice(TEXTS)
    return data[:at] + new + data[at + (len(new) if rng.random() < 0.5 else 0) :]


def binary_number(rng: random.Random, data: bytes) -> bytes:
    """A number of 4 or 8 bytes."""
    at = _place(rng, data)
    if rng.random() < 0.5:
        new = struct.pack(rng.choice("<>") + "i", rng.choice(INTS))
    else:
        new = struct.pack(rng.choice("<>") + rng.choice("dq"), rng.choice((0, 1, -1, 1 << 20, 1 << 62)))
    return data[:at] + new + data[at + len(new) :]


PLAIN: Final[tuple[Change, ...]] = (flip, flip, run, cut, grow, drop, repeat, swap, text, binary_number)


def token(rng: random.Random, data: bytes) -> bytes:
    """A word of a text file: another number, a text, or another word of it."""
    lines = data.split(b"\n")
    which = [i for i, line in enumerate(lines) if line.strip()]
    if not which:
        return data
    i = rng.choice(which)
    words = lines[i].split(b" ")
    j = rng.choice([k for k, word in enumerate(words) if word] or [0])
    how = rng.random()
    if how < 0.6:
        words[j] = rng.choice(NUMBERS).encode()
    elif how < 0.8:
        words[j] = rng.choice(TEXTS)
    else:
        words[j] = rng.choice(lines[rng.choice(which)].split(b" "))
    lines[i] = b" ".join(words)
    return b"\n".join(lines)


def after_separator(rng: random.Random, data: bytes) -> bytes:
    """What follows ``=``, ``,`` or ``;`` in a line."""
    places = [i for i, byte in enumerate(data) if byte in b"=,;"]
    if not places:
        return token(rng, data)
    at = rng.choice(places) + 1
    end = next((i for i in range(at, len(data)) if data[i] in b",;\n"), len(data))
    new = rng.choice(NUMBERS).encode() if rng.random() < 0.7 else rng.choice(TEXTS)
    return data[:at] + b" " + new + data[end:]


#: At the ends of what a float holds, and of what physics has.
EXTREMES: Final = ("1e-200", "5e-324", "2.3e-308", "1e-160", "1e200", "1.7e308", "1e160", "-1e-200", "1e18", "1e-18")


def extreme(rng: random.Random, data: bytes) -> bytes:
    """A number that is as large or as small as a float can be, or nearly so."""
    numbers = list(re.finditer(rb"[-+]?\d+\.?\d*([eEdD][-+]?\d+)?", data))
    if not numbers:
        return flip(rng, data)
    place = rng.choice(numbers)
    return data[: place.start()] + rng.choice(EXTREMES).encode() + data[place.end() :]


def line(rng: random.Random, data: bytes) -> bytes:
    """A line twice, away, elsewhere, or many more of it."""
    lines = data.split(b"\n")
    i, j = rng.randrange(len(lines)), rng.randrange(len(lines))
    how = rng.randrange(4)
    if how == 0:
        lines[i], lines[j] = lines[j], lines[i]
    elif how == 1:
        del lines[i]
    else:
        lines[i:i] = [lines[j]] * (1 if how == 2 else 200)
    return b"\n".join(lines)


TEXT: Final[tuple[Change, ...]] = (token, token, token, after_separator, after_separator, line, flip, run, cut, text)


def sigproc_value(rng: random.Random, data: bytes) -> bytes:
    """The value of a key of a SIGPROC header."""
    from pulsar.io.sigproc import KEYS

    keys = [key for key, form in KEYS.items() if form != "<b" and struct.pack("<i", len(key)) + key.encode() in data]
    if not keys:
        return flip(rng, data)
    key = rng.choice(sorted(keys))
    at = data.index(struct.pack("<i", len(key)) + key.encode()) + 4 + len(key)
    if KEYS[key] == "<i":
        return data[:at] + struct.pack("<i", rng.choice(INTS)) + data[at + 4 :]
    if KEYS[key] == "<d":
        return data[:at] + struct.pack("<d", rng.choice(FLOATS)) + data[at + 8 :]
    if len(data) < at + 4:
        return data
    length = struct.unpack_from("<i", data, at)[0]
    new = rng.choice(TEXTS)[:256]
    return data[:at] + struct.pack("<i", len(new)) + new + data[at + 4 + max(0, min(length, 256)) :]


def fits_card(rng: random.Random, data: bytes) -> bytes:
    """The value or the name of a card of a FITS header."""
    cards = [at for at in range(0, min(len(data), 40000) - 80, 80) if data[at + 8 : at + 10] == b"= "]
    if not cards:
        return flip(rng, data)
    at = rng.choice(cards)
    how = rng.random()
    if how < 0.6:
        new = rng.choice(NUMBERS)
        value = f"{new:>20}" if rng.random() < 0.7 else f"'{new}'"
        return data[: at + 10] + value.encode("ascii", "replace")[:70].ljust(70) + data[at + 80 :]
    if how < 0.75:
        return data[: at + 10] + (b"'" + rng.choice(TEXTS)[:60] + b"'").ljust(70) + data[at + 80 :]
    other = rng.choice(cards)
    return data[:at] + data[other : other + 8] + data[at + 8 :]


def mutate(rng: random.Random, data: bytes, changes: tuple[Change, ...]) -> bytes:
    """The data after one to four changes."""
    for _ in range(rng.choice((1, 1, 1, 2, 3, 4))):
        data = rng.choice(changes)(rng, data)
    return data

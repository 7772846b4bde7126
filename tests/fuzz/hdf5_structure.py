"""HDF5 files whose structures are hostile and whose checksums are right: what only the library's own code can notice.

The structures are found by the HDF5 File Format Specification (version 3.0): superblock, object headers with their
messages, and what begins with a signature. A change is made within one of them, and the checksum over it made anew.
"""

import functools
import random
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

import numba
import numpy as np
from numpy.typing import NDArray

#: What begins with a signature -> how many bytes of it are changed where its length is not known.
SIGNATURES: Final = {
    b"TREE": 24 + 16 * 9, b"SNOD": 8 + 40 * 8, b"HEAP": 32, b"GCOL": 64, b"FRHP": 146, b"FHDB": 64, b"FHIB": 64,
    b"BTHD": 38, b"BTLF": 64, b"BTIN": 64, b"EAHD": 72, b"EAIB": 128, b"EASB": 64, b"EADB": 64, b"FAHD": 28,
    b"FADB": 64, b"FSHD": 64, b"FSSE": 64, b"SMTB": 64,
}  # fmt: skip
#: Structures with a checksum at the end; in blocks of a fractal heap it is in the head.
CHECKED: Final = frozenset(SIGNATURES) - {b"TREE", b"SNOD", b"HEAP", b"GCOL", b"FHDB"}
#: Farthest end of a structure that is looked for.
REACH: Final = 5000


@dataclass(frozen=True)
class Checksum:
    """A checksum over the bytes from `start` to `stop`, and where it is: 0 for itself if that is among them."""

    start: int
    stop: int
    at: int

    def of(self, data: bytes | bytearray) -> bytes:
        """What it should be."""
        covered = bytearray(data[self.start : self.stop])
        if self.at < self.stop:
            covered[self.at - self.start : self.at - self.start + 4] = bytes(4)
        return struct.pack("<I", lookup3(np.frombuffer(covered, dtype=np.uint8), 0, len(covered)))


@dataclass(frozen=True)
class Part:
    """Bytes that are one structure, or one message of an object header, and what covers them."""

    kind: str
    start: int
    stop: int
    checksum: Checksum | None = None


@numba.njit
def _turned(word: int, by: int) -> int:
    return ((word << by) | (word >> (32 - by))) & 0xFFFFFFFF


@numba.njit
def lookup3(data: NDArray[np.uint8], start: int, stop: int) -> int:
    """Jenkins' hash of the bytes, by which HDF5 checks its metadata (initial value 0)."""
    state = np.full(3, (0xDEADBEEF + stop - start) & 0xFFFFFFFF, dtype=np.int64)
    if start == stop:
        return state[2]
    for at in range(start, stop, 12):
        for i in range(at, min(at + 12, stop)):
            state[(i - at) // 4] += np.int64(data[i]) << (8 * ((i - at) % 4))
        state &= 0xFFFFFFFF
        if at + 12 >= stop:
            break
        # Each word in turn is mixed with the one before it, which then takes the third.
        for step, by in enumerate((4, 6, 8, 16, 19, 4)):
            x, y, z = step % 3, (step + 2) % 3, (step + 1) % 3
            state[x] = ((state[x] - state[y]) & 0xFFFFFFFF) ^ _turned(state[y], by)
            state[y] = (state[y] + state[z]) & 0xFFFFFFFF
    for step, by in enumerate((14, 11, 25, 16, 4, 14, 24)):
        x, y = (step + 2) % 3, (step + 1) % 3
        state[x] = ((state[x] ^ state[y]) - _turned(state[y], by)) & 0xFFFFFFFF
    return state[2]


@numba.njit
def _end_of(data: NDArray[np.uint8], start: int, last: int) -> int:
    """Where the checksum of a structure stands that begins at `start`; -1 where none is found."""
    for stop in range(start + 6, last - 3):
        stored = np.int64(0)
        for i in range(4):
            stored |= np.int64(data[stop + i]) << (8 * i)
        if lookup3(data, start, stop) == stored:
            return stop
    return -1


def _number(data: bytes, at: int, size: int) -> int:
    return int.from_bytes(data[at : at + size], "little")


class Structures:
    """The structures of a valid file.

    Parameters
    ----------
    data : bytes

    Attributes
    ----------
    parts : dict of str to list of Part
        By their kind: message types of object headers by number, signatures by name.
    addresses : list of int
        Where structures are.
    """

    def __init__(self, data: bytes) -> None:
        self.data, self.array = data, np.frombuffer(data, dtype=np.uint8)
        self.parts: dict[str, list[Part]] = {}
        self.addresses: list[int] = []
        self._headers: set[int] = set()
        self._superblock()
        for signature, reach in SIGNATURES.items():
            for at in self._places(signature):
                self._signed(signature, at, reach)
        for at in self._places(b"OHDR"):
            self._header(at)
        for at in self._places(b"SNOD"):
            for i in range(_number(data, at + 6, 2)):
                self._old_header(_number(data, at + 8 + 40 * i + 8, 8))

    def _places(self, signature: bytes) -> Iterator[int]:
        at = self.data.find(signature)
        while at >= 0:
            yield at
            at = self.data.find(signature, at + 4)

    def _add(self, kind: str, start: int, stop: int, checksum: Checksum | None = None) -> None:
        if stop > start:
            self.parts.setdefault(kind, []).append(Part(kind, start, stop, checksum))

    def _superblock(self) -> None:
        if self.data[8] >= 2:
            self._add("superblock", 8, 44, Checksum(0, 44, 44))
            return
        self._add("superblock", 8, 96)
        self._old_header(_number(self.data, 64, 8))

    def _signed(self, signature: bytes, at: int, reach: int) -> None:
        self.addresses.append(at)
        name = signature.decode()
        if signature in CHECKED:
            stop = _end_of(self.array, at, min(at + REACH, len(self.data)))
            if stop >= 0:
                self._add(name, at + 4, stop, Checksum(at, stop, stop))
            return
        # A block of a fractal heap has its checksum behind its offset in the heap, which takes 1 to 8 bytes.
        sizes = (1 << k for k in range(9, 17)) if signature == b"FHDB" else ()
        checks = (Checksum(at, at + size, at + 13 + width) for size in sizes for width in range(1, 9))
        right = next((c for c in checks if self.data[c.at : c.at + 4] == c.of(self.data)), None)
        self._add(name, at + 4, min(at + reach, len(self.data)) if right is None else right.stop, right)

    def _header(self, at: int) -> None:
        """An object header of version 2, whose chunks have checksums."""
        data, flags = self.data, self.data[at + 5]
        place = at + 6 + (16 if flags & 0x20 else 0) + (4 if flags & 0x10 else 0)
        width = 1 << (flags & 3)
        self.addresses.append(at)
        chunks = [(at, place + width, place + width + _number(data, place, width))]
        for start, first, stop in chunks:
            checksum = Checksum(start, stop, stop)
            if lookup3(self.array, start, stop) != _number(data, stop, 4):
                return
            self._add("header", start + 4, first, checksum)
            head = 6 if flags & 4 else 4
            while first + head <= stop:
                kind, size = data[first], _number(data, first + 1, 2)
                self._add(f"message {kind}", first + 1, first + head + size, checksum)
                if kind == 0x10:
                    where, length = struct.unpack_from("<2Q", data, first + head)
                    chunks.append((where, where + 4, where + length - 4))
                first += head + size

    def _old_header(self, at: int) -> None:
        """An object header of version 1, without a checksum."""
        data = self.data
        if at in self._headers or at + 16 > len(data) or data[at] != 1:
            return
        self._headers.add(at)
        self.addresses.append(at)
        self._add("old header", at, at + 16)
        chunks = [(at + 16, at + 16 + _number(data, at + 8, 4))]
        for first, stop in chunks:
            while first + 8 <= min(stop, len(data)):
                kind, size = _number(data, first, 2), _number(data, first + 2, 2)
                self._add(f"message {kind}", first + 2, first + 8 + size)
                if kind == 0x10:
                    where, length = struct.unpack_from("<2Q", data, first + 8)
                    chunks.append((where, where + length))
                first += 8 + size

    def changed(self, rng: random.Random) -> bytes:
        """The file after a change or a few, with right checksums."""
        out = bytearray(self.data)
        for _ in range(rng.choice((1, 1, 1, 2, 3))):
            part = rng.choice(self.parts[rng.choice(sorted(self.parts))])
            self._change(rng, out, part)
            if part.checksum is not None:
                out[part.checksum.at : part.checksum.at + 4] = part.checksum.of(out)
        return bytes(out)

    def _change(self, rng: random.Random, out: bytearray, part: Part) -> None:
        size = part.stop - part.start
        if rng.random() < 0.15:
            # Another of its kind in its place.
            twin = rng.choice(self.parts[part.kind])
            n = min(size, twin.stop - twin.start)
            out[part.start : part.start + n] = self.data[twin.start : twin.start + n]
            return
        width = rng.choice([w for w in (1, 1, 2, 4, 8) if w <= size] or [size])
        at = part.start + rng.randrange(size - width + 1)
        now = _number(out, at, width)
        value = rng.choice(
            (0, 1, 2, 3, now + 1, now - 1, 2 * now, now ^ (1 << rng.randrange(8 * width)), rng.randrange(256), -1, -2,
             1 << (8 * width - 1), (1 << (8 * width - 1)) - 1, rng.choice(self.addresses), part.start, len(out),
             1 << 20, 1 << 31, (1 << 32) - 1, 1 << 40, 1 << 62)
        )  # fmt: skip
        out[at : at + width] = (value % (1 << (8 * width))).to_bytes(width, "little")


@functools.lru_cache(maxsize=16)
def structures(data: bytes) -> Structures:
    """The structures of a sample, found once."""
    return Structures(data)


def hostile(rng: random.Random, data: bytes) -> bytes:
    """A valid file with hostile structures and right checksums."""
    return structures(data).changed(rng)

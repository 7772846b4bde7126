"""One execution: a seed makes a file, and all that reads such files reads it."""

import random
import re
from pathlib import Path

from fuzz.kinds import OURS, Kind

#: Codes that move a cursor, set a colour, or turn the direction of a text.
CONTROL = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]")


class Campaign:
    """A kind of file, its samples, and a folder to write in.

    Parameters
    ----------
    kind : Kind
    folder : Path
        Must not be shared.
    """

    def __init__(self, kind: Kind, folder: Path) -> None:
        self.kind = kind
        self.folder = folder / "inside"
        self.folder.mkdir(exist_ok=True)
        self.samples = kind.samples(self.folder)

    def content(self, seed: int) -> bytes:
        """The hostile file of a seed."""
        rng = random.Random(f"{self.kind.name} {seed}")
        return self.kind.change(rng, rng.choice(self.samples))

    def execute(self, seed: int) -> bool:
        """Read the file of a seed; whether it was taken for valid."""
        return self.read(self.content(seed))

    def read(self, content: bytes) -> bool:
        """Read a file with this content."""
        path = self.folder / self.kind.file
        path.write_bytes(content)
        try:
            shown = self.kind.use(path)
        except OURS as error:
            _check(str(error))
            return False
        _check(shown)
        return True


def _check(text: str) -> None:
    found = CONTROL.search(text)
    if found is not None:
        raise AssertionError(
            f"a control code in what is shown: {text[max(found.start() - 60, 0) : found.end() + 20]!r}"
        )

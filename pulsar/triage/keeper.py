"""The judgements of all rows that are shown, each in the file of its product."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from pulsar.errors import ConfigError
from pulsar.io.labels import MOST_NOTE, Label, Labels, Sidecar, checked, plain, read_labels


class Keeper:
    """The judgements of all rows that are shown, each in the file of its product.

    Parameters
    ----------
    who : str
        The person who judges.
    rows : mapping of str to Label
        By uid: a judgement of each row that is shown, without label, note, person and time.
    places : mapping of str to Path
        By uid: the file in which it is kept.
    others : sequence of Path
        Files that are only read.
    """

    def __init__(
        self, who: str, rows: Mapping[str, Label], places: Mapping[str, Path], others: Sequence[Path] = ()
    ) -> None:
        self.who, self.rows = who, rows
        sidecars = {path: Sidecar(path) for path in dict.fromkeys(places.values())}
        self._sidecars = {uid: sidecars[path] for uid, path in places.items()}
        self._all = tuple(sidecars.values())
        self._read_only = tuple(e for path in others if path not in sidecars for e in read_labels(path).entries)

    def labels(self) -> Labels:
        """All judgements as they stand now."""
        return Labels([*self._read_only, *(e for sidecar in self._all for e in sidecar.read().entries)])

    def keep(self, uid: str, label: str, note: str, when: str) -> None:
        """Keep a judgement.

        Raises
        ------
        ConfigError
            No such row is shown, or there is no such label.
        PulsarError
            It is not kept.
        """
        if uid not in self.rows:
            raise ConfigError(f"no row {uid[:40]!r} is shown here")
        row = self.rows[uid]
        told = plain(note, MOST_NOTE)
        self._sidecars[uid].add([replace(row, label=checked(label), note=told, who=self.who, when=when)])

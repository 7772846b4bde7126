"""Parts of an observation: halves, quarters, any number of equal lengths."""

import re
from dataclasses import dataclass

from pulsar.constants import DAY
from pulsar.data.header import Header

_LABEL = re.compile(r"([0-9]{1,3})/([0-9]{1,3})")


@dataclass(frozen=True)
class Part:
    """One of some equal parts of an observation.

    Attributes
    ----------
    number : int
        Which, 1 is the first.
    count : int
        Into how many parts the observation is cut; 1: it is the whole.
    """

    number: int
    count: int

    @property
    def label(self) -> str:
        """As tables name it, such as 3/4; the whole is empty."""
        return "" if self.count == 1 else f"{self.number}/{self.count}"

    @classmethod
    def of_label(cls, label: str) -> "Part":
        """The part of a name, see `label`; the whole where it is none."""
        found = _LABEL.fullmatch(label)
        if found is None:
            return WHOLE
        part = cls(int(found[1]), int(found[2]))
        return part if 1 <= part.number <= part.count else WHOLE

    def samples(self, nsamps: int) -> tuple[int, int]:
        """First sample of `nsamps` in it, and how many there are; what a division leaves over is in none.

        Parameters
        ----------
        nsamps : int
            Of the observation.
        """
        each = nsamps // self.count
        return (self.number - 1) * each, each

    def header(self, whole: Header) -> Header:
        """The header of the part, as if it were an observation of its own.

        Parameters
        ----------
        whole : Header
            Of the observation.
        """
        if self.count == 1:
            return whole
        first, nsamps = self.samples(whole.nsamps)
        return whole.with_(nsamps=nsamps, tstart=whole.tstart + first * whole.tsamp / DAY)


#: Not a part, but everything.
WHOLE = Part(1, 1)


def parts_of_counts(counts: tuple[int, ...]) -> list[Part]:
    """All parts but the whole, the longest first.

    Parameters
    ----------
    counts : tuple of int
        Into how many parts an observation is cut.
    """
    return [Part(number, count) for count in sorted(counts) if count > 1 for number in range(1, count + 1)]

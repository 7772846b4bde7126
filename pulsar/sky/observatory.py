"""Positions of radio telescopes: a table of our own, because nothing is looked up over the network in a run."""

import re
from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True)
class Observatory:
    """A telescope.

    Attributes
    ----------
    name : str
    xyz : tuple of float
        Geocentric position (ITRF) [m].
    aliases : tuple of str
        Other names that files use, in lower case; among them the codes of tempo.
    dish : float
        Illuminated diameter of the dish that makes the beam [m]; 0 where there is no such thing.
    """

    name: str
    xyz: tuple[float, float, float]
    aliases: tuple[str, ...] = ()
    dish: float = 0.0

    @property
    def code(self) -> str:
        """The letter or digit of tempo, by which ephemerides and arrival times name it; else its name."""
        return next((alias for alias in self.aliases if len(alias) == 1), self.name)


#: FAST: Jiang et al. 2019 (Sci. China 62, 959502) and the tempo2 table; the others: the tables of tempo and tempo2,
#: good to a few metres (10 ns).
OBSERVATORIES: Final[tuple[Observatory, ...]] = (
    Observatory("FAST", (-1668557.0, 5506838.0, 2744934.0), ("k", "fa", "dawodang"), 300),
    Observatory("Arecibo", (2390490.0, -5564764.0, 1994727.0), ("ao", "3", "aolab", "arecibo observatory"), 225),
    Observatory("Parkes", (-4554231.5, 2816759.1, -3454036.3), ("pk", "pks", "7", "murriyang"), 64),
    Observatory("Jodrell", (3822626.04, -154105.65, 5086486.04), ("jb", "8", "lovell", "jodrell bank", "jbo"), 76),
    Observatory("GBT", (882589.65, -4924872.32, 3943729.348), ("gb", "1", "green bank", "nrao gbt"), 100),
    Observatory("GMRT", (1656342.3, 5797947.77, 2073243.16), ("gm", "r"), 45),
    Observatory("Effelsberg", (4033949.5, 486989.4, 4900430.8), ("ef", "eff", "g"), 100),
    Observatory("SRT", (4865182.766, 791922.689, 4035137.174), ("sr", "z", "sardinia"), 64),
    Observatory("LOFAR", (3826577.462, 461022.624, 5064892.526), ("lf", "t")),
    Observatory("VLA", (-1601192.0, -5041981.4, 3554871.4), ("vl", "6", "c", "jvla", "evla"), 25),
    Observatory("CHIME", (-2059166.313, -3621302.972, 4814304.113), ("ch", "y"), 20),
    Observatory("MeerKAT", (5109360.133, 2006852.586, -3238948.127), ("mk", "m", "kat-7"), 13.5),
    Observatory("Nancay", (4324165.81, 165927.11, 4670132.83), ("nc", "f", "ncy", "nrt"), 94),
    Observatory("Westerbork", (3828445.659, 445223.6, 5064921.568), ("wb", "i", "wsrt"), 25),
    Observatory("Molonglo", (-4483311.64, 2648815.92, -3671909.31), ("mo", "e", "most", "utmost")),
    Observatory("ASKAP", (-2556084.669, 5097398.337, -2848424.133), ("askap",), 12),
)


def find_observatory(name: str) -> Observatory | None:
    """The telescope of that name, alias or tempo code; None when it is unknown.

    Parameters
    ----------
    name : str
        As files write it; case, blanks and punctuation do not count.
    """
    wanted = _plain(name)
    for observatory in OBSERVATORIES:
        if wanted in {_plain(n) for n in (observatory.name, *observatory.aliases)}:
            return observatory
    return None


def _plain(name: str) -> str:
    return re.sub(r"[^a-z0-9]", "", name.lower())

"""THE table of flags: every reason for suspicion, what it means, and what it does to a score.

Documentation, report and product are made from it; a verdict that is not in it does not exist.
"""

from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True)
class Flag:
    """One reason to suspect that a row is not a pulsar, or not a burst.

    Attributes
    ----------
    name : str
        As it stands in the column ``rfi_flags``.
    of : str
        What it is given to: "candidate", "pulse" or "both".
    text : str
        When it is given.
    weight : float
        The score is taken times this; 1 where the flag only tells.
    source : str
        The rule that gives it.
    """

    name: str
    of: str
    text: str
    weight: float
    source: str


#: The score of what surely is interference is taken times this: below any pulsar that can be told from noise.
RFI: Final = 0.1

FLAGS: Final[tuple[Flag, ...]] = (
    Flag(
        "dm0",
        "both",
        "as strong at DM 0 as anywhere, or with a DM of 0 within its error",
        RFI,
        "rank.rules.undispersed",
    ),
    Flag("narrow-band", "both", "it sits in few subbands", RFI, "rank.score, rank.sweep"),
    Flag("intermittent", "candidate", "it comes from few sub-integrations", 0.5, "rank.score"),
    Flag(
        "red noise",
        "candidate",
        "a wide profile of few rotations, or one that is no stronger than the wander of the level around it",
        RFI,
        "rank.score",
    ),
    Flag("unphysical", "candidate", "a significant acceleration that no known binary has", RFI, "rank.score"),
    Flag("no dm curve", "candidate", "the S/N over DM is unlike that of a dispersed signal", 0.5, "rank.score"),
    Flag("mains", "candidate", "undispersed, at a harmonic of the mains", RFI, "rank.rules.mains"),
    Flag("noise diode", "candidate", "undispersed, at a harmonic of the noise diode", RFI, "rank.rules.diode"),
    Flag("comb", "candidate", "undispersed, at a harmonic of a line that was left out", RFI, "rank.rules.comb"),
    Flag("one pulse", "candidate", "nothing but one strong pulse, which has any period", RFI, "rank.link"),
    Flag("sweep", "both", "it sweeps through the band, but not as a dispersed pulse does", RFI, "rank.sweep"),
    Flag("near sweeps", "both", "its DM is among those of several sweeps", 1.0, "rank.sweep"),
    Flag("multibeam", "both", "seen in more beams, or in other ones, than one source can be", RFI, "search.beams"),
)

BY_NAME: Final[dict[str, Flag]] = {flag.name: flag for flag in FLAGS}


def weight(flags: tuple[str, ...]) -> float:
    """What a score is taken times for these flags: the least of their weights (they are not independent).

    Raises
    ------
    KeyError
        A flag that is not in the table.
    """
    return min((BY_NAME[flag].weight for flag in flags), default=1.0)


def split(text: str) -> tuple[str, ...]:
    """The flags in a cell of the column ``rfi_flags``."""
    return tuple(filter(None, text.split(",")))

"""THE table of flags: every reason for suspicion, what it means, and what it does to a score.

Documentation, report and product are made from it; a verdict that is not in it does not exist.
"""

from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True)
class Flag:
    """One reason to suspect that a row is not a pulsar, or not a burst."""

    name: str  # As it stands in the column ``rfi_flags``
    of: str  # What it is given to: "candidate", "pulse" or "both"
    weight: float  # The score is taken times this; 1 where the flag only tells
    text: str  # When it is given


#: The score of what surely is interference is taken times this: below any pulsar that can be told from noise.
RFI: Final = 0.1
#: So is that of a single pulse which may as well be something else, such as all of a single series, of which no DM is
#: known: in one of six real ones there are four events of S/N 7 to 12 and no pulsar.
DOUBTFUL: Final = 0.3

FLAGS: Final[tuple[Flag, ...]] = (
    Flag("dm0", "both", RFI, "as strong at DM 0 as anywhere, or with a DM of 0 within its error, or surely below 2"),
    Flag("nodm", "pulse", 1.0, "seen at far fewer DMs than a dispersed pulse of its S/N"),
    Flag("cut", "pulse", 1.0, "the lowest frequencies arrive after the end of the observation"),
    Flag(
        "width limit", "pulse", DOUBTFUL, "nine tenths of the widest filter or more: perhaps part of something longer"
    ),
    Flag("storm", "pulse", RFI, "one row for a storm of events: more of them than noise and sources make"),
    Flag("many", "pulse", 1.0, "of a run with too many events: the weakest were left out"),
    Flag(
        "narrow-band",
        "both",
        RFI,
        "it sits in few subbands (evenness below 0.22: some 15 % of the band; of candidates below 0.4 where "
        "scintillation leaves the spectrum of a pulsar smooth)",
    ),
    Flag("intermittent", "candidate", 0.5, "it comes from few sub-integrations"),
    Flag(
        "unsteady",
        "candidate",
        RFI,
        "its pulse does not repeat: it is not significant against what scatters between sub-integrations (3.5 "
        "sigma; of a weak one 0.42 of its S/N), as impulses and drifts that add up at some period",
    ),
    Flag(
        "red noise",
        "candidate",
        RFI,
        "a wide profile of few turns, or any of few turns where the level wanders by ten times the white noise, "
        "not with a sure DM; or, where the fold was whitened, a dip as deep as the pulse is high: a step of the "
        "level",
    ),
    Flag("unphysical", "candidate", RFI, "a significant acceleration that no known binary has"),
    Flag("tone", "candidate", RFI, "wide, in a dedispersed series, where no DM can be told: as lines of interference"),
    Flag(
        "mirrored",
        "candidate",
        RFI,
        "its power is in the high harmonics of the fold, not in the low ones: a mirrored line",
    ),
    Flag("no dm curve", "candidate", 0.5, "the S/N over DM is unlike that of a dispersed signal"),
    Flag("mains", "candidate", RFI, "undispersed, at a harmonic of the mains"),
    Flag("noise diode", "candidate", RFI, "undispersed, at a harmonic of the noise diode"),
    Flag("radar", "candidate", RFI, "in a dedispersed series: a pulse of 0.02 turns at most in 4 to 12.5 s, as radars"),
    Flag("comb", "candidate", RFI, "undispersed, at a harmonic of a line that was left out"),
    Flag("one pulse", "candidate", RFI, "nothing but one or two strong pulses, which have many a period"),
    Flag(
        "sweep",
        "both",
        RFI,
        "a sweep that is linear in frequency has 4 sigma more than a dispersed signal, which has less than 0.8 of its "
        "(S/N)^2: pulses of S/N 7 and more, the best of the list, folds, and candidates most of whose pulses are such",
    ),
    Flag(
        "near sweeps",
        "both",
        1.0,
        "with the DM of three or more sweeps, or of two whose DMs agree, within a factor 1.2, and no sweep by its "
        "shape, which does not exclude one either; the score is taken times the part of such rows there that the "
        "density elsewhere leads to expect",
    ),
    Flag(
        "crowd",
        "candidate",
        RFI,
        "far more rows than chance has, of comparable scores and other DMs, are within 5 % of its frequency, half "
        "or twice that: noise that is stronger there",
    ),
    Flag("multibeam", "both", RFI, "of merged products: in more beams, or in other ones, than one source can be"),
    Flag(
        "terrestrial",
        "candidate",
        RFI,
        "of merged products: the same topocentric period in several directions, or at times between which that of "
        "a source is Doppler-shifted, more often than chance has it",
    ),
)

BY_NAME: Final[dict[str, Flag]] = {flag.name: flag for flag in FLAGS}


def weight(flags: tuple[str, ...]) -> float:
    """The factor of a score for these flags: the least of their weights (they are not independent).

    Raises
    ------
    KeyError
        A flag that is not in the table.
    """
    return min((BY_NAME[flag].weight for flag in flags), default=1.0)


def split(text: str) -> tuple[str, ...]:
    """The flags in a cell of the column ``rfi_flags``."""
    return tuple(filter(None, text.split(",")))


def docs_table() -> str:
    """The table as the documentation shows it, in Markdown."""
    of = {"candidate": "candidates", "pulse": "pulses", "both": "both"}
    rows = [f"| `{f.name}` | {of[f.of]} | {f.text} | {f.weight:g} |" for f in FLAGS]
    return "\n".join(["| flag | of | when | score × |", "|---|---|---|---:|", *rows]) + "\n"

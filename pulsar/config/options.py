"""Options of the command line that only set settings: the keys that each sets.

What they mean, what they may hold and their defaults are those of the keys (`pulsar.config.model`).
"""

from typing import Any, Final, NamedTuple


class Option(NamedTuple):
    """An option that sets keys of the configuration.

    Attributes
    ----------
    keys : tuple of str
        ``section.key``, each.
    metavar : str
        A word for each value that follows the option; empty: none does.
    repeated : bool
        It may be given several times: the key is a list.
    off : tuple
        Without values: what it sets its keys to. Empty: it has a second form, ``--no-NAME``, and sets true or false.
    text : str
        Help, where the descriptions of the keys would not do.
    """

    keys: tuple[str, ...]
    metavar: str = ""
    repeated: bool = False
    off: tuple[Any, ...] = ()
    text: str = ""


#: Options that go together: what all commands take that read the samples of an observation, which searches are run, and
#: where the telescope looks.
GROUPS: Final = {
    "cleaning": ("zap", "mask", "zerodm", "threads", "memory"),
    "searches": ("zmax", "accel_max", "wmax", "parts", "bands", "no_fft", "no_coherent", "no_ffa", "no_single_pulse"),
    "position": ("ra", "dec"),
}
#: Name of an option, with underscores -> what it sets.
OPTIONS: Final = {
    "dm": Option(("dedisp.dm_lo", "dedisp.dm_hi"), "LO HI", text="range of DM [pc/cm3]"),
    "zap": Option(("rfi.zap",), "LO:HI", repeated=True),
    "mask": Option(("rfi.mask",), "FILE"),
    "zerodm": Option(("rfi.zerodm",), "off|mean|zdot"),
    "no_rfi": Option(("rfi.enabled", "rfi.clip"), off=(False, 0.0), text="mask and clip nothing that holds samples"),
    "zmax": Option(
        ("accel.zmax",), "N", text="search accelerations up to this drift of the highest harmonic [bins of 1/T]"
    ),
    "accel_max": Option(("accel.accel_max",), "A", text="search accelerations up to this [m/s2]"),
    "wmax": Option(("accel.wmax",), "N", text="with --zmax: search jerks up to this change of the drift [bins of 1/T]"),
    "parts": Option(("search.parts",), "1,2,4"),
    "bands": Option(("single_pulse.bands",), "1,2,4"),
    "no_fft": Option(("fft.enabled",), off=(False,)),
    "no_coherent": Option(("coherent.enabled",), off=(False,)),
    "no_ffa": Option(("ffa.enabled",), off=(False,)),
    "no_single_pulse": Option(("single_pulse.enabled",), off=(False,)),
    "ra": Option(("input.ra_deg",), "HH:MM:SS|DEG", text="right ascension of the beam; default: that of the files"),
    "dec": Option(("input.dec_deg",), "DD:MM:SS|DEG", text="declination of the beam; default: that of the files"),
    "catalogue": Option(("known.catalogue",), "FILE"),
    "subtract": Option(("subtract.pulsars",), "X.par|RUN.h5:ID", repeated=True),
    "ncands": Option(("fold.ncands",), "N"),
    "nbins": Option(("fold.nbins",), "N"),
    "nsub": Option(("fold.nsubints",), "N"),
    "threads": Option(("run.threads",), "N"),
    "memory": Option(("run.memory",), "SIZE"),
    "completeness": Option(("completeness.enabled",)),
    "population": Option(("completeness.population",), "TABLE"),
    "snr": Option(("completeness.snr",), "LO HI"),
    "period": Option(("completeness.period",), "LO HI"),
    "duty": Option(("completeness.duty",), "LO HI"),
    "at_dm": Option(("completeness.dm",), "LO HI"),
    "gain": Option(
        ("telescope.gain",), "G", text="gain at the zenith [K/Jy], for limits on flux; default: of FAST its own"
    ),
    "tsys": Option(("telescope.tsys",), "T", text="system temperature, sky included [K]; with FAST's own gain 22"),
    "npol": Option(("telescope.npol",), "1|2"),
    "porb": Option(
        ("orbits.p_min", "orbits.p_max"), "MIN MAX", text="orbital periods: 5700 (seconds), 95min, 10h or 0.35d"
    ),
    "mass": Option(("orbits.pulsar",), "M"),
    "companion": Option(
        ("orbits.lightest", "orbits.heaviest"),
        "MIN MAX",
        text="companions [M_sun], of orbits that are seen from their edge",
    ),
    "freq": Option(("orbits.f_min", "orbits.f_max"), "MIN MAX", text="frequencies of the highest harmonic [Hz]"),
    "nharm": Option(("orbits.nharm",), "1|2|4|8"),
    "mismatch": Option(("orbits.mismatch",), "M"),
    "accel": Option(("follow.accel_max",), "A"),
    "orbit": Option(("sift.orbit",), "X", text="part by which an orbit may have changed the period"),
}

"""Every setting of a run: type, bounds, unit, default and help, once.

The command line, the presets, the error messages and the provenance in the product are made from this.
"""

import datetime
from typing import Annotated, Any, Final, Literal, NamedTuple, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationInfo, field_validator, model_validator

#: Parts of an observation that may be searched. What is on for less than a 64th is for the search for single pulses.
MOST_PARTS = 64
#: Numbers in lists.
Positive = Annotated[float, Field(gt=0)]
NotNegative = Annotated[float, Field(ge=0)]
HalfTurn = Annotated[float, Field(gt=0, lt=0.5)]


class Section(BaseModel):
    """Base of all sections: frozen, and an unknown key is an error."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


def setting(default: Any, description: str, **bounds: Any) -> Any:
    """A key of a section: its default, what it means with the unit in brackets, and its bounds as pydantic names them.

    A default of ``...`` means that it has to be given.
    """
    return Field(default, description=description, **bounds)


class InputConfig(Section):
    """How the files are read, and what overrides their headers."""

    ra_deg: float | None = setting(None, "right ascension of the beam [deg]", ge=0, lt=360)
    dec_deg: float | None = setting(None, "declination of the beam [deg]", ge=-90, le=90)
    tsamp: float | None = setting(None, "sampling time [s], where the header is wrong", gt=0)
    signed: bool | None = setting(None, "8-bit SIGPROC samples are signed; default: by format")
    pointings: str = setting("", "of folders: CSV of positions (source, beam, ra, dec); empty: the headers'")
    calibration: bool = setting(False, "search scans of a calibrator too (FAST, by their names)")


class RfiConfig(Section):
    """Masking of bad channels and blocks, bandpass and baseline."""

    enabled: bool = setting(True, "mask bad channels and blocks")
    block: float = setting(0.25, "length of a statistics block [s]", gt=0)
    baseline: float | None = setting(
        None, "time scale of the baseline [s]; default 1/4 of the data, 30 s at least", gt=0
    )
    chan_sigma: float = setting(6.0, "channels this far out in any statistic are masked [sigma]", gt=0)
    block_sigma: float = setting(8.0, "channel-blocks this far out are masked [sigma]", gt=0)
    kurtosis: float = setting(8.0, "channel-blocks of such skewness or kurtosis are masked [sigma]; 0: off", ge=0)
    fourier: float = setting(6.0, "channel-blocks that are so periodic are masked [sigma]; 0: off", ge=0)
    excess: float = setting(8.0, "channel-blocks whose noise is not white by so much are masked [sigma]; 0: off", ge=0)
    iqrm: float = setting(4.0, "channel-blocks outlying among their neighbours are masked [sigma]; 0: off", ge=0)
    grow: float = setting(0.1, "stretches masked but for this fraction are masked whole; 0: off", ge=0, lt=0.5)
    chan_fraction: float = setting(0.5, "channels that lose more of their blocks are masked whole", gt=0, le=1)
    block_fraction: float = setting(0.6, "blocks that lose more of their channels are masked whole", gt=0, le=1)
    clip: float = setting(6.0, "undispersed impulses of this significance are left out [sigma]; 0: off", ge=0)
    zerodm: Literal["off", "mean", "zdot"] = setting(
        "off", "of every sample subtract the mean of the channels, or what is correlated with it (zdot)"
    )
    zap: tuple[tuple[float, float], ...] = setting((), "frequency ranges to mask [MHz]")
    mask: str = setting("", "mask of `pulsar rfi` in place of the statistics, or PRESTO .mask to add; empty: none")
    birdies: tuple[tuple[float, float], ...] = setting((), "lines left out of spectra: frequency and full width [Hz]")
    zaplist: str = setting("", "PRESTO .zaplist or .birds file to leave out as well; empty: none")
    diodes: tuple[Positive, ...] = setting((), "periods of noise diodes [s]: taken out, and harmonics flagged")
    learn: bool = setting(True, "learn undispersed lines from the series at DM 0 and leave them out")
    common: bool = setting(True, "of nights with 4 beams or more: leave out lines that several beams share")

    @field_validator("zerodm", mode="before")
    @classmethod
    def _switch(cls, value: object) -> object:
        # As it was written when there was one way only.
        return ("mean" if value else "off") if isinstance(value, bool) else value

    @model_validator(mode="after")
    def _zap_ordered(self) -> "RfiConfig":
        for low, high in self.zap:
            if high < low:
                raise ValueError(f"zap range {low:g} to {high:g} MHz: give the lower frequency first")
        for freq, width in self.birdies:
            if not freq > 0 or not width > 0:
                raise ValueError(f"birdie of {freq:g} Hz, width {width:g} Hz: give positive numbers")
        return self


class DedispConfig(Section):
    """Trial DMs and how they are reached."""

    dm_lo: float = setting(0.0, "lowest DM [pc/cm3]", ge=0, le=100_000)
    dm_hi: float = setting(500.0, "highest DM [pc/cm3]", ge=0, le=100_000)
    tolerance: float = setting(0.10, "steps and downsampling may add this fraction to the smearing", gt=0, le=10)
    dm_step: float | None = setting(None, "fixed DM step [pc/cm3] in place of the plan's", gt=0)
    max_downsample: int = setting(64, "largest downsampling in time", ge=1)
    width_min: float = setting(0.0, "narrowest pulse to keep sharp [s]; added to the smearing of the ideal", ge=0)
    method: Literal["tree", "brute"] = setting("tree", "tree (fast) or brute force (exact)")

    @model_validator(mode="after")
    def _ordered(self) -> "DedispConfig":
        if self.dm_hi < self.dm_lo:
            raise ValueError(f"dm_lo {self.dm_lo:g} is above dm_hi {self.dm_hi:g}: give the lower one first")
        return self


#: What searches have in common.
Enabled = Annotated[bool, Field(description="run it")]
Threshold = Annotated[
    float,
    Field(description="trial-corrected significance from which a detection is kept [sigma]; 0: 0.7 by chance a run"),
]
ShortestPeriod = Annotated[float | None, Field(gt=0, description="shortest period [s]; default 2 samples")]
LongestPeriod = Annotated[float | None, Field(gt=0, description="longest period [s]; default a tenth of the data")]
MostDetections = Annotated[int, Field(ge=1, description="most detections kept per DM")]


class FFTConfig(Section):
    """Periodicity search in the power spectrum."""

    enabled: Enabled = True
    nharm: Literal[1, 2, 4, 8, 16, 32] = setting(32, "most harmonics summed")
    threshold: Threshold = 0.0
    p_min: ShortestPeriod = None
    p_max: LongestPeriod = None
    max_detections: MostDetections = 300


class CoherentConfig(Section):
    """Coherent harmonic search: profiles from complex amplitudes, for narrow pulses of any period."""

    enabled: Enabled = True
    threshold: Threshold = 0.0
    p_min: float | None = setting(None, "shortest period [s]; default that of 7 harmonics, 14 samples", gt=0)
    p_max: LongestPeriod = None
    max_detections: MostDetections = 100


class AccelConfig(Section):
    """Acceleration search in the Fourier domain; it runs where zmax or accel_max is given."""

    zmax: float = setting(0.0, "largest drift of the highest harmonic summed [bins of 1/T]; 0: none", ge=0, le=1200)
    accel_max: float | None = setting(None, "largest acceleration [m/s2], up to the drift zmax if that is given", gt=0)
    wmax: float = setting(0.0, "largest change of the drift of the highest harmonic [bins of 1/T]; 0: no jerk", ge=0)
    nharm: Literal[1, 2, 4, 8, 16] = setting(8, "most harmonics summed")
    threshold: Threshold = 0.0
    p_min: ShortestPeriod = None
    p_max: LongestPeriod = None
    loss: float = setting(
        0.1, "S/N that fewer DMs and frequencies may cost a pulsar of p_fast and duty_min; 0: none", ge=0, lt=1
    )
    p_fast: float = setting(1.5e-3, "period of the fastest pulsar that loses no more [s]", gt=0)
    duty_min: float = setting(0.1, "its pulse, full width at half maximum [turns]", gt=0, lt=1)
    max_detections: MostDetections = 300

    @model_validator(mode="after")
    def _drifts(self) -> "AccelConfig":
        if self.wmax > 0 and not self.enabled:
            raise ValueError(f"wmax {self.wmax:g} needs zmax or accel_max")
        return self

    @property
    def enabled(self) -> bool:
        """True if there is anything to search for."""
        return self.zmax > 0 or self.accel_max is not None


class FFAConfig(Section):
    """Fast folding search for long periods."""

    enabled: Enabled = True
    p_min: float | None = setting(None, "shortest period [s]; default 0.5; beside the coherent search 2 or less", gt=0)
    p_max: float = setting(30.0, "longest period [s]; no more than a quarter of the data", gt=0)
    duty_min: float = setting(0.002, "narrowest pulse [turns]", gt=0, lt=1)
    duty_max: float = setting(0.35, "widest pulse [turns]", gt=0, lt=1)
    threshold: Threshold = 0.0
    max_detections: MostDetections = 50

    @model_validator(mode="after")
    def _ordered(self) -> "FFAConfig":
        if self.p_min is not None and self.p_max < self.p_min:
            raise ValueError(f"p_min {self.p_min:g} s is above p_max {self.p_max:g} s: swap them")
        if self.duty_max < self.duty_min:
            raise ValueError(f"duty_min {self.duty_min:g} is above duty_max {self.duty_max:g}: swap them")
        return self


def _different_counts(value: tuple[int, ...], key: ValidationInfo) -> tuple[int, ...]:
    """Numbers of equal parts in order, all of them different."""
    whole = "band" if key.field_name == "bands" else "observation"
    if not value or min(value) < 1 or max(value) > MOST_PARTS or len(set(value)) < len(value):
        raise ValueError(
            f"{key.field_name} {list(value)}: give different whole numbers from 1 to {MOST_PARTS}, such as 1,2,4 for "
            f"the whole {whole}, its halves and its quarters"
        )
    return tuple(sorted(value))


class SinglePulseConfig(Section):
    """Search for single pulses, and for the period of repeating ones."""

    enabled: Enabled = True
    snr: float = setting(7.0, "S/N from which a pulse is kept (single trial)", ge=4)
    width_max: float = setting(0.25, "widest pulse [s]; the narrowest is one sample", gt=0)
    shape: Literal["boxcar", "gaussian"] = setting("boxcar", "matched filter")
    max_events: int = setting(10_000, "most events kept per DM", ge=1)
    cutouts: int = setting(20, "pulses whose DM-time plot and spectrum are stored", ge=0)
    bands: tuple[int, ...] = setting((1,), "equal bands that are searched for pulses: 1 the whole, 2 halves, ...")

    _counts = field_validator("bands")(_different_counts)


class SearchConfig(Section):
    """Search for periods: in the whole observation, parts of it, or both; and with how many samples."""

    parts: tuple[int, ...] = setting((1,), "equal parts that are searched for periods: 1 the whole, 2 halves, ...")
    loss: float = setting(
        0.01, "S/N that fewer samples may cost the narrowest pulses in searches for periods; 0: none", ge=0, lt=1
    )
    residual: float = setting(50.0, "sources of this S/N are taken out and the rest searched again; 0: none", ge=0)

    _counts = field_validator("parts")(_different_counts)


class SiftConfig(Section):
    """Grouping of detections into candidates."""

    freq_tolerance: float = setting(1.5, "detections this close in frequency are one source [bins of 1/T]", gt=0)
    mains: tuple[float, ...] = setting((50.0, 60.0), "mains frequencies [Hz]: undispersed harmonics are flagged")
    harmonics: bool = setting(True, "attach harmonics to their fundamental")
    weights: str = setting("", "weights of the score, made by benchmarks/train.py; empty: those of the program")
    orbit: float = setting(1e-3, "of merged products: part by which orbits may change a period; 0: none", ge=0, lt=0.01)


class TelescopeConfig(Section):
    """Sensitivity of the telescope, for flux densities by the radiometer equation."""

    gain: float | None = setting(None, "gain at the zenith [K/Jy]; unset: no flux densities", gt=0)
    tsys: float = setting(25.0, "system temperature, sky included [K]", gt=0)
    gain_err: float = setting(0.0, "part by which gain / tsys may be off, in errors of flux densities", ge=0)
    npol: Literal[1, 2] = setting(2, "polarisations that are summed")
    beta: float | None = setting(None, "S/N lost by digitisation; default: 1.25, 1.06, 1 of 1, 2, more bits", ge=1)
    za_full: float = setting(90.0, "zenith angle up to which the gain is full [deg]", ge=0, le=90)
    za_zero: float = setting(120.0, "zenith angle at which a line from there on has no gain [deg]", ge=0, le=120)

    @model_validator(mode="after")
    def _falls(self) -> "TelescopeConfig":
        if self.za_zero <= self.za_full:
            raise ValueError(f"za_zero {self.za_zero:g} is not above za_full {self.za_full:g}: swap them")
        return self


class KnownConfig(Section):
    """Known pulsars, by which candidates are labelled."""

    catalogue: str = setting("", "psrcat.db or psrcat_pkg.tar.gz (ATNF), CSV, ECSV; psrqpy: its own; empty: none")
    radius: float | None = setting(None, "look this far from the position [deg]; default 1.5 beam widths", gt=0)


class FoldConfig(Section):
    """Folding and refinement of the best candidates."""

    ncands: int = setting(100, "candidates folded", ge=0)
    nbins: int = setting(128, "most phase bins, an even number", ge=4, le=1024)
    nsubints: int = setting(32, "sub-integrations", ge=1)
    nbands: int = setting(32, "subbands", ge=1)

    @field_validator("nbins")
    @classmethod
    def _even(cls, value: int) -> int:
        # A profile is made of its spectrum, of nbins / 2 + 1 harmonics.
        if value % 2:
            raise ValueError("is odd")
        return value


class ReceiverConfig(Section):
    """A receiver of several beams on the sky, and how detections in them are judged together."""

    beams: tuple[tuple[int, float, float], ...] = setting(
        (), "beam number, its offset to the east and to the north [arcmin] at rotation 0"
    )
    rotation: float = setting(0.0, "the receiver is turned by this from north through east [deg]")
    mirrored: bool = setting(False, "offsets to the east count to the west")
    hpbw: float = setting(3.0, "full width of a beam at half power [arcmin]", gt=0)
    neighbour: float = setting(6.5, "beams no further apart are neighbours [arcmin]", gt=0)
    max_beams: int = setting(3, "a source is seen in no more beams, unless it is bright", ge=1)
    sidelobe: float = setting(0.1, "a bright source is seen elsewhere with up to this fraction of its S/N", ge=0, lt=1)


class OutputConfig(Section):
    """Content of the product beside the candidates."""

    detections: bool = setting(True, "store the raw detections too")


class SubtractConfig(Section):
    """Known pulsars that are taken out of the cleaned samples before they are searched."""

    pulsars: tuple[str, ...] = setting(
        (), "pulsars taken out of the samples first: X.par, or candidates (RUN.h5:c0001); empty: none"
    )
    min_snr: float = setting(6.0, "S/N of its fold below which a pulsar is left where it is", ge=4)
    nbins: int = setting(1024, "most phase bins of a template", ge=16, le=4096)
    nsubints: int = setting(64, "most sub-integrations with a brightness of their own", ge=1, le=1024)
    nbands: int = setting(64, "most subbands with a brightness of their own", ge=1, le=1024)


class CompletenessConfig(Section):
    """Signals injected into the cleaned samples, to tell how many of their kind the run finds."""

    enabled: bool | None = setting(None, "inject signals, to tell how many are found; default: beyond 15 min of CPU")
    share: float = setting(0.08, "time that it may take, as a fraction of that of the rest of the run", gt=0, le=1)
    places: int | None = setting(None, "DMs that get signals; default: as many as the share allows", ge=1, le=100_000)
    snr: tuple[Positive, Positive] = setting((6.0, 20.0), "S/N of the signals, lowest and highest")
    period: tuple[Positive, Positive] | None = setting(
        None, "periods [s], log-uniform; default: 2 ms to 5 s, if searched"
    )
    dm: tuple[NotNegative, NotNegative] | None = setting(None, "DMs of the signals [pc/cm3]; default: what is searched")
    duty: tuple[HalfTurn, HalfTurn] | None = setting(None, "widths [turns], log-uniform; default: by a law of periods")
    width: tuple[Positive, Positive] | None = setting(
        None, "of bursts [s], log-uniform; default: a sample to 16 times the narrowest"
    )
    population: str = setting("", "table of the signals (csv, ecsv), in place of places; empty: they are drawn")
    seed: int = setting(0, "of what is drawn", ge=0, lt=2**63)

    @model_validator(mode="after")
    def _ordered(self) -> "CompletenessConfig":
        for name in ("snr", "period", "dm", "duty", "width"):
            limits = getattr(self, name)
            if limits is not None and limits[1] < limits[0]:
                raise ValueError(f"{name} {limits[0]:g}, {limits[1]:g}: give the lower one first")
        return self


class RunConfig(Section):
    """Resources."""

    threads: int = setting(0, "threads; 0: all cores this process may use, at most OMP_NUM_THREADS", ge=0)
    memory: str = setting("auto", "memory budget, such as 4GiB; auto: half of what is free")
    scratch: str = setting("", "folder for scratch files; empty: beside the output")


class BatchConfig(Section):
    """Where a batch of many searches runs: the jobs that it asks a cluster for (`pulsar batch run`)."""

    scheduler: str = setting("local", "of --engine dask: local, slurm or pbs (by dask-jobqueue), or the address of one")
    jobs: int = setting(1, "jobs at a time", ge=1, le=1000)
    cores: int = setting(1, "cores of a job", ge=1)
    memory: str = setting("4GiB", "memory of a job, such as 16GiB")
    walltime: str = setting("24:00:00", "time limit of a job, hh:mm:ss", pattern=r"^\d+:[0-5]\d:[0-5]\d$")
    margin: float = setting(60.0, "units are ended so long before a job's time limit, to go on in the next [s]", ge=0)
    queue: str = setting("", "partition or queue; empty: the cluster's own choice")
    account: str = setting("", "whom the time is charged to; empty: the cluster's own choice")
    directives: tuple[str, ...] = setting((), "further options of a job as the cluster takes them, such as --exclusive")
    prologue: tuple[str, ...] = setting((), "shell commands at the start of a job, such as module load python")

    @field_validator("walltime", mode="before")
    @classmethod
    def _as_text(cls, value: object) -> object:
        # TOML takes 02:00:00 without quotes for a time of day.
        return value.isoformat() if isinstance(value, datetime.time) else value

    @model_validator(mode="after")
    def _time_left(self) -> Self:
        if self.margin >= self.seconds:
            raise ValueError(f"margin {self.margin:g} s leaves nothing of the walltime {self.walltime}")
        return self

    @property
    def seconds(self) -> float:
        """The wall time [s]."""
        hours, minutes, seconds = map(int, self.walltime.split(":"))
        return 3600.0 * hours + 60.0 * minutes + seconds


class StackConfig(Section):
    """Stacks of many epochs (`pulsar stack`): what the first one decides for all."""

    tobs: float | None = setting(None, "length of the transform [s]; longer epochs are cut; default the first's", gt=0)
    downsample: int = setting(1, "samples in one of the series: a power of two", ge=1)
    f_max: float | None = setting(None, "highest frequency that is kept [Hz], harmonics too; default Nyquist", gt=0)
    barycentre: bool = setting(True, "series at even times at the barycentre; off: topocentric, for beams of one time")

    @field_validator("downsample")
    @classmethod
    def _power_of_two(cls, value: int) -> int:
        if value & (value - 1):
            raise ValueError(f"downsample {value}: give a power of two")
        return value


class OrbitsConfig(Section):
    """Search over circular orbits (`pulsar orbits`)."""

    p_min: float = setting(3600.0, "shortest orbital period [s]", gt=0)
    p_max: float = setting(14400.0, "longest orbital period [s]", gt=0)
    pulsar: float = setting(1.4, "mass of the pulsar [M_sun]", gt=0, le=3)
    lightest: float = setting(0.0, "lightest companion [M_sun], of an orbit that is seen from its edge", ge=0)
    heaviest: float = setting(0.1, "heaviest companion [M_sun], of an orbit that is seen from its edge", gt=0, le=100)
    f_min: float = setting(50.0, "lowest frequency of a highest harmonic [Hz]", gt=0)
    f_max: float = setting(400.0, "highest frequency [Hz], harmonics too", gt=0)
    nharm: Literal[1, 2, 4, 8] = setting(4, "most harmonics that are summed")
    mismatch: float = setting(0.3, "part of the power that is lost between templates at most, about", gt=0, le=0.7)
    threshold: float = setting(3.0, "lowest significance, corrected for trials [sigma]")
    barycentre: bool = setting(True, "series at even times at the barycentre, where telescope and position are known")


class FollowConfig(Section):
    """Candidates that are looked for in a new observation (`pulsar follow`); sift.orbit bounds the change of period."""

    accel_max: float = setting(50.0, "largest acceleration that an orbit may have there [m/s2]", ge=0)
    threshold: float = setting(5.0, "significance of a yes, corrected for all that was tried [sigma]", gt=0)


class Config(Section):
    """All settings of a run."""

    input: InputConfig = InputConfig()
    rfi: RfiConfig = RfiConfig()
    dedisp: DedispConfig = DedispConfig()
    search: SearchConfig = SearchConfig()
    fft: FFTConfig = FFTConfig()
    coherent: CoherentConfig = CoherentConfig()
    accel: AccelConfig = AccelConfig()
    ffa: FFAConfig = FFAConfig()
    single_pulse: SinglePulseConfig = SinglePulseConfig()
    sift: SiftConfig = SiftConfig()
    fold: FoldConfig = FoldConfig()
    subtract: SubtractConfig = SubtractConfig()
    known: KnownConfig = KnownConfig()
    receiver: ReceiverConfig = ReceiverConfig()
    telescope: TelescopeConfig = TelescopeConfig()
    output: OutputConfig = OutputConfig()
    completeness: CompletenessConfig = CompletenessConfig()
    run: RunConfig = RunConfig()
    batch: BatchConfig = BatchConfig()
    stack: StackConfig = StackConfig()
    orbits: OrbitsConfig = OrbitsConfig()
    follow: FollowConfig = FollowConfig()

    def changed(self, **sections: dict[str, Any]) -> Self:
        """The same with other values of some keys; the values are not checked."""
        new = {name: getattr(self, name).model_copy(update=values) for name, values in sections.items()}
        return self.model_copy(update=new)


class Option(NamedTuple):
    """An option that sets keys of the configuration."""

    keys: tuple[str, ...]  # ``section.key``, each
    metavar: str = ""  # A word for each value that follows the option; empty: none does
    repeated: bool = False  # It may be given several times: the key is a list
    #: Without values: what it sets its keys to. Empty: it has a second form, ``--no-NAME``, and sets true or false.
    off: tuple[Any, ...] = ()
    text: str = ""  # Help, where the descriptions of the keys would not do


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
    "zmax": Option(("accel.zmax",), "N", text="search accelerations up to this drift of the highest harmonic [1/T]"),
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
    "porb": Option(("orbits.p_min", "orbits.p_max"), "MIN MAX", text="orbital periods: 5700 (s), 95min, 10h or 0.35d"),
    "mass": Option(("orbits.pulsar",), "M"),
    "companion": Option(
        ("orbits.lightest", "orbits.heaviest"), "MIN MAX", text="companions [M_sun], of orbits seen from their edge"
    ),
    "freq": Option(("orbits.f_min", "orbits.f_max"), "MIN MAX", text="frequencies of the highest harmonic [Hz]"),
    "nharm": Option(("orbits.nharm",), "1|2|4|8"),
    "mismatch": Option(("orbits.mismatch",), "M"),
    "accel": Option(("follow.accel_max",), "A"),
    "orbit": Option(("sift.orbit",), "X", text="part by which an orbit may have changed the period"),
}

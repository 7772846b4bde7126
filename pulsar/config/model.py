"""Every setting of a run: type, bounds, unit, default and help, once.

The command line, the presets, the error messages and the provenance in the product are made from this.
"""

import datetime
from typing import Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

#: Parts of an observation that may be searched. What is on for less than a 64th is for the search for single pulses.
MOST_PARTS = 64


class Section(BaseModel):
    """Base of all sections: frozen, and an unknown key is an error."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class InputConfig(Section):
    """How the files are read, and what overrides their headers."""

    ra_deg: Annotated[float | None, Field(ge=0, lt=360, description="right ascension of the beam [deg]")] = None
    dec_deg: Annotated[float | None, Field(ge=-90, le=90, description="declination of the beam [deg]")] = None
    tsamp: Annotated[float | None, Field(gt=0, description="sampling time [s], where the header is wrong")] = None
    signed: Annotated[bool | None, Field(description="8-bit SIGPROC samples are signed; default: by format")] = None
    pointings: Annotated[
        str,
        Field(
            description="of folders: CSV table of positions with the columns source, beam, ra, dec; empty: the headers'"
        ),
    ] = ""
    calibration: Annotated[bool, Field(description="search scans of a calibrator too (FAST, by their names)")] = False


class RfiConfig(Section):
    """Masking of bad channels and blocks, bandpass and baseline."""

    enabled: Annotated[bool, Field(description="mask bad channels and blocks")] = True
    block: Annotated[float, Field(gt=0, description="length of a statistics block [s]")] = 0.25
    baseline: Annotated[
        float | None,
        Field(gt=0, description="time scale of the removed baseline [s]; default a quarter of the data, at least 30 s"),
    ] = None
    chan_sigma: Annotated[
        float, Field(gt=0, description="channels this far out in any statistic are masked [sigma]")
    ] = 6.0
    block_sigma: Annotated[float, Field(gt=0, description="channel-blocks this far out are masked [sigma]")] = 8.0
    kurtosis: Annotated[
        float,
        Field(ge=0, description="channel-blocks whose skewness or kurtosis is this far out are masked [sigma]; 0: off"),
    ] = 8.0
    fourier: Annotated[
        float,
        Field(ge=0, description="channel-blocks that are periodic with this significance are masked [sigma]; 0: off"),
    ] = 6.0
    excess: Annotated[
        float,
        Field(ge=0, description="channel-blocks whose noise is not white by so much are masked [sigma]; 0: off"),
    ] = 8.0
    iqrm: Annotated[
        float,
        Field(ge=0, description="channel-blocks outlying among their neighbours are masked [sigma]; 0: off"),
    ] = 4.0
    grow: Annotated[
        float,
        Field(ge=0, lt=0.5, description="stretches of which all but this fraction is masked are masked whole; 0: off"),
    ] = 0.1
    chan_fraction: Annotated[
        float, Field(gt=0, le=1, description="channels that lose more of their blocks are masked whole")
    ] = 0.5
    block_fraction: Annotated[
        float, Field(gt=0, le=1, description="blocks that lose more of their channels are masked whole")
    ] = 0.6
    clip: Annotated[
        float, Field(ge=0, description="undispersed impulses of this significance are left out [sigma]; 0: off")
    ] = 6.0
    zerodm: Annotated[
        Literal["off", "mean", "zdot"],
        Field(
            description="of every sample subtract what the channels share: their mean, weighted by the bandpass, or of "
            "each channel what is correlated with it (zdot)"
        ),
    ] = "off"
    zap: Annotated[tuple[tuple[float, float], ...], Field(description="frequency ranges to mask [MHz]")] = ()
    mask: Annotated[
        str, Field(description="mask of `pulsar rfi` in place of the statistics, or PRESTO .mask to add; empty: none")
    ] = ""
    birdies: Annotated[
        tuple[tuple[float, float], ...],
        Field(description="periodic interference to leave out of spectra: frequency and full width [Hz]"),
    ] = ()
    zaplist: Annotated[str, Field(description="PRESTO .zaplist or .birds file to leave out as well; empty: none")] = ""
    diodes: Annotated[
        tuple[Annotated[float, Field(gt=0)], ...],
        Field(
            description="periods of noise diodes [s]: their waves are taken out, and undispersed candidates at their "
            "harmonics are flagged"
        ),
    ] = ()
    learn: Annotated[bool, Field(description="learn undispersed lines from the series at DM 0 and leave them out")] = (
        True
    )
    common: Annotated[
        bool, Field(description="of nights with 4 beams or more: leave out lines that several beams share")
    ] = True

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

    dm_lo: Annotated[float, Field(ge=0, le=100_000, description="lowest DM [pc/cm3]")] = 0.0
    dm_hi: Annotated[float, Field(ge=0, le=100_000, description="highest DM [pc/cm3]")] = 500.0
    tolerance: Annotated[
        float, Field(gt=0, le=10, description="steps and downsampling may add this fraction to the smearing")
    ] = 0.10
    dm_step: Annotated[float | None, Field(gt=0, description="fixed DM step [pc/cm3] in place of the plan's")] = None
    max_downsample: Annotated[int, Field(ge=1, description="largest downsampling in time")] = 64
    width_min: Annotated[
        float,
        Field(ge=0, description="narrowest pulse to keep sharp [s]; added to the smearing of the ideal"),
    ] = 0.0
    method: Annotated[Literal["tree", "brute"], Field(description="tree (fast) or brute force (exact)")] = "tree"

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
    nharm: Annotated[Literal[1, 2, 4, 8, 16, 32], Field(description="most harmonics summed")] = 32
    threshold: Threshold = 0.0
    p_min: ShortestPeriod = None
    p_max: LongestPeriod = None
    max_detections: MostDetections = 300


class CoherentConfig(Section):
    """Coherent harmonic search: profiles from complex amplitudes, for narrow pulses of any period."""

    enabled: Enabled = True
    threshold: Threshold = 0.0
    p_min: Annotated[
        float | None, Field(gt=0, description="shortest period [s]; default that of 7 harmonics, 14 samples")
    ] = None
    p_max: LongestPeriod = None
    max_detections: MostDetections = 100


class AccelConfig(Section):
    """Acceleration search in the Fourier domain; it runs where zmax or accel_max is given."""

    zmax: Annotated[
        float, Field(ge=0, le=1200, description="largest drift of the highest harmonic summed [bins of 1/T]; 0: none")
    ] = 0.0
    accel_max: Annotated[
        float | None,
        Field(gt=0, description="largest acceleration [m/s2], up to the drift zmax if that is given too"),
    ] = None
    wmax: Annotated[
        float, Field(ge=0, description="largest change of the drift of the highest harmonic [bins of 1/T]; 0: no jerk")
    ] = 0.0
    nharm: Annotated[Literal[1, 2, 4, 8, 16], Field(description="most harmonics summed")] = 8
    threshold: Threshold = 0.0
    p_min: ShortestPeriod = None
    p_max: LongestPeriod = None
    loss: Annotated[
        float,
        Field(
            ge=0,
            lt=1,
            description="part of its S/N that fewer DMs and a lower highest frequency may cost a pulsar of p_fast and "
            "duty_min; 0: all frequencies at all DMs",
        ),
    ] = 0.1
    p_fast: Annotated[float, Field(gt=0, description="period of the fastest pulsar that loses no more [s]")] = 1.5e-3
    duty_min: Annotated[float, Field(gt=0, lt=1, description="its pulse, full width at half maximum [turns]")] = 0.1
    max_detections: MostDetections = 300

    @model_validator(mode="after")
    def _drifts(self) -> "AccelConfig":
        if self.wmax > 0 and not self.enabled:
            raise ValueError(f"wmax {self.wmax:g} needs zmax or accel_max")
        return self

    @property
    def enabled(self) -> bool:
        """Whether there is anything to search for."""
        return self.zmax > 0 or self.accel_max is not None


class FFAConfig(Section):
    """Fast folding search for long periods."""

    enabled: Enabled = True
    p_min: Annotated[
        float | None,
        Field(
            gt=0,
            description="shortest period [s]; default 0.5, beside the coherent search 2 or half of its longest if less",
        ),
    ] = None
    p_max: Annotated[float, Field(gt=0, description="longest period [s]; no more than a quarter of the data")] = 30.0
    duty_min: Annotated[float, Field(gt=0, lt=1, description="narrowest pulse [turns]")] = 0.002
    duty_max: Annotated[float, Field(gt=0, lt=1, description="widest pulse [turns]")] = 0.35
    threshold: Threshold = 0.0
    max_detections: MostDetections = 50

    @model_validator(mode="after")
    def _ordered(self) -> "FFAConfig":
        if self.p_min is not None and self.p_max < self.p_min:
            raise ValueError(f"p_min {self.p_min:g} s is above p_max {self.p_max:g} s: swap them")
        if self.duty_max < self.duty_min:
            raise ValueError(f"duty_min {self.duty_min:g} is above duty_max {self.duty_max:g}: swap them")
        return self


class SinglePulseConfig(Section):
    """Search for single pulses, and for the period of repeating ones."""

    enabled: Enabled = True
    snr: Annotated[float, Field(ge=4, description="S/N from which a pulse is kept (single trial)")] = 7.0
    width_max: Annotated[float, Field(gt=0, description="widest pulse [s]; the narrowest is one sample")] = 0.25
    shape: Annotated[Literal["boxcar", "gaussian"], Field(description="matched filter")] = "boxcar"
    max_events: Annotated[int, Field(ge=1, description="most events kept per DM")] = 10_000
    cutouts: Annotated[int, Field(ge=0, description="pulses whose DM-time plot and spectrum are stored")] = 20


class SearchConfig(Section):
    """What is searched for periods: the whole observation, parts of it, or both; and with how many samples."""

    parts: Annotated[
        tuple[int, ...],
        Field(description="equal parts that are searched for periods: 1 the whole, 2 its halves, 4 its quarters, ..."),
    ] = (1,)
    loss: Annotated[
        float,
        Field(
            ge=0,
            lt=1,
            description="part of the S/N of the narrowest pulses that fewer samples may cost in the search for periods "
            "where channels smear; 0: series as they are dedispersed",
        ),
    ] = 0.01
    residual: Annotated[
        float,
        Field(
            ge=0,
            description="sources of this S/N are taken out, and what is left is searched again; 0: none",
        ),
    ] = 50.0

    @field_validator("parts")
    @classmethod
    def _counts(cls, value: tuple[int, ...]) -> tuple[int, ...]:
        if not value or min(value) < 1 or max(value) > MOST_PARTS or len(set(value)) < len(value):
            raise ValueError(
                f"parts {list(value)}: give different whole numbers from 1 to {MOST_PARTS}, such as 1,2,4 for the "
                "whole, its halves and its quarters"
            )
        return tuple(sorted(value))


class SiftConfig(Section):
    """Grouping of detections into candidates."""

    freq_tolerance: Annotated[
        float, Field(gt=0, description="detections this close in frequency are one source [bins of 1/T]")
    ] = 1.5
    mains: Annotated[
        tuple[float, ...],
        Field(description="mains frequencies [Hz]: undispersed candidates at their harmonics are flagged"),
    ] = (50.0, 60.0)
    harmonics: Annotated[bool, Field(description="attach harmonics to their fundamental")] = True
    weights: Annotated[
        str,
        Field(description="weights of the score, made by benchmarks/train.py; empty: those of the program"),
    ] = ""
    orbit: Annotated[
        float,
        Field(
            ge=0,
            lt=0.01,
            description="of merged products: part by which an orbit may change a period between two times; 0: none",
        ),
    ] = 1e-3


class TelescopeConfig(Section):
    """Sensitivity of the telescope, for flux densities by the radiometer equation."""

    gain: Annotated[float | None, Field(gt=0, description="gain at the zenith [K/Jy]; unset: no flux densities")] = None
    tsys: Annotated[float, Field(gt=0, description="system temperature, sky included [K]")] = 25.0
    npol: Annotated[Literal[1, 2], Field(description="polarisations that are summed")] = 2
    beta: Annotated[
        float | None,
        Field(
            ge=1,
            description="S/N lost by digitisation, for limits on flux; default: 1.25, 1.06, 1 of 1, 2, more bits",
        ),
    ] = None
    za_full: Annotated[float, Field(ge=0, le=90, description="zenith angle up to which the gain is full [deg]")] = 90.0
    za_zero: Annotated[
        float, Field(ge=0, le=120, description="zenith angle at which a line from there on would be at no gain [deg]")
    ] = 120.0

    @model_validator(mode="after")
    def _falls(self) -> "TelescopeConfig":
        if self.za_zero <= self.za_full:
            raise ValueError(f"za_zero {self.za_zero:g} is not above za_full {self.za_full:g}: swap them")
        return self


class KnownConfig(Section):
    """Known pulsars, by which candidates are labelled."""

    catalogue: Annotated[
        str,
        Field(
            description="known pulsars: psrcat.db or psrcat_pkg.tar.gz (ATNF), CSV, ECSV; psrqpy: its own; empty: none"
        ),
    ] = ""
    radius: Annotated[
        float | None, Field(gt=0, description="look this far from the position [deg]; default 1.5 beam widths")
    ] = None


class FoldConfig(Section):
    """Folding and refinement of the best candidates."""

    ncands: Annotated[int, Field(ge=0, description="candidates folded")] = 100
    nbins: Annotated[int, Field(ge=4, le=1024, description="most phase bins, an even number")] = 128
    nsubints: Annotated[int, Field(ge=1, description="sub-integrations")] = 32
    nbands: Annotated[int, Field(ge=1, description="subbands")] = 32

    @field_validator("nbins")
    @classmethod
    def _even(cls, value: int) -> int:
        # A profile is made of its spectrum, of nbins / 2 + 1 harmonics.
        if value % 2:
            raise ValueError("is odd")
        return value


class ReceiverConfig(Section):
    """A receiver of several beams on the sky, and how detections in them are judged together."""

    beams: Annotated[
        tuple[tuple[int, float, float], ...],
        Field(description="beam number, and its offset to the east and to the north [arcmin], at rotation 0"),
    ] = ()
    rotation: Annotated[float, Field(description="the receiver is turned by this from north through east [deg]")] = 0.0
    mirrored: Annotated[bool, Field(description="offsets to the east count to the west")] = False
    hpbw: Annotated[float, Field(gt=0, description="full width of a beam at half power [arcmin]")] = 3.0
    neighbour: Annotated[float, Field(gt=0, description="beams no further apart are neighbours [arcmin]")] = 6.5
    max_beams: Annotated[int, Field(ge=1, description="a source is seen in no more beams, unless it is bright")] = 3
    sidelobe: Annotated[
        float, Field(ge=0, lt=1, description="a bright source is seen elsewhere with up to this fraction of its S/N")
    ] = 0.1


class OutputConfig(Section):
    """What the product holds beside the candidates."""

    detections: Annotated[bool, Field(description="store the raw detections too")] = True


class SubtractConfig(Section):
    """Known pulsars that are taken out of the cleaned samples before they are searched."""

    pulsars: Annotated[
        tuple[str, ...],
        Field(
            description="pulsars that are taken out of the samples first: ephemerides (X.par), or candidates of "
            "products (RUN.h5:c0001); empty: none"
        ),
    ] = ()
    min_snr: Annotated[float, Field(ge=4, description="S/N of its fold below which a pulsar is left where it is")] = 6.0
    nbins: Annotated[int, Field(ge=16, le=4096, description="most phase bins of a template")] = 1024
    nsubints: Annotated[
        int, Field(ge=1, le=1024, description="most sub-integrations with a brightness of their own")
    ] = 64
    nbands: Annotated[int, Field(ge=1, le=1024, description="most subbands with a brightness of their own")] = 64


class CompletenessConfig(Section):
    """Signals injected into the cleaned samples, to tell how many of their kind the run finds."""

    enabled: Annotated[
        bool | None,
        Field(
            description="inject signals, to tell how many of their kind are found; default: where a search of raw data "
            "takes more than a quarter of an hour of CPU"
        ),
    ] = None
    share: Annotated[
        float, Field(gt=0, le=1, description="time that it may take, as a fraction of that of the rest of the run")
    ] = 0.08
    places: Annotated[
        int | None,
        Field(
            ge=1,
            le=100_000,
            description="DMs that get signals, whatever that takes; default: as many as the share allows",
        ),
    ] = None
    snr: Annotated[
        tuple[Annotated[float, Field(gt=0)], Annotated[float, Field(gt=0)]],
        Field(description="S/N of the signals, lowest and highest"),
    ] = (6.0, 20.0)
    period: Annotated[
        tuple[Annotated[float, Field(gt=0)], Annotated[float, Field(gt=0)]] | None,
        Field(description="periods of pulsars [s], log-uniform; default: what is searched, 2 ms to 5 s"),
    ] = None
    dm: Annotated[
        tuple[Annotated[float, Field(ge=0)], Annotated[float, Field(ge=0)]] | None,
        Field(description="DMs of the signals [pc/cm3]; default: what is searched"),
    ] = None
    duty: Annotated[
        tuple[Annotated[float, Field(gt=0, lt=0.5)], Annotated[float, Field(gt=0, lt=0.5)]] | None,
        Field(description="widths of pulsars [turns], log-uniform; default: by a law of the period"),
    ] = None
    width: Annotated[
        tuple[Annotated[float, Field(gt=0)], Annotated[float, Field(gt=0)]] | None,
        Field(description="widths of bursts [s], log-uniform; default: a sample to 16 times what smears the narrowest"),
    ] = None
    population: Annotated[
        str, Field(description="table of the signals (csv, ecsv), in place of places; empty: they are drawn")
    ] = ""
    seed: Annotated[int, Field(ge=0, lt=2**63, description="of what is drawn")] = 0

    @model_validator(mode="after")
    def _ordered(self) -> "CompletenessConfig":
        for name in ("snr", "period", "dm", "duty", "width"):
            given = getattr(self, name)
            if given is not None and given[1] < given[0]:
                raise ValueError(f"{name} {given[0]:g}, {given[1]:g}: give the lower one first")
        return self


class RunConfig(Section):
    """Resources."""

    threads: Annotated[
        int, Field(ge=0, description="threads; 0: all cores this process may use, at most OMP_NUM_THREADS")
    ] = 0
    memory: Annotated[str, Field(description="memory budget, such as 4GiB; auto: half of what is free")] = "auto"
    scratch: Annotated[str, Field(description="folder for scratch files; empty: beside the output")] = ""


class BatchConfig(Section):
    """Where a batch of many searches runs: the jobs that it asks a cluster for (`pulsar batch run`)."""

    scheduler: Annotated[
        str, Field(description="of --engine dask: local, slurm or pbs (by dask-jobqueue), or the address of one")
    ] = "local"
    jobs: Annotated[int, Field(ge=1, le=1000, description="jobs at a time")] = 1
    cores: Annotated[int, Field(ge=1, description="cores of a job")] = 1
    memory: Annotated[str, Field(description="memory of a job, such as 16GiB")] = "4GiB"
    walltime: Annotated[str, Field(pattern=r"^\d+:[0-5]\d:[0-5]\d$", description="time limit of a job, hh:mm:ss")] = (
        "24:00:00"
    )
    margin: Annotated[
        float, Field(ge=0, description="units are ended so long before a job's time limit, to go on in the next [s]")
    ] = 60.0
    queue: Annotated[str, Field(description="partition or queue; empty: the cluster's own choice")] = ""
    account: Annotated[str, Field(description="whom the time is charged to; empty: the cluster's own choice")] = ""
    directives: Annotated[
        tuple[str, ...], Field(description="further options of a job as the cluster takes them, such as --exclusive")
    ] = ()
    prologue: Annotated[
        tuple[str, ...], Field(description="shell commands at the start of a job, such as module load python")
    ] = ()

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

    tobs: Annotated[
        float | None,
        Field(
            gt=0,
            description="length of the common transform [s]; longer epochs are cut into pieces; default the first's",
        ),
    ] = None
    downsample: Annotated[int, Field(ge=1, description="samples in one of the series: a power of two")] = 1
    f_max: Annotated[
        float | None, Field(gt=0, description="highest frequency that is kept [Hz], harmonics too; default Nyquist")
    ] = None
    barycentre: Annotated[
        bool, Field(description="series at even times at the barycentre; off: topocentric, for beams of one time")
    ] = True

    @field_validator("downsample")
    @classmethod
    def _power_of_two(cls, value: int) -> int:
        if value & (value - 1):
            raise ValueError(f"downsample {value}: give a power of two")
        return value


class OrbitsConfig(Section):
    """Search over circular orbits (`pulsar orbits`)."""

    p_min: Annotated[float, Field(gt=0, description="shortest orbital period [s]")] = 3600.0
    p_max: Annotated[float, Field(gt=0, description="longest orbital period [s]")] = 14400.0
    pulsar: Annotated[float, Field(gt=0, le=3, description="mass of the pulsar [M_sun]")] = 1.4
    lightest: Annotated[
        float, Field(ge=0, description="lightest companion [M_sun], of an orbit that is seen from its edge")
    ] = 0.0
    heaviest: Annotated[
        float, Field(gt=0, le=100, description="heaviest companion [M_sun], of an orbit that is seen from its edge")
    ] = 0.1
    f_min: Annotated[float, Field(gt=0, description="lowest frequency of a highest harmonic [Hz]")] = 50.0
    f_max: Annotated[float, Field(gt=0, description="highest frequency [Hz], harmonics too")] = 400.0
    nharm: Annotated[Literal[1, 2, 4, 8], Field(description="most harmonics that are summed")] = 4
    mismatch: Annotated[
        float, Field(gt=0, le=0.7, description="part of the power that is lost between templates at most, about")
    ] = 0.3
    threshold: Annotated[float, Field(description="lowest significance, corrected for trials [sigma]")] = 3.0
    barycentre: Annotated[
        bool, Field(description="series at even times at the barycentre, where telescope and position are known")
    ] = True


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

"""The mask of an observation and its periodic interference, judged and saved (``pulsar rfi``)."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from pulsar.cleaning.birdies import Birdie, fraction_lost, merged, read_zaplist
from pulsar.cleaning.mask import Mask, Stretch, block_losses, channel_losses, losses, worst_blocks, worst_channels
from pulsar.cleaning.statistics import BlockStatistics
from pulsar.cleaning.store import write_mask
from pulsar.config.load import to_toml
from pulsar.config.model import Config
from pulsar.data.files import check_output
from pulsar.data.header import Header
from pulsar.data.observation import Observation, called
from pulsar.errors import ConfigError
from pulsar.io.product.provenance import Provenance
from pulsar.io.product.writer import Target
from pulsar.pipeline.cleaning import ZeroDM, clean_source, find_mask, given_birdies, zero_dm
from pulsar.pipeline.plan import live_frequencies
from pulsar.pipeline.progress import Progress
from pulsar.pipeline.room import Means
from pulsar.pipeline.start import opened

if TYPE_CHECKING:
    from pulsar.report.figure import Sheet


@dataclass(frozen=True, eq=False)
class RfiReport:
    """The mask of an observation and what it was made from.

    Attributes
    ----------
    header : Header
        Of the observation.
    mask : Mask
    stats : BlockStatistics or None
        None for a mask from a file without them.
    birdies : list of Birdie
        Periodic interference that a search leaves out, ascending.
    zero_dm : ZeroDM or None
        The spectrum at DM 0; None where there are too few samples for one.
    path : Path or None
        The mask file, if one was written.
    """

    header: Header
    mask: Mask
    stats: BlockStatistics | None
    birdies: list[Birdie]
    zero_dm: ZeroDM | None
    path: Path | None = None

    @property
    def spectrum_lost(self) -> float:
        """Fraction of the spectrum up to Nyquist that the birdies take."""
        return fraction_lost(self.birdies, 0.5 / self.header.tsamp)

    def summary(self) -> dict[str, Any]:
        """Losses as plain Python values.

        Returns
        -------
        dict
            fraction_lost; reasons (reason, count, unit, fraction of the data); frequencies [MHz] and times [s from the
            start] that lose more than others (lo, hi, fraction of them lost, share of the data); birdies (freq and
            width [Hz], reason) and the fraction of the spectrum they take; the loss of every channel (freqs [MHz],
            channel_lost) and block (block_start [s], block_lost).
        """
        mask, header = self.mask, self.header
        return {
            "mask": None if self.path is None else str(self.path),
            "source": header.source,
            "nchans": header.nchans,
            "nsamps": header.nsamps,
            "tsamp": header.tsamp,
            "tstart": header.tstart,
            "nblocks": len(mask.edges) - 1,
            "channels_masked": int(np.count_nonzero(~mask.chan_ok)),
            "fraction_lost": mask.fraction_lost,
            "reasons": [asdict(loss) for loss in losses(mask)],
            "frequencies": [_lost(s, "channels") | {"reasons": list(s.reasons)} for s in worst_channels(mask, header)],
            "times": [_lost(s, "blocks") for s in worst_blocks(mask, header)],
            "birdies": [asdict(birdie) for birdie in self.birdies],
            "spectrum_lost": self.spectrum_lost,
            "freqs": header.freqs.tolist(),
            "channel_lost": channel_losses(mask).tolist(),
            "block_start": (mask.edges[:-1] * header.tsamp).tolist(),
            "block_lost": block_losses(mask).tolist(),
        }

    def plot(self, path: Path | str | None = None) -> "Sheet":
        """Draw the mask, the statistics, the band and the spectrum at DM 0; also to `path` (.png, .pdf, .svg)."""
        from pulsar.report.figure import check_suffix
        from pulsar.report.rfi import plot_rfi

        if path is not None:
            check_suffix(Path(path))
        spectrum = None if self.zero_dm is None else (self.zero_dm.powers, self.zero_dm.step)
        return plot_rfi(self.header, self.mask, self.stats, birdies=self.birdies, spectrum=spectrum, path=path)

    def _repr_png_(self) -> bytes:
        from pulsar.report.figure import picture

        return picture(self.plot())

    def __repr__(self) -> str:
        return f"<RfiReport of {self.header.source or 'unnamed source'}: {self.mask.summary()}>"


def _lost(stretch: Stretch, counted: str) -> dict[str, Any]:
    """A stretch of channels or blocks, by the name of what is counted."""
    count = stretch.last - stretch.first + 1
    return {"lo": stretch.lo, "hi": stretch.hi, counted: count, "lost": stretch.lost, "share": stretch.share}


def make_rfi(
    data: Observation | Sequence[Path], config: Config, target: Target | None = None, progress: Progress | None = None
) -> RfiReport:
    """Make the mask of an observation, learn its periodic interference, and save both for later runs.

    Parameters
    ----------
    data : Observation or sequence of paths
        One observation.
    target : Target, optional
        The mask file (HDF5), for `rfi.mask` of later runs on the same observation; none is written otherwise.
    progress : Progress, optional
        Default: quiet.

    Raises
    ------
    ConfigError
        The output exists, the observation is a dedispersed series, or a given mask belongs to another observation.
    DataError
        The files cannot be read, or nothing is left.
    """
    progress = Progress("quiet") if progress is None else progress
    out = None if target is None else check_output(target.path, overwrite=target.overwrite)
    with opened(data, config) as obs:
        if obs.header.is_series:
            raise ConfigError(f"{called(obs)}: a dedispersed series has no channels to mask; give the raw data")
        live_frequencies(obs, config)  # refuses a mask that does not fit, and when all channels are zapped
        if config.rfi.zaplist:
            read_zaplist(config.rfi.zaplist, 0.0)
        for problem in obs.problems:
            progress.warning(problem)
        for remark in obs.remarks:
            progress.message(remark)
        means = Means.of(config, obs, progress, out)
        argv = () if target is None else target.argv
        record = Provenance(argv, [f.path for f in obs.files], to_toml(config), means.threads)
        mask, stats = find_mask(obs, config, threads=means.threads, progress=progress, statistics=True)
        source = clean_source(obs, mask, config, threads=means.threads, progress=progress)
        learnt = zero_dm(source, obs.header, config, means)
        birdies = merged([*given_birdies(obs.header, config.rfi), *([] if learnt is None else learnt.lines)])
        if target is not None:
            made = record.record(progress.times)
            write_mask(target.path, obs, mask, stats, birdies, provenance=made, overwrite=target.overwrite)
        return RfiReport(obs.header, mask, stats, birdies, learnt, out)

"""An observation, or a stretch and a band of it, in another format or depth: SIGPROC filterbank, PSRFITS, FBH5."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np

from pulsar.config.model import InputConfig
from pulsar.constants import DAY
from pulsar.data.header import Header
from pulsar.data.observation import Observation, called, unchanged
from pulsar.errors import ConfigError
from pulsar.io.fbh5 import Fbh5Writer
from pulsar.io.open import open_observation
from pulsar.io.psrfits import PsrfitsWriter
from pulsar.io.sigproc import FilterbankWriter
from pulsar.pipeline.progress import Progress
from pulsar.synthesis.model import LEVELS
from pulsar.synthesis.write import check_free, check_packing
from pulsar_kernels.arrays import Array, Float32s

#: Ending of a file -> its format.
FORMATS: Final = {
    ".fil": "SIGPROC", ".sf": "PSRFITS", ".fits": "PSRFITS", ".fit": "PSRFITS", ".h5": "FBH5", ".fbh5": "FBH5",
}  # fmt: skip
#: Samples that are read at once, of all channels: 64 MiB as floats.
_PIECE: Final = 1 << 24
#: Pieces in which levels and noise of channels are measured, spread over the stretch: their medians count, so that
#: interference in fewer than half of them does not.
_MEASURED: Final = 64


@dataclass(frozen=True)
class Extract:
    """The part of an observation that is taken, and how it is averaged."""

    freqs: tuple[float, float] | None = None  # Channels whose centres lie from one to the other [MHz]
    times: tuple[float, float] | None = None  # Samples from one time to the other [s] from the start of the observation
    #: tscrunch, fscrunch: samples and channels that become one, their mean. What is left over at the end, or at the
    #: lowest frequency, is left out.
    tscrunch: int = 1
    fscrunch: int = 1


class Extracted(Observation):
    """An observation of which a part is taken; it is closed by who has opened it.

    Attributes
    ----------
    source : Header
        Of the whole observation.
    averaged : bool
        Samples are means of several.
    gulp : int
        Samples that are read at once.

    Raises
    ------
    ConfigError
        Nothing is left, or the data are a dedispersed series.
    """

    def __init__(self, obs: Observation, extract: Extract) -> None:
        header, name = obs.header, called(obs)
        if header.is_series:
            raise ConfigError(f"{name}: is a dedispersed series, of one channel: there is nothing to convert")
        self._obs, self._extract, self.source = obs, extract, header
        times, bands = extract.tscrunch, extract.fscrunch
        self._first, nsamps = _stretch(header, extract.times, times, name)
        self._channels = _band(header, extract.freqs, bands, name)
        freqs = header.freqs[self._channels].reshape(-1, bands).mean(axis=1)
        self.header = header.with_(
            nchans=len(freqs),
            nsamps=nsamps,
            tsamp=header.tsamp * times,
            fch1=float(freqs[0]),
            foff=header.foff * bands,
            tstart=header.tstart + self._first * header.tsamp / DAY,
            freq_table=None if header.freq_table is None else tuple(freqs.tolist()),
        )
        self.averaged = times * bands > 1
        self.dtype = np.dtype(np.float32) if self.averaged else obs.dtype
        self.chan_ok = np.all(obs.chan_ok[self._channels].reshape(-1, bands), axis=1)
        self.files, self.problems = obs.files, obs.problems
        self.gulp = max(1, _PIECE // (header.nchans * times))

    def _fill(self, start: int, out: Array) -> None:
        times, bands = self._extract.tscrunch, self._extract.fscrunch
        data = self._obs.read(self._first + start * times, out.shape[1] * times).data[self._channels]
        if self.averaged:
            data.reshape(len(out), bands, -1, times).mean(axis=(1, 3), dtype=np.float32, out=out)
        else:
            out[:] = data


def _stretch(header: Header, times: tuple[float, float] | None, step: int, name: str) -> tuple[int, int]:
    """First sample, and how many averages of `step` there are from it on."""
    first, end = 0, header.nsamps
    if times is not None:
        ends = np.nan_to_num(np.clip(times, -1.0, 2.0 * header.tobs), nan=-1.0)
        first, end = (round(float(time) / header.tsamp) for time in ends)
        if not 0 <= first < end <= header.nsamps:
            raise ConfigError(
                f"--time {times[0]:g} {times[1]:g}: {name} has times from 0 to {header.tobs:.9g} s: give two of them, "
                "the earlier first"
            )
    if end - first < step:
        raise ConfigError(f"--tscrunch {step}: there are {end - first} samples")
    return first, (end - first) // step


def _band(header: Header, freqs: tuple[float, float] | None, step: int, name: str) -> slice:
    """Channels that are taken, a multiple of `step`."""
    first, end = 0, header.nchans
    if freqs is not None:
        low, high = freqs
        # The last digits of a table of frequencies are rounded.
        slack = 1e-6 * header.chan_width
        inside = np.flatnonzero((header.freqs >= low - slack) & (header.freqs <= high + slack))
        if not inside.size:
            raise ConfigError(
                f"--freqs {low:g} {high:g}: no channel of {name} lies there: they go from {header.freqs[-1]:.9g} to "
                f"{header.freqs[0]:.9g} MHz"
            )
        first, end = int(inside[0]), int(inside[-1]) + 1
    if end - first < step:
        raise ConfigError(f"--fscrunch {step}: there are {end - first} channels")
    return slice(first, first + (end - first) // step * step)


def convert_files(
    paths: Sequence[Path | str],
    out: Path,
    config: InputConfig,
    extract: Extract,
    *,
    nbits: int | None = None,
    overwrite: bool = False,
    progress: Progress | None = None,
) -> str:
    """Write an observation, or a part of it, in another format or depth.

    Polarisations are summed as readers do. Samples stay as they are where the depth holds them. Where it does not each
    channel is scaled: its mean and standard deviation come to those that synthetic observations have at that depth
    (:data:`pulsar.synthesis.model.LEVELS`). PSRFITS keeps scales and offsets, and comes back in the units of the input.

    Parameters
    ----------
    paths : sequence of paths
        Files of one observation, which are joined; gaps are filled as readers do.
    out : Path
        Its ending says the format: :data:`FORMATS`.
    config : InputConfig
        Overrides of the headers.
    nbits : {1, 2, 4, 8, 16, 32}, optional
        Default: the fewest that hold the samples as they are; averages are floats.
    overwrite : bool
        Replace an existing file.

    Returns
    -------
    str
        Shape, depth and units of what was written, in words.

    Raises
    ------
    ConfigError
        The file exists, the format cannot hold the samples, or no sample is asked for.
    DataError
        The files cannot be read.
    """
    form = FORMATS.get(out.suffix.lower())
    if form is None:
        raise ConfigError(f"--out {out}: the ending says the format: {', '.join(FORMATS)}")
    progress = Progress("quiet") if progress is None else progress
    check_free(out, overwrite=overwrite)
    with open_observation(*paths, config=config) as obs:
        for problem in obs.problems:
            progress.warning(problem)
        extracted = Extracted(obs, extract)
        held = max(extracted.depth, 8) if form == "FBH5" else extracted.depth
        depth = held if nbits is None else nbits
        header = extracted.header.with_(nbits=depth, nifs=1)
        _check_format(form, out, header)
        check_packing(header.nchans, depth)
        check_free(out, overwrite=overwrite, nbytes=header.nsamps * header.nchans * depth / 8)
        with unchanged(obs):
            scale, offset = _scales(extracted, depth, progress) if depth < held else (None, None)
            with (
                _writer(form, out, header, extracted, scale, offset, overwrite) as writer,
                progress.stage("converting", header.nsamps, "samples") as tick,
            ):
                for data in (block.data for block in extracted.blocks(extracted.gulp)):
                    data[~extracted.chan_ok] = 0  # channels that the input itself masks
                    if scale is not None and offset is not None and form != "PSRFITS":
                        data = (data - offset[:, None]) / scale[:, None]
                        data[~extracted.chan_ok] = 0
                    writer.write(data)
                    tick(data.shape[1])
        return _summary(form, header, extracted, scale is not None, len(obs.gaps))


def _check_format(form: str, out: Path, header: Header) -> None:
    """Refuse what a format cannot say."""
    if form == "FBH5" and (header.nbits < 8 or header.freq_table is not None):
        kind = f"{header.nbits} bit" if header.nbits < 8 else "uneven channels"
        raise ConfigError(f"--out {out}: FBH5 has no {kind}: write .fil or .sf")
    if form == "PSRFITS" and (header.barycentric or header.pulsarcentric):
        raise ConfigError(f"--out {out}: PSRFITS cannot say that the data are barycentred: write .fil or .h5")


def _scales(extracted: Extracted, depth: int, progress: Progress) -> tuple[Float32s, Float32s]:
    """Scale and offset of each channel, shape (nchans,): a sample is code * scale + offset."""
    nsamps = extracted.header.nsamps
    # Fewest samples of such a piece: of its noise the standard error is 2 %.
    length = min(extracted.gulp, nsamps, max(1024, -(-nsamps // _MEASURED)))
    starts = np.unique(np.linspace(0, nsamps - length, min(_MEASURED, -(-nsamps // length))).astype(np.int64))
    measured = np.empty((2, len(starts), extracted.header.nchans))
    with progress.stage("measuring", len(starts), "pieces") as tick:
        for i, start in enumerate(starts.tolist()):
            data = extracted.read(start, length).data
            measured[:, i] = data.mean(axis=1, dtype=np.float64), data.std(axis=1, dtype=np.float64)
            tick(1)
    mean, sigma = np.median(np.nan_to_num(measured), axis=1)
    level, spread = LEVELS[depth]
    # A channel that does not vary has its mean everywhere.
    scale = np.where(sigma > 0.0, sigma / spread, 1.0)
    return scale.astype(np.float32), (mean - level * scale).astype(np.float32)


def _writer(
    form: str,
    out: Path,
    header: Header,
    extracted: Extracted,
    scale: Float32s | None,
    offset: Float32s | None,
    overwrite: bool,
) -> FilterbankWriter | PsrfitsWriter | Fbh5Writer:
    if form == "SIGPROC":
        return FilterbankWriter(out, header, nbits=header.nbits)
    if form == "FBH5":
        return Fbh5Writer(out, header, nbits=header.nbits, overwrite=overwrite)
    if scale is None and header.nbits == extracted.source.nbits == 16 and extracted.dtype == np.uint16:
        # Samples of 16 bit are signed in PSRFITS.
        offset = np.full(header.nchans, 32768.0, dtype=np.float32)
    weights = None if extracted.chan_ok.all() else extracted.chan_ok.astype(np.float32)
    return PsrfitsWriter(
        out,
        header,
        nbits=header.nbits,
        nsblk=_row_length(header),
        ascending=False,
        dat_scl=scale,
        dat_offs=offset,
        weights=weights,
    )


def _row_length(header: Header) -> int:
    """Samples of a row of PSRFITS: so many that the last is full, unless rows would be too short.

    What is missing in the last row are zero bytes, which readers leave out; in spectra of less than 8 bytes ours takes
    them for samples.
    """
    most = max(1, min(1024, header.nsamps, _PIECE // header.nchans))
    even = max(n for n in range(1, most + 1) if header.nsamps % n == 0)
    # Below 64 samples the header of a row, 20 bytes a channel, is more than a quarter of it at 8 bit.
    return even if even >= 64 or header.nchans * header.nbits < 64 else most


def _summary(form: str, header: Header, extracted: Extracted, scaled: bool, gaps: int) -> str:
    low, high = header.edges
    parts = [
        f"{form}, {header.nchans} channels from {low:.9g} to {high:.9g} MHz, {header.nsamps} samples of "
        f"{header.tsamp:.9g} s, {header.nbits} bit"
    ]
    if scaled:
        kept = "DAT_SCL and DAT_OFFS have the units of the input" if form == "PSRFITS" else "the units are lost"
        level, spread = LEVELS[header.nbits]
        parts.append(f"scaled in each channel to a mean of {level:g} and noise of {spread:.3g} ({kept})")
    elif extracted.averaged:
        parts.append("means of what was averaged")
    else:
        parts.append("samples as they are")
    if masked := int(np.count_nonzero(~extracted.chan_ok)):
        parts.append(f"{masked} masked channels {'have weight 0' if form == 'PSRFITS' else 'are 0'}")
    if gaps:
        parts.append(f"{gaps} gaps are filled with the means of channels")
    return "; ".join(parts)

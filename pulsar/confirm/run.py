"""Candidates in a new observation: the window of each searched, the best place folded, the answers written.

A window is searched in narrow bands about each harmonic, turned back by every acceleration, and matched.
"""

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from fractions import Fraction
from functools import lru_cache
from itertools import repeat
from math import isfinite, nan, sqrt
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from scipy import fft
from scipy.optimize import minimize

from pulsar.config.load import to_toml
from pulsar.config.model import Config
from pulsar.confirm.window import LOSS, SEEN_95, Sought, Window, box_of, of_list, of_product, window_of
from pulsar.constants import C
from pulsar.data.candidate import CANDIDATE_COLUMNS, empty_table
from pulsar.data.files import check_output
from pulsar.data.fold import Fold, FoldCube, FoldParams
from pulsar.data.header import Header
from pulsar.data.observation import Observation, unchanged
from pulsar.data.series import Lines
from pulsar.data.unfinished import output_lock
from pulsar.errors import ConfigError, DataError
from pulsar.folding.refine import refine
from pulsar.io.lists import is_list
from pulsar.io.product.provenance import Provenance
from pulsar.io.product.reader import Run, read
from pulsar.io.product.writer import ProductWriter, Target
from pulsar.pipeline.cleaning import Clean, cleaned, dms_of_series, lines_of, trial_series
from pulsar.pipeline.progress import Progress
from pulsar.pipeline.room import LEAST_MEMORY, Means
from pulsar.pipeline.samples import Samples
from pulsar.pipeline.start import opened
from pulsar.pipeline.write import fill_barycentre, fill_fold, fill_place
from pulsar.searches.amplitudes import MIN_BIN, PAD, Amplitudes, Lengths
from pulsar.sources.features import features
from pulsar.sources.score import score, scorer_of
from pulsar_kernels.arrays import Array, Complex64s, Complexes, Floats

#: Points of the grid that are made at a time.
PIECE: Final = 1 << 19
#: Phases of a turn that are tried, for each harmonic.
PHASES: Final = 8
#: The refined S/N over that of the best point of the grid at most: `LOSS` along both axes, and half a step of phase,
#: which loses (K / 2 pi)^2 (pi / PHASES nharm)^2 / 2 < 0.08 of it, K < 2 pi nharm.
GAINED: Final = 1.0 / (1.0 - 2.0 * LOSS - 0.08)


@dataclass(frozen=True)
class Peak:
    """The best place of a window."""

    snr: float  # Of the matched filter
    #: freq, fdot: at mid-observation [Hz, Hz/s].
    freq: float
    fdot: float
    dm: float  # [pc cm^-3]
    template: int  # Which of the window's
    near: bool  # Whether it is where the candidate is had nothing changed
    sigma: float  # Corrected for all that was tried


class SeriesAmplitudes:
    """The amplitudes of one series, in units of their noise.

    Parameters
    ----------
    series : ndarray, shape (nsamps,)
    tsamp : float
        [s]
    lines : sequence of (float, float)
        Frequencies and full widths [Hz] of interference that is left out.
    """

    def __init__(self, series: Array, tsamp: float, lines: Lines) -> None:
        lengths = Lengths(len(series), tsamp)
        self.span, self.tobs, self.nbins = lengths.span, lengths.tobs, lengths.nbins
        maker = _maker(len(series), tsamp)
        real, imag = np.zeros((2, lengths.nbins + 2 * PAD), dtype=np.float32)
        levels = maker.fill(series, lines, real, imag, np.zeros(max(lengths.work, 1) + 16, dtype=np.float32))
        #: Whether there is anything in it.
        self.varies = levels is not None
        if levels is not None:
            self._knots, self._levels = maker.noise.centres, levels
        self._real, self._imag = real, imag

    def band(self, middle: int, count: int) -> Complex64s:
        """White amplitudes of bins ``middle - count // 2`` on; 0 where there is none."""
        bins = middle - count // 2 + np.arange(count)
        inside = (bins >= MIN_BIN) & (bins < self.nbins)
        at = PAD + np.clip(bins, 0, self.nbins - 1)
        level = np.exp(np.interp(np.log(np.maximum(bins, 1)), self._knots, self._levels))
        return np.asarray((self._real[at] + 1j * self._imag[at]) * (inside / np.sqrt(level)), dtype=np.complex64)


@lru_cache(maxsize=1)
def _maker(nsamps: int, tsamp: float) -> Amplitudes:
    """All series of an observation are as long."""
    return Amplitudes(Lengths(nsamps, tsamp))


class HarmonicBands:
    """A window in one series: the harmonics as short series about the frequency that is expected.

    Parameters
    ----------
    dm : float
        [pc cm^-3]
    """

    def __init__(self, spectrum: SeriesAmplitudes, window: Window, dm: float) -> None:
        self.window, self.dm = window, dm
        span, nharm = spectrum.span, window.nharm
        reach = window.wide.freq + 0.5 * float(np.abs(window.fdots).max()) * spectrum.tobs
        # Bins beside a band, so that its ends are of no account.
        each = 2 * int(np.ceil(reach * span + 16))
        #: Points in frequency, the same of all harmonics, and from one to the next of the fundamental [Hz].
        self.npoints = int(fft.next_fast_len(max(nharm * each, int(np.ceil(each / (span * window.freq_step))))))
        self.step = each / (self.npoints * span)
        #: Of each harmonic: times from mid-observation [s], and the band at 0 frequency.
        self.times, self.series = [], []
        for k in range(1, nharm + 1):
            count = k * each
            middle = round(k * window.freq * span)
            series = fft.ifft(fft.ifftshift(spectrum.band(middle, count)))
            t = np.arange(count) * (span / count)
            series *= np.exp(-2j * np.pi * (k * window.freq - middle / span) * t)
            # Nothing but noise of the window is where there are no data.
            self.times.append(t - 0.5 * spectrum.tobs)
            self.series.append(series * count)
        half = int(np.ceil(window.wide.freq / self.step))
        self._at = np.arange(-half, half + 1)
        self.freqs: Floats = window.freq + self.step * self._at.astype(np.float64)

    def planes(self) -> Iterator[tuple[Floats, Complex64s]]:
        """Derivatives, and amplitudes of shape (nfdot, nfreq, nharm), a piece at a time.

        The phase of a pulse is another from one frequency to the next, and it is free.
        """
        fdots, nharm = self.window.fdots, self.window.nharm
        rows = max(PIECE // (self.npoints * nharm), 1)
        for lo in range(0, fdots.size, rows):
            some = fdots[lo : lo + rows]
            plane = np.empty((some.size, self._at.size, nharm), dtype=np.complex64)
            for k, (t, series) in enumerate(zip(self.times, self.series, strict=True), start=1):
                turned = series * np.exp(-1j * np.pi * k * some[:, None] * t**2)
                # The mean of the samples of a band: amplitudes as they are in the spectrum.
                lines = fft.fft(turned.astype(np.complex64), self.npoints, axis=1) / len(t)
                plane[:, :, k - 1] = lines[:, self._at]
            yield some, plane

    def best(self, least: float) -> list[Peak]:
        """The best place near that which is expected, and that in the whole window.

        Parameters
        ----------
        least : float
            Significance [sigma]: what cannot be more significant stays as the grid has it.
        """
        window = self.window
        best = {False: (0.0, 0, window.freq, window.fdot)}
        for fdots, plane in self.planes():
            near = np.stack([window.is_near(self.freqs, float(fdot), self.dm) for fdot in fdots])
            for number, template in enumerate(window.templates):
                product = plane[:, :, : len(template)] * np.conj(template).astype(np.complex64)
                bound = sqrt(2.0) * np.abs(product).sum(axis=2)
                for asked in (True, False):
                    before = best.get(asked, (0.0,))[0]
                    row, column, snr = _highest(product, np.where(near, bound, 0.0) if asked else bound, before)
                    if snr > before:
                        best[asked] = snr, number, float(self.freqs[column]), float(fdots[row])
        peaks = [
            Peak(snr, freq, fdot, self.dm, number, near, window.sigma(snr, near=near))
            for near, (snr, number, freq, fdot) in best.items()
        ]
        return [
            self._refined(peak) if window.sigma(GAINED * peak.snr, near=peak.near) > least else peak for peak in peaks
        ]

    def _refined(self, peak: Peak) -> Peak:
        """The peak beside a point of the grid."""
        window, template, freq, fdot = self.window, self.window.templates[peak.template], peak.freq, peak.fdot
        steps = 0.5 * np.array([window.freq_step, window.fdot_step if window.fdots.size > 1 else 0.0])

        def place(x: Floats) -> tuple[float, float]:
            x = np.clip(x, -1.0, 1.0) * steps
            most = max(window.wide.fdot, abs(fdot))
            return freq + float(x[0]), float(np.clip(fdot + x[1], -most, most))

        def lost(x: Floats) -> float:
            return -self.snr(template, *place(x))

        corners = np.array([[0.0, 0.0], [0.5, 0.0], [0.0, 0.5]])
        highest = minimize(
            lost, np.zeros(2), method="Nelder-Mead",
            options={"initial_simplex": corners, "xatol": 0.05, "fatol": 1e-3, "maxfev": 40}
        )  # fmt: skip
        # The grid itself has the coarser phases of the two.
        snr = max(peak.snr, -float(highest.fun))
        return Peak(snr, *place(highest.x), self.dm, peak.template, peak.near, window.sigma(snr, near=peak.near))

    def snr(self, template: Complexes, freq: float, fdot: float) -> float:
        """Matched S/N at one place, at the best phase."""
        away = freq - self.window.freq
        lines = [
            np.mean(series * np.exp(-2j * np.pi * k * (away * t + 0.5 * fdot * t**2)))
            for k, (t, series) in enumerate(zip(self.times[: len(template)], self.series, strict=False), start=1)
        ]
        return float(_phased(np.conj(template) * np.array(lines), 4 * PHASES))


def best_peak(spectrum: SeriesAmplitudes, window: Window, dm: float, least: float) -> Peak:
    """The most significant place of a window in one series.

    Parameters
    ----------
    dm : float
        Of the series [pc cm^-3].
    least : float
        As :meth:`HarmonicBands.best`.
    """
    return max(HarmonicBands(spectrum, window, dm).best(least), key=lambda peak: peak.sigma)


def _highest(product: Complex64s, bound: NDArray[np.floating[Any]], least: float) -> tuple[int, int, float]:
    """Row, column and S/N of the highest point of a plane; nothing below `least`, which bounds cannot exceed."""
    order = np.argsort(-bound, axis=None)
    best = (0, 0, least)
    size = max(PIECE // (PHASES * product.shape[2]), 1)
    for lo in range(0, order.size, size):
        at = order[lo : lo + size]
        at = at[bound.flat[at] > best[2]]
        if not at.size:
            break
        snr = _phased(product.reshape(-1, product.shape[2])[at], PHASES)
        i = int(np.argmax(snr))
        if snr[i] > best[2]:
            row, column = divmod(int(at[i]), bound.shape[1])
            best = row, column, float(snr[i])
    return best


def _phased(product: Array, phases: int) -> Array:
    """The sum of amplitudes over harmonics at its best phase, in units of its noise."""
    nharm = product.shape[-1]
    count = phases * nharm
    spectrum = np.concatenate([np.zeros((*product.shape[:-1], 1), dtype=product.dtype), product], axis=-1)
    return np.asarray(fft.irfft(spectrum, count, axis=-1).max(axis=-1) * (count / sqrt(2.0)))


#: Turns in the data, and samples in a turn, that a candidate has at least.
LEAST_TURNS: Final = 4
LEAST_SAMPLES: Final = 4
#: Largest number in the ratio of two frequencies by which one may be seen at the other.
MOST_RATIO: Final = 8


@dataclass(frozen=True, eq=False)
class Followed:
    """A candidate, its window, and what is best there."""

    window: Window
    peak: Peak
    fold: Fold


def follow(
    source: Path,
    paths: Sequence[Path | str],
    target: Target,
    config: Config = Config(),
    *,
    idents: Sequence[str] = (),
    least_score: float | None = None,
    progress: Progress | None = None,
) -> Run:
    """Look for candidates in a new observation, and write what is found.

    Parameters
    ----------
    source : Path
        Product of a search, or a list of candidates (csv, ECSV).
    paths : sequence of paths
        Files of the new observation, or its series.
    target : Target
        Product to write.
    config : Config, optional
        Its sections `input`, `rfi`, `sift`, `fold`, `follow` and `run` are used.
    idents : sequence of str
        Names of candidates; by default those of a product that were judged as pulsars, or stand for themselves.
    least_score : float, optional
        Of a product those of this score or more.

    Returns
    -------
    Run
        The product; its table ``confirm/answers`` has a row for each candidate.

    Raises
    ------
    ConfigError
        The output exists, or there is no candidate to look for.
    DataError
        The files cannot be read.
    """
    progress = Progress("quiet") if progress is None else progress
    out = check_output(target.path, overwrite=target.overwrite)
    with output_lock(out, "pulsar follow"), opened(paths, config, progress) as obs:
        if not is_list(source):
            known = of_product(read(source), idents, least_score)
        elif least_score is None:
            known = of_list(source, obs.header.tmid, idents)
        else:
            raise ConfigError(f"{source}: a list has no scores: --score goes with a product")
        means = Means.of(config, obs, progress, out)
        provenance = Provenance(
            target.argv, [source, *(file.path for file in obs.files)], to_toml(config), means.threads
        )
        clean = cleaned(obs, config, means)
        windows = _windows(known, obs, clean, config, progress)
        peaks = _searched(obs, clean, windows, config, means)
        params = [FoldParams(peak.freq, peak.fdot, peak.dm) for peak in peaks]
        lines = [(line.freq, line.width) for line in clean.birdies]
        with unchanged(obs):
            cubes = Samples(obs, clean.source).cubes(params, config.fold, means)
        folds = [
            _measured(cube, window, search_dm=not obs.header.is_series, lines=lines)
            for cube, window in zip(cubes, windows, strict=True)
        ]
        followed = sorted(map(Followed, windows, peaks, folds), key=lambda entry: -entry.peak.sigma)
        _write(target, obs, clean, followed, config, provenance.record(progress.times))
    return read(out)


def _windows(
    known: Sequence[Sought], obs: Observation, clean: Clean, config: Config, progress: Progress
) -> list[Window]:
    """The windows of all candidates that the data can show; the others are named."""
    header = obs.header
    series = dms_of_series(obs) if header.is_series else None
    windows, left = [], []
    for entry in known:
        if entry.freq * header.tobs < LEAST_TURNS:
            left.append(f"{entry.ident}: not {LEAST_TURNS} turns in the data")
        elif entry.freq * header.tsamp * LEAST_SAMPLES > 1.0:
            left.append(f"{entry.ident}: not {LEAST_SAMPLES} samples in a turn")
        elif (window := window_of(entry, header, clean.freqs, config, series)).dms.size:
            windows.append(window)
        else:
            left.append(f"{entry.ident}: no series near DM {entry.dm:g}")
    if not windows:
        raise ConfigError(f"{obs.files[0].path}: nothing can be looked for in it: {'; '.join(left)}")
    if left:
        progress.warning(f"not looked for: {'; '.join(left)}")
    return windows


def _searched(obs: Observation, clean: Clean, windows: Sequence[Window], config: Config, means: Means) -> list[Peak]:
    """The best peak of each window."""
    header = obs.header
    dms = np.unique(np.concatenate([window.dms for window in windows]))
    highest = max(window.nharm * (window.freq + window.wide.freq) for window in windows)
    # Samples of a cycle of the highest harmonic: the sum of samples loses 2.6 % of that harmonic, and less of the
    # others.
    most = 1.0 / (8 * highest * header.tsamp)
    downsample = 1 if header.is_series else 1 << max(int(np.log2(max(most, 1.0))), 0)
    # The spectrum of a series, by its samples, and threads that search windows.
    taken = 24 * (header.nsamps // downsample) + (64 << 20) * means.threads
    left = replace(means, memory=max(means.memory - taken, LEAST_MEMORY))
    best: dict[int, Peak] = {}
    with (
        means.progress.stage("search", dms.size, "DMs") as tick,
        ThreadPoolExecutor(means.threads, thread_name_prefix="follow") as pool,
    ):
        for index, series in trial_series(obs, clean, dms, left, downsample=downsample, tick=tick):
            dm, tsamp = float(dms[index]), header.tsamp * downsample
            lines = lines_of(obs, clean, series, config)
            spectrum = SeriesAmplitudes(np.ascontiguousarray(series), tsamp, lines)
            if not spectrum.varies:
                raise DataError(f"{obs.files[0].path}: the series at DM {dm:g} does not vary: is everything masked?")
            own = [i for i, window in enumerate(windows) if dm in window.dms]
            least = [max(best[i].sigma if i in best else -np.inf, config.follow.threshold - 1.0) for i in own]
            peaks = pool.map(best_peak, repeat(spectrum), [windows[i] for i in own], repeat(dm), least)
            for i, peak in zip(own, peaks, strict=True):
                best[i] = peak if i not in best else max(best[i], peak, key=lambda peak: peak.sigma)
    return [best[i] for i in range(len(windows))]


def _measured(cube: FoldCube, window: Window, *, search_dm: bool, lines: Lines) -> Fold:
    """A refined fold; an acceleration that these data tell less well than the window is wide stays as it is."""
    fold = refine(cube, search_dm=search_dm, lines=lines)
    if fold.fdot_err < window.wide.fdot:
        return fold
    return refine(cube, search_dm=search_dm, search_fdot=False, lines=lines)


def answer_row(
    followed: Followed, stronger: Sequence[Followed], header: Header, clean: Clean, config: Config
) -> tuple[Any, ...]:
    """A row of the table of answers.

    Parameters
    ----------
    stronger : sequence of Followed
        Those of more significance.
    header : Header
        Of the new observation.
    """
    window, peak, fold = followed.window, followed.peak, followed.fold
    sought = window.sought
    yes = peak.sigma >= config.follow.threshold
    old = sought.tobs * sought.bandwidth
    new = header.tobs * clean.bandwidth
    expected = sought.snr * sqrt(new / old) if isfinite(old) and isfinite(new) and old > 0 else nan
    limit = box_of(sought.typical)[0] * (window.least_snr(config.follow.threshold) + SEEN_95)
    remarks = _remarks(followed, clean, nan if yes else expected, limit)
    remarks += _doubts(followed, stronger) if yes else ()
    return (
        *(sought.ident, "yes" if yes else "no", peak.sigma, not peak.near, peak.snr, fold.snr),
        *(expected, fold.snr / expected if yes else nan, limit, window.freq, window.wide.freq),
        *(window.wide.fdot * C / window.freq, window.dms[0], window.dms[-1], window.dms.size, window.nharm),
        (1.0 - fold.after.freq / window.freq) * C / 1e3 if yes else nan,
        "; ".join(remarks),
    )


def _doubts(followed: Followed, stronger: Sequence[Followed]) -> Iterator[str]:
    """Doubts of a yes: it may be interference, or a harmonic of one whose frequency is in a ratio of small numbers."""
    freq, tobs = followed.fold.after.freq, followed.fold.tobs
    if followed.fold.extra["snr_dm0"] > followed.fold.snr:
        yield f"stronger at DM 0 (S/N {followed.fold.extra['snr_dm0']:.1f}): interference?"
    for head in stronger:
        ratio = Fraction(freq / head.fold.after.freq).limit_denominator(MOST_RATIO)
        off = abs(freq - float(ratio) * head.fold.after.freq) * tobs
        if 0 < ratio <= MOST_RATIO and off < 1.0:
            yield f"{ratio} of the frequency of {head.window.sought.ident}: its harmonics?"


def _remarks(followed: Followed, clean: Clean, expected: float, limit: float) -> list[str]:
    """Limits of an answer: lines that were left out, harmonics, and less S/N expected than seen."""
    window = followed.window
    remarks = []
    for line in clean.birdies:
        k = max(round(line.freq / window.freq), 1)
        if k <= window.nharm and abs(line.freq - k * window.freq) <= k * window.wide.freq + 0.5 * line.width:
            remarks.append(f"a line of interference at {line.freq:.6g} Hz (harmonic {k}) was left out")
    if window.nharm < max(map(len, window.sought.templates)):
        remarks.append(f"harmonics above {window.nharm} were not searched")
    if expected < limit:
        remarks.append(f"as faint as S/N {expected:.1f} it may be there")
    return remarks


def _write(
    target: Target, obs: Observation, clean: Clean, followed: Sequence[Followed], config: Config, record: dict[str, Any]
) -> None:
    """The product, whole or not at all."""
    scorer = scorer_of(config.sift.weights)
    table = empty_table(CANDIDATE_COLUMNS, len(followed))
    answers = [answer_row(entry, followed[:i], obs.header, clean, config) for i, entry in enumerate(followed)]
    for rank, (row, entry, answer) in enumerate(zip(table, followed, answers, strict=True), start=1):
        fill_place(row, obs.header)
        fill_fold(row, entry.fold)
        row["rank"], row["id"], row["kind"], row["found_by"] = rank, entry.window.sought.ident, "fold", "follow"
        row["dm_detected"], row["nharm"] = entry.peak.dm, entry.window.nharm
        row["sigma"], row["sigma_single"] = entry.peak.sigma, entry.peak.snr
        row["score"] = score(features(entry.fold, sigma=entry.peak.sigma), scorer)
        row["reasons"] = f"in the new observation: {answer[1]}, {entry.peak.sigma:.1f} sigma"
    fill_barycentre(table, obs.header)
    with ProductWriter(target.path, overwrite=target.overwrite) as writer:
        writer.observation(obs.header, obs.files, obs.gaps, obs.problems)
        writer.table("candidates", table)
        writer.table("confirm/answers", answers)
        for entry in followed:
            writer.fold(entry.window.sought.ident, entry.fold)
        writer.table("rfi/birdies", [])
        writer.provenance(record)

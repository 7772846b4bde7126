"""Detections at a period, the rows that have them, and the limits that kept it off the list."""

from collections.abc import Callable, Iterator, Sequence
from typing import Any, Final

import numpy as np

from pulsar.config.model import Config
from pulsar.data.candidate import DETECTION_COLUMNS, dtype_of
from pulsar.data.flags import BY_NAME, split
from pulsar.data.header import Header, Part, band_delay
from pulsar.data.text import duty_cycle
from pulsar.dedisp.plan import DMStage, halvings, make_plan, stretches
from pulsar.errors import ConfigError, DataError
from pulsar.io.product.reader import Run
from pulsar_kernels.arrays import Array, Bools, Floats, Ints

#: Detections this close to the frequency asked for are at it [bins of 1/T], and no further off than a part of it: of
#: few turns a bin is wide.
BINS: Final = 1.5
PART: Final = 0.05
#: Without any so close, the strongest within this part of it is told: the period may be known to few digits.
NEAR: Final = 0.01
#: Ratios that are looked at: largest multiple and divisor.
MULTIPLE: Final = 16
DIVISOR: Final = 8
#: Related groups that are told, the most significant.
MOST: Final = 8


def periodic_rows(run: Run, freq: float, dm: float | None, name: Callable[[Any], str]) -> Iterator[str]:
    """The rows of a merged list at a frequency.

    Parameters
    ----------
    freq : float
        [Hz]
    dm : float or None
        [pc cm^-3]; None: any.
    name : callable
        Tells the observation of a row.
    """
    rows = run.rows("candidates")
    each = (_near(_of_rows(rows[i : i + 1]), freq, run.observation_of(row)) for i, row in enumerate(rows))
    matches = closest(rows[np.concatenate([np.zeros(0, dtype=np.bool_), *each])], dm)
    yield "on the merged list at this frequency:" if matches.size else "nothing on the merged list at this frequency"
    for row in matches[:MOST]:
        yield f"  {row_text(row)}"
        beams = f", in {row['nbeams']} beams" if row["nbeams"] > 1 else ""
        times = f", seen at {row['nseen']} times (chance {row['chance']:.1e})" if row["nseen"] > 1 else ""
        yield f"    from {name(row)}{beams}{times}{_belongs(row, rows)}"
        explained = np.isfinite(row["chance"]) or "terrestrial" in row["rfi_flags"]
        if explained and not row["harmonic_of"]:
            yield f"    {row['reasons']}"
    if matches.size > MOST:
        yield f"  and {matches.size - MOST} more rows"


def closest(rows: Array, dm: float | None) -> Array:
    """Those of the nearest DM first, where one is asked for."""
    return rows if dm is None else rows[np.argsort(np.abs(rows["dm"] - dm), kind="stable")]


def is_fold(run: Run) -> bool:
    """True for a product of `pulsar fold`, which does not search."""
    return set(run.rows("candidates")["kind"].tolist()) == {"fold"}


def _of_rows(rows: Array) -> Array:
    """Rows of candidates in the columns of detections."""
    out = np.zeros(len(rows), dtype=dtype_of(DETECTION_COLUMNS))
    for column in ("freq", "fdot", "nharm", "sigma", "sigma_single", "kind", "uid", "parent", "relation", "part"):
        out[column] = rows[column]
    out["dm"] = np.where(np.isfinite(rows["dm"]), rows["dm"], rows["dm_detected"])
    # A row of a fold that was asked for has no name for good, but one in its file.
    out["uid"] = np.where(out["uid"] == "", rows["id"], out["uid"])
    return out


def _near(detections: Array, freq: float, header: Header) -> Bools:
    """True for detections at a frequency."""
    off = np.abs(detections["freq"] - freq)
    # A part of the observation has wider bins.
    counts = np.array([Part.of_label(label).count for label in detections["part"].tolist()], dtype=np.float64)
    reach = np.minimum(BINS * counts / header.tobs, PART * freq) if header.tobs > 0 else PART * freq
    return np.asarray(off <= reach)


class Detections:
    """The detections of the product of one observation (or what the list has of them) beside a frequency and a DM.

    Parameters
    ----------
    freq : float
        [Hz]
    dm : float or None
        [pc cm^-3]; None: any.

    Raises
    ------
    DataError
        The product does not tell whose the detections are.
    """

    def __init__(self, run: Run, freq: float, dm: float | None) -> None:
        self._run, self._freq, self._dm = run, freq, dm
        self._header, self._rows = run.observation, run.rows("candidates")
        detections = run.rows("detections")
        self._kept = bool(detections.size or not self._rows.size)
        if not detections.size:
            detections = _of_rows(self._rows)
        elif "uid" not in (detections.dtype.names or ()) or not (detections["uid"] != "").any():
            raise DataError(
                f"{run.path}: does not say whose its detections are; search the data again with this version"
            )
        self.table: Array = detections

    def best_sigma(self) -> float:
        """Significance of the strongest at the frequency, 0 where there is none."""
        sigmas = self.table["sigma"][self.reaching(self.near(self._freq))]
        return float(np.nanmax(sigmas)) if np.isfinite(sigmas).any() else 0.0

    def lines(self, config: Config) -> Iterator[str]:
        """All that they tell, of a product that was made with this configuration."""
        if is_fold(self._run):
            yield "a product of `pulsar fold`: nothing was searched, and only what was asked for was folded"
            yield from self._at(self._freq, "folded at this frequency")
            return
        if not self._kept:
            yield "the detections were not kept (output.detections): what the list has is told"
        near = self.near(self._freq)
        at_dm = self.reaching(near)
        yield from self._detection_lines(
            "detected at this frequency" if self._kept else "on the list at this frequency", near
        )
        yield from self._moved(near)
        if not near.any():
            listed = "" if self._kept else " that is on the list"
            yield f"no search had a detection above its threshold at this frequency{listed}"
            yield from self._nearest()
        elif not at_dm.any():
            yield f"none of them reaches DM {self._dm:g}: no search had a detection above its threshold there"
        if not at_dm.any():
            yield from self._mirrored()
            yield from _limits(self._run, config, self._header, self._freq, self._dm)
        ratio, m, d = _ratios(self.table["freq"], self._freq, self._header.tobs)
        related = ~near & ratio
        ratios = [f" at {a}/{b}" for a, b in zip(m[related], d[related], strict=True)]
        yield from self._detection_lines("detected at simple ratios of it", related, ratios)
        yield from _lines(self._run, self._header, self._freq)

    def near(self, freq: float) -> Bools:
        """True for those at a frequency."""
        return _near(self.table, freq, self._header)

    def reaching(self, near: Bools) -> Bools:
        """True for those of `near` that are of a group whose DMs reach the one asked for.

        A group was seen from its lowest to its highest DM; where a turn of its highest harmonic is smeared over the
        band beyond these it would not be seen any more, however strong.
        """
        out, detections, header = near.copy(), self.table, self._header
        across = band_delay(header.freqs)
        if self._dm is None or header.is_series or not across > 0:
            return out
        for uid in dict.fromkeys(detections["uid"][near].tolist()):
            rows = detections["uid"] == uid
            best = detections[rows][int(np.argmax(detections["sigma"][rows]))]
            room = 1.0 / (float(best["freq"]) * max(int(best["nharm"]), 1) * across)
            out[rows] &= detections["dm"][rows].min() - room <= self._dm <= detections["dm"][rows].max() + room
        return out

    def _at(self, freq: float, title: str) -> Iterator[str]:
        near = self.near(freq)
        if not near.any():
            yield f"nothing {title}"
        yield from self._detection_lines(title, near, freq=freq)

    def _detection_lines(
        self, title: str, rows: Bools, ratios: Sequence[str] = (), freq: float | None = None
    ) -> Iterator[str]:
        """Groups of detections, the most significant first, and the row that has each."""
        detections, freq = self.table[rows], self._freq if freq is None else freq
        if not detections.size:
            return
        best: dict[str, int] = {}
        for i in np.argsort(-detections["sigma"]):
            best.setdefault(str(detections["uid"][i]), int(i))
        order = list(best.items())
        if self._dm is not None and freq == self._freq:
            # What is nearest in DM first, by the range in which each group was seen.
            spread = {uid: np.ptp(detections["dm"][detections["uid"] == uid]) for uid in best}
            off = {uid: abs(float(detections["dm"][i]) - self._dm) - spread[uid] for uid, i in order}
            order.sort(key=lambda pair: max(off[pair[0]], 0.0))
        yield f"{title}:"
        for uid, i in order[:MOST]:
            detection, of_source = detections[i], detections[detections["uid"] == uid]
            of_source = of_source[np.argsort(-of_source["sigma"], kind="stable")]
            kinds = ", ".join(dict.fromkeys(of_source["kind"].tolist()))
            where = ", ".join(dict.fromkeys(label or "the whole" for label in of_source["part"].tolist()))
            where = "" if where == "the whole" else f" in {where}"
            bins = "" if ratios else f", {1e6 * (detection['freq'] / freq - 1):+.3g} ppm"
            # What was only folded has no significance.
            harmonics = f"{detection['sigma']:.1f} sigma of {detection['nharm']} harmonics"
            seen = f", {harmonics} by {kinds}{where}; {of_source.size} detections"
            yield (
                f"  {uid}{ratios[i] if ratios else ''}: P {1 / detection['freq']:.9g} s{bins}, "
                f"DM {detection['dm']:.5g} ({of_source['dm'].min():.5g} to {of_source['dm'].max():.5g})"
                f"{seen if np.isfinite(detection['sigma']) else ''}"
            )
            yield f"    {self._holder(detection)}"
        if len(order) > MOST:
            yield f"  and {len(order) - MOST} weaker groups"

    def _moved(self, near: Bools) -> Iterator[str]:
        """Rows that are folded at the frequency, and were detected at another: a multiple of their period, say."""
        listed = _of_rows(self._rows)
        elsewhere = _near(listed, self._freq, self._header) & ~np.isin(listed["uid"], self.table["uid"][near])
        for row in self._rows[elsewhere]:
            group = self.table[self.table["uid"] == row["uid"]]
            if not group.size:
                continue
            best = group[int(np.argmax(group["sigma"]))]
            yield (
                f"folded at this frequency, but detected at P {1 / best['freq']:.9g} s, DM {best['dm']:.5g}, "
                f"{best['sigma']:.1f} sigma of {best['nharm']} harmonics by {best['kind']}:"
            )
            yield f"  {row_text(row)}{_belongs(row, self._rows)}"

    def _holder(self, detection: Any) -> str:
        """The row of the list that has a detection, and on what evidence."""
        rows, uid, parent = self._rows, str(detection["uid"]), str(detection["parent"])
        listed, owner = rows[(rows["uid"] == uid) | (rows["id"] == uid)], rows[rows["uid"] == parent]
        if not parent:
            left_out = f"is not on the list: {detection['relation'] or 'left out'}"
            return f"is {row_text(listed[0])}" if listed.size else left_out
        name = row_text(owner[0]) if owner.size else f"candidate {parent}, which is not on the list"
        reason = f": {listed[0]['reasons']}" if listed.size and listed[0]["reasons"] else ""
        missing = "" if listed.size else " (no row of its own: of what belongs to others the list has the strongest)"
        return f"belongs to {name}, as {detection['relation']}{missing}{reason}"

    def _nearest(self) -> Iterator[str]:
        """The strongest detection not far off: a period may be known to few digits, or drift."""
        around = self.table[np.abs(self.table["freq"] / self._freq - 1.0) <= NEAR]
        if around.size:
            best = around[int(np.argmax(around["sigma"]))]
            bins = abs(float(best["freq"]) - self._freq) * self._header.tobs
            yield (
                f"  the strongest within {100 * NEAR:g} % is {best['uid']}: P {1 / best['freq']:.9g} s, {bins:.1f} "
                f"bins of 1/T away, DM {best['dm']:.5g}, {best['sigma']:.1f} sigma"
            )
            yield f"    {self._holder(best)}"

    def _mirrored(self) -> Iterator[str]:
        """The frequency as which one above the Nyquist frequency would be seen."""
        freq, tsamp = self._freq, self._header.tsamp
        if freq <= 0.5 / tsamp:
            return
        seen = abs(freq - round(freq * tsamp) / tsamp)
        yield (
            f"  it is above the Nyquist frequency of the data, {0.5 / tsamp:.6g} Hz: what is left of it there is "
            f"mirrored to {seen:.9g} Hz"
        )
        if seen * self._header.tobs > 1.0:
            yield from (f"  {line}" for line in self._at(seen, "detected at the mirrored frequency"))


def _belongs(row: Any, rows: Array) -> str:
    """To which row of a merged list another one belongs, and on what evidence."""
    owner = rows[rows["id"] == row["harmonic_of"]] if row["harmonic_of"] else rows[:0]
    if not owner.size:
        return ""
    reason = f": {row['reasons']}" if row["reasons"] else ""
    return f"; belongs to row {owner[0]['rank']} ({owner[0]['id']}), as {row['relation'] or 'harmonic'}{reason}"


def row_text(row: Any) -> str:
    """A row of candidates in words: its place, values, score and flags."""
    texts = flag_texts(row)
    # Nothing of a stack is folded.
    judged = f"score {row['score']:.2f}" if np.isfinite(row["score"]) else "no score"
    cause = " (fold.ncands)" if np.isfinite(row["score"]) else ""
    duty = duty_cycle(row["width"], row["width_err"])
    folded = f"folded S/N {row['snr']:.1f}, duty {duty}" if np.isfinite(row["snr"]) else f"not folded{cause}"
    alternative = f", or {row['period_alt']:.9g} s" if np.isfinite(row["period_alt"]) else ""
    known = f", {row['known_source']}" if row["known_source"] else ""
    if row["part"]:
        end = row["part_start"] + row["part_duration"]
        folded += f" over part {row['part']}, {row['part_start']:.5g} to {end:.5g} s"
    return (
        f"row {row['rank']} ({row['id']}{known}): P {row['period']:.9g} s{alternative}, DM {row['dm']:.5g}, {folded}, "
        f"{judged}" + (f"; flags: {', '.join(texts)}" if texts else "")
    )


def flag_texts(row: Any) -> list[str]:
    """The flags of a row, each with what it means."""
    flags = split(str(row["rfi_flags"]))
    return [f"{flag} ({BY_NAME[flag].text})" if flag in BY_NAME else flag for flag in flags]


def _ratios(freqs: Floats, freq: float, tobs: float) -> tuple[Bools, Ints, Ints]:
    """True for frequencies that are m/d times the one asked for, and the smallest such m and d."""
    simple = np.zeros(freqs.size, dtype=np.bool_)
    m, d = np.zeros(freqs.size, dtype=np.int64), np.ones(freqs.size, dtype=np.int64)
    for divisor in range(1, DIVISOR + 1):
        multiple = np.round(freqs * divisor / freq)
        exact = multiple * freq / divisor
        off = np.abs(freqs - exact)
        # The frequency asked for is known to a part of a bin only, and so are its multiples.
        close = (off * tobs <= 0.5 * np.maximum(multiple / divisor, 1.0)) & (off <= PART * exact)
        close &= ~simple & (multiple >= 1) & (multiple <= MULTIPLE)
        m[close], d[close] = multiple[close].astype(np.int64), divisor
        simple |= close
    return simple, m, d


def _limits(run: Run, config: Config, header: Header, freq: float, dm: float | None) -> Iterator[str]:
    """The thresholds and ranges that kept it off."""
    from pulsar.searches.registry import SEARCHES

    detections = run.rows("detections")
    stage, times = (None, 0) if dm is None or header.is_series else _stage(run, config, header, dm)
    tsamp = header.tsamp if stage is None else stage.tsamp
    fewer = tsamp * 2.0**times
    if dm is not None and not header.is_series and not config.dedisp.dm_lo <= dm <= config.dedisp.dm_hi:
        yield f"  {dm_range(config, dm)}"
    if stage is not None and 0.5 / tsamp < freq <= 0.5 / header.tsamp:
        yield (
            f"  at DM {dm:g} the series are downsampled {stage.downsample} times, since channels smear pulses: their "
            f"Nyquist frequency is {0.5 / tsamp:.6g} Hz (dedisp.max_downsample)"
        )
    elif 0.5 / fewer < freq <= 0.5 / tsamp:
        yield (
            f"  at DM {dm:g} periods are searched in samples of {1e6 * fewer:.4g} us, since channels smear pulses: "
            f"their Nyquist frequency is {0.5 / fewer:.6g} Hz (search.loss)"
        )
    accel = config.accel
    for search in SEARCHES:
        if not search.periodic:
            continue
        kind, section = search.name, search.settings(config, header.tobs)
        low, high = search.periods(header.tobs, fewer if search.spectral else tsamp, section)
        threshold, most = search.threshold(section), section.max_detections
        if not section.enabled:
            yield f"  {kind}: was switched off"
        elif not low <= 1.0 / freq <= high:
            yield f"  {kind}: searched periods from {low:.4g} to {high:.4g} s only ({kind}.p_min, {kind}.p_max)"
        else:
            of_kind = detections[detections["kind"] == kind]
            needed = _single_threshold(of_kind, threshold)
            text = f", about {needed:.1f} in a single trial" if np.isfinite(needed) else ""
            yield f"  {kind}: nothing above its threshold of {threshold:g} sigma{text} ({kind}.threshold)"
            if search.drifts and accel.loss > 0.0 and not header.is_series:
                yield (
                    f"  accel: with a drift up to the harmonics that pulsars of {1e3 * accel.p_fast:g} ms need, in as "
                    f"many DMs as keep all but {100 * accel.loss:g} % of their S/N (accel.p_fast, accel.loss)"
                )
            full = 0 if not of_kind.size else int(np.max(np.bincount(of_kind["dm_index"])))
            if full >= most:
                yield f"  {kind}: some DMs have as many detections as are kept ({kind}.max_detections = {full})"
    pulses = "no period of repeating single pulses" if config.single_pulse.enabled else "was switched off"
    yield f"  pulses: {pulses}"
    masked = float(run.rfi.get("masked_fraction", 0.0))
    if masked >= 0.01:
        yield f"  {100 * masked:.2g} % of the data are masked"


def _stage(run: Run, config: Config, header: Header, dm: float) -> tuple[DMStage | None, int]:
    """Trials of the DM plan alike the one at a DM, None where that cannot be told, and how often they are halved."""
    try:
        plan = make_plan(header, config.dedisp, freqs=live_channels(run, header))
    except (ConfigError, ValueError):
        return None, 0
    reaching = [stretch for stretch in stretches(plan, halvings(plan, config)) if stretch[0].dm_first <= dm]
    return reaching[-1] if reaching and dm <= config.dedisp.dm_hi else (None, 0)


def live_channels(run: Run, header: Header) -> Floats:
    """Frequencies of the channels that were not masked [MHz]; all of them where the product does not tell."""
    freqs, masked = run.rfi.get("freqs"), run.rfi.get("chan_mask")
    if freqs is None or masked is None or masked.all():
        return header.freqs
    return np.asarray(freqs[~masked], dtype=np.float64)


def dm_range(config: Config, dm: float) -> str:
    """That a DM was not searched."""
    end = "dm_lo" if dm < config.dedisp.dm_lo else "dm_hi"
    return f"DM {dm:g} was not searched: {config.dedisp.dm_lo:g} to {config.dedisp.dm_hi:g} were (dedisp.{end})"


def _single_threshold(detections: Array, threshold: float) -> float:
    """Single-trial significance that the trial-corrected threshold means, with the trials of the weakest detection."""
    from pulsar.searches.stats import expected_from_sigma, sigma_from_logp

    if not detections.size:
        return float("nan")
    weakest = detections[int(np.argmin(detections["sigma"]))]
    # With N trials of probability p as many chance events are expected as its corrected significance says.
    trials = np.log(expected_from_sigma(float(weakest["sigma"]))) - float(weakest["logp"])
    return float(sigma_from_logp(np.log(expected_from_sigma(threshold)) - trials))


def _lines(run: Run, header: Header, freq: float) -> Iterator[str]:
    """Lines of interference that were left out at the frequency or its harmonics."""
    lines = run.rows("rfi/birdies")
    if not lines.size:
        return
    # Harmonics whose lines are looked up among what was left out.
    most = min(16, int(0.5 / (header.tsamp * freq)))
    hit = {
        k: f"{line['freq']:.6g} Hz, {line['reason']}"
        for k in range(1, most + 1)
        for line in lines
        if abs(k * freq - line["freq"]) <= 0.5 * line["width"] + 0.5 / header.tobs
    }
    if hit:
        numbers = ", ".join(f"{k} ({reason})" for k, reason in hit.items())
        yield f"left out of the spectra as interference: of its first {most} harmonics number {numbers}"

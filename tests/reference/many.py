"""A product of as many candidates as one likes, from that of a real run, written by the program's own writer."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pulsar.data.candidate import CANDIDATE_COLUMNS, dtype_of
from pulsar.data.fold import Fold, FoldParams
from pulsar.io.product.reader import Run
from pulsar.io.product.writer import ProductWriter


def many(
    run: Run, path: Path, count: int, *, belonging: int = 3, pulses: int = 200, folded: int | None = None, seed: int = 1
) -> Path:
    """Repeat the folded candidates of a run with other periods and DMs, and its pulses at other times.

    Parameters
    ----------
    run : Run
        Of one observation.
    path : Path
        Product to write.
    count : int
        Candidates that stand for themselves.
    belonging : int
        Rows that belong to each of them.
    pulses : int
        Single pulses, the first of which have their surroundings.
    folded : int, optional
        Folds that are written, of the first candidates; None: all.
    seed : int
    """
    rng = np.random.default_rng(seed)
    stored = run.rows("candidates")
    known = {str(row["id"]): row for row in stored}
    models = [(known[ident], run.fold(ident)) for ident in run.ids]
    table = np.zeros(count * (1 + belonging), dtype=dtype_of(CANDIDATE_COLUMNS))
    folds: dict[str, Fold] = {}
    for i in range(count):
        row, fold = models[i % len(models)]
        # By name: texts of the product are only as wide as they have to be.
        for name in stored.dtype.names or ():
            table[i][name] = row[name]
        ident = f"c{i + 1:04d}"
        factor, shift = 10 ** rng.uniform(-0.6, 0.6), rng.gamma(1.0, 120.0)
        folds[ident] = _varied(fold, factor, shift, rng)
        table[i]["id"], table[i]["uid"] = ident, f"{i:010x}"
        table[i]["harmonic_of"], table[i]["parent"], table[i]["nattached"] = "", "", belonging
        _place(table[i], folds[ident])
        for k in range(belonging):
            at = count + i * belonging + k
            table[at] = table[i]
            other = table[at]
            other["id"], other["uid"] = f"c{at + 1:04d}", f"{i:09x}{k}"
            other["period"], other["freq"] = table[i]["period"] / (k + 2), table[i]["freq"] * (k + 2)
            other["harmonic_of"], other["parent"], other["relation"] = ident, table[i]["uid"], f"harmonic {k + 2}"
            other["snr"], other["nattached"] = np.nan, 0
    order = np.argsort(-table["score"][:count], kind="stable")
    table[:count] = table[order]
    table["rank"] = np.arange(1, len(table) + 1)
    with ProductWriter(path, overwrite=True) as writer:
        writer.observation(run.observation, problems=run.problems)
        writer.table("candidates", table)
        _pulses(run, writer, pulses, rng)
        for ident in table["id"][:count][:folded]:
            writer.fold(str(ident), folds[str(ident)])
        record = {key: value for key, value in run.provenance.items() if key != "stages"}
        writer.provenance({**record, "stages": run.provenance["stages"]})
    return path


def _place(row: Any, fold: Fold) -> None:
    row["freq"], row["period"], row["fdot"] = fold.after.freq, 1.0 / fold.after.freq, fold.after.fdot
    row["period_err"], row["dm"], row["dm_err"] = fold.freq_err / fold.after.freq**2, fold.after.dm, fold.dm_err
    row["snr"], row["width"] = fold.snr, fold.width


def _varied(fold: Fold, factor: float, shift: float, rng: np.random.Generator) -> Fold:
    """The same signal with another period and DM, and another noise."""

    def noisy(data: NDArray[np.float32]) -> NDArray[np.float32]:
        turned = np.roll(data, step, axis=-1)
        return np.asarray(0.9 * turned + 0.44 * rng.normal(size=data.shape), dtype=np.float32)

    def moved(params: FoldParams) -> FoldParams:
        return replace(params, freq=params.freq * factor, dm=params.dm + shift)

    nbins = len(fold.profile)
    step = int(rng.integers(nbins))
    return replace(
        fold,
        before=moved(fold.before),
        after=moved(fold.after),
        freq_err=fold.freq_err * factor,
        freq_offsets=fold.freq_offsets * factor,
        snr=0.9 * fold.snr,
        phase=(fold.phase + step / nbins) % 1.0,
        profile=noisy(fold.profile),
        time_phase=noisy(fold.time_phase),
        freq_phase=noisy(fold.freq_phase),
        dms=fold.dms + shift,
    )


def _pulses(run: Run, writer: ProductWriter, count: int, rng: np.random.Generator) -> None:
    stored = run.rows("single_pulses")
    if not len(stored) or not count:
        return
    table = np.zeros(count, dtype=stored.dtype)
    cutouts = [(str(ident), run.pulse(ident)) for ident in run.pulse_ids]
    for i in range(count):
        table[i] = stored[i % len(stored)]
        table[i]["id"], table[i]["rank"] = f"p{i + 1:04d}", i + 1
        table[i]["time"] = rng.uniform(0.0, run.observation.tobs)
        table[i]["dm"] += rng.gamma(1.0, 50.0)
        table[i]["snr"] *= rng.uniform(0.7, 1.5)
        table[i]["source"] = ""
    writer.table("single_pulses", table)
    for i in range(min(count, len(cutouts))):
        writer.pulse(f"p{i + 1:04d}", cutouts[i][1])

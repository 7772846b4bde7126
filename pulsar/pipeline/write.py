"""The product of a run: what its stages have made, written whole or not at all."""

from collections.abc import Mapping, Sequence
from math import hypot
from typing import Any

import numpy as np

from pulsar.config.model import Config, TelescopeConfig
from pulsar.constants import C
from pulsar.data.candidate import CANDIDATE_COLUMNS, empty_table
from pulsar.data.flags import split, weight
from pulsar.data.fold import Fold
from pulsar.data.header import Header, Part
from pulsar.io.product.writer import ProductWriter, Target
from pulsar.pipeline.completeness import Completeness
from pulsar.pipeline.detect import Detected
from pulsar.pipeline.follow import RankedLists, marked
from pulsar.pipeline.injections import flux_limits
from pulsar.pipeline.progress import Progress
from pulsar.pipeline.samples import Samples
from pulsar.sky.barycentre import motion_of
from pulsar.sky.catalogue import beam_width, label, label_left, read_catalogue
from pulsar.sky.observatory import mean_flux
from pulsar.sources.candidate import Candidate
from pulsar.sources.pulses import turns_of
from pulsar_kernels.arrays import Array, Floats

#: Rows of candidates that belong to others and were not folded, the strongest; all are in the table of detections.
MOST_ATTACHED = 1000


def write_product(
    target: Target,
    samples: Samples,
    detected: Detected,
    judged: RankedLists,
    completeness: Completeness | None,
    record: Mapping[str, Any],
    config: Config,
    progress: Progress,
) -> None:
    """Write the product, whole or not at all. Ranks and ids are given here, once.

    `record`: the provenance.
    """
    header, obs = samples.header, samples.obs
    listed = [candidate for candidate in judged.candidates if candidate.fold is not None or not candidate.parent]
    attached = [candidate for candidate in judged.candidates if candidate.fold is None and candidate.parent]
    attached.sort(key=lambda candidate: -candidate.group.sigma)
    # What is masked of the channels and blocks adds nothing to the S/N: as if the band were narrower.
    ordered = [*listed, *attached[:MOST_ATTACHED]]
    table, folds = candidate_table(ordered, header, config.telescope, samples.bandwidth)
    pulses = judged.pulses.copy()
    idents = {str(row["uid"]): str(row["id"]) for row in table}
    for row, candidate in zip(table, ordered, strict=True):
        if candidate.fold is not None:
            row["npulses"] = turns_of(pulses[pulses["source"] == row["uid"]], candidate.fold)
    pulses["source"] = [idents.get(str(uid), "") for uid in pulses["source"]]
    _tell_what_is_at_an_end(table, pulses, detected.dms, progress)
    _label(table, header, config, progress)
    if samples.subtracted is not None:
        label_left(table, samples.subtracted, header.tobs)
    with ProductWriter(target.path, overwrite=target.overwrite) as writer:
        writer.observation(header, obs.files, obs.gaps, obs.problems)
        writer.table("candidates", table)
        for ident, fold in folds:
            writer.fold(ident, fold)
        if config.single_pulse.enabled:
            writer.table("single_pulses", pulses)
        cutouts = dict(judged.cutouts)
        for ident in [str(ident) for ident in pulses["id"] if str(ident) in cutouts][: config.single_pulse.cutouts]:
            writer.pulse(ident, cutouts[ident])
        if completeness is not None:
            bandwidth = samples.bandwidth or header.bandwidth
            limits = flux_limits(header, completeness.injected, bandwidth, config.telescope)
            writer.completeness(completeness.injected, completeness.rows, limits)
        if samples.subtracted is not None:
            writer.table("subtracted/pulsars", samples.subtracted)
        if config.output.detections:
            writer.table("detections", marked(detected.detections, judged.candidates))
        birdies = [(b.freq, b.width, b.reason) for b in detected.birdies]
        if samples.mask is None:
            writer.table("rfi/birdies", birdies)
        else:
            writer.rfi(samples.mask.stored(header.freqs), birdies)
        writer.provenance(record)


def _tell_what_is_at_an_end(table: Array, pulses: Array, dms: Floats, progress: Progress) -> None:
    """Warn of likely candidates and pulses at the first or last of the trial DMs: their own DM may be beyond."""
    if dms.size < 2:
        return
    names: list[str] = []
    for rows, of in ((table, "parent"), (pulses, "source")):
        free = np.array([weight(split(str(flags))) == 1.0 for flags in rows["rfi_flags"]], dtype=np.bool_)
        likely = (rows["score"] >= 0.5) & free & (rows[of] == "")
        low, high = (rows["dm"] + sign * np.nan_to_num(rows["dm_err"]) for sign in (-1.0, 1.0))
        at_end = (high >= dms[-1]) | ((low <= dms[0]) & (dms[0] > 0.0))
        names += rows["id"][likely & at_end].tolist()
    if names:
        progress.warning(
            f"{', '.join(names[:10])}{' ...' if len(names) > 10 else ''}: at an end of the DMs that were searched, "
            f"{dms[0]:g} to {dms[-1]:g} (--dm LO HI): the true ones may be beyond"
        )


def _label(table: Array, header: Header, config: Config, progress: Progress) -> None:
    """Name the candidates that are known pulsars."""
    known = config.known
    if not known.catalogue:
        return
    if motion_of(header) is None or not (known.radius or beam_width(header) > 0):
        progress.warning(
            "known pulsars cannot be told: telescope or position are unknown (--ra, --dec, --set known.radius=DEG)"
        )
        return
    inside = label(table, header, read_catalogue(known.catalogue), radius=known.radius)
    names = ", ".join(p.name for p in inside[:10]) + (" ..." if len(inside) > 10 else "")
    progress.message(f"known pulsars at this position: {names or 'none'}")


def fill(row: Any, source: Any, *names: str) -> None:
    """Fill the columns of a row that have the names of attributes."""
    for name in names:
        row[name] = getattr(source, name)


def fill_fold(row: Any, fold: Fold) -> None:
    """Fill a row of the candidates table with what a refined fold tells."""
    after = fold.after
    fill(row, after, "freq", "fdot", "fddot", "dm")
    fill(row, fold, "fdot_err", "dm_err", "snr", "width", "width_err")
    row["period"], row["period_err"] = 1.0 / after.freq, fold.freq_err / after.freq**2
    row["accel"], row["accel_err"] = -C * after.fdot / after.freq, C * fold.fdot_err / after.freq


def fill_flux(row: Any, fold: Fold, header: Header, bandwidth: float, telescope: TelescopeConfig) -> None:
    """Fill a row with the flux density of a fold of so much bandwidth [MHz], and its error."""
    row["flux"] = mean_flux(
        fold.snr, fold.width, tobs=fold.tobs, bandwidth=bandwidth, config=telescope, za_deg=header.za_deg
    )
    row["flux_err"] = row["flux"] * hypot(fold.flux_err, telescope.gain_err)


def fill_place(row: Any, header: Header) -> None:
    """Fill a row with when and where it was observed."""
    row["epoch"] = header.tmid
    row["beam"], row["nbeams"] = -1 if header.beam is None else header.beam, 1
    fill(row, header, "ra_deg", "dec_deg")


def fill_part(row: Any, label: str, header: Header) -> None:
    """Fill a row with the part of the observation that it is of, if it is not the whole."""
    if not label:
        return
    stretch = Part.of_label(label)
    part = stretch.header(header)
    row["part"] = label
    first, _ = stretch.samples(header.nsamps)
    row["part_start"], row["part_duration"] = first * header.tsamp, part.tobs
    row["epoch"] = part.tmid


def fill_barycentre(table: Array, header: Header) -> None:
    """Barycentric period and derivative of all rows, where telescope and position are known."""
    motions = {label: motion_of(Part.of_label(label).header(header)) for label in sorted({"", *table["part"].tolist()})}
    if motions[""] is None:
        return
    for row in table:
        motion = motions[str(row["part"])]
        if motion is None:
            continue
        row["period_bary"] = 1.0 / motion.freq(float(row["freq"]))
        row["fdot_bary"] = motion.fdot(float(row["freq"]), float(row["fdot"]))


def candidate_table(
    ordered: Sequence[Candidate],
    header: Header,
    telescope: TelescopeConfig | None = None,
    bandwidth: float | None = None,
) -> tuple[Array, list[tuple[str, Fold]]]:
    """The table of candidates in the order given, and the folds by id.

    Parameters
    ----------
    ordered : sequence of Candidate
        Best first.
    telescope : TelescopeConfig, optional
        For flux densities.
    bandwidth : float, optional
        Of the channels that were used [MHz]; default all.
    """
    table = empty_table(CANDIDATE_COLUMNS, len(ordered))
    folds: list[tuple[str, Fold]] = []
    idents = {candidate.uid: f"c{i + 1:04d}" for i, candidate in enumerate(ordered)}
    for i, (row, candidate) in enumerate(zip(table, ordered, strict=True)):
        best, fold = candidate.best, candidate.fold
        row["rank"], row["id"] = i + 1, idents[candidate.uid]
        fill(row, candidate, "uid", "parent", "relation", "nattached", "score")
        for name in ("kind", "sigma", "sigma_single", "nharm"):
            row[name] = best[name]
        row["reasons"], row["found_by"] = "; ".join(candidate.reasons), ",".join(candidate.found_by)
        fill_place(row, header)
        if fold is not None:
            fill_fold(row, fold)
            if telescope is not None:
                fill_flux(row, fold, header, header.bandwidth if bandwidth is None else bandwidth, telescope)
            folds.append((idents[candidate.uid], fold))
        else:
            fill(row, candidate, "freq", "dm")
            row["period"], row["period_err"] = 1.0 / candidate.freq, candidate.freq_err / candidate.freq**2
            row["fdot"], row["fddot"] = best["fdot"], best["fddot"]
            row["accel"] = -C * row["fdot"] / candidate.freq
        row["period_alt"], row["rfi_flags"] = candidate.alternative, ",".join(candidate.flags)
        row["ndetections"], row["dm_detected"] = candidate.group.ndetections, candidate.group.dm
        fill_part(row, candidate.part, header)
        row["harmonic_of"] = idents.get(candidate.parent, "")
    fill_barycentre(table, header)
    return table, folds

"""From judged candidates to rows of the product."""

from collections.abc import Sequence
from typing import Any

from numpy.typing import NDArray

from pulsar.config.model import TelescopeConfig
from pulsar.constants import C
from pulsar.data.candidate import CANDIDATE_COLUMNS, empty_table
from pulsar.data.fold import Fold
from pulsar.data.header import Header, Part
from pulsar.sky.barycentre import motion_of
from pulsar.sky.observatory import mean_flux
from pulsar.sources.candidate import Candidate


def fill_fold(row: Any, fold: Fold) -> None:
    """Fill a row of the candidates table with what a refined fold tells."""
    after = fold.after
    row["freq"] = after.freq
    row["period"] = 1.0 / after.freq
    row["period_err"] = fold.freq_err / after.freq**2
    row["fdot"] = after.fdot
    row["fdot_err"] = fold.fdot_err
    row["fddot"] = after.fddot
    row["accel"] = -C * after.fdot / after.freq
    row["accel_err"] = C * fold.fdot_err / after.freq
    row["dm"] = after.dm
    row["dm_err"] = fold.dm_err
    row["snr"] = fold.snr
    row["width"] = fold.width


def fill_place(row: Any, header: Header) -> None:
    """Fill a row with when and where it was observed."""
    row["epoch"] = header.tmid
    row["beam"] = -1 if header.beam is None else header.beam
    row["nbeams"] = 1
    row["ra_deg"] = header.ra_deg
    row["dec_deg"] = header.dec_deg


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


def fill_barycentre(table: NDArray[Any], header: Header) -> None:
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
) -> tuple[NDArray[Any], list[tuple[str, Fold]]]:
    """The table of candidates in the order given, and the folds by id.

    Parameters
    ----------
    ordered : sequence of Candidate
        Best first.
    header : Header
    telescope : TelescopeConfig, optional
        For flux densities.
    bandwidth : float, optional
        Of the channels that were used [MHz]; default all.
    """
    table = empty_table(CANDIDATE_COLUMNS, len(ordered))
    folds: list[tuple[str, Fold]] = []
    idents = {candidate.uid: f"c{i + 1:04d}" for i, candidate in enumerate(ordered)}
    for i, candidate in enumerate(ordered):
        row = table[i]
        best, fold = candidate.best, candidate.fold
        ident = idents[candidate.uid]
        row["rank"] = i + 1
        row["id"] = ident
        row["uid"] = candidate.uid
        row["parent"] = candidate.parent
        row["relation"] = candidate.relation
        row["reasons"] = "; ".join(candidate.reasons)
        row["nattached"] = candidate.nattached
        row["kind"] = str(best["kind"])
        row["found_by"] = ",".join(candidate.found_by)
        fill_place(row, header)
        if fold is not None:
            fill_fold(row, fold)
            if telescope is not None:
                row["flux"] = mean_flux(
                    fold.snr,
                    fold.width,
                    tobs=fold.tobs,
                    bandwidth=header.bandwidth if bandwidth is None else bandwidth,
                    config=telescope,
                    za_deg=header.za_deg,
                )
            folds.append((ident, fold))
        else:
            row["freq"] = candidate.freq
            row["period"] = 1.0 / candidate.freq
            row["period_err"] = candidate.freq_err / candidate.freq**2
            row["fdot"] = float(best["fdot"])
            row["fddot"] = float(best["fddot"])
            row["accel"] = -C * row["fdot"] / candidate.freq
            row["dm"] = candidate.dm
        row["period_alt"] = candidate.alternative
        row["sigma"] = best["sigma"]
        row["sigma_single"] = best["sigma_single"]
        row["nharm"] = best["nharm"]
        row["ndetections"] = candidate.group.ndetections
        row["dm_detected"] = candidate.group.dm
        row["score"] = candidate.score
        row["rfi_flags"] = ",".join(candidate.flags)
        fill_part(row, candidate.part, header)
        row["harmonic_of"] = idents.get(candidate.parent, "")
    fill_barycentre(table, header)
    return table, folds

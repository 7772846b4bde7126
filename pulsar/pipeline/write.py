"""The product of a run: what its stages have made, written whole or not at all."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from numpy.typing import NDArray

from pulsar.data.pulse import PulseCutout
from pulsar.io.product.writer import ProductWriter
from pulsar.pipeline.candidates import candidate_table
from pulsar.pipeline.follow import mark_detections
from pulsar.pipeline.job import Detected, Job
from pulsar.pipeline.limits import flux_limits
from pulsar.sky.barycentre import motion_of
from pulsar.sky.catalogue import beam_width, label, read_catalogue
from pulsar.sources.candidate import Candidate
from pulsar.sources.link import turns_of

if TYPE_CHECKING:
    from pulsar.pipeline.completeness import Completeness

#: Rows of candidates that belong to others and were not folded, the strongest; all are in the table of detections.
MOST_ATTACHED = 1000


def write_product(
    job: Job,
    out: Path,
    detected: Detected,
    candidates: Sequence[Candidate],
    cutouts: Sequence[tuple[str, PulseCutout]],
    completeness: "Completeness | None",
    record: Mapping[str, Any],
    *,
    overwrite: bool,
) -> None:
    """Write the product, whole or not at all. Ranks and ids are given here, once.

    Parameters
    ----------
    job : Job
    out : Path
    detected : Detected
    candidates : sequence of Candidate
        Best first.
    cutouts : sequence of (str, PulseCutout)
        Of single pulses, by id.
    completeness : Completeness or None
    record : mapping
        The provenance.
    overwrite : bool
    """
    config, header, mask = job.config, job.obs.header, detected.mask
    # What is masked of the channels and blocks adds nothing to the S/N: as if the band were narrower.
    live = None if mask is None else header.bandwidth * (1.0 - mask.fraction_lost)
    listed = [candidate for candidate in candidates if candidate.fold is not None or not candidate.parent]
    attached = [candidate for candidate in candidates if candidate.fold is None and candidate.parent]
    attached.sort(key=lambda candidate: -candidate.group.sigma)
    ordered = [*listed, *attached[:MOST_ATTACHED]]
    table, folds = candidate_table(ordered, header, config.telescope, live)
    pulses = detected.pulses.table
    idents = {str(row["uid"]): str(row["id"]) for row in table}
    for row, candidate in zip(table, ordered, strict=True):
        if candidate.fold is not None:
            row["npulses"] = turns_of(pulses[pulses["source"] == row["uid"]], candidate.fold)
    pulses["source"] = [idents.get(str(uid), "") for uid in pulses["source"]]
    mark_detections(detected.detections, candidates)
    _label(job, table)
    if detected.subtracted is not None:
        from pulsar.sky.catalogue import label_left

        label_left(table, detected.subtracted, header.tobs)
    with ProductWriter(out, overwrite=overwrite) as writer:
        writer.observation(header, job.obs.files, job.obs.gaps, job.obs.problems)
        writer.table("candidates", table)
        for ident, fold in folds:
            writer.fold(ident, fold)
        if config.single_pulse.enabled:
            writer.table("single_pulses", pulses)
        for ident, cutout in cutouts:
            writer.pulse(ident, cutout)
        if completeness is not None:
            limits = flux_limits(header, completeness.injected, live or header.bandwidth, config.telescope)
            writer.completeness(completeness.injected, completeness.rows, limits)
        if detected.subtracted is not None:
            writer.table("subtracted/pulsars", detected.subtracted)
        if config.output.detections:
            writer.table("detections", detected.detections)
        birdies = [(b.freq, b.width, b.reason) for b in detected.birdies]
        if mask is None:
            writer.table("rfi/birdies", birdies)
        else:
            writer.rfi(mask, header.freqs, birdies)
        writer.provenance({**record, "fingerprint": job.checkpoint.fingerprint})


def _label(job: Job, table: NDArray[Any]) -> None:
    """Name the candidates that are known pulsars."""
    known, header = job.config.known, job.obs.header
    if not known.catalogue:
        return

    if motion_of(header) is None or not (known.radius or beam_width(header) > 0):
        job.progress.warning(
            "known pulsars cannot be told: telescope or position are unknown (--ra, --dec, --set known.radius=DEG)"
        )
        return
    inside = label(table, header, read_catalogue(known.catalogue), radius=known.radius)
    names = ", ".join(p.name for p in inside[:10]) + (" ..." if len(inside) > 10 else "")
    job.progress.message(f"known pulsars at this position: {names or 'none'}")

"""The products of several beams, or of several times, as one list."""

import dataclasses
import json
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from pulsar.config.model import Config
from pulsar.constants import DAY
from pulsar.data.candidate import CANDIDATE_COLUMNS, SINGLE_PULSE_COLUMNS, Column, empty_table
from pulsar.data.observation import Gap, InputFile
from pulsar.errors import ConfigError
from pulsar.io.base import parse_name
from pulsar.io.product.schema import TABLES
from pulsar.nights.again import alone, compare, compare_pulses
from pulsar.nights.beams import Coincidence, coincide_candidates, coincide_pulses
from pulsar.pipeline.limits import pooled_limits
from pulsar.sky.barycentre import motion_of
from pulsar.sky.observatory import Receiver

if TYPE_CHECKING:
    from pulsar.data.header import Header
    from pulsar.io.labels import Label
    from pulsar.io.product.reader import Run
    from pulsar.io.product.writer import ProductWriter

#: The score of what several beams show as interference is taken times this.
RFI_FACTOR = 0.1
#: Folds and cut-outs copied into the merged product, of the best.
MOST_COPIED = 200


@dataclasses.dataclass(frozen=True)
class _Row:
    """One row of the merged list."""

    values: Any
    run: "Run"
    ident: str
    owner: tuple[int, str] | None = None
    head: tuple[int, str] | None = None


def merge(
    runs: Sequence["Run"],
    out: Path,
    config: Config,
    *,
    overwrite: bool = False,
    argv: Sequence[str] = (),
    problems: Sequence[str] = (),
) -> "Run":
    """Write one product from the products of several beams.

    Products whose times overlap are beams of one pointing: what they share is one source with its best beam and an
    interpolated position, or interference. Candidates of other times, and what was merged already, are compared by
    period, DM and direction: what chance would not put together is one source, led by its strongest row
    (:mod:`pulsar.nights.matching`). Of single pulses the chance is stated (:mod:`pulsar.nights.repeaters`). Every row
    names the observation from which it is; times of pulses count from the start of that.

    Parameters
    ----------
    runs : sequence of Run
    out : Path
    config : Config
        Its section `receiver` says where the beams are.
    overwrite : bool
    argv : sequence of str
    problems : sequence of str
        To be recorded: beams and files that are missing.

    Raises
    ------
    ConfigError
        The output exists, or a beam occurs twice at one time.
    """
    from pulsar.config.load import to_toml
    from pulsar.io.product.provenance import Provenance
    from pulsar.io.product.reader import read
    from pulsar.io.product.writer import ProductWriter, check_output

    if not runs:
        raise ConfigError("nothing to merge: name the products of `pulsar search`")
    out = check_output(out, overwrite=overwrite)
    if out.resolve() in {run.path.resolve() for run in runs}:
        raise ConfigError(f"{out}: is one of the products to be merged: write to another file")
    receiver = Receiver(config.receiver)
    record = Provenance(argv, [run.path for run in runs], to_toml(config, with_help=False), 1)
    rows: list[_Row] = []
    pulses: list[_Row] = []
    notes = list(problems)
    given = Counter(run.path.resolve() for run in runs)
    for run in runs:
        if given[run.path.resolve()] > 1:
            raise ConfigError(f"{run.path}: is given twice; give each product once")
    pointings = _pointings(runs)
    seen = _Observed([run for group in pointings for run in group])
    for group in pointings:
        if group[0].is_merged:
            rows += _listed(group[0], "candidates", CANDIDATE_COLUMNS)
            pulses += _listed(group[0], "single_pulses", SINGLE_PULSE_COLUMNS)
            continue
        beams = {_beam(run.observation, i): run for i, run in enumerate(group)}
        unseen = sorted(set(receiver.offsets) - set(beams))
        if len(group) > 1 and unseen and set(beams) <= set(receiver.offsets):
            first = group[0].observation
            which = f"{first.source or 'unnamed source'}, MJD {first.tstart:.5f}"
            notes.append(f"{which}: not observed, or not given: beams {', '.join(map(str, unseen))}")
        rows += _candidates(beams, receiver)
        pulses += _pulses(beams, receiver)
    rows = _seen_again(rows, receiver, config.sift.orbit)
    bursts = [row.values for row in pulses]
    compare_pulses(bursts, [r.run.observation_of(v) for r, v in zip(pulses, bursts, strict=True)], receiver)
    table, names = _table(rows, CANDIDATE_COLUMNS, "c")
    single, _ = _table(pulses, SINGLE_PULSE_COLUMNS, "p")
    for i, row in enumerate(rows):
        table["obs"][i] = seen.place(row)
    for i, row in enumerate(pulses):
        single["obs"][i] = seen.place(row)
        single["source"][i] = names.get((id(row.run), str(row.values["source"])), "")
    if config.known.catalogue:
        _label(table, seen.headers, config)
    with ProductWriter(out, overwrite=overwrite) as writer:
        notes += [f"{run.path.name}: {p}" for run in runs for p in run.problems]
        seen.write(writer, notes)
        writer.table("candidates", table)
        writer.table("single_pulses", single)
        _write_completeness(writer, runs, seen)
        subtracted = _joined("subtracted/pulsars", runs, seen)
        if subtracted.size:
            writer.table("subtracted/pulsars", subtracted)
        for place, row in enumerate(rows[:MOST_COPIED]):
            if row.ident in row.run.ids:
                writer.fold(str(table["id"][place]), row.run.fold(row.ident))
        for place, row in enumerate(pulses[:MOST_COPIED]):
            if row.ident in row.run.pulse_ids:
                writer.pulse(str(single["id"][place]), row.run.pulse(row.ident))
        writer.provenance({**record.record({}), "merged": json.dumps([str(run.path) for run in runs])})
    _carry_labels(runs, out, table, names)
    return read(out)


def _write_completeness(writer: "ProductWriter", runs: Sequence["Run"], seen: "_Observed") -> None:
    """Store what was injected into all of the runs, what became of it, and the limits on flux densities."""
    injected, rows, limits = (_joined(f"completeness/{name}", runs, seen) for name in ("injected", "rows", "limits"))
    if injected.size:
        writer.completeness(injected, rows, pooled_limits(seen.headers, injected, limits))


def _joined(name: str, runs: Sequence["Run"], seen: "_Observed") -> NDArray[Any]:
    """A table of all runs, by the observations of the merged product."""
    columns = TABLES[name][0]
    parts = [_wide(run.rows(name), columns) for run in runs]
    for run, part in zip(runs, parts, strict=True):
        count = len(run.observations)
        part["obs"] = [seen.number(run, int(own) if own < count else -1) for own in part["obs"]]
    whole = np.concatenate([*parts, empty_table(columns, 0)])
    return np.asarray(whole[np.argsort(whole["obs"], kind="stable")])


def _carry_labels(runs: Sequence["Run"], out: Path, table: NDArray[Any], names: Mapping[tuple[int, str], str]) -> None:
    """Add what was judged in the products to the judgements of the merged list.

    A row of another beam is in it under the best beam's name: what was said of it is said of that.
    """
    from pulsar.io.labels import Sidecar, beside, labels_of, uid_of

    if not any(beside(run.path).exists() for run in runs):
        return
    uids = {str(row["id"]): uid_of(row) for row in table}
    sidecar = Sidecar(beside(out))
    known = {entry.key for entry in sidecar.read().entries}
    found: list[Label] = []
    for run in runs:
        labels = labels_of([run.path])
        found += labels.merged()
        for row in run.rows("candidates") if labels.entries else ():
            uid = uids.get(names.get((id(run), str(row["id"])), ""), "")
            if uid and uid != uid_of(row):
                found += [dataclasses.replace(entry, uid=uid) for entry in labels.of(uid_of(row)).values()]
    added = {entry.key: entry for entry in found if entry.key not in known}
    if added:
        sidecar.add(list(added.values()))


class _Observed:
    """All observations of the merged product, in the order of their pointings, and where those of each run begin.

    Parameters
    ----------
    runs : sequence of Run
    """

    def __init__(self, runs: Sequence["Run"]) -> None:
        self.headers: list[Header] = []
        self.files: list[list[InputFile]] = []
        self.gaps: list[list[Gap]] = []
        self.products: list[str] = []
        self._first: dict[int, int] = {}
        for run in runs:
            self._first[id(run)] = len(self.headers)
            files, gaps, stored = (run.rows(f"observation{name}") for name in ("/files", "/gaps", "s"))
            for obs, header in enumerate(run.observations):
                found = [
                    InputFile(
                        Path(str(r["path"])), int(r["start"]), int(r["nsamps"]), int(r["size"]), float(r["mtime"])
                    )
                    for r in files[files["obs"] == obs]
                ]
                lost = [Gap(int(r["start"]), int(r["nsamps"]), str(r["reason"])) for r in gaps[gaps["obs"] == obs]]
                # Of a file whose header is blank the name may tell.
                source = header.source or (parse_name(found[0].path).source if found else "")
                self.headers.append(header.with_(source=source))
                self.files.append(found)
                self.gaps.append(lost)
                product = str(stored["product"][obs]) if obs < len(stored) else ""
                self.products.append(product or str(run.path.absolute()))

    def place(self, row: _Row) -> int:
        """Number of the observation of a row, -1 when nobody has recorded it."""
        return self.number(row.run, int(row.values["obs"]))

    def number(self, run: "Run", own: int) -> int:
        """Number of the observation that a run counts as its `own`, -1 when nobody has recorded it."""
        return self._first[id(run)] + own if own >= 0 else -1

    def write(self, writer: "ProductWriter", problems: Sequence[str]) -> None:
        """Store them."""
        writer.observations(self.headers, self.files, self.gaps, products=self.products, problems=problems)


def _seen_again(rows: list[_Row], receiver: Receiver, orbit: float) -> list[_Row]:
    """The rows with what other times say of them; those of one source lead to its strongest."""
    for row in rows:
        if row.values is not None:
            alone(row.values)
    own = [k for k, row in enumerate(rows) if row.values is not None and not row.values["harmonic_of"]]
    headers = [rows[k].run.observation_of(rows[k].values) for k in own]
    heads = compare([rows[k].values for k in own], headers, receiver, orbit)
    out = list(rows)
    for k, head in zip(own, heads, strict=True):
        if own[head] != k:
            lead = rows[own[head]]
            out[k] = dataclasses.replace(rows[k], head=(id(lead.run), lead.ident))
    return out


def _listed(run: "Run", name: str, columns: tuple[Column, ...]) -> list[_Row]:
    """Rows of what was merged already: its beams were compared."""
    return [_Row(row, run, str(row["id"])) for row in _wide(run.rows(name), columns)]


def _label(table: NDArray[Any], headers: Sequence["Header"], config: Config) -> None:
    """Name the known pulsars among candidates of products that were made without a catalogue."""
    from pulsar.sky.catalogue import label_rows, read_catalogue

    label_rows(table, headers, read_catalogue(config.known.catalogue), radius=config.known.radius)


def _beam(header: "Header", place: int) -> int:
    """Number of the beam; of data without one a number that no receiver has."""
    return header.beam if header.beam is not None else -1 - place


def _pointings(runs: Sequence["Run"]) -> list[list["Run"]]:
    """Products by time: those of one pointing overlap by more than half of the shorter one, and have the same band.

    Segments of one beam may overlap as well, but a beam is only once in a pointing. What has no beam number or no time
    stands alone, and so does what was merged already.
    """
    out: list[list[Run]] = []
    under_way: list[list[Run]] = []
    for run in sorted(runs, key=lambda r: (r.observation.tstart, r.path.name)):
        h = run.observation
        alone = run.is_merged or h.beam is None or h.is_series or not h.tstart > 0
        if not alone:
            # In order of time: what has ended before this one begins has nothing in common with any later one.
            under_way = [g for g in under_way if _overlap(g[0].observation, h) > 0.0]
        for group in [] if alone else under_way:
            first = group[0].observation
            if h.beam in [r.observation.beam for r in group]:
                continue
            same_band = abs(first.fcenter - h.fcenter) < 0.1 * min(first.bandwidth, h.bandwidth)
            if same_band and _overlap(first, h) > 0.5:
                group.append(run)
                break
        else:
            out.append([run])
            if not alone:
                under_way.append(out[-1])
    return out


def _overlap(a: "Header", b: "Header") -> float:
    """Part of the shorter observation that lies in the other."""
    common = min(a.tstart + a.tobs / DAY, b.tstart + b.tobs / DAY) - max(a.tstart, b.tstart)
    return common * DAY / min(a.tobs, b.tobs)


def _wide(rows: NDArray[Any], columns: tuple[Column, ...]) -> NDArray[Any]:
    """The rows with texts as wide as they may become."""
    table = empty_table(columns, len(rows))
    for column in columns:
        table[column.name] = rows[column.name]
    return table


def _candidates(beams: dict[int, "Run"], receiver: Receiver) -> list[_Row]:
    tables = {beam: _wide(run.rows("candidates"), CANDIDATE_COLUMNS) for beam, run in beams.items()}
    # Frequencies are compared at one epoch.
    epoch = min(run.observation.tmid for run in beams.values())
    drift = {beam: (epoch - run.observation.tmid) * DAY for beam, run in beams.items()}
    tobs = min(run.observation.tobs for run in beams.values())
    rows = []
    for found in coincide_candidates(tables, receiver, set(beams), tobs, drift=drift):
        run, row = beams[found.best.beam], tables[found.best.beam][found.best.row].copy()
        _judge(row, found, run, receiver)
        owned = [(id(beams[s.beam]), str(tables[s.beam][s.row]["id"])) for s in found.members]
        rows.append(_Row(row, run, str(row["id"])))
        # The other beams' rows of the same source lead to it too.
        rows += [
            _Row(None, beams[s.beam], ident, owned[0]) for s, (_, ident) in zip(found.members, owned, strict=True)
        ][1:]
        own = tables[found.best.beam]
        for extra in own[own["harmonic_of"] == row["id"]]:
            copy = extra.copy()
            copy["score"] = min(float(copy["score"]), float(row["score"]))
            rows.append(_Row(copy, run, str(copy["id"])))
    return rows


def _pulses(beams: dict[int, "Run"], receiver: Receiver) -> list[_Row]:
    tables = {beam: _wide(run.rows("single_pulses"), SINGLE_PULSE_COLUMNS) for beam, run in beams.items()}
    # They are compared at times from the start of the first beam; the rows keep those from their own.
    start = min(run.observation.tstart for run in beams.values())
    compared = {beam: table.copy() for beam, table in tables.items()}
    for beam, run in beams.items():
        if np.isfinite(run.observation.tstart) and np.isfinite(start):
            compared[beam]["time"] += (run.observation.tstart - start) * DAY
    rows = []
    for found in coincide_pulses(compared, receiver, set(beams)):
        run, row = beams[found.best.beam], tables[found.best.beam][found.best.row].copy()
        _judge(row, found, run, receiver)
        rows.append(_Row(row, run, str(row["id"])))
    return rows


def _judge(row: Any, found: Coincidence, run: "Run", receiver: Receiver) -> None:
    """Beam, position, flags and score of a merged row."""
    header = run.observation
    row["beam"] = found.best.beam if found.best.beam >= 0 else -1
    row["nbeams"] = len(found.beams)
    row["ra_deg"], row["dec_deg"] = header.ra_deg, header.dec_deg
    if np.isfinite(found.east) and np.isfinite(header.dec_deg) and len(found.members) > 1:
        east, north = receiver.offsets[found.best.beam]
        row["dec_deg"] = header.dec_deg + (found.north - north) / 60.0
        row["ra_deg"] = (header.ra_deg + (found.east - east) / 60.0 / np.cos(np.radians(header.dec_deg))) % 360.0
        _move(row, header)
    if found.verdict == "rfi":
        flags = [f for f in str(row["rfi_flags"]).split(",") if f]
        row["rfi_flags"] = ",".join([*flags, "multibeam"])
        row["score"] = RFI_FACTOR * float(row["score"])


def _move(row: Any, header: "Header") -> None:
    """Barycentric values of a candidate for its own position in place of that of the beam."""
    if "period_bary" not in row.dtype.names or not np.isfinite(row["period_bary"]):
        return
    motion = motion_of(header.with_(ra_deg=float(row["ra_deg"]), dec_deg=float(row["dec_deg"])))
    if motion is not None:
        row["period_bary"] = 1.0 / motion.freq(float(row["freq"]))
        row["fdot_bary"] = motion.fdot(float(row["freq"]), float(row["fdot"]))


def _table(
    rows: list[_Row], columns: tuple[Column, ...], letter: str
) -> tuple[NDArray[Any], dict[tuple[int, str], str]]:
    """Sort the rows in place, best first, and number them; also the new name of every old one."""
    aliases = [row for row in rows if row.values is None]
    rows[:] = [row for row in rows if row.values is not None]
    bound = "harmonic_of" in [c.name for c in columns]

    def key(row: _Row) -> tuple[bool, float, float]:
        harmonic = bound and bool(row.values["harmonic_of"] or row.head is not None)
        return harmonic, -float(row.values["score"]), -float(np.nan_to_num(row.values["snr"]))

    rows.sort(key=key)
    names = {(id(row.run), row.ident): f"{letter}{i + 1:04d}" for i, row in enumerate(rows)}
    for row in aliases:
        if row.owner is not None and row.owner in names:
            names.setdefault((id(row.run), row.ident), names[row.owner])
    table = empty_table(columns, len(rows))
    for i, row in enumerate(rows):
        for column in columns:
            table[column.name][i] = row.values[column.name]
        table["rank"][i] = i + 1
        table["id"][i] = names[(id(row.run), row.ident)]
        if bound:
            owner = row.head if row.head is not None else (id(row.run), str(row.values["harmonic_of"]))
            table["harmonic_of"][i] = names.get(owner, "")
    return table, names

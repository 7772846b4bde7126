"""The products of several beams, or of several times, as one list.

Other times say more of its rows: sources are put together, chances stated, scores follow.
"""

import dataclasses
import json
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np

from pulsar.config.load import to_toml
from pulsar.config.model import Config
from pulsar.constants import DAY
from pulsar.data.candidate import CANDIDATE_COLUMNS, SINGLE_PULSE_COLUMNS, Column, dtype_of, joined
from pulsar.data.files import check_output
from pulsar.data.flags import BY_NAME, RFI, split, weight
from pulsar.data.header import Header
from pulsar.data.observation import Gap, InputFile
from pulsar.errors import ConfigError
from pulsar.io.base import parse_name
from pulsar.io.labels import Label, Sidecar, beside, labels_of, uid_of
from pulsar.io.product.provenance import Provenance
from pulsar.io.product.reader import Run, read
from pulsar.io.product.schema import TABLES
from pulsar.io.product.writer import ProductWriter, Target
from pulsar.nights.beams import Coincidence, coincide_candidates, coincide_pulses
from pulsar.nights.matching import Recurrence, ncompared, repeated, see_again
from pulsar.nights.sightings import Sightings, places_of, sightings_of
from pulsar.pipeline.injections import pooled_limits
from pulsar.sky.barycentre import motion_of
from pulsar.sky.catalogue import label_rows, read_catalogue
from pulsar.sky.observatory import Receiver
from pulsar_kernels.arrays import Array

#: Folds and cut-outs copied into the merged product, of the best.
MOST_COPIED = 200


#: What a row is of the one that leads its source.
SIGHTING: Final = "sighting"
#: The odds of a candidate are raised by no more than this [logit]: what comes again may still be interference.
MOST_RAISED: Final = float(np.log(1000.0))
#: Times that are named.
_NAMED: Final = 4
#: How what is said here begins, so that it is taken back when a list is merged again.
_SEEN, _AS, _PERHAPS, _GROUND = "seen at MJD", "as at MJD", "perhaps as at MJD", "topocentric period as"

#: A row of a product that is merged: the product, and its id there.
_Key = tuple[int, str]


@dataclasses.dataclass
class _Row:
    """One row of the merged list, and the one that leads its source, where another does."""

    values: Any
    run: Run
    head: _Key | None = None

    @property
    def key(self) -> _Key:
        """Where it is from."""
        return id(self.run), str(self.values["id"])

    @property
    def header(self) -> Header:
        """Of its observation."""
        return self.run.observation_of(self.values)


def merge(runs: Sequence[Run], target: Target, config: Config, problems: Sequence[str] = ()) -> Run:
    """Write one product from the products of several beams.

    Products whose times overlap are beams of one pointing: what they share is one source with its best beam and an
    interpolated position, or interference. Candidates of other times, and what was merged already, are compared by
    period, DM and direction: what chance would not put together is one source, led by its strongest row
    (:mod:`pulsar.nights.matching`). Of single pulses the chance is stated. Every row
    names the observation from which it is; times of pulses count from the start of that.

    Parameters
    ----------
    config : Config
        Its section `receiver` says where the beams are.
    problems : sequence of str
        To be recorded: beams and files that are missing.

    Raises
    ------
    ConfigError
        The output exists, or a beam occurs twice at one time.
    """
    if not runs:
        raise ConfigError("nothing to merge: name the products of `pulsar search`")
    out = check_output(target.path, overwrite=target.overwrite)
    if out.resolve() in {run.path.resolve() for run in runs}:
        raise ConfigError(f"{out}: is one of the products to be merged: write to another file")
    receiver = Receiver(config.receiver)
    record = Provenance(target.argv, [run.path for run in runs], to_toml(config, with_help=False), 1)
    rows: list[_Row] = []
    pulses: list[_Row] = []
    # Rows of other beams, and the row that the source has in the list.
    stand_ins: dict[_Key, _Key] = {}
    notes = list(problems)
    count_of_paths = Counter(run.path.resolve() for run in runs)
    for run in runs:
        if count_of_paths[run.path.resolve()] > 1:
            raise ConfigError(f"{run.path}: is given twice; give each product once")
    pointings = _pointings(runs)
    seen = _Observed([run for group in pointings for run in group])
    for group in pointings:
        if group[0].is_merged:
            # Its beams were compared.
            rows += [_Row(row, group[0]) for row in _wide(group[0].rows("candidates"), CANDIDATE_COLUMNS)]
            pulses += [_Row(row, group[0]) for row in _wide(group[0].rows("single_pulses"), SINGLE_PULSE_COLUMNS)]
            continue
        # Data without a beam get a number that no receiver has.
        numbers = (-1 - i if run.observation.beam is None else run.observation.beam for i, run in enumerate(group))
        beams = dict(zip(numbers, group, strict=True))
        unseen = sorted(set(receiver.offsets) - set(beams))
        if len(group) > 1 and unseen and set(beams) <= set(receiver.offsets):
            first = group[0].observation
            text = f"{first.source or 'unnamed source'}, MJD {first.tstart:.5f}"
            notes.append(f"{text}: not observed, or not given: beams {', '.join(map(str, unseen))}")
        rows += _candidates(beams, receiver, stand_ins)
        pulses += _pulses(beams, receiver)
    _see_again(rows, receiver, config.sift.orbit)
    compare_pulses([row.values for row in pulses], [row.header for row in pulses], receiver)
    table, names = _table(rows, CANDIDATE_COLUMNS, "c", seen)
    names = {key: names[member] for key, member in stand_ins.items() if member in names} | names
    single, _ = _table(pulses, SINGLE_PULSE_COLUMNS, "p", seen)
    for i, row in enumerate(pulses):
        single["source"][i] = names.get((id(row.run), str(row.values["source"])), "")
    if config.known.catalogue:
        label_rows(table, seen.headers, read_catalogue(config.known.catalogue), radius=config.known.radius)
    with ProductWriter(out, overwrite=target.overwrite) as writer:
        notes += [f"{run.path.name}: {p}" for run in runs for p in run.problems]
        seen.write(writer, notes)
        writer.table("candidates", table)
        writer.table("single_pulses", single)
        signals, listed, limits = (_joined(f"completeness/{n}", runs, seen) for n in ("injected", "rows", "limits"))
        if signals.size:
            writer.completeness(signals, listed, pooled_limits(seen.headers, signals, limits))
        subtracted = _joined("subtracted/pulsars", runs, seen)
        if subtracted.size:
            writer.table("subtracted/pulsars", subtracted)
        for place, row in enumerate(rows[:MOST_COPIED]):
            if row.key[1] in row.run.ids:
                writer.fold(str(table["id"][place]), row.run.fold(row.key[1]))
        for place, row in enumerate(pulses[:MOST_COPIED]):
            if row.key[1] in row.run.pulse_ids:
                writer.pulse(str(single["id"][place]), row.run.pulse(row.key[1]))
        writer.provenance({**record.record({}), "merged": json.dumps([str(run.path) for run in runs])})
    _carry_labels(runs, out, table, names)
    return read(out)


def _joined(name: str, runs: Sequence[Run], seen: "_Observed") -> Array:
    """A table of all runs, by the observations of the merged product."""
    columns = TABLES[name][0]
    parts = [_wide(run.rows(name), columns) for run in runs]
    for run, part in zip(runs, parts, strict=True):
        count = len(run.observations)
        part["obs"] = [seen.number(run, int(number) if number < count else -1) for number in part["obs"]]
    whole = joined(columns, parts)
    return np.asarray(whole[np.argsort(whole["obs"], kind="stable")])


def _carry_labels(runs: Sequence[Run], out: Path, table: Array, names: Mapping[tuple[int, str], str]) -> None:
    """Add what was judged in the products to the judgements of the merged list.

    A row of another beam is in it under the best beam's name: what was said of it is said of that.
    """
    if not any(beside(run.path).exists() for run in runs):
        return
    uids = {str(row["id"]): uid_of(row) for row in table}
    sidecar = Sidecar(beside(out))
    known = {entry.key for entry in sidecar.read().entries}
    entries: list[Label] = []
    for run in runs:
        labels = labels_of([run.path])
        entries += labels.merged()
        for row in run.rows("candidates") if labels.entries else ():
            uid = uids.get(names.get((id(run), str(row["id"])), ""), "")
            if uid and uid != uid_of(row):
                entries += [dataclasses.replace(entry, uid=uid) for entry in labels.of(uid_of(row)).values()]
    added = {entry.key: entry for entry in entries if entry.key not in known}
    if added:
        sidecar.add(list(added.values()))


class _Observed:
    """All observations of the merged product, in the order of their pointings, and where those of each run begin."""

    def __init__(self, runs: Sequence[Run]) -> None:
        self.headers: list[Header] = []
        self.files: list[list[InputFile]] = []
        self.gaps: list[list[Gap]] = []
        self.merged: list[tuple[str, float]] = []
        self._first: dict[int, int] = {}
        for run in runs:
            self._first[id(run)] = len(self.headers)
            stored = run.rows("observations")
            for obs, header in enumerate(run.observations):
                inputs, lost = run.inputs[obs]
                # Of a file whose header is blank the name may tell.
                source = header.source or (parse_name(inputs[0].path).source if inputs else "")
                self.headers.append(header.with_(source=source))
                self.files.append(inputs)
                self.gaps.append(lost)
                product, masked = stored[["product", "masked"]][obs] if obs < len(stored) else ("", np.nan)
                masked = float(run.rfi.get("masked_fraction", masked))
                self.merged.append((str(product) or str(run.path.absolute()), masked))

    def number(self, run: Run, obs: int) -> int:
        """Number of the observation that a run counts as its `obs`, -1 when nobody has recorded it."""
        return self._first[id(run)] + obs if obs >= 0 else -1

    def write(self, writer: ProductWriter, problems: Sequence[str]) -> None:
        """Store them."""
        writer.observations(self.headers, self.files, self.gaps, merged=self.merged, problems=problems)


def _see_again(rows: Sequence[_Row], receiver: Receiver, orbit: float) -> None:
    """Have the rows say what other times tell; those of one source lead to its strongest."""
    for row in rows:
        alone(row.values)
    sources = [row for row in rows if not row.values["harmonic_of"]]
    heads = compare([row.values for row in sources], [row.header for row in sources], receiver, orbit)
    for row, head in zip(sources, heads, strict=True):
        row.head = None if sources[head] is row else sources[head].key


def _pointings(runs: Sequence[Run]) -> list[list[Run]]:
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


def _overlap(a: Header, b: Header) -> float:
    """Part of the shorter observation that lies in the other."""
    common = min(a.tstart + a.tobs / DAY, b.tstart + b.tobs / DAY) - max(a.tstart, b.tstart)
    return common * DAY / min(a.tobs, b.tobs)


def _wide(rows: Array, columns: tuple[Column, ...]) -> Array:
    """The rows with texts as wide as they may become."""
    return rows[[column.name for column in columns]].astype(dtype_of(columns))


def _candidates(beams: dict[int, Run], receiver: Receiver, stand_ins: dict[_Key, _Key]) -> list[_Row]:
    """Rows of the candidates of a pointing; `stand_ins` gets those of its other beams."""
    tables = {beam: _wide(run.rows("candidates"), CANDIDATE_COLUMNS) for beam, run in beams.items()}
    # Frequencies are compared at one epoch.
    epoch = min(run.observation.tmid for run in beams.values())
    drift = {beam: (epoch - run.observation.tmid) * DAY for beam, run in beams.items()}
    tobs = min(run.observation.tobs for run in beams.values())
    rows = []
    for coincidence in coincide_candidates(tables, receiver, set(beams), tobs, drift):
        run, table = beams[coincidence.best.beam], tables[coincidence.best.beam]
        row = _Row(table[coincidence.best.row].copy(), run)
        _judge(row.values, coincidence, run, receiver)
        rows.append(row)
        for member in coincidence.members[1:]:
            stand_ins.setdefault((id(beams[member.beam]), str(tables[member.beam][member.row]["id"])), row.key)
        for extra in table[table["harmonic_of"] == row.values["id"]]:
            copy = extra.copy()
            copy["score"] = min(float(copy["score"]), float(row.values["score"]))
            rows.append(_Row(copy, run))
    return rows


def _pulses(beams: dict[int, Run], receiver: Receiver) -> list[_Row]:
    tables = {beam: _wide(run.rows("single_pulses"), SINGLE_PULSE_COLUMNS) for beam, run in beams.items()}
    # They are compared at times from the start of the first beam; the rows keep those from their own.
    start = min(run.observation.tstart for run in beams.values())
    compared = {beam: table.copy() for beam, table in tables.items()}
    for beam, run in beams.items():
        if np.isfinite(run.observation.tstart) and np.isfinite(start):
            compared[beam]["time"] += (run.observation.tstart - start) * DAY
    rows = []
    for coincidence in coincide_pulses(compared, receiver, set(beams)):
        run, row = beams[coincidence.best.beam], tables[coincidence.best.beam][coincidence.best.row].copy()
        _judge(row, coincidence, run, receiver)
        rows.append(_Row(row, run))
    return rows


def _judge(row: Any, coincidence: Coincidence, run: Run, receiver: Receiver) -> None:
    """Beam, position, flags and score of a merged row."""
    header = run.observation
    row["beam"] = coincidence.best.beam if coincidence.best.beam >= 0 else -1
    row["nbeams"] = len(coincidence.beams)
    row["ra_deg"], row["dec_deg"] = header.ra_deg, header.dec_deg
    if np.isfinite(coincidence.east) and np.isfinite(header.dec_deg) and len(coincidence.members) > 1:
        east, north = receiver.offsets[coincidence.best.beam]
        row["dec_deg"] = header.dec_deg + (coincidence.north - north) / 60.0
        row["ra_deg"] = (header.ra_deg + (coincidence.east - east) / 60.0 / np.cos(np.radians(header.dec_deg))) % 360.0
        _move(row, header)
    if coincidence.verdict == "rfi":
        row["rfi_flags"] = ",".join((*split(str(row["rfi_flags"])), "multibeam"))
        row["score"] = RFI * float(row["score"])


def _move(row: Any, header: Header) -> None:
    """Barycentric values of a candidate for its own position in place of that of the beam."""
    if "period_bary" not in row.dtype.names or not np.isfinite(row["period_bary"]):
        return
    motion = motion_of(header.with_(ra_deg=float(row["ra_deg"]), dec_deg=float(row["dec_deg"])))
    if motion is not None:
        row["period_bary"] = 1.0 / motion.freq(float(row["freq"]))
        row["fdot_bary"] = motion.fdot(float(row["freq"]), float(row["fdot"]))


def _table(
    rows: list[_Row], columns: tuple[Column, ...], letter: str, seen: _Observed
) -> tuple[Array, dict[_Key, str]]:
    """Sort the rows in place, best first, and number them; also the new name of every old one."""
    bound = "harmonic_of" in [c.name for c in columns]

    def key(row: _Row) -> tuple[bool, float, float]:
        harmonic = bound and bool(row.values["harmonic_of"] or row.head is not None)
        return harmonic, -float(np.nan_to_num(row.values["score"])), -float(np.nan_to_num(row.values["snr"]))

    rows.sort(key=key)
    names = {row.key: f"{letter}{i + 1:04d}" for i, row in enumerate(rows)}
    table = np.array([row.values for row in rows], dtype=dtype_of(columns))
    table["rank"], table["id"] = np.arange(len(rows)) + 1, [f"{letter}{i + 1:04d}" for i in range(len(rows))]
    table["obs"] = [seen.number(row.run, int(row.values["obs"])) for row in rows]
    if bound:
        heads = [row.head or (id(row.run), str(row.values["harmonic_of"])) for row in rows]
        table["harmonic_of"] = [names.get(head, "") for head in heads]
    return table, names


def alone(row: Any) -> None:
    """Take back what an earlier merging has said of a row.

    Parameters
    ----------
    row : void
        Fields of CANDIDATE_COLUMNS; changed.
    """
    if str(row["relation"]).split(" ")[0] == SIGHTING:
        row["harmonic_of"] = row["parent"] = row["relation"] = ""
    if np.isfinite(row["score_alone"]):
        row["score"] = row["score_alone"]
    row["rfi_flags"] = ",".join(f for f in split(str(row["rfi_flags"])) if f != "terrestrial")
    said = (text for text in str(row["reasons"]).split("; ") if not text.startswith((_SEEN, _AS, _PERHAPS, _GROUND)))
    row["reasons"] = "; ".join(said)
    row["nseen"], row["chance"], row["score_alone"] = 1, np.nan, row["score"]


def compare(rows: Sequence[Any], headers: Sequence[Header], receiver: Receiver, orbit: float) -> list[int]:
    """Compare the candidates of different times, and write into each what that tells.

    Parameters
    ----------
    rows : sequence of void
        Candidates that stand for themselves, fields of CANDIDATE_COLUMNS; changed.
    headers : sequence of Header
        Of the observation of each.
    orbit : float
        Relative difference of periods that orbits may make.

    Returns
    -------
    list of int
        For each the place of the row that leads its source: its own, where it stands alone.
    """
    sightings = sightings_of(rows, headers, receiver)
    seen = see_again(sightings, orbit=orbit, sidelobe=receiver.config.sidelobe)
    trials = ncompared(sightings, seen)
    members: dict[int, list[int]] = {}
    for i, verdict in enumerate(seen):
        members.setdefault(verdict.head, []).append(i)
    for i, (row, verdict) in enumerate(zip(rows, seen, strict=True)):
        row["nseen"], row["chance"] = verdict.nseen, verdict.chance
        flags = split(str(row["rfi_flags"]))
        score = float(row["score"])
        if verdict.ground:
            if weight(flags) > RFI:
                row["score"] = RFI / weight(flags) * score
            flags = (*flags, "terrestrial")
            row["rfi_flags"] = ",".join(flags)
        elif verdict.matches:
            row["score"] = raised(score, weight(tuple(f for f in flags if f in BY_NAME)), trials * verdict.chance)
        if verdict.head != i:
            ratio = 1 / verdict.ratio
            row["relation"] = SIGHTING if ratio == 1 else f"{SIGHTING} {ratio}"
            row["parent"] = str(rows[verdict.head]["uid"])
        said = _said(sightings, verdict, i, members.get(i, []))
        row["reasons"] = "; ".join(filter(None, (said, str(row["reasons"]))))
    return [verdict.head for verdict in seen]


def compare_pulses(rows: Sequence[Any], headers: Sequence[Header], receiver: Receiver) -> None:
    """Compare the single pulses of different times, and write into each at how many its source was seen.

    Parameters
    ----------
    rows : sequence of void
        Fields of SINGLE_PULSE_COLUMNS; changed.
    headers : sequence of Header
        Of the observation of each.
    """
    flags = [split(str(row["rfi_flags"])) for row in rows]
    usable = np.array([weight(tuple(f for f in names if f in BY_NAME)) > RFI for names in flags], dtype=np.bool_)
    for row, seen in zip(rows, repeated(places_of(rows, headers, receiver), usable), strict=True):
        row["nseen"], row["chance"] = seen.nseen, seen.chance


def raised(score: float, factor: float, expected: float) -> float:
    """The score of a candidate that was seen again: its odds by as much higher as chance would not do it.

    Parameters
    ----------
    score : float
        0 to 1, after its flags.
    factor : float
        What the flags have taken it times.
    expected : float
        Candidates of the whole list that would agree as well by chance.
    """
    evidence = float(np.clip(-np.log(max(expected, 1e-300)), 0.0, MOST_RAISED))
    odds = min(max(score / factor, 1e-6), 1.0 - 1e-6)
    return max(score, factor / (1.0 + (1.0 / odds - 1.0) * float(np.exp(-evidence))))


def _said(sightings: Sightings, seen: Recurrence, i: int, members: Sequence[int]) -> str:
    """The verdict of other times in words, with its numbers."""
    if seen.ground:
        return f"{_GROUND} at {seen.ground} other places and times, {seen.ground_expected:.2g} expected"
    if not seen.matches:
        return ""
    if seen.head == i and seen.nseen > 1:
        times = [f"{t:.2f}" for t in sorted(float(sightings.start[k]) for k in members)]
        named = ", ".join(dict.fromkeys(times[:_NAMED])) + (" ..." if len(times) > _NAMED else "")
        return f"{_SEEN} {named} (chance {seen.chance:.1e})"
    match = next((m for m in seen.matches if m.other == seen.head), seen.matches[0])
    apart = float(sightings.apart(i, np.array([match.other]))[0])
    parts = [
        f"{_AS if seen.head != i else _PERHAPS} {sightings.start[match.other]:.2f}: period"
        + ("" if match.ratio == 1 else f" x {match.ratio}")
        + f" within {abs(match.period):.1e}"
        + (" (an orbit)" if match.orbit else ""),
        f"DM within {abs(match.dm):.2g}",
        f"{60.0 * apart:.1f} arcmin" if np.isfinite(apart) else "",
        f"chance {seen.chance:.1e}",
    ]
    return ", ".join(filter(None, parts))

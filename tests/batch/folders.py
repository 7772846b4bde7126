"""Folders of batches as `init` and runs leave them, written by hand: nothing is searched."""

import json
from dataclasses import asdict
from pathlib import Path

from pulsar.batch.records import Record, look, write_record
from pulsar.batch.units import FORMAT, Batch, Head, Unit, product, read_batch
from pulsar.config.load import load_config, to_toml

#: One unit of each fate.
RECORDS = (
    Record("a", "done", seconds=50.0, cpu=60.0, peak=1 << 28, candidates=12, pulses=3, since=1.7e9, until=1.7e9 + 50),
    Record("b", "failed", "b.fil: no such file", "input", 1, cpu=3.0, lost=3.0, host="node1"),
    Record("c", "stopped", "ended from outside", cpu=20.0, earlier=10.0),
    Record("d", "failed", "took longer than the limit of 5 s", "time", 3, cpu=5.0, lost=15.0),
)


def make_batch(folder: Path) -> Batch:
    """A batch of five units, the last of which has not been begun."""
    for part in ("products", "records", "logs"):
        (folder / part).mkdir(parents=True)
    units = [Unit(name, (f"/data/{name}.fil",), 1 << 20, 10.0, 1 << 30, 1 << 20) for name in "abcde"]
    head = Head(FORMAT, len(units), ("/data/x.fil: is empty",), ("/data/x.fil",))
    (folder / "units.jsonl").write_text("".join(json.dumps(asdict(line)) + "\n" for line in (head, *units)))
    (folder / "config.toml").write_text(to_toml(load_config(), with_help=False))
    for record in RECORDS:
        write_record(folder, record)
    product(folder, "a").write_bytes(b"a product")
    batch = read_batch(folder)
    look(batch, ours=True)
    signed = {"pid": 1, "host": "node1", "what": "batch run --engine local", "since": "2023-11-14T22:13:20+00:00"}
    (folder / "lock").write_text(json.dumps(signed))
    return batch

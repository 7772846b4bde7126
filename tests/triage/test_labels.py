"""Files of judgements: what is written is read, cut-off lines are no harm, several people are told apart."""

import csv
import math
import threading
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from astropy.table import Table
from hypothesis import given
from hypothesis import strategies as st

from pulsar.data.unfinished import FileLock
from pulsar.errors import ConfigError, DataError, PulsarError
from pulsar.io import labels
from pulsar.io.labels import (
    LABELS,
    Label,
    Labels,
    Sidecar,
    beside,
    header,
    labels_of,
    lines,
    plain,
    read_labels,
    uid_of,
    whole,
)

WHEN = "2026-01-02T03:04:{:02d}.000Z"


def judged(uid: str, label: str, who: str = "ann", second: int = 0, note: str = "") -> Label:
    return Label(uid, label=label, who=who, note=note, when=WHEN.format(second), period=0.5, dm=10.0, sigma=8.0)


@given(st.text(), st.text(), st.sampled_from(LABELS), st.floats(allow_infinity=False))
def test_what_is_written_is_read(
    tmp_path_factory: pytest.TempPathFactory, note: str, who: str, label: str, dm: float
) -> None:
    path = tmp_path_factory.mktemp("labels") / "a.labels.ecsv"
    entry = replace(judged("#1", label, plain(who, 64), note=plain(note, 2000)), dm=dm, product="a, b.h5")
    Sidecar(path).add([entry, judged("2", "noise")])
    (first, second) = read_labels(path).entries
    assert first.key == entry.key
    assert first.product == "a, b.h5"
    assert first.dm == dm or math.isnan(dm)
    assert second == judged("2", "noise")


@pytest.mark.parametrize("note", ["=1+1", "+1", "-1", "@SUM(1)", "'=1+1", "''-", "'quoted'", "a=1"])
def test_no_spreadsheet_takes_a_note_for_a_formula(tmp_path: Path, note: str) -> None:
    path = tmp_path / "a.labels.ecsv"
    Sidecar(path).add([judged(note, "pulsar", who=note, note=note)])
    cells = next(csv.reader(path.read_text().splitlines()[-1:]))
    # The DM and sigma of the row are numbers, whatever their sign.
    assert [cell for cell in cells if cell[:1] in ("=", "+", "-", "@")] == []
    (entry,) = read_labels(path).entries
    assert (entry.uid, entry.who, entry.note) == (note, note, note)


def test_astropy_reads_it(tmp_path: Path) -> None:
    path = tmp_path / "a.labels.ecsv"
    Sidecar(path).add([judged("1", "pulsar", note='"quoted", and <b>')])
    table = Table.read(path, format="ascii.ecsv")
    assert table.colnames[0] == "uid"
    assert str(table["period"].unit) == "s"
    assert table["note"][0] == '"quoted", and <b>'
    assert table.meta["format"] == "pulsar-labels"


def test_a_file_cut_off_anywhere_loses_the_last_line_at_most(tmp_path: Path) -> None:
    path = tmp_path / "a.labels.ecsv"
    entries = [judged("1", "pulsar"), judged("2", "noise", note="é, ü")]
    text = (header() + lines(entries)).encode()
    first = len((header() + lines(entries[:1])).encode())
    for size in range(0, len(text), 7):
        path.write_bytes(text[:size])
        sidecar = Sidecar(path)
        expected = [e.uid for e in entries[: (size >= first - 1) + (size >= len(text) - 1)]]
        assert [e.uid for e in sidecar.read().entries] == expected
        sidecar.add([judged("3", "known")])
        assert [e.uid for e in read_labels(path).entries] == [*expected, "3"]


@pytest.mark.parametrize("rest", [b'"9","a', b"\0\0\0\0", b'"9","","","","pulsar","","ann",nan,nan,nan,"2026-01-0'])
def test_the_rest_of_a_line_is_left_out(tmp_path: Path, rest: bytes) -> None:
    path = tmp_path / "a.labels.ecsv"
    kept = (header() + lines([judged("1", "pulsar")])).encode()
    path.write_bytes(kept + rest)
    assert whole(kept + rest) == (len(kept), b"")
    assert [e.uid for e in read_labels(path).entries] == ["1"]


def test_a_line_without_its_end_stands(tmp_path: Path) -> None:
    # As some editors leave a file.
    path = tmp_path / "a.labels.ecsv"
    path.write_text((header() + lines([judged("1", "pulsar")])).rstrip("\n"))
    Sidecar(path).add([judged("2", "noise")])
    assert [e.uid for e in read_labels(path).entries] == ["1", "2"]


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (b"\x89HDF", "does not begin with"),
        (b"# %ECSV 1.0\n# ---\nuid,label\n1,2,3\n", "is damaged"),
        (b"# %ECSV 1.0\n# ---\n# datatype:\n# - {name: a, datatype: string}\na\nx\n", "no column"),
        ((header() + lines([judged("1", "alien")])).encode(), "expected one of pulsar"),
        ((header() + lines([replace(judged("1", "pulsar"), when="soon")])).encode(), "judgement 1"),
    ],
)  # fmt: skip
def test_other_files_are_refused(tmp_path: Path, content: bytes, told: str) -> None:
    path = tmp_path / "a.labels.ecsv"
    path.write_bytes(content)
    with pytest.raises(DataError, match=told):
        Sidecar(path)
    assert path.read_bytes() == content


@given(st.integers(0, 2000), st.binary(max_size=6))
def test_a_damaged_file_is_told_or_read(tmp_path_factory: pytest.TempPathFactory, at: int, change: bytes) -> None:
    path = tmp_path_factory.mktemp("labels") / "a.labels.ecsv"
    text = (header() + lines([judged("1", "pulsar"), judged("2", "noise")])).encode()
    at %= len(text)
    path.write_bytes(text[:at] + change + text[at + len(change) :])
    try:
        found = {entry.label for entry in read_labels(path).entries}
    except DataError as error:
        found = set() if str(path) in str(error) else {"a message without the name of the file"}
    assert found <= {"", *LABELS}


def test_the_latest_of_each_person_counts() -> None:
    labels = Labels(
        [judged("1", "noise", second=5), judged("1", "pulsar", second=1), judged("1", "pulsar", "bob", second=2)]
    )
    assert labels.said("1") == ("noise", "pulsar")
    assert labels.label_text("1") == "noise (ann), pulsar (bob)"
    assert labels.matches("1", "disputed")
    assert labels.matches("1", "pulsar")
    assert labels.matches("2", "none")
    assert not labels.matches("1", "none")
    agreed = Labels([*labels.entries, judged("1", "pulsar", second=9)])
    assert agreed.label_text("1") == "pulsar"
    assert not agreed.matches("1", "disputed")
    # What was taken back is no judgement, but is remembered, so that an older copy does not bring it back.
    back = Labels([*labels.entries, judged("1", "", second=9)])
    assert back.label_text("1") == "pulsar"
    assert [(e.who, e.label) for e in back.merged()] == [("bob", "pulsar"), ("ann", "")]


def test_a_name_for_good_does_not_change_with_the_list() -> None:
    pulse = {"id": "p0001", "time": 3.0, "mjd": 59000.123456789, "dm": 56.7}
    assert uid_of(pulse) == uid_of({**pulse, "id": "p0900", "time": 9.0})
    assert uid_of(pulse) != uid_of({**pulse, "mjd": 59000.2})
    assert uid_of({"uid": "abc", "period": 1.0, "epoch": 5.0, "dm": 1.0}) == "abc"
    old = np.array([("", 0.5, 59000.0, 10.0)], dtype=[("uid", "U12"), ("period", "f8"), ("epoch", "f8"), ("dm", "f8")])
    assert uid_of(old[0]) == "p0.5-mjd59000.00000-dm10.00"


def test_two_viewers_at_once_lose_nothing(tmp_path: Path) -> None:
    path = tmp_path / "a.labels.ecsv"
    both = [Sidecar(path), Sidecar(path)]

    def judge(sidecar: Sidecar, who: str) -> None:
        for i in range(50):
            sidecar.add([judged(str(i), "pulsar", who)])

    threads = [threading.Thread(target=judge, args=(s, who)) for s, who in zip(both, ("ann", "bob"), strict=True)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(both[0].read().entries) == 100
    assert all(set(both[1].read().of(str(i))) == {"ann", "bob"} for i in range(50))


def test_a_file_that_is_held_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(labels, "PATIENCE", 0.05)
    path = tmp_path / "a.labels.ecsv"
    sidecar = Sidecar(path)
    with FileLock(path) as lock:
        assert lock.acquire()
        with pytest.raises(PulsarError, match="not kept"):
            sidecar.add([judged("1", "pulsar")])
    sidecar.add([judged("1", "pulsar")])
    assert len(sidecar.read()) == 1


def test_a_full_disk_leaves_what_was_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "a.labels.ecsv"
    sidecar = Sidecar(path)
    sidecar.add([judged("1", "pulsar")])
    before = path.read_bytes()
    real = labels.os.pwrite

    def full(number: int, data: bytes, at: int) -> int:
        if at > len(before):
            raise OSError(28, "No space left on device")
        return real(number, data[:5], at)

    monkeypatch.setattr(labels.os, "pwrite", full)
    with pytest.raises(PulsarError, match="not kept: No space left"):
        sidecar.add([judged("2", "noise")])
    assert path.read_bytes() == before


def test_places_that_cannot_be_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ConfigError, match="does not exist; give another --labels"):
        Sidecar(tmp_path / "no" / "a.labels.ecsv")
    monkeypatch.setattr(labels.os, "access", lambda *_: False)
    with pytest.raises(ConfigError, match="read-only; give --labels FILE"):
        Sidecar(tmp_path / "a.labels.ecsv")


def test_files_beside_products_and_others(tmp_path: Path) -> None:
    products = [tmp_path / "a.h5", tmp_path / "b.h5"]
    Sidecar(beside(products[0])).add([judged("1", "pulsar")])
    Sidecar(tmp_path / "mine.ecsv").add([judged("unknown", "noise", "bob")])
    labels = labels_of(products, [tmp_path / "mine.ecsv"])
    assert [e.uid for e in labels.merged()] == ["1", "unknown"]
    with pytest.raises(DataError, match="no such file"):
        labels_of(products, [tmp_path / "none.ecsv"])

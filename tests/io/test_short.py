"""Files of a night that hold less than their header or their neighbours promise."""

from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from pulsar.batch.records import status
from pulsar.cli.app import app
from pulsar.data.header import Header
from pulsar.io.night import scan
from pulsar.io.psrfits import PsrfitsReader, PsrfitsWriter
from pulsar.io.sigproc import FilterbankWriter

TSAMP, ROWS, NSBLK = 1e-3, 128, 16


def write(folder: Path, beam: int, number: int, rows: int = ROWS) -> Path:
    """A file of a beam that begins when the one before it has ended."""
    folder.mkdir(exist_ok=True)
    path = folder / f"J0534+2200_tracking-M{beam:02d}_{number:04d}.fits"
    header = Header(
        nchans=16, nsamps=0, tsamp=TSAMP, fch1=1500.0, foff=-4.0, source="J0534+2200", telescope="FAST", beam=beam,
        tstart=59000.25 + (number - 1) * ROWS * NSBLK * TSAMP / 86400.0, ra_deg=83.6, dec_deg=22.0,
    )  # fmt: skip
    with PsrfitsWriter(path, header, nsblk=NSBLK) as writer:
        writer.write(np.random.default_rng(beam).integers(1, 200, (16, rows * NSBLK)))
    return path


def keep(path: Path, rows: int) -> None:
    """Cut a file to so many rows, as a copy that was broken off."""
    with PsrfitsReader(path) as obs:
        table = obs._table
    path.write_bytes(path.read_bytes()[: table.offset + rows * table.row_bytes + 7])


def short(folder: Path) -> dict[str, str]:
    return {path.name: text for p in scan([folder]).pointings for path, text in p.short.items()}


def test_a_file_that_was_cut_is_told(tmp_path: Path) -> None:
    path = write(tmp_path / "n", 5, 1)
    assert short(tmp_path / "n") == {}
    keep(path, 5)
    assert short(tmp_path / "n") == {path.name: "holds 80 of the 2048 samples that its header promises"}


def test_a_filterbank_that_was_cut_is_told(tmp_path: Path) -> None:
    path = tmp_path / "a.fil"
    header = Header(nchans=16, nsamps=1000, tsamp=TSAMP, fch1=1500.0, foff=-4.0, tstart=59000.25)
    with FilterbankWriter(path, header) as writer:
        writer.write(np.zeros((16, 1000), dtype=np.uint8))
    data = path.read_bytes().replace(b"HEADER_END", b"\x08\0\0\0nsamples\xe8\x03\0\0\x0a\0\0\0HEADER_END", 1)
    start = data.index(b"\x0a\0\0\0\x08\0\0\0nsamples")
    data = data[:start] + data[start + 4 :]
    path.write_bytes(data)
    assert short(tmp_path) == {}
    path.write_bytes(data[:-160])
    assert short(tmp_path) == {"a.fil": "holds 990 of the 1000 samples that its header promises"}


def test_neighbours_tell_what_the_header_does_not(tmp_path: Path) -> None:
    """Written anew by something that has lost rows, its header is right."""
    for beam in (1, 2):
        write(tmp_path / "n", beam, 1)
        write(tmp_path / "n", beam, 2)
        write(tmp_path / "n", beam, 3, rows=40)
    assert short(tmp_path / "n") == {}  # the last may be shorter
    lost = write(tmp_path / "n", 2, 3, rows=30)
    middle = write(tmp_path / "n", 1, 2, rows=100)
    told = short(tmp_path / "n")
    assert set(told) == {lost.name, middle.name}
    assert told[lost.name].startswith("holds 0.48 s, J0534+2200_tracking-M01_0003.fits 0.64 s")
    assert told[middle.name].startswith("holds 1.6 s, ")


def test_status_tells_it(tmp_path: Path) -> None:
    whole, cut = write(tmp_path / "n", 1, 1), write(tmp_path / "n", 5, 1)
    keep(cut, 5)
    out = tmp_path / "out"
    begun = CliRunner().invoke(app, ["batch", "init", str(tmp_path / "n"), "--out", str(out), "--dm", "0", "20"])
    assert begun.exit_code == 0, begun.output
    told = f"J0534+2200_20200531_M05: {cut.name}: holds 80 of the 2048 samples that its header promises"
    assert f"pulsar: warning: {told}" in begun.stderr
    assert status(out).incomplete == (told,)
    shown = CliRunner().invoke(app, ["batch", "status", str(out)]).stdout
    assert "0 of 2 done, 0 running, 2 left, 0 failed, 1 incomplete" in shown
    assert f"incomplete  {told}" in shown
    assert whole.name not in shown


@pytest.mark.parametrize("stated", ["1000", "400"])
def test_a_series_that_was_cut_is_told(stated: str, tmp_path: Path) -> None:
    (tmp_path / "a.dat").write_bytes(np.zeros(500, dtype=np.float32).tobytes())
    (tmp_path / "a.inf").write_text(
        f" Number of bins in the time series      =  {stated}\n Width of each time series bin (sec)    =  0.001\n"
        " Central freq of low channel (MHz)      =  1182.5\n Total bandwidth (MHz)                  =  400\n"
        " Number of channels                     =  400\n Channel bandwidth (MHz)                =  1\n"
    )
    expected = {"1000": {"a.dat": "holds 500 of the 1000 samples that its header promises"}, "400": {}}
    assert short(tmp_path) == expected[stated]

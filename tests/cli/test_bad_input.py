"""Bad input, as a user meets it: the exit code, a message that names the culprit, and not a file more or less."""

import hashlib
import os
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from reference.command import run

from pulsar.data.header import Header
from pulsar.io.psrfits import PsrfitsWriter
from pulsar.io.sigproc import FilterbankWriter

NCHANS = 32


def state(folder: Path) -> dict[str, str]:
    """Every file below a folder and what is in it."""
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else "folder"
        for path in sorted(folder.rglob("*"))
    }


def fil(path: Path, nsamps: int = 2048, nchans: int = NCHANS, **changes: Any) -> Path:
    header = Header(nchans=nchans, nsamps=0, tsamp=1e-3, fch1=1500.0, foff=-4.0, tstart=55000.0).with_(**changes)
    with FilterbankWriter(path, header, nbits=8) as writer:
        writer.write(np.random.default_rng(1).normal(100, 10, (nchans, nsamps)))
    return path


def fits(path: Path, **options: Any) -> Path:
    header = Header(nchans=NCHANS, nsamps=0, tsamp=1e-3, fch1=1500.0, foff=-4.0, tstart=55000.0)
    with PsrfitsWriter(path, header, nsblk=64, **options) as writer:
        writer.write(np.random.default_rng(1).integers(1, 255, (NCHANS, 640)))
    return path


def patched(path: Path, old: bytes, new: bytes) -> Path:
    raw = path.read_bytes()
    assert raw.count(old) == 1
    path.write_bytes(raw.replace(old, new))
    return path


def cut(path: Path, size: int) -> Path:
    path.write_bytes(path.read_bytes()[:size])
    return path


def written(path: Path, content: str = "") -> Path:
    path.write_text(content)
    return path


Make = Callable[[Path], list[Path]]

UNREADABLE: dict[str, tuple[Make, str]] = {
    "empty": (lambda d: [written(d / "a.fil")], "a.fil: the file is empty (0 bytes)"),
    "empty folder": (lambda d: [d], "folder"),
    "cut header": (lambda d: [cut(fil(d / "a.fil"), 60)], "a.fil"),
    "header only": (lambda d: [cut(fil(d / "a.fil", 1), -1)], "a.fil: holds no complete spectrum"),
    "cut FITS header": (lambda d: [cut(fits(d / "a.fits"), 5000)], "a.fits"),
    "zero rows": (
        lambda d: [patched(fits(d / "a.fits"), b"NAXIS2  =                   10", b"NAXIS2  =                    0")],
        "a.fits: the SUBINT table has zero rows",
    ),
    "NaN scales": (lambda d: [fits(d / "a.fits", dat_scl=np.nan)], "NaN"),
    "no weights": (lambda d: [fits(d / "a.fits", weights=np.zeros(NCHANS))], "DAT_WTS is zero"),
    "other band": (
        lambda d: [fil(d / "a.fil"), fil(d / "b.fil", tstart=55000.0 + 2.048 / 86400, fch1=1600.0)],
        "b.fil",
    ),
    "another day": (lambda d: [fil(d / "a.fil"), fil(d / "b.fil", tstart=55003.0)], "b.fil"),
    "other format": (lambda d: [fil(d / "a.fil"), fits(d / "b.fits")], "b.fits"),
}


@pytest.mark.parametrize("command", ["info", "plan", "search"])
@pytest.mark.parametrize("what", UNREADABLE)
def test_unreadable_input(tmp_path: Path, what: str, command: str) -> None:
    make, message = UNREADABLE[what]
    files = make(tmp_path)
    before = state(tmp_path)
    more = ("--out", tmp_path / "o.h5", "--dm", 0, 50) if command == "search" else ()
    code, out, err = run(command, *files, *more)
    assert (code, out) == (3, "")
    assert message in err
    assert "internal failure" not in err
    assert state(tmp_path) == before


@pytest.mark.parametrize("nsamps", [10, 200])
@pytest.mark.parametrize("command", ["plan", "search"])
def test_too_short_is_told_before_any_work(tmp_path: Path, nsamps: int, command: str) -> None:
    path = fil(tmp_path / "a.fil", nsamps)
    before = state(tmp_path)
    more = ("--out", tmp_path / "o.h5") if command == "search" else ()
    code, out, err = run(command, path, *more)
    assert (code, out) == (3, "")
    assert f"{path}: {nsamps} samples are too few to search for periods, at least 256" in err
    assert state(tmp_path) == before


def test_delays_longer_than_the_data_are_told(tmp_path: Path) -> None:
    code, out, _ = run("plan", fil(tmp_path / "a.fil", 600), "--dm", 0, 5000)
    assert code == 0
    assert "note: above DM 17" in out


def test_a_short_file_is_not_downsampled_away(tmp_path: Path) -> None:
    # At these DMs the plan would sum 16 samples, and leave fewer than a search takes.
    path = fil(tmp_path / "a.fil", 300)
    code, _, err = run("search", path, "--out", tmp_path / "o.h5", "--dm", 0, 2000, "--ncands", 2)
    assert code == 0, err


@pytest.mark.parametrize(
    ("shape", "args"),
    [
        ({"nchans": 1}, ("--dm", 0, 100)),
        ({"nchans": 2}, ("--dm", 0, 100)),
        ({}, ("--dm", 10, 10)),
        ({}, ("--dm", 0, 100, "--ncands", 0)),
    ],
)
def test_odd_but_possible(tmp_path: Path, shape: dict[str, int], args: tuple[object, ...]) -> None:
    path = fil(tmp_path / "a.fil", **shape)
    code, _, err = run("search", path, "--out", tmp_path / "o.h5", "-q", *args)
    assert code == 0, err
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a.fil", "o.h5"]


def test_truncated_data_is_searched_and_told(tmp_path: Path) -> None:
    path = fil(tmp_path / "a.fil")
    raw = path.read_bytes()
    key = struct.pack("<i", 8) + b"nsamples" + struct.pack("<i", 2048)
    at = raw.index(struct.pack("<i", 10) + b"HEADER_END")
    path.write_bytes((raw[:at] + key + raw[at:])[:-1000])
    code, _, err = run("search", path, "--out", tmp_path / "o.h5", "--dm", 0, 50, "--ncands", 1)
    assert code == 0, err
    assert "nsamples" in err
    assert "nsamples" in run("info", path)[1]


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (("--set", "fold.nbins=many"), 'fold.nbins = "many": expected an integer >= 4 and <= 1024'),
        (("--set", "fold.nbins=12.5"), "fold.nbins = 12.5: expected an integer"),
        (("--set", "dedisp.dm_hi=[1, 2]"), "dedisp.dm_hi = [1, 2]: expected a number"),
        (("--set", "rfi.zap=3"), "rfi.zap = 3: expected a list of [low, high] pairs"),
        (("--set", "rfi.zap=[[1, 2, 3]]"), "expected a list of [low, high] pairs"),
        (("--set", "fft.nharm=3"), "fft.nharm = 3: expected one of 1, 2, 4"),
        (("--set", "rfi.zerodm=maybe"), 'rfi.zerodm = "maybe": expected one of off, mean, zdot'),
        (("--set", "fold.nbins=none"), "fold.nbins"),
        (("--set", "dm_hi=3"), "did you mean dedisp.dm_hi?"),
        (("--set", "dedisp"), "expected section.key=value"),
        (("--dm", "nan", 3), "dm_lo = nan"),
        (("--dm", 0, "1e6"), "dedisp.dm_hi = 1000000.0: expected a number >= 0 and <= 100000"),
        (("--set", "fft.p_min=3", "--set", "fft.p_max=1"), "fft.p_min 3 s is not below fft.p_max 1 s"),
        (("--dm", 9000, 9100), "the delay over the band is"),
        (("--dm", 0, 100, "--zap", "1:9999"), "every channel lies in a zapped range"),
        (("--dm", 0, 100, "--memory", "64MiB"), "64 MiB are too little"),
        (("--dm", 0, 100, "--threads", -2), "run.threads = -2: expected an integer >= 0"),
        (("--dm", 0, 100, "--set", "run.scratch=no-such-folder"), "run.scratch"),
    ],
)
def test_wrong_settings_are_told_before_any_work(tmp_path: Path, args: tuple[object, ...], message: str) -> None:
    path = fil(tmp_path / "a.fil")
    before = state(tmp_path)
    code, out, err = run("search", path, "--out", tmp_path / "o.h5", *args)
    assert (code, out) == (2, "")
    assert message in err
    assert state(tmp_path) == before


def test_a_configuration_file_with_a_wrong_key(tmp_path: Path) -> None:
    file = written(tmp_path / "my.toml", "[dedisp]\ndm_max = 3\n")
    for args in (("config", "check", file), ("search", tmp_path / "a.fil", "--config", file)):
        code, out, err = run(*args)
        assert (code, out) == (2, "")
        assert f"{file}: no such key: dedisp.dm_max; did you mean dedisp." in err


@pytest.mark.parametrize("command", ["search", "fold", "inject"])
def test_the_input_is_never_the_output(tmp_path: Path, command: str) -> None:
    path = fil(tmp_path / "a.fil", 600)
    before = state(tmp_path)
    more = {"search": (), "fold": ("--period", 0.1, "--dm", 1), "inject": ("--period", 0.1)}[command]
    code, _, err = run(command, path, "--out", path, "--overwrite", *more)
    assert code == 2
    assert f"{path}: is the input itself" in err
    assert state(tmp_path) == before


def test_fold_with_every_channel_zapped(tmp_path: Path) -> None:
    path = fil(tmp_path / "a.fil", 600)
    code, _, err = run("fold", path, "--period", 0.1, "--dm", 1, "--zap", "1:9999", "--out", tmp_path / "o.h5")
    assert code == 2
    assert "every channel lies in a zapped range" in err
    assert [p.name for p in tmp_path.iterdir()] == ["a.fil"]


def test_a_folded_series_keeps_its_own_dm(tmp_path: Path) -> None:
    series = np.random.default_rng(1).normal(0, 1, 2000).astype("<f4")
    (tmp_path / "a.dat").write_bytes(series.tobytes())
    fields = {
        "Data file name without suffix": "a",
        "Epoch of observation (MJD)": 55000.5,
        "Number of bins in the time series": 2000,
        "Width of each time series bin (sec)": 0.001,
        "Any breaks in the data? (1 yes, 0 no)": 0,
        "Dispersion measure (cm-3 pc)": 12.5,
    }
    written(tmp_path / "a.inf", "".join(f" {key:<38} =  {value}\n" for key, value in fields.items()))
    code, out, err = run("fold", tmp_path / "a.dat", "--period", 0.1, "--dm", 99, "--out", tmp_path / "o.h5", "-q")
    assert code == 0, err
    assert "12.5" in out
    assert "99" not in out.splitlines()[1].split()[3]


def outputs(folder: Path, target: Path) -> list[tuple[object, ...]]:
    path = fil(folder / "a.fil", 600)
    return [
        ("search", path, "--out", target / "o.h5", "--dm", 0, 50),
        ("fold", path, "--period", 0.1, "--dm", 1, "--out", target / "o.h5"),
        ("inject", path, "--period", 0.1, "--out", target / "o.fil"),
        ("simulate", target / "o.fil", "--tobs", 0.1),
        ("simulate", target / "o.fits", "--tobs", 0.1),
        ("config", "init", target / "o.toml"),
    ]


def test_outputs_in_a_missing_folder(tmp_path: Path) -> None:
    for args in outputs(tmp_path, tmp_path / "none"):
        code, out, err = run(*args)
        assert (code, out) == (2, ""), args
        assert str(tmp_path / "none") in err
        assert [p.name for p in tmp_path.iterdir()] == ["a.fil"]


def test_outputs_in_a_folder_that_cannot_be_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    closed = tmp_path / "closed"
    closed.mkdir(mode=0o555)
    if os.geteuid() == 0:  # who may write everywhere
        allowed = os.access
        monkeypatch.setattr(os, "access", lambda path, mode: str(path) != str(closed) and allowed(path, mode))
    for args in outputs(tmp_path, closed):
        code, out, err = run(*args)
        assert (code, out) == (2, ""), args
        assert str(closed) in err
        assert list(closed.iterdir()) == []


def test_outputs_that_exist_are_kept(tmp_path: Path) -> None:
    for name in ("o.h5", "o.fil", "o.fits", "o.toml"):
        written(tmp_path / name, "precious")
    commands = outputs(tmp_path, tmp_path)
    before = state(tmp_path)
    for args in commands:
        code, out, err = run(*args)
        assert (code, out) == (2, ""), args
        assert "exists" in err
        assert "--overwrite" in err
        assert state(tmp_path) == before


@pytest.mark.parametrize("args", [("simulate", "b.fits", "--tobs", 0.1), ("inject", "a.fil", "--period", 0.1)])
def test_the_truth_of_another_file_is_kept(tmp_path: Path, args: tuple[object, ...]) -> None:
    path = fil(tmp_path / "a.fil", 600)
    written(tmp_path / "b.truth.toml", "precious")
    before = state(tmp_path)
    more = ("--out", tmp_path / "b.fil") if args[0] == "inject" else ()
    code, _, err = run(args[0], path if args[0] == "inject" else tmp_path / str(args[1]), *args[2:], *more)
    assert code == 2
    assert "b.truth.toml" in err
    assert state(tmp_path) == before


def test_a_simulation_that_cannot_fit_on_the_disk(tmp_path: Path) -> None:
    code, _, err = run("simulate", tmp_path / "b.fil", "--tobs", "1e11")
    assert code == 2
    assert "b.fil" in err
    assert "free" in err
    assert list(tmp_path.iterdir()) == []

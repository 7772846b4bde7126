"""What is no file, ends early, lies about its size, or meets a full disk: the message, the exit code, nothing left."""

import os
import resource
import struct
import subprocess
import sys
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from fuzz.kinds import HEADER
from reference.command import run
from reference.masks import make_header as mask_header
from reference.masks import presto_bytes
from reference.products import make_candidates, make_fold, make_header, write_product

from pulsar.cleaning.birdies import read_zaplist
from pulsar.cleaning.store import read_presto_mask
from pulsar.errors import DataError, PulsarError
from pulsar.io.open import open_observation
from pulsar.io.product.reader import read
from pulsar.io.product.writer import ProductWriter
from pulsar.io.sigproc import FilterbankWriter
from pulsar.pipeline.checkpoint import Checkpoint


def fil(path: Path, **changes: Any) -> Path:
    with FilterbankWriter(path, HEADER.with_(**changes), nbits=8) as writer:
        writer.write(np.random.default_rng(1).normal(100, 10, (16, 2048)))
    return path


def commands(folder: Path, strange: Path) -> list[tuple[object, ...]]:
    """Every command that reads a file, with a strange one in the place of that file."""
    data = fil(folder / "a.fil")
    return [
        ("info", strange), ("plan", strange), ("search", strange, "--out", folder / "o.h5"),
        ("search", data, "--out", folder / "o.h5", "--mask", strange),
        ("search", data, "--out", folder / "o.h5", "--set", f'rfi.zaplist="{strange}"'),
        ("search", data, "--out", folder / "o.h5", "--catalogue", strange, "--dm", 0, 1),
        ("rfi", strange), ("fold", strange, "--period", 0.1, "--dm", 1, "--out", folder / "o.h5"),
        ("fold", data, "--par", strange, "--out", folder / "o.h5"),
        ("fold", data, "--candidates", strange, "--out", folder / "o.h5"),
        ("inject", strange, "--period", 0.1, "--out", folder / "o.fil"),
        ("candidates", strange), ("why", strange, "--freq", 1), ("report", strange), ("view", strange),
        ("sift", strange, "--out", folder / "o.h5"),
    ]  # fmt: skip


@pytest.mark.parametrize("what", ["pipe", "empty", "device"])
def test_what_is_no_file_of_ours(tmp_path: Path, what: str) -> None:
    strange = tmp_path / "strange.h5"
    if what == "pipe":
        os.mkfifo(strange)
    elif what == "empty":
        strange.touch()
    else:
        strange.symlink_to("/dev/zero")
    for args in commands(tmp_path, strange):
        if what == "empty" and ("rfi.zaplist" in str(args) or "--mask" in args):
            continue
        code, _, err = run(*args)
        assert (code, str(strange) in err) == (3, True), (args, err)
        assert "internal failure" not in err
        assert sorted(p.name for p in tmp_path.iterdir()) == ["a.fil", "strange.h5"], args


def test_a_pipe_for_a_configuration(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "p.toml")
    code, _, err = run("config", "check", tmp_path / "p.toml")
    assert code == 2
    assert "is a pipe" in err


def test_a_file_that_shrinks_while_it_is_read(tmp_path: Path) -> None:
    path = fil(tmp_path / "a.fil")
    with open_observation(path) as obs:
        os.truncate(path, path.stat().st_size // 2)
        with pytest.raises(DataError, match=r"a\.fil: ends at byte .* it was cut while it was being read"):
            obs.read()


def test_a_file_that_grows_while_it_is_read(tmp_path: Path) -> None:
    path = fil(tmp_path / "a.fil")
    with open_observation(path) as obs:
        before = obs.read().data.copy()
        with path.open("ab") as stream:
            stream.write(b"\0" * 5000)
        assert np.array_equal(obs.read().data, before)


def test_sizes_are_checked_before_memory_is_taken(tmp_path: Path) -> None:
    mask = tmp_path / "x.mask"
    good = presto_bytes(np.zeros((3, 24), bool), np.zeros(24, bool), np.zeros(3, bool))
    # A million channels in a hundred thousand intervals, of which none is masked: 100 GB as bytes.
    mask.write_bytes(good[:48] + struct.pack("<5i", 1 << 20, 100_000, 1000, 0, 0) + bytes(400_000))
    with pytest.raises(DataError, match="makes no sense"):
        read_presto_mask(mask)
    zap = tmp_path / "x.birds"
    zap.write_text("1.0 0.1 2000000000 0 0\n")
    with pytest.raises(DataError, match="more than 200000 lines"):
        read_zaplist(zap)
    big = tmp_path / "big.h5"
    with h5py.File(big, "w") as file:
        file.attrs.update({"tsamp": 1e-3, "fch1": 1500.0, "foff": -1.0})
        file.create_dataset("data", shape=(1 << 40, 1, 16), dtype="u1", chunks=(1024, 1, 16))
    with pytest.raises(DataError, match="data should have 17592186044416 bytes, of which the file holds 0"):
        open_observation(big)
    assert mask_header().nchans == 24


def test_a_link_to_another_file_leads_nowhere(tmp_path: Path) -> None:
    path = write_product(tmp_path / "run.h5")
    os.mkfifo(tmp_path / "pipe")
    with h5py.File(path, "r+") as file:
        del file["folds"]
        file["folds"] = h5py.ExternalLink(str(tmp_path / "pipe"), "/folds")
    assert read(path).ids == ()


def test_a_checkpoint_that_the_disk_has_lost(tmp_path: Path) -> None:
    kept = Checkpoint(tmp_path / "o.h5", "f", resume=False)
    kept.save("mask", a=np.arange(3))
    stage = tmp_path / "o.h5.parts" / "mask.npz"
    stage.write_bytes(stage.read_bytes()[:50])
    assert Checkpoint(tmp_path / "o.h5", "f", resume=True).load("mask") is None


HOSTILE = "J1\x1b[31m$x<b>../../up"


def test_names_from_headers_are_shown_escaped(tmp_path: Path) -> None:
    path = fil(tmp_path / "a\x1b[2J.fil", source=HOSTILE)
    code, out, _ = run("info", path)
    assert code == 0
    assert r"J1\x1b[31m$x<b>../../up" in out
    assert "\x1b" not in out
    code, _, err = run("info", tmp_path / "none\x1b]0;x\x07")
    assert code == 3
    assert "\x1b" not in err
    from pulsar.io.night import scan

    assert scan([tmp_path]).pointings[0].name.partition("_")[0] == "J1-x1b-31m-x-b-..-..-up"


def test_a_column_that_no_list_has_is_shown_escaped(tmp_path: Path) -> None:
    path = write_product(tmp_path / "run.h5")
    with h5py.File(path, "r+") as file:
        rows = file["candidates"][()]
        del file["candidates"]
        more = np.zeros(len(rows), dtype=[*((name, rows.dtype[name]) for name in rows.dtype.names), ("path", "S8")])
        for name in rows.dtype.names:
            more[name] = rows[name]
        more["path"] = b"a\x1b[2Jb"
        file.create_dataset("candidates", data=more)
    code, out, _ = run("candidates", path, "--format", "csv")
    assert code == 0
    assert r"a\x1b[2Jb" in out
    assert "\x1b" not in out


def test_no_name_in_a_product_leaves_the_folder_of_its_report(tmp_path: Path) -> None:
    table = make_candidates()
    table["id"] = ["c0001", "..", "x$\\bad{"]
    table["harmonic_of"], table["known_source"] = "", "$\\frac"
    path = tmp_path / "inside" / "run.h5"
    path.parent.mkdir()
    with ProductWriter(path) as writer:
        writer.observation(make_header().with_(source="$\\frac{<script>"))
        writer.table("candidates", table)
        for ident in ("c0001", "x$\\bad{"):
            writer.fold(ident, make_fold(1))
        writer.provenance({"config": ""})
    code, _, err = run("report", path, "--out", tmp_path / "inside" / "report")
    assert code == 0, err
    inside = tmp_path / "inside" / "report"
    assert sorted(str(p.relative_to(inside)) for p in inside.rglob("*")) == ["index.html", "sheets", "sheets/c0001.png"]
    assert [p.name for p in tmp_path.iterdir()] == ["inside"]
    assert "<script>" not in (tmp_path / "inside" / "report" / "index.html").read_text().split("<body", 1)[1][:3000]


def limited(kind: int, most: int, *args: object, cwd: Path) -> subprocess.CompletedProcess[str]:
    code = (
        f"import resource, sys; resource.setrlimit({kind}, ({most}, {most})); sys.argv[0] = 'pulsar'; "
        "from pulsar.cli.app import main; main()"
    )
    return subprocess.run(
        [sys.executable, "-c", code, *map(str, args)], cwd=cwd, capture_output=True, text=True, timeout=120, check=False
    )


@pytest.mark.parametrize("command", ["sift", "config", "report"])
def test_a_full_disk(tmp_path: Path, command: str) -> None:
    path = write_product(tmp_path / "run.h5")
    before = path.read_bytes()
    args = {
        "sift": ("sift", path, "--out", "o.h5"),
        "config": ("config", "init", "o.toml"),
        "report": ("report", path, "--out", "o"),
    }[command]
    done = limited(resource.RLIMIT_FSIZE, 4000, *args, cwd=tmp_path)
    assert done.returncode == 1, done.stderr
    assert "cannot be written: File too large" in done.stderr
    assert "Traceback" not in done.stderr
    assert path.read_bytes() == before
    assert [p.name for p in tmp_path.rglob("*") if p.is_file() and p.name not in ("run.h5", "input.fil")] == []


def test_a_full_disk_under_a_filterbank(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4000, before[1]))
    try:
        with pytest.raises(PulsarError, match=r"a\.fil: cannot be written: File too large"):
            fil(tmp_path / "a.fil")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert list(tmp_path.iterdir()) == []


def test_little_memory_is_told(tmp_path: Path) -> None:
    path = tmp_path / "long.fil"
    fil(path)
    with path.open("ab") as stream:
        stream.truncate(1 << 33)
    code = (
        "import resource; from pulsar.io.open import open_observation; import sys; import pulsar_kernels.unpack\n"
        "obs = open_observation(sys.argv[1])\n"
        "resource.setrlimit(resource.RLIMIT_AS, (1 << 32, 1 << 32))\n"
        "sys.argv = ['pulsar', 'info', sys.argv[1]]\n"
        "from pulsar.cli.app import main; main()"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(path)], capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 0, done.stderr
    assert "536870" in done.stdout

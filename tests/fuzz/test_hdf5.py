"""HDF5 files that end the process, keep it, fill its memory or change: what they do, they do to another process."""

import itertools
import os
import shutil
import struct
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from reference import masks
from reference.command import run
from reference.products import write_product

from pulsar.cleaning.store import read_given, read_mask, write_mask
from pulsar.errors import DataError
from pulsar.io import hdf5, hdf5_apart
from pulsar.io.hdf5 import Hdf5
from pulsar.io.hdf5_apart import Content
from pulsar.io.open import open_observation
from pulsar.io.product.reader import Run, read

SHARED = Path(__file__).resolve().parents[3] / "shared" / "data" / "hostile"


def foreign(path: Path) -> Path:
    """The same file as if another process had written it."""
    os.utime(path, (1, 1))
    return path


def processes() -> set[int]:
    return {one.pid for one in hdf5_apart._pool.processes if not one.ended}


@pytest.fixture(autouse=True)
def fresh() -> None:
    """No process of another test is left, which would not know what this one changes."""
    for one in hdf5_apart._pool.processes:
        one.end()


def mask_file(path: Path, **changes: Any) -> Path:
    header = masks.make_header(**changes)
    stats = masks.make_statistics(header)
    mask = masks.make_mask_of(stats)
    return write_mask(path, masks.NoSamples(header), mask, stats, [], provenance={"config": ""}, overwrite=True)


def abort(*_: object) -> None:
    os.abort()


def stay(*_: object) -> None:
    while True:
        pass


def fill(*_: object) -> None:
    np.ones(1 << 30, dtype=np.uint8)


@pytest.mark.parametrize(
    ("hostile", "message"),
    [
        (abort, "the HDF5 library ended by the signal SIGABRT where it read it"),
        (stay, "the HDF5 library did not come to an end with it"),
        (fill, "Unable to allocate"),
    ],
)
def test_what_a_file_does_to_the_library_it_does_to_another_process(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, hostile: Callable[..., None], message: str
) -> None:
    path = write_product(tmp_path / "run.h5")
    other = foreign(write_product(tmp_path / "other.h5"))
    with Hdf5(other, "a product") as beside:
        monkeypatch.setattr(hdf5_apart, "_PATIENCE", 0.2)
        monkeypatch.setattr(Content, "attributes", hostile)
        code, _, err = run("candidates", foreign(path))
        assert code == 3
        assert f"run.h5: damaged or truncated HDF5 file: the attributes of / cannot be read: {message}" in err
        assert beside.names("folds") == ["c0001", "c0002"]


def test_a_file_that_has_ended_a_process_is_not_tried_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = foreign(write_product(tmp_path / "run.h5"))
    with monkeypatch.context() as patch:
        patch.setattr(Content, "attributes", abort)
        with pytest.raises(DataError, match="SIGABRT"):
            read(path)
        before = processes()
        with pytest.raises(DataError, match="SIGABRT"):
            read(path)
        assert processes() == before
    # Another time of change: perhaps it was mended.
    os.utime(path, (2, 2))
    assert len(read(path)) == 3


def test_what_this_process_has_written_it_reads_itself(tmp_path: Path) -> None:
    path = write_product(tmp_path / "run.h5")
    before = processes()
    own = read(path)
    assert own.ids == ("c0001", "c0002")
    assert processes() == before
    again = read(foreign(path))
    assert len(processes() - before) == 1
    assert again.ids == own.ids
    assert again.attrs == own.attrs
    assert repr(again.rows("candidates")) == repr(own.rows("candidates"))
    assert np.array_equal(again.fold("c0001").profile, own.fold("c0001").profile)
    assert again.provenance == own.provenance


def test_a_copy_of_a_large_process_ends_with_its_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hdf5_apart, "_LARGE", 0)
    before = processes()
    with Hdf5(foreign(write_product(tmp_path / "run.h5")), "a product"):
        made = processes() - before
    assert len(made) == 1
    assert not made & processes()


def test_a_file_that_was_read_may_be_changed(tmp_path: Path) -> None:
    path = foreign(write_product(tmp_path / "run.h5"))
    assert len(read(path)) == 3
    # Nobody keeps it open, or locked.
    with h5py.File(path, "r+") as file:
        file.attrs["label"] = "mine"
    assert read(path).attrs["label"] == "mine"


def test_a_file_that_is_open_in_a_notebook_is_read(tmp_path: Path) -> None:
    path = foreign(write_product(tmp_path / "run.h5"))
    with h5py.File(path) as file, h5py.File(tmp_path / "other.h5", "w"):
        assert file["candidates"].size == len(read(path)) == 3


def test_a_file_that_is_replaced_between_two_questions(tmp_path: Path) -> None:
    path = foreign(write_product(tmp_path / "run.h5"))
    with Hdf5(path, "a product") as file:
        assert file.has("folds")
        file._content._process.end()
        write_product(tmp_path / "new.h5").replace(path)
        with pytest.raises(DataError, match="folds cannot be read: it was changed or replaced while it was being read"):
            file.names("folds")


def test_many_files_share_processes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hdf5_apart, "_MOST_PROCESSES", 3)
    write_product(tmp_path / "run.h5")
    paths = [foreign(Path(shutil.copy(tmp_path / "run.h5", tmp_path / f"{i}.h5"))) for i in range(12)]
    before = processes()
    files = [Hdf5(path, "a product") for path in paths]
    assert len(processes() - before) <= 3
    assert [file.names("folds") for file in files + files] == [["c0001", "c0002"]] * 24
    for file in files:
        file.close()
    assert len(processes()) <= len(before) + 3


def test_a_copy_of_the_process_asks_its_own(tmp_path: Path) -> None:
    path = foreign(write_product(tmp_path / "run.h5"))
    with Hdf5(path, "a product") as file:
        child = os.fork()
        if child == 0:
            os._exit(0 if all(file.names("folds") == ["c0001", "c0002"] for _ in range(50)) else 1)
        assert all(file.names("folds") == ["c0001", "c0002"] for _ in range(50))
        assert os.waitpid(child, 0)[1] == 0


def test_a_product_in_memory_is_read_apart_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    kept = Run.in_memory(foreign(write_product(tmp_path / "run.h5")))
    assert kept.ids == ("c0001", "c0002")
    monkeypatch.setattr(Content, "attributes", abort)
    with pytest.raises(DataError, match="SIGABRT"):
        Run(Path("x"), content=(tmp_path / "run.h5").read_bytes())


# -- memory --------------------------------------------------------------------------------------------------------


def spent() -> float:
    """CPU seconds of this process and of those that it has waited for."""
    return sum(os.times()[:4])


def deflated(n: int) -> bytes:
    """So many zero bytes as zlib has them (RFC 1950): MiB by MiB, which is faster than to compress them."""
    packer = zlib.compressobj(9, wbits=-15)
    mib = packer.compress(bytes(1 << 20)) + packer.flush(zlib.Z_FULL_FLUSH)
    last = zlib.compressobj(9, wbits=-15)
    rest = last.compress(bytes(n % (1 << 20))) + last.flush()
    return b"\x78\xda" + mib * (n >> 20) + rest + struct.pack(">HH", n % 65521, 1)


def zeros(path: Path, name: str, dtype: Any, shape: tuple[int, ...], chunk: tuple[int, ...]) -> Path:
    """Put a data set of deflated zeros in place of another: one packed chunk, written many times."""
    with h5py.File(path, "r+") as file:
        attrs = dict(file[name].attrs)
        del file[name]
        data = file.create_dataset(name, shape=shape, dtype=dtype, chunks=chunk, compression="gzip")
        packed = deflated(np.zeros(chunk, dtype=dtype).nbytes)
        for at in itertools.product(*(range(0, n, c) for n, c in zip(shape, chunk, strict=True))):
            data.id.write_direct_chunk(at, packed)
        data.attrs.update(attrs)
    return path


def peak() -> int:
    """Most bytes that this process has taken since the last look."""
    status = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
    Path("/proc/self/clear_refs").write_text("5")
    return int(status["VmHWM"].split()[0]) * 1024


COLUMNS = np.dtype([("id", "S40"), ("rank", "i4")])
BLOCKS = (1 << 12, 1024)


@pytest.mark.parametrize(
    ("name", "dtype", "shape", "chunk", "command"),
    [
        ("candidates", COLUMNS, (3 << 24,), (1 << 20,), "candidates"),
        ("candidates", np.dtype([("rank", "i4")]), (3 << 24,), (1 << 20,), "report"),
        # As rows of Python they would be 2 GB.
        ("candidates", COLUMNS, (150_000,), (10_000,), "candidates"),
        ("folds/c0001/time_phase", "f8", (3 << 17, 1024), BLOCKS, "report"),
        ("folds/c0001/time_phase", "f8", (3 << 16, 1024), (3 << 16, 1024), "report"),
        ("rfi/mask", "?", (3 << 20, 1024), (1 << 14, 1024), "report"),
    ],
)
def test_gibibytes_of_zeros_in_a_product(
    tmp_path: Path, name: str, dtype: Any, shape: tuple[int, ...], chunk: tuple[int, ...], command: str
) -> None:
    path = zeros(write_product(tmp_path / "run.h5"), name, dtype, shape, chunk)
    assert path.stat().st_size < 4_000_000
    out = ("--out", tmp_path / "report") if command == "report" else ()
    peak()
    before, began = peak(), spent()
    code, _, err = run(command, path, *out)
    assert spent() - began < 5
    assert code == 3
    assert f"run.h5: {name} has the shape {shape}" in err
    assert "MiB of memory; a file of" in err
    assert peak() - before < 1 << 29


def test_gibibytes_of_zeros_in_a_mask(tmp_path: Path) -> None:
    path = zeros(mask_file(tmp_path / "a.mask.h5"), "rfi/baseline", "f8", (3 << 17, 1024), BLOCKS)
    with pytest.raises(DataError, match=r"rfi/baseline has the shape \(393216, 1024\)"):
        read_mask(path)
    with pytest.raises(DataError, match=r"rfi/baseline has the shape \(393216, 1024\)"):
        read_given(path, masks.make_header())


def test_a_chunk_that_cannot_be_unpacked(tmp_path: Path) -> None:
    # Its two samples are shorter than what is said of them.
    path = tmp_path / "a.h5"
    with h5py.File(path, "w") as file:
        data = file.create_dataset("x", data=np.zeros(2, dtype="u1"), chunks=(2,), compression="gzip")
        data.id.write_direct_chunk((0,), b"no deflate")
    with Hdf5(path, "a file") as file:
        with pytest.raises(DataError, match=r"x cannot be read: .*filter returned failure"):
            file.array("x", "u")
        # It goes on.
        pid = file._content._process.pid
        assert file.names("/") == ["x"]
        assert file._content._process.pid == pid


def test_a_chunk_that_unpacks_to_more_than_it_is(tmp_path: Path) -> None:
    path = write_product(tmp_path / "run.h5")
    zeros(path, "folds/c0001/profile", "f4", (64,), (64,))
    with h5py.File(path, "r+") as file:
        file["folds/c0001/profile"].id.write_direct_chunk((0,), deflated(1 << 30))
    peak()
    before = peak()
    with pytest.raises(DataError, match="folds/c0001/profile cannot be read"):
        read(foreign(path)).fold("c0001")
    assert peak() - before < 1 << 28


def test_the_mask_of_a_clean_long_observation_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # Five minutes of a FAST beam in blocks of 0.25 s: 93 MB of zeros and equal rows in 0.4 MB, of which 2 MiB are free.
    nblocks, nchans = 1200, 4096
    band = {"nchans": nchans, "tsamp": 49.152e-6, "foff": -500 / 4096}
    header = masks.make_header(nsamps=5086 * nblocks, nbits=8, **band)
    stats = masks.make_statistics(masks.make_header(nsamps=5086 * 2, **band), nblocks=2)
    path = tmp_path / "a.mask.h5"
    write_mask(path, masks.NoSamples(header), masks.make_mask_of(stats), None, provenance={"config": ""})
    for name, dtype in (("mask", "?"), ("why", "u2"), ("baseline", "f8"), ("noise", "f8")):
        zeros(path, f"rfi/{name}", dtype, (nblocks, nchans), (120, nchans))
    with h5py.File(path, "r+") as file:
        del file["rfi/edges"]
        file["rfi/edges"] = np.arange(nblocks + 1) * 5086
    monkeypatch.setattr(hdf5, "_ROOM", 1 << 21)
    assert path.stat().st_size < 400_000
    with pytest.raises(DataError, match="of memory"):
        read_mask(path)
    assert read_given(path, header).mask.bad.shape == (nblocks, nchans)


# -- observations --------------------------------------------------------------------------------------------------


def fbh5_file(path: Path, packed: dict[str, Any]) -> Path:
    with h5py.File(path, "w") as file:
        data = file.create_dataset("data", shape=(4096, 1, 1024), dtype="u1", chunks=(64, 1, 1024), **packed)
        data[...] = np.random.default_rng(1).integers(0, 9, data.shape, dtype=np.uint8)
        data.attrs.update({"tsamp": 1e-3, "fch1": 1500.0, "foff": -0.5, "nbits": 8, "tstart": 59000.0})
    return path


def test_a_hostile_chunk_in_the_middle_of_an_observation(tmp_path: Path) -> None:
    hdf5plugin = pytest.importorskip("hdf5plugin")
    path = fbh5_file(tmp_path / "a.h5", dict(hdf5plugin.Bitshuffle(cname="lz4")))
    with h5py.File(path, "r+") as file:
        _, chunk = file["data"].id.read_direct_chunk((2048, 0, 0))
        # The length of its first block of samples: what follows lies far behind its end.
        file["data"].id.write_direct_chunk((2048, 0, 0), chunk[:12] + b"\x3f\xff\xff\xff" + chunk[16:])
    with open_observation(path) as obs:
        assert obs.read(0, 2048).data.shape == (1024, 2048)
        with pytest.raises(DataError, match="spectra from 2048 on cannot be read"):
            obs.read(0, 4096)


def test_a_bomb_in_the_middle_of_an_observation(tmp_path: Path) -> None:
    path = fbh5_file(tmp_path / "a.h5", {"compression": "gzip"})
    with h5py.File(path, "r+") as file:
        file["data"].id.write_direct_chunk((2048, 0, 0), deflated(1 << 30))
    peak()
    before = peak()
    with open_observation(path) as obs, pytest.raises(DataError, match="cannot be read"):
        obs.read()
    assert peak() - before < 1 << 28


# -- what has ended or kept the program before ---------------------------------------------------------------------


@pytest.mark.parametrize("name", ["sealed-sigsegv.h5", "product_sealed-signal-6-be666d8577.h5"])
def test_products_that_have_ended_the_program(name: str) -> None:
    if not (SHARED / name).exists():
        pytest.skip(f"needs {SHARED}")
    code, _, err = run("candidates", SHARED / name)
    assert code == 3
    assert name in err


@pytest.mark.parametrize("name", ["sealed-mask-hang.h5", "mask_sealed-signal-11-4e0167ea1f.h5"])
def test_masks_that_have_ended_or_kept_the_program(name: str) -> None:
    if not (SHARED / name).exists():
        pytest.skip(f"needs {SHARED}")
    began = spent()
    with pytest.raises(DataError, match=name):
        read_mask(SHARED / name)
    assert spent() - began < 5


def test_texts_with_zeros_inside_are_shown_escaped(tmp_path: Path) -> None:
    path = write_product(tmp_path / "run.h5")
    with h5py.File(path, "r+") as file:
        rows = file["candidates"][()]
        rows["kind"][0] = b"f\0t"
        file["candidates"][...] = rows
    assert str(read(path).rows("candidates")["kind"][0]) == r"f\x00t"


def test_a_mask_without_the_length_of_its_blocks_is_damaged(tmp_path: Path) -> None:
    path = mask_file(tmp_path / "mask.h5")
    product = write_product(tmp_path / "run.h5")
    with h5py.File(path) as mask, h5py.File(product, "r+") as file:
        del file["rfi"]
        mask.copy("rfi", file)
        file["rfi"].attrs.pop("block_nsamps", None)
    with pytest.raises(DataError, match="block_nsamps"):
        _ = read(product).rfi

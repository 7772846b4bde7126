"""Synthetic folds, candidates and products for the tests of product, report and command line."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from pulsar.cleaning.mask import Mask
from pulsar.data.candidate import CANDIDATE_COLUMNS, DETECTION_COLUMNS, dtype_of, empty_table
from pulsar.data.fold import Fold, FoldCube, FoldParams, HarmonicNoise, LevelledFold
from pulsar.data.header import Header
from pulsar.data.observation import Gap, InputFile
from pulsar.io.product.provenance import Provenance
from pulsar.io.product.writer import ProductWriter


def make_header() -> Header:
    return Header(
        nchans=4,
        nsamps=3_000_000,
        tsamp=98.304e-6,
        fch1=1499.0,
        foff=-100.0,
        tstart=58999.123456,
        source="J0534+2200",
        telescope="FAST",
        telescope_id=21,
        beam=1,
        nbeams=19,
        ra_deg=83.633,
        dec_deg=22.0144,
        az_deg=10.0,
        za_deg=20.0,
        format="psrfits",
    )


def make_fold(seed: int, nbins: int = 64, nsubints: int = 16, nbands: int = 8, nfdot: int = 9) -> Fold:
    rng = np.random.default_rng(seed)
    phase = np.arange(nbins) / nbins
    shape = np.exp(-0.5 * ((phase - 0.4) / 0.03) ** 2)
    shape -= shape.mean()
    height = 35.0 / np.sqrt((shape**2).sum())
    dms = np.linspace(40.0, 72.0, 33)
    freqs = np.linspace(-3e-3, 3e-3, 21)
    expected = 35.0 / np.sqrt(1 + ((dms - 56.7) / 3) ** 2)

    def noisy(*size: int) -> NDArray[np.float32]:
        level = height / np.sqrt(size[0]) if len(size) > 1 else height
        return (level * shape + rng.normal(size=size)).astype(np.float32)

    return Fold(
        before=FoldParams(29.946923, 0.0, 56.5),
        after=FoldParams(29.947323, -1e-7, 56.71),
        freq_err=2.1e-5,
        fdot_err=3e-8,
        dm_err=0.08,
        width_err=0.004,
        flux_err=0.05,
        snr=35.0,
        width=0.09,
        phase=0.41,
        chi2_red=8.3,
        profile=noisy(nbins),
        time_phase=noisy(nsubints, nbins),
        freq_phase=noisy(nbands, nbins),
        time_edges=np.linspace(0.0, 300.0, nsubints + 1),
        band_freqs=1450.0 - 50.0 * np.arange(nbands),
        dms=dms,
        dm_snr=(expected + rng.normal(size=33)).astype(np.float32),
        dm_expected=expected.astype(np.float32),
        freq_offsets=freqs,
        fdot_offsets=np.linspace(-1e-5, 1e-5, nfdot) if nfdot > 1 else np.zeros(1),
        p_pdot=rng.normal(20, 5, size=(nfdot, 21)).astype(np.float32),
        epoch=59000.1,
        tobs=300.0,
        extra={"dm_fit": 0.97, "flags": ["a", "b"], "count": 3},
    )


def make_cube(*, levelled: bool = False) -> FoldCube:
    """Of what :func:`make_fold` could have been made."""
    fold, rng = make_fold(1), np.random.default_rng(5)
    shape = (len(fold.time_edges) - 1, len(fold.band_freqs), 64)
    noise = HarmonicNoise(np.linspace(9.0, 1.0, 33), np.linspace(8.0, 1.0, 33), 6.5)
    data, flat = (rng.normal(size=shape).astype(np.float32) for _ in range(2))
    return FoldCube(
        data,
        np.full(shape, 1.0),
        fold.time_edges,
        fold.band_freqs,
        1549.0,
        fold.before,
        fold.tobs,
        98.304e-6,
        fold.epoch,
        np.linspace(0.0, 0.1, shape[1]),
        LevelledFold(flat, noise) if levelled else None,
        2e-4,
    )


def summed_fold() -> Fold:
    """A fold whose sums over bands and over time are one profile, as those of real ones are."""
    rng = np.random.default_rng(3)
    fold = make_fold(1)
    npart, nsub, nbins = 16, 8, 64
    cube = rng.normal(size=(npart, nsub, nbins)) + 4 * np.exp(-0.5 * ((np.arange(nbins) - 20) / 2) ** 2)
    cube -= cube.mean(axis=2, keepdims=True)
    return replace(
        fold,
        profile=(cube.sum(axis=(0, 1)) / np.sqrt(npart * nsub)).astype(np.float32),
        time_phase=(cube.sum(axis=1) / np.sqrt(nsub)).astype(np.float32),
        freq_phase=(cube.sum(axis=0) / np.sqrt(npart)).astype(np.float32),
        band_freqs=1549.0 - 25.0 - 50.0 * np.arange(nsub),
        after=FoldParams(29.947323, -1e-7, 56.71, 1e-12),
        time_edges=np.linspace(0, fold.tobs, npart + 1),
    )


def make_candidates() -> NDArray[Any]:
    table = empty_table(CANDIDATE_COLUMNS, 3)
    table["rank"] = [1, 2, 3]
    table["id"] = ["c0001", "c0002", "c0003"]
    table["kind"] = "fft"
    table["period"] = [1 / 29.947323, 0.5, 1.0]
    table["period_err"] = [2.3e-8, 1e-6, np.nan]
    table["freq"] = 1 / table["period"]
    table["dm"] = [56.71, 20.0, 3.0]
    table["dm_err"] = [0.08, 0.5, np.nan]
    table["snr"] = [35.0, 12.0, 7.5]
    table["sigma"] = [27.3, 9.0, 4.0]
    table["width"] = [0.09, 0.1, 0.2]
    table["score"] = [0.97, 0.6, 0.1]
    table["nharm"] = [16, 8, 4]
    table["known_source"] = ["B0531+21 é", "", ""]
    table["rfi_flags"] = ["", "", "<b>narrow band</b>"]
    table["harmonic_of"] = ["", "c0001", ""]
    return table


def write_product(path: Path) -> Path:
    source = path.with_name("input.fil")
    source.write_bytes(b"12345")
    record = Provenance(("pulsar", "search", "x.fil"), (source,), "[dedisp]\ndm_hi = 300.0\n", 2)
    with ProductWriter(path) as writer:
        writer.observation(
            make_header(),
            [InputFile(Path("a long name of a file é.fits"), 0, 3_000_000, 12, 1.5e9)],
            [Gap(100, 10, "a row is missing")],
            ["row 3 is missing", "TBIN disagrees"],
        )
        writer.table("candidates", make_candidates())
        writer.fold("c0001", make_fold(1))
        writer.fold("c0002", make_fold(2, nfdot=1))
        writer.table("detections", np.zeros(2, dtype=dtype_of(DETECTION_COLUMNS)))
        mask = np.zeros((3, 4), dtype=bool)
        mask[0, 0] = True
        live = np.array([True, False, True, True])
        edges = 1024 * np.arange(4)
        whole = Mask(live, ("", "dead", "", ""), mask | ~live, edges, np.ones((3, 4)), np.ones((3, 4)))
        writer.rfi(whole.stored(make_header().freqs), [(50.0, 0.1, "mains")])
        writer.provenance(record.record({"clean": (1.5, 2.5), "search": (3.0, 6.0)}))
    return path


def write_beam(path: Path, beam: int, factor: float = 1.0) -> Path:
    """A product of one beam: the same candidates in each, their periods times a factor, with uids of their own."""
    table = make_candidates()
    table["uid"] = [f"{beam}{letter}" for letter in "abc"]
    table["period"] *= factor
    table["freq"] /= factor
    table["snr"] /= beam
    source = path.with_suffix(".fil")
    source.write_bytes(b"1")
    with ProductWriter(path) as writer:
        writer.observation(make_header().with_(beam=beam))
        writer.table("candidates", table)
        writer.fold("c0001", make_fold(beam))
        writer.provenance(Provenance(("pulsar",), (source,), "", 1).record({"search": (1.0, 1.0)}))
    return path


def everything(path: Path) -> dict[str, object]:
    """All that is in a product, byte by byte, but how and when it was made."""
    content: dict[str, object] = {}

    def take(name: str, node: Any) -> None:
        if not name.startswith("provenance"):
            content[name] = name
            if isinstance(node, h5py.Dataset):
                content[name] = repr(np.asarray(node[()]).tolist()) if node.dtype.kind == "O" else node[()].tobytes()
            content[f"{name} attributes"] = {key: repr(value) for key, value in node.attrs.items()}

    with h5py.File(path) as file:
        file.visititems(take)
    assert content
    return content

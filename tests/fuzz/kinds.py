"""Every kind of file that the program reads: valid samples of it, how they are made hostile, and all that reads it."""

import contextlib
import inspect
import io
import json
import random
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from fuzz import batches, hdf5_structure, mutator
from fuzz import texts as written
from fuzz.batches import shown
from fuzz.folds import asked, folded, pfd_files, phcx_files, signals
from reference import masks, products

from pulsar.config.load import load_config, to_toml
from pulsar.data.header import Header
from pulsar.errors import PulsarError

HEADER = Header(
    nchans=16, nsamps=0, tsamp=1e-3, fch1=1500.0, foff=-4.0, tstart=59000.25, source="J0534+2200", telescope="FAST",
    beam=1, ra_deg=83.6, dec_deg=22.0,
)  # fmt: skip
#: What may be raised: wrong usage and unreadable data.
OURS = PulsarError


@dataclass(frozen=True)
class Kind:
    """A kind of file.

    Attributes
    ----------
    name, file : str
        What it is called, and the name of the file that is written.
    samples : callable
        Folder -> contents of valid files; what they need beside them is left in the folder.
    change : callable
        Random numbers, content -> hostile content.
    use : callable
        Reads a file by all that reads this kind; returns what was or would be shown.
    slow : bool
        Takes more than some milliseconds.
    """

    name: str
    file: str
    samples: Callable[[Path], list[bytes]]
    change: Callable[[random.Random, bytes], bytes]
    use: Callable[[Path], str]
    slow: bool = False


def plain(*more: mutator.Change) -> Callable[[random.Random, bytes], bytes]:
    return lambda rng, data: mutator.mutate(rng, data, mutator.PLAIN + more)


def texts(rng: random.Random, data: bytes) -> bytes:
    return mutator.mutate(rng, data, mutator.TEXT)


# -- observations --------------------------------------------------------------------------------------------------


def observation(path: Path) -> str:
    from pulsar.cli import plan
    from pulsar.cli.console import plain
    from pulsar.io.open import open_observation

    with open_observation(path) as obs:
        json.dumps(plain(plan.summary(obs)), allow_nan=False)
        text = shown(lambda: plan._print_observation(obs)) + repr(obs) + obs._repr_html_()
        n = min(obs.header.nsamps, max(1, (1 << 18) // obs.header.nchans))
        obs.read(0, n)
        obs.read(obs.header.nsamps - n, n)
    return text


def filterbanks(folder: Path) -> list[bytes]:
    from pulsar.io.sigproc import FilterbankWriter

    found = []
    table = tuple(1500.0 - 4.0 * i - 0.01 * i**2 for i in range(16))
    for nbits, nifs, more in ((8, 1, {}), (2, 2, {}), (32, 1, {"freq_table": table, "dm": 3.0}), (16, 1, {})):
        path = folder / f"{nbits}.fil"
        with FilterbankWriter(path, HEADER.with_(**more), nbits=nbits, nifs=nifs, ascending=nbits == 2) as writer:
            writer.write(np.random.default_rng(1).normal(3, 1, (16, 40)))
        found.append(path.read_bytes())
    return found


def series(folder: Path) -> list[bytes]:
    from pulsar.io.sigproc import write_header

    header = HEADER.with_(nchans=1, foff=-64.0, is_series=True, dm=12.5)
    samples = np.arange(64)
    return [
        write_header(header, nbits=nbits, nifs=1, ascending=False, signed=nbits == 8) + samples.astype(dtype).tobytes()
        for nbits, dtype in ((32, "<f4"), (8, "i1"), (16, "<u2"))
    ]


def psrfits(folder: Path) -> list[bytes]:
    from pulsar.io.psrfits import PsrfitsWriter

    found = []
    for name, options in (("a", {}), ("b", {"nbits": 4}), ("c", {"npol": 2})):
        path = folder / f"{name}.fits"
        with contextlib.suppress(TypeError):
            with PsrfitsWriter(path, HEADER, nsblk=16, **options) as writer:
                writer.write(np.random.default_rng(1).integers(1, 15, (16, 64)))
            found.append(path.read_bytes())
    return found


def fbh5(folder: Path) -> list[bytes]:
    keys = {"nchans": 16, "nifs": 1, "nbits": 8, "tsamp": 1e-3, "fch1": 1500.0, "foff": -4.0, "tstart": 59000.25,
            "source_name": "J0534+2200", "telescope_id": 21, "machine_id": 0, "data_type": 1, "src_raj": 5.57,
            "src_dej": 22.0, "az_start": 10.0, "za_start": 3.0, "ibeam": 1, "nbeams": 19}  # fmt: skip
    found = []
    for name, dtype, nifs, packed in (
        ("a", "u1", 1, {}),
        ("b", "f4", 2, {"compression": "gzip", "chunks": (8, 2, 16)}),
    ):
        path = folder / f"{name}.h5"
        with h5py.File(path, "w") as file:
            file.attrs.update({"CLASS": "FILTERBANK", "VERSION": "1.0"})
            data = np.random.default_rng(1).integers(0, 255, (40, nifs, 16)).astype(dtype)
            file.create_dataset("data", data=data, **packed).attrs.update(keys)
            file["mask"] = np.zeros((40, nifs, 16), dtype="u1")
        found.append(path.read_bytes())
    return found


INF = """ Data file name without suffix          =  a
 Telescope used                         =  Parkes
 Instrument used                        =  Multibeam
 Object being observed                  =  J1807-0847
 J2000 Right Ascension (hh:mm:ss.ssss)  =  18:07:38.0
 J2000 Declination     (dd:mm:ss.ssss)  =  -08:47:43.2
 Data observed by                       =  Unset
 Epoch of observation (MJD)             =  55000.500000000000000
 Barycentered?           (1 yes, 0 no)  =  0
 Number of bins in the time series      =  500
 Width of each time series bin (sec)    =  0.001
 Any breaks in the data? (1 yes, 0 no)  =  1
 On/Off bin pair #  1                   =  0          , 199
 On/Off bin pair #  2                   =  300        , 499
 Type of observation (EM band)          =  Radio
 Beam diameter (arcsec)                 =  981
 Dispersion measure (cm-3 pc)           =  112.38
 Central freq of low channel (MHz)      =  1182.5
 Total bandwidth (MHz)                  =  400
 Number of channels                     =  400
 Channel bandwidth (MHz)                =  1
 Data analyzed by                       =  me
 Any additional notes:
    none
"""


def inf(folder: Path) -> list[bytes]:
    (folder / "input.dat").write_bytes(np.arange(500, dtype="f4").tobytes())
    return [INF.encode()]


def dat(folder: Path) -> list[bytes]:
    (folder / "input.inf").write_text(INF)
    return [np.arange(500, dtype="f4").tobytes()]


# -- lists and settings --------------------------------------------------------------------------------------------


def zaplist(path: Path) -> str:
    from pulsar.cleaning.birdies import fraction_lost, merged, read_zaplist

    lines = read_zaplist(path, 1e-4)
    return f"{len(merged(lines))} {fraction_lost(lines, 500.0)}"


def par(path: Path) -> str:
    from pulsar.sky.timing import read_par

    model = read_par(path)
    return repr(model) + str(model.topocentric(HEADER.with_(nsamps=1 << 14)))


PARS = (
    "PSRJ J1807-0847\nRAJ 18:07:38.02 1 0.00003\nDECJ -08:47:43.27 1 0.02\nF0 6.107714243738 1 3D-12\n"
    "F1 -1.074D-15 1\nPEPOCH 48244.0\nDM 112.3802\nUNITS TDB\n",
    "PSR B1913+16\nELONG 300.1\nELAT 20.2\nP0 0.059\nP1 8.6E-18\nPEPOCH 52984\nPMRA -1.2\nPMDEC 3\nPOSEPOCH 52984\n"
    "DM 168.77\nBINARY DD\nPB 0.322997\nA1 2.341782\nT0 52144.9\nECC 0.6171\nOM 292.5\nOMDOT 4.2\nPBDOT -2.4\n"
    "GAMMA 0.0042\nXDOT 1E-14\nEDOT 1E-14\n",
    "PSR X\nRAJ 1:2:3\nDECJ 4:5:6\nF0 300\nBINARY ELL1\nPB 1.5\nA1 1.2\nTASC 55000.1\nEPS1 1e-5\nEPS2 2e-5\n",
)  # fmt: skip


def toml(path: Path) -> str:
    return to_toml(load_config(path))


SKY = """nchans = 64
fch1 = 1500.0
foff = -4.0
tsamp = 1e-3
nsamps = 4096
seed = 3

[[pulsars]]
period = 0.1
dm = 30.0
snr = 20.0

[[bursts]]
time = 1.0
dm = 100.0
width = 0.003
snr = 20.0
"""


def sky(path: Path) -> str:
    from pulsar.synthesis.model import load_injection, load_sky

    with contextlib.suppress(OURS):
        repr(load_injection(path))
    return repr(load_sky(path))


def catalogue(path: Path) -> str:
    from pulsar.sky.catalogue import label, nearby, read_catalogue

    found = read_catalogue(path)
    header = HEADER.with_(nsamps=1 << 20)
    rows = products.make_candidates()
    label(rows, header, found)
    near = nearby(found, 83.6, 22.0, 180.0)
    return " ".join(p.name for p in near[:20]) + str([p.topocentric(59000.0, 1e-4) for p in near[:20]])


PSRCAT = """#CATALOGUE 1.70
PSRJ     J0534+2200                    a
RAJ      05:34:31.973     5            b
DECJ     +22:00:52.06     6            b
F0       29.946923        1            c
F1       -3.77535E-10     2
PEPOCH   48442.5
DM       56.77118         24
@-----------------------------------------------------------------
PSRJ     J0737-3039A
ELONG    111.1
ELAT     -50.1
P0       0.0226993785
DM       48.920
PB       0.10225156248
A1       1.415032
@-----------------------------------------------------------------
"""
CSV = """# made by hand
PSRJ;RAJ;DECJ;P0;DM;PB;A1
J0534+2200;05:34:31.9;+22:00:52;0.0333924;56.77;*;*
J0737-3039;07:37:51;-30:39:40;0.0227;48.92;0.10225;1.415
"""
ECSV = """# %ECSV 1.0
# ---
# datatype:
# - {name: PSRJ, datatype: string}
PSRJ,RAJD,DECJD,F0,F1,PEPOCH,DM
J0534+2200,83.6,22.0,29.9,-3.7e-10,48442,56.77
"""


def catalogues(folder: Path) -> list[bytes]:
    import tarfile

    path = folder / "c.tar.gz"
    with tarfile.open(path, "w:gz") as archive:
        entry = tarfile.TarInfo("psrcat_tar/psrcat.db")
        entry.size = len(PSRCAT)
        archive.addfile(entry, io.BytesIO(PSRCAT.encode()))
    return [PSRCAT.encode(), CSV.encode(), ECSV.encode(), path.read_bytes()]


def pointings(path: Path) -> str:
    from pulsar.io.night import read_pointings

    return repr(read_pointings(path))


# -- masks, products -----------------------------------------------------------------------------------------------


def presto_mask(path: Path) -> str:
    from pulsar.cleaning.store import read_given

    found = read_given(path, masks.make_header())
    edges = np.arange(0, 10_301, 103, dtype=np.int64)
    return f"{found.blocks(edges).sum()} {found.block_length(0.3, 10_300)}"


def presto_masks(folder: Path) -> list[bytes]:
    rng = np.random.default_rng(3)
    return [
        masks.presto_bytes(rng.random((11, 24)) < share, rng.random(24) < 0.1, rng.random(11) < 0.15)
        for share in (0.1, 0.6)
    ]


def mask(path: Path) -> str:
    from pulsar.cleaning.store import read_given, read_mask

    found = read_mask(path)
    read_given(path, found.header)
    return repr(found.header) + "".join(found.mask.reasons) + found.config


def mask_files(folder: Path) -> list[bytes]:
    from pulsar.cleaning.birdies import Birdie
    from pulsar.cleaning.store import write_mask

    header = masks.make_header()
    stats = masks.make_statistics(header)
    path = folder / "m.h5"
    write_mask(
        path, masks.NoSamples(header), masks.make_mask_of(stats), stats, [Birdie(50.0, 0.1, "mains")],
        provenance={"config": "[fold]\nnbins = 64\n"}, overwrite=True,
    )  # fmt: skip
    return [path.read_bytes()]


def product_files(folder: Path) -> list[bytes]:
    from pulsar.data.candidate import SINGLE_PULSE_COLUMNS, empty_table
    from pulsar.data.fold import PulseCutout
    from pulsar.io.product.writer import ProductWriter

    whole = products.write_product(folder / "run.h5").read_bytes()
    pulses = empty_table(SINGLE_PULSE_COLUMNS, 2)
    pulses["id"], pulses["rank"], pulses["time"], pulses["dm"] = ["p0001", "p0002"], [1, 2], [3.0, 9.0], [56.0, 10.0]
    pulses["snr"], pulses["width"], pulses["score"], pulses["sigma"] = [20.0, 8.0], 0.002, [0.9, 0.2], [19.0, 5.0]
    other = folder / "pulses.h5"
    with ProductWriter(other, overwrite=True) as writer:
        writer.observations(
            [products.make_header(), products.make_header().with_(beam=2, freq_table=(1499.0, 1400.0, 1300.0, 1200.0))],
            [[], []], [[], []], merged=[("", 0.0), ("", 0.0)], problems=["one"],
        )  # fmt: skip
        writer.table("candidates", products.make_candidates())
        cube = products.make_cube(levelled=True)
        writer.fold("c0001", products.make_fold(1), cube, [(50.0, 0.1)])
        writer.fold("c0001/whole", products.make_fold(2))
        writer.table("single_pulses", pulses)
        rng = np.random.default_rng(1)
        writer.pulse("p0001", PulseCutout(
            spectrum=rng.normal(size=(8, 32)).astype("f4"), freqs=np.linspace(1500, 1200, 8),
            plane=rng.normal(size=(5, 32)).astype("f4"), dms=np.linspace(50, 60, 5), dm=56.0, time=3.0, width=0.002,
            start=2.9, tsamp=0.005, tstart=59000.0, fref=1500.0,
        ))  # fmt: skip
        writer.provenance({"config": to_toml(load_config(), with_help=False)})
    return [whole, other.read_bytes()]


def product(path: Path) -> str:
    """All that reads a product, but for pictures and what writes another one."""
    from pulsar.cli.folds import from_product
    from pulsar.cli.products import RowOptions, candidates
    from pulsar.cli.tables import print_lists
    from pulsar.handover.candidate import candidate_of
    from pulsar.handover.formats import FORMATS
    from pulsar.io.product import schema
    from pulsar.io.product.reader import read
    from pulsar.report.why import Question, why

    run, listed = read(path), inspect.unwrap(candidates)
    parts: list[Callable[[], Any]] = [
        lambda: print_lists(run, top=10),
        lambda: [listed([path], form=form, wanted=RowOptions(pulses=p, everything=True))
                 for form in ("csv", "json", "table") for p in (False, True)],
        lambda: [run.table(name) for name in schema.TABLES],
        lambda: (run.provenance, run.problems, run.rfi),
        lambda: [repr(f) + f._repr_html_() for f in (run.fold(i) for i in run.ids)],
        lambda: [repr(run.cube(i)) + repr(run.fold(i, whole=True)) for i in run.ids],
        lambda: [repr(run.pulse(i)) for i in run.pulse_ids],
        lambda: print(repr(run), run._repr_html_(), run.observations),
        lambda: print("\n".join(why(run, Question(freq=29.947)))),
        lambda: print("\n".join(why(run, Question(time=3.0)))),
        lambda: from_product(path, [], [], None),
        lambda: [str(form(candidate_of(run, i))) for i in run.ids for form in FORMATS.values()],
    ]  # fmt: skip
    # Some of them each time: which, the content says.
    start = zlib.crc32(path.read_bytes()) % len(parts)
    text = ""
    for part in (parts + parts)[start : start + 3]:
        with contextlib.suppress(OURS):
            text += shown(part)
    return text


def merging(path: Path) -> str:
    """A product merged with another one, and sifted."""
    from pulsar.io.product.reader import read
    from pulsar.io.product.writer import Target
    from pulsar.nights.merge import merge

    whole = path.with_name("run.h5")
    out = path.with_name("merged.h5")
    merge([read(path), read(whole)], Target(out, True), load_config())
    return ""


def page(path: Path) -> str:
    """The report of a product, and the pictures of it; nothing may be written beside its folder."""
    from pulsar.io.product.reader import read
    from pulsar.report.page import write_report

    folder = path.parent / "report"
    index = write_report([read(path)], folder, top=3)
    wrong = list(path.parent.parent.glob("*.png"))
    assert not wrong, f"written outside the folder of the report: {wrong}"
    return index.read_text(encoding="utf-8")


def resumed(path: Path) -> str:
    from pulsar.pipeline.checkpoint import Checkpoint

    folder = path.parent / "x.h5.parts"
    folder.mkdir(exist_ok=True)
    (folder / "fingerprint").write_text("f")
    (folder / "detect.npz").write_bytes(path.read_bytes())
    return str(Checkpoint(path.parent / "x.h5", "f", resume=True).load("detect"))


def checkpoints(folder: Path) -> list[bytes]:
    content = io.BytesIO()
    np.savez(content, a=np.arange(20.0), b=np.array(["x", "y"]), c=np.zeros((2, 3), dtype=[("u", "f4"), ("v", "U3")]))
    return [content.getvalue()]


def hdf5(rng: random.Random, data: bytes) -> bytes:
    """An HDF5 file after changes of bytes, or of what is in it by its own library."""
    if rng.random() < 0.55:
        return mutator.mutate(rng, data, mutator.PLAIN)
    # What the library refuses to write is not written.
    hdf5_errors = (OSError, KeyError, ValueError, TypeError, RuntimeError, OverflowError, MemoryError)
    content = io.BytesIO(data)
    with h5py.File(content, "r+") as file:
        names: list[str] = []
        file.visit(names.append)
        for _ in range(rng.choice((1, 1, 2, 3))):
            with contextlib.suppress(*hdf5_errors):
                _structure(rng, file, rng.choice(names), names)
    return content.getvalue()


def newest(samples: Callable[[Path], list[bytes]]) -> Callable[[Path], list[bytes]]:
    """The same files, and their content in the newest form of HDF5, which has checksums."""

    def both(folder: Path) -> list[bytes]:
        found = samples(folder)
        for old in list(found):
            new = io.BytesIO()
            with h5py.File(io.BytesIO(old)) as source, h5py.File(new, "w", libver="latest") as copy:
                copy.attrs.update(source.attrs)
                source.visititems(lambda name, item, copy=copy: _again(copy, name, item))
            found.append(new.getvalue())
        return found

    return both


def _again(copy: Any, name: str, item: Any) -> None:
    if isinstance(item, h5py.Group):
        made = copy.create_group(name)
    else:
        # Some of each index of chunks: of one, of a fixed number, of any number along one axis or two.
        cut = item.ndim and item.size > 1
        packed = {"chunks": tuple(max(1, n // 3) for n in item.shape), "compression": "gzip"} if cut else {}
        free = zlib.crc32(name.encode()) % 3
        longest = tuple(None if i < free else n for i, n in enumerate(item.shape)) if cut else None
        made = copy.create_dataset(name, data=item[()], dtype=item.dtype, maxshape=longest, **packed)
    made.attrs.update(item.attrs)


def _value(rng: random.Random) -> Any:
    return rng.choice(
        (rng.choice(mutator.INTS), rng.choice(mutator.FLOATS), rng.choice(mutator.TEXTS), "x" * 3000, b"\xff\xfe",
         np.zeros(0), np.zeros((2, 2)), np.array([b"a", b"b"]), np.float16(1), np.uint64(2**64 - 1), True,
         h5py.Empty("f"), np.complex64(1j), 2**62, "../../x", "\x1b[2Jx", "$\\bad{", np.array([1, 2, 3])),
    )  # fmt: skip


def _structure(rng: random.Random, file: Any, name: str, names: list[str]) -> None:
    item = file[rng.choice((name, name, "/"))]
    how = rng.randrange(9)
    if how <= 2 and len(item.attrs):
        item.attrs[rng.choice(sorted(item.attrs))] = _value(rng)
    elif how == 3 and len(item.attrs):
        del item.attrs[rng.choice(sorted(item.attrs))]
    elif how == 4:
        del file[name]
    elif how == 5:
        other = rng.choice(names)
        del file[name]
        file[name] = rng.choice((file[other], h5py.SoftLink("/" + other), h5py.ExternalLink("/dev/zero", "/x")))
    elif how == 6:
        file.move(name, rng.choice((name + "x", "folds/../../x", "folds/a", "pulses/\x1b[31m", "x" * 300)))
    elif isinstance(file[name], h5py.Dataset):
        _data(rng, file, name)
    else:
        del file[name]
        file[name] = _value(rng)


def _data(rng: random.Random, file: Any, name: str) -> None:
    item = file[name]
    how = rng.randrange(5)
    data, attrs = np.asarray(item[()]), dict(item.attrs)
    if how == 0 and data.dtype.names and data.size:
        column, row = rng.choice(data.dtype.names), rng.randrange(data.size)
        data[column][row] = _value(rng)
        item[...] = data
        return
    if how == 0 and data.size and data.dtype.kind in "fiu":
        data.reshape(-1)[rng.randrange(data.size)] = rng.choice(mutator.FLOATS)
        item[...] = data
        return
    del file[name]
    if how == 1:
        shape = tuple(rng.choice((0, 1, n, n + 1, 1 << 20)) for n in data.shape) or (1,)
        file.create_dataset(name, shape=shape, dtype=item.dtype if data.dtype.kind != "O" else "f4", chunks=True)
    elif how == 2 and data.dtype.names:
        kept = [n for n in data.dtype.names if rng.random() < 0.9]
        types = [(n, data.dtype[n] if rng.random() < 0.95 else rng.choice(("f4", "i8", "S3", "2f8"))) for n in kept]
        file.create_dataset(name, data=np.zeros(len(data), dtype=types))
    elif how == 3:
        file.create_dataset(name, data=data.reshape(-1)[: rng.choice((0, 1, 2))])
    else:
        file[name] = _value(rng)
    file[name].attrs.update(attrs)


KINDS: tuple[Kind, ...] = (
    Kind("sigproc", "input.fil", filterbanks, plain(mutator.sigproc_value, mutator.sigproc_value), observation),
    Kind("tim", "input.tim", series, plain(mutator.sigproc_value, mutator.sigproc_value), observation),
    Kind("psrfits", "input.fits", psrfits, plain(mutator.fits_card, mutator.fits_card, mutator.fits_card), observation),
    Kind("fbh5", "input.h5", fbh5, hdf5, observation, slow=True),
    Kind("inf", "input.inf", inf, texts, observation),
    Kind("dat", "input.dat", dat, plain(), observation),
    Kind("pfd", "input.pfd", pfd_files, plain(mutator.binary_number, mutator.binary_number), folded),
    Kind("phcx", "input.phcx", phcx_files, texts, folded),
    Kind("asked", "input.csv", signals, texts, asked),
    Kind("presto mask", "input.mask", presto_masks, plain(mutator.binary_number), presto_mask),
    Kind("zaplist", "input.zaplist", lambda _: [b"# c\n50 0.1\nB10.2 0.01\n", b"50.0 0.1 20 1 0\n7 0.02 3 0 1\n"],
         texts, zaplist),
    Kind("par", "input.par", lambda _: [p.encode() for p in PARS], texts, par),
    Kind("toml", "input.toml", lambda _: [to_toml(load_config()).encode(), b'preset = "default"\n[fold]\nnbins = 64\n'
         b"[rfi]\nzap = [[1000, 1010.5]]\n[run]\nmemory = '2GiB'\n"], texts, toml),
    Kind("sky", "input.toml", lambda _: [SKY.encode()], texts, sky),
    Kind("catalogue", "input.cat", catalogues, texts, catalogue),
    Kind("pointings", "input.csv", lambda _: [b"source,beam,ra,dec\nJ0534+2200,1,05:34:31,+22:00:52\nX,,83.6,-5\n"],
         texts, pointings),
    Kind("labels", "input.labels.ecsv", written.labels_files, texts, written.labels),
    Kind("classes", "input.csv", written.class_files, texts, written.classes),
    Kind("request", "input.http", written.requests, texts, written.answered),
    Kind("binary", "input.par", lambda _: [p.encode() for p in written.BINARIES], written.stretched, par),
    Kind("pulsars", "input.cat", written.catalogue_files, written.stretched, catalogue),
    Kind("template", "input.csv", written.templates, written.stretched, written.template),
    Kind("survey", "input.toml", lambda _: [written.SURVEY], written.stretched, written.survey),
    Kind("skies", "input.toml", written.skies, written.stretched, sky),
    Kind("weights", "input.json", written.weights_files, written.stretched, written.weights),
    Kind("rates", "input.json", written.rates_files, written.stretched, written.rates),
    Kind("list", "input.txt", written.lists, texts, written.listed),
    Kind("candidates", "input.txt", written.candidate_lists, written.stretched, written.candidates),
    Kind("bench", "input.json", written.document_files, written.stretched, written.document),
    Kind("mask", "input.h5", mask_files, hdf5, mask, slow=True),
    Kind("product", "input.h5", product_files, hdf5, product, slow=True),
    Kind("merge", "input.h5", product_files, hdf5, merging, slow=True),
    Kind("report", "input.h5", product_files, hdf5, page, slow=True),
    *(Kind(f"{name} structure", "input.h5", newest(samples), hdf5_structure.hostile, use, slow=True)
      for name, samples, use in (("fbh5", fbh5, observation), ("mask", mask_files, mask),
                                 ("product", product_files, product), ("merge", product_files, merging),
                                 ("report", product_files, page))),
    Kind("checkpoint", "input.npz", checkpoints, plain(), resumed),
    Kind("batch list", "input.jsonl", batches.lists, batches.json_lines, batches.used("units.jsonl")),
    Kind("batch record", "input.json", batches.records, batches.json_lines, batches.used("records/d.json")),
    Kind("batch index", "input.json", batches.indices, batches.json_lines, batches.used("index.json")),
    Kind("batch submission", "input.json", batches.submissions, batches.json_lines, batches.submission),
    Kind("batch array", "input.json", batches.arrays, batches.json_lines, batches.last_array),
)  # fmt: skip

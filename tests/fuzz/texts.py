"""Texts of people and of other programs: valid samples, numbers at the ends of floats, and all that reads them."""

import contextlib
import io
import json
import random
from pathlib import Path
from typing import Any, get_type_hints

import numpy as np
from fuzz import mutator
from reference import products


def stretched(rng: random.Random, data: bytes) -> bytes:
    """Changes of a text, half of which put a number at the ends of what a float holds."""
    return mutator.mutate(rng, data, mutator.TEXT + (mutator.extreme,) * len(mutator.TEXT))


# -- judgements ----------------------------------------------------------------------------------------------------


def labels_files(_folder: Path) -> list[bytes]:
    from pulsar.io.labels import Label, header, lines

    def entry(uid: str, **more: Any) -> Label:
        return Label(uid, "run.h5", "J0534 59000.25", "c0001", when="2026-01-02T03:04:05.000Z", **more)

    own = [entry("#1", label="pulsar", who="ann", note='"so", it is', period=0.033, dm=56.7, sigma=20.0)]
    more = [entry("#1", label="noise", who="bob"), entry("b", who="ann", note="=1+1"), entry("#1", who="bob")]
    return [(header() + lines(entries)).encode() for entries in (own, own + more)]


def labels(path: Path) -> str:
    from pulsar.io.labels import lines, read_labels

    found = read_labels(path)
    uids = sorted({entry.uid for entry in found.entries})
    return lines(found.merged()) + str([(found.label_text(uid), found.matches(uid, "disputed")) for uid in uids])


class Wire:
    """A connection on which a request has come, and that keeps what is answered."""

    def __init__(self, request: bytes) -> None:
        self.request, self.answered = request, b""

    def makefile(self, *_how: Any) -> io.BytesIO:
        return io.BytesIO(self.request)

    def sendall(self, data: bytes) -> None:
        self.answered += bytes(data)

    def settimeout(self, _seconds: float) -> None:
        """Nothing is waited for."""


_SERVERS: dict[Path, Any] = {}


def _server(folder: Path) -> Any:
    """The server of `pulsar view` of a product in a folder, which listens but is not asked there."""
    from pulsar.io.product.reader import read
    from pulsar.triage.server import Server
    from pulsar.triage.site import Site

    if folder not in _SERVERS:
        for server in _SERVERS.values():
            server.server_close()
        _SERVERS.clear()
        server = Server(Site([read(products.write_product(folder / "run.h5"))], "ann"))
        server.token, server.hosts = "TOKEN", ("127.0.0.1:80",)
        _SERVERS[folder] = server
    return _SERVERS[folder]


def requests(folder: Path) -> list[bytes]:
    uid = next(iter(_server(folder).site.rows))
    body = json.dumps({"uid": uid, "label": "pulsar", "note": "a note"}).encode()
    head = b"Host: 127.0.0.1:80\r\nOrigin: http://127.0.0.1:80\r\n"
    kept = b"POST /TOKEN/labels HTTP/1.1\r\n" + head + b"Content-Type: application/json\r\nContent-Length: %d\r\n\r\n"
    return [
        kept % len(body) + body,
        kept % len(body) + body,
        *(
            b"GET /TOKEN/" + path + b" HTTP/1.1\r\n" + head + b"\r\n"
            for path in (b"labels", b"beside?uid=" + uid.encode())
        ),
    ]


def answered(path: Path) -> str:
    from pulsar.triage.server import Handler

    server, wire = _server(path.parent), Wire(path.read_bytes())
    Handler(wire, ("127.0.0.1", 1), server)  # type: ignore[arg-type]
    kept = path.with_name("run.labels.ecsv")
    if kept.exists() and kept.stat().st_size > 1 << 16:
        kept.unlink()
    return wire.answered.decode("utf-8", "replace").replace("\r\n", "\n") if b"image/png" not in wire.answered else ""


# -- ephemerides, catalogues and templates -------------------------------------------------------------------------

BINARIES = tuple(
    f"PSR X\nRAJ 18:07:38\nDECJ -8:47:43\nP0 0.0123\nP1 1E-20\nPEPOCH 55000\nDM 30\nBINARY {model}\nPB 1.5\nA1 1.9\n"
    + more
    for model, more in (
        ("BT", "T0 55000.1\nECC 0.61\nOM 292\nGAMMA 0.004\n"),
        ("DD", "T0 55000.1\nECC 0.1\nOM 2\nOMDOT 4.2\nPBDOT -2.4E-12\nXDOT 1E-14\nEDOT 1E-14\nM2 1\nSINI 0.9\n"),
        ("DDS", "T0 55000.1\nE 0.9\nOM 2\nSHAPMAX 3\nPX 1\nF2 1E-25\n"),
        ("DDH", "T0 55000.1\nECC 0\nH3 1E-7\n"),
        ("ELL1", "TASC 55000.1\nEPS1 1e-6\nEPS2 -2e-7\nPMRA 3\nPMDEC -4\nPOSEPOCH 54000\n"),
        ("ELL1H", "TASC 55000.1\nEPS1 1e-6\nEPS2 -2e-7\nH3 1D-7\nEPHVER 2\n"),
    )
)


def catalogue_files(_folder: Path) -> list[bytes]:
    rows = (
        ("PSRJ", "RAJ", "DECJ", "P0", "P1", "DM", "PB", "A1"),
        ("J0006+1834", "00:06:04", "+18:34", "0.69", "2e-15", "11", "*", "*"),
        ("J1000-0530", "10:00:00", "-05:30:12", "0.005", "1e-20", "50", "1.5", "2"),
    )
    tables = [separator.join(row) for separator in (";", ",", "\t") for row in rows]
    records = "@---\n".join(
        "".join(f"{key:<8} {value:<20} 1  x\n" for key, value in zip(rows[0], row, strict=True)) for row in rows[1:]
    )
    return [
        *("\n".join(tables[i : i + 3]).encode() + b"\n" for i in (0, 3, 6)),
        f"#CATALOGUE 2\n{records}@--\n".encode(),
    ]


def templates(_folder: Path) -> list[bytes]:
    turns = (np.arange(16) + 0.5) / 16
    levels = np.exp(-0.5 * ((turns - 0.4) / 0.1) ** 2)
    rows = [f"{at:.5g},{3 * level:.5g},{level:.5g}" for at, level in zip(turns, levels, strict=True)]
    return [
        "\n".join(["phase,intensity,template", *rows, ""]).encode(),
        "\n".join(["x", *rows]).replace(",", " ").encode(),
    ]


def template(path: Path) -> str:
    from pulsar.handover.timing import match, read_template

    return str(match(np.eye(1, 64)[0] * 9, read_template(path)))


def class_files(_folder: Path) -> list[bytes]:
    return [
        b"beamid,utc,png,classification\n1,2020-05-31T06:00:00,plots/c0001_x.png,T1_CAND\n2,x,plots/b.png,UNCAT\n",
        b"pointing_id,png_path,tobs,classification\n0,plots/c0001_x.png,300,RFI\n1,b.png,nan,NB_PSR\n",
    ]


def classes(path: Path) -> str:
    from pulsar.handover.formats import read_classes

    return str(len(read_classes(path)))


# -- settings and skies --------------------------------------------------------------------------------------------

SURVEY = b"""name = "drift"
[observing]
beams = 19
hours = 600.0
hours_per_day = 8.0
length = 600.0
overlap = 0.5
[band]
low = 1000.0
high = 1500.0
nchans = 64
tsamp = 2e-3
npol = 2
[search]
config = "default"
set = ["dedisp.dm_hi=50"]
[machine]
nodes = 4
cores = 64
memory = "256GB"
storage = 2.0
stage_in = true
"""


def survey(path: Path) -> str:
    from pulsar.followup.survey import load_survey

    return repr(load_survey(path))


def skies(_folder: Path) -> list[bytes]:
    from pulsar.synthesis.model import demo_sky
    from pulsar.synthesis.write import to_toml

    return [to_toml(demo_sky().model_dump()).encode()]


# -- what the program keeps itself ---------------------------------------------------------------------------------


def weights_files(_folder: Path) -> list[bytes]:
    from importlib.resources import files

    return [(files("pulsar.sources") / "weights.json").read_bytes()]


def weights(path: Path) -> str:
    from pulsar.sources.score import scorer_of

    return repr(scorer_of(str(path)))


def rates_files(folder: Path) -> list[bytes]:
    from pulsar.pipeline.progress import PLANNED, Rates, StageRate, write_rates

    write_rates(
        Rates({name: StageRate(start, 2.0, 1.5) for name, (start, _) in PLANNED.items()}, 3), folder / "kept.json"
    )
    return [(folder / "kept.json").read_bytes()]


def rates(path: Path) -> str:
    from pulsar.pipeline.progress import read_rates

    return read_rates(path).source


def lists(folder: Path) -> list[bytes]:
    names = [folder / name for name in ("a.fil", "b.fits")]
    for name in names:
        name.touch()
    return [f"# mine\n{names[0]}\n\n{names[1]}\n{folder}\n".encode()]


def listed(path: Path) -> str:
    from pulsar.batch.drive import listed as files_of

    missing: list[str] = []
    return f"{len(files_of([path], missing))} {len(missing)}"


def candidate_lists(folder: Path) -> list[bytes]:
    from pulsar.constants import C

    series = (
        " Epoch of observation (MJD)             =  58999.1245\n Barycentered?           (1 yes, 0 no)  =  0\n"
        " Number of bins in the time series      =  65536\n Width of each time series bin (sec)    =  0.001\n"
        " Dispersion measure (cm-3 pc)           =  40\n"
    )
    (folder / "input.inf").write_text(series)
    found = f"1  33.1  579.5  2140.0  4  12.3(1)  81.3(1)  5328.25(13)  -2.3(3)x10^-4  -4.00(50)  {-4 * C:g}\n"
    return [
        b"name,P0,DM,accel,epoch\nJ1,0.0123,40,5,58999\n,2.5,7,,\n",
        b"# %ECSV 1.0\n# ---\n# datatype:\n# - {name: P, unit: ms, datatype: float64}\n"
        b"# - {name: DM, datatype: float64}\nP DM\n12.3 40.0\n",
        f"Num Period FFT 'r' FFT 'z'\n{found}\n\n{series}".encode(),
        f"Num Period FFT 'r' FFT 'z' FFT 'w'\n{found.replace('(50)  ', '(50)  0.0(5.0)  ')}\n\n{series}".encode(),
        b"#file:candnum DM SNR sigma numharm ipow cpow P(ms) r z numhits\n"
        b"input_ACCEL_20:1 40.0 30.1 33.0 4 579.5 2140.0 12.3 5328.2 -4.0 (2)\n  DM= 40.00 SNR=30.1 Sigma=33.0 ***\n",
        b"#id dm acc F0 F1 F2 S/N\n1 40 0 81.3 -1e-4 0 30\n2 10 5 3.2 0 0 9\n",
        b"#Pepoch 58999.1245\n#id dm_old dm_new f0_old f0_new f1_new acc_new\n1 41 40 80 81.3 0 2\n",
    ]


def candidates(path: Path) -> str:
    from pulsar.pipeline.ephemerides import ephemerides_of_list

    header = products.make_header()
    given = ephemerides_of_list(path)
    return repr(given) + repr([ephemeris.params(header) for ephemeris in given])


def document_files(_folder: Path) -> list[bytes]:
    from pulsar.bench.figures import FORMAT, FORMAT_VERSION, BenchRun, Figure, StageFigure
    from pulsar.bench.limits import Limits

    tables = {"limits": [_filled(Limits)], "figures": [_filled(Figure)], "stages": [_filled(StageFigure)]}
    run = {**_filled(BenchRun), "format": FORMAT, "format_version": FORMAT_VERSION, **tables}
    return [json.dumps(run).encode()]


def _filled(kind: type) -> dict[str, Any]:
    """A value for each field."""
    values = {str: "x", int: 1, dict[str, str]: {"numpy": "2"}}
    return {name: values.get(held, 1.5) for name, held in get_type_hints(kind).items()}


def document(path: Path) -> str:
    """Beside itself: all numbers are used, all names are shown."""
    from pulsar.cli.setup import _compare

    with contextlib.redirect_stdout(io.StringIO()) as text:
        _compare((path, path), [], False, False, None)
    return text.getvalue()

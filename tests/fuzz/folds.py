"""Folds of other programs, and what is learnt from labels: valid samples, and all that reads them."""

import gzip
import io
from dataclasses import replace
from pathlib import Path

import numpy as np
from reference import products

# -- folds -----------------------------------------------------------------------------------------------------------


def folded(path: Path) -> str:
    from pulsar.io.folded import read_folded

    read = read_folded(path)
    return f"{read.name} {read.header!r} {read.cube!r} {read.stated} {read.problems}"


def phcx_files(_folder: Path) -> list[bytes]:
    from reference.folded import BEST, phcx, rows_of_a_pulsar, section

    times, bands = rows_of_a_pulsar(4, 30.0, nbins=16, width=0.05), rows_of_a_pulsar(3, 30.0, nbins=16, width=0.05)
    alone, both = section("FFT", times, None, BEST), section("FFT-pdmpd", times, bands, BEST)
    return [phcx([alone, both]), gzip.compress(phcx([both]), mtime=0), phcx([alone])]


def pfd_files(_folder: Path) -> list[bytes]:
    from pulsar.handover.candidate import Exported
    from pulsar.handover.formats import pfd_bytes

    fold = products.summed_fold()
    one = Exported("c0001", "X", {}, fold, products.make_header(), (Path("a.fil"),), Path("run.h5"))
    series = replace(fold, freq_phase=fold.profile[None], band_freqs=np.array([1300.0]))
    return [pfd_bytes(one), pfd_bytes(replace(one, fold=series, header=one.header.with_(nchans=1, is_series=True)))]


def asked(path: Path) -> str:
    from pulsar.synthesis.population import read_asked

    return f"{read_asked(path)}"


def signals(_folder: Path) -> list[bytes]:
    """Tables of signals to be injected."""
    from astropy.table import QTable

    table = QTable({"period": [33.0, 5.0], "dm": [20.0, 30.0]}, units={"period": "ms", "dm": "pc / cm3"})
    table["kind"] = ["pulsar", "pulsar"]
    text = io.StringIO()
    table.write(text, format="ascii.ecsv")
    return [b"kind,period,dm,snr,width,accel\npulsar,0.1,20,,0.004,-3\nburst,,0,12,,\n", text.getvalue().encode()]

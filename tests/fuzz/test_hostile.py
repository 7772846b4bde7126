"""Hostile files of every kind: nothing but our own errors, no control code in what is shown, and no end of the process.

A longer campaign is `python benchmarks/fuzzing.py`.
"""

import warnings
from pathlib import Path

import pytest
from fuzz.campaign import CONTROL, Campaign
from fuzz.kinds import KINDS, OURS
from hypothesis import given, settings
from hypothesis import strategies as st

from pulsar.data.files import clean_text
from pulsar.data.text import file_name, literal, printable

#: Kind -> executions in every run of the tests: about half a second of each.
COUNT = {
    "sigproc": 150, "tim": 200, "psrfits": 30, "fbh5": 10, "inf": 65, "dat": 50,
    "pfd": 100, "phcx": 150, "asked": 75,
    "presto mask": 400, "zaplist": 200,
    "par": 30, "toml": 150, "sky": 200, "catalogue": 30, "pointings": 500,
    "labels": 30, "request": 150, "binary": 50, "pulsars": 50, "template": 150, "survey": 100, "skies": 100,
    "weights": 150, "rates": 150, "list": 250, "candidates": 50, "bench": 100, "classes": 300, "mask": 5,
    "product": 1, "merge": 1,
    "report": 1, "checkpoint": 300,
    "batch list": 30, "batch record": 10, "batch index": 7, "batch submission": 300, "batch array": 300,
    "fbh5 structure": 2, "mask structure": 5, "product structure": 1, "merge structure": 1, "report structure": 1,
}  # fmt: skip
#: Kind -> seeds that once failed.
FAILED = {
    "psrfits": (82, 105, 50160, 30007933),
    "merge": (9,),
    "fbh5 structure": (1684, 2139),
    "product": (22, 3000225),
    "catalogue": (3002589,),
    "par": (746,),
    "bench": (20015383,),
    "rates": (2372,),
    "toml": (10001103,),
    "presto mask": (0,),
    "pfd": (4, 1148, 2214),
    "checkpoint": (0, 3, 11, 82, 310, 135, 593, 1177, 1520, 1717, 2265, 2916, 3465),
}
BY_NAME = {kind.name: kind for kind in KINDS}


@pytest.mark.parametrize("name", COUNT)
def test_hostile_files(tmp_path: Path, name: str) -> None:
    campaign = Campaign(BY_NAME[name], tmp_path)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        assert all(campaign.read(sample) for sample in campaign.samples)
        for seed in (*FAILED.get(name, ()), *range(COUNT[name])):
            campaign.execute(seed)


def test_every_kind_is_run() -> None:
    assert set(COUNT) == set(BY_NAME)


@settings(max_examples=100)
@given(st.text())
def test_no_text_hides_or_moves_anything(text: str) -> None:
    assert printable(text).isprintable()
    assert printable(printable(text)) == printable(text)
    assert not CONTROL.search(printable(text, lines=True))
    assert not {"$"} & set(literal(text).replace(r"\$", ""))
    name = file_name(text)
    assert len(name.encode()) <= 120
    assert not name.startswith(".")
    assert not set(name) & set('/\\\0 :*?"<>|\n')


@settings(max_examples=200)
@given(st.binary())
def test_any_bytes_are_a_text(data: bytes) -> None:
    assert not CONTROL.search(clean_text(data))


@pytest.mark.parametrize("name", ["zaplist", "par", "toml", "sky", "catalogue", "pointings", "inf", "presto mask"])
def test_arbitrary_bytes(tmp_path_factory: pytest.TempPathFactory, name: str) -> None:
    campaign = Campaign(BY_NAME[name], tmp_path_factory.mktemp("any"))

    @settings(max_examples=60, deadline=None)
    @given(st.one_of(st.binary(max_size=300), st.text(max_size=300).map(lambda t: t.encode("utf-8", "replace"))))
    def run(data: bytes) -> None:
        campaign.read(data)

    run()
    assert issubclass(OURS, Exception)

"""A small fixed population, whole: recall, S/N, and what scores are worth may not fall.

Files of the population benchmark with everything in them, of seeds at which nothing is at the edge: a loss here is
one that hundreds of files would show. One of them takes 10 s; two are tried among what is slow.
"""

import numpy as np
import population_sky as skies
import pytest
from population import found_bursts, judge, scored
from shared import evaluate

from pulsar.config.load import load_config
from pulsar.run import search

#: Seeds, and a DM above all that is in their files.
FILES = {10299: 260, 10322: 290}
SETS = ["run.threads=1", "output.detections=true"]


@pytest.fixture(scope="module", params=[1, pytest.param(2, marks=pytest.mark.slow)])
def verdicts(request, tmp_path_factory):
    """What became of the files: (sky, fates, false rows, candidates with scores, pulses with scores, bursts)."""
    found = []
    for seed, dm in list(FILES.items())[: request.param]:
        path = tmp_path_factory.mktemp("gate") / "a.fil"
        observed = skies.write(skies.sky("all", seed, nbursts=3), path)
        run = search(path, load_config(None, [*SETS, f"dedisp.dm_hi={dm}"]), path.with_suffix(".h5"))
        path.unlink()
        rows, pulses = run.rows("candidates"), run.rows("single_pulses")
        fates, false, _ = judge(rows, run.rows("detections"), observed)
        listed = scored(rows, pulses, observed)
        found.append((observed, fates, false, *listed, found_bursts(pulses, observed)))
    return found


def test_every_pulsar_is_listed_once_as_its_fundamental(verdicts):
    fates = [fate for _, fates, *_ in verdicts for fate in fates]
    assert len(fates) == 6 * len(verdicts)
    assert [fate.truth["name"] for fate in fates if not fate.once] == []
    assert [fate.flags for fate in fates if fate.flags] == []
    assert sum(fate.false_above for fate in fates) == 0


def test_the_signal_is_kept(verdicts):
    kept = [
        fate.snr / one.snr
        for observed, fates, *_ in verdicts
        for fate, one in zip(fates, observed.pulsars, strict=True)
    ]
    # A boxcar keeps 0.94 of a Gaussian; drifts and what interference hides take the rest.
    assert np.median(kept) > 0.8
    assert min(kept) > 0.45


def test_every_burst_is_listed_once(verdicts):
    # Of others nothing tells that they are not at DM 0.
    bursts = [
        burst
        for observed, *_, bursts in verdicts
        for burst in bursts
        if burst["dm"] * np.ptp(observed.delays) > 2.0 * burst["width"]
    ]
    assert len(bursts) == (3 if len(verdicts) == 1 else 5)
    assert [burst["name"] for burst in bursts if burst["rows"] != 1] == []
    assert min(burst["score"] for burst in bursts) > 0.5
    assert np.median([burst["found"] / burst["snr"] for burst in bursts]) > 0.75


def test_scores_are_probabilities(verdicts):
    candidates = [pair for *_, own, _, _ in verdicts for pair in own]
    pulses = [pair for *_, own, _ in verdicts for pair in own]
    for pairs, least in ((candidates, 6 * len(verdicts)), (pulses, 3 * len(verdicts))):
        told = evaluate(np.array([p for p, _ in pairs]), np.array([real for _, real in pairs]))
        assert told.positives >= least
        assert told.ece < 0.15
        assert told.brier < 0.1

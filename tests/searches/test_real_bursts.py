"""The FRB in two formats, through cleaning, dedispersion, search and clustering."""

import numpy as np
import pytest

from pulsar.cleaning.mask import make_mask
from pulsar.cleaning.source import CleanedSource
from pulsar.cleaning.statistics import measure
from pulsar.config.model import DedispConfig, RfiConfig
from pulsar.dedisp.plan import make_plan
from pulsar.dedisp.stream import dedisperse
from pulsar.io.open import open_observation
from pulsar.searches.pulses import cluster, cut_out
from pulsar.searches.single_pulse import SinglePulseSearch


@pytest.mark.parametrize(("name", "snr"), [("28.fil", 16.5), ("28.fits", 16.4)])
def test_frb_180417(shared_data, name, snr):
    with open_observation(shared_data / "burst" / name) as obs:
        source = CleanedSource(obs, make_mask(obs, measure(obs, RfiConfig()), RfiConfig()))
        plan = make_plan(obs.header, DedispConfig(dm_hi=1000.0), source.freqs)
        events, tsamps = [], []
        ntrials = 0.0
        with dedisperse(source, plan, memory=1 << 30) as store:
            for stage in plan.stages:
                search = SinglePulseSearch(stage.nsamps, stage.tsamp)
                ntrials += search.ntrials * stage.ndms
                for dm in stage.dms:
                    events.append(search.search(store.row(len(tsamps)), float(dm), len(tsamps)))
                    tsamps.append(stage.tsamp)
        pulses = cluster(
            np.concatenate(events),
            plan.dms,
            source.freqs,
            np.array(tsamps),
            tobs=obs.header.tobs,
            tstart=obs.header.tstart,
            ntrials=ntrials,
            fref=source.fref,
        )
        (row,) = pulses.table
        assert row["dm"] == pytest.approx(474.8, abs=4.0)
        assert row["time"] == pytest.approx(2.029, abs=0.004)
        assert row["snr"] == pytest.approx(snr, rel=0.15)
        assert 0.5 < row["width"] / obs.header.tsamp < 3.5
        assert row["sigma"] > 10
        assert row["score"] > 0.5
        assert row["rfi_flags"] == ""
        found = cut_out(source, row)
        assert found.times[np.argmax(found.profile)] == pytest.approx(2.029, abs=0.004)
        assert found.profile.max() > 9

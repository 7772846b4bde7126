"""What pulsars with a companion need of an acceleration search, and ``pulsar plan --companion --orbit``."""

import json
from pathlib import Path

import numpy as np
import pytest
from reference.command import run
from reference.products import make_header

from pulsar.config.model import AccelConfig
from pulsar.errors import ConfigError
from pulsar.io.sigproc import FilterbankWriter
from pulsar.orbits.bank import orbit_range

#: Constant of gravity times the mass of the sun [m^3/s^2] (IAU 2015), speed of light [m/s].
GM, C = 1.3271244e20, 299_792_458.0


@pytest.mark.parametrize(("companion", "hours", "tobs"), [(0.3, 8.0, 600.0), (0.02, 2.4, 7200.0), (10.0, 5.0, 3600.0)])
def test_a_pulsar_in_the_orbit_drifts_by_what_is_told(companion: float, hours: float, tobs: float) -> None:
    period = 3600.0 * hours
    found = orbit_range(tobs, companion, period, AccelConfig(p_fast=2e-3))
    # The orbit of the pulsar about the centre of mass, in metres.
    apart = (GM * (1.4 + companion) * (period / (2 * np.pi)) ** 2) ** (1 / 3)
    own = apart * companion / (1.4 + companion)
    assert C * found.size == pytest.approx(own, rel=1e-4)
    # Over a part, at every phase of the orbit: derivatives of 500 turns a second, late by the light's way
    # (without the turns of a pulsar that stands still, whose digits would be in the way).
    length = tobs / found.parts
    at = np.linspace(0.0, period, 2001)
    turns = -500.0 * own / C * np.sin(2 * np.pi * at / period)
    drift = np.gradient(np.gradient(turns, at), at)[5:-5]
    assert found.z == pytest.approx(np.max(np.abs(drift)) * length**2, rel=1e-3)
    assert found.w == pytest.approx(np.max(np.abs(np.gradient(drift, at[5:-5]))) * length**3, rel=1e-3)
    assert found.accel == pytest.approx(np.max(np.abs(drift)) * C / 500.0, rel=1e-3)
    # The fewest parts.
    assert found.share <= 0.1
    assert found.z <= 1200.0
    fewer = found.parts - 1
    assert fewer == 0 or tobs / fewer / period > 0.1 or found.z * (found.parts / fewer) ** 2 > 1200.0


def test_what_is_no_orbit_is_refused() -> None:
    for companion, period in ((0.0, 3600.0), (-1.0, 3600.0), (0.3, 0.0), (float("nan"), 10.0)):
        with pytest.raises(ConfigError, match="expected a mass and a period above 0"):
            orbit_range(100.0, companion, period, AccelConfig())


def test_the_plan_tells_it(tmp_path: Path) -> None:
    path = tmp_path / "a.fil"
    with FilterbankWriter(path, make_header().with_(tsamp=1e-2)) as writer:
        writer.write(np.random.default_rng(1).integers(0, 200, (4, 30_000)))
    words = ("plan", path, "--dm", 0, 10, "--threads", 1)
    code, out, err = run(*words, "--companion", "0.3", "--orbit", "25min")
    assert code == 0, err
    needs = next(line for line in out.splitlines() if line.startswith("needs"))
    assert "--parts 2" in needs
    record = json.loads(run(*words, "--companion", "0.3", "--orbit", "1500", "--json")[1])
    assert record["orbit"]["parts"] == 2
    assert f"--accel-max {record['orbit']['accel']:.3g}" in needs
    assert "are too many" in run(*words, "--companion", "0.3", "--orbit", "30s")[1]
    assert "orbit" not in json.loads(run(*words, "--json")[1])
    assert run(*words, "--companion", "0.3")[0] == 2
    code, _, err = run(*words, "--companion", "0.3", "--orbit", "soon")
    assert (code, "--orbit soon: expected a number of seconds" in err) == (2, True)


def test_info_tells_the_motion_where_it_is_known(tmp_path: Path) -> None:
    for name, changes in (("a", {}), ("b", {"ra_deg": float("nan")})):
        with FilterbankWriter(tmp_path / f"{name}.fil", make_header().with_(**changes)) as writer:
            writer.write(np.ones((4, 1000)))
    known, unknown = (json.loads(run("info", tmp_path / f"{n}.fil", "--json")[1]) for n in "ab")
    # The Earth's speed; its accelerations in its orbit, 0.006 m/s^2, and by its rotation, 0.034 m/s^2.
    assert 0.0 < abs(known["voverc"]) < 1.1e-4
    assert 0.0 < abs(known["voverc_change"]) < 0.04 / C * known["tobs"]
    assert (unknown["voverc"], unknown["voverc_change"]) == (None, None)
    assert f"v/c {known['voverc']:+.6e} away from the source" in run("info", tmp_path / "a.fil")[1]
    assert "v/c" not in run("info", tmp_path / "b.fil")[1]

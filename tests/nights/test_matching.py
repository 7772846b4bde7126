"""Candidates of different times: what is one source, and whether the chance that is stated is the chance there is."""

from dataclasses import replace
from fractions import Fraction

import numpy as np
import pytest
from reference.fields import scattered

from pulsar.nights.matching import RATIOS, Density, ncompared, see_again
from pulsar.nights.sightings import Sightings

DAY = 1.0 / 24.0


def sky(rng: np.random.Generator, fields: int, nights: int, each: int, error: float = 1e-5) -> Sightings:
    """Unrelated candidates: so many in every field and night, at any period and DM."""
    n = fields * nights * each
    field = np.repeat(np.arange(fields), nights * each)
    night = np.tile(np.repeat(np.arange(nights), each), fields)
    start = 59000.0 + 30.0 * night + 0.01 * field
    return Sightings(
        topocentric=np.log(10 ** rng.uniform(-3.0, 0.5, n)),
        doppler=1e-4 * np.cos(2 * np.pi * (start - 59000.0) / 365.25 + 0.3),
        error=error * 10 ** rng.uniform(-0.5, 0.5, n),
        **scattered(rng, start, field),
        snr=rng.uniform(6.0, 8.0, n),
        known=np.zeros(n, dtype=np.bool_),
    )


def put(found: Sightings, at: int, **values: float) -> None:
    """Make a candidate another one."""
    for name, value in values.items():
        getattr(found, name)[at] = value


def pulsar(found: Sightings, places: list[int], period: float, dm: float, *, shift: tuple[float, ...] = ()) -> None:
    """The same barycentric period and DM at some places, moved by an orbit where it says so."""
    for k, at in enumerate(places):
        moved = shift[k] if shift else 0.0
        put(found, at, topocentric=np.log(period) - found.doppler[at] + moved, dm=dm + 0.2 * k, error=1e-6, snr=7.0 - k)


def test_the_chance_that_is_stated_is_the_chance_there_is():
    """Of N unrelated candidates about p N state p or less (0.8: a part is kept for more times), never many more."""
    rng = np.random.default_rng(5)
    chances = []
    for fields, nights, each, error in ((1, 4, 150, 3e-4), (2, 3, 150, 1e-3), (1, 2, 300, 1e-3)):
        for _ in range(2):
            seen = see_again(sky(rng, fields, nights, each, error))
            chances += [one.chance for one in seen]
            assert not any(one.ground for one in seen)
    chances = np.array(chances)
    for p in (3e-3, 1e-2):
        wanted, got = p * len(chances), float(np.sum(chances <= p))
        # Agreeing is mutual: candidates come in pairs, and the variance is twice that of Poisson.
        assert 0.6 * wanted - 2.0 * np.sqrt(2.0 * wanted) < got < wanted + 3.0 * np.sqrt(2.0 * wanted)


def test_weak_candidates_of_two_nights_are_one_source():
    found = sky(np.random.default_rng(1), 3, 2, 100)
    pulsar(found, [10, 110], 0.0893, 67.0)
    seen = see_again(found)
    assert seen[110].head == 10
    assert seen[10].head == 10
    assert seen[10].nseen == seen[110].nseen == 2
    assert seen[10].chance < 1e-5
    assert seen[10].matches[0].ratio == 1
    assert not seen[10].matches[0].orbit
    others = [one for k, one in enumerate(seen) if k not in (10, 110)]
    assert all(one.nseen == 1 for one in others)


def test_more_times_make_chance_smaller_and_larger_errors_greater():
    base = sky(np.random.default_rng(2), 1, 4, 80)
    chance = []
    for nights in (2, 3, 4):
        found = replace(base, **{name: getattr(base, name).copy() for name in ("topocentric", "dm", "error", "snr")})
        pulsar(found, [80 * k + 5 for k in range(nights)], 0.31, 120.0)
        chance.append(see_again(found)[5].chance)
        assert see_again(found)[5].nseen == nights
    assert chance[2] < 1e-2 * chance[1] < 1e-4 * chance[0]
    for at in (5, 85):
        put(base, at, topocentric=np.log(0.31) - base.doppler[at], dm=120.0, error=1e-3)
    assert see_again(base)[5].chance > 20.0 * chance[0]


def test_an_orbit_is_allowed_for_and_stated():
    found = sky(np.random.default_rng(3), 4, 2, 30)
    pulsar(found, [3, 33], 0.0123, 200.0, shift=(0.0, 4e-4))
    seen = see_again(found, orbit=1e-3)
    assert seen[3].matches[0].other == 33
    assert seen[3].matches[0].orbit
    assert seen[3].matches[0].period == pytest.approx(4e-4, rel=1e-3)
    assert see_again(found, orbit=0.0)[3].matches == []
    # The same without an orbit is far less likely to be chance.
    alone = see_again_at(found, 33, np.log(0.0123) - found.doppler[33])
    assert alone < 0.1 * seen[3].chance


def see_again_at(found: Sightings, at: int, topocentric: float) -> float:
    put(found, at, topocentric=topocentric)
    return see_again(found)[3].chance


def test_a_harmonic_in_the_other_night_is_the_same_source():
    found = sky(np.random.default_rng(4), 3, 2, 60)
    pulsar(found, [7, 67], 0.5, 300.0)
    put(found, 67, topocentric=np.log(0.5 * 2 / 3) - found.doppler[67])
    seen = see_again(found)
    assert seen[67].head == 7
    assert seen[67].ratio == Fraction(2, 3)


@pytest.mark.parametrize("other", [{"dm": 90.0}, {"ra": 100.2}, {"start": 59000.0, "end": 59000.005}])
def test_another_dm_direction_or_no_other_time_is_none(other):
    found = sky(np.random.default_rng(6), 1, 2, 60)
    pulsar(found, [7, 67], 0.2, 60.0)
    assert see_again(found)[7].nseen == 2
    put(found, 67, **other)
    assert see_again(found)[7].nseen == 1


def test_an_unknown_position_or_telescope_makes_the_chance_greater():
    found = sky(np.random.default_rng(7), 5, 2, 60)
    pulsar(found, [7, 67], 0.2, 60.0)
    known = see_again(found)[7].chance
    found.ra[:] = np.nan
    anywhere = see_again(found)[7].chance
    found.doppler[:] = np.nan
    put(found, 67, topocentric=np.log(0.2) + 1.2e-4)
    unshifted = see_again(found)[7]
    assert known < anywhere < unshifted.chance
    assert unshifted.matches[0].other == 67


def test_a_line_all_over_the_sky_is_interference_and_no_source():
    found = sky(np.random.default_rng(8), 6, 2, 50)
    line = list(range(20, 600, 50))
    for at in line:
        put(found, at, topocentric=np.log(0.0371), error=2e-6, dm=30.0 + 0.1 * (at % 7), snr=30.0)
    seen = see_again(found)
    assert all(seen[at].ground >= 5 and seen[at].ground_expected < 0.1 for at in line)
    assert all(seen[at].nseen == 1 and np.isnan(seen[at].chance) for at in line)
    assert not any(one.ground for k, one in enumerate(seen) if k not in line)


def test_a_line_that_keeps_its_topocentric_period_over_a_year_is_interference():
    found = sky(np.random.default_rng(9), 1, 6, 50)
    line = list(range(20, 300, 50))
    for at in line:
        put(found, at, topocentric=np.log(0.0371), error=2e-6, dm=30.0, snr=30.0)
    seen = see_again(found)
    assert sum(seen[at].ground > 0 for at in line) >= 4
    # A pulsar keeps the barycentric one, a binary none.
    for shift in ((), (0.0, 3e-4, -2e-4, 1e-4, -4e-4, 2.5e-4)):
        pulsar(found, line, 0.0371, 30.0, shift=shift)
        seen = see_again(found)
        assert not any(seen[at].ground for at in line)
        assert seen[line[0]].nseen >= 4


def test_a_bright_source_in_the_sidelobes_of_other_directions_is_one():
    found = sky(np.random.default_rng(10), 5, 1, 40)
    for k, at in enumerate(range(3, 200, 40)):
        put(found, at, topocentric=np.log(0.71), error=1e-6, dm=3.0, snr=900.0 if k == 2 else 8.0)
    seen = see_again(found)
    assert not seen[83].ground
    assert all(seen[at].ground for at in (3, 43, 123, 163))


def test_what_chance_would_put_together_stays_apart():
    """Two rows that agree where many others would, too: the chance is stated, the rows are left as they are."""
    found = sky(np.random.default_rng(11), 1, 2, 400, 1e-3)
    put(found, 5, topocentric=np.log(0.05), dm=80.0)
    put(found, 405, topocentric=np.log(0.05), dm=81.5)
    seen = see_again(found)
    assert 1e-4 < seen[5].chance < 1.0
    assert seen[5].head == 5
    assert seen[405].head == 405


def test_what_lacks_a_number_is_compared_with_nothing():
    found = sky(np.random.default_rng(13), 1, 2, 40)
    pulsar(found, [7, 47], 0.2, 60.0)
    assert see_again(found)[7].nseen == 2
    for name, value in (("start", np.nan), ("topocentric", np.nan), ("dm", np.inf), ("error", 5.0), ("dm_err", np.nan)):
        odd = replace(found, **{name: getattr(found, name).copy()})
        put(odd, 47, **{name: value})
        seen = see_again(odd)
        assert seen[7].nseen == seen[47].nseen == 1
        assert np.isnan(seen[47].chance)
        assert ncompared(odd, seen) == ncompared(found, see_again(found)) - 1


def test_density_is_that_of_its_values():
    rng = np.random.default_rng(12)
    values = rng.uniform(0.0, 100.0, 4000)
    some = Density(values, 100.0)
    nobody = np.zeros(0, dtype=np.int64)
    found = [some.at(x, nobody) for x in rng.uniform(0.0, 100.0, 300)]
    assert np.mean(found) == pytest.approx(0.01, rel=0.05)
    assert Density(values[:0], 50.0).at(3.0, nobody) == pytest.approx(1 / 50)
    # What is left out does not count: a spike that is the source itself is none.
    spiked = np.append(values, np.full(30, 40.0))
    assert Density(spiked, 100.0).at(40.0, np.arange(4000, 4030)) == pytest.approx(0.01, rel=0.5)
    assert sorted(RATIOS) == RATIOS
    assert Fraction(1) in RATIOS

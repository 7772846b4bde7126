"""Single pulses of different times: what may be bursts of one source, and whether the stated chance is one."""

from dataclasses import replace

import numpy as np
import pytest
from reference.fields import scattered

from pulsar.nights.matching import Recurrence, repeated
from pulsar.nights.sightings import Places


def sky(rng: np.random.Generator, fields: int, nights: int, each: int) -> Places:
    """Unrelated pulses: so many in every field and night, at any DM."""
    n = fields * nights * each
    field = np.repeat(np.arange(fields), nights * each)
    start = 59000.0 + 30.0 * np.tile(np.repeat(np.arange(nights), each), fields) + 0.01 * field
    return Places(
        **scattered(rng, start, field),
        snr=rng.uniform(7.0, 12.0, n),
    )


def compared(found: Places) -> list[Recurrence]:
    return repeated(found, np.ones(len(found), dtype=np.bool_))


def burst(found: Places, places: list[int], dm: float) -> None:
    """Bursts of one source at some places, in the direction of the first."""
    for k, at in enumerate(places):
        found.dm[at], found.dm_err[at], found.snr[at] = dm + 0.1 * k, 0.3, 15.0 - k
        found.ra[at], found.dec[at] = found.ra[places[0]], found.dec[places[0]]


def test_the_chance_that_is_stated_is_the_chance_there_is() -> None:
    rng = np.random.default_rng(7)
    chances = []
    for fields, nights, each in ((4, 2, 15), (1, 5, 25), (2, 3, 40)):
        for _ in range(25):
            found = sky(rng, fields, nights, each)
            heads = {one.head: one for one in compared(found)}
            chances += [one.chance for one in heads.values()]
    chances = np.array(chances)
    for p in (3e-3, 1e-2, 3e-2):
        wanted, got = p * len(chances), float(np.sum(chances <= p))
        assert 0.4 * wanted - 2.0 * np.sqrt(2.0 * wanted) < got < wanted + 3.0 * np.sqrt(2.0 * wanted)


def test_bursts_of_three_nights_are_one_source() -> None:
    found = sky(np.random.default_rng(1), 4, 3, 12)
    # Two of the first night, one of the others each; field 0.
    bursts = [0, 1, 12, 24]
    burst(found, bursts, 557.0)
    seen = compared(found)
    assert [seen[i].nseen for i in bursts] == [3, 3, 3, 3]
    assert {seen[i].head for i in bursts} == {0, 12, 24}
    assert seen[0].chance == seen[1].chance < 1e-5
    assert [one.nseen for i, one in enumerate(seen) if i not in bursts] == [1] * (len(seen) - 4)


def test_many_pulses_of_one_night_are_one_trial() -> None:
    found = sky(np.random.default_rng(2), 2, 2, 40)
    # A pulsar of which thirty pulses are seen in the first night, and one in the second.
    burst(found, [*range(30), 40], 460.0)
    found.dm[:30], found.snr[:30], found.snr[40] = 460.0, 15.0, 15.0
    seen = compared(found)
    assert len({one.head for one in seen[:30]}) == 1
    # As likely as if the thirty were one.
    few = replace(found, **{key: np.delete(getattr(found, key), range(1, 30)) for key in vars(found)})
    assert seen[40].chance == compared(few)[11].chance < 0.1


@pytest.mark.parametrize("other", [{"dm": 520.0}, {"ra": 101.5}, {"start": 59000.001, "end": 59000.006}])
def test_another_dm_direction_or_no_other_time_is_none(other: dict[str, float]) -> None:
    found = sky(np.random.default_rng(1), 1, 2, 10)
    burst(found, [0, 10], 557.0)
    assert compared(found)[0].nseen == 2
    for name, value in other.items():
        getattr(found, name)[10] = value
    assert compared(found)[0].nseen == 1


def test_interference_and_what_has_no_time_are_left_out() -> None:
    found = sky(np.random.default_rng(1), 1, 2, 10)
    burst(found, [0, 10], 557.0)
    usable = np.ones(20, dtype=np.bool_)
    usable[10] = False
    assert repeated(found, usable)[0].nseen == 1
    found.start[10] = np.nan
    assert [one.nseen for one in compared(found)] == [1] * 20
    assert np.isnan(compared(found)[10].chance)
    nothing = replace(found, **{key: getattr(found, key)[:0] for key in vars(found)})
    assert compared(nothing) == []


def test_an_unknown_position_makes_the_chance_greater() -> None:
    found = sky(np.random.default_rng(1), 6, 2, 10)
    burst(found, [0, 10], 57.0)
    known = compared(found)[0].chance
    found.ra[:], found.dec[:] = np.nan, np.nan
    assert compared(found)[0].chance > 2.0 * known

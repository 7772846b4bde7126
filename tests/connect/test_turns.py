"""Turns between nights: counted where they can be, told where they cannot."""

from dataclasses import replace
from itertools import product

import numpy as np
import pytest
from reference.arrivals import DAYS, Simulated, simulated

from pulsar.connect.turns import DECISIVE, Connection, connect, fit, largest_fdot
from pulsar.constants import DAY


def solved(case: Simulated) -> tuple[Connection, bool]:
    """The connection of a case, and whether its best count is right."""
    connection = connect(case.times, case.reference)
    return connection, bool(np.array_equal(connection.turns(), case.turns))


def outcomes(count: int, **options: object) -> tuple[int, int]:
    """Of cases, how many are solved, and how many wrong without a word."""
    found = [solved(simulated(seed, **options)) for seed in range(count)]
    unique = [right for connection, right in found if connection.unique]
    return sum(unique), len(unique) - sum(unique)


def test_of_a_hundred_pulsars_nearly_all_are_connected_and_none_wrongly() -> None:
    right, wrong = outcomes(100)
    assert right >= 97
    assert wrong == 0


@pytest.mark.parametrize(
    ("options", "least"),
    [
        ({"efac": 2.0}, 30),
        ({"efac": 0.5}, 97),
        ({"freqs": (100.0, 600.0)}, 90),
        ({"place_err": 1.7e-4}, 60),
        ({"days": (0.0, 1.0, 5.0, 30.0, 90.0)}, 0),
        ({"days": (0.0, 1.0, 2.0, 30.0, 31.0, 90.0, 91.0, 92.0)}, 70),
        ({"orbit": 0.01}, 0),
    ],
)
def test_what_cannot_be_told_is_never_told_wrongly(options: dict[str, object], least: int) -> None:
    right, wrong = outcomes(100, **options)
    assert right >= least
    assert wrong == 0


def test_spins_miss_by_their_errors() -> None:
    pulls = []
    for seed in range(100):
        case = simulated(seed)
        rotation = fit(case.times, case.reference, case.turns)
        pulls.append((np.array(rotation.spin) - case.spin) / rotation.errors)
    # The standard deviation of 100 numbers is known within 7 %.
    np.testing.assert_allclose(np.std(pulls, axis=0), 1.0, atol=0.25)
    assert np.all(np.abs(np.mean(pulls, axis=0)) < 0.35)


def test_chi_square_is_that_of_its_degrees_of_freedom() -> None:
    rotations = [fit(case.times, case.reference, case.turns) for case in map(simulated, range(100))]
    chi2, dof = sum(r.chi2 for r in rotations), sum(r.dof for r in rotations)
    assert chi2 == pytest.approx(dof, abs=4 * np.sqrt(2 * dof))
    assert all(rotation.dof == pytest.approx(len(rotation.residuals) - 3, abs=0.1) for rotation in rotations)


def test_errors_that_are_too_small_are_scaled() -> None:
    rotations = [fit(case.times, case.reference, case.turns) for case in (simulated(k, efac=3.0) for k in range(20))]
    assert np.mean([rotation.scale for rotation in rotations]) == pytest.approx(3.0, rel=0.1)
    exact = simulated(1)
    assert fit(exact.times, exact.reference, exact.turns).scale == 1.0


def test_all_counts_that_fit_are_listed() -> None:
    case = simulated(3, days=(0.0, 1.0, 2.5))
    connection = connect(case.times, case.reference)
    steps = range(-12, 13)
    first = case.turns - case.turns[0]
    night, by_hand = case.times.night, {}
    for counts in product(steps, steps):
        turns = first + np.array([0, *counts])[night]
        by_hand[counts] = fit(case.times, case.reference, turns).chi2
    least = min(by_hand.values())
    wanted = sorted(chi2 for chi2 in by_hand.values() if chi2 <= least + DECISIVE)
    assert 1 < len(wanted) < 200
    np.testing.assert_allclose(connection.chi2, wanted, rtol=1e-6, atol=1e-6)
    assert not connection.unique


def test_chi_squares_are_those_of_the_fits() -> None:
    case = simulated(5, days=(0.0, 1.0, 5.0, 30.0))
    connection = connect(case.times, case.reference)
    fits = [fit(case.times, case.reference, connection.turns(k)).chi2 for k in range(len(connection.chi2))]
    np.testing.assert_allclose(fits, connection.chi2, rtol=1e-5)


def test_arcs_are_kept_where_the_whole_is_not_unique() -> None:
    case = simulated(2, days=(0.0, 0.1, 0.3, 150.0, 150.1, 150.3))
    connection = connect(case.times, case.reference)
    assert not connection.unique
    assert connection.arcs.tolist() == [0, 0, 0, 1, 1, 1]
    for arc in (0, 1):
        own = connection.arcs[case.times.night] == arc
        assert np.array_equal(np.diff(connection.turns()[own]), np.diff(case.turns[own]))


def test_a_position_is_found_where_it_is() -> None:
    days = (*DAYS, 120.0, 160.0, 200.0, 240.0, 300.0)
    pulls = []
    for seed in range(20):
        case = simulated(seed, days, place_err=1e-4)
        rotation = fit(case.times, case.reference, case.turns, place=True)
        pulls.append((np.array(rotation.place) - case.place) / rotation.place_err)
    assert np.std(pulls) == pytest.approx(1.0, abs=0.35)


def test_a_night_with_one_time_takes_the_frequency_of_its_fold() -> None:
    case = simulated(7)
    single = np.concatenate([np.flatnonzero(case.times.night == night)[:1] for night in range(len(DAYS))])
    seconds, error = case.times.seconds[single], 3e-6 * case.spin[0]
    freqs = np.stack([case.spin[0] + case.spin[1] * seconds, np.full(len(DAYS), error)], axis=1)
    times = replace(
        case.times, seconds=seconds, errors=case.times.errors[single], night=np.arange(len(DAYS)),
        slopes=case.times.slopes[single], freqs=freqs,
    )  # fmt: skip
    connection = connect(times, case.reference)
    turns = case.turns[single] - case.turns[single].min()
    assert any(np.array_equal(connection.turns(k), turns) for k in range(len(connection.chi2)))
    # No longer than the frequencies allow.
    assert len(connection.chi2) < 2000


def test_the_youngest_pulsars_slow_down_no_faster() -> None:
    # Crab, J0537-6910, B0540-69, J1846-0258, B1937+21.
    known = {29.95: 3.77e-10, 62.03: 1.99e-10, 19.8: 1.87e-10, 3.06: 6.7e-11, 641.9: 4.3e-14}
    assert all(fdot < 1.3 * largest_fdot(freq) for freq, fdot in known.items())
    assert DAY * largest_fdot(10.0) < 1e-4

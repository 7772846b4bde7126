"""Verdicts on single pulses of a run."""

from pulsar.data.candidate import SINGLE_PULSE_COLUMNS, empty_table
from pulsar.pipeline.pulses import sweep_dms


def test_what_has_the_dm_of_several_sweeps_is_told():
    table = empty_table(SINGLE_PULSE_COLUMNS, 5)
    table["dm"] = [240.0, 250.0, 300.0, 20.0, 260.0]
    table["rfi_flags"] = ["sweep", "narrow-band,sweep", "", "dm0", ""]
    assert sweep_dms(table) == (0.0, 0.0)
    table["rfi_flags"][4] = "sweep"
    assert sweep_dms(table) == (200.0, 312.0)
    # What is made of this range does not widen it; what is at DM 0 does not sweep.
    table["dm"][2:4] = [311.0, 0.0]
    table["rfi_flags"][2:4] = ["near sweeps", "dm0,sweep"]
    assert sweep_dms(table) == (200.0, 312.0)

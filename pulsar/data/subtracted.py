"""THE table of pulsars that were taken out of the samples."""

from typing import Any, Final

from pulsar.data.candidate import Column

SUBTRACTED_COLUMNS: Final[tuple[Column, ...]] = (
    Column("name", "U32", "", "name of the pulsar, or id of the candidate"),
    Column("given", "U256", "", "as it was given: an ephemeris, or a product and a candidate of it"),
    Column("subtracted", "i1", "", "1; 0 where it is not detected in these data, and nothing was taken out"),
    Column("period", "f8", "s", "topocentric period at mid-observation, refined in these data"),
    Column("freq", "f8", "Hz", "its frequency"),
    Column("fdot", "f8", "Hz / s", "frequency derivative"),
    Column("fddot", "f8", "Hz / s2", "second frequency derivative"),
    Column("dm", "f8", "pc / cm3", "dispersion measure, refined in these data"),
    Column("snr_before", "f4", "", "boxcar S/N of its fold"),
    Column("snr_after", "f4", "", "boxcar S/N of the same fold of what is left: noise alone has some 3"),
    Column("rest", "f4", "", "what is left over what was there: amplitude of the template in the same fold"),
    Column("rest_err", "f4", "", "1-sigma error of it, by the noise of the samples"),
    Column("scatter", "f4", "", "rms of that amplitude in single sub-integrations and subbands, less that of noise"),
    Column("scatter_err", "f4", "", "below this the scatter is not told from noise: 1 sigma"),
    Column("nbins", "i4", "", "phase bins of the template"),
    Column("nsubints", "i4", "", "sub-integrations in which its brightness was measured"),
    Column("nbands", "i4", "", "subbands in which its brightness was measured"),
    Column("nshapes", "i4", "", "profiles of different times and subbands"),
    Column("nparams", "i4", "", "numbers that were measured in all"),
    Column("obs", "i4", "", "row of the table observations in whose samples it was"),
)


def told(row: Any) -> str:
    """What a row says, in words."""
    if not row["subtracted"]:
        return f"{row['name']}: not detected (S/N {row['snr_before']:.1f}), nothing was subtracted"
    return (
        f"{row['name']} (P {row['period']:.9g} s, DM {row['dm']:.5g}) subtracted: S/N {row['snr_before']:.1f} before, "
        f"{row['snr_after']:.1f} after; {100 * row['rest']:.2f} ± {100 * row['rest_err']:.2f} % of its amplitude left "
        f"({row['nbins']} phase bins, brightness in {row['nsubints']} sub-integrations × {row['nbands']} subbands, "
        f"{row['nshapes']} profile{'s' if row['nshapes'] > 1 else ''})"
    )

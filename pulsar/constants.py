"""Physical constants, each with its source."""

from typing import Final

#: Dispersion constant [s MHz^2 cm^3 pc^-1]: the 1/2.41e-4 behind catalogue DMs (Manchester & Taylor 1972).
KDM: Final = 1.0 / 2.41e-4

#: Speed of light [m/s], exact by the definition of the metre.
C: Final = 299_792_458.0

#: Seconds in a day.
DAY: Final = 86_400.0

#: No pulsar is known with a smaller dispersion measure [pc cm^-3]: that of J0108-1431 is 2.38 (ATNF catalogue).
LEAST_DM: Final = 2.0

"""The observations on which whole stages and other programs are measured."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pulsar.bench.case import Size, power_of_two
from pulsar.config.model import DedispConfig
from pulsar.data.header import Header
from pulsar.dedisp.plan import DMPlan, make_plan
from pulsar.synthesis import Pulsar, Sky, write_filterbank

#: The pulsar in it.
PULSAR = Pulsar(period=0.00537, dm=71.0, snr=25.0, duty=0.08)


@dataclass(frozen=True)
class Survey:
    """A band of 1000-1500 MHz at 8 bits, and the DMs to try: from 0 in even steps at full time resolution.

    Attributes
    ----------
    size : Size
    tsamp : float
        Sampling time [s].
    dm_step : float
        Step of the trial DMs [pc cm^-3].
    subbands : tuple of int
        Numbers of subbands with which programs that use them are compared.
    """

    size: Size
    tsamp: float = 64e-6
    dm_step: float = 0.5
    subbands: tuple[int, ...] = (64, 256)

    @property
    def about(self) -> str:
        """Its extent in words."""
        return f"{self.size.nchans} channels x {power_of_two(self.size.nsamps)} samples x {self.size.ndms} DMs"

    @property
    def volume(self) -> int:
        """Channels times samples."""
        return self.size.nchans * self.size.nsamps

    @property
    def header(self) -> Header:
        """Of the file."""
        width = 500.0 / self.size.nchans
        return Header(
            nchans=self.size.nchans,
            nsamps=self.size.nsamps,
            tsamp=self.tsamp,
            fch1=1500.0 - 0.5 * width,
            foff=-width,
            tstart=60000.0,
        )

    def plan(self, freqs: NDArray[np.float64] | None = None) -> DMPlan:
        """Its trial DMs, for these channels (all without)."""
        last = self.dm_step * (self.size.ndms - 1)
        return make_plan(self.header, DedispConfig(dm_hi=last, dm_step=self.dm_step, max_downsample=1), freqs=freqs)

    def write(self, folder: Path) -> Path:
        """Simulate it as a filterbank file in `folder`."""
        header = self.header
        sky = Sky(
            nchans=header.nchans,
            nsamps=header.nsamps,
            tsamp=header.tsamp,
            fch1=header.fch1,
            foff=header.foff,
            seed=5,
            pulsars=(PULSAR,),
        )
        return write_filterbank(sky, folder / f"survey-{header.nchans}.fil")


#: For every machine, and one beam of FAST.
BAND = Survey(Size(1 << 18, 256, 512))
FAST = Survey(Size(1 << 20, 4096, 256), tsamp=49.152e-6, subbands=(64, 128))
#: For tests.
TINY = Survey(Size(4096, 32, 8), tsamp=1e-3, dm_step=8.0)

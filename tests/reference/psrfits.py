"""PSRFITS files as other recorders leave them, made of those that ours writes."""

import numpy as np
from astropy.io import fits


def grow_from_the_first(paths):
    """The other convention of time: STT_* stay from file to file, NSUBOFFS and OFFS_SUB grow."""
    start = {key: fits.getval(paths[0], key) for key in ("STT_IMJD", "STT_SMJD", "STT_OFFS")}
    before = 0
    for path in paths:
        with fits.open(path, mode="update", memmap=False) as hdus:
            hdus[0].header.update(start)
            table = hdus["SUBINT"]
            table.header["NSUBOFFS"] = before
            table.data["OFFS_SUB"] += before * table.data["TSUBINT"]
            before += len(table.data)


def lose_rows(path, first, last):
    """Rows from one to before another are lost."""
    with fits.open(path, memmap=False) as hdus:
        table = hdus["SUBINT"]
        kept = np.delete(np.arange(len(table.data)), slice(first, last))
        primary, rows = hdus[0].copy(), fits.BinTableHDU(table.data[kept], table.header)
    fits.HDUList([primary, rows]).writeto(path, overwrite=True)


def make_signed(path, nbits, nbytes):
    """The first bytes hold samples that are two's complement: of those that are half the range larger."""
    with fits.open(path, mode="update", memmap=False) as hdus:
        table = hdus["SUBINT"]
        table.header["SIGNINT"] = 1
        data = np.array(table.data["DATA"])
        data.reshape(-1)[:nbytes] ^= np.uint8({1: 0xFF, 2: 0xAA, 4: 0x88, 8: 0x80}[nbits])
        table.data["DATA"] = data

"""Power spectra of many observations, summed and searched: `pulsar stack`."""

"""Numba kernels of the pulsar search: arrays in, arrays out.

Nothing here reads a file, knows a unit or starts a thread. Each module is imported when first used.
"""

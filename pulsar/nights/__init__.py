"""Many observations: the beams and pointings of a night in one command, merged, and what other times say of a row."""

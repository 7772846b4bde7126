"""Candidates for other programs: ephemerides, profiles and arrival times in the formats of other programs."""

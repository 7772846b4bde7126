"""What a candidate is carried on with: ephemerides, profiles and arrival times in the formats of other programs."""

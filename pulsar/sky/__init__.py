"""Where telescopes and sources are: barycentring."""

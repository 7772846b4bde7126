"""Many searches as one piece of work: units, the process of one unit, engines that run them, and what is left."""

"""One model of the sky: sources, what each leaves anywhere else, and the list as what cannot be left by the others."""

"""How fast every kernel is on this machine, beside what the machine can do at most and what plain numpy does."""

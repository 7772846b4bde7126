"""``python -m pulsar``."""

from pulsar.cli.app import main

if __name__ == "__main__":
    main()

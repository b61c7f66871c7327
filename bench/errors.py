"""What can go wrong in a benchmark run."""


class BenchError(Exception):
    """A measurement could not be taken; the text says which and why. The run goes on and shows the gap."""

"""The proof: Fairlead beside what people use today, measured in one run. Start it with `scripts/bench`."""

"""A small web shop: a catalogue in memory, orders in SQLite."""

VERSION = "1.0"

"""Text (TOML, environment, flags) → `Settings`: every value with its origin, every error told at once."""

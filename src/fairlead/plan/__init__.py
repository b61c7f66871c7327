"""Settings + facts of the host → one frozen Plan: `resolve` makes it; the supervisor runs it, targets write it."""

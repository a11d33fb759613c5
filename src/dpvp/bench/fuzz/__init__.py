"""Fuzzing: whatever dpvp reads, mutated ten thousand times, is refused with a `DpvpError` or understood."""

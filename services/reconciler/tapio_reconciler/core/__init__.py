"""The pure half of the reconciler: state in, plan out. No I/O, clock, randomness, environment or logging."""

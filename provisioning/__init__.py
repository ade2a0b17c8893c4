"""The nouns of DPS that every other package speaks: hub names, registrations, keys. No I/O."""

"""What every other package stands on: types, per-seed randomness, networks with a seed axis, options."""

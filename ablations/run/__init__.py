"""Training: what a run does, how it ends, and what it leaves to go on from."""

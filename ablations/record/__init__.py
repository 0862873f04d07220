"""Reading what runs have left on disk, and what of it can be trusted."""

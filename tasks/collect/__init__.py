"""Datasets made on this machine: simulators, behaviour policies and oracles in, D4RL HDF5 out."""

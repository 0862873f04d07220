"""Your own data: `file:PATH`, from npz, HDF5, Parquet, Arrow or Minari, with or without a simulator."""

"""Statistics of records; nothing here draws."""

"""The command line: arguments, their complaints, listings."""

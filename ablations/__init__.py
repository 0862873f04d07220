"""Runs and comparisons of runs: configuration, execution, results, statistics, figures."""

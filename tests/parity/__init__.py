"""Replays of numbers computed with the authors' released code, through this project's own parts, in float64."""

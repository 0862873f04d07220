"""Speed against a plain reference implementation, both timed in one run."""

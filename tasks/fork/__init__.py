"""`local:fork`: a multimodal MDP whose optimal, behaviour's and random returns are known."""

from tasks.fork.task import NAME, ForkTask

__all__ = ["NAME", "ForkTask"]

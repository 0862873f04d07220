"""The one critic, the backups it is trained towards, and pure target functions."""

from critics.backups import BACKUPS, Backup
from critics.ensemble import Critic, CriticConfig

__all__ = ["BACKUPS", "Backup", "Critic", "CriticConfig"]

"""The one critic, the backups it is trained towards, and pure target functions."""

from critics.backups import BACKUPS, Backup, BackupConfig, ValueBackup
from critics.ensemble import Critic, CriticConfig, Critics

__all__ = ["BACKUPS", "Backup", "BackupConfig", "Critic", "CriticConfig", "Critics", "ValueBackup"]

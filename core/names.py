"""Names that become directories."""

from __future__ import annotations

#: bytes
LONGEST_NAME = 200


def is_name(text: object) -> bool:
    """Whether a text from a file can name a directory below another, and nothing else."""
    if not isinstance(text, str) or not text.isprintable() or len(text.encode("utf-8", "replace")) > LONGEST_NAME:
        return False
    return bool(text) and not text.startswith(".") and not set(text) & set("/\\\0")

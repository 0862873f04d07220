"""YAML that is plain data: no tags that make objects, no references that make little text much, `1e-3` a number."""

from __future__ import annotations

import re
from typing import Any

import yaml


class Plain(yaml.SafeLoader):
    """Raises `yaml.YAMLError` for a reference to another part of the file."""

    def compose_node(self, parent: Any, index: Any) -> Any:
        if self.check_event(yaml.AliasEvent):
            raise yaml.YAMLError("references (*name) are not read; write the value again")
        return super().compose_node(parent, index)


# YAML 1.1 wants a dot in a number with an exponent, and nobody writes one
Plain.add_implicit_resolver(
    "tag:yaml.org,2002:float", re.compile(r"^[-+]?[0-9]+[eE][-+]?[0-9]+$"), list("-+0123456789")
)


def load(text: str) -> Any:
    """What a text says. Raises `ValueError` where it is no such YAML."""
    try:
        # derives from SafeLoader
        return yaml.load(text, Loader=Plain)
    except yaml.YAMLError as error:
        raise ValueError(" ".join(str(error).split())) from None

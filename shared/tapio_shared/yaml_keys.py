"""Keys that stand twice in one mapping of YAML: a loader keeps the last one without a word; kubectl refuses them."""

from __future__ import annotations

import yaml

_MERGE = "tag:yaml.org,2002:merge"


def refuse_keys_that_stand_twice(node: yaml.MappingNode) -> None:
    """Raise ConstructorError for the first key that does, with the place of its second time."""
    found: set[str] = set()
    for key, _ in node.value:
        if key.tag == _MERGE or not isinstance(key, yaml.ScalarNode):
            continue
        if key.value in found:
            raise yaml.constructor.ConstructorError(None, None, f"the key {key.value} stands twice", key.start_mark)
        found.add(key.value)

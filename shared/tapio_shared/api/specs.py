"""The model and the JSON schema of each kind's spec. A schema is made from the model, once per process.

Refuses to know about the Kubernetes API machinery: that is crds/' business.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from typing import Final

from tapio_shared.api.base import ApiModel
from tapio_shared.api.cluster import TapioClusterSpec
from tapio_shared.api.collectors import TapioCollectorSpec
from tapio_shared.api.intelligence import TapioIntelligenceSpec
from tapio_shared.api.names import CLUSTER_KIND, COLLECTOR_KIND, INTELLIGENCE_KIND
from tapio_shared.api.schema import model_schema
from tapio_shared.json import JsonObject

SPEC_MODELS: Final[Mapping[str, type[ApiModel]]] = {
    CLUSTER_KIND: TapioClusterSpec,
    COLLECTOR_KIND: TapioCollectorSpec,
    INTELLIGENCE_KIND: TapioIntelligenceSpec,
}


@cache
def spec_schema(kind: str) -> JsonObject:
    """The inlined schema of the spec of `kind`. Shared: callers must not change it. Raises KeyError."""
    return model_schema(SPEC_MODELS[kind])

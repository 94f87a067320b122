"""Asking the API server itself, before anything is deleted, whether people still ask for what was decided.

A dry run of an empty patch of the status reads the newest version, never a cache, and needs no permission beyond the
one to write statuses.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

from tapio_reconciler.core.premises import Premise
from tapio_shared.api.names import API_GROUP, FIELD_MANAGER
from tapio_shared.codec import decode_as
from tapio_shared.errors import ApiRetryable, TapioError
from tapio_shared.json import JsonObject
from tapio_shared.kubernetes import MERGE_PATCH, check, object_path
from tapio_shared.ports import Kube

PLURALS = {
    "TapioCluster": "tapioclusters",
    "TapioCollector": "tapiocollectors",
    "TapioIntelligence": "tapiointelligences",
}


async def objection(kube: Kube, premises: Sequence[Premise]) -> TapioError | None:
    """Why nothing may be deleted by a plan that was made from `premises`; None when they hold."""
    try:
        for premise in premises:
            broken = premise.broken(await _live(kube, premise))
            if broken:
                return ApiRetryable(
                    409,
                    "Conflict",
                    f"{broken}, and nobody has told of that yet. Nothing is deleted until it is told; then it is "
                    "decided anew.",
                )
    except TapioError as err:
        return err
    return None


async def _live(kube: Kube, premise: Premise) -> JsonObject | None:
    path = object_path(API_GROUP, "v1alpha1", PLURALS[premise.kind], premise.namespace, premise.name, "status")
    query = {"fieldManager": f"{FIELD_MANAGER}-status", "dryRun": "All"}
    response = await kube.request("PATCH", path, query=query, body=b"{}", content_type=MERGE_PATCH)
    if response.status == 404:
        return None
    return cast("JsonObject", decode_as(dict, check(response)))

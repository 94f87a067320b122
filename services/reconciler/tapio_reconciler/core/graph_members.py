"""Which Neo4j members run, since a smaller `replicas` never takes one away: it must give its databases to others first.

The operator does not speak Bolt, so a person deallocates and drops a member, and deletes its StatefulSet; what somebody
deleted beyond `replicas` is not made again. What the operator itself let go of, to make it anew, still counts: a member
too many is undone by one command, one too few takes databases with it. Nothing here is about Community, which has one
member.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import msgspec

from tapio_reconciler.core.model import Notice
from tapio_reconciler.core.released import is_released
from tapio_reconciler.core.state import Seen
from tapio_shared.api import names
from tapio_shared.api.effective import EffectiveCluster
from tapio_shared.api.reasons import Reason
from tapio_shared.json import str_at
from tapio_shared.keys import ObjectRef

_COUNT = "NEO4J_dbms_cluster_minimum__initial__system__primaries__count"
"""What a cluster began with stands here in its ConfigMap, and is read from it ever after."""
_MOST = 9


class GraphMembers(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What runs of a graph. `highest`: one more than the number of its last member; 0 when there is none."""

    highest: int = 0
    began_with: int = 0
    """Of how many members its cluster was formed; 0 when that is still to be decided."""
    top: str = ""
    """Name of the last member."""


def graph_members(
    seen: Mapping[ObjectRef, Seen], cluster: str, namespace: str, released: Mapping[str, str] | None
) -> GraphMembers:
    """The members that were observed, and what their configuration says they began with.

    `released` are StatefulSets that were let go of to be made anew; None under rules by which those do not count.
    """
    highest, top = 0, ""
    for index in range(_MOST):
        name = names.child_name(cluster, names.neo4j_member_suffix(index), namespace)
        ref = ObjectRef("apps", "StatefulSet", namespace, name)
        if _is_there(seen.get(ref)) or (released is not None and is_released(ref, seen, released)):
            highest, top = index + 1, name
    config = seen.get(ObjectRef("", "ConfigMap", namespace, names.child_name(cluster, "neo4j-config", namespace)))
    written = str_at(None if config is None else config.document, "data", _COUNT)
    began = int(written) if written.isdigit() else min(highest, 1)
    return GraphMembers(highest=highest, began_with=began, top=top)


def _is_there(one: Seen | None) -> bool:
    return one is not None and one.document is not None and not str_at(one.document, "metadata", "deletionTimestamp")


def keeping_members(effective: EffectiveCluster, found: GraphMembers) -> tuple[EffectiveCluster, tuple[Notice, ...]]:
    """`effective` with no fewer members than run, and what is to be said about that."""
    asked = effective.neo4j_members
    if not effective.runs_neo4j or effective.neo4j_edition != "enterprise" or found.highest <= asked:
        return effective, ()
    message = (
        f"spec.intelligence.neo4j.replicas asks for {asked} members and {found.highest} run: a member that leaves must "
        f"give its databases away first. In cypher-shell, on the database system: SHOW SERVERS; then, for the server "
        f"whose address begins with {found.top}-0: DEALLOCATE DATABASES FROM SERVER 'NAME'; and, once it hosts "
        f"none but system, DROP SERVER 'NAME'. Then: kubectl delete statefulset {found.top}. Its volume stays."
    )
    notice = Notice(reason=Reason.MEMBERS_NOT_REMOVED, message=message)
    return replace(effective, neo4j_members=found.highest), (notice,)

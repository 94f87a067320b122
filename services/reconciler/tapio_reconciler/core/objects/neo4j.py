"""Neo4j: the graph database, one StatefulSet per member.

Clusters and online backup are Enterprise features, and Enterprise runs only where the user accepted its licence; what
runs instead is one Community member, and a notice says so. Memory is derived from the limit, as the vendor advises.
"""

from __future__ import annotations

from tapio_reconciler.core.model import Component, Flow, GeneratedSecret, Notice, PodGroup
from tapio_reconciler.core.objects.autoscaling import build_vertical_autoscaler
from tapio_reconciler.core.objects.common import (
    build_config_map,
    build_disruption_budget,
    build_service,
    build_service_account,
    present,
)
from tapio_reconciler.core.objects.context import Context
from tapio_reconciler.core.objects.flows import scraped
from tapio_reconciler.core.objects.nats import volume_claim
from tapio_reconciler.core.objects.neo4j_settings import (
    APP,
    METRICS,
    RAFT,
    ROUTING,
    TRANSACTIONS,
    advertised,
    settings_of,
)
from tapio_reconciler.core.objects.outward import proxy_env, to_proxy
from tapio_reconciler.core.objects.pod import (
    RESTRICTED_CONTAINER,
    PodParts,
    build_pod_template,
    mount,
    pull_policy,
    tcp_probe,
)
from tapio_reconciler.core.objects.spreading import spread
from tapio_shared.api import names
from tapio_shared.api.images import NEO4J_ENTERPRISE
from tapio_shared.api.labels import EDITION
from tapio_shared.api.reasons import Reason
from tapio_shared.codec import digest
from tapio_shared.json import JsonObject, object_at
from tapio_shared.keys import ObjectRef

HTTP, BOLT, BACKUP = 7474, 7687, 6362
ENTERPRISE = "enterprise"
_USER = 7474
_CONF = "/var/lib/neo4j/conf"


def build_neo4j(ctx: Context) -> Component | None:
    """Neo4j and its objects; None where the spec has the embedded store or no graph store, or an unaccepted
    licence refuses it."""
    effective = ctx.effective
    if not effective.runs_neo4j or refuses_unlicensed(ctx):
        return None
    spec, name = effective.neo4j, ctx.child(names.NEO4J)
    enterprise = effective.neo4j_edition == "enterprise"
    image = ctx.image(NEO4J_ENTERPRISE if enterprise else APP, spec)
    version = ctx.version(spec, image)
    config = build_config_map(ctx.metadata(ctx.child("neo4j-config"), APP, APP), settings_of(ctx, version))
    selector = ctx.selector(APP, APP)
    ports = {"http": HTTP, "bolt": BOLT} | (
        {"transactions": TRANSACTIONS, "raft": RAFT, "routing": ROUTING, "backup": BACKUP, "metrics": METRICS}
        if enterprise
        else {}
    )
    suffixes = [names.neo4j_member_suffix(index) for index in range(effective.neo4j_members)]
    members = [_member(ctx, ctx.child(suffix), image, version, ports, digest(config["data"])) for suffix in suffixes]
    # Members are on nodes under one rule: any one's template says it.
    template = object_at(members[0], "spec", "template")
    return Component(
        name="neo4j",
        condition="GraphStoreReady",
        depends_on=("nats",),
        objects=present(
            [
                build_service_account(ctx.metadata(name, APP, APP)),
                config,
                build_service(ctx.metadata(name, APP, APP), selector, {"http": HTTP, "bolt": BOLT}),
                build_service(ctx.metadata(ctx.child("neo4j-headless"), APP, APP), selector, ports, headless=True),
                *members,
                *(_vertical_autoscaler(ctx, ctx.child(suffix)) for suffix in suffixes),
                build_disruption_budget(ctx, ctx.metadata(name, APP, APP), template, selector, effective.neo4j_members),
            ]
        ),
        secrets=(_credentials(ctx),),
        workloads=tuple(ObjectRef("apps", "StatefulSet", ctx.namespace, ctx.child(suffix)) for suffix in suffixes),
        pods=(_pods(ctx),),
        rolls_one_by_one=True,
        version=version,
        image=image,
    )


def _pods(ctx: Context) -> PodGroup:
    """Members talk among themselves; a plugin that the image does not hold is downloaded when a member starts."""
    opens: list[Flow] = []
    if ctx.effective.neo4j_members > 1:
        opens.append(Flow(app=APP, ports=(TRANSACTIONS, RAFT, ROUTING)))
    if ctx.effective.neo4j.plugins:
        opens += [Flow(ports=(443,)), *to_proxy(ctx)]
    enterprise = ctx.effective.neo4j_edition == "enterprise"
    return PodGroup(app=APP, component=APP, opens=tuple(opens), admits=scraped(ctx, METRICS) if enterprise else ())


def to_neo4j(ctx: Context) -> tuple[Flow, ...]:
    """From a component to the graph database, where there is one."""
    return (Flow(app=APP, ports=(BOLT,)),) if ctx.effective.runs_neo4j else ()


def _vertical_autoscaler(ctx: Context, member: str) -> JsonObject | None:
    """It only ever recommends: heap and page cache are derived from the limit, which a pod must not outgrow."""
    metadata = ctx.metadata(member, APP, APP)
    return build_vertical_autoscaler(ctx, metadata, "StatefulSet", member, APP, only_recommends=True)


def refuses_unlicensed(ctx: Context) -> bool:
    """Whether there is no Neo4j: the user would rather have none than one Community member, or a volume holds what
    Community can't read."""
    return _holds_enterprise(ctx) or (_unlicensed(ctx) and ctx.effective.neo4j.on_unlicensed == "Refuse")


def _holds_enterprise(ctx: Context) -> bool:
    """Whether Community would have to open what Enterprise wrote."""
    return bool(ctx.enterprise_claims) and ctx.effective.neo4j_edition != ENTERPRISE


def licence_notices(ctx: Context) -> list[Notice]:
    """What a person should know when members were asked for that the licence does not allow."""
    if not ctx.effective.runs_neo4j:
        return []
    if _holds_enterprise(ctx):
        return [_needs_enterprise(ctx)]
    if not _unlicensed(ctx):
        return []
    asked = ctx.effective.neo4j.replicas
    reason = (
        f"spec.intelligence.neo4j asks for {_asked(ctx)}, which needs Neo4j's Enterprise edition, and its licence was "
        "not accepted. Set acceptLicenseAgreement to yes or eval if you have accepted it"
    )
    if refuses_unlicensed(ctx):
        return [
            Notice(
                condition="Stalled",
                reason=Reason.LICENSE_NOT_ACCEPTED,
                message=f"{reason}; onUnlicensed is Refuse, so no Neo4j runs.",
                component="neo4j",
            )
        ]
    ending = f"; until then one Community member runs instead of {asked}." if asked > 1 else "; Community runs instead."
    return [Notice(reason=Reason.LICENSE_NOT_ACCEPTED, message=reason + ending)]


def _needs_enterprise(ctx: Context) -> Notice:
    claims = ctx.enterprise_claims
    return Notice(
        condition="Stalled",
        reason=Reason.LICENSE_NOT_ACCEPTED,
        message=(
            f"PersistentVolumeClaim {claims[0]} holds databases of Neo4j's Enterprise edition, which Community can't "
            "read, and spec.intelligence.neo4j does not accept Enterprise's licence or asks for Community; so no Neo4j "
            "runs, and its volumes stay. Set acceptLicenseAgreement to yes or eval again, with edition Auto or "
            f"Enterprise; or begin with an empty graph: kubectl delete pvc -n {ctx.namespace} {' '.join(claims)}"
        ),
        component="neo4j",
    )


def _asked(ctx: Context) -> str:
    neo4j = ctx.effective.neo4j
    return f"{neo4j.replicas} members" if neo4j.replicas > 1 else "the Enterprise edition"


def _unlicensed(ctx: Context) -> bool:
    neo4j = ctx.effective.neo4j
    wants = neo4j.edition == "Enterprise" or neo4j.replicas > 1
    return wants and neo4j.accept_license_agreement == ""


def bolt_url(ctx: Context) -> str:
    """Where components reach the graph."""
    scheme = "neo4j" if ctx.effective.neo4j_members > 1 else "bolt"
    return f"{scheme}://{ctx.child(names.NEO4J)}.{ctx.namespace}.svc:{BOLT}"


def _credentials(ctx: Context) -> GeneratedSecret:
    """Made once and kept with the volume, whose database it opens: never owned, never applied again."""
    metadata = ctx.metadata(ctx.child(names.NEO4J_AUTH), APP, APP)
    metadata.pop("ownerReferences")
    return GeneratedSecret(
        manifest={"apiVersion": "v1", "kind": "Secret", "metadata": metadata, "type": "Opaque"},
        templates={"NEO4J_AUTH": "neo4j/{password}", "username": "neo4j", "password": "{password}"},
        length=32,
        opens=names.NEO4J,
    )


def _from_config(ctx: Context, key: str) -> JsonObject:
    return {"name": key, "valueFrom": {"configMapKeyRef": {"name": ctx.child("neo4j-config"), "key": key}}}


def _copies_defaults(ctx: Context, image: str) -> JsonObject:
    """Puts the image's own configuration where the start script may change it: it holds the JVM's needed options."""
    return {
        "name": "conf",
        "image": image,
        **pull_policy(ctx),
        "command": ["cp", "-R", f"{_CONF}/.", "/conf-to-change"],
        "volumeMounts": [mount("conf", "/conf-to-change", read_only=False)],
        "resources": {"requests": {"cpu": "10m", "memory": "16Mi"}, "limits": {"memory": "64Mi"}},
        "securityContext": RESTRICTED_CONTAINER,
    }


def _pod(ctx: Context, image: str, version: str, ports: dict[str, int], config_digest: str) -> PodParts:
    spec = ctx.effective.neo4j
    return PodParts(
        app=APP,
        component=APP,
        image=image,
        version=version,
        service_account=ctx.child(names.NEO4J),
        ports=ports,
        config_digest=config_digest,
        env=(
            {
                "name": "NEO4J_AUTH",
                "valueFrom": {"secretKeyRef": {"name": ctx.child(names.NEO4J_AUTH), "key": "NEO4J_AUTH"}},
            },
            *(_from_config(ctx, key) for key in sorted(settings_of(ctx, version))),
            *(proxy_env(ctx) if spec.plugins else ()),
            {"name": "POD_NAME", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}},
            *advertised(ctx),
        ),
        volumes=(
            {"name": "logs", "emptyDir": {}},
            {"name": "conf", "emptyDir": {}},
            {"name": "plugins", "emptyDir": {}},
            {"name": "run", "emptyDir": {}},
            {"name": "tmp", "emptyDir": {}},
        ),
        mounts=(
            mount("data", "/data", read_only=False),
            mount("logs", "/logs", read_only=False),
            mount("conf", _CONF, read_only=False),
            mount("run", "/var/lib/neo4j/run", read_only=False),
            mount("plugins", "/plugins", read_only=False),
            mount("tmp", "/tmp", read_only=False),  # noqa: S108 - a path in the container
        ),
        probes={
            "startup": tcp_probe("bolt", periodSeconds=5, failureThreshold=1000),
            "readiness": tcp_probe("bolt", periodSeconds=5, failureThreshold=20),
            "liveness": tcp_probe("bolt", periodSeconds=5, failureThreshold=40),
        },
        resources=ctx.effective.resources[APP],
        user=_USER,
        group=_USER,
        outward=False,
        grace=3600,
        spread=spread(ctx, spec, ctx.selector(APP, APP), ctx.effective.neo4j_members),
        init_containers=(_copies_defaults(ctx, image),),
    )


def _member(ctx: Context, name: str, image: str, version: str, ports: dict[str, int], config_digest: str) -> JsonObject:
    spec = ctx.effective.neo4j
    selector: JsonObject = {**ctx.selector(APP, APP), "tapio.io/member": name}
    template = build_pod_template(ctx, spec, _pod(ctx, image, version, ports, config_digest))
    metadata = template["metadata"]
    if isinstance(metadata, dict) and isinstance(metadata["labels"], dict):
        metadata["labels"] = {**metadata["labels"], "tapio.io/member": name}
    return {
        "apiVersion": "apps/v1",
        "kind": "StatefulSet",
        "metadata": ctx.metadata(name, APP, APP, version=version),
        "spec": {
            "serviceName": ctx.child("neo4j-headless"),
            "replicas": 1,
            "podManagementPolicy": "Parallel",
            "updateStrategy": {"type": "RollingUpdate"},
            "selector": {"matchLabels": selector},
            "template": template,
            "volumeClaimTemplates": [
                volume_claim(
                    ctx,
                    "data",
                    APP,
                    ctx.effective.graph_storage,
                    spec.storage_class_name,
                    {EDITION: ENTERPRISE} if ctx.effective.neo4j_edition == ENTERPRISE else None,
                )
            ],
        },
    }

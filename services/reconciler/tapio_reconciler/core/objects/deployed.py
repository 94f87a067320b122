"""A component that is a configuration file, a Service and one workload that reads the file: how they fit together.

What differs from component to component is a `Deployed`; nothing here knows any of them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from tapio_reconciler.core.model import Component, Flow, PodGroup
from tapio_reconciler.core.objects.autoscaling import (
    build_horizontal_autoscaler,
    build_vertical_autoscaler,
    most_replicas,
)
from tapio_reconciler.core.objects.common import (
    build_config_map,
    build_deployment,
    build_disruption_budget,
    build_service,
    build_service_account,
    configuration_text,
    present,
)
from tapio_reconciler.core.objects.context import Context
from tapio_reconciler.core.objects.merging import merged
from tapio_reconciler.core.objects.messaging import Access
from tapio_reconciler.core.objects.outward import to_proxy
from tapio_reconciler.core.objects.pod import PodParts, build_pod_template, config_volume, mount
from tapio_shared.api.component import Component as ComponentSpec
from tapio_shared.api.effective import Scaling
from tapio_shared.codec import digest
from tapio_shared.json import JsonObject, str_at
from tapio_shared.keys import ObjectRef

CONFIG_PATH = "/etc/tapio"

BuildWorkload = Callable[[str, JsonObject, JsonObject, str], JsonObject]
"""Given name, selector, pod template and version."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Deployed:
    """What one such component has of its own."""

    name: str
    """In `status.components`."""
    suffix: str
    """Of its objects' names; also the label `app.kubernetes.io/component`."""
    app: str
    image_of: str
    """Whose default image it runs (`tapio_shared.api.images`)."""
    spec: ComponentSpec
    condition: str
    depends_on: tuple[str, ...]
    configuration: JsonObject
    """The operator's part of the configuration file; the spec's `config` is merged over it."""
    pod: PodParts
    """Without image, version, ServiceAccount, configuration volume and digest, which follow from the rest."""
    service_ports: Mapping[str, int] = field(default_factory=dict[str, int])
    """Of its Service; none where that is among `more`."""
    scaling: Scaling
    nats: Access
    """How it reaches NATS."""
    load: JsonObject | None = None
    """The metric by which it is scaled instead of by CPU."""
    secrets: Sequence[str] = ()
    """Secrets whose change restarts the pods."""
    more: Sequence[JsonObject | None] = ()
    collector: str = ""
    max_unavailable: int = 0
    opens: tuple[Flow, ...] = ()
    admits: tuple[int, ...] = ()
    """Ports on which anybody may reach its pods."""


def deployed(ctx: Context, one: Deployed, workload: BuildWorkload | None = None) -> Component:
    """All objects of a component. `workload` builds something else than a Deployment, which then is not scaled."""
    name = ctx.child(one.suffix)
    image = ctx.image(one.image_of, one.spec)
    version = ctx.version(one.spec, image)
    selector = ctx.selector(one.app, one.suffix)

    def metadata(of: str = name, *, with_version: bool = False) -> JsonObject:
        return ctx.metadata(of, one.app, one.suffix, version=version if with_version else "", collector=one.collector)

    config_name = ctx.child(f"{one.suffix}-config")
    document = one.configuration if one.spec.config is None else merged(one.configuration, dict(one.spec.config))
    config = build_config_map(metadata(config_name), {"config.yaml": configuration_text(document)})
    held = [ctx.secret_digests.get(secret, "") for secret in one.secrets]
    parts = replace(
        one.pod,
        image=image,
        version=version,
        service_account=name,
        config_digest=digest([config["data"], held, one.nats.digest]),
        args=one.pod.args or ("-config", f"{CONFIG_PATH}/config.yaml"),
        env=(*one.nats.env, *one.pod.env),
        volumes=(config_volume("config", config_name), *one.nats.volumes, *one.pod.volumes),
        mounts=(mount("config", CONFIG_PATH), *one.nats.mounts, *one.pod.mounts),
        group=one.pod.group or one.nats.group,
    )
    template = build_pod_template(ctx, one.spec, parts)
    if workload is None:
        built = build_deployment(
            ctx, metadata(with_version=True), selector, template, one.scaling, max_unavailable=one.max_unavailable
        )
    else:
        built = workload(name, selector, template, version)
    kind = str_at(built, "kind")
    scaling = one.scaling if kind == "Deployment" else Scaling(replicas=1)
    # Where more than one may be asked for at some time, as few as can hold each other up.
    most = most_replicas(ctx, name, scaling) if kind == "Deployment" else scaling.replicas
    together = max(scaling.replicas, min(most, 2))
    return Component(
        name=one.name,
        condition=one.condition,
        depends_on=one.depends_on,
        objects=present(
            [
                build_service_account(metadata()),
                config,
                *one.more,
                build_service(metadata(), selector, one.service_ports) if one.service_ports else None,
                built,
                build_horizontal_autoscaler(ctx, metadata(), name, scaling, one.load),
                build_vertical_autoscaler(ctx, metadata(), kind, name, one.suffix, scaling),
                build_disruption_budget(ctx, metadata(), template, selector, together),
            ]
        ),
        workloads=(ObjectRef("apps", kind, ctx.namespace, name),),
        pods=(PodGroup(app=one.app, component=one.suffix, opens=(*one.opens, *to_proxy(ctx)), admits=one.admits),),
        version=version,
        image=image,
        scaled_by=ctx.scalers.get(name, "") if kind == "Deployment" else "",
    )

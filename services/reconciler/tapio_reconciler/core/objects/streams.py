"""The stream of observations and its consumers: made before collectors start, and kept right afterwards.

A Job runs the stream keeper of this project (`tapio_streams`) once for each configuration: a Job's template can't be
changed, so its name carries a hash of it, and Jobs of former configurations are pruned. A CronJob runs the same pod
again and again and mends what somebody changed or deleted. Neither ever deletes data.
"""

from __future__ import annotations

from tapio_reconciler.core.model import Component, PodGroup
from tapio_reconciler.core.objects import nats_users
from tapio_reconciler.core.objects.common import build_config_map, build_service_account, present
from tapio_reconciler.core.objects.context import Context
from tapio_reconciler.core.objects.messaging import access, to_nats
from tapio_reconciler.core.objects.nats_configuration import file_store
from tapio_reconciler.core.objects.pod import PodParts, build_pod_template, config_volume, mount
from tapio_shared.api import names
from tapio_shared.api.component import Component as ComponentSpec
from tapio_shared.api.duration import parse_duration
from tapio_shared.api.images import OPERATOR
from tapio_shared.api.labels import MANAGED_BY
from tapio_shared.api.quantity import parse_quantity
from tapio_shared.codec import digest, encode
from tapio_shared.json import JsonObject, JsonValue, object_at, strings_at
from tapio_shared.keys import ObjectRef

APP = "tapio-streams"
COMPONENT = names.STREAMS
_CONFIG, _FILE = "/etc/tapio", "streams.json"
_SECOND = 1_000_000_000
_DUPLICATE_WINDOW = 120 * _SECOND
"""JetStream refuses one that is longer than observations are kept."""
_MOST_REPLICAS = 3
"""More copies than this only slow writing down: two servers may be lost with five, and a stream is no archive."""
_EVERY = "*/10 * * * *"
_NEVER_GIVES_UP = 10_000
"""A Job that has failed for good never runs again; NATS may well be away for an hour. Restarts back off to five
minutes."""
_RESOURCES: JsonObject = {"requests": {"cpu": "10m", "memory": "64Mi"}, "limits": {"memory": "128Mi"}}
_NO_OVERRIDES = ComponentSpec()


def build_streams(ctx: Context) -> Component:
    """The keeper of the stream, for the TapioCluster's own NATS and for an external one."""
    name, image = ctx.child(COMPONENT), ctx.sidecar_image(OPERATOR)
    version = ctx.version(_NO_OVERRIDES, image)
    config = build_config_map(ctx.metadata(name, APP, COMPONENT), {_FILE: _configuration(ctx)})
    template = _template(ctx, name, image, version, digest(config["data"]))
    job = f"{ctx.child(COMPONENT)}-{digest(template)[:8]}"
    return Component(
        name=COMPONENT,
        condition="MessagingReady",
        depends_on=("nats",),
        objects=present(
            [
                build_service_account(ctx.metadata(name, APP, COMPONENT)),
                config,
                _job(ctx, job, template, version),
                _cron_job(ctx, name, template, version),
            ]
        ),
        workloads=(ObjectRef("batch", "Job", ctx.namespace, job),),
        pods=(PodGroup(app=APP, component=COMPONENT, opens=to_nats(ctx)),),
        version=version,
        image=image,
    )


def stream_configuration(ctx: Context) -> JsonObject:
    """The stream, in JetStream's words."""
    observations = ctx.effective.spec.nats.observations
    limit = int(parse_quantity(ctx.effective.nats_max_bytes))
    max_age = int(parse_duration(observations.max_age).total_seconds() * _SECOND)
    if observations.max_bytes is None and not ctx.effective.uses_external_nats:
        limit = min(limit, file_store(ctx) * 9 // 10)  # Somebody chose a small volume and left the limit to us.
    return {
        "name": nats_users.STREAM,
        "description": f"Observations of TapioCluster {ctx.namespace}/{ctx.name}.",
        "subjects": [f"{nats_users.SUBJECTS}.>"],
        "retention": "limits",
        "discard": "old",
        "storage": "file",
        "compression": "s2",
        "num_replicas": _MOST_REPLICAS if ctx.effective.uses_external_nats else _replicas(ctx.effective.nats_servers),
        "max_age": max_age,
        "max_bytes": limit,
        "max_msgs": -1,
        "duplicate_window": min(_DUPLICATE_WINDOW, max_age),
        "allow_direct": True,
    }


def consumer_configurations() -> list[JsonValue]:
    """The consumers: the loader's, from which the correlation service fetches."""
    return [
        {
            "durable_name": nats_users.CONSUMER,
            "description": "Where the correlation service fetches observations.",
            "deliver_policy": "all",
            "ack_policy": "explicit",
            "ack_wait": 30 * _SECOND,
            "max_deliver": 3,
        }
    ]


def _replicas(servers: int) -> int:
    return min(_MOST_REPLICAS, servers)


def _configuration(ctx: Context) -> str:
    way = access(ctx, nats_users.STREAMS)
    document: JsonObject = {
        "servers": [one.strip() for one in way.bare_url.split(",")],
        "stream": stream_configuration(ctx),
        "consumers": consumer_configurations(),
        "mayHaveFewerReplicas": ctx.effective.uses_external_nats,
        "credentials": way.credentials_file,
        "ca": way.ca_file,
    }
    return encode(document).decode() + "\n"


def _template(ctx: Context, name: str, image: str, version: str, config_digest: str) -> JsonObject:
    way = access(ctx, nats_users.STREAMS)
    parts = PodParts(
        app=APP,
        component=COMPONENT,
        image=image,
        version=version,
        service_account=name,
        ports={},
        config_digest=config_digest,
        command=("tapio-streams",),
        args=(f"{_CONFIG}/{_FILE}",),
        env=way.env,
        volumes=(config_volume("config", name), *way.volumes),
        mounts=(mount("config", _CONFIG), *way.mounts),
        resources=_RESOURCES,
        group=way.group,
    )
    template = build_pod_template(ctx, _NO_OVERRIDES, parts)
    object_at(template, "spec")["restartPolicy"] = "OnFailure"
    for container in (object_at(template, "spec")["containers"],):
        if isinstance(container, list) and isinstance(container[0], dict):
            container[0]["terminationMessagePolicy"] = "FallbackToLogsOnError"
    return template


def _job(ctx: Context, name: str, template: JsonObject, version: str) -> JsonObject:
    return {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": ctx.metadata(name, APP, COMPONENT, version=version),
        "spec": {"backoffLimit": _NEVER_GIVES_UP, "template": template},
    }


def _cron_job(ctx: Context, name: str, template: JsonObject, version: str) -> JsonObject | None:
    api_version = ctx.served.api_version("batch", "CronJob", "v1", "v1beta1")
    if not api_version:
        return None
    # Without the label by which the watcher finds what is ours, or every run would be a handful of facts.
    metadata = object_at(template, "metadata")
    labels = {key: value for key, value in strings_at(metadata, "labels").items() if key != MANAGED_BY}
    unseen: JsonObject = {**template, "metadata": {**metadata, "labels": {**labels}}}
    return {
        "apiVersion": api_version,
        "kind": "CronJob",
        "metadata": ctx.metadata(name, APP, COMPONENT, version=version),
        "spec": {
            "schedule": _EVERY,
            "concurrencyPolicy": "Forbid",
            "startingDeadlineSeconds": 300,
            "successfulJobsHistoryLimit": 1,
            "failedJobsHistoryLimit": 1,
            "jobTemplate": {"spec": {"backoffLimit": 3, "activeDeadlineSeconds": 540, "template": unseen}},
        },
    }

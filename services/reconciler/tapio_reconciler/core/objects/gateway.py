"""The API gateway: the one door from outside, with authentication, rules and a rate limit."""

from __future__ import annotations

from tapio_reconciler.core.model import Component, Notice
from tapio_reconciler.core.objects.common import (
    build_autoscaler,
    build_config_map,
    build_deployment,
    build_disruption_budget,
    build_service,
    build_service_account,
    configuration_text,
    present,
    spread,
)
from tapio_reconciler.core.objects.context import Context
from tapio_reconciler.core.objects.correlation import graph_credentials, telemetry_env
from tapio_reconciler.core.objects.merging import merged
from tapio_reconciler.core.objects.nats import client_url
from tapio_reconciler.core.objects.neo4j import bolt_url
from tapio_reconciler.core.objects.pod import (
    METRICS_PORT,
    PodParts,
    build_pod_template,
    config_volume,
    default_probes,
    mount,
    secret_volume,
)
from tapio_shared.api import names
from tapio_shared.api.reasons import Reason
from tapio_shared.codec import digest
from tapio_shared.json import JsonObject
from tapio_shared.keys import ObjectRef

APP = "tapio-gateway"
COMPONENT = names.GATEWAY
PUBLIC, HEALTH = 8443, 8080
_PORTS = {"api": PUBLIC, "http": HEALTH, "metrics": METRICS_PORT}
_CONFIG, _TLS, _CA = "/etc/tapio", "/etc/tapio-tls", "/etc/tapio-oidc"


def build_gateway(ctx: Context) -> Component | None:
    """The gateway and its objects; None where there is none."""
    scaling = ctx.effective.gateway
    if scaling is None:
        return None
    spec, name = ctx.effective.spec.gateway, ctx.child(COMPONENT)
    image = ctx.image(COMPONENT, spec)
    version = ctx.version(spec, image)
    config = build_config_map(ctx.metadata(ctx.child("gateway-config"), APP, COMPONENT), {"config.yaml": _config(ctx)})
    selector = ctx.selector(APP, COMPONENT)
    template = build_pod_template(ctx, spec, _pod(ctx, image, version, digest(config["data"])))
    exposure = spec.exposure.type
    return Component(
        name="gateway",
        condition="GatewayReady",
        depends_on=("nats", "neo4j", "graph"),
        objects=present(
            [
                build_service_account(ctx.metadata(name, APP, COMPONENT)),
                config,
                build_service(
                    ctx.metadata(name, APP, COMPONENT),
                    selector,
                    {"api": PUBLIC, "metrics": METRICS_PORT},
                    kind="LoadBalancer" if exposure == "LoadBalancer" else "ClusterIP",
                ),
                build_ingress(ctx),
                build_http_route(ctx),
                build_deployment(ctx, ctx.metadata(name, APP, COMPONENT, version=version), selector, template, scaling),
                build_autoscaler(ctx, ctx.metadata(name, APP, COMPONENT), name, scaling),
                build_disruption_budget(ctx, ctx.metadata(name, APP, COMPONENT), selector, scaling.replicas),
            ]
        ),
        workloads=(ObjectRef("apps", "Deployment", ctx.namespace, name),),
        version=version,
        image=image,
    )


def endpoint(ctx: Context) -> str:
    """Where the gateway is reached."""
    spec = ctx.effective.spec.gateway
    scheme = "http" if spec.tls is None else "https"
    if spec.exposure.host:
        return f"{'https' if spec.tls else scheme}://{spec.exposure.host}"
    return f"{scheme}://{ctx.child(COMPONENT)}.{ctx.namespace}.svc:{PUBLIC}"


def exposure_notices(ctx: Context) -> list[Notice]:
    """What a person should know when the way of exposure that was asked for is not served here."""
    if ctx.effective.gateway is None:
        return []
    kind = ctx.effective.spec.gateway.exposure.type
    group = {"Ingress": "networking.k8s.io", "HTTPRoute": "gateway.networking.k8s.io"}.get(kind)
    if group is None or ctx.served.find(group, kind) is not None:
        return []
    return [
        Notice(
            reason=Reason.API_NOT_SERVED,
            message=(
                f"spec.gateway.exposure.type is {kind}, and this Kubernetes cluster does not serve {kind}.{group}. "
                "The gateway runs and is reachable inside the cluster; install the API or choose another exposure."
            ),
        )
    ]


def build_ingress(ctx: Context) -> JsonObject | None:
    """An Ingress, where one is asked for and served."""
    spec, name = ctx.effective.spec.gateway, ctx.child(COMPONENT)
    version = ctx.served.api_version("networking.k8s.io", "Ingress", "v1")
    if spec.exposure.type != "Ingress" or not version:
        return None
    backend: JsonObject = {"service": {"name": name, "port": {"name": "api"}}}
    rule: JsonObject = {"http": {"paths": [{"path": "/", "pathType": "Prefix", "backend": backend}]}}
    if spec.exposure.host:
        rule["host"] = spec.exposure.host
    body: JsonObject = {"rules": [rule]}
    if spec.exposure.class_name:
        body["ingressClassName"] = spec.exposure.class_name
    if spec.tls is not None and spec.tls.secret_ref is not None and spec.exposure.host:
        body["tls"] = [{"hosts": [spec.exposure.host], "secretName": spec.tls.secret_ref.name}]
    return {"apiVersion": version, "kind": "Ingress", "metadata": ctx.metadata(name, APP, COMPONENT), "spec": body}


def build_http_route(ctx: Context) -> JsonObject | None:
    """A Gateway API route, where one is asked for and served."""
    spec, name = ctx.effective.spec.gateway, ctx.child(COMPONENT)
    version = ctx.served.api_version("gateway.networking.k8s.io", "HTTPRoute", "v1", "v1beta1")
    parent = spec.exposure.parent_ref
    if spec.exposure.type != "HTTPRoute" or not version or parent is None:
        return None
    body: JsonObject = {
        "parentRefs": [parent.document()],
        "rules": [{"backendRefs": [{"name": name, "port": PUBLIC}]}],
    }
    if spec.exposure.host:
        body["hostnames"] = [spec.exposure.host]
    return {"apiVersion": version, "kind": "HTTPRoute", "metadata": ctx.metadata(name, APP, COMPONENT), "spec": body}


def _config(ctx: Context) -> str:
    spec = ctx.effective.spec.gateway
    document: JsonObject = {
        "listen": f":{PUBLIC}",
        "health": f":{HEALTH}",
        "nats": {"url": client_url(ctx)},
        "rateLimit": spec.rate_limit.document(),
    }
    if not ctx.effective.embedded:
        document["graph"] = {"url": bolt_url(ctx)}
    else:
        document["graph"] = {"url": f"http://{ctx.child(names.CORRELATION)}.{ctx.namespace}.svc:8080"}
    if spec.tls is not None and spec.tls.secret_ref is not None:
        document["tls"] = {"certificate": f"{_TLS}/tls.crt", "key": f"{_TLS}/tls.key"}
    if spec.auth is not None:
        document["auth"] = _auth(ctx)
    if spec.config is not None:
        document = merged(document, dict(spec.config))
    return configuration_text(document)


def _auth(ctx: Context) -> JsonObject:
    auth = ctx.effective.spec.gateway.auth
    if auth is None:
        return {}
    document = auth.document()
    oidc = document.get("oidc")
    if isinstance(oidc, dict) and oidc.pop("caSecretRef", None) is not None:
        oidc["caFile"] = f"{_CA}/ca.crt"
    return document


def _secrets(ctx: Context) -> list[tuple[str, str, str]]:
    """(volume, Secret, path) of every Secret that the gateway mounts."""
    spec = ctx.effective.spec.gateway
    found: list[tuple[str, str, str]] = []
    if spec.tls is not None and spec.tls.secret_ref is not None:
        found.append(("tls", spec.tls.secret_ref.name, _TLS))
    if spec.auth is not None and spec.auth.oidc is not None and spec.auth.oidc.ca_secret_ref is not None:
        found.append(("oidc-ca", spec.auth.oidc.ca_secret_ref.name, _CA))
    return found


def _pod(ctx: Context, image: str, version: str, config_digest: str) -> PodParts:
    secrets = _secrets(ctx)
    auth = ctx.child(names.NEO4J_AUTH)
    env = telemetry_env(ctx)
    if not ctx.effective.embedded:
        env += graph_credentials(auth)
    used = [auth, *(secret for _, secret, _ in secrets)]
    scaling = ctx.effective.gateway
    return PodParts(
        app=APP,
        component=COMPONENT,
        image=image,
        version=version,
        service_account=ctx.child(COMPONENT),
        ports=_PORTS,
        config_digest=digest([config_digest, [ctx.secret_digests.get(secret, "") for secret in used]]),
        args=("-config", f"{_CONFIG}/config.yaml"),
        env=env,
        volumes=(
            config_volume("config", ctx.child("gateway-config")),
            *(secret_volume(volume, secret) for volume, secret, _ in secrets),
        ),
        mounts=(mount("config", _CONFIG), *(mount(volume, path) for volume, _, path in secrets)),
        probes=default_probes(),
        resources=ctx.effective.resources["gateway"],
        group=65532 if secrets else 0,
        spread=spread(ctx, ctx.selector(APP, COMPONENT), 1 if scaling is None else scaling.replicas),
    )

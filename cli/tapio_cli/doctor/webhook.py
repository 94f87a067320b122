"""The checks of the operator's webhook: that it can be trusted, and that it answers.

Whether it answers is asked the way people's requests ask it, through the API server: that reaches a Service from
anywhere, by the certificate that is registered, and with the time-out that is.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
from collections.abc import Sequence

from tapio_cli.doctor.findings import AREA, Finding, finding, unknown
from tapio_cli.history.printing import moment
from tapio_cli.kubectl import Kubectl, KubectlError
from tapio_shared.api.names import API_GROUP, CLUSTER_KIND
from tapio_shared.api.operator_config import CONFIG_MAP
from tapio_shared.certificates import UnusableCertificate, certificate_facts
from tapio_shared.codec import encode
from tapio_shared.errors import TapioError
from tapio_shared.installation import WEBHOOK, WEBHOOK_CERTIFICATE, WEBHOOK_CONFIGURATION
from tapio_shared.json import JsonObject, objects_at, str_at

CERTIFICATE, ANSWER = "webhook certificate", "webhook answers"
NO_CLUSTER = "Name the operator's cluster: --kubeconfig FILE, and --context where it is not the current one."
_KINDS = ("MutatingWebhookConfiguration", "ValidatingWebhookConfiguration")
_SOON = 7 * 86_400_000
"""Milliseconds before its end at which a certificate should long have been renewed."""
_SLOW = 5.0
"""Seconds that the API server gives each of the two handlers (tapio_webhook.registration)."""
_PATIENCE = 30
"""Seconds for the whole request: both handlers may hang, and so may others'."""


async def examine_webhook(kubectl: Kubectl, *, namespace: str, now: int, is_off: bool) -> list[Finding]:
    """Both; a webhook that the configuration switches off is not missed."""
    if is_off:
        ok = f"It is switched off (webhooks.enabled in ConfigMap {CONFIG_MAP}): specs are judged by the planner alone."
        return [finding(AREA, check, [], ok=ok, next_step="") for check in (CERTIFICATE, ANSWER)]
    return [await _certificate(kubectl, namespace, now), await _answer(kubectl, namespace)]


async def _answer(kubectl: Kubectl, namespace: str) -> Finding:
    """Whether a TapioCluster that is not kept comes back as the webhook makes it."""
    command = ("create", "--dry-run=server", "--validate=false", f"--request-timeout={_PATIENCE}s", "-f", "-")
    asked: JsonObject = {
        "apiVersion": f"{API_GROUP}/v1alpha1",
        "kind": CLUSTER_KIND,
        "metadata": {"generateName": "tapio-doctor-", "namespace": namespace},
        "spec": {"profile": "development"},
    }
    clock = asyncio.get_running_loop()
    began = clock.time()
    try:
        made = await kubectl.document(*command, stdin=encode(asked))
    except KubectlError as err:
        if "failed calling webhook" in str(err) and f".{API_GROUP}" in str(err):
            return answer_finding(None, clock.time() - began, namespace, why=str(err))
        return unknown(AREA, ANSWER, str(err), "It takes the right to create TapioClusters: ask as an admin.")
    return answer_finding(made, clock.time() - began, namespace)


def answer_finding(made: JsonObject | None, seconds: float, namespace: str, *, why: str = "") -> Finding:
    """Whether the webhook answered, by what came of a TapioCluster without a version, to which it adds one.

    `made` is None where the API server refused it for want of an answer, and `why` says how.
    """
    problems: list[str] = []
    took = f"{seconds:.1f} s"
    if made is None:
        problems.append(f"The API server refuses TapioClusters, as it had no answer from the webhook: {why}.")
    elif not str_at(made, "spec", "version"):
        how = "had no answer from it in time" if seconds >= _SLOW else "could not reach it"
        problems.append(f"A TapioCluster passed it unseen, in {took}: the API server {how}.")
    elif seconds >= _SLOW:
        problems.append(f"It answered, and yet a TapioCluster took {took}: one of its handlers, or another's, hangs.")
    return finding(
        AREA,
        ANSWER,
        problems,
        ok=f"It had its say on a TapioCluster that was not kept, in {took}.",
        next_step=(
            "What people apply waits for it as long, and is judged by the planner alone (Stalled). kubectl rollout "
            f"restart -n {namespace} deploy/{WEBHOOK}; if that does not help, see whether the API server may reach "
            f"Service {namespace}/{WEBHOOK} (a NetworkPolicy, a firewall), and what its log says."
        ),
    )


async def _certificate(kubectl: Kubectl, namespace: str, now: int) -> Finding:
    next_step = (
        "Without it specs are judged by the planner alone (Stalled). A webhook that runs makes it again at once: "
        f"kubectl get pods -n {namespace}."
    )
    what = f"Secret {namespace}/{WEBHOOK_CERTIFICATE}"
    registered: list[JsonObject] = []
    try:
        secret = await kubectl.document("get", "secret", WEBHOOK_CERTIFICATE, "-n", namespace)
        for kind in _KINDS:
            what = f"{kind} {WEBHOOK_CONFIGURATION}"
            registered.append(await kubectl.document("get", kind.lower(), WEBHOOK_CONFIGURATION))
    except KubectlError as err:
        return refused(CERTIFICATE, what, err, next_step)
    return certificate_finding(secret, registered, namespace, now)


def certificate_finding(secret: JsonObject, registered: Sequence[JsonObject], namespace: str, now: int) -> Finding:
    """Whether the webhook's certificate is valid for long enough, and trusted by its registration."""
    try:
        facts = certificate_facts(base64.b64decode(str_at(secret, "data", "tls.crt"), validate=True))
    except (UnusableCertificate, binascii.Error):
        return finding(
            AREA,
            CERTIFICATE,
            [f"Secret {namespace}/{WEBHOOK_CERTIFICATE} holds no certificate."],
            ok="",
            next_step=f"kubectl delete secret {WEBHOOK_CERTIFICATE} -n {namespace}; the webhook makes another one.",
        )
    problems: list[str] = []
    if facts.expires_at <= now:
        problems.append(f"The certificate has expired at {moment(facts.expires_at)}.")
    elif facts.expires_at - now < _SOON:
        problems.append(f"The certificate expires at {moment(facts.expires_at)} and has not been renewed.")
    handlers = [handler for one in registered for handler in objects_at(one, "webhooks")]
    if not all(str_at(one, "clientConfig", "caBundle") for one in handlers):
        problems.append("The registration of the webhook trusts no certificate authority.")
    return finding(
        AREA,
        CERTIFICATE,
        problems,
        ok=f"It is valid until {moment(facts.expires_at)}, and registered.",
        next_step="Restart the webhook: kubectl rollout restart -n tapio-system deploy/tapio-webhook.",
    )


def refused(check: str, what: str, err: TapioError, next_step: str) -> Finding:
    """What kubectl could not read: not there is a problem, not allowed or not reached is unknown."""
    if "NotFound" in str(err) or "not found" in str(err):
        return finding(AREA, check, [f"{what} does not exist."], ok="", next_step=next_step)
    return unknown(AREA, check, str(err), NO_CLUSTER)

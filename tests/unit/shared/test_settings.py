"""Settings: defaults pinned, all problems told at once."""

from __future__ import annotations

import pytest

from tapio_shared.errors import InvalidSettings
from tapio_shared.settings import Settings, read_settings

DEFAULTS = {
    "nats_url": "nats://tapio-operator-nats.tapio-system.svc:4222",
    "nats_credentials": "",
    "nats_ca": "",
    "nats_replicas": 1,
    "log_max_bytes": 2 << 30,
    "log_max_age_days": 30.0,
    "kubeconfig": "",
    "kube_context": "",
    "target": "local",
    "partitions": 32,
    "namespace": "tapio-system",
    "name": "",
    "log_level": "info",
    "bind_address": "0.0.0.0",
    "health_port": None,
    "metrics_port": None,
}


def test_the_defaults_are_those_of_the_documentation() -> None:
    settings = read_settings({}).model_dump()
    assert {name: settings[name] for name in DEFAULTS} == DEFAULTS


def test_every_setting_says_what_it_is() -> None:
    assert [name for name, field in Settings.model_fields.items() if not field.description] == []


def test_variables_are_read_by_name_and_empty_ones_are_unset() -> None:
    settings = read_settings(
        {
            "TAPIO_NATS_URL": "nats://a:4222, tls://b:4222",
            "TAPIO_NATS_REPLICAS": "3",
            "TAPIO_PARTITIONS": "8",
            "TAPIO_HEALTH_PORT": "0",
            "TAPIO_LOG_LEVEL": "DEBUG",
            "TAPIO_TARGET": "",
            "TAPIO_OPERATOR_PORT": "tcp://10.0.0.1:80",
            "PATH": "/bin",
        }
    )
    assert settings.nats_servers == ["nats://a:4222", "tls://b:4222"]
    assert (settings.nats_replicas, settings.partitions, settings.health_port) == (3, 8, 0)
    assert (settings.log_level, settings.target) == ("debug", "local")


@pytest.mark.parametrize(
    ("name", "value", "problem"),
    [
        pytest.param("PARTITIONS", "50", "less than or equal to 49", id="more partitions than batches"),
        pytest.param("PARTITIONS", "0", "greater than or equal to 1", id="no partitions"),
        pytest.param("HEALTH_PORT", "http", "a valid integer", id="a port by name"),
        pytest.param("METRICS_PORT", "70000", "less than or equal to 65535", id="a port too high"),
        pytest.param("NATS_REPLICAS", "2", "1, 3 or 5", id="an even number of replicas"),
        pytest.param("LOG_LEVEL", "loud", "'debug', 'info', 'warning' or 'error'", id="an unknown level"),
        pytest.param("NATS_URL", "localhost:4222", "must begin with one of nats://, tls://", id="no scheme"),
        pytest.param("NATS_URL", "nats://a,", "must begin with one of nats://, tls://", id="an empty address"),
        pytest.param("LOG_MAX_BYTES", "10", "greater than or equal to 1048576", id="a log without room"),
        pytest.param("NATS_URL", "nats://a:99999", "Port out of range 0-65535", id="a port of NATS that there is not"),
        pytest.param("LOG_MAX_BYTES", "9" * 26, "less than 9223372036854775808", id="more than NATS can count"),
        pytest.param("LOG_MAX_AGE_DAYS", "inf", "less than or equal to 36500", id="for ever"),
        pytest.param("TARGET", "a.*", "it must be a lower-case DNS label, such as local", id="a target by a pattern"),
        pytest.param("KUBE_CONTEXT", "prod", "TAPIO_KUBECONFIG no file that holds it", id="a context of no file"),
    ],
)
def test_a_setting_that_is_not_allowed_is_named(name: str, value: str, problem: str) -> None:
    with pytest.raises(InvalidSettings) as caught:
        read_settings({f"TAPIO_{name}": value})
    assert f"TAPIO_{name}" in str(caught.value)
    assert problem in str(caught.value)


def test_all_problems_are_told_at_once() -> None:
    with pytest.raises(InvalidSettings) as caught:
        read_settings({"TAPIO_PARTITIONS": "99", "TAPIO_HEALTH_PORT": "x", "TAPIO_NATS_URL": "http://a"})
    assert str(caught.value).startswith("These settings are not allowed: TAPIO_NATS_URL is 'http://a': ")
    for part in ("TAPIO_PARTITIONS is '99': ", "TAPIO_HEALTH_PORT is 'x': "):
        assert part in str(caught.value)

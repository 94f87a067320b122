"""What every test may ask for, and how examples are made up."""

from hypothesis import HealthCheck, settings

pytest_plugins = [
    "tests.support.control_plane_fixtures",
    "tests.support.nats_fixtures",
    "tests.support.replayed_everywhere",
]

# How long an example takes says more about the machine's other work than about the code: see docs/benchmarks.md.
settings.register_profile("tapio", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("tapio")

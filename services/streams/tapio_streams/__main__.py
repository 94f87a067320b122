"""`python -m tapio_streams FILE`: makes the stream of observations and its consumers, once, and ends.

Runs as a Job before collectors start and as a CronJob that mends what somebody changed. Exit codes: 0 all is as it
must be; 1 NATS can't do it now, try again; 2 the configuration is wrong; 3 JetStream refuses, a person must act.
"""

from __future__ import annotations

import tapio_shared.lean  # noqa: F401 # pyright: ignore[reportUnusedImport] - the others then import less

# isort: split
import asyncio
import os
import sys
from pathlib import Path

import structlog

from tapio_shared.adapters.nats_connection import NatsConnection
from tapio_shared.adapters.nats_credentials import Login
from tapio_shared.adapters.observations import Observations, keep_observations
from tapio_shared.errors import InvalidSettings, LogRefused, TapioError
from tapio_shared.telemetry import setup_logging
from tapio_streams.configuration import Configuration, login_of, read_configuration

log = structlog.get_logger(__name__)
NAME = "streams"
"""Of the connection: gives the inbox prefix `_INBOX_streams`, which is all that its user may subscribe to."""
PATIENCE = 10.0
"""Seconds to wait for a connection: a Job is started again, and says meanwhile what is wrong."""
LATER, WRONG, REFUSED = 1, 2, 3


async def keep(configuration: Configuration, login: Login | None) -> tuple[str, ...]:
    """Connect and bring stream and consumers to what `configuration` says; answers what was changed."""
    connection = await NatsConnection.connect(
        configuration.servers,
        name=NAME,
        credentials=configuration.credentials,
        login=login,
        ca_file=configuration.ca,
        patience=PATIENCE,
    )
    wanted = Observations(
        stream=configuration.stream,
        consumers=configuration.consumers,
        may_have_fewer_replicas=configuration.mayHaveFewerReplicas,
    )
    try:
        return await keep_observations(connection, wanted)
    finally:
        await connection.close()


def main(arguments: list[str] | None = None) -> int:
    """Run once; answers the exit code and says why on standard error, which a pod's status then shows."""
    given = sys.argv[1:] if arguments is None else arguments
    setup_logging("info")
    try:
        if len(given) != 1:
            raise InvalidSettings("Give the configuration file as the only argument: tapio-streams FILE.")
        configuration, found = read_configuration(Path(given[0])), login_of(os.environ)
        login = None if found is None else Login(user=found[0], password=found[1])
        changed = asyncio.run(keep(configuration, login))
    except TapioError as err:
        log.error("stream not kept", error=str(err))  # noqa: TRY400 - a sentence for people, not a trace
        return WRONG if isinstance(err, InvalidSettings) else REFUSED if isinstance(err, LogRefused) else LATER
    log.info("stream kept", changed=list(changed))
    return 0


if __name__ == "__main__":
    sys.exit(main())

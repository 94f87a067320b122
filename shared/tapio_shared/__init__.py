"""What every service of the Tapio Operator shares: facts, keys, codec, errors, ports, settings, telemetry, API.

Nothing in here decides anything about a cluster; that is `tapio_reconciler.core`.
"""

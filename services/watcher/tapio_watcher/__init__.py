"""The watcher: publishes every change in one Kubernetes cluster to the log, and decides nothing."""

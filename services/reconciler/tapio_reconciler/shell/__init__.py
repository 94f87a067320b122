"""The effects of the reconciler: read the log, call core, record, apply. Short and dull on purpose."""

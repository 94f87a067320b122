"""The webhook: normalises, judges and answers; nothing depends on its being up."""

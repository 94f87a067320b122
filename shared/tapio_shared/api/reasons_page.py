"""docs/reasons.md, made from reasons.py: what each condition, reason, phase and state means."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from tapio_shared.api.reasons import ComponentState, ConditionType, EventReason, Phase, Reason, ReasonFamily

_INTRODUCTION: Final = """\
# Conditions, reasons, phases and states

Made by `make crds` from shared/tapio_shared/api/reasons.py; edit that, not this page.

Wait for conditions, not for phases: `kubectl wait tapiocluster/production --for=condition=Ready`.
"""

_FAMILIES: Final = {
    ReasonFamily.PROGRESS: "Progress: nothing to do",
    ReasonFamily.STALLED: "Stalled: somebody must act",
    ReasonFamily.COMPONENT: "Components: why one is not ready",
    ReasonFamily.DEGRADED: "Degraded or skipped: it works, but not as was asked for",
}


def render_reasons() -> str:
    """The page as Markdown."""
    parts = [
        _INTRODUCTION,
        _table("Conditions", ((word, word.meaning) for word in ConditionType)),
        _table("Phases", ((word, word.meaning) for word in Phase)),
        _table("Component states", ((word, word.meaning) for word in ComponentState)),
        "## Reasons\n",
    ]
    for family, title in _FAMILIES.items():
        rows = ((reason, reason.meaning) for reason in Reason if reason.family is family)
        parts.append(_table(title, rows, level=3))
    parts.append(_table("Events that are of no condition", ((word, word.meaning) for word in EventReason), level=3))
    return "\n".join(parts)


def _table(title: str, rows: Iterable[tuple[str, str]], level: int = 2) -> str:
    lines = [f"| `{word}` | {meaning} |" for word, meaning in rows]
    return f"{'#' * level} {title}\n\n| Word | Meaning |\n|---|---|\n" + "\n".join(lines) + "\n"

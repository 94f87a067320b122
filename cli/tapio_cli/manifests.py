"""Rendered objects as text: one stream, or a folder in which every object has a file of its own.

The same objects give the same bytes. In a folder, only files that an earlier rendering wrote are replaced or taken
away; a file of anybody else under a name that is needed is refused.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import yaml

from tapio_reconciler.core.previewing import Preview, PreviewedObject
from tapio_shared.errors import InvalidSettings
from tapio_shared.json import JsonObject, str_at

HEADER = "# Rendered by tapioctl render.\n"
_CLUSTER_SCOPE = "_cluster"
"""Folder of what has no namespace; `_` is in no namespace's name."""


class _Dumper(yaml.CSafeDumper):
    """Repeats what occurs twice, instead of pointing to it, and writes texts of many lines as blocks."""

    def ignore_aliases(self, data: object) -> bool:
        return True


def _text(dumper: _Dumper, text: str) -> yaml.ScalarNode:
    return yaml.ScalarNode("tag:yaml.org,2002:str", text, style="|" if "\n" in text else None)


_Dumper.add_representer(str, _text)


def as_stream(previews: Sequence[Preview]) -> str:
    """Every object as one YAML stream, in the order of the clusters' names and of dependency."""
    return HEADER + "".join(f"---\n{_document(made)}" for one in previews for made in one.objects)


def as_files(previews: Sequence[Preview]) -> dict[str, str]:
    """Path within the folder -> content: `<namespace>/<kind>.<name>.yaml`, `_cluster/` for what has no namespace."""
    files: dict[str, str] = {}
    for one in previews:
        for made in one.objects:
            path = _path(made.manifest)
            if path in files:
                raise InvalidSettings(f"Two of the TapioClusters given need {path}; give one of them another name.")
            files[path] = HEADER + _document(made)
    return files


def write_folder(folder: Path, files: Mapping[str, str]) -> int:
    """Make `folder` hold exactly `files`, besides what others put there; answers how many files that are."""
    try:
        ours = {path for path in folder.rglob("*.yaml") if path.read_text(encoding="utf-8").startswith(HEADER)}
        for name in sorted(files):
            path = folder / name
            if path.exists() and path not in ours:
                raise InvalidSettings(f"{path} exists and was not written by tapioctl render; move it away.")
        for name in sorted(files):
            path = folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(files[name], encoding="utf-8")
        for path in sorted(ours - {folder / name for name in files}):
            path.unlink()
    except OSError as err:
        raise InvalidSettings(f"{folder} can't be written: {err.strerror or err}.") from err
    except UnicodeDecodeError as err:
        raise InvalidSettings(f"{folder} can't be written: {err}.") from err
    return len(files)


def _document(made: PreviewedObject) -> str:
    comment = ""
    if made.generated is not None:
        keys = ", ".join(made.generated.keys)
        comment = f"# Without its values ({keys}), which the operator generates once.\n"
    text = yaml.dump(made.manifest, Dumper=_Dumper, sort_keys=True, width=120, allow_unicode=True)
    return comment + text


def _path(manifest: JsonObject) -> str:
    folder = str_at(manifest, "metadata", "namespace") or _CLUSTER_SCOPE
    name = str_at(manifest, "metadata", "name").replace(":", "_")
    return f"{folder}/{str_at(manifest, 'kind').lower()}.{name}.yaml"

"""JSON merge patch (RFC 7386), JSON patch (RFC 6902) and Kubernetes' strategic merge patch.

Each changes a fresh copy of the live document and gives it back; none of them knows who owns what.
"""

from __future__ import annotations

from typing import cast

import msgspec

from tapio_shared.json import JsonObject, JsonValue
from tapio_simulator.errors import StatusError, bad_request
from tapio_simulator.registry import Place
from tapio_simulator.schema import ANY, Schema

MERGE, JSON_PATCH = "application/merge-patch+json", "application/json-patch+json"
STRATEGIC = "application/strategic-merge-patch+json"
PATCH_TYPES = (JSON_PATCH, MERGE, STRATEGIC)


def patched(live: JsonObject, body: bytes, media_type: str, place: Place) -> JsonObject:
    """`live` after the patch; `live` itself may be changed. StatusError 400 or 422 when it doesn't fit."""
    try:
        patch: JsonValue = msgspec.json.decode(body)
    except msgspec.DecodeError as err:
        raise bad_request(f"error decoding patch: {err}") from err
    if media_type == JSON_PATCH:
        if not isinstance(patch, list):
            raise bad_request(
                "error decoding patch: json: cannot unmarshal object into Go value of type jsonpatch.Patch"
            )
        result = json_patched(live, cast("list[JsonObject]", patch))
    else:
        if not isinstance(patch, dict):
            raise bad_request("error decoding patch: the patch must be an object")
        result = merge_patched(live, patch) if media_type == MERGE else strategic(live, patch, place.served.schema)
    if not isinstance(result, dict):
        raise bad_request("the patch leaves no object")
    return result


def merge_patched(live: JsonValue, patch: JsonValue) -> JsonValue:
    """RFC 7386."""
    if not isinstance(patch, dict):
        return patch
    result: JsonObject = live if isinstance(live, dict) else {}
    for name, value in patch.items():
        if value is None:
            result.pop(name, None)
        elif isinstance(value, dict):
            result[name] = merge_patched(result.get(name), value)
        else:
            result[name] = value
    return result


# --- JSON patch ----------------------------------------------------------------------------------------------


def json_patched(live: JsonValue, operations: list[JsonObject]) -> JsonValue:
    """RFC 6902; StatusError 422 when an operation doesn't apply, as the API server answers."""
    root: list[JsonValue] = [live]
    for operation in operations:
        _operate(root, operation)
    return root[0]


def _operate(root: list[JsonValue], operation: JsonObject) -> None:
    path = _pointer(operation.get("path"))
    match operation.get("op"):
        case "add":
            _add(root, path, operation.get("value"))
        case "remove":
            _remove(root, path)
        case "replace":
            _get(root, path)
            if path:
                _remove(root, path)
            _add(root, path, operation.get("value"), insert=True)
        case "move":
            source = _pointer(operation.get("from"))
            value = _get(root, source)
            _remove(root, source)
            _add(root, path, value)
        case "copy":
            value = _get(root, _pointer(operation.get("from")))
            _add(root, path, msgspec.json.decode(msgspec.json.encode(value)))
        case "test":
            if _get(root, path) != operation.get("value"):
                raise _unprocessable(f"testing value {operation.get('path')} failed")
        case other:
            raise _unprocessable(f"Unexpected kind: {other}")


def _pointer(text: JsonValue) -> list[str]:
    if not isinstance(text, str) or (text and not text.startswith("/")):
        raise _unprocessable(f"invalid JSON pointer {text!r}")
    return [part.replace("~1", "/").replace("~0", "~") for part in text.split("/")[1:]]


def _get(root: list[JsonValue], path: list[str]) -> JsonValue:
    node: JsonValue = root[0]
    for part in path:
        if isinstance(node, dict) and part in node:
            node = node[part]
        elif isinstance(node, list) and part.lstrip("-").isdigit() and -len(node) <= int(part) < len(node):
            node = node[int(part)]
        else:
            raise _unprocessable(f"doc is missing key: /{'/'.join(path)}: missing value")
    return node


def _remove(root: list[JsonValue], path: list[str]) -> None:
    if not path:
        raise _unprocessable("the root can't be removed")
    _get(root, path)
    parent = _get(root, path[:-1])
    if isinstance(parent, dict):
        del parent[path[-1]]
    elif isinstance(parent, list):
        del parent[int(path[-1])]


def _add(root: list[JsonValue], path: list[str], value: JsonValue, *, insert: bool = True) -> None:
    if not path:
        root[0] = value
        return
    parent, last = _get(root, path[:-1]), path[-1]
    if isinstance(parent, dict):
        parent[last] = value
    elif isinstance(parent, list) and last == "-":
        parent.append(value)
    elif isinstance(parent, list) and insert and last.isdigit() and int(last) <= len(parent):
        parent.insert(int(last), value)
    else:
        raise _unprocessable(f"add operation does not apply: doc is missing path: /{'/'.join(path)}: missing value")


def _unprocessable(message: str) -> StatusError:
    return StatusError(422, "Invalid", f"the server rejected our request due to an error in our request: {message}")


# --- strategic merge patch -----------------------------------------------------------------------------------


def strategic(live: JsonValue, patch: JsonObject, schema: Schema) -> JsonValue:
    """Kubernetes' own merge: lists merge by key; `$patch`, `$retainKeys`, `$setElementOrder` are obeyed."""
    directive = patch.get("$patch")
    if directive == "replace":
        return {name: value for name, value in patch.items() if name != "$patch"}
    if directive == "delete":
        return {}
    result: JsonObject = live if isinstance(live, dict) else {}
    retain = patch.get("$retainKeys")
    if isinstance(retain, list):
        result = {name: value for name, value in result.items() if name in retain}
    for name, value in patch.items():
        if name.startswith("$deleteFromPrimitiveList/"):
            target = name.partition("/")[2]
            gone, listed = cast("list[JsonValue]", value), result.get(target)
            if isinstance(listed, list):
                result[target] = [item for item in listed if item not in gone]
    for name, value in patch.items():
        if name.startswith("$"):
            continue
        child = schema.child(name)
        if value is None:
            result.pop(name, None)
        elif isinstance(value, dict):
            result[name] = strategic(result.get(name), value, child)
        elif isinstance(value, list) and child.strategic_merge:
            order = patch.get(f"$setElementOrder/{name}")
            result[name] = _merge_list(result.get(name), value, child, order)
        else:
            result[name] = value
    for name, order in patch.items():
        target = name.partition("/")[2]
        if name.startswith("$setElementOrder/") and target not in patch and isinstance(result.get(target), list):
            child = schema.child(target)
            known = cast("list[JsonValue]", result[target])
            result[target] = _ordered(known, order, known, child.merge_key)
    return result


def _merge_list(live: JsonValue, patch: list[JsonValue], schema: Schema, order: JsonValue) -> list[JsonValue]:
    original = list(live) if isinstance(live, list) else []
    wanted = order if isinstance(order, list) else patch
    if not schema.merge_key:
        return _ordered([*original, *(item for item in patch if item not in original)], wanted, original, "")
    if any(isinstance(item, dict) and item.get("$patch") == "replace" for item in patch):
        return [item for item in patch if not (isinstance(item, dict) and item.get("$patch") == "replace")]
    key = schema.merge_key
    known = list(original)
    for item in patch:
        if not isinstance(item, dict):
            raise bad_request(f"expected a map in a list merged by {key}")
        if key not in item:
            raise bad_request(f"map: {item} does not contain declared merge key: {key}")
        index = next((i for i, have in enumerate(known) if isinstance(have, dict) and have.get(key) == item[key]), None)
        if item.get("$patch") == "delete":
            if index is not None:
                del known[index]
        elif index is None:
            known.append({name: value for name, value in item.items() if name != "$patch"})
        else:
            known[index] = strategic(known[index], item, schema.element or ANY)
    return _ordered(known, wanted, original, key)


def _ordered(items: list[JsonValue], wanted: JsonValue, original: list[JsonValue], key: str) -> list[JsonValue]:
    """Items that the patch names in its order, the others in theirs, merged as they stood to each other before.

    strategicpatch's normalizeElementOrder.
    """
    if not isinstance(wanted, list):
        return items

    def identity(item: JsonValue) -> JsonValue:
        return item.get(key) if key and isinstance(item, dict) else item

    order, before = [identity(entry) for entry in wanted], [identity(entry) for entry in original]
    named = sorted((item for item in items if identity(item) in order), key=lambda item: order.index(identity(item)))
    others = [item for item in items if identity(item) not in order]
    merged: list[JsonValue] = []
    while named and others:
        one, other = identity(named[0]), identity(others[0])
        first = one in before and other in before and before.index(other) < before.index(one)
        merged.append((others if first else named).pop(0))
    return [*merged, *named, *others]

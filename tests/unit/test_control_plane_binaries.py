"""Which control plane a test run uses: what was named, else PATH, else the cache; a wrong name is never passed over."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest

from tests.control_plane.binaries import PROGRAMS, Binaries, MissingBinaries, cache_folder, find_binaries


def _programs(folder: Path, names: Sequence[str] = PROGRAMS) -> Path:
    folder.mkdir(parents=True)
    for name in names:
        (folder / name).touch(mode=0o755)
    return folder


def _expected(folder: Path, source: str) -> Binaries:
    return Binaries(folder / "etcd", folder / "kube-apiserver", folder / "kube-controller-manager", source)


def test_the_named_folder_comes_before_path_and_cache(tmp_path: Path) -> None:
    named, path = _programs(tmp_path / "named"), _programs(tmp_path / "path")
    environment = {"TAPIO_CONTROL_PLANE": str(named), "PATH": str(path), "TAPIO_CACHE": str(tmp_path)}
    _programs(cache_folder(environment))

    assert find_binaries(environment) == _expected(named, "TAPIO_CONTROL_PLANE")


def test_path_comes_before_the_cache(tmp_path: Path) -> None:
    path = _programs(tmp_path / "path")
    environment = {"PATH": str(path), "TAPIO_CACHE": str(tmp_path)}
    _programs(cache_folder(environment))

    assert find_binaries(environment) == _expected(path, "PATH")


def test_path_counts_only_when_it_has_all_three(tmp_path: Path) -> None:
    environment = {"PATH": str(_programs(tmp_path / "path", ["etcd"])), "TAPIO_CACHE": str(tmp_path)}
    cached = _programs(cache_folder(environment))

    assert find_binaries(environment) == _expected(cached, "cache")


def test_nothing_is_found_in_empty_places(tmp_path: Path) -> None:
    assert find_binaries({"PATH": str(tmp_path), "TAPIO_CACHE": str(tmp_path)}) is None


@pytest.mark.parametrize(
    ("present", "missing"),
    [
        pytest.param([], "etcd, kube-apiserver, kube-controller-manager", id="an empty folder"),
        pytest.param(["etcd", "kube-apiserver"], "kube-controller-manager", id="one program is missing"),
    ],
)
def test_a_named_folder_must_hold_all_three(tmp_path: Path, present: list[str], missing: str) -> None:
    named = _programs(tmp_path / "named", present)
    path = _programs(tmp_path / "path")

    with pytest.raises(MissingBinaries) as refusal:
        find_binaries({"TAPIO_CONTROL_PLANE": str(named), "PATH": str(path)})

    assert str(refusal.value) == (
        f"TAPIO_CONTROL_PLANE is {named}, which lacks the executable(s) {missing}. It must hold etcd, kube-apiserver, "
        "kube-controller-manager; unset it to use those on PATH, in the cache, or to build them."
    )


def test_a_file_that_can_not_be_executed_is_no_program(tmp_path: Path) -> None:
    named = _programs(tmp_path / "named")
    (named / "etcd").chmod(0o644)

    with pytest.raises(MissingBinaries, match="lacks the executable\\(s\\) etcd\\."):
        find_binaries({"TAPIO_CONTROL_PLANE": str(named)})


def test_the_cache_is_in_the_home_folder_unless_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))

    assert cache_folder({}).parent == tmp_path / ".cache" / "tapio" / "control-plane"
    assert cache_folder({"TAPIO_CACHE": "/elsewhere"}).parent == Path("/elsewhere/control-plane")

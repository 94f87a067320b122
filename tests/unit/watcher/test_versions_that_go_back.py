"""When an API server that is behind what was seen of it is believed, and what the log tells of its versions."""

from __future__ import annotations

import pytest

from tapio_watcher.past import DOUBTED, Newest, Told, Verdict, kind_name


@pytest.mark.parametrize(
    ("seen", "asked", "verdicts"),
    [
        pytest.param("", [("1", 0.0)], ["present"], id="nothing was seen"),
        pytest.param("99", [("99", 0.0)], ["present"], id="as far as it was seen"),
        pytest.param("99", [("100", 0.0)], ["present"], id="numbers and no text"),
        pytest.param("99", [("98", 0.0), ("99", 59.0)], ["behind", "present"], id="a past that ends"),
        pytest.param(
            "99", [("9", 5.0), ("9", 64.0), ("9", 65.0)], ["behind", "behind", "restored"], id="believed after a minute"
        ),
        pytest.param("99", [("9", 0.0), ("9", 60.0), ("9", 61.0)], ["behind", "restored", "present"], id="and then on"),
        pytest.param(
            "99",
            [("9", 0.0), ("99", 30.0), ("9", 70.0), ("9", 129.0), ("9", 130.0)],
            ["behind", "present", "behind", "behind", "restored"],
            id="every past is doubted for as long",
        ),
    ],
)
def test_verdicts(seen: str, asked: list[tuple[str, float]], verdicts: list[Verdict]) -> None:
    newest = Newest(seen)
    assert DOUBTED == 60.0
    assert [newest.verdict(version, now) for version, now in asked] == verdicts


def test_what_a_watch_tells_counts_too() -> None:
    newest = Newest()
    for version in ("9", "100", "99", ""):
        newest.saw(version)
    assert newest.version == "100"
    assert newest.verdict("99", 0.0) == "behind"
    assert newest.is_behind


def test_the_log_tells_the_cursor_and_what_came_after_it() -> None:
    told = Told({"TapioCluster.tapio.io": (10, "500"), "Pod": (11, "480")})
    told.learn("TapioCluster.tapio.io", 9, "900")  # from before the API server was restored
    told.learn("ConfigMap", 12, "450")
    told.learn("ConfigMap", 13, "")
    assert (told.of("TapioCluster.tapio.io"), told.of("Pod"), told.of("ConfigMap"), told.of("Job.batch")) == (
        "500",
        "480",
        "450",
        "",
    )
    told.learn("TapioCluster.tapio.io", 14, "1000")
    told.learn("TapioCluster.tapio.io", 15, "999")
    assert told.of("TapioCluster.tapio.io") == "1000"


def test_kinds_as_words() -> None:
    assert (kind_name("", "Pod"), kind_name("apps", "Deployment")) == ("Pod", "Deployment.apps")

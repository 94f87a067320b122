"""Which Debian mirror the control plane is built from: the machine's own, so that its mirror or proxy is honoured."""

from __future__ import annotations

import pytest

from tests.control_plane.debian import choose_mirror


@pytest.mark.parametrize(
    ("listing", "mirror"),
    [
        pytest.param(
            "http://a.example/debian-security/ bookworm-security main\nhttp://mirror.example/debian/ bookworm main\n",
            "http://mirror.example/debian/",
            id="bookworm itself, not its security updates",
        ),
        pytest.param(
            "https://other.example/nodesource/ nodistro main\nhttp://mirror.example/debian/ trixie main\n",
            "http://mirror.example/debian/",
            id="a newer Debian's mirror holds bookworm as well",
        ),
        pytest.param(
            "http://archive.example/ubuntu/ noble main\n",
            "http://deb.debian.org/debian/",
            id="a machine without Debian",
        ),
        pytest.param(
            "http://mirror.example/debian/ bookworm contrib\n", "http://deb.debian.org/debian/", id="contrib alone"
        ),
        pytest.param("", "http://deb.debian.org/debian/", id="no sources"),
    ],
)
def test_the_mirror_is_the_machines_own(listing: str, mirror: str) -> None:
    assert choose_mirror(listing) == mirror

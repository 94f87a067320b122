"""Who asks: bearer tokens issued by TokenRequest, and client certificates' subjects."""

from __future__ import annotations

from tapio_shared.ports import Clock, Random
from tapio_simulator.calls import User

ANONYMOUS = User("system:anonymous", ("system:unauthenticated",))


def service_account(namespace: str, name: str) -> User:
    """The user behind a ServiceAccount's token."""
    groups = ("system:serviceaccounts", f"system:serviceaccounts:{namespace}", "system:authenticated")
    return User(f"system:serviceaccount:{namespace}:{name}", groups)


class Identities:
    """Known tokens. They live as long as this process does, or until they expire."""

    def __init__(self, clock: Clock, random: Random) -> None:
        self._clock, self._random = clock, random
        self._tokens: dict[str, tuple[User, int]] = {}

    def issue(self, user: User, seconds: int) -> tuple[str, int]:
        """A new token for `user` and the time it expires, in milliseconds."""
        token, expires = self._random.token(43), self._clock.now() + seconds * 1000
        self._tokens[token] = (user, expires)
        return token, expires

    def user_of(self, token: str) -> User | None:
        """The user behind `token`; None when it is unknown or expired."""
        found = self._tokens.get(token)
        if found is None or found[1] <= self._clock.now():
            return None
        return found[0]

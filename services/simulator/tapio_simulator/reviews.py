"""Virtual resources that are only ever created: access reviews, token reviews, "who am I"."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from tapio_shared.json import JsonObject, JsonValue, list_at, object_at, str_at
from tapio_simulator.authorization import Attributes, Authorizer
from tapio_simulator.calls import Answer, Call, User, decode_object, json_answer
from tapio_simulator.identity import Identities


class Reviews:
    """Answers by path."""

    def __init__(self, authorizer: Authorizer, identities: Identities) -> None:
        self._authorizer, self._identities = authorizer, identities
        authorization, authentication = "/apis/authorization.k8s.io/v1", "/apis/authentication.k8s.io/v1"
        self._handlers: Mapping[str, Callable[[Call, JsonObject], JsonObject]] = {
            f"{authorization}/selfsubjectaccessreviews": self._self_access,
            f"{authorization}/subjectaccessreviews": self._access,
            f"{authorization}/selfsubjectrulesreviews": self._self_rules,
            f"{authentication}/selfsubjectreviews": self._who_am_i,
            f"{authentication}/tokenreviews": self._token,
        }

    def answer(self, call: Call) -> Answer | None:
        """The filled-in review, or None when the path names none."""
        handler = self._handlers.get(call.path)
        if handler is None:
            return None
        document = decode_object(call.body)
        document["status"] = handler(call, document)
        return json_answer(document, 201)

    def _self_access(self, call: Call, document: JsonObject) -> JsonObject:
        return self._decision(call.user, document)

    def _access(self, call: Call, document: JsonObject) -> JsonObject:
        groups = tuple(str(group) for group in list_at(document, "spec", "groups"))
        return self._decision(User(str_at(document, "spec", "user"), groups), document)

    def _decision(self, user: User, document: JsonObject) -> JsonObject:
        asked = object_at(document, "spec", "resourceAttributes")
        path = object_at(document, "spec", "nonResourceAttributes")
        wanted = Attributes(
            str_at(asked or path, "verb"),
            str_at(asked, "group"),
            str_at(asked, "resource"),
            str_at(asked, "subresource"),
            str_at(asked, "namespace"),
            str_at(asked, "name"),
            str_at(path, "path"),
        )
        return {"allowed": self._authorizer.allowed(user, wanted)}

    def _self_rules(self, call: Call, document: JsonObject) -> JsonObject:
        namespace = str_at(document, "spec", "namespace")
        rules: list[JsonObject] = list(self._authorizer.rules(call.user, namespace))
        if "system:masters" in call.user.groups:
            rules.append({"verbs": ["*"], "apiGroups": ["*"], "resources": ["*"]})
        resource_rules: list[JsonValue] = [rule for rule in rules if "resources" in rule]
        other: list[JsonValue] = [rule for rule in rules if "nonResourceURLs" in rule]
        return {"resourceRules": resource_rules, "nonResourceRules": other, "incomplete": False}

    @staticmethod
    def _who_am_i(call: Call, document: JsonObject) -> JsonObject:
        return {"userInfo": _user_info(call.user)}

    def _token(self, call: Call, document: JsonObject) -> JsonObject:
        user = self._identities.user_of(str_at(document, "spec", "token"))
        if user is None:
            return {"authenticated": False, "user": {}}
        return {"authenticated": True, "user": _user_info(user)}


def _user_info(user: User) -> JsonObject:
    return {"username": user.name, "groups": list(user.groups)}

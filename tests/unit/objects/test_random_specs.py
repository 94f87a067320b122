"""The random resources are what they are meant to be: valid, and not all alike."""

from __future__ import annotations

from hypothesis import given

from tapio_shared.api.operator_config import OperatorConfig
from tapio_shared.api.validation import one_answer, validate
from tapio_shared.json import str_at
from tests.support.random_specs import Case, cases, quick


@quick
@given(cases())
def test_every_random_resource_is_valid(case: Case) -> None:
    for document in case.resources:
        problems = validate(str_at(document, "kind"), document, trust=OperatorConfig().trust)
        assert not problems, one_answer(problems)

"""Every error has one code, and every code one error."""

import json

import pytest

from api.http.problems import problem_of
from ticketing.errors import TicketingError, error_of
from ticketing.problem_codes import ProblemCode


@pytest.mark.parametrize("code", ProblemCode)
def test_a_code_names_one_class(code: ProblemCode) -> None:
    assert error_of(code).code is code


@pytest.mark.parametrize("code", ProblemCode)
def test_the_example_of_a_class_is_a_problem(code: ProblemCode) -> None:
    example = error_of(code).example()

    assert isinstance(example, TicketingError)
    assert json.loads(json.dumps(problem_of(example)))["code"] == code.value

"""Every error answer is problem details (RFC 9457): one sentence for people, one code for programs."""

import json

import pytest

from models.errors import UserError
from service.register import NameTaken, UnknownSession
from service.web.problem import STATUS, answer_problem
from service.web.problem_details import MEDIA_TYPE, details, encoded


@pytest.mark.parametrize(
    ("status", "kind", "code"),
    [
        (404, UnknownSession, "unknown_session"),
        (409, NameTaken, "name_taken"),
        (404, None, "not_found"),
        (431, None, "request_header_fields_too_large"),
    ],
)
def test_the_code_is_the_kind_of_error_or_the_statuss_phrase(
    status: int, kind: type[UserError] | None, code: str
) -> None:
    answer = answer_problem(status, "what is wrong", kind, {"retry-after": "5"})
    assert answer.headers["content-type"] == MEDIA_TYPE
    assert answer.headers["retry-after"] == "5"
    body = json.loads(bytes(answer.body))
    assert body == details(status, "what is wrong", kind)
    assert (body["type"], body["status"], body["code"]) == ("about:blank", status, code)
    assert body["detail"] == "what is wrong"


def test_kinds_have_codes_of_their_own_and_answers_below_the_application_the_same_form() -> None:
    codes = [details(status, "", kind)["code"] for kind, status in STATUS.items()]
    assert len(codes) == len({*codes})
    assert json.loads(encoded(408, "too late")) == details(408, "too late")

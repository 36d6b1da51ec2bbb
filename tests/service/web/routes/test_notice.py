"""The notice for the people in view: open to everybody, in plain words, about how the service runs now."""

import re

from helpers.live_server import PURPOSE, serving

from service.purpose import PURPOSES

TOKEN = "not-for-the-people-in-view"


def test_everybody_reads_it_without_the_token() -> None:
    contact = "Affect <Lab>, privacy@lab.example"
    with serving(token=TOKEN, contact=contact, redis="redis://127.0.0.1:9/0") as server, server.client() as client:
        answer = client.get("/notice")
        assert answer.status_code == 200
        assert answer.headers["content-type"].startswith("text/html")
        assert client.head("/notice").status_code == 200
        assert client.get("/").status_code == 401
    text = answer.text
    assert "Affect &lt;Lab&gt;, privacy@lab.example" in text
    for said in (
        "Article 50(3)",
        "not what you feel",
        "No picture and no sound is stored",
        "how activated a face looks",
    ):
        assert said in text
    assert "until 3600 seconds after the last of them" in text  # in Redis
    assert "voice sounds like" in text
    assert "$" not in text
    assert "Nobody is read at this moment" in text


def test_it_says_what_runs_now_and_names_no_session() -> None:
    with serving(purpose=PURPOSE, voice=False) as server, server.client() as client:
        assert PURPOSES[PURPOSE] in client.get("/notice").text
        sessions = server.sessions
        sessions.open("demo:", "anna", purpose="other: <a rehearsal>")
        sessions.open("camera:0", "bert", purpose="art")
        text = client.get("/notice").text
    assert "&lt;a rehearsal&gt;" in text
    assert PURPOSES["art"] in text
    assert PURPOSES[PURPOSE] not in text
    assert not re.search("anna|bert", text)
    assert "voice sounds like" not in text  # it is not read
    assert "Ask the person who asked you" in text
    assert "Redis" not in text

"""Purposes: which are known, which the law forbids, and where one is needed."""

import contextlib
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.purpose import MOST_LETTERS, PURPOSES, PurposeForbidden, PurposeNeeded, decide, name_of, read_purpose


@pytest.mark.parametrize(
    ("text", "purpose"),
    [
        ("research", "research"),
        ("  Research ", "research"),
        ("own use", "own use"),
        ("own-use", "own use"),
        ("Own_Use", "own use"),
        ("medical", "medical"),
        ("other: a rehearsal", "other: a rehearsal"),
        ("OTHER:  a\n rehearsal ", "other: a rehearsal"),
        ("other: a work of art about networking", "other: a work of art about networking"),
        ("other: how the pupil of the eye widens", "other: how the pupil of the eye widens"),
        ("other: usage personnel", "other: usage personnel"),
        ("other: lecture des expressions et lecture labiale", "other: lecture des expressions et lecture labiale"),
        ("other: mein Kunstwerk über Schultern", "other: mein Kunstwerk über Schultern"),
        ("other: la obra de una artista", "other: la obra de una artista"),
        ("other: kadr filmowy", "other: kadr filmowy"),
        ("other: eleven rehearsals", "other: eleven rehearsals"),
    ],
)
def test_a_purpose_is_kept_in_one_spelling(text: str, purpose: str) -> None:
    assert read_purpose(text) == purpose
    assert read_purpose(purpose) == purpose
    assert name_of(purpose) in PURPOSES


@pytest.mark.parametrize(
    "text",
    [
        "workplace", "work", "education", "hiring", "proctoring", "HR", "Recruitment", "school", "exam",
        "other: the mood of our employees", "other: EMPLOYEE-engagement", "other: at  work", "other: a class_room",
        "other: exam proctoring", "other: e-learning", "other: job interviews", "other: call-centre agents",
        "research: attention of students", "medical: staff wellbeing", "how productivity changes",
    ],
)  # fmt: skip
def test_work_and_education_are_refused_with_the_article(text: str) -> None:
    with pytest.raises(PurposeForbidden, match=r"Article 5\(1\)\(f\) of the EU AI Act") as caught:
        read_purpose(text)
    assert "medical, safety" in str(caught.value)


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("Stimmung der Mitarbeiterinnen", "Mitarbeiterinnen"), ("Aufmerksamkeit im Unterricht", "Unterricht"),
        ("am ARBEITSPLATZ", "ARBEITSPLATZ"), ("Grundschule", "Grundschule"), ("Schueler zuhören", "Schueler"),
        ("für unsere Schu\u0308ler", "Schu\u0308ler"), ("Bewerbungsgespräche", "Bewerbungsgespräche"),
        ("l’attention des élèves", "élèves"), ("le stress au travail", "au travail"),
        ("entretien d'embauche", "embauche"), ("des ETUDIANTS", "ETUDIANTS"),
        ("una entrevista de trabajo", "entrevista de trabajo"), ("atención de los alumnos", "alumnos"),
        ("en el aula", "aula"), ("el ánimo de los empleados", "empleados"), ("umore dei dipendenti", "dipendenti"),
        ("attenzione a scuola", "scuola"), ("sul posto di lavoro", "posto di lavoro"),
        ("nastrój pracowników", "pracowników"), ("uwaga uczniów w szkole", "uczniów"),
        ("rozmowa rekrutacyjna", "rekrutacyjna"), ("stemming op het werk", "op het werk"),
        ("aandacht van leerlingen", "leerlingen"), ("basisschool", "basisschool"),
        ("humor dos funcionários", "funcionários"), ("na sala de aula", "sala de aula"),
        ("no trabalho", "no trabalho"),
    ],
)  # fmt: skip
def test_they_are_refused_in_other_languages_too(text: str, named: str) -> None:
    with pytest.raises(PurposeForbidden, match=r"Article 5\(1\)\(f\)") as caught:
        read_purpose(f"other: {text}")
    assert f"names '{unicodedata.normalize('NFC', named)}'" in str(caught.value)


@pytest.mark.parametrize("name", ["Arbeit", "école", "travail", "Trabajo", "scuola", "praca", "werk", "trabalho"])
def test_the_bare_name_of_work_or_education_is_no_purpose_in_any_of_them(name: str) -> None:
    with pytest.raises(PurposeForbidden):
        read_purpose(name)


@pytest.mark.parametrize("text", ["", "other", "other:", "other: ", "a rehearsal", "research: of what", "x" * 5000])
def test_what_is_no_purpose_is_refused_with_the_list(text: str) -> None:
    with pytest.raises(PurposeNeeded) as caught:
        read_purpose(text)
    assert len(str(caught.value)) < 300
    assert "research, usability" in str(caught.value) or "other: and 1 to" in str(caught.value)


def test_the_text_of_other_is_bounded_and_printable() -> None:
    assert read_purpose("other: " + "é" * MOST_LETTERS)
    for text in ("x" * (MOST_LETTERS + 1), "a\x00b", "\ud800"):
        with pytest.raises(PurposeNeeded):
            read_purpose(f"other: {text}")


@given(st.text(max_size=300))
def test_any_text_is_a_purpose_or_a_sentence(text: str) -> None:
    for given_text in (text, f"other: {text}"):
        with contextlib.suppress(PurposeNeeded, PurposeForbidden):
            purpose = read_purpose(given_text)
            assert read_purpose(purpose) == purpose


def test_every_session_but_the_demo_needs_one() -> None:
    assert decide("demo:", None, None) is None
    assert decide("demo:?seconds=3", None, "research") is None  # it reads nobody
    assert decide("demo:", "art", None) == "art"
    for source in (None, "camera:0", "file:demo.mp4", "rtsp://camera.lab/demo:"):
        assert decide(source, None, "own use") == "own use"
        assert decide(source, "art", "own use") == "art"
        for missing in (None, "", "  "):
            with pytest.raises(PurposeNeeded) as caught:
                decide(source, missing, None)
            assert all(name in str(caught.value) for name in PURPOSES)
    with pytest.raises(PurposeForbidden):
        decide("demo:", "hiring", "research")

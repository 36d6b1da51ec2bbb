"""Words of work and education, where the EU's AI Act forbids inferring emotions, in the languages of many users.

Words with an ordinary second meaning are listed only in phrases that exclude it: English "work" is also of art,
German "Schulter" begins like "Schule", French "personnel" and "lecture" are also "personal" and "reading". Letters are
compared without case and accents, "ä" also as "ae"; "*" stands for any letters.
"""

import re
import unicodedata
from typing import Final

_WORDS: Final = {
    "en": (
        "workplace*", "at work", "workforce", "coworker*", "co worker*", "employee*", "employer*", "employment",
        "personnel", "human resources", "hiring", "hire", "hires", "recruit*", "job", "jobs", "applicant*", "vacancy",
        "vacancies", "work performance", "performance review*", "staff", "staffing", "call center*", "call centre*",
        "productivity", "education*", "school*", "classroom*", "class", "lesson*", "lecture*", "student*", "pupils",
        "teach*", "university", "universities", "college*", "kindergarten*", "e learning", "elearning", "proctor*",
        "exam", "exams", "examinee*", "admissions", "apprentice*", "homework",
    ),
    "de": (
        "arbeitsplatz*", "arbeitsplätz*", "bei der arbeit", "auf arbeit", "arbeitnehmer*", "arbeitgeber*",
        "arbeitswelt", "mitarbeiter*", "mitarbeitend*", "angestellte", "angestellten", "beschäftigten",
        "belegschaft*", "kollegen", "kolleginnen", "personalabteilung*", "personalauswahl", "personalwesen",
        "personalgespräch*", "bewerber*", "bewerbung*", "vorstellungsgespräch*", "einstellungsgespräch*",
        "rekrutier*", "produktivität", "leistungsbeurteilung*", "leistungskontrolle*", "callcenter*", "im homeoffice",
        "*schule", "*schulen", "*schüler*", "schulklasse*", "schulkind*", "schulung*", "hochschul*", "*unterricht*",
        "lehrer*", "lehrkraft", "lehrkräfte*", "lehrling*", "auszubildende*", "azubi*", "*ausbildung",
        "bildungseinrichtung*", "im studium", "studierende*", "universität*", "vorlesung*", "hörsaal",
        "klassenzimmer*", "klausur*", "prüfling*", "*prüfungsaufsicht", "kita", "kitas",
    ),
    "fr": (
        "lieu de travail", "lieux de travail", "au travail", "poste de travail", "postes de travail", "un employé",
        "employés", "employées", "employeur*", "salarié", "salariés", "salariée*", "embauche*", "recrut*",
        "candidature*", "ressources humaines", "productivité", "collègue*", "centre d appel*", "école", "écoles",
        "écolier*", "élève", "élèves", "lycée*", "lycéen*", "étudiant*", "enseignant*", "enseignement", "professeur*",
        "salle de classe", "salles de classe", "en classe", "cours en ligne", "scolaire*", "scolarité", "apprenti",
        "apprentis", "examen*", "université*", "universitaire*", "formation professionnelle",
    ),
    "es": (
        "lugar de trabajo", "lugares de trabajo", "puesto de trabajo", "puestos de trabajo", "en el trabajo",
        "entrevista de trabajo", "entrevistas de trabajo", "trabajador*", "un empleado", "una empleada", "empleados",
        "empleadas", "de empleo", "laboral*", "recursos humanos", "selección de personal", "contratación",
        "productividad", "escuela*", "escolar*", "colegio*", "alumno*", "alumna*", "estudiante*", "estudiantil*",
        "profesor*", "docente*", "enseñanza", "aula", "aulas", "en clase", "las clases", "examen*", "exámenes",
        "universidad*", "universitari*", "guardería*", "bachillerato", "educación", "educativ*", "aprendices",
    ),
    "it": (
        "posto di lavoro", "posti di lavoro", "luogo di lavoro", "luoghi di lavoro", "al lavoro", "sul lavoro",
        "ambiente di lavoro", "colloquio di lavoro", "colloqui di lavoro", "lavoratore", "lavoratori", "lavoratric*",
        "dipendenti", "impiegati", "risorse umane", "selezione del personale", "produttività", "scuola", "scuole",
        "scolastic*", "studentess*", "alunn*", "allievi", "insegnant*", "insegnamento", "docenti", "lezione",
        "lezioni", "aule", "esame", "esami", "università", "universitari*", "istruzione", "asilo nido", "apprendist*",
        "formazione professionale", "educazione",
    ),
    "pl": (
        "miejsce pracy", "miejscu pracy", "miejsca pracy", "w pracy", "pracownik*", "pracownic*", "pracodawc*",
        "zatrudni*", "zasoby ludzkie", "zasobów ludzkich", "rekrutac*", "kwalifikacyjn*", "wydajność pracy", "szkoł*",
        "szkole", "szkoln*", "szkół", "szkoleni*", "przedszkol*", "uczeń", "ucznia", "uczniów", "uczniowie",
        "uczennic*", "nauczyciel*", "nauczani*", "lekcj*", "w klasie", "egzamin*", "uniwersytet*", "edukac*",
        "oświat*", "wykład", "wykłady", "wykładu", "wykładzie", "wykładów", "praktykant*",
    ),
    "nl": (
        "werkplek*", "werkvloer", "op het werk", "op mijn werk", "werknemer*", "werkgever*", "medewerker*",
        "personeel*", "collega*", "sollicit*", "werving", "vacature*", "productiviteit", "functioneringsgesprek*",
        "*school", "scholen", "scholier*", "leerling*", "leraar", "leraren", "lerares", "docenten", "*onderwijs*",
        "klaslokaal", "klaslokalen", "in de klas", "in de les", "hogescho*", "universiteit*", "examen*", "tentamen*",
        "opleiding*", "stagiair*",
    ),
    "pt": (
        "local de trabalho", "locais de trabalho", "posto de trabalho", "postos de trabalho", "no trabalho",
        "entrevista de trabalho", "entrevista de emprego", "trabalhador*", "funcionári*", "empregados", "empregadas",
        "de emprego", "recursos humanos", "recrutamento", "contratação", "produtividade", "escola*", "escolar*",
        "aluno*", "aluna*", "estudante*", "professor*", "docente*", "ensino", "sala de aula", "salas de aula",
        "aulas", "exame", "exames", "universidade*", "faculdade", "educação", "educativ*", "aprendizes",
    ),
}  # fmt: skip
# Only where they are the whole purpose.
_NAMES: Final = (
    "work", "hr", "training", "pupil", "arbeit", "bildung", "ausbildung", "personalwesen", "travail", "formation",
    "trabajo", "empleo", "formación", "lavoro", "formazione", "praca", "werk", "trabalho", "emprego", "formação",
)  # fmt: skip
# Phrases in which such a word means something else: personal use, reading (lips and faces).
_HARMLESS: Final = re.compile(
    r"\b(?:usage|projet|titre|cadre)s?\s+personnels?\b|\blectures?\s+(?:d|de|des|du|labiale|sur)\b"
)
_UMLAUTS: Final = str.maketrans({"ä": "ae", "ö": "oe", "ü": "ue"})
# Letters that are not composed of a plain one and an accent.
_LETTERS: Final = str.maketrans({"ł": "l", "ø": "o", "ı": "i"})


def found_word(text: str) -> str | None:
    """Return the first word or phrase of `text` that names work or education; None where there is none."""
    text = unicodedata.normalize("NFC", text)
    plain = "".join(_plain(letter) for letter in text)  # as long as the text, so that places are the same
    plain = _HARMLESS.sub(lambda match: " " * len(match.group()), plain)
    match = _FORBIDDEN.search(plain)
    return None if match is None else text[match.start() : match.end()].strip(" _-\t\n")


def _plain(letter: str) -> str:
    """Return a letter without case and accent, a space for what is no letter and no digit."""
    base = unicodedata.normalize("NFKD", letter)[0].lower()[:1].translate(_LETTERS)
    return base if re.fullmatch(r"[^\W_]", base) else " "


def _pattern(word: str) -> str:
    """Return the expression for a word of the lists, as `_plain` leaves it."""
    spellings = dict.fromkeys([word, word.translate(_UMLAUTS)])
    plain = ["".join(letter if letter in "* " else _plain(letter) for letter in one) for one in spellings]
    return "|".join(one.replace(" ", r"\s+").replace("*", r"\w*") for one in plain)


_FORBIDDEN: Final = re.compile(
    rf"\b(?:{'|'.join(_pattern(word) for words in _WORDS.values() for word in words)})\b"
    rf"|^\s*(?:{'|'.join(_pattern(word) for word in _NAMES)})\s*$"
)

"""Scores from files are those of the frames in them, with intervals by video; wrong files are named."""

import numpy as np
import pytest
from golden import networks

from models import affwild2, evaluate
from models.affwild2 import Annotation
from models.errors import AnnotationError

PARTS = {"a": slice(0, 150), "b_left": slice(150, 300), "b_right": slice(300, 450), "c": slice(450, 600)}


@pytest.fixture(scope="module")
def arrays():
    return networks.load("metrics")


@pytest.fixture
def folders(tmp_path, arrays):
    truth, given = tmp_path / "annotations", tmp_path / "mine"
    for name, part in PARTS.items():
        for task, key, write in (
            ("VA_Set", "va", affwild2.write_va),
            ("EXPR_Set", "expr7", affwild2.write_expression),
            ("AU_Set", "au8", affwild2.write_au),
        ):
            write(truth / task / "Validation_Set" / f"{name}.txt", arrays[f"{key}_label"][part])
            write(given / task / f"{name}.txt", arrays[f"{key}_pred"][part])
    return given, tmp_path


def test_scores_of_2020_from_folders(folders, arrays):
    result = evaluate.evaluate(*folders, rounds=50)
    value = {name: score[0] for name, score in result.scores.items()}
    assert value["va"] == pytest.approx(arrays["va_score"], abs=1e-3)  # files hold three decimals
    assert value["expression_2020"] == pytest.approx(arrays["expr2020_score"], abs=1e-9)
    assert value["au_2020"] == pytest.approx(arrays["au2020_score"], abs=1e-9)
    assert all(low <= score <= high for score, low, high in result.scores.values())
    assert set(result.tasks["va"].video) == {"a", "b", "c"}
    f1 = [row["f1"] for row in result.classes]
    np.testing.assert_allclose(f1, [*arrays["expr7_f1_per_class"], *arrays["au8_f1_per_au"]], atol=1e-9)


def test_the_total_of_2022_from_files(tmp_path, arrays):
    files = []
    for kind in ("pred", "label"):
        videos = [
            Annotation(
                name,
                arrays[f"mtl_va_{kind}"][part],
                arrays[f"mtl_expr8_{kind}"][part],
                arrays[f"mtl_au12_{kind}"][part],
            )
            for name, part in PARTS.items()
        ]
        files.append(tmp_path / f"{kind}.txt")
        affwild2.write_multi_task(files[-1], videos, {name: range(150) for name in PARTS})
    result = evaluate.evaluate(*files, rounds=20)
    score, low, high = result.scores["multi_task_2022"]
    assert score == pytest.approx(arrays["mtl2022_score"], abs=1e-3)
    assert low < score < high


def test_plots_are_pictures(folders, tmp_path):
    written = evaluate.plot(evaluate.evaluate(*folders, rounds=2), tmp_path / "plots")
    assert [path.name for path in written] == ["confusion.png", "reliability.png"]
    assert all(path.read_bytes().startswith(b"\x89PNG") for path in written)


def test_missing_and_short_predictions_are_named(folders, tmp_path):
    given, root = folders
    path = given / "VA_Set" / "a.txt"
    lines = path.read_text().splitlines()
    path.write_text("\n".join((*lines, lines[-1])) + "\n")  # one row more is what published writers give
    evaluate.evaluate(given, root, rounds=1)
    path.write_text("\n".join(lines[:100]) + "\n")
    with pytest.raises(AnnotationError, match=r"VA_Set/a\.txt: expected 150 rows, not 99"):
        evaluate.evaluate(given, root)
    path.unlink()
    with pytest.raises(AnnotationError, match=r"There is no prediction .*VA_Set/a\.txt"):
        evaluate.evaluate(given, root)
    with pytest.raises(AnnotationError, match="has none of the folders VA_Set, EXPR_Set, AU_Set"):
        evaluate.evaluate(tmp_path / "nothing", root)

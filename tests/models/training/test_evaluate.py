"""Scores from files are those of the frames in them, with intervals by video; wrong files are named."""

import json

import numpy as np
import pytest
from golden import networks

from models import metrics
from models.errors import AnnotationError
from models.labels import AUS_2020, AUS_2022, EXPRESSIONS
from models.training import affwild2, evaluate, plots, prediction_files, probabilities
from models.training.affwild2 import Annotation
from models.training.probabilities import Probabilities
from service.cli import main
from service.publish.table import COLUMNS

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
    written = plots.write(evaluate.evaluate(*folders, rounds=2), tmp_path / "plots")
    assert [path.name for path in written] == ["confusion.png", "reliability.png"]
    assert all(path.read_bytes().startswith(b"\x89PNG") for path in written)


def exported(folder, arrays, sure):
    """NAME.csv by recording as `analyze` writes them: right with a probability of `sure`, and as often."""
    rng = np.random.default_rng(0)
    for name, part in PARTS.items():
        lines = ["frame,face_id,valence,arousal," + ",".join(EXPRESSIONS) + ",AU01_p,AU12_p"]
        for i, label in enumerate(arrays["expr7_label"][part]):
            shown = label if rng.random() < sure else (label + rng.integers(1, 7)) % 7
            shares = np.where(np.arange(7) == shown, sure, (1 - sure) / 6)
            va = np.clip(arrays["va_label"][part][i], -1, 1)
            lines.append(f"{i + 1},1,{va[0]:.3f},{va[1]:.3f}," + ",".join(f"{x:.4f}" for x in shares) + ",0.2,")
            lines.append(f"{i + 1},2" + "," * 11 if i % 2 else f"{i + 1},2,-1,-1" + ",0.1428" * 7 + ",0.9,0.9")
        folder.mkdir(exist_ok=True)
        (folder / f"{name}.csv").write_text("\n".join(lines) + "\n")


def test_what_analyze_wrote_is_scored_with_its_reliability(folders, tmp_path, arrays):
    _, root = folders
    exported(tmp_path / "exports", arrays, 0.8)
    result = evaluate.evaluate(tmp_path / "exports", root, rounds=20)
    assert result.scores["va"][0] > 0.99  # of the person who is there in every frame
    assert result.scores["expression_accuracy"][0] == pytest.approx(0.8, abs=0.05)
    error = {row["class"]: row["calibration_error"] for row in result.classes}
    assert all(error[name] < 0.1 for name in EXPRESSIONS)
    assert error["AU01"] == pytest.approx(abs(0.2 - result.tasks["au"].label[:, 0].mean()), abs=1e-6)
    assert error["AU02"] is None  # never known
    written = plots.write(result, tmp_path / "plots")
    assert [path.stem for path in written] == ["confusion", "reliability", "reliability_expression", "reliability_au"]
    assert all(path.read_bytes().startswith(b"\x89PNG") for path in written)

    exported(tmp_path / "exports", arrays, 0.3)
    for path in (tmp_path / "exports").glob("*.csv"):
        path.write_text(path.read_text("utf-8").replace("0.3000", "0.9000"))  # surer than right
    surer = evaluate.evaluate(tmp_path / "exports", root, rounds=2)
    errors = [row["calibration_error"] for row in surer.classes if row["class"] in EXPRESSIONS]
    assert sum(errors) > 1


def test_the_columns_are_those_that_analyze_writes():
    columns = probabilities.columns(EXPRESSIONS, AUS_2022)
    assert {"frame", "face_id", *columns} <= {column.name for column in COLUMNS}


def test_probabilities_beside_predictions_tell_their_reliability(folders, arrays):
    given, root = folders
    for name, part in PARTS.items():
        label, n = arrays["au8_label"][part], 150
        found = Probabilities(
            np.arange(n), np.zeros((n, 2)), np.full((n, 7), 1 / 7), np.where(label == 1, 0.9, 0.2).astype(np.float64)
        )
        probabilities.write(given / prediction_files.PROBABILITIES / f"{name}.csv", found, EXPRESSIONS, AUS_2020)
    result = evaluate.evaluate(given, root, rounds=2)
    for row in result.classes:
        if row["class"] in AUS_2020:
            shown = row["frames"] / len(result.tasks["au"].label)
            assert row["calibration_error"] == pytest.approx(0.1 * shown + 0.2 * (1 - shown), abs=1e-6)
    path = given / prediction_files.PROBABILITIES / "a.csv"
    lines = path.read_text("utf-8").splitlines()
    for line, message in (("3,x", "a.csv, line 3: expected numbers"), ("3" + ",1.5" * 17, "probabilities lie in 0..1")):
        path.write_text("\n".join((*lines[:2], line)) + "\n")
        with pytest.raises(AnnotationError, match=message):
            evaluate.evaluate(given, root, rounds=1)
    path.write_text("valence,arousal\n")
    with pytest.raises(AnnotationError, match=r"a\.csv, line 1: expected the columns of `analyze`, frame among them"):
        evaluate.evaluate(given, root, rounds=1)


def test_calibration_error_is_the_mean_distance_by_bin():
    p, y = np.array([0.05, 0.05, 0.95, 0.95, 1.0]), np.array([0, 1, 1, 1, 1])
    assert metrics.calibration_error(p, y) == pytest.approx((2 * 0.45 + 3 * (1 - 2.9 / 3)) / 5)
    assert metrics.calibration_error([], []) == 0


def test_submissions_are_checked_row_by_row(folders):
    given, _ = folders
    frames = dict.fromkeys(PARTS, 150)
    assert len(evaluate.validate(given, frames)) == 12
    path = given / "EXPR_Set" / "c.txt"
    right = path.read_text("utf-8")
    for text, message in (
        (right.replace("Neutral,", ""), r"c\.txt, line 1: expected 'Neutral"),
        ("\n".join(right.splitlines()[:100]), "expected 150 rows, not 99"),
        (right.replace("\n", "\n9\n", 1), r"c\.txt, line 2: expected whole numbers"),
    ):
        path.write_text(text)
        with pytest.raises(AnnotationError, match=message):
            evaluate.validate(given, frames)
    path.unlink()
    with pytest.raises(AnnotationError, match=r"There is no prediction .*c\.txt"):
        evaluate.validate(given, frames)
    with pytest.raises(AnnotationError, match="has none of the folders"):
        evaluate.validate(given / "VA_Set", frames)


def test_missing_and_short_predictions_are_named(folders, tmp_path):
    given, root = folders
    path = given / "VA_Set" / "a.txt"
    lines = path.read_text("utf-8").splitlines()
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


def test_a_task_without_an_annotated_frame_is_left_out(folders, caplog):
    given, root = folders
    for name, part in PARTS.items():
        affwild2.write_expression(
            root / "annotations" / "EXPR_Set" / "Validation_Set" / f"{name}.txt", np.full(part.stop - part.start, -1)
        )
    result = evaluate.evaluate(given, root, rounds=2)
    assert result.tasks.keys() == {"va", "au"}
    assert "no frame is annotated for expressions, which are not scored" in caplog.text
    for task, write, empty in (("VA_Set", affwild2.write_va, np.full((150, 2), -5.0)),
                               ("AU_Set", affwild2.write_au, np.full((150, 8), -1))):  # fmt: skip
        for name in PARTS:
            write(root / "annotations" / task / "Validation_Set" / f"{name}.txt", empty)
    with pytest.raises(AnnotationError, match="has no annotated frame of the validation recordings"):
        evaluate.evaluate(given, root, rounds=2)


def test_predictions_of_minus_five_are_counted_with_a_warning_or_left_out(folders, caplog):
    given, root = folders
    before = evaluate.evaluate(given, root, rounds=2).scores["va"][0]
    path = given / "VA_Set" / "a.txt"
    lines = path.read_text("utf-8").splitlines()
    annotated = np.flatnonzero((affwild2.read_va(root / "annotations/VA_Set/Validation_Set/a.txt") != -5).all(1))[:5]
    for row in annotated:
        lines[row + 1] = "-5,-5"
    path.write_text("\n".join(lines) + "\n")
    counted = evaluate.evaluate(given, root, rounds=2).scores["va"][0]
    assert counted < before - 0.1
    assert "5 of " in caplog.text
    assert "have no prediction (-5): they count as predicted -5" in caplog.text
    left_out = evaluate.evaluate(given, root, rounds=2, missing="leave-out").scores["va"][0]
    assert left_out == pytest.approx(before, abs=0.02)
    assert "they are left out" in caplog.text


def test_exports_of_fewer_pictures_than_the_video_has_are_placed_by_their_times_or_refused(tmp_path):
    """`analyze --fps 10` of a video with 30 frames a second counts every third frame as one picture."""
    root, exports = tmp_path / "data", tmp_path / "exports"
    va = np.stack((np.sin(np.arange(90) / 9), np.cos(np.arange(90) / 9)), axis=1) * 0.9
    affwild2.write_va(root / "annotations" / "VA_Set" / "Validation_Set" / "v.txt", va)
    exports.mkdir()
    rows = [f"{i + 1},1,{frame / 30 + 2:.4f},{va[frame, 0]:.4f},{va[frame, 1]:.4f}"
            for i, frame in enumerate(range(0, 90, 3))]  # fmt: skip
    (exports / "v.csv").write_text("frame,face_id,timestamp,valence,arousal\n" + "\n".join(rows) + "\n")
    with pytest.raises(
        AnnotationError, match=r"v\.csv counts 30 pictures, and its video is annotated for 90 frames: `an"
    ):
        evaluate.evaluate(exports, root, rounds=2)
    (root / "times").mkdir()
    np.save(root / "times" / "v.npy", np.arange(90) / 30)
    assert evaluate.evaluate(exports, root, rounds=2).scores["va"][0] > 0.95


def test_the_papers_other_measures_are_among_the_scores(folders, arrays):
    scores = {name: value[0] for name, value in evaluate.evaluate(*folders, rounds=2).scores.items()}
    keep = metrics.annotated(arrays["va_label"], -5)
    label, pred = arrays["va_label"][keep], arrays["va_pred"][keep]
    assert scores["mse_valence"] == pytest.approx(((label - pred)[:, 0] ** 2).mean(), abs=1e-2)
    assert scores["mse_arousal"] == pytest.approx(((label - pred)[:, 1] ** 2).mean(), abs=1e-2)
    counts = metrics.confusion(arrays["expr7_label"], arrays["expr7_pred"], 7)
    assert scores["expression_diagonal"] == pytest.approx((counts.diagonal() / counts.sum(1)).mean())
    assert scores["expression_recall"] == pytest.approx(scores["expression_diagonal"])
    assert scores["au_afa"] == pytest.approx(scores["au_2020"])


def test_the_command_line_leaves_missing_predictions_out_if_so_asked(folders, capsys):
    given, root = folders
    path = given / "VA_Set" / "a.txt"
    lines = path.read_text("utf-8").splitlines()
    path.write_text("\n".join((lines[0], *["-5,-5"] * 20, *lines[21:])) + "\n")
    scores = []
    for missing in ("count", "leave-out"):
        assert main(["evaluate", str(given), str(root), "--missing", missing, "--json"]) == 0
        rows = {row["score"]: row["value"] for row in json.loads(capsys.readouterr().out)}
        scores.append(rows["va"])
    assert scores[1] > scores[0] + 0.1

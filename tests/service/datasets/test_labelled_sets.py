"""Each reader takes its data set as it is distributed (drawn here), and names the file and line of what is wrong."""

import json
from dataclasses import replace

import cv2
import numpy as np
import pytest
from skimage.data import astronaut

from models.errors import AnnotationError, UserError
from models.labels import AUS_UNION
from models.training import affwild2, samples, train
from models.training import recipe as recipes
from service.cli import main
from service.datasets.labelled import EXPRESSIONS_8
from service.datasets.labelled_sets import READERS
from service.datasets.prepare import DATASETS, LABELLED, prepare

FACE = np.ascontiguousarray(astronaut()[:250, 100:350])


def picture(path):
    path.parent.mkdir(parents=True, exist_ok=True)
    assert cv2.imwrite(str(path), FACE[..., ::-1])


def video(path, frames=5):
    path.parent.mkdir(parents=True, exist_ok=True)
    kind = "MJPG" if path.suffix == ".avi" else "mp4v"
    out = cv2.VideoWriter(str(path), cv2.VideoWriter_fourcc(*kind), 30, (250, 250))
    for _ in range(frames):
        out.write(np.ascontiguousarray(FACE[..., ::-1]))
    out.release()


def write(path, *lines):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join(lines) + "\n")
    return path


def affwild(root):
    for name in ("105", "240"):
        write(root / "annotations/train/valence" / f"{name}.txt", *["0.25"] * 5)
        write(root / "annotations/train/arousal" / f"{name}.txt", *["-0.5"] * 6)  # one line more
        video(root / "videos/train" / f"{name}.mp4")
    return root / "annotations/train/valence/105.txt"


def omg_emotion(root):
    header = "link,start,end,video,utterance,arousal,valence,EmotionMaxVote"
    rows = ["x,0,1,abc,utterance_1.mp4,0.5,-0.25,3", "x,1,2,abc,utterance_2.mp4,0.1,0.0,4"]
    write(root / "omg_ValidationVideos.csv", header, "x,0,1,def,utterance_1.mp4,0.4,0.4,6")
    for name in ("abc/utterance_1.mp4", "abc/utterance_2.mp4", "def/utterance_1.mp4"):
        video(root / "clips" / name, frames=2)
    return write(root / "omg_TrainVideos.csv", header, *rows)


def affectnet(root):
    header = "subDirectory_filePath,face_x,expression,valence,arousal"
    for name in ("1/a.jpg", "1/b.jpg", "2/c.jpg", "2/d.jpg"):
        picture(root / "Manually_Annotated_Images" / name)
    write(root / "validation.csv", header, "2/c.jpg,0,7,-0.6,0.5", "2/gone.jpg,0,1,0.5,0.5")
    return write(root / "training.csv", header, "1/a.jpg,0,1,0.75,0.25", "1/b.jpg,0,9,-2,-2", "2/d.jpg,0,6,-0.5,0.5")


def raf_db(root):
    for name in ("train_00001", "train_00002", "test_0001"):
        picture(root / "basic/Image/aligned" / f"{name}_aligned.jpg")
        picture(root / "compound/Image/original" / f"{name}.jpg")
    write(root / "compound/EmoLabel/list_patition_label.txt", "train_00001.jpg 1", "test_0001.jpg 11")
    path = root / "basic/EmoLabel/list_patition_label.txt"
    return write(path, "train_00001.jpg 4", "train_00002.jpg 7", "test_0001.jpg 1")


def emotionet(root):
    for name in [f"{i}.jpg" for i in range(12)]:
        picture(root / "images" / name)
    rows = [f"http://x.org/q/{i}.jpg,{i % 2},999,1" for i in range(12)]
    return write(root / "labels.csv", "URL,AU 1,AU 12,AU 43", *rows, "http://x.org/gone.jpg,1,1,1")


def disfa(root):
    units = (1, 2, 4, 5, 6, 9, 12, 15, 17, 20, 25, 26)
    for subject in ("SN001", "SN002", "SN003"):
        for unit in units:
            rows = [f"{frame},{(frame + unit) % 6}" for frame in range(1, 6)]
            write(root / "ActionUnit_Labels" / subject / f"{subject}_au{unit}.txt", *rows)
        video(root / "Videos_LeftCamera" / f"LeftVideo{subject}_comp.avi")
    return root / "ActionUnit_Labels/SN001/SN001_au1.txt"


def bp4d(root):
    for subject in ("F001", "M004"):
        for frame in (1, 2, 3):
            picture(root / "2D+3D" / subject / "T1" / f"{frame:04}.jpg")
        write(root / "AUCoding" / f"{subject}_T1.csv", "0,1,12,28", "1,0,1,0", "2,1,9,0", "7,1,1,1")
    return root / "AUCoding/F001_T1.csv"


def afew_va(root):
    for clip in ("001", "002"):
        frames = {f"{i:05}": {"valence": 5.0, "arousal": -10.0, "landmarks": []} for i in range(3)}
        write(root / clip / f"{clip}.json", json.dumps({"video_id": clip, "frames": frames}))
        for i in range(2):  # a frame without its picture is left out
            picture(root / clip / f"{i:05}.png")
    return root / "001/001.json"


def webva(root):
    rows = []
    for i in range(20, 30):  # of which the last two are the test part; the hash of 26.jpg chooses it for validation
        picture(root / "images" / f"{i}.jpg")
        rows.append(f"{i}.jpg,{EXPRESSIONS_8[i % 8]},{i / 40},{-i / 40}")
    return write(root / "index.csv", "file,expression,valence,arousal", *rows)


DRAW = {"affwild": affwild, "omg-emotion": omg_emotion, "affectnet": affectnet, "raf-db": raf_db,
        "emotionet": emotionet, "disfa": disfa, "bp4d": bp4d, "afew-va": afew_va,
        "webva-recordings": webva}  # fmt: skip


def read(name, root):
    DRAW[name](root)
    found = READERS[name](root)
    assert len({one.name for one in found}) == len(found)
    for one in found:
        assert one.va.shape == (len(one), 2)
        assert one.au.shape == (len(one), len(AUS_UNION))
        assert not isinstance(one.media, tuple) or len(one.media) == len(one)
    return {one.name: one for one in found}


def test_aff_wilds_frames_have_valence_and_arousal(tmp_path):
    found = read("affwild", tmp_path)
    assert found["105"].va.tolist() == [[0.25, -0.5]] * 5
    assert found["105"].media.name == "105.mp4"


def test_omg_emotions_utterances_have_one_label(tmp_path):
    found = read("omg-emotion", tmp_path)
    assert {one.split for one in found.values()} == {"train", "validation"}
    first = found["abc_utterance_1"]
    assert first.va.tolist() == [[-0.25, 0.5]] * 2
    assert [EXPRESSIONS_8[i] for i in first.expression] == ["happiness"] * 2


def test_affectnets_pictures_have_expression_valence_and_arousal(tmp_path):
    found = read("affectnet", tmp_path)
    one = found["affectnet_train_000"]
    assert [-1 if i < 0 else EXPRESSIONS_8[i] for i in one.expression] == ["happiness", -1, "anger"]
    assert one.va.tolist() == [[0.75, 0.25], [-5, -5], [-0.5, 0.5]]
    assert [EXPRESSIONS_8[i] for i in found["affectnet_validation_000"].expression] == ["contempt"]


def test_raf_dbs_pictures_have_a_basic_or_a_compound_expression(tmp_path):
    found = read("raf-db", tmp_path)
    assert [EXPRESSIONS_8[i] for i in found["rafdb_basic_train_000"].expression] == ["happiness", "neutral"]
    assert [EXPRESSIONS_8[i] for i in found["rafdb_basic_validation_000"].expression] == ["surprise"]
    assert found["rafdb_compound_train_000"].compound.tolist() == [0]
    assert found["rafdb_compound_validation_000"].compound.tolist() == [10]


def test_emotionets_addresses_have_action_units(tmp_path):
    found = read("emotionet", tmp_path)
    together = [one for name in found for one in zip(found[name].media, found[name].au, strict=True)]
    assert len(together) == 12
    for path, units in together:
        assert units[AUS_UNION.index("AU01")] == int(path.stem) % 2
        assert units[AUS_UNION.index("AU12")] == -1


def test_disfas_intensities_from_two_on_are_present(tmp_path):
    one = read("disfa", tmp_path)["SN001"]
    assert one.au[:, AUS_UNION.index("AU01")].tolist() == [1, 1, 1, 1, 0]  # intensities 2, 3, 4, 5, 0
    assert (one.au[:, AUS_UNION.index("AU07")] == -1).all()
    assert one.media.name == "LeftVideoSN001_comp.avi"


def test_bp4ds_coded_frames_have_action_units(tmp_path):
    one = read("bp4d", tmp_path)["F001_T1"]
    assert [path.name for path in one.media] == ["0001.jpg", "0002.jpg"]  # the seventh has no picture
    assert one.au[:, AUS_UNION.index("AU12")].tolist() == [1, -1]
    assert one.au[:, AUS_UNION.index("AU01")].tolist() == [0, 1]


def test_afew_vas_values_are_tenths(tmp_path):
    one = read("afew-va", tmp_path)["afew_va_001"]
    assert one.va.tolist() == [[0.5, -1.0]] * 2


WRONG = {
    "affwild": ("0.25\n1.5\n", r"valence/105\.txt, line 2: expected valence from -1 to 1, not '1\.5'"),
    "omg-emotion": (
        "video,utterance,arousal,valence,EmotionMaxVote\nabc,utterance_1.mp4,-0.5,0,3\n",
        r"omg_TrainVideos\.csv, line 2: expected arousal from 0 to 1, not '-0\.5'",
    ),
    "affectnet": (
        "subDirectory_filePath,expression,valence,arousal\n1/a.jpg,11,0,0\n",
        r"training\.csv, line 2: expected the expression as one of 0, 1, .*not '11'",
    ),
    "raf-db": ("train_00001.jpg 8\n", r"list_patition_label\.txt, line 1: expected the label as one of 1, .*not '8'"),
    "emotionet": ("URL,AU 1\nhttp://x.org/1.jpg,2\n", r"labels\.csv, line 2: expected AU 1 as one of 0, 1, 999; not"),
    "disfa": ("1,0\n2,6\n", r"SN001_au1\.txt, line 2: expected an intensity from 0 to 5, not '6'"),
    "bp4d": ("0,1,12\n1,0\n", r"F001_T1\.csv, line 2: expected 3 cells, not 2"),
    "webva-recordings": ("file,expression,valence,arousal\n20.jpg,joy,0,0\n", r"index\.csv, line 2: expected the exp"),
    "afew-va": ('{"frames": {"00000": {"valence": 11, "arousal": 0}}}', r"001\.json, frame 00000: expected values"),
}  # fmt: skip


@pytest.mark.parametrize("name", LABELLED)
def test_a_wrong_line_is_named(tmp_path, name):
    path = DRAW[name](tmp_path)
    text, message = WRONG[name]
    path.write_text(text)
    with pytest.raises(AnnotationError, match=message):
        READERS[name](tmp_path)


@pytest.mark.parametrize("name", LABELLED)
def test_an_empty_folder_is_named(tmp_path, name):
    with pytest.raises((AnnotationError, UserError), match=str(tmp_path)):
        READERS[name](tmp_path)


@pytest.mark.parametrize("name", LABELLED)
def test_every_set_is_prepared_so_that_networks_train_on_it(tmp_path, name):
    assert name in DATASETS
    DRAW[name](tmp_path / "set")
    out = tmp_path / "out"
    prepare(name, tmp_path / "set", out)
    found = READERS[name](tmp_path / "set")
    for one in found:
        pictures = list((out / "cropped_aligned" / one.name).glob("*.jpg"))
        assert len(pictures) == len(one)
        assert np.load(out / "landmarks" / f"{one.name}.npy").shape == (len(one), 68, 2)
    for one in found:
        part = {"train": "Train_Set", "validation": "Validation_Set", "test": "Test_Set"}[one.split]
        shown = np.where(one.expression < 7, one.expression, -1)  # contempt is none of the seven
        for task, labels, missing in (("va", one.va, -5), ("expression", shown, -1), ("au", one.au, -1)):
            path = out / "annotations" / affwild2.FOLDERS[task] / part / f"{one.name}.txt"
            assert path.is_file() == (labels != missing).any()
        path = out / "annotations" / "COMPOUND_Set" / part / f"{one.name}.txt"
        assert path.is_file() == (one.compound != -1).any()
        if path.is_file():
            np.testing.assert_array_equal(affwild2.read_compound(path), one.compound)
    assert any((out / "annotations").rglob("*.txt"))
    before = {path: path.stat().st_mtime_ns for path in out.rglob("*.jpg")}
    prepare(name, tmp_path / "set", out)
    assert {path: path.stat().st_mtime_ns for path in out.rglob("*.jpg")} == before


def test_a_papers_network_is_trained_on_webva_and_scored_on_its_test_part(tmp_path, capsys):
    webva(tmp_path / "set")
    data, run = str(tmp_path / "out"), tmp_path / "run"
    prepare("webva-recordings", tmp_path / "set", data)
    recipe = recipes.read("mt-vgg-webva")
    small = replace(recipe, options={"width": 2, "fc": 8}, epochs=1)
    assert recipe.tasks == {"va": 1.0, "expression": 1.0}
    assert np.isfinite(train.train(small, tmp_path / "out", run, progress=False)["score"])
    out = tmp_path / "predictions"
    assert main(["evaluate", str(run / "best.pt"), data, "--out", str(out), "--split", "test"]) == 0
    said = capsys.readouterr().out
    assert all(score in said for score in ("ccc_valence", "ccc_arousal", "expression_accuracy"))
    assert len(affwild2.read_va(out / "VA_Set" / "webva_test.txt")) == 2


def test_pictures_of_another_set_train_facebehaviornet_with_their_own_units(tmp_path):
    emotionet(tmp_path / "set")
    prepare("emotionet", tmp_path / "set", tmp_path / "out")
    recipe = recipes.Recipe(
        network="facebehaviornet", score="au_2020", tasks={"au": 1.0}, options={"width": 2, "fc": 8}, epochs=1, batch=4
    )
    training, validation = samples.recordings(tmp_path / "out", recipe)
    assert (training[0].annotation.au[:, AUS_UNION.index("AU12")] == -1).all()
    assert validation
    assert np.isfinite(train.train(recipe, tmp_path / "out", tmp_path / "run", progress=False)["score"])

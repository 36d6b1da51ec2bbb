"""Every family of networks trains from a data set in Aff-Wild2's layout; runs resume, and stop in time."""

import csv
from dataclasses import replace

import numpy as np
import pytest
import torch

import models
from models import affwild2, checkpoint, evaluate, ferplus_resnet50, inception_v3, predict, samples, synthetic, train
from models import recipe as recipes
from models.errors import ModelError

torch.set_num_threads(1)


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    root = tmp_path_factory.mktemp("affwild2")
    synthetic.write(root, videos=3, seconds=2, validation=1)
    rng = np.random.default_rng(0)
    for path in (root / "landmarks").glob("*.npy"):  # stands for the appearance network: what it would see, projected
        shape = np.load(path).reshape(-1, 136) / 56 - 1
        (root / "features").mkdir(exist_ok=True)
        projection = np.random.default_rng(1).normal(0, 1, (136, 2048))
        noise = rng.normal(0, 0.1, (len(shape), 2048))
        np.save(root / "features" / path.name, (shape @ projection + noise).astype(np.float32))
    return root


VA = {"tasks": {"va": 1.0}, "score": "va"}
SEQUENCE = {"sequence": 20, "batch": 2, "stride": 10, "epochs": 3, "learning_rate": 5e-4}
COUPLING = {"distribution_matching": 0.01, "soft_co_annotation": 0.1}
SMALL = {"width": 4, "fc": 64}
VGG = recipes.Recipe(
    network="mt-vgg", score="total_2020", tasks={"va": 1.0, "expression": 1.0, "au": 1.0}, options=SMALL,
    epochs=2, batch=16, stride=4, learning_rate=1e-3,
)  # fmt: skip


def run(recipe, data, out, **options):
    return train.train(recipe, data, out, progress=False, **options)


@pytest.mark.parametrize(
    "changes",
    [
        {"network": "tsav", "options": {"width": 4}, "filter": True, "pseudo_valence": True, "epochs": 2, "batch": 8,
         "learning_rate": 2e-3},
        {"network": "mimamo", "options": {}, "sequence": 12, "batch": 4, "stride": 16, "epochs": 2,
         "learning_rate": 2e-3, **VA},
        {"network": "cnn-3rnn", **SEQUENCE, **VA},
        {"network": "mt-vgg", "epochs": 5, "stride": 2},
        {"network": "av-mt-vgg-gru", **SEQUENCE},
        {"network": "facebehaviornet", "epochs": 5, "stride": 2, "coupling": COUPLING},
    ],
    ids=lambda changes: changes["network"],
)  # fmt: skip
def test_the_score_rises(data, tmp_path, changes):
    result = run(replace(VGG, **changes), data, tmp_path)
    assert result["score"] > result["before"] + 0.05
    assert {path.name for path in tmp_path.iterdir()} >= {"best.pt", "log.csv", "log.png"}
    assert checkpoint.read(tmp_path / "best.pt")["network"] == changes["network"]


def test_descriptors_train_on_the_annotations_of_2022(data, tmp_path, monkeypatch):
    monkeypatch.setattr(inception_v3, "SIZE", 75)
    options = {"network": "descriptors", "options": {"heads": "mlp"}, "annotations": "2022", "score": "multi_task_2022"}
    result = run(replace(VGG, **options, class_weight=(1.0,) * 8, pos_weight=(2.0,) * 12, stride=24), data, tmp_path)
    assert all(np.isfinite(row["loss"]) for row in result["epochs"][1:])
    assert result["epochs"][2]["loss"] < result["epochs"][1]["loss"]


def test_a_trained_network_writes_submissions_that_score_as_in_training(data, tmp_path):
    recipe = replace(VGG, network="mt-vgg-gru", sequence=16, batch=2, stride=16, epochs=1)
    run(recipe, data, tmp_path / "run")
    (data / "cropped_aligned" / "v0" / "00031.jpg").rename(tmp_path / "face.jpg")  # a frame without a face
    names = predict.write_submission(tmp_path / "run" / "best.pt", data, tmp_path / "out")
    (tmp_path / "face.jpg").rename(data / "cropped_aligned" / "v0" / "00031.jpg")
    assert names == ["t0", "t1_left", "t2_right", "v0"]
    va = affwild2.read_va(tmp_path / "out" / "VA_Set" / "v0.txt")
    assert len(va) == 60
    assert (va[30] == va[29]).all()
    result = evaluate.evaluate(tmp_path / "out", data, rounds=2)
    log = checkpoint.read(tmp_path / "run" / "best.pt")["history"][-1]
    assert result.scores["expression_accuracy"][0] == pytest.approx(log["expression_accuracy"], abs=0.1)


def test_appearance_features_are_written_once(tmp_path):
    synthetic.write(tmp_path, videos=1, seconds=0.1, validation=0)
    network = models.create("ferplus-resnet50")
    predict.write_features(tmp_path, network)
    written = np.load(tmp_path / "features" / "t0.npy")
    assert written.shape == (3, 2048)
    picture = predict.feature_picture(np.full((1, 112, 112, 3), 200, np.uint8))
    np.testing.assert_allclose(picture[0, :, 0, 0], 200 - np.array(ferplus_resnet50.MEAN_RGB), rtol=1e-6)
    with torch.no_grad():
        network.conv1_7x7_s2.weight.mul_(2)
    predict.write_features(tmp_path, network)
    np.testing.assert_array_equal(np.load(tmp_path / "features" / "t0.npy"), written)


def test_a_killed_run_goes_on_to_the_same_result(data, tmp_path):
    recipe = replace(VGG, epochs=3, stride=16)
    whole = run(recipe, data, tmp_path / "whole")
    stopped = tmp_path / "stopped"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(train, "_plot", lambda *_: None)
        kept = train._keep

        def killed(out, network, optimizer, recipe, history):
            kept(out, network, optimizer, recipe, history)
            if len(history) == 3:
                raise KeyboardInterrupt

        patch.setattr(train, "_keep", killed)
        with pytest.raises(KeyboardInterrupt):
            run(recipe, data, stopped)
    again = run(recipe, data, stopped)
    assert again["epochs"][1:] == whole["epochs"][1:]
    one, two = (checkpoint.read(folder / "epoch-0003.pt")["state_dict"] for folder in (tmp_path / "whole", stopped))
    assert all(torch.equal(one[key], two[key]) for key in one)
    with (stopped / "log.csv").open() as file:
        assert [row["epoch"] for row in csv.DictReader(file)] == ["0", "1", "2", "3"]
    assert len(list(stopped.glob("epoch-*.pt"))) == 2
    with pytest.raises(ModelError, match="holds a run of another recipe"):
        run(replace(recipe, seed=2), data, stopped)


def test_a_loss_that_is_no_number_stops_the_run_and_keeps_the_last_checkpoint(data, tmp_path):
    recipe = replace(VGG, epochs=2, stride=16)  # one batch an epoch
    with pytest.MonkeyPatch.context() as patch:
        real, calls = train.loss_of, []

        def broken(*arguments):
            calls.append(None)
            return real(*arguments) * (float("nan") if len(calls) > 1 else 1)

        patch.setattr(train, "loss_of", broken)
        with pytest.raises(ModelError, match=r"The loss is nan in epoch \d, batch \d; the last good .*epoch-0001.pt"):
            run(recipe, data, tmp_path)
    assert checkpoint.read(tmp_path / "epoch-0001.pt")["history"][-1]["epoch"] == 1


def test_a_run_ends_when_the_score_no_longer_rises(data, tmp_path):
    recipe = replace(VGG, epochs=20, stride=32, learning_rate=1e-12, patience=2)
    assert len(run(recipe, data, tmp_path)["epochs"]) - 1 <= 5


def test_people_of_one_video_stay_in_one_fold():
    names = {f"{video}{side}": str(video) for video in range(10) for side in ("", "_left", "_right")}
    folds = samples.folds(names, 5)
    assert sorted(name for fold in folds for name in fold) == sorted(names)
    for fold in folds:
        assert {names[name] for name in fold}.isdisjoint(
            names[name] for other in folds if other is not fold for name in other
        )
        assert len(fold) == 6


def test_what_a_network_needs_and_the_data_set_lacks_is_named(data, tmp_path):
    synthetic.write(tmp_path, videos=1, seconds=1, validation=1)
    (tmp_path / "mel" / "t0.npy").unlink()
    with pytest.raises(ModelError, match="has no mel of t0, which this network needs"):
        run(replace(VGG, network="tsav", options={"width": 2}), tmp_path, tmp_path / "out")


@pytest.mark.parametrize("name", recipes.available())
def test_every_recipe_is_readable(name):
    assert recipes.read(name).epochs > 0


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("network = ", "is not TOML"),
        ('network = "tsav"', "score is missing"),
        ('network = "tsav"\nscore = "va"\nepoch = 3', "unknown keys epoch"),
        ('network = "vsat"\nscore = "va"', "network 'vsat' is none of tsav"),
        ('network = "tsav"\nscore = "va"\ntasks = {pain = 1.0}', "tasks are some of va, expression, au; not pain"),
        ('network = "tsav"\nscore = "va"\nepochs = 0', "epochs is a whole number of at least 1, not 0"),
        ('network = "mimamo"\nscore = "va"', "mimamo reads sequences"),
    ],
)
def test_wrong_recipes_are_answered_with_a_sentence(tmp_path, content, message):
    path = tmp_path / "r.toml"
    path.write_text(content)
    with pytest.raises(ModelError, match=message):
        recipes.read(str(path))
    with pytest.raises(ModelError, match="no recipe 'nothing'; give a TOML file or one of"):
        recipes.read("nothing")

"""Every family of networks trains from a data set in Aff-Wild2's layout; runs resume, and stop in time."""

import csv
import os
import shutil
import subprocess
import sys
import time
from dataclasses import replace

import numpy as np
import pytest
import torch

import models
from models import checkpoint
from models.errors import ModelError
from models.networks import ferplus_resnet50, inception_v3
from models.training import affwild2, evaluate, predict, samples, synthetic, train
from models.training import recipe as recipes

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
    assert names == dict.fromkeys(("t0", "t1_left", "t2_right", "v0"), 60)
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
    recipe, file = replace(VGG, epochs=4, stride=4), tmp_path / "recipe.toml"
    file.write_text(
        'network = "mt-vgg"\nscore = "total_2020"\ntasks = { va = 1.0, expression = 1.0, au = 1.0 }\n'
        "options = { width = 4, fc = 64 }\nepochs = 4\nbatch = 16\nstride = 4\nlearning_rate = 1e-3\n"
    )
    assert recipes.read(str(file)) == recipe
    whole, stopped = tmp_path / "whole", tmp_path / "stopped"

    def begin(out):  # in a process of its own: what ran in this one before may have changed how it rounds
        command = [sys.executable, "-m", "service.cli", "train", str(file), "--data", str(data), "--out", str(out)]
        return subprocess.Popen(
            command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=os.environ | {"OMP_NUM_THREADS": "1"}
        )

    uninterrupted, process = begin(whole), begin(stopped)
    while process.poll() is None and not (stopped / "epoch-0001.pt").is_file():
        time.sleep(0.02)
    process.kill()
    process.wait()
    assert not (stopped / "epoch-0004.pt").is_file()
    assert begin(stopped).wait() == uninterrupted.wait() == 0
    assert (stopped / "log.csv").read_text("utf-8") == (whole / "log.csv").read_text("utf-8")
    with (stopped / "log.csv").open() as log:
        assert [row["epoch"] for row in csv.DictReader(log)] == ["0", "1", "2", "3", "4"]
    one, two = (checkpoint.read(folder / "epoch-0004.pt")["state_dict"] for folder in (whole, stopped))
    assert all(torch.equal(one[key], two[key]) for key in one)
    assert len(list(stopped.glob("epoch-*.pt"))) == 2
    with pytest.raises(ModelError, match="holds a run of another recipe"):
        run(replace(recipe, seed=2), data, stopped)


def test_batches_that_are_accumulated_are_one_large_batch(data, tmp_path, monkeypatch):
    real = models.create

    def without_dropout(name, **options):
        network = real(name, **options)
        for module in network.modules():
            if isinstance(module, torch.nn.Dropout):
                module.p = 0
        return network

    monkeypatch.setattr(models, "create", without_dropout)
    large = replace(VGG, tasks={"expression": 1.0}, score="expression_2020", epochs=1, stride=11)  # 18 frames
    small = replace(large, batch=4, accumulate=4)
    other = replace(small, accumulate=2)
    weights = []
    for number, recipe in enumerate((large, small, other)):
        run(replace(recipe, optimizer="sgd", learning_rate=0.1), data, tmp_path / str(number))
        weights.append(checkpoint.read(tmp_path / str(number) / "best.pt")["state_dict"]["output.weight"])
    torch.testing.assert_close(weights[1], weights[0], rtol=1e-4, atol=1e-6)
    assert (weights[2] - weights[0]).abs().max() > 1e-4


def test_mixed_precision_trains_float32_weights_as_float32_does(data, tmp_path):
    recipe = replace(VGG, epochs=3, stride=4)
    losses = []
    for number, bfloat16 in enumerate((False, True)):
        result = run(replace(recipe, bfloat16=bfloat16), data, tmp_path / str(number))
        losses.append([row["loss"] for row in result["epochs"][1:]])
    assert losses[0] != losses[1]
    np.testing.assert_allclose(losses[1], losses[0], rtol=0.03)
    state = checkpoint.read(tmp_path / "1" / "best.pt")["state_dict"]
    assert {x.dtype for x in state.values()} == {torch.float32}


def test_a_loss_that_is_no_number_stops_the_run_and_keeps_the_last_checkpoint(data, tmp_path):
    recipe = replace(VGG, epochs=2, stride=16, batch=4)
    with pytest.MonkeyPatch.context() as patch:
        real, calls = train.loss_of, []

        def broken(*arguments):
            calls.append(None)
            return real(*arguments) * (float("nan") if len(calls) > 4 else 1)

        patch.setattr(train, "loss_of", broken)
        with pytest.raises(ModelError, match=r"The loss is nan in epoch 2, batch 2; the last good .*epoch-0001.pt"):
            run(recipe, data, tmp_path)
    assert checkpoint.read(tmp_path / "epoch-0001.pt")["history"][-1]["epoch"] == 1
    wild = replace(recipe, learning_rate=1e30)
    with pytest.raises(ModelError, match=r"The (loss is \S+|weights are no numbers) .*epoch 1, batch \d; no epoch was"):
        run(wild, data, tmp_path / "wild")
    assert not list((tmp_path / "wild").glob("*.pt"))


def test_sound_alone_trains_the_aural_stream(data, tmp_path):
    changes = SEQUENCE | {"stride": 5, "epochs": 3, "learning_rate": 1e-3}
    recipe = replace(VGG, network="mt-vgg-gru", reads="sound", **changes, **VA)
    result = run(recipe, data, tmp_path / "heard")
    assert max(row["ccc_arousal"] for row in result["epochs"]) > 0.15  # loudness is drawn as arousal is
    heard = tmp_path / "heard" / "best.pt"
    both = replace(
        recipe, network="av-mt-vgg-gru", reads="faces", epochs=1, learning_rate=1e-9, initial={"aural.": str(heard)}
    )
    run(both, data, tmp_path / "both")
    weights = checkpoint.read(tmp_path / "both" / "best.pt")["state_dict"]
    trained = {key: x for key, x in checkpoint.read(heard)["state_dict"].items() if not key.startswith("output.")}
    for key, x in trained.items():
        torch.testing.assert_close(weights[f"aural.{key}"], x, rtol=0, atol=1e-5)
    with pytest.raises(ModelError, match="av-mt-vgg-gru is not trained on sound alone"):
        recipes.made(replace(both, reads="sound").content(), "r.toml")


def test_networks_are_fused_as_they_were_trained(data, tmp_path):
    recipe = replace(VGG, network="cnn-3rnn", **SEQUENCE | {"epochs": 1, "stride": 30}, **VA)
    parts = {}
    for number, name in enumerate(("cnn-3rnn", "cnn-1rnn")):
        run(replace(recipe, network=name, seed=number), data, tmp_path / name)
        parts[f"{name.replace('-', '_')}."] = str(tmp_path / name / "best.pt")
    options = SMALL | {"ccc": [[1.0, 0.5], [0.0, 0.5]]}
    fused = replace(recipe, network="fusion-decision", options=options, epochs=0, initial=parts)
    result = run(fused, data, tmp_path / "fused")
    assert result["before"] == result["score"]
    assert run(fused, data, tmp_path / "fused")["score"] == result["score"]
    with pytest.raises(ModelError, match="name their checkpoints in initial"):
        run(replace(fused, initial={}), data, tmp_path / "nothing")
    (log,) = checkpoint.read(tmp_path / "fused" / "best.pt")["history"]
    valence = checkpoint.read(tmp_path / "cnn-3rnn" / "best.pt")["history"][-1]["ccc_valence"]
    assert log["ccc_valence"] == pytest.approx(valence, abs=1e-4)  # which the weights take from the first alone


def test_a_class_that_no_frame_shows_is_named_and_harms_nothing(tmp_path, caplog):
    synthetic.write(tmp_path, videos=1, seconds=1, validation=1)
    for path in (tmp_path / "annotations").glob("EXPR_Set/*/t0.txt"):
        shown = affwild2.read_expression(path)
        affwild2.write_expression(path, np.where(shown >= 0, 4, -1))
    for path in (tmp_path / "annotations").glob("AU_Set/*/t0.txt"):
        affwild2.write_au(path, affwild2.read_au(path) * [1, 0, 1, 1, 1, 1, 1, 1])
    result = run(replace(VGG, stride=2, epochs=1, pseudo_valence=True), tmp_path, tmp_path / "out")
    assert np.isfinite(result["score"])
    assert "No frame to train on shows neutral, anger, disgust, fear, sadness, surprise, AU02" in caplog.text


def test_recordings_without_pictures_are_left_out_and_an_empty_data_set_is_named(tmp_path, caplog):
    synthetic.write(tmp_path, videos=2, seconds=0.5, validation=1)
    shutil.rmtree(tmp_path / "cropped_aligned" / "t0")
    train_on, _ = samples.recordings(tmp_path, VGG)
    assert [recording.name for recording in train_on] == ["t1_left"]
    assert "1 of 2 recordings have no pictures: t0" in caplog.text
    shutil.rmtree(tmp_path / "cropped_aligned")
    with pytest.raises(ModelError, match="has pictures of 0 recordings to train on and of 0 to validate on"):
        run(VGG, tmp_path, tmp_path / "out")


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
    with pytest.raises(ModelError, match="has no mel of t0, which this network needs; `affectstream prepare affwild2`"):
        run(replace(VGG, network="tsav", options={"width": 2}), tmp_path, tmp_path / "out")


@pytest.mark.parametrize("name", recipes.available())
def test_every_recipe_is_readable(name):
    assert recipes.read(name).network in models.available()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("network = ", "is not TOML"),
        ('network = "tsav"', "score is missing"),
        ('network = "tsav"\nscore = "va"\nepoch = 3', "unknown keys epoch"),
        ('network = "vsat"\nscore = "va"', "network 'vsat' is none of tsav"),
        ('network = "tsav"\nscore = "va"\ntasks = {pain = 1.0}', "some of va, expression, au, compound; not pain"),
        ('network = "tsav"\nscore = "va"\nbatch = 0', "batch is a whole number of at least 1, not 0"),
        ('network = "mimamo"\nscore = "va"', "mimamo reads sequences"),
        ('network = "tsav"\nscore = "va"\nepochs = "3"', "epochs is a whole number, not '3'"),
        ('network = "tsav"\nscore = "va"\nbatch = true', "batch is a whole number, not True"),
        ('network = "tsav"\nscore = "va"\ntasks = 3', "tasks is a table, not 3"),
        ('network = "tsav"\nscore = "va"\ntasks = {va = "x"}', "the weight of va is a number of at least 0, not 'x'"),
        ('network = "tsav"\nscore = "va"\ntasks = {}', "some of va, expression, au, compound; not none"),
        ('network = "tsav"\nscore = "au_2020"', "score au_2020 needs the task au"),
        ('network = "tsav"\nscore = "va"\nsound_window = "future"', "sound_window 'future' is none of past10, trunc"),
        ('network = "tsav"\nscore = "va"\npos_weight = [1, 2]', "pos_weight has 2 numbers, and tsav needs 8"),
        (
            'network = "tsav"\nscore = "va"\nannotations = "2022"',
            "tsav has not the expressions and action units of 2022",
        ),
        ('network = "mimamo"\nscore = "va"\nsequence = 4\ntasks = {va = 1, au = 1}', "valence and arousal alone"),
        ('network = "tsav"\nscore = "va"\ncoupling = {co_annotation = 1}', "coupling is between the expressions and"),
        ('network = "tsav"\nscore = "va"\ncoupling = {soft = 1}', "coupling are some of co_annotation, distribution_m"),
    ],
)
def test_wrong_recipes_are_answered_with_a_sentence(tmp_path, content, message):
    path = tmp_path / "r.toml"
    path.write_text(content)
    with pytest.raises(ModelError, match=message):
        recipes.read(str(path))
    with pytest.raises(ModelError, match="no recipe 'nothing'; give a TOML file or one of"):
        recipes.read("nothing")

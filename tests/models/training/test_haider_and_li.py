"""Haider et al. 2022 and Li 2020, line by line: the ensemble of two trained networks, smoothing, folds, unwrapping."""

from dataclasses import replace

import numpy as np
import pytest
import torch

import models
from models import checkpoint
from models.errors import ModelError
from models.networks import inception_v3
from models.networks.descriptors import SMOOTHING, Descriptors, smooth
from models.training import affwild2, evaluate, inputs, predict, samples, synthetic, train
from models.training import recipe as recipes
from service.cli import main

torch.set_num_threads(1)

DESCRIPTORS = recipes.Recipe(
    network="descriptors", score="multi_task_2022", tasks={"va": 2.0, "expression": 1.0, "au": 1.0},
    annotations="2022", options={"heads": "mlp"}, epochs=1, batch=6, stride=20, learning_rate=1e-4, augment=False,
)  # fmt: skip
MIMAMO = recipes.Recipe(
    network="mimamo", score="va", tasks={"va": 2.0}, sequence=12, batch=2, stride=12, epochs=1, learning_rate=1e-3,
    augment=False,
)  # fmt: skip


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    root = tmp_path_factory.mktemp("affwild2")
    synthetic.write(root, videos=3, seconds=1, validation=2)
    for path in (root / "landmarks").glob("*.npy"):
        aligned, context = root / "cropped_aligned" / path.stem, root / "cropped" / path.stem
        context.parent.mkdir(exist_ok=True)
        context.mkdir()
        for picture in aligned.glob("*.jpg"):  # stands for the face with its surroundings
            (context / picture.name).write_bytes(picture.read_bytes())
        (root / "features").mkdir(exist_ok=True)
        np.save(root / "features" / path.name, np.random.default_rng(0).normal(size=(30, 2048)).astype(np.float32))
    return root


@pytest.fixture
def small(monkeypatch):
    monkeypatch.setattr(inception_v3, "SIZE", 75)


def test_the_context_crop_alone_trains_descriptors(data, tmp_path, small):
    recipe = replace(DESCRIPTORS, reads="context")
    assert recipe.needs == ("cropped",)
    recording = samples.recordings(data, recipe)[0][0]
    for picture in (data / "cropped" / recording.name).glob("00005.jpg"):
        kept = picture.read_bytes()
        picture.unlink()  # the fifth frame's surroundings are gone, its aligned face is not
        black = recipe.builder(recording, np.array([4]), None)["image"]
        picture.write_bytes(kept)
    assert len(np.unique(black[0])) == 1
    assert len(np.unique(inputs.descriptor_image(recording, np.array([4]), None)["image"][0])) > 1
    assert np.isfinite(train.train(recipe, data, tmp_path, progress=False)["score"])
    assert recipes.read("descriptors-context").reads == "context"
    with pytest.raises(ModelError, match="tsav does not read the context crop alone"):
        recipes.made({"network": "tsav", "score": "va", "reads": "context"}, "r.toml")


def test_the_ensemble_is_two_trained_networks_whose_outputs_are_averaged(data, tmp_path, small):
    published = recipes.read("descriptors-ensemble")
    assert published.epochs == 0
    assert published.initial.keys() == {"context.", "aligned."}
    runs = {}
    for name, reads in (("aligned", "faces"), ("context", "context")):
        train.train(replace(DESCRIPTORS, reads=reads, seed=len(runs)), data, tmp_path / name, progress=False)
        runs[f"{name}."] = str(tmp_path / name / "best.pt")
    ensemble = replace(DESCRIPTORS, network="descriptors-ensemble", epochs=0, initial=runs)
    train.train(ensemble, data, tmp_path / "ensemble", progress=False)
    one = predict.trained(tmp_path / "ensemble" / "best.pt")
    image, face = torch.randn(1, 3, 75, 75), torch.randn(1, 3, 75, 75)
    with torch.no_grad():
        joint = one.network(image, face)
        parts = [predict.trained(tmp_path / name / "best.pt").network for name in ("context", "aligned")]
        context, aligned = parts[0](image), parts[1](face)
    torch.testing.assert_close(joint["va"], (context["va"] + aligned["va"]) / 2)
    torch.testing.assert_close(joint["au"], (context["au"].sigmoid() + aligned["au"].sigmoid()) / 2)
    expected = (context["expression"].softmax(1) + aligned["expression"].softmax(1)) / 2
    torch.testing.assert_close(joint["expression"], expected)


@pytest.mark.parametrize("network", ["descriptors", "descriptors-ensemble"])
def test_evaluate_scores_with_the_smoothing_that_live_has_or_without(data, small, monkeypatch, network):
    def embeddings(self, image):  # an untrained network sees the same in every face
        level = image.mean((1, 2, 3))[:, None] * torch.arange(16)
        return {"au": level[:, None].expand(-1, 12, -1), "expression": level, "va": level}

    monkeypatch.setattr(Descriptors, "embeddings", embeddings)
    torch.manual_seed(0)
    one = models.create(network, heads="mlp").eval()
    recipe = replace(DESCRIPTORS, network=network)
    recording = samples.recordings(data, recipe)[1][0]
    plain = predict.outputs_of(one, recipe, recording)
    smoothed = predict.outputs_of(one, replace(recipe, smoothing=True), recording)
    assert np.abs(smoothed["au"] - plain["au"]).max() > 1e-4
    assert np.abs(np.diff(smoothed["au"], axis=0)).max() < np.abs(np.diff(plain["au"], axis=0)).max()
    if network == "descriptors":
        mean = None
        with torch.no_grad():
            for frame in recording.faces[:3]:
                image = torch.from_numpy(recipe.builder(recording, np.array([frame]), None)["image"])[None]
                now = one.embeddings(image)["va"]
                mean = now if mean is None else smooth(mean, now, SMOOTHING["va"])
            expected = one.emotion_classifiers[2](mean)[0].clamp(-1, 1)
        np.testing.assert_allclose(smoothed["va"][2], expected, atol=1e-5)
    assert not recipes.read("descriptors").smoothing  # the paper does not describe it
    with pytest.raises(ModelError, match="smoothing is of the embeddings of descriptors; tsav has none"):
        recipes.made({"network": "tsav", "score": "va", "smoothing": True}, "r.toml")


def test_unwrap_reaches_the_phases_that_training_reads(data):
    recording = samples.recordings(data, MIMAMO)[0][0]
    frames = recording.faces[:12]
    phases = [
        replace(MIMAMO, options=options).builder(recording, frames, None)["phase_0"]
        for options in ({}, {"unwrap": "reference"}, {"unwrap": "correct"})
    ]
    np.testing.assert_array_equal(phases[0], phases[1])
    assert np.abs(phases[2] - phases[1]).max() > 0.1
    assert recipes.read("mimamo-correct").options == {"unwrap": "correct"}


def test_predict_averages_the_folds_that_one_recipe_trains(data, tmp_path):
    assert recipes.read("mimamo").folds == 5
    recipe = replace(MIMAMO, network="mt-vgg", options={"width": 2, "fc": 8}, sequence=0, stride=10, folds=3)
    result = train.train(recipe, data, tmp_path / "run", progress=False)
    assert len(result["epochs"]) == 3
    paths = predict.runs(tmp_path / "run")
    assert [path.parent.name for path in paths] == ["fold-0", "fold-1", "fold-2"]
    held = [checkpoint.read(path)["recipe"]["fold"] for path in paths]
    assert held == [[0, 3], [1, 3], [2, 3]]
    predict.write_submission(tmp_path / "run", data, tmp_path / "together")
    found = []
    for path in paths:
        predict.write_submission(path, data, tmp_path / path.parent.name)
        found.append(affwild2.read_va(tmp_path / path.parent.name / "VA_Set" / "v0.txt"))
    mean = affwild2.read_va(tmp_path / "together" / "VA_Set" / "v0.txt")
    np.testing.assert_allclose(mean, np.mean(found, axis=0), atol=2e-3)  # files hold three decimals
    assert np.isfinite(evaluate.evaluate(tmp_path / "together", data, rounds=2).scores["va"][0])
    assert main(["evaluate", str(tmp_path / "run"), str(data), "--out", str(tmp_path / "cli"), "--json"]) == 0
    again = affwild2.read_va(tmp_path / "cli" / "VA_Set" / "v0.txt")
    np.testing.assert_array_equal(again, mean)
    other = replace(recipe, folds=0, learning_rate=1e-4)
    train.train(other, data, tmp_path / "run" / "other", progress=False)
    with pytest.raises(ModelError, match="other recipes than the folds of one"):
        predict.write_submission(tmp_path / "run", data, tmp_path / "wrong")
    with pytest.raises(ModelError, match=r"holds no runs; expected are folders with a best\.pt each"):
        predict.write_submission(tmp_path / "nothing", data, tmp_path / "wrong")

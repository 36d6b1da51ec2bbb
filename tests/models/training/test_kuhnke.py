"""Kuhnke, Rumberg and Ostermann 2020, line by line: pseudo labels, filter, ablations and the final run."""

import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

import models
from engines.papers.live_networks import LiveTSAV
from models import checkpoint
from models.errors import ModelError
from models.labels import EXPRESSIONS
from models.training import affwild2, losses, objective, samples, synthetic, train
from models.training import recipe as recipes
from models.training.outputs import decide

torch.set_num_threads(1)

ID = {name: i for i, name in enumerate(EXPRESSIONS)}
RECIPE = recipes.Recipe(
    network="tsav", score="total_2020", tasks={"va": 1.0, "expression": 1.0, "au": 1.0}, options={"width": 2},
    epochs=1, batch=8, stride=6, learning_rate=1e-3, augment=False,
)  # fmt: skip


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    root = tmp_path_factory.mktemp("affwild2")
    synthetic.write(root, videos=2, seconds=2, validation=1)
    return root


def test_pseudo_valence_stands_in_one_concordance_with_the_real_one():
    """Two pseudo frames of 32 weigh as any two frames, and arousal has no gradient from them."""
    g = torch.Generator().manual_seed(0)
    pred = torch.rand(32, 2, generator=g).mul(2).sub(1).requires_grad_()
    label = torch.rand(32, 2, generator=g) * 2 - 1
    label[30:, 1] = -5  # drawn valence, and no arousal
    output = {"va": pred, "expression": torch.zeros(32, 7), "au": torch.zeros(32, 8)}
    labels = {"va": label, "expression": torch.full((32,), -1), "au": torch.full((32, 8), -1)}
    loss = objective.loss_of(output, labels, replace(RECIPE, pseudo_valence=True, tasks={"va": 1.0, "expression": 0.0}))
    loss.backward()

    def ccc(x, y):
        x, y = x.detach().double().numpy(), y.double().numpy()
        covariance = ((x - x.mean()) * (y - y.mean())).mean()
        return 2 * covariance / (x.var() + y.var() + (x.mean() - y.mean()) ** 2)

    expected = 1 - (ccc(pred[:, 0], label[:, 0]) + ccc(pred[:30, 1], label[:30, 1])) / 2
    assert loss.item() == pytest.approx(expected, abs=1e-5)
    assert (pred.grad[30:, 1] == 0).all()
    share = pred.grad[30:, 0].abs().sum() / pred.grad[:, 0].abs().sum()
    assert share < 0.12  # of two frames in 32, and not the 18 % of a term of their own


def without(root, name, task, writer, empty):
    """Replace one task's labels of a recording that is trained on."""
    path = root / "annotations" / affwild2.FOLDERS[task] / "Train_Set" / f"{name}.txt"
    writer(path, empty)


def test_pseudo_labels_are_drawn_from_the_frames_annotated_for_both(tmp_path):
    synthetic.write(tmp_path, videos=2, seconds=1, validation=1)
    without(tmp_path, "t0", "va", affwild2.write_va, np.full((30, 2), -5.0))
    recipe = replace(RECIPE, stride=1, pseudo_valence=True)
    drawn = samples.Samples(samples.recordings(tmp_path, recipe)[0], recipe, training=True)
    of_first = torch.stack([drawn[i][1]["va"] for i in range(len(drawn)) if drawn.samples[i].recording == 0])
    assert (of_first[:, 0] != -5).any()
    assert (of_first[:, 1] == -5).all()
    recipe = replace(recipe, pseudo_arousal=True)
    drawn = samples.Samples(samples.recordings(tmp_path, recipe)[0], recipe, training=True)
    of_first = torch.stack([drawn[i][1]["va"] for i in range(len(drawn)) if drawn.samples[i].recording == 0])
    assert (of_first[:, 1] != -5).any()
    without(tmp_path, "t1_left", "va", affwild2.write_va, np.full((30, 2), 0.5))  # all frames in one bin
    path = tmp_path / "annotations" / "EXPR_Set" / "Train_Set" / "t1_left.txt"
    shown = affwild2.read_expression(path)
    affwild2.write_expression(path, np.where(np.arange(30) < 15, shown, -1))
    soft = replace(recipe, pseudo_expression=True)
    drawn = samples.Samples(samples.recordings(tmp_path, soft)[0], soft, training=True)
    found = [drawn[i][1] for i in range(len(drawn)) if drawn.samples[i].recording == 1]
    shares = torch.stack([one["expression_share"] for one in found])
    hard = torch.stack([one["expression"] for one in found])
    assert (shares[hard >= 0] == 0).all()
    sums = shares[hard < 0].sum(1)
    np.testing.assert_allclose(sums, 1, atol=1e-5)
    often = np.bincount(shown[2:15][shown[2:15] >= 0], minlength=7) / (shown[2:15] >= 0).sum()
    np.testing.assert_allclose(shares[hard < 0][0], often, atol=0.1)


def test_soft_expressions_are_averaged_with_the_hard_ones():
    g = torch.Generator().manual_seed(0)
    logits, label = torch.randn(4, 7, generator=g), torch.tensor([2, -1, -1, 5])
    share = torch.zeros(4, 7)
    share[1, :2] = torch.tensor([0.25, 0.75])
    logp = logits.log_softmax(1)
    expected = -(logp[0, 2] + logp[3, 5] + 0.25 * logp[1, 0] + 0.75 * logp[1, 1]) / 3
    torch.testing.assert_close(losses.cross_entropy(logits, label, share=share), expected)


def test_histograms_count_all_frames_before_any_is_filtered_out(tmp_path):
    synthetic.write(tmp_path, videos=1, seconds=1, validation=1)
    folder = tmp_path / "annotations"
    va = affwild2.read_va(folder / "VA_Set" / "Train_Set" / "t0.txt")
    affwild2.write_va(folder / "VA_Set" / "Train_Set" / "t0.txt", np.where(va == -5, va, (-0.8, 0.1)))
    happy = np.full(30, ID["happiness"])  # with a negative valence: every frame contradicts itself
    affwild2.write_expression(folder / "EXPR_Set" / "Train_Set" / "t0.txt", np.append(happy[:-1], -1))
    recipe = replace(RECIPE, stride=1, filter=True, pseudo_valence=True)
    found = samples.Samples(samples.recordings(tmp_path, recipe)[0], recipe, training=True)
    assert found.histograms.counts[ID["happiness"]].sum() == 28  # the first frame has no values, the last no expression
    assert found.usable[0].sum() == 2


@pytest.mark.parametrize(
    ("name", "options"),
    [("tsav-no-mask", {"mask": False}), ("tsav-visual", {"streams": "visual"}), ("tsav-aural", {"streams": "aural"})],
)
def test_the_ablations_of_table_ii_are_options_and_recipes_that_train(data, tmp_path, name, options):
    recipe = recipes.read(name)
    assert recipe == replace(recipes.read("tsav"), options=options)
    network = models.create("tsav", width=4, **options).eval()
    clip, sound = torch.randn(1, 4, 8, 112, 112), torch.randn(1, 1, 64, 1001)
    with torch.no_grad():
        before = network(clip, sound)
        clip[:, 3] += 1  # the mask
        assert torch.equal(network(clip, sound), before) == (name != "tsav-visual")
        sound += 1
        changed = not torch.equal(network(clip, sound), network(clip, sound - 1))
        assert changed == (name != "tsav-visual")
    small = replace(RECIPE, options={"width": 2} | options, stride=20)
    assert np.isfinite(train.train(small, data, tmp_path, progress=False)["score"])
    with pytest.raises(ModelError, match="streams is 'both', 'visual' or 'aural', not 'smell'"):
        models.create("tsav", streams="smell")


def test_the_data_sets_own_alignment_is_a_recipe_that_reads_its_pictures(data, tmp_path):
    recipe = recipes.read("tsav-given-alignment")
    assert recipe == replace(recipes.read("tsav-no-mask"), alignment="given")
    given = tmp_path / "given"
    shutil.copytree(data, given, ignore=shutil.ignore_patterns("masks"))
    (given / "cropped_aligned").rename(given / "given")
    shutil.copytree(data / "cropped_aligned", given / "cropped_aligned")
    small = replace(RECIPE, options={"width": 2, "mask": False}, stride=20, alignment="given")
    assert np.isfinite(train.train(small, given, tmp_path / "run", progress=False)["score"])
    with pytest.raises(ModelError, match=r"has no given of .*`affectstream prepare affwild2 --given` makes them"):
        train.train(small, data, tmp_path / "other", progress=False)
    wrong = tmp_path / "wrong.toml"
    wrong.write_text(
        (Path(recipes.__file__).parents[1] / "recipes" / "tsav.toml").read_text("utf-8") + 'alignment = "given"\n'
    )
    with pytest.raises(ModelError, match="alignment given is of tsav with options"):
        recipes.read(str(wrong))


@pytest.mark.parametrize(
    ("name", "filtered", "pseudo"),
    [
        ("tsav", True, ("valence",)),
        ("tsav-pseudo-all", True, ("valence", "arousal", "expression")),
        ("tsav-no-filter", False, ("valence",)),
        ("tsav-no-pseudo", True, ()),
        ("tsav-plain", False, ()),
    ],
)
def test_the_rows_of_table_ii_about_the_data_are_recipes(name, filtered, pseudo):
    recipe = recipes.read(name)
    assert (recipe.filter, recipe.pseudo) == (filtered, pseudo)


def test_the_submission_trains_on_both_splits_for_a_quarter_more_steps(data, tmp_path):
    first = replace(RECIPE, epochs=2, stride=10)
    train.train(first, data, tmp_path / "first", progress=False)
    best = tmp_path / "first" / "best.pt"
    steps = checkpoint.read(best)["history"][-1]["steps"]
    final = replace(first, final=str(best))
    training, validation = samples.recordings(data, final)
    assert {r.name for r in validation} < {r.name for r in training}
    train.train(final, data, tmp_path / "final", progress=False)
    history = checkpoint.read(tmp_path / "final" / "best.pt")["history"]
    assert history[-1]["steps"] == int(np.ceil(1.25 * steps))
    assert recipes.read("tsav-final").final == "tsav/best.pt"


def test_action_units_are_decided_at_half_of_the_probability():
    logits = torch.tensor([[-0.01, 0.01, 0.49, 0.51]])
    assert decide("au", logits, probabilities=False).tolist() == [[0, 1, 1, 1]]  # 0.622, where the raw 0.5 lies
    assert decide("au", logits.sigmoid(), probabilities=True).tolist() == [[0, 1, 1, 1]]


def test_an_ablation_is_refused_live_with_a_sentence():
    for options in ({"mask": False}, {"streams": "aural"}):
        with pytest.raises(ModelError, match="TSAV without its mask or one of its streams is trained and scored"):
            LiveTSAV(models.create("tsav", width=2, **options))

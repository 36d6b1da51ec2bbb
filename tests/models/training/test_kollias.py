"""Kollias and Zafeiriou 2021, line by line: medians, couplings, losses, schedules and baselines."""

from dataclasses import replace

import numpy as np
import pytest
import torch

import models
from models import checkpoint, metrics, postprocess, relations
from models.errors import ModelError
from models.labels import AUS_2020, AUS_UNION, EXPRESSIONS
from models.postprocess import WHOLE, Chain, Sequences
from models.training import affwild2, coupling, evaluate, inputs, losses, predict, samples, synthetic, train
from models.training import recipe as recipes
from models.training.task_batches import TaskBatches

torch.set_num_threads(1)

VA = {"tasks": {"va": 1.0}, "score": "va"}
RECIPE = recipes.Recipe(
    network="facebehaviornet", score="total_2020", tasks={"va": 1.0, "expression": 1.0, "au": 1.0},
    options={"width": 2, "fc": 16}, epochs=1, batch=16, stride=6, learning_rate=1e-3,
)  # fmt: skip
SEQUENCES = replace(
    RECIPE, network="cnn-3rnn", options={"width": 2, "fc": 16}, sequence=20, stride=20, batch=2, median=True, **VA
)


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    root = tmp_path_factory.mktemp("affwild2")
    synthetic.write(root, videos=3, seconds=2, validation=2)
    return root


@pytest.fixture(scope="module")
def unions(tmp_path_factory):
    root = tmp_path_factory.mktemp("unions")
    synthetic.write(root, videos=2, seconds=2, validation=1, units=AUS_UNION)
    return root


# 1(a) medians


def sequences(*lengths, utterances=False):
    recording = np.repeat(np.arange(len(lengths)), lengths)
    place = np.concatenate([np.arange(n) for n in lengths])
    names = tuple(f"v_utterance_{i}" for i in range(len(lengths)))
    return Sequences(recording, place // 20, names, utterances)


def test_medians_are_kept_where_the_validation_concordance_rises_and_only_there():
    t = np.arange(200) / 30
    label = np.stack((np.sin(t), np.cos(t)), axis=1)
    spiky = label + np.where(np.random.default_rng(0).random((200, 2)) < 0.2, 1.5, 0)
    where = sequences(200)
    kept = Chain.fitted(spiky, label, where)
    assert kept.median > 0
    assert score(kept, spiky, label, where) > score(Chain(), spiky, label, where)
    fast = np.random.default_rng(1).normal(size=(200, 2))  # what a median would only blur
    assert Chain.fitted(fast, fast, where) == Chain()


def score(chain, outputs, label, where):
    return metrics.va_scores(label, chain.apply(outputs, where))["va"]


def test_a_median_filter_never_reaches_over_the_end_of_a_sequence():
    outputs = np.repeat([[0.0, 0.0], [1.0, 1.0]], 20, axis=0)
    assert (Chain(median=31).apply(outputs, sequences(40)) == outputs).all()
    per_sequence = Chain(median=WHOLE).apply(outputs + np.linspace(0, 0.1, 40)[:, None], sequences(40))
    assert len(np.unique(per_sequence[:20])) == 1
    assert len(np.unique(per_sequence)) == 2


def test_an_utterance_has_the_mean_of_its_sequences_medians_smoothed_where_that_helps():
    rng = np.random.default_rng(0)
    where = sequences(50, 30, 40, 60, utterances=True)
    outputs = rng.normal(size=(180, 2))
    final = Chain().apply(outputs, where)
    expected = postprocess.utterance_estimate([outputs[:20], outputs[20:40], outputs[40:50]])
    np.testing.assert_allclose(final[:50], np.tile(expected, (50, 1)))
    label, pred = postprocess.rows_of(np.tile([0.1, 0.2], (180, 1)), final, where)
    assert label.shape == pred.shape == (4, 2)
    slow = np.repeat(np.linspace(-1, 1, 12), 20)[:, None] * [1, -1]
    noisy = slow + np.repeat(rng.normal(0, 0.5, (12, 2)), 20, axis=0)
    assert Chain.fitted(noisy, slow, sequences(*[20] * 12, utterances=True)).smoothing > 0


def test_predict_and_evaluate_give_the_medians_that_training_kept(data, tmp_path):
    result = train.train(SEQUENCES, data, tmp_path / "run", progress=False)
    path = tmp_path / "run" / "best.pt"
    content = checkpoint.read(path)
    chain = Chain(**content["postprocess"])
    assert result["score"] >= content["history"][-1]["score"]
    forced = Chain(median=WHOLE)
    checkpoint.save(path, content | {"postprocess": forced.content()})
    predict.write_submission(path, data, tmp_path / "out")
    whole = affwild2.read_va(tmp_path / "out" / "VA_Set" / "v0.txt")
    assert len(np.unique(whole[:20], axis=0)) == 1  # one estimate for a sequence
    checkpoint.save(path, content | {"postprocess": chain.content()})
    predict.write_submission(path, data, tmp_path / "out")
    found = evaluate.evaluate(tmp_path / "out", data, rounds=2)
    assert found.scores["va"][0] == pytest.approx(result["score"], abs=0.02)


def test_decision_level_fusion_weights_the_final_estimates_of_its_networks():
    network = models.create("fusion-decision", width=2, fc=8, ccc=[[0.6, 0.2], [0.2, -0.4]]).eval()
    image, landmarks = torch.randn(1, 3, 3, 96, 96), torch.randn(1, 3, 136)
    with torch.no_grad():
        parts = network.estimates(image, landmarks)[0].numpy()
        fused = network(image, landmarks)["va"].numpy()
    expected = postprocess.decision_fusion(parts.transpose(2, 0, 1, 3), [[0.6, 0.2], [0.2, -0.4]])
    np.testing.assert_allclose(fused, expected, atol=1e-6)
    np.testing.assert_allclose(fused[..., 1], parts[..., 0, 1], atol=1e-6)  # a score below 0 has no weight
    with pytest.raises(ModelError, match="one of each above 0"):
        models.create("fusion-decision", width=2, fc=8, ccc=[[0.6, 0.0], [0.2, -0.4]])


# 1(b) FaceBehaviorNet


def test_table_vis_rows_are_recipes_with_soft_co_annotation_and_distribution_matching():
    best = recipes.read("facebehaviornet")
    assert best.coupling.keys() == {"distribution_matching", "soft_co_annotation"}
    assert best.relation == "du2014"
    assert best.batches == {"va": 401, "au": 247, "expression": 103}
    assert recipes.read("facebehaviornet-aff-wild2") == replace(best, relation="aff-wild2")
    assert recipes.read("facebehaviornet-uncoupled") == replace(best, coupling={})


def test_the_relation_weights_and_absent_units_are_options_that_change_the_loss():
    g = torch.Generator().manual_seed(0)
    output = {"expression": torch.randn(8, 7, generator=g), "au": torch.randn(8, 17, generator=g)}
    labels = {"expression": torch.randint(0, 7, (8,), generator=g), "au": torch.randint(0, 2, (8, 17), generator=g)}

    def loss(term, **options):
        return coupling.loss(output, labels, {term: 1.0}, **options).item()

    for term in ("distribution_matching", "soft_co_annotation"):
        assert loss(term, relation="aff-wild2") != pytest.approx(loss(term, relation="du2014"))
    matched = [loss("distribution_matching", **options) for options in ({}, {"weighted": True}, {"binary": True})]
    assert len({round(value, 4) for value in matched}) == 3
    table = torch.from_numpy(relations.matrix(coupling.RELATIONS["aff-wild2"])).float()
    q = (output["expression"].softmax(1) @ table).clamp(1e-6, 1)
    expected = -(output["au"].sigmoid() * q.log()).sum(1).mean()
    assert loss("distribution_matching", relation="aff-wild2", weighted=True) == pytest.approx(expected.item())


def test_batches_join_samples_annotated_for_each_task_and_an_epoch_draws_every_one():
    sets = {"va": np.arange(0, 37), "au": np.arange(37, 50), "expression": np.arange(50, 53)}
    batches = TaskBatches(sets, {"va": 8, "au": 5, "expression": 2}, torch.Generator().manual_seed(0))
    drawn = list(batches)
    assert len(drawn) == len(batches) == 5  # the largest set needs 37 / 8
    for batch in drawn:
        assert len(batch) == 15
        for task, size in (("va", 8), ("au", 5), ("expression", 2)):
            assert np.isin(batch, sets[task]).sum() == size
    assert set(np.concatenate(drawn).tolist()) == set(range(53))


def test_several_data_sets_are_trained_together_each_with_its_own_labels(tmp_path):
    """One drawn set annotated for valence and arousal alone, another one for units and expressions."""
    first, second = tmp_path / "va", tmp_path / "units"
    synthetic.write(first, videos=2, seconds=1, validation=1)
    synthetic.write(second, videos=2, seconds=1, validation=1, seed=5, units=AUS_UNION)
    for path in first.glob("annotations/*_Set/*/*.txt"):
        if path.parent.parent.name != "VA_Set":
            path.unlink()
    for path in second.glob("annotations/VA_Set/*/*.txt"):
        path.unlink()
    recipe = replace(
        RECIPE, also=("../units",), batches={"va": 6, "au": 4, "expression": 2}, stride=2,
        coupling={"distribution_matching": 0.1, "soft_co_annotation": 0.1},
    )  # fmt: skip
    training, _ = samples.recordings(first, recipe)
    assert {recording.root.resolve() for recording in training} == {first.resolve(), second.resolve()}
    drawn = samples.Samples(training, recipe, training=True)
    for _, labels, where in drawn.batches(1):
        assert len(where["recording"]) == 12
        assert (labels["va"] != -5).all(1).sum() == 6
        assert (labels["au"] != -1).any(1).sum() == 6
        assert (labels["au"] != -1).sum() == 6 * 17
    result = train.train(recipe, first, tmp_path / "run", progress=False)
    assert np.isfinite(result["score"])


def test_hard_co_annotation_with_eight_annotated_units_is_refused(data, unions, tmp_path):
    hard = replace(RECIPE, coupling={"co_annotation": 1.0})
    with pytest.raises(
        ModelError, match="annotated action units AU01, AU02, AU04, AU06, AU12, AU15, AU20, AU25 it can"
    ):
        train.train(hard, data, tmp_path / "eight", progress=False)
    result = train.train(replace(hard, stride=10), unions, tmp_path / "seventeen", progress=False)
    assert np.isfinite(result["score"])
    assert coupling.possible_expressions(AUS_2020) == ["happiness"]
    assert coupling.possible_expressions(AUS_UNION) == list(EXPRESSIONS[1:])


def test_facebehaviornets_submission_holds_the_challenges_eight_of_its_seventeen_units(data, tmp_path):
    train.train(RECIPE, data, tmp_path / "run", progress=False)
    predict.write_submission(tmp_path / "run" / "best.pt", data, tmp_path / "out")
    found = affwild2.read_au(tmp_path / "out" / "AU_Set" / "v0.txt")
    assert found.shape == (60, 8)
    one = predict.trained(tmp_path / "run" / "best.pt")
    (recording,) = [r for r in predict.unannotated(data, 8) if r.name == "v0"]
    raw = predict.outputs_of(one.network, one.recipe, recording)["au"]
    columns = [AUS_UNION.index(unit) for unit in AUS_2020]
    np.testing.assert_array_equal(found, raw[:, columns] > 0.5)
    result = evaluate.evaluate(tmp_path / "out", data, rounds=2)
    log = checkpoint.read(tmp_path / "run" / "best.pt")["history"][-1]
    assert result.scores["au_2020"][0] == pytest.approx(log["au_2020"], abs=0.1)


# 1(c) losses, schedules, dropout


def test_the_action_unit_loss_of_equation_5_is_the_sum_over_the_units():
    g = torch.Generator().manual_seed(0)
    logits, label = torch.randn(6, 8, generator=g), torch.randint(0, 2, (6, 8), generator=g)
    p, t = torch.sigmoid(logits).double().numpy(), label.numpy()
    expected = -(t * np.log(p) + (1 - t) * np.log(1 - p)).sum(1).mean()
    summed = losses.binary_cross_entropy(logits, label, over_units="sum")
    assert summed.item() == pytest.approx(expected, rel=1e-5)
    assert losses.binary_cross_entropy(logits, label).item() == pytest.approx(expected / 8, rel=1e-5)
    for name in ("mt-vgg", "mt-vgg-gru", "mt-vgg-gru-sound", "av-mt-vgg-gru"):
        assert recipes.read(name).au_loss == "sum"
    assert recipes.read("facebehaviornet").au_loss == "mean"  # equation 7 divides by the annotated units


def test_the_learning_rate_falls_exponentially_after_ten_epochs():
    recipe = recipes.read("affwildnet")
    rates = [train._rate(recipe, epoch) for epoch in (1, 10, 11, 12, 20)]
    assert rates[0] == rates[1] == 1e-4
    np.testing.assert_allclose(rates[2:], [1e-4 * recipe.decay**n for n in (1, 2, 10)])


def test_the_first_recurrent_layer_drops_with_the_papers_probability():
    for name in ("cnn-3rnn", "cnn-1rnn", "fusion-rnn", "fusion-fc", "fusion-decision"):
        network = models.create(name, width=2, fc=8)
        found = {m.dropout for m in network.modules() if isinstance(m, torch.nn.GRU) and m.num_layers == 2}
        assert found == {0.8}


def test_facebehaviornet_is_fine_tuned_on_a_few_compound_labels(data, tmp_path):
    """A drawn set of RAF-DB's eleven classes that follow the drawn expression, from a network trained without them."""
    root = tmp_path / "raf-db"
    synthetic.write(root, videos=2, seconds=2, validation=1)
    for path in sorted(root.glob("annotations/EXPR_Set/*/*.txt")):
        compound = affwild2.read_expression(path)
        affwild2.write_compound(root / "annotations" / "COMPOUND_Set" / path.parent.name / path.name, compound)
    options = {"width": 4, "fc": 64}
    train.train(replace(RECIPE, options=options), data, tmp_path / "without", progress=False)
    few = replace(
        recipes.read("facebehaviornet-compound"), options=options | {"compounds": 11}, epochs=6, batch=8,
        learning_rate=1e-3, workers=0, initial={"": str(tmp_path / "without" / "best.pt")},
    )  # fmt: skip
    result = train.train(few, root, tmp_path / "few", progress=False)
    losses_of = [row["loss"] for row in result["epochs"][1:]]
    assert losses_of[-1] < losses_of[0] - 0.1
    start = checkpoint.read(tmp_path / "without" / "best.pt")["state_dict"]["cnn.features.0.weight"]
    tuned = checkpoint.read(tmp_path / "few" / "best.pt")["state_dict"]["cnn.features.0.weight"]
    assert (tuned - start).abs().max() < 0.05  # it went on from there
    with pytest.raises(ModelError, match="the task compound needs facebehaviornet with options"):
        recipes.made({"network": "facebehaviornet", "score": "va", "tasks": {"va": 1, "compound": 1}}, "r.toml")


# Alignment


def test_five_point_alignment_moves_the_anchors_onto_a_frontal_face(data, tmp_path):
    points = synthetic.landmarks(0.2, 0.3, 0.0)
    turned = (points - 56) @ np.array([[0.9, 0.2], [-0.2, 0.9]]) + (60, 52)  # an affine motion of the whole face
    crop = np.zeros((112, 112, 3), np.uint8)
    for x, y in (turned[36:42].mean(0), turned[42:48].mean(0)):
        crop[round(y) - 2 : round(y) + 3, round(x) - 2 : round(x) + 3] = 255
    aligned = inputs.align_five_points(crop, turned)
    assert aligned.shape == (96, 96, 3)
    for (x, y), half in zip(np.array(inputs.FRONTAL[:2]) * 96, (slice(0, 48), slice(48, 96)), strict=True):
        rows, columns = np.nonzero(aligned[:, half, 0] > 128)
        assert abs(rows.mean() - y) < 4
        assert abs(columns.mean() + half.start - x) < 4
    unseen = inputs.align_five_points(crop, np.full((68, 2), np.nan))
    assert unseen.shape == (96, 96, 3)
    recipe = replace(RECIPE, network="mt-vgg", alignment="five-point", stride=12)
    result = train.train(recipe, data, tmp_path, progress=False)
    assert np.isfinite(result["score"])
    with pytest.raises(ModelError, match="alignment five-point is of mt-vgg, mt-vgg-gru, facebehaviornet; not of tsav"):
        recipes.made({"network": "tsav", "score": "va", "alignment": "five-point"}, "r.toml")


# 1(d) baselines


@pytest.mark.parametrize("name", ["vgg-face", "vgg-face-lstm", "resnet50"])
def test_the_baselines_of_table_ii_are_recipes_that_train(data, tmp_path, name):
    recipe = recipes.read(name)
    small = {} if name == "resnet50" else {"width": 2, "fc": 8}
    if name == "resnet50":  # one size only: a forward pass is enough
        network = models.create(recipe.network, **recipe.options).eval()
        assert network(torch.randn(1, 2, 3, 96, 96))["va"].shape == (1, 2, 2)
        return
    recipe = replace(recipe, options=recipe.options | small, sequence=20, stride=30, epochs=1, workers=0)
    assert np.isfinite(train.train(recipe, data, tmp_path, progress=False)["score"])


def test_the_lstms_state_can_be_carried_along_a_stream():
    network = models.create("affwildnet", width=2, fc=8, landmarks=False, recurrent="lstm").eval()
    image = torch.randn(1, 6, 3, 96, 96)
    with torch.no_grad():
        whole = network(image)
        first = network(image[:, :4])
        second = network(image[:, 4:], state=first["state"])
    assert whole["state"].shape == (1, network.state_layers, 128)
    torch.testing.assert_close(torch.cat((first["va"], second["va"]), dim=1), whole["va"])
    torch.testing.assert_close(second["state"], whole["state"])

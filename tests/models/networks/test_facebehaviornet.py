"""Relations between expressions and action units, the losses built on them, and compound expressions."""

import json

import numpy as np
import pytest
import torch
from golden import networks

from models import relations
from models.labels import AUS_UNION, COMPOUND_EXPRESSIONS, EMOTIONET_EXPRESSIONS, EXPRESSIONS
from models.training import coupling


@pytest.fixture(scope="module")
def arrays():
    return networks.load("facebehavior")


@pytest.fixture(scope="module")
def tensors(arrays):
    return {name: torch.from_numpy(array) for name, array in arrays.items() if array.ndim and array.dtype.kind == "f"}


def test_tables_are_the_published_ones(arrays):
    table = json.loads((networks.FOLDER / "facebehavior_table.json").read_text("utf-8"))
    assert tuple(table["emotion_order"]) == EXPRESSIONS == tuple(relations.BASIC)
    assert [f"AU{unit:02}" for unit in table["au_order"]] == list(AUS_UNION)
    order = [name.replace("_", " ") for name, _, _ in table["raf_db_compound_order"]]
    assert order == list(COMPOUND_EXPRESSIONS) == list(relations.COMPOUND)
    assert [tuple(row[1:]) for row in table["raf_db_compound_order"]] == list(relations.PAIRS.values())
    np.testing.assert_array_equal(relations.matrix(relations.BASIC), arrays["relation_basic"])
    np.testing.assert_array_equal(relations.matrix(relations.COMPOUND), arrays["relation_compound"])


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("dm_loss", {}),
        ("dm_loss_weighted", {"weighted": True}),
        ("dm_loss_binary", {"binary": True}),
        ("dm_loss_binary_weighted", {"weighted": True, "binary": True}),
    ],
)
def test_distribution_matching_is_the_published_loss(arrays, tensors, name, options):
    relation = tensors["relation_basic"]
    loss = coupling.distribution_matching(tensors["expr_logits"], tensors["au_logits"], relation, **options)
    if f"{name}_per_sample" in arrays:
        np.testing.assert_allclose(loss, arrays[f"{name}_per_sample"], atol=1e-9, rtol=0)
    np.testing.assert_allclose(loss.mean(), arrays[name], atol=1e-9, rtol=0)


def test_soft_co_annotation_is_the_published_loss(arrays, tensors):
    relation, labels = tensors["relation_basic"], tensors["au_labels"]
    np.testing.assert_allclose(coupling.soft_targets(labels, relation), arrays["soft_targets"], atol=1e-9, rtol=0)
    loss = coupling.soft_co_annotation(tensors["expr_logits"], labels, relation)
    np.testing.assert_allclose(loss, arrays["soft_ce_per_sample"], atol=1e-9, rtol=0)


def test_faces_without_action_unit_labels_cost_nothing(tensors):
    labels = torch.full((2, 17), -1.0, dtype=torch.float64)
    loss = coupling.soft_co_annotation(tensors["expr_logits"][:2], labels, tensors["relation_basic"])
    assert loss.tolist() == [0, 0]


def test_an_expression_labels_its_action_units(tensors):
    labels, weights = coupling.aus_of(torch.tensor([EXPRESSIONS.index("happiness"), 0, -1]), tensors["relation_basic"])
    happy = dict(zip(AUS_UNION, zip(labels[0].tolist(), weights[0].tolist(), strict=True), strict=True))
    assert happy["AU12"] == (1, 1)
    assert happy["AU06"] == (1, 0.51)
    assert happy["AU01"] == (-1, 0)
    assert (labels[1:] == -1).all()
    assert (weights[1:] == 0).all()


def test_action_units_label_the_expression_with_most_of_them(tensors):
    def face(*present):
        return [float(int(unit[2:]) in present) for unit in AUS_UNION]

    aus = torch.tensor([face(12, 25, 6), face(12, 25), face(1, 2, 25, 26, 5, 12, 6), face(), [-1.0] * 17])
    expected = [EXPRESSIONS.index("happiness"), -1, EXPRESSIONS.index("surprise"), -1, -1]
    assert coupling.expression_of(aus, tensors["relation_basic"]).tolist() == expected


def test_compound_scores_are_the_published_ones(arrays):
    valence = arrays["valence_arousal"][:, 0]
    scores = relations.compound_scores(arrays["expr_prob"], arrays["au_prob"], valence)
    np.testing.assert_allclose(scores, arrays["compound_score"], atol=1e-9, rtol=0)
    np.testing.assert_array_equal(scores.argmax(1), arrays["compound_argmax"])


def test_losses_are_finite_where_the_softmax_saturates(tensors):
    logits = tensors["expr_logits"].clone().requires_grad_()
    coupling.distribution_matching(logits * 100, tensors["au_logits"], tensors["relation_basic"]).mean().backward()
    assert torch.isfinite(logits.grad).all()


def test_emotionets_sixteen_classes_are_scored_without_training():
    """By an independent step, for every class; a smile with all its units and a pleasant valence is happiness."""
    classes = EMOTIONET_EXPRESSIONS
    assert len(classes) == 16
    assert sum(name in relations.BASIC for name in classes) == 6
    rng = np.random.default_rng(5)
    expression, au = rng.dirichlet(np.ones(7), 20), rng.random((20, 17))
    valence = rng.uniform(-1, 1, 20)
    scores = relations.compound_scores(expression, au, valence, classes)
    assert scores.shape == (20, 16)
    rows = relations.COMPOUND | relations.EMOTIONET | relations.BASIC
    mixed = relations.PAIRS | relations.EMOTIONET_PAIRS
    units = [int(name[2:]) for name in AUS_UNION]
    for column, name in enumerate(classes):
        table = {unit: weight for unit, weight in rows[name].items() if unit in units}
        shown = sum(weight * au[:, units.index(unit)] for unit, weight in table.items()) / sum(table.values())
        first, second = mixed.get(name, (name, name))
        expected = shown + expression[:, EXPRESSIONS.index(first)] + expression[:, EXPRESSIONS.index(second)]
        expected += (valence > 0) * (name in ("happiness", "happily surprised", "happily disgusted"))
        np.testing.assert_allclose(scores[:, column], expected)
    smile = np.isin(units, (6, 12, 25))[None].astype(float)
    best = relations.compound_scores(np.eye(7)[[EXPRESSIONS.index("happiness")]], smile, np.array([0.8]), classes)
    assert classes[best.argmax()] == "happiness"

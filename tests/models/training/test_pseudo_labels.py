"""Pseudo labels, augmentations and the drawn data set."""

import cv2
import numpy as np
import pytest

from models.labels import EXPRESSIONS
from models.training import affwild2, augment, synthetic
from models.training.pseudo_labels import BINS, Histograms, contradicts

ID = {name: i for i, name in enumerate(EXPRESSIONS)}


def test_contradicting_annotations_are_found():
    va = np.array([(-0.1, 0), (0.1, 0), (0.1, 0), (-0.1, 0), (0.4, 0.4), (0.3, 0.3), (-5, -5), (-0.1, 0), (-0.9, 0.9)])
    names = ["happiness", "happiness", "sadness", "sadness", "neutral", "neutral", "happiness", None, "fear"]
    expression = np.array([-1 if name is None else ID[name] for name in names])
    assert contradicts(va, expression).tolist() == [True, False, True, False, True, False, False, False, False]


def test_pseudo_valence_follows_the_expressions_histogram():
    rng = np.random.default_rng(0)
    va = np.clip(rng.normal((0.6, 0.2), 0.1, (4000, 2)), -1, 1)
    va = np.concatenate((va, -va, [(-5, -5)]))
    expression = np.repeat([ID["happiness"], ID["sadness"], ID["fear"]], (4000, 4000, 1))
    histograms = Histograms.of(va, expression)
    drawn = histograms.sample(np.full(4000, ID["happiness"]), rng)
    np.testing.assert_allclose(drawn.mean(0), (0.6, 0.2), atol=0.02)
    np.testing.assert_allclose(drawn.std(0), 0.1, atol=0.03)  # a bin is 0.1 wide
    none = histograms.sample(np.array([ID["fear"], -1]), rng)
    assert (none == -5).all()


def test_pseudo_expressions_are_shares_of_the_bin():
    happy, sad = ID["happiness"], ID["sadness"]
    histograms = Histograms.of(np.array([(0.51, 0.5)] * 4), np.array([happy, happy, happy, sad]))
    share = histograms.probabilities(np.array([(0.52, 0.51), (-0.9, -0.9), (-5.0, -5.0)]))
    assert share[0, happy] == 0.75
    assert share[0, sad] == 0.25
    assert (share[1:] == 0).all()
    edge = Histograms.of(np.array([(1.0, -1.0)]), np.array([happy]))
    assert edge.counts[happy, BINS - 1, 0] == 1


def test_a_mirrored_mask_is_the_mask_of_the_mirrored_face():
    points = synthetic.landmarks(0.4, 0.3, 0.5) + np.array((3, 0))
    mask = synthetic._mask(np.rint(points))
    mirrored = synthetic._mask(np.rint(augment.flip_landmarks(np.rint(points), 112)))
    flipped = augment.flip_masks(mask)
    assert set(np.unique(flipped)) == set(np.unique(mirrored))
    for grey in np.unique(mirrored):  # lines run the other way round, so that some pixels differ by one
        near = cv2.dilate((mirrored == grey).astype(np.uint8), np.ones((3, 3)))
        assert ((flipped == grey) <= (near > 0)).mean() == 1
    np.testing.assert_array_equal(augment.flip_masks(flipped), mask)


def test_augmentations_change_all_frames_of_a_clip_alike():
    frame = np.random.default_rng(0).integers(0, 256, (112, 112, 3), dtype=np.uint8)
    clip = np.stack([frame] * 8)
    for change in (augment.jitter_hsv, lambda x, rng: augment.crop(x, augment.MIMAMO_CROP, rng)):
        out = change(clip, np.random.default_rng(1))
        assert (out == out[0]).all()
        assert out.shape != clip.shape or (out != clip).any()
    assert augment.crop(clip, 0.85, np.random.default_rng(1)).shape == (8, 95, 95, 3)
    assert augment.jitter_colour(frame, np.random.default_rng(1)).shape == frame.shape
    np.testing.assert_array_equal(augment.flip(augment.flip(clip)), clip)


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    root = tmp_path_factory.mktemp("affwild2")
    synthetic.write(root, videos=3, seconds=2, validation=1)
    return root


def test_the_drawn_data_set_has_the_layout_of_affwild2(root):
    train = affwild2.read_annotations(root, "train")
    assert sorted(train) == ["t0", "t1_left", "t2_right"]
    assert list(affwild2.read_annotations(root, "validation")) == ["v0"]
    both = affwild2.read_multi_task(root / "annotations" / affwild2.MULTI_TASK["train"])
    for name, annotation in train.items():
        np.testing.assert_allclose(both[name].va, annotation.va, atol=1e-3)
        np.testing.assert_array_equal(both[name].au[3:, :4], annotation.au[3:, :4])
        assert len(annotation) == 60
        assert (annotation.va[:3] == -5).all()
        assert all(affwild2.picture(root / "cropped_aligned", name, i).is_file() for i in range(60))


def test_drawn_labels_follow_the_drawn_motion(root):
    motion = synthetic.Motion(np.array([0.9, -0.9]), np.array([1.0, 0.0]), np.array([0.0, 0.0]))
    va, expression, units = synthetic.labels(motion)
    assert va.tolist() == [[0.9, 1.0], [-0.9, -1.0]]
    assert [EXPRESSIONS[i] for i in expression] == ["happiness", "sadness"]
    assert units["AU12"].tolist() == [1, 0]
    smiling, frowning = synthetic.landmarks(1, 0, 0), synthetic.landmarks(-1, 0, 0)
    assert smiling[48, 1] < frowning[48, 1]  # the mouth's corner is higher

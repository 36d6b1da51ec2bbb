"""A network cut where its sound has been read gives the same with the sound and with what was made of it."""

import numpy as np
import pytest
from live_models import live_of, loaded

from engines import export, split
from engines.engine import SOUND_EMBEDDING
from engines.errors import EngineError
from engines.openvino import OpenVinoEngine


@pytest.fixture(scope="module")
def given():
    rng = np.random.default_rng(0)
    return {
        "clip": rng.integers(0, 256, (3, 8, 112, 112, 4), np.uint8),
        "sound": rng.standard_normal((3, 1, 64, 1001), np.float32),
    }


def test_a_kept_embedding_stands_for_the_sound(given):
    engine = loaded("tsav").engine
    assert isinstance(engine, split.SplitEngine)
    assert set(engine.inputs) == {"clip", "sound"}
    whole = engine(given)
    kept = {"clip": given["clip"], SOUND_EMBEDDING: whole[SOUND_EMBEDDING]}
    again = engine(kept)
    assert again.keys() == whole.keys() - {SOUND_EMBEDDING}
    for name, values in again.items():
        np.testing.assert_array_equal(values, whole[name])
    other = engine(kept | {SOUND_EMBEDDING: whole[SOUND_EMBEDDING][::-1].copy()})
    assert (other["valence_arousal"][0] != whole["valence_arousal"][0]).all()


def test_its_parts_together_are_the_whole(given, tmp_path):
    path = tmp_path / "tsav.onnx"
    export.write(live_of("tsav"), path)
    whole = OpenVinoEngine(path, threads=1, caching=False)(given)
    parts = split.opened(path, threads=1, caching=False)(given)
    assert parts.keys() == whole.keys()
    for name, values in whole.items():
        np.testing.assert_allclose(parts[name], values, atol=1e-4, rtol=1e-4)


def test_wrong_inputs_are_refused_with_a_sentence(given):
    for wrong in ({"clip": given["clip"]}, given | {"more": given["sound"]}):
        with pytest.raises(EngineError, match="takes the inputs"):
            loaded("tsav").engine(wrong)


def test_a_file_that_is_none_is_refused(tmp_path):
    path = tmp_path / "broken.onnx"
    path.write_bytes(b"nothing")
    with pytest.raises(EngineError, match=r"broken\.onnx"):
        split.opened(path)

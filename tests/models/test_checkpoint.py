"""Checkpoints are whole, safe, and say what is wrong with them."""

import os
import pickle

import pytest
import torch

import models
from models import checkpoint
from models.errors import CheckpointError


class RunsCode:
    """A pickle of this calls os.system when loaded."""

    def __init__(self, marker):
        self.marker = marker

    def __reduce__(self):
        return os.system, (f"touch {self.marker}",)


@pytest.fixture
def network():
    return models.create("mt-vgg-gru", width=2, fc=8)


@pytest.fixture
def file(tmp_path, network):
    path = tmp_path / "epochs" / "3.pt"
    checkpoint.save(path, {"state_dict": network.state_dict(), "epoch": 3})
    return path


def test_what_is_saved_is_loaded(file, network):
    other = checkpoint.load(models.create("mt-vgg-gru", width=2, fc=8), file)
    for key, value in network.state_dict().items():
        assert torch.equal(other.state_dict()[key], value)
    assert checkpoint.read(file)["epoch"] == 3


def test_weights_of_several_gpus_and_bare_state_dicts_load(tmp_path, network):
    path = tmp_path / "bare.pt"
    torch.save({f"module.{key}": value for key, value in network.state_dict().items()}, path)
    wanted = {key: value.clone() for key, value in network.state_dict().items()}
    with torch.no_grad():
        for value in network.parameters():
            value.zero_()
    checkpoint.load(network, path)
    assert all(torch.equal(value, wanted[key]) for key, value in network.state_dict().items())


def test_a_failed_save_leaves_the_old_file_and_nothing_else(file):
    before = file.read_bytes()
    with pytest.raises(AttributeError):  # a function inside a function cannot be pickled
        checkpoint.save(file, {"state_dict": lambda: None})
    assert file.read_bytes() == before
    assert os.listdir(file.parent) == ["3.pt"]


def test_wrong_keys_and_shapes_are_named(file):
    with pytest.raises(CheckpointError, match=r"3\.pt is not a checkpoint of TSAV: .* 344 missing \(audio_model"):
        checkpoint.load(models.create("tsav", width=2), file)
    with pytest.raises(CheckpointError, match=r"2 of another shape \(output.weight is \(17, 128\), not \(14,"):
        checkpoint.load(models.create("mt-vgg-gru", aus=5, width=2, fc=8), file)
    with pytest.raises(CheckpointError, match=r"of another shape .*, and \d+ more"):
        checkpoint.load(models.create("mt-vgg-gru", width=4, fc=8), file)


@pytest.mark.parametrize("dump", [torch.save, lambda content, path: path.write_bytes(pickle.dumps(content))])
def test_code_in_a_pickle_is_refused_and_not_run(tmp_path, dump):
    path, marker = tmp_path / "evil.pt", tmp_path / "ran"
    dump({"state_dict": {}, "extra": RunsCode(marker)}, path)
    with pytest.raises(CheckpointError, match=r"evil.pt is refused: .* could run code"):
        checkpoint.read(path)
    assert not marker.exists()


@pytest.mark.parametrize("keep", [0, 10, 0.5, 0.99])
def test_truncated_files_are_named(file, keep):
    content = file.read_bytes()
    file.write_bytes(content[: int(keep * len(content)) if keep < 1 else keep])
    with pytest.raises(CheckpointError, match=r"3\.pt .*truncated"):
        checkpoint.read(file)


def test_missing_files_other_content_and_bad_numbers_are_named(tmp_path, network):
    with pytest.raises(CheckpointError, match="There is no checkpoint"):
        checkpoint.read(tmp_path / "none.pt")
    path = tmp_path / "list.pt"
    torch.save([torch.zeros(1)], path)
    with pytest.raises(CheckpointError, match="holds a list"):
        checkpoint.read(path)
    torch.save({"weights": "elsewhere", "epoch": 1}, path)
    with pytest.raises(CheckpointError, match="holds no state_dict; its entries are: weights, epoch"):
        checkpoint.load(network, path)
    state = network.state_dict()
    state["output.bias"] = torch.full_like(state["output.bias"], torch.nan)
    checkpoint.save(path, {"state_dict": state})
    with pytest.raises(CheckpointError, match=r"NaN or infinite weights in output\.bias"):
        checkpoint.load(network, path)


def test_a_network_starts_from_the_parts_of_another(file, network):
    fusion = models.create("av-mt-vgg-gru", width=2, fc=8)
    assert checkpoint.load_part(fusion, "aural.", file) == len(network.state_dict()) - 2  # all but its output layer
    for key, value in network.state_dict().items():
        if not key.startswith("output"):
            assert torch.equal(fusion.state_dict()[f"aural.{key}"], value)
    assert not torch.equal(fusion.visual.fc1.weight, network.fc1.weight)
    with pytest.raises(CheckpointError, match=r"no weights in common with the part 'ears\.' of AVMTVGGGRU"):
        checkpoint.load_part(fusion, "ears.", file)


def test_the_first_convolution_takes_the_colours_and_keeps_its_own_mask_channel(tmp_path):
    """As the published TSAV starts from Kinetics: torchvision's keys under the video branch, three channels of four."""
    network = models.create("tsav", width=4)
    before = network.video_model.r2plus1d.stem[0].weight.detach().clone()
    prefix = "video_model.r2plus1d."
    state = {k.removeprefix(prefix): x + 1 for k, x in network.state_dict().items() if k.startswith(prefix)}
    state["stem.0.weight"] = state["stem.0.weight"][:, :3]
    state["fc.weight"] = torch.zeros(400, 8)  # Kinetics' classes, which are left out
    torch.save(state, tmp_path / "kinetics.pth")
    checkpoint.load_part(network, prefix, tmp_path / "kinetics.pth")
    after = network.video_model.r2plus1d.stem[0].weight.detach()
    torch.testing.assert_close(after[:, :3], before[:, :3] + 1)
    torch.testing.assert_close(after[:, 3:], before[:, 3:])

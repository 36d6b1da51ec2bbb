"""Published starting points load under the names that they are distributed with (files of their key lists, drawn)."""

import pytest
import torch

import models
from models import checkpoint
from models.errors import CheckpointError

CONVOLUTIONS = {1: 2, 2: 2, 3: 3, 4: 3, 5: 3}  # of VGG-16, by block
BRANCHES = {  # torchvision's Inception3, block by block
    "Mixed_5b": ("branch1x1", "branch5x5_1", "branch5x5_2", "branch3x3dbl_1", "branch3x3dbl_2", "branch3x3dbl_3",
                 "branch_pool"),
    "Mixed_6a": ("branch3x3", "branch3x3dbl_1", "branch3x3dbl_2", "branch3x3dbl_3"),
    "Mixed_6b": ("branch1x1", "branch7x7_1", "branch7x7_2", "branch7x7_3", "branch7x7dbl_1", "branch7x7dbl_2",
                 "branch7x7dbl_3", "branch7x7dbl_4", "branch7x7dbl_5", "branch_pool"),
}  # fmt: skip
PLACES = {"Conv2d_1a_3x3": 0, "Conv2d_2a_3x3": 1, "Conv2d_2b_3x3": 2, "Conv2d_3b_1x1": 4, "Conv2d_4a_3x3": 5}
MIXED = {"Mixed_5b": 7, "Mixed_5c": 8, "Mixed_5d": 9, "Mixed_6a": 10, "Mixed_6b": 11, "Mixed_6c": 12, "Mixed_6d": 13,
         "Mixed_6e": 14}  # fmt: skip
ENTRIES = ("conv.weight", "bn.weight", "bn.bias", "bn.running_mean", "bn.running_var", "bn.num_batches_tracked")


def vgg_keys(style):
    """The names of VGG-FACE's convolutions in the styles that its files come in, in order."""
    pairs = [(block, number) for block, count in CONVOLUTIONS.items() for number in range(1, count + 1)]
    places = (0, 2, 5, 7, 10, 12, 14, 17, 19, 21, 24, 26, 28)
    return {
        "caffe": [f"conv{block}_{number}" for block, number in pairs],
        "features": [f"features.conv_{block}_{number}" for block, number in pairs],
        "lua": [str(place) for place in places],
        "torchvision": [f"features.{place}" for place in places],
    }[style]


@pytest.mark.parametrize("style", ["caffe", "features", "lua", "torchvision"])
@pytest.mark.parametrize("name", ["mt-vgg", "facebehaviornet", "affwildnet", "cnn-3rnn"])
def test_vgg_face_starts_the_networks_built_on_it(tmp_path, style, name):
    network = models.create(name, width=2, fc=8)
    own = [value for key, value in network.cnn.state_dict().items() if key.endswith("weight")]
    state = {"fc6.weight": torch.zeros(3, 3), "classifier.0.weight": torch.zeros(3, 3)}
    for key, value in zip(vgg_keys(style), own, strict=True):
        state |= {f"{key}.weight": torch.full_like(value, 0.5), f"{key}.bias": torch.full((len(value),), 0.25)}
    torch.save(state, tmp_path / "vgg_face.pth")
    assert checkpoint.load_part(network, "cnn.", tmp_path / "vgg_face.pth") == 26
    for key, value in network.cnn.state_dict().items():
        assert (value == (0.5 if key.endswith("weight") else 0.25)).all()


def test_torchvisions_inception_starts_the_descriptors(tmp_path):
    network = models.create("descriptors")
    own = network.state_dict()
    places = PLACES | {f"{block}.{branch}": None for block in MIXED for branch in branches(block)}
    state = {"fc.weight": torch.zeros(1000, 2048), "AuxLogits.conv0.conv.weight": torch.zeros(128, 768, 1, 1)}
    for name, place in places.items():
        block, _, branch = name.partition(".")
        ours = str(place) if place is not None else f"{MIXED[block]}.{branch}"
        for entry in ENTRIES:
            state[f"{name}.{entry}"] = torch.full_like(own[f"backbone_CNN.{ours}.{entry}"], 3)
    torch.save(state, tmp_path / "inception_v3.pth")
    wanted = [key for key in own if key.startswith("backbone_CNN.")]
    assert checkpoint.load_part(network, "backbone_CNN.", tmp_path / "inception_v3.pth") == len(wanted)
    assert all((network.state_dict()[key] == 3).all() for key in wanted)


def branches(block):
    kind = {"Mixed_5c": "Mixed_5b", "Mixed_5d": "Mixed_5b", "Mixed_6c": "Mixed_6b", "Mixed_6d": "Mixed_6b",
            "Mixed_6e": "Mixed_6b"}.get(block, block)  # fmt: skip
    return BRANCHES[kind]


def test_torchvisions_resnet50_starts_affwildnets(tmp_path):
    network = models.create("affwildnet", backbone="resnet50", landmarks=False)
    own = network.cnn.state_dict()
    state = {"conv1.weight": torch.full((64, 3, 7, 7), 2.0), "fc.weight": torch.zeros(1000, 2048)}
    normal = ("weight", "bias", "running_mean", "running_var", "num_batches_tracked")
    state |= {f"bn1.{entry}": torch.full_like(own[f"conv1_7x7_s2_bn.{entry}"], 2) for entry in normal}
    ours = {"1": "1x1_reduce", "2": "3x3", "3": "1x1_increase"}
    for layer, blocks in enumerate((3, 4, 6, 3), start=1):
        for block in range(blocks):
            at, name = f"layer{layer}.{block}", f"conv{layer + 1}_{block + 1}"
            pairs = [(f"{at}.conv{i}", f"{at}.bn{i}", f"{name}_{part}") for i, part in ours.items()]
            pairs += [(f"{at}.downsample.0", f"{at}.downsample.1", f"{name}_1x1_proj")] if block == 0 else []
            for conv, bn, part in pairs:
                state[f"{conv}.weight"] = torch.full_like(own[f"{part}.weight"], 2)
                state |= {f"{bn}.{entry}": torch.full_like(own[f"{part}_bn.{entry}"], 2) for entry in normal}
    torch.save(state, tmp_path / "resnet50.pth")
    assert checkpoint.load_part(network, "cnn.", tmp_path / "resnet50.pth") == len(own)
    assert all((value == 2).all() for value in network.cnn.state_dict().values())


def test_a_sound_stem_of_one_channel_takes_the_mean_of_three_colours(tmp_path):
    """TSAV's aural stream starts from torchvision's ResNet18, whose names are ours."""
    network = models.create("tsav", width=4)
    state = dict(network.audio_model.resnet.state_dict())
    colours = torch.randn(4, 3, 7, 7, generator=torch.Generator().manual_seed(0))
    torch.save(state | {"conv1.weight": colours, "fc.weight": torch.zeros(1000, 32)}, tmp_path / "resnet18.pth")
    assert checkpoint.load_part(network, "audio_model.resnet.", tmp_path / "resnet18.pth") == len(state)
    torch.testing.assert_close(network.audio_model.resnet.conv1.weight, colours.mean(1, keepdim=True))


def test_the_video_stream_starts_from_three_colours_and_keeps_its_own_weights_of_the_mask(tmp_path):
    """torchvision's R(2+1)D-18 has our names; its first convolution reads no mask."""
    network = models.create("tsav", width=4)
    own = {key: value.clone() for key, value in network.video_model.r2plus1d.state_dict().items()}
    published = {key: torch.full_like(value, 2) for key, value in own.items()}
    published["stem.0.weight"] = published["stem.0.weight"][:, :3]
    torch.save(published | {"fc.weight": torch.zeros(400, 512)}, tmp_path / "r2plus1d_18.pth")
    assert checkpoint.load_part(network, "video_model.r2plus1d.", tmp_path / "r2plus1d_18.pth") == len(own)
    found = network.video_model.r2plus1d.state_dict()
    assert all((value == 2).all() for key, value in found.items() if key != "stem.0.weight")
    assert (found["stem.0.weight"][:, :3] == 2).all()
    assert torch.equal(found["stem.0.weight"][:, 3], own["stem.0.weight"][:, 3])


def test_a_file_of_another_network_is_refused_by_its_keys(tmp_path):
    torch.save({"encoder.layer.0.weight": torch.zeros(3)}, tmp_path / "bert.pth")
    with pytest.raises(
        CheckpointError, match=r"no weights in common with the part 'cnn\.' of MTVGG; its keys are: enco"
    ):
        checkpoint.load_part(models.create("mt-vgg", width=2, fc=8), "cnn.", tmp_path / "bert.pth")

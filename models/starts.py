"""Rename the weights of published starting points, so that a training run loads them as they are distributed.

VGG-FACE (Parkhi et al. 2015) is found under four sets of names: those of Caffe (`conv1_1`), of two conversions to
PyTorch (`conv_1_1`; numbers, from Lua Torch), and of torchvision's VGG-16 (`features.0`). InceptionV3 and ResNet50
are torchvision's; its ResNet18 and R(2+1)D-18 have our names already. Classifiers have no place in our networks and are
left out. torchvision's ResNet50 strides in the 3x3 convolution of a block, and ours, as Caffe's, in the first 1x1: its
weights are a start there and not the same function.
"""

import re
from collections.abc import Iterator

# Convolutions of VGG-16 in order, by block and number within it, and the index that each has among all layers.
_VGG = {(1, 1): 0, (1, 2): 2, (2, 1): 5, (2, 2): 7, (3, 1): 10, (3, 2): 12, (3, 3): 14, (4, 1): 17, (4, 2): 19,
        (4, 3): 21, (5, 1): 24, (5, 2): 26, (5, 3): 28}  # fmt: skip
# torchvision's Inception3 up to its 17x17 map, and the places in `models.networks.inception_v3.InceptionV3Trunk`.
_INCEPTION = {
    "Conv2d_1a_3x3": 0, "Conv2d_2a_3x3": 1, "Conv2d_2b_3x3": 2, "Conv2d_3b_1x1": 4, "Conv2d_4a_3x3": 5, "Mixed_5b": 7,
    "Mixed_5c": 8, "Mixed_5d": 9, "Mixed_6a": 10, "Mixed_6b": 11, "Mixed_6c": 12, "Mixed_6d": 13, "Mixed_6e": 14,
}  # fmt: skip
_BOTTLENECK = {
    "conv1": "1x1_reduce", "bn1": "1x1_reduce_bn", "conv2": "3x3", "bn2": "3x3_bn", "conv3": "1x1_increase",
    "bn3": "1x1_increase_bn", "downsample.0": "1x1_proj", "downsample.1": "1x1_proj_bn",
}  # fmt: skip


def names(key: str) -> Iterator[str]:
    """Yield `key` and the names that our networks may have for it, as their parts `cnn.` or `backbone_CNN.` name it."""
    yield key
    if found := re.fullmatch(r"(?:features\.)?conv_?(\d)_(\d)\.(weight|bias)", key):
        place = _VGG.get((int(found[1]), int(found[2])))
        if place is not None:
            yield f"features.{place}.{found[3]}"
    if (found := re.fullmatch(r"(\d+)\.(weight|bias)", key)) and int(found[1]) in _VGG.values():
        yield f"features.{key}"
    head, _, rest = key.partition(".")
    if head in _INCEPTION:
        yield f"{_INCEPTION[head]}.{rest}"
    if found := re.fullmatch(r"(conv1|bn1)\.(\w+)", key):
        yield f"conv1_7x7_s2{'_bn' if found[1] == 'bn1' else ''}.{found[2]}"
    if found := re.fullmatch(r"layer(\d)\.(\d+)\.(conv\d|bn\d|downsample\.\d)\.(\w+)", key):
        yield f"conv{int(found[1]) + 1}_{int(found[2]) + 1}_{_BOTTLENECK[found[3]]}.{found[4]}"

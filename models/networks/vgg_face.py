"""VGG-FACE's convolutional stack, which the networks of Kollias and Zafeiriou build on.

Parkhi, Vedaldi and Zisserman 2015, "Deep face recognition": VGG-16 without batch normalisation. Pictures are 96x96 RGB,
(x - 128) / 128.
"""

from torch import Tensor, nn

SIZE = 96  # pixels
WIDTH = 64  # planes of the first convolutions
# Multiples of the width; "pool" halves the picture. Names become features.0, features.2, ... as in torch's own VGG-16.
STACK = (1, 1, "pool", 2, 2, "pool", 4, 4, 4, "pool", 8, 8, 8, "pool", 8, 8, 8, "pool")


class VGGFace(nn.Module):
    """Run VGG-FACE's 13 convolutions: 14,714,688 parameters at the published width."""

    def __init__(self, width: int = WIDTH) -> None:
        """Take the planes of the first convolutions: 64 as published, or fewer to train on a laptop."""
        super().__init__()
        self.second_pool = 2 * width * (SIZE // 4) ** 2  # 128 x 24 x 24 = 73,728
        self.last_pool = 8 * width * (SIZE // 32) ** 2  # 512 x 3 x 3 = 4,608
        layers: list[nn.Module] = []
        planes_in = 3
        pools: list[int] = []
        for entry in STACK:
            if entry == "pool":
                layers.append(nn.MaxPool2d(2))
                pools.append(len(layers))
            else:
                planes = int(entry) * width
                convolution = nn.Conv2d(planes_in, planes, 3, padding=1)
                # He et al. 2015: without it, a signal does not get through 13 layers without batch normalisation.
                nn.init.kaiming_normal_(convolution.weight, nonlinearity="relu")
                layers += [convolution, nn.ReLU(inplace=True)]
                planes_in = planes
        self.through_second_pool = pools[1]
        self.features = nn.Sequential(*layers)

    def levels(self, image: Tensor) -> tuple[Tensor, Tensor]:
        """Return second pool (batch, 73728) and last pool (batch, 4608) of (batch, 3, 96, 96), channel first."""
        middle = self.features[: self.through_second_pool](image)
        last = self.features[self.through_second_pool :](middle)
        return middle.flatten(1), last.flatten(1)

    def forward(self, image: Tensor) -> Tensor:
        """Return the last pool (batch, 4608) of `image` (batch, 3, 96, 96)."""
        return self.levels(image)[1]

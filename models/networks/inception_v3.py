"""InceptionV3 up to its 768x17x17 map, the trunk of the emotional-descriptor network.

Szegedy et al. 2016, "Rethinking the Inception architecture for computer vision"; layers are numbered, and their
branches named, as in wtomin/ABAW3_MultiEmotionNet, which took torchvision's layers out of their model.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

SIZE = 299  # pixels
MEAN = (0.485, 0.456, 0.406)  # of RGB in 0..1 (ImageNet)
STD = (0.229, 0.224, 0.225)
PLANES = 768
BATCH_NORM_EPS = 1e-3


class Conv(nn.Module):
    """Apply a convolution, batch normalisation and ReLU."""

    def __init__(
        self, planes_in: int, planes: int, kernel: int | tuple[int, int], stride: int = 1, pad: bool = False
    ) -> None:
        """Make the layers; `pad` keeps the size of the map."""
        super().__init__()
        kernel = (kernel, kernel) if isinstance(kernel, int) else kernel
        padding = (kernel[0] // 2, kernel[1] // 2) if pad else (0, 0)
        self.conv = nn.Conv2d(planes_in, planes, kernel, stride, padding, bias=False)
        self.bn = nn.BatchNorm2d(planes, eps=BATCH_NORM_EPS)

    def forward(self, x: Tensor) -> Tensor:
        """Return (batch, planes, height, width) of `x` (batch, planes_in, height, width)."""
        return F.relu(self.bn(self.conv(x)), inplace=True)


class InceptionA(nn.Module):
    """Give 224 + `pool` planes of the same size."""

    def __init__(self, planes_in: int, pool: int) -> None:
        """Make the branches; `pool`: planes of the pooled one."""
        super().__init__()
        self.branch1x1 = Conv(planes_in, 64, 1)
        self.branch5x5_1 = Conv(planes_in, 48, 1)
        self.branch5x5_2 = Conv(48, 64, 5, pad=True)
        self.branch3x3dbl_1 = Conv(planes_in, 64, 1)
        self.branch3x3dbl_2 = Conv(64, 96, 3, pad=True)
        self.branch3x3dbl_3 = Conv(96, 96, 3, pad=True)
        self.branch_pool = Conv(planes_in, pool, 1)

    def forward(self, x: Tensor) -> Tensor:
        """Return the branches' outputs side by side, (batch, 224 + pool, height, width)."""
        five = self.branch5x5_2(self.branch5x5_1(x))
        three = self.branch3x3dbl_3(self.branch3x3dbl_2(self.branch3x3dbl_1(x)))
        pool = self.branch_pool(F.avg_pool2d(x, 3, stride=1, padding=1))
        return torch.cat((self.branch1x1(x), five, three, pool), dim=1)


class InceptionB(nn.Module):
    """Give 480 + `planes_in` planes of half the size."""

    def __init__(self, planes_in: int) -> None:
        """Make the branches."""
        super().__init__()
        self.branch3x3 = Conv(planes_in, 384, 3, stride=2)
        self.branch3x3dbl_1 = Conv(planes_in, 64, 1)
        self.branch3x3dbl_2 = Conv(64, 96, 3, pad=True)
        self.branch3x3dbl_3 = Conv(96, 96, 3, stride=2)

    def forward(self, x: Tensor) -> Tensor:
        """Return the branches' outputs side by side, (batch, 480 + planes_in, height / 2, width / 2)."""
        double = self.branch3x3dbl_3(self.branch3x3dbl_2(self.branch3x3dbl_1(x)))
        return torch.cat((self.branch3x3(x), double, F.max_pool2d(x, 3, stride=2)), dim=1)


class InceptionC(nn.Module):
    """Give 768 planes of the same size, through 7x7 convolutions split into 1x7 and 7x1 with `mid` planes."""

    def __init__(self, mid: int) -> None:
        """Make the branches."""
        super().__init__()
        row, column = (1, 7), (7, 1)
        self.branch1x1 = Conv(PLANES, 192, 1)
        self.branch7x7_1 = Conv(PLANES, mid, 1)
        self.branch7x7_2 = Conv(mid, mid, row, pad=True)
        self.branch7x7_3 = Conv(mid, 192, column, pad=True)
        self.branch7x7dbl_1 = Conv(PLANES, mid, 1)
        self.branch7x7dbl_2 = Conv(mid, mid, column, pad=True)
        self.branch7x7dbl_3 = Conv(mid, mid, row, pad=True)
        self.branch7x7dbl_4 = Conv(mid, mid, column, pad=True)
        self.branch7x7dbl_5 = Conv(mid, 192, row, pad=True)
        self.branch_pool = Conv(PLANES, 192, 1)

    def forward(self, x: Tensor) -> Tensor:
        """Return the branches' outputs side by side, (batch, 768, height, width)."""
        seven = self.branch7x7_3(self.branch7x7_2(self.branch7x7_1(x)))
        double = self.branch7x7dbl_3(self.branch7x7dbl_2(self.branch7x7dbl_1(x)))
        double = self.branch7x7dbl_5(self.branch7x7dbl_4(double))
        pool = self.branch_pool(F.avg_pool2d(x, 3, stride=1, padding=1))
        return torch.cat((self.branch1x1(x), seven, double, pool), dim=1)


class InceptionV3Trunk(nn.Sequential):
    """Turn (batch, 3, 299, 299) into (batch, 768, 17, 17); 8,965,856 parameters. Pictures from 75 pixels work too."""

    def __init__(self) -> None:
        """Make the layers in torchvision's order."""
        super().__init__(
            Conv(3, 32, 3, stride=2),  # (32, 149, 149)
            Conv(32, 32, 3),
            Conv(32, 64, 3, pad=True),  # (64, 147, 147)
            nn.MaxPool2d(3, stride=2),
            Conv(64, 80, 1),  # (80, 73, 73)
            Conv(80, 192, 3),
            nn.MaxPool2d(3, stride=2),  # (192, 35, 35)
            InceptionA(192, pool=32),
            InceptionA(256, pool=64),
            InceptionA(288, pool=64),  # (288, 35, 35)
            InceptionB(288),  # (768, 17, 17)
            InceptionC(mid=128),
            InceptionC(mid=160),
            InceptionC(mid=160),
            InceptionC(mid=192),
        )

"""ResNet50 for faces: trained on VGGFace2, then on FER+; the appearance features of MIMAMO Net.

Albanie et al. 2018, "Emotion recognition in speech using cross-modal transfer in the wild"; layer names are those of
its MatConvNet model. Unlike torch's ResNet50, the stride sits in the first 1x1 convolution of a stage (as in Caffe),
and the first pooling has no padding and rounds up.
"""

import torch.nn.functional as F
from torch import Tensor, nn

MEAN_RGB = (131.0912, 103.8827, 91.4953)  # subtracted from RGB in 0..255; not divided by anything
BLOCKS = {2: 3, 3: 4, 4: 6, 5: 3}  # stage: blocks
FEATURES = 2048
CLASSES = 8  # FER+


class FaceResNet50(nn.Module):
    """Run the trunk of the network; blocks are registered flat because the published names are."""

    def __init__(self) -> None:
        """Make the layers."""
        super().__init__()
        self._conv("conv1_7x7_s2", 3, 64, 7, stride=2, padding=3)
        planes_in = 64
        for stage, blocks in BLOCKS.items():
            mid = 64 * 2 ** (stage - 2)
            for block in range(1, blocks + 1):
                name, stride = f"conv{stage}_{block}", 2 if stage > 2 and block == 1 else 1
                self._conv(f"{name}_1x1_reduce", planes_in, mid, 1, stride=stride)
                self._conv(f"{name}_3x3", mid, mid, 3, padding=1)
                self._conv(f"{name}_1x1_increase", mid, 4 * mid, 1)
                if block == 1:
                    self._conv(f"{name}_1x1_proj", planes_in, 4 * mid, 1, stride=stride)
                planes_in = 4 * mid

    def _conv(self, name: str, planes_in: int, planes: int, kernel: int, stride: int = 1, padding: int = 0) -> None:
        self.add_module(name, nn.Conv2d(planes_in, planes, kernel, stride, padding, bias=False))
        self.add_module(f"{name}_bn", nn.BatchNorm2d(planes))

    def _apply_conv(self, name: str, x: Tensor) -> Tensor:
        out: Tensor = getattr(self, f"{name}_bn")(getattr(self, name)(x))
        return out

    def features(self, image: Tensor) -> Tensor:
        """Return features (batch, 2048) of `image` (batch, 3, 224, 224), or of another size."""
        x = F.relu(self._apply_conv("conv1_7x7_s2", image))
        x = F.max_pool2d(x, 3, stride=2, ceil_mode=True)  # (batch, 64, 56, 56)
        for stage, blocks in BLOCKS.items():
            for block in range(1, blocks + 1):
                name = f"conv{stage}_{block}"
                shortcut = self._apply_conv(f"{name}_1x1_proj", x) if block == 1 else x
                x = F.relu(self._apply_conv(f"{name}_1x1_reduce", x))
                x = F.relu(self._apply_conv(f"{name}_3x3", x))
                x = F.relu(self._apply_conv(f"{name}_1x1_increase", x) + shortcut)
        return x.mean((2, 3))  # (batch, 2048, 7, 7) before


class FerPlusResNet50(FaceResNet50):
    """Run the trunk with its FER+ classifier; 23,524,424 parameters."""

    def __init__(self) -> None:
        """Make the layers."""
        super().__init__()
        self.classifier = nn.Conv2d(FEATURES, CLASSES, 1)

    def forward(self, image: Tensor) -> dict[str, Tensor]:
        """Return `features` (batch, 2048), which MIMAMO Net reads, and `expression` (batch, 8), the FER+ logits.

        `image`: (batch, 3, 224, 224) float32, RGB in 0..255 less `MEAN_RGB`: the face resized to 256, its middle.
        """
        features = self.features(image)
        return {"features": features, "expression": self.classifier(features[..., None, None]).flatten(1)}

"""FaceBehaviorNet: valence-arousal, 7 expressions and 17 action units of one face.

Kollias and Zafeiriou 2021, VI-B: MT-VGG with the action units of all its training sets, trained with the coupling
losses of `models.training.coupling`. Compound expressions follow from its outputs without training:
`models.relations.compound_scores`.
"""

import torch.nn.functional as F
from torch import Tensor, nn

from models.labels import AUS_UNION
from models.networks.mt_vgg import FC, MTVGG, by_task
from models.networks.vgg_face import WIDTH


class FaceBehaviorNet(MTVGG):
    """Give MT-VGG's outputs with `au` (batch, 17); 50,480,986 parameters without compound expressions."""

    def __init__(self, width: int = WIDTH, fc: int = FC, compounds: int = 0) -> None:
        """Take the widths of the first convolutions and of the dense layers, and the number of `compounds`.

        With `compounds` (11 of RAF-DB) the network has one more output layer, for few-shot fine-tuning.
        """
        super().__init__(len(AUS_UNION), width, fc)
        self.compound = nn.Linear(fc, compounds) if compounds else None

    def forward(self, image: Tensor) -> dict[str, Tensor]:
        """Return `va` (batch, 2), `expression` (batch, 7), `au` (batch, 17) and, with them, `compound`, all raw.

        `image`: (batch, 3, 96, 96) float32, RGB, (x - 128) / 128.
        """
        x = self.dropout(F.relu(self.fc1(self.cnn(image))))
        x = self.dropout(F.relu(self.fc2(x)))
        outputs = by_task(self.output(x))
        return outputs if self.compound is None else outputs | {"compound": self.compound(x)}

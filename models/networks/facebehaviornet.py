"""FaceBehaviorNet: valence-arousal, 7 expressions and 17 action units of one face.

Kollias and Zafeiriou 2021, VI-B: MT-VGG with the action units of all its training sets, trained with the coupling
losses of `models.training.coupling`. Compound expressions follow from its outputs without training:
`models.relations.compound_scores`.
"""

from models.labels import AUS_UNION
from models.networks.mt_vgg import FC, MTVGG
from models.networks.vgg_face import WIDTH


class FaceBehaviorNet(MTVGG):
    """Give MT-VGG's outputs with `au` (batch, 17); 50,480,986 parameters."""

    def __init__(self, width: int = WIDTH, fc: int = FC) -> None:
        """Take the widths of the first convolutions and of the dense layers."""
        super().__init__(len(AUS_UNION), width, fc)

"""The live form of each network, which is what gets exported: pictures as bytes in, outputs by the names that the
adapters read, and what a stream carries from frame to frame as an explicit input `state` and output `next_state`.

A state of zeros starts a track. Outputs are `valence_arousal` (batch, 2), `expression` logits (batch, 7 or 8) and
`aus` logits (batch, units), as far as the network gives them. Needs torch; imported by `engines.papers.export` alone.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from engines.engine import SOUND_EMBEDDING
from models import registry
from models.networks import descriptors, ferplus_resnet50, inception_v3, mimamo, phase, tsav, vgg_face
from models.networks.affwildnet import LANDMARKS, AffWildNet
from models.networks.gru import UNITS
from models.networks.mt_vgg import AVMTVGGGRU
from models.training import inputs

STATE, NEXT_STATE = "state", "next_state"
EMBEDDINGS = descriptors.LABELLED + 1  # that the descriptors' running means hold: the units', and the pooled one
MIMAMO_RESIZED = 256  # pixels, of which the middle is read
MIMAMO_PICTURE = 224
_SHUT = 100.0  # an update gate's logit that holds the state exactly, in float32 and bfloat16
_SURE = 1e-6  # probabilities are kept this far from 0 and 1 before they become logits

Outputs = dict[str, Tensor]


@dataclass(frozen=True)
class LiveNetwork:
    """A module whose arguments are `inputs`, by name and in order (a batch of 2), and whose outputs are a dict."""

    module: nn.Module
    inputs: dict[str, Tensor]


def live_network(name: str, networks: Mapping[str, nn.Module]) -> LiveNetwork:
    """The live form of the model `name` in evaluation mode, made of that network and any others it builds on."""
    row = registry.row(name)
    form, example_inputs = registry.resolve(row.live), registry.resolve(row.live_inputs)
    return LiveNetwork(form(*networks.values()).eval(), example_inputs(networks[name]))


class Swapped(nn.Module):
    """A network whose checkpoint holds arousal before valence, the right way round."""

    def __init__(self, live: nn.Module) -> None:
        super().__init__()
        self.live = live

    def forward(self, *given: Tensor) -> Outputs:
        outputs: Outputs = self.live(*given)
        return outputs | {"valence_arousal": outputs["valence_arousal"].flip(1)}


class _Picture(nn.Module):
    """(batch, ..., height, width, channels) bytes -> (batch, ..., channels, height, width), normalised."""

    mean: Tensor
    std: Tensor

    def __init__(self, mean: tuple[float, ...], std: tuple[float, ...], scale: float = 1.0) -> None:
        super().__init__()
        self.scale = scale
        self.register_buffer("mean", torch.tensor(mean))
        self.register_buffer("std", torch.tensor(std))

    def forward(self, picture: Tensor) -> Tensor:
        x = (picture.float() / self.scale - self.mean) / self.std
        return x.movedim(x.dim() - 1, x.dim() - 3)  # the exporter takes no axes that are counted from the end


def _vgg_picture() -> _Picture:
    return _Picture((128.0,) * 3, (128.0,) * 3)


class LiveTSAV(nn.Module):
    """TSAV on a clip of 8 faces with their masks, oldest first, and 10 s of sound; what it made of the sound goes out
    too, because it may be used again (`engines.split`).
    """

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        assert isinstance(network, tsav.TSAV)
        self.network = network
        self.picture = _Picture(inputs.CLIP_MEAN, inputs.CLIP_STD, 255.0)

    def forward(self, clip: Tensor, sound: Tensor) -> Outputs:
        heard = self.network.audio_model(sound)
        out = self.network.fused(heard, self.network.video_model(self.picture(clip).transpose(1, 2)))
        tasks = {"expression": out[:, tsav.EXPRESSION], "valence_arousal": out[:, tsav.VA], "aus": out[:, tsav.AU]}
        return tasks | {SOUND_EMBEDDING: heard}


class LiveFace(nn.Module):
    """MT-VGG and FaceBehaviorNet: one face."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network
        self.picture = _vgg_picture()

    def forward(self, face: Tensor) -> Outputs:
        return _named(self.network(self.picture(face)))


class LiveRecurrent(nn.Module):
    """The VGG family's recurrent networks: one frame, with what goes with it, and the state of the frame before."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network
        self.picture = _vgg_picture()

    def forward(self, face: Tensor, *more: Tensor) -> Outputs:
        *beside, state = more  # landmarks, or the picture of the sound, or nothing
        steps = [x[:, None] for x in (self.picture(face), *beside)]
        outputs = self.network(*steps, state=state)
        return _named({name: x if name == STATE else x[:, 0] for name, x in outputs.items()})


class LiveDescriptors(nn.Module):
    """The descriptors with their embeddings averaged over time, as in the published temporal variant."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network
        self.picture = _Picture(inception_v3.MEAN, inception_v3.STD, 255.0)

    def forward(self, face: Tensor, keep: Tensor, state: Tensor) -> Outputs:
        """`keep` (batch, 2): share of the old mean that stays, of the units' embeddings and of the pooled one."""
        outputs, state = _remembering(self.network, self.picture(face), keep, state)
        return _named(outputs) | {NEXT_STATE: state}


class LiveEnsemble(nn.Module):
    """Two descriptors, of the face with its surroundings and of the aligned face, each with its own running means."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network
        self.picture = _Picture(inception_v3.MEAN, inception_v3.STD, 255.0)

    def forward(self, context: Tensor, face: Tensor, keep: Tensor, state: Tensor) -> Outputs:
        assert isinstance(self.network, descriptors.DescriptorsEnsemble)
        networks = (self.network.context, self.network.aligned)
        fused: Outputs = {}
        states = []
        for i, (network, picture) in enumerate(zip(networks, (context, face), strict=True)):
            out, one = _remembering(network, self.picture(picture), keep, state[:, i])
            states.append(one)
            shares = {"au": out["au"].sigmoid(), "expression": out["expression"].softmax(-1), "va": out["va"]}
            for task, share in shares.items():
                share = share * self.network.weights[i]
                fused[task] = fused[task] + share if task in fused else share
        # Back to logits, which is what every model gives.
        fused["expression"] = fused["expression"].clamp(min=_SURE).log()
        fused["au"] = torch.logit(fused["au"], eps=_SURE)
        return _named(fused) | {NEXT_STATE: torch.stack(states, dim=1)}


class LiveMIMAMO(nn.Module):
    """MIMAMO Net on the newest of the trailing 64 frames.

    Its recurrent layers read both ways, so they run anew over the window at each frame. What they read of a frame
    depends on that frame alone and is the `state`: (batch, 63, 257), the last number of each row 1 where there was a
    frame. Where there was none the update gates are held shut, so that a short window starts from zero like any other.
    A network made with `legacy_axis` recurs over the batch, of which a stream has one: each frame stands alone.
    """

    def __init__(self, network: nn.Module, appearance: nn.Module) -> None:
        super().__init__()
        assert isinstance(network, mimamo.MIMAMO)
        self.network = network
        self.appearance = appearance
        self.alone = not network.rnns.batch_first
        self.picture = _Picture(ferplus_resnet50.MEAN_RGB, (1.0,) * 3)
        self.layers = nn.ModuleList(_GatedLayer(network.rnns, layer) for layer in range(network.rnns.num_layers))

    def forward(self, face: Tensor, phase_0: Tensor, phase_1: Tensor, state: Tensor) -> Outputs:
        picture = F.interpolate(self.picture(face), (MIMAMO_RESIZED,) * 2, mode="bilinear", align_corners=False)
        edge = (MIMAMO_RESIZED - MIMAMO_PICTURE) // 2
        picture = picture[..., edge:-edge, edge:-edge]
        features = self.appearance(picture)["features"]
        assert isinstance(self.network, mimamo.MIMAMO)
        transformed = self.network.transformed(phase_0[:, None], phase_1[:, None], features[:, None])
        newest = torch.cat((transformed, torch.ones_like(transformed[..., :1])), dim=2)
        window = torch.cat((torch.zeros_like(state) if self.alone else state, newest), dim=1)  # (batch, 64, 257)
        x, absent = window[..., :-1], 1 - window[..., -1:]
        for layer in self.layers:
            x = layer(torch.cat((x, absent), dim=2))
        return {"valence_arousal": self.network.classifier(x[:, -1]), NEXT_STATE: window[:, 1:]}


class _GatedLayer(nn.Module):
    """One layer of `rnn` with one more input, which shuts the update gate where it is 1."""

    def __init__(self, rnn: nn.GRU, layer: int) -> None:
        super().__init__()
        width = rnn.input_size if layer == 0 else rnn.hidden_size * (1 + rnn.bidirectional)
        self.rnn = nn.GRU(width + 1, rnn.hidden_size, batch_first=True, bidirectional=rnn.bidirectional)
        gate = torch.zeros(3 * rnn.hidden_size, 1)
        gate[rnn.hidden_size : 2 * rnn.hidden_size] = _SHUT  # torch's order: reset, update, new
        state = {}
        for key in self.rnn.state_dict():
            weight = getattr(rnn, key.replace("_l0", f"_l{layer}")).detach()
            state[key] = torch.cat((weight, gate), dim=1) if key.startswith("weight_ih") else weight
        self.rnn.load_state_dict(state)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.rnn(x)[0]
        return out


def _remembering(network: nn.Module, picture: Tensor, keep: Tensor, state: Tensor) -> tuple[Outputs, Tensor]:
    """Outputs of the running means of a `Descriptors`' embeddings, and these means (batch, 13, 16)."""
    assert isinstance(network, descriptors.Descriptors)
    new = network.embeddings(picture)
    shares = torch.cat((keep[:, :1].expand(-1, descriptors.LABELLED), keep[:, 1:]), dim=1)[..., None]
    state = shares * state + (1 - shares) * torch.cat((new["au"], new["va"][:, None]), dim=1)
    units, pooled = state[:, :-1], state[:, -1]
    outputs = network.classify({"au": units, "expression": pooled, "va": pooled})
    # As one product, because OpenVINO 2026.4 fuses the classifier's multiplication, sum and bias into wrong numbers.
    classifier = network.emotion_classifiers[0]
    assert isinstance(classifier, descriptors.PerUnitClassifier)
    own = classifier.fc
    outputs["au"] = torch.einsum("bij,ij->bi", units, own.weight) + own.bias
    return outputs, state


def _named(outputs: Outputs) -> Outputs:
    """By the names that adapters and the verification of engines know."""
    names = {"va": "valence_arousal", "au": "aus", STATE: NEXT_STATE}
    return {names.get(name, name): x for name, x in outputs.items()}


def _bytes(*shape: int) -> Tensor:
    return torch.zeros(2, *shape, dtype=torch.uint8)


def tsav_inputs(network: nn.Module) -> Outputs:
    return {"clip": _bytes(inputs.CLIP_FRAMES, 112, 112, 4), "sound": torch.zeros(2, 1, 64, inputs.MEL_COLUMNS)}


def face_inputs(network: nn.Module) -> Outputs:
    return {"face": _bytes(vgg_face.SIZE, vgg_face.SIZE, 3)}


def recurrent_inputs(network: nn.Module) -> Outputs:
    given = face_inputs(network)
    if isinstance(network, AVMTVGGGRU):
        given["sound"] = torch.zeros(2, 3, vgg_face.SIZE, vgg_face.SIZE)
    layers = network.state_layers
    assert isinstance(layers, int)
    return given | {STATE: torch.zeros(2, layers, UNITS)}


def landmark_inputs(network: nn.Module) -> Outputs:
    given = recurrent_inputs(network)
    state = given.pop(STATE)
    if not (isinstance(network, AffWildNet) and not network.landmarks):
        given["landmarks"] = torch.zeros(2, LANDMARKS)
    return given | {STATE: state}


def descriptor_inputs(network: nn.Module) -> Outputs:
    face = _bytes(inception_v3.SIZE, inception_v3.SIZE, 3)
    return {"face": face, "keep": torch.zeros(2, 2), STATE: torch.zeros(2, EMBEDDINGS, descriptors.WIDTH)}


def ensemble_inputs(network: nn.Module) -> Outputs:
    one = descriptor_inputs(network)
    return {"context": one["face"], **one, STATE: torch.zeros(2, 2, EMBEDDINGS, descriptors.WIDTH)}


def mimamo_inputs(network: nn.Module) -> Outputs:
    channels, size = 2 * (phase.FRAMES - 1), phase.SIZE
    return {
        "face": _bytes(112, 112, 3),
        "phase_0": torch.zeros(2, channels, size, size),
        "phase_1": torch.zeros(2, channels, size // 2, size // 2),
        STATE: torch.zeros(2, mimamo.SEQUENCE - 1, 256 + 1),
    }

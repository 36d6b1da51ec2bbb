"""The live form of each network, which is exported: it takes pictures as bytes and names the outputs for adapters.

What a stream carries from frame to frame is an explicit input `state` and output `next_state`; a state of zeros starts
a track. Outputs are `valence_arousal` (batch, 2), `expression` logits (batch, 7 or 8) and `aus` logits (batch, units),
as far as the network gives them. Only `engines.papers.export` imports this file; it needs PyTorch.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from engines.engine import SOUND_EMBEDDING
from models import registry
from models.errors import ModelError
from models.networks import descriptors, ferplus_resnet50, inception_v3, mimamo, phase, tsav, vgg_face
from models.networks.affwildnet import LANDMARKS, AffWildNet
from models.networks.gru import UNITS
from models.networks.mt_vgg import AVMTVGGGRU
from models.training import inputs

STATE, NEXT_STATE = "state", "next_state"
EMBEDDINGS = descriptors.LABELLED + 1  # running means of the descriptors: one for each unit, and the pooled one
MIMAMO_RESIZED = 256  # pixels of the resized picture, whose middle is read
MIMAMO_PICTURE = 224
_SHUT = 100.0  # a logit of an update gate that keeps the state exactly, in float32 and bfloat16
_SURE = 1e-6  # least distance of a probability from 0 and 1 before it becomes a logit

Outputs = dict[str, Tensor]


@dataclass(frozen=True)
class LiveNetwork:
    """Hold a module and example inputs, by name in the order of its arguments (a batch of 2); it gives a dict."""

    module: nn.Module
    inputs: dict[str, Tensor]


def live_network(name: str, networks: Mapping[str, nn.Module]) -> LiveNetwork:
    """Return the live form of the model `name` in evaluation mode, made of the `networks` of its parts in their order.

    Raise `ModelError` if there is no model of that name.
    """
    row = registry.row(name)
    form, example_inputs = registry.resolve(row.live), registry.resolve(row.live_inputs)
    return LiveNetwork(form(*networks.values()).eval(), example_inputs(networks[name]))


class Swapped(nn.Module):
    """Give valence before arousal for a network whose checkpoint has them the other way round."""

    def __init__(self, live: nn.Module) -> None:
        super().__init__()
        self.live = live

    def forward(self, *given: Tensor) -> Outputs:
        """Return the network's outputs with valence and arousal exchanged."""
        outputs: Outputs = self.live(*given)
        return outputs | {"valence_arousal": outputs["valence_arousal"].flip(1)}


class _Picture(nn.Module):
    """Normalise uint8 (batch, ..., height, width, channels) to float (batch, ..., channels, height, width)."""

    mean: Tensor
    std: Tensor

    def __init__(self, mean: tuple[float, ...], std: tuple[float, ...], scale: float = 1.0) -> None:
        super().__init__()
        self.scale = scale
        self.register_buffer("mean", torch.tensor(mean))
        self.register_buffer("std", torch.tensor(std))

    def forward(self, picture: Tensor) -> Tensor:
        x = (picture.float() / self.scale - self.mean) / self.std
        return x.movedim(x.dim() - 1, x.dim() - 3)  # the exporter does not take negative axes


def _vgg_picture() -> _Picture:
    """Return the normalisation of the VGG family."""
    return _Picture((128.0,) * 3, (128.0,) * 3)


class LiveTSAV(nn.Module):
    """Run TSAV on a clip of 8 faces with their masks, oldest first, and on 10 s of sound.

    The embedding of the sound is an output too, because it may be given back later (`engines.split`).
    """

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        assert isinstance(network, tsav.TSAV)
        if not network.mask or network.streams != "both":
            raise ModelError("TSAV without its mask or one of its streams is trained and scored; live runs the whole.")
        self.network = network
        self.picture = _Picture(inputs.CLIP_MEAN, inputs.CLIP_STD, 255.0)

    def forward(self, clip: Tensor, sound: Tensor) -> Outputs:
        """Return the outputs for `clip` (batch, 8, 112, 112, 4) uint8 and `sound` (batch, 1, 64, columns)."""
        heard = self.network.audio_model(sound)
        out = self.network.fused(heard, self.network.video_model(self.picture(clip).transpose(1, 2)))
        tasks = {"expression": out[:, tsav.EXPRESSION], "valence_arousal": out[:, tsav.VA], "aus": out[:, tsav.AU]}
        return tasks | {SOUND_EMBEDDING: heard}


class LiveFace(nn.Module):
    """Run MT-VGG or FaceBehaviorNet, which read one face."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network
        self.picture = _vgg_picture()

    def forward(self, face: Tensor) -> Outputs:
        """Return the outputs for `face` (batch, 96, 96, 3) uint8."""
        return _named(self.network(self.picture(face)))


class LiveRecurrent(nn.Module):
    """Run a recurrent network of the VGG family on one frame and the state after the frame before."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network
        self.picture = _vgg_picture()

    def forward(self, face: Tensor, *more: Tensor) -> Outputs:
        """Return the outputs for `face` (batch, 96, 96, 3) uint8.

        `more` is the state, after landmarks or a picture of the sound where the network reads them.
        """
        *beside, state = more
        steps = [x[:, None] for x in (self.picture(face), *beside)]
        outputs = self.network(*steps, state=state)
        return _named({name: x if name == STATE else x[:, 0] for name, x in outputs.items()})


class LiveDescriptors(nn.Module):
    """Run the descriptors with embeddings averaged over time, as in the published temporal variant."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network
        self.picture = _Picture(inception_v3.MEAN, inception_v3.STD, 255.0)

    def forward(self, face: Tensor, keep: Tensor, state: Tensor) -> Outputs:
        """Return the outputs for `face` (batch, 299, 299, 3) uint8, read from running means of the embeddings.

        `keep` (batch, 2) is the share of the old means that stays: of the units' embeddings, and of the pooled one.
        """
        outputs, state = _remembering(self.network, self.picture(face), keep, state)
        return _named(outputs) | {NEXT_STATE: state}


class LiveEnsemble(nn.Module):
    """Run two descriptors, of the face with its surroundings and of the aligned face, each with its running means."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network
        self.picture = _Picture(inception_v3.MEAN, inception_v3.STD, 255.0)

    def forward(self, context: Tensor, face: Tensor, keep: Tensor, state: Tensor) -> Outputs:
        """Return the fused outputs for two pictures, the shares of the means to `keep`, and the means (`state`)."""
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
        # The fused probabilities become logits again, because every model gives logits.
        fused["expression"] = fused["expression"].clamp(min=_SURE).log()
        fused["au"] = torch.logit(fused["au"], eps=_SURE)
        return _named(fused) | {NEXT_STATE: torch.stack(states, dim=1)}


class LiveMIMAMO(nn.Module):
    """Run MIMAMO Net on the newest of the trailing 64 frames.

    Its recurrent layers read in both directions, so that they run over the whole window at each frame. Their input from
    each earlier frame depends on that frame alone and is kept as the `state` (batch, 63, 257); the last number of each
    row is 1 where there was a frame. Where there was none, the update gates keep the recurrent state unchanged, so that
    a short window starts from zero as a full one does. A network made with `legacy_axis` recurs over the batch, which
    is one sample in a stream, so that it reads each frame alone.
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
        """Return the outputs for `face` (batch, 112, 112, 3) uint8, phase differences at two scales, and the state."""
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
    """Run one layer of `rnn` with an additional input, which keeps the layer's state unchanged where it is 1."""

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
    """Return a `Descriptors`' outputs for the running means of its embeddings, and these means (batch, 13, 16)."""
    assert isinstance(network, descriptors.Descriptors)
    new = network.embeddings(picture)
    shares = torch.cat((keep[:, :1].expand(-1, descriptors.LABELLED), keep[:, 1:]), dim=1)[..., None]
    state = shares * state + (1 - shares) * torch.cat((new["au"], new["va"][:, None]), dim=1)
    units, pooled = state[:, :-1], state[:, -1]
    outputs = network.classify({"au": units, "expression": pooled, "va": pooled})
    # This is one product, because OpenVINO 2026.4 fuses the classifier's multiplication, sum and bias wrongly.
    classifier = network.emotion_classifiers[0]
    assert isinstance(classifier, descriptors.PerUnitClassifier)
    own = classifier.fc
    outputs["au"] = torch.einsum("bij,ij->bi", units, own.weight) + own.bias
    return outputs, state


def _named(outputs: Outputs) -> Outputs:
    """Return the outputs by the names that adapters and the comparison of engines know."""
    names = {"va": "valence_arousal", "au": "aus", STATE: NEXT_STATE}
    return {names.get(name, name): x for name, x in outputs.items()}


def _bytes(*shape: int) -> Tensor:
    """Return a batch of 2 of zero bytes in that shape."""
    return torch.zeros(2, *shape, dtype=torch.uint8)


def tsav_inputs(network: nn.Module) -> Outputs:
    """Return example inputs of `LiveTSAV`, a batch of 2."""
    return {"clip": _bytes(inputs.CLIP_FRAMES, 112, 112, 4), "sound": torch.zeros(2, 1, 64, inputs.MEL_COLUMNS)}


def face_inputs(network: nn.Module) -> Outputs:
    """Return example inputs of `LiveFace`, a batch of 2."""
    return {"face": _bytes(vgg_face.SIZE, vgg_face.SIZE, 3)}


def recurrent_inputs(network: nn.Module) -> Outputs:
    """Return example inputs of `LiveRecurrent` for a network without landmarks, a batch of 2."""
    given = face_inputs(network)
    if isinstance(network, AVMTVGGGRU):
        given["sound"] = torch.zeros(2, 3, vgg_face.SIZE, vgg_face.SIZE)
    layers = network.state_layers
    assert isinstance(layers, int)
    return given | {STATE: torch.zeros(2, layers, UNITS)}


def landmark_inputs(network: nn.Module) -> Outputs:
    """Return example inputs of `LiveRecurrent` for a network that may read landmarks, a batch of 2."""
    given = recurrent_inputs(network)
    state = given.pop(STATE)
    if not (isinstance(network, AffWildNet) and not network.landmarks):
        given["landmarks"] = torch.zeros(2, LANDMARKS)
    return given | {STATE: state}


def descriptor_inputs(network: nn.Module) -> Outputs:
    """Return example inputs of `LiveDescriptors`, a batch of 2."""
    face = _bytes(inception_v3.SIZE, inception_v3.SIZE, 3)
    return {"face": face, "keep": torch.zeros(2, 2), STATE: torch.zeros(2, EMBEDDINGS, descriptors.WIDTH)}


def ensemble_inputs(network: nn.Module) -> Outputs:
    """Return example inputs of `LiveEnsemble`, a batch of 2."""
    one = descriptor_inputs(network)
    return {"context": one["face"], **one, STATE: torch.zeros(2, 2, EMBEDDINGS, descriptors.WIDTH)}


def mimamo_inputs(network: nn.Module) -> Outputs:
    """Return example inputs of `LiveMIMAMO`, a batch of 2."""
    channels, size = 2 * (phase.FRAMES - 1), phase.SIZE
    return {
        "face": _bytes(112, 112, 3),
        "phase_0": torch.zeros(2, channels, size, size),
        "phase_1": torch.zeros(2, channels, size // 2, size // 2),
        STATE: torch.zeros(2, mimamo.SEQUENCE - 1, 256 + 1),
    }

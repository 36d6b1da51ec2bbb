"""Turn a network's raw outputs into values, decisions and probabilities by task."""

from collections.abc import Mapping

from torch import Tensor, nn

from models.networks.descriptors import SMOOTHING, Descriptors, DescriptorsEnsemble, smooth
from models.networks.multi_rnn import FusionDecision
from models.networks.tsav import AU, EXPRESSION, VA


def by_task(output: Tensor | Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return raw outputs by task, also of the two networks that give a single tensor."""
    if not isinstance(output, Tensor):
        return {task: value for task, value in output.items() if task != "state"}
    if output.shape[-1] == 2:
        return {"va": output}
    return {"va": output[..., VA], "expression": output[..., EXPRESSION], "au": output[..., AU]}


def run(network: nn.Module, inputs: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return the raw outputs by task as they are post-processed.

    Those of `fusion-decision` are its two networks' own values, (batch, time, 4), which are fused after their medians.
    """
    if isinstance(network, FusionDecision):
        return {"va": network.estimates(**inputs)[0].flatten(2)}
    return by_task(network(**inputs))


def decide(task: str, value: Tensor, probabilities: bool) -> Tensor:
    """Return valence and arousal clipped, the most probable class, or the action units of a probability above 0.5.

    `probabilities`: whether `value` holds probabilities, as the ensemble's does, instead of logits.
    """
    if task == "va":
        return value.clamp(-1, 1)
    if task in ("expression", "compound"):
        return value.argmax(-1)
    return (value > (0.5 if probabilities else 0)).long()


def probability(task: str, value: Tensor, given: bool) -> Tensor:
    """Return clipped values, and the probabilities of logits unless they are `given`."""
    if task == "va":
        return value.clamp(-1, 1)
    if given:
        return value
    return value.sigmoid() if task == "au" else value.softmax(-1)


def as_logits(output: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return logits that have the probabilities of the ensemble's `output`; valence and arousal stay."""
    small = 1e-6
    logits = {"expression": output["expression"].clamp(min=small).log(), "au": output["au"].logit(small)}
    return {"va": output["va"]} | logits


class Smoothed:
    """Run `descriptors` or its ensemble over a recording, with running means of the embeddings as published.

    The means are those of `models.networks.descriptors.smooth`, for frames that follow each other at 30 a second.
    """

    def __init__(self, network: Descriptors | DescriptorsEnsemble) -> None:
        """Take the network, in eval mode, and begin a recording."""
        self._network = network
        self._means: dict[str, dict[str, Tensor]] = {}

    def __call__(self, inputs: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Return the outputs by task for one more frame (batch 1), as the network's `forward` gives them."""
        if isinstance(self._network, Descriptors):
            return self._classified("", self._network, inputs["image"])
        parts = {"context": inputs["context_crop"], "aligned": inputs["aligned_face"]}
        found = [self._classified(name, getattr(self._network, name), image) for name, image in parts.items()]
        return self._network.averaged(*found)

    def _classified(self, name: str, network: Descriptors, image: Tensor) -> dict[str, Tensor]:
        now, before = network.embeddings(image), self._means.get(name)
        means = now if before is None else {task: smooth(before[task], x, SMOOTHING[task]) for task, x in now.items()}
        self._means[name] = means
        return network.classify(means)

"""Read training recipes: TOML files that say what is trained and how; the papers' are in `models/recipes/`."""

import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field, fields
from functools import partial
from pathlib import Path
from typing import Any, Literal

from models.errors import ModelError
from models.labels import AUS_2020, AUS_2022, AUS_UNION, COMPOUND_EXPRESSIONS
from models.training.coupling import RELATIONS, TERMS
from models.training.inputs import (
    BUILDERS,
    Builder,
    Window,
    clip_and_sound,
    context_image,
    faces,
    five_point,
    five_point_faces,
    motion,
    sounds,
)
from models.training.losses import OverUnits

FOLDER = Path(__file__).resolve().parent.parent / "recipes"
TASKS = ("va", "expression", "au", "compound")  # the last of facebehaviornet alone
VALENCE_AROUSAL = ("mimamo", "affwildnet", "cnn-3rnn", "cnn-1rnn", "fusion-rnn", "fusion-fc", "fusion-decision")

FACES_ALONE = ("mt-vgg", "mt-vgg-gru", "facebehaviornet")  # networks that read faces and nothing else

Score = Literal["va", "expression_2020", "au_2020", "total_2020", "multi_task_2022", "compound_diagonal"]
OPTIMIZERS = ("adam", "sgd")
SCORES = ("va", "expression_2020", "au_2020", "total_2020", "multi_task_2022", "compound_diagonal")


@dataclass(frozen=True)
class Recipe:
    """Hold what one run trains and how. Numbers are the papers' where a recipe of `models/recipes/` gives them."""

    network: str
    score: Score  # of the validation set; best epoch and early stopping go by it
    tasks: dict[str, float] = field(default_factory=lambda: {"va": 1.0})  # task: weight of its loss
    options: dict[str, Any] = field(default_factory=dict)  # of the network
    annotations: Literal["2020", "2022"] = "2020"
    also: tuple[str, ...] = ()  # further prepared data sets, as paths from the one that the run is given
    epochs: int = 25  # 0: the network as its parts were trained, scored and kept
    batch: int = 32
    batches: dict[str, int] = field(default_factory=dict)  # task: samples annotated for it in each batch
    accumulate: int = 1  # batches to a step
    optimizer: Literal["adam", "sgd"] = "adam"
    learning_rate: float = 1e-4
    momentum: float = 0.9
    weight_decay: float = 0.0
    milestones: tuple[int, ...] = ()  # epochs at which the rate is divided by ten
    decay: float = 1.0  # factor of the rate at each epoch after `decay_after`
    decay_after: int = 10
    cosine: bool = False  # the rate falls to 0 over the run
    sequence: int = 0  # frames; for networks that read sequences
    stride: int = 1  # frames from one sample of a video to the next
    augment: bool = True
    filter: bool = False  # leave out frames whose annotations contradict each other
    pseudo_valence: bool = False  # from the expression, where valence is not annotated
    pseudo_arousal: bool = False  # likewise
    pseudo_expression: bool = False  # soft labels from valence and arousal, where no expression is annotated
    au_loss: OverUnits = "mean"  # over the action units of a frame
    pos_weight: tuple[float, ...] = ()  # of each action unit
    class_weight: tuple[float, ...] = ()  # of each expression
    coupling: dict[str, float] = field(default_factory=dict)  # term of models.training.coupling: weight
    relation: str = "du2014"  # table of the coupling: of the psychological study, or counted on "aff-wild2"
    weighted: bool = False  # distribution matching expects units by their weights, instead of all alike
    binary: bool = False  # distribution matching counts absent units too
    sound_window: Window = "past10"  # of tsav: what the service listens to, or the published "centred", or "truncate"
    reads: Literal["faces", "sound", "context"] = "faces"  # sound: of mt-vgg-gru; context: of descriptors
    # As served; for networks that read faces alone, the paper's; for tsav without mask, the data set's own pictures.
    alignment: Literal["mesh", "five-point", "given"] = "mesh"
    median: bool = False  # keep the papers' medians over time where the validation CCC rises with them
    utterances: bool = False  # one estimate for a recording: the mean of its sequences' medians
    smoothing: bool = (
        False  # descriptors: running means of the embeddings when predicting, as the service has by default
    )
    fold: tuple[int, ...] = ()  # (i, k): videos of train and validation dealt anew
    folds: int = 0  # train this many folds, one after the other
    initial: dict[str, str] = field(default_factory=dict)  # part of the network (or ""): checkpoint
    final: str = ""  # best.pt of a run on train: train on validation too, for 1.25 times its steps
    patience: int = 0  # epochs without a better score before the run ends; 0: never
    bfloat16: bool = False  # mixed precision
    workers: int = 0  # processes that read
    seed: int = 1

    @property
    def sequences(self) -> bool:
        """Return whether the network reads sequences."""
        return BUILDERS[self.network][1]

    @property
    def builder(self) -> Builder:
        """Return the function that assembles the network's input."""
        if self.reads == "sound":
            return sounds
        if self.reads == "context":
            return context_image
        if self.alignment == "five-point":
            return five_point_faces if self.sequences else five_point
        if self.network == "tsav":
            return partial(clip_and_sound, window=self.sound_window, given=self.alignment == "given")
        if self.network == "affwildnet" and not self.options.get("landmarks", True):
            return faces
        if self.network == "mimamo":
            return partial(motion, unwrap=self.options.get("unwrap", "reference"))
        return BUILDERS[self.network][0]

    @property
    def needs(self) -> tuple[str, ...]:
        """Return the folders of a prepared data set that the input is made of, beside the aligned pictures."""
        if self.alignment == "five-point":
            return ("landmarks",)
        if self.alignment == "given":
            return ("given", "mel")
        other = {"sound": ("spectrogram",), "context": ("cropped",)}
        return other.get(self.reads, BUILDERS[self.network][2])

    @property
    def expressions(self) -> int:
        """Return the number of classes that the annotations have."""
        return 8 if self.annotations == "2022" else 7

    @property
    def unit_names(self) -> tuple[str, ...]:
        """Return the action units that the network gives, in order."""
        if self.network == "facebehaviornet":
            return AUS_UNION
        return AUS_2022 if self.annotations == "2022" else AUS_2020

    @property
    def units(self) -> int:
        """Return the number of action units that the network gives."""
        return len(self.unit_names)

    @property
    def pseudo(self) -> tuple[str, ...]:
        """Return which of valence, arousal and expression get pseudo labels."""
        names = ("valence", "arousal", "expression")
        return tuple(name for name in names if getattr(self, f"pseudo_{name}"))

    def content(self) -> dict[str, Any]:
        """Return the recipe as plain values, to be kept in a checkpoint."""
        return {key: list(value) if isinstance(value, tuple) else value for key, value in asdict(self).items()}


def available() -> tuple[str, ...]:
    """Return the names of the recipes that come with the project."""
    return tuple(sorted(path.stem for path in FOLDER.glob("*.toml")))


def read(recipe: str) -> Recipe:
    """Return the recipe of that name, or in that file. Raise `ModelError` naming what is wrong with it."""
    path = FOLDER / f"{recipe}.toml"
    if not path.is_file():
        path = Path(recipe)
    if not path.is_file():
        raise ModelError(f"There is no recipe {recipe!r}; give a TOML file or one of: {', '.join(available())}.")
    try:
        content = tomllib.loads(path.read_text("utf-8-sig"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, RecursionError) as error:
        raise ModelError(f"{path} is not TOML: {error}.") from error
    return made(content, str(path))


def made(content: Mapping[str, Any], source: str) -> Recipe:
    """Return a recipe of plain values, as read from `source`. Raise `ModelError` for values that it cannot have."""
    known = {f.name for f in fields(Recipe)}
    if unknown := content.keys() - known:
        raise ModelError(f"{source}: unknown keys {', '.join(sorted(unknown))}; there are {', '.join(sorted(known))}.")
    if missing := {"network", "score"} - content.keys():
        raise ModelError(f"{source}: {', '.join(sorted(missing))} is missing.")
    for key, value in content.items():
        kinds, name = _KINDS[type(getattr(_EXAMPLE, key))]
        if not isinstance(value, kinds) or (isinstance(value, bool) and bool not in kinds):
            raise ModelError(f"{source}: {key} is {name}, not {value!r}.")
    values: dict[str, Any] = {key: tuple(v) if isinstance(v, list) else v for key, v in content.items()}
    recipe = Recipe(**values)
    for wrong in _wrong(recipe):
        raise ModelError(f"{source}: {wrong}.")
    return recipe


_EXAMPLE = Recipe(network="", score="va")
_KINDS: dict[type, tuple[tuple[type, ...], str]] = {
    bool: ((bool,), "true or false"),
    int: ((int,), "a whole number"),
    float: ((int, float), "a number"),
    str: ((str,), "a text"),
    dict: ((dict,), "a table"),
    tuple: ((list, tuple), "a list"),
}
_CHOICES: dict[str, tuple[str, ...]] = {
    "network": tuple(BUILDERS),
    "score": SCORES,
    "annotations": ("2020", "2022"),
    "optimizer": OPTIMIZERS,
    "sound_window": ("past10", "truncate", "centred"),
    "reads": ("faces", "sound", "context"),
    "au_loss": ("mean", "sum"),
    "alignment": ("mesh", "five-point", "given"),
    "relation": tuple(RELATIONS),
}


def _wrong(recipe: Recipe) -> Iterator[str]:
    """Yield what is wrong with a recipe of the right types, as sentences without their end."""
    yield from _wrong_values(recipe)
    yield from _wrong_tasks(recipe)
    yield from _wrong_lists(recipe)
    yield from _wrong_folds(recipe)
    yield from _wrong_for_network(recipe)


def _wrong_values(recipe: Recipe) -> Iterator[str]:
    """Yield which choices, numbers and weights are out of range, each looked at by itself."""
    for key, allowed in _CHOICES.items():
        if getattr(recipe, key) not in allowed:
            yield f"{key} {getattr(recipe, key)!r} is none of {', '.join(allowed)}"
    for key, least in (("epochs", 0), ("batch", 1), ("accumulate", 1), ("stride", 1), ("folds", 0)):
        if getattr(recipe, key) < least:
            yield f"{key} is a whole number of at least {least}, not {getattr(recipe, key)}"
    if not recipe.learning_rate > 0:
        yield f"learning_rate is a number above 0, not {recipe.learning_rate!r}"
    for key, names in (("tasks", TASKS), ("coupling", TERMS)):
        weights = getattr(recipe, key)
        if not set(names) >= weights.keys():
            yield f"{key} are some of {', '.join(names)}; not {', '.join(weights)}"
        for name, weight in weights.items():
            if isinstance(weight, bool) or not isinstance(weight, (int, float)) or not weight >= 0:
                yield f"the weight of {name} is a number of at least 0, not {weight!r}"
    if not recipe.decay > 0:
        yield f"decay is a number above 0, not {recipe.decay!r}"
    for task, size in recipe.batches.items():
        if task not in recipe.tasks or isinstance(size, bool) or not isinstance(size, int) or size < 1:
            yield f"batches gives some of the tasks {', '.join(recipe.tasks)} a whole number; not {task} = {size!r}"
    if not all(isinstance(folder, str) for folder in recipe.also):
        yield f"also is a list of folders, not {list(recipe.also)}"


def _wrong_tasks(recipe: Recipe) -> Iterator[str]:
    """Yield whether tasks are missing: all of them, or the one that the score is of."""
    if not recipe.tasks:
        yield f"tasks are some of {', '.join(TASKS)}; not none"
    needed = {"va": "va", "expression_2020": "expression", "au_2020": "au", "compound_diagonal": "compound"}.get(
        recipe.score
    )
    if needed and needed not in recipe.tasks:
        yield f"score {recipe.score} needs the task {needed}"


def _wrong_lists(recipe: Recipe) -> Iterator[str]:
    """Yield which lists hold something else than numbers, or not as many as the network has outputs."""
    for key in ("milestones", "fold", "pos_weight", "class_weight"):
        if not all(isinstance(x, (int, float)) and x >= 0 for x in getattr(recipe, key)):
            yield f"{key} is a list of numbers of at least 0, not {list(getattr(recipe, key))}"
    for key, count in (("pos_weight", recipe.units), ("class_weight", recipe.expressions)):
        if getattr(recipe, key) and len(getattr(recipe, key)) != count:
            yield f"{key} has {len(getattr(recipe, key))} numbers, and {recipe.network} needs {count}"


def _wrong_folds(recipe: Recipe) -> Iterator[str]:
    """Yield which ways to choose the recordings to train on do not go together."""
    if recipe.fold and not (len(recipe.fold) == 2 and 0 <= recipe.fold[0] < recipe.fold[1]):
        yield f"fold is [i, k] with 0 <= i < k, not {list(recipe.fold)}"
    if recipe.folds and (recipe.folds < 2 or recipe.fold):
        yield f"folds is the number of folds to train, at least 2, and goes without fold; not {recipe.folds}"
    if recipe.final and (recipe.fold or recipe.folds):
        yield "final trains on all recordings and goes without fold or folds"


def _wrong_for_network(recipe: Recipe) -> Iterator[str]:
    """Yield what the recipe's network, its inputs or its tasks do not allow."""
    if recipe.sequences and recipe.sequence < 1:
        yield f"{recipe.network} reads sequences; give their length in frames as sequence"
    if (recipe.annotations == "2022") != recipe.network.startswith("descriptors"):
        yield f"{recipe.network} has not the expressions and action units of {recipe.annotations}"
    if recipe.network in VALENCE_AROUSAL and recipe.tasks.keys() != {"va"}:
        yield f"{recipe.network} gives valence and arousal alone; tasks can only be va"
    if recipe.coupling and (recipe.network != "facebehaviornet" or not {"expression", "au"} <= recipe.tasks.keys()):
        yield "coupling is between the expressions and action units of facebehaviornet, which tasks must name"
    if recipe.reads == "context" and recipe.network != "descriptors":
        yield f'{recipe.network} does not read the context crop alone; descriptors does, with reads = "context"'
    if "compound" in recipe.tasks and recipe.options.get("compounds") != len(COMPOUND_EXPRESSIONS):
        yield f"the task compound needs facebehaviornet with options = {{ compounds = {len(COMPOUND_EXPRESSIONS)} }}"
    if recipe.alignment == "five-point" and recipe.network not in FACES_ALONE:
        yield f"alignment five-point is of {', '.join(FACES_ALONE)}; not of {recipe.network}"
    if recipe.alignment == "given" and (recipe.network != "tsav" or recipe.options.get("mask", True)):
        yield "alignment given is of tsav with options = { mask = false }"
    if recipe.smoothing and not recipe.network.startswith("descriptors"):
        yield f"smoothing is of the embeddings of descriptors; {recipe.network} has none"
    if recipe.median and not recipe.sequences:
        yield f"median is over the frames of a sequence; {recipe.network} reads single frames"
    if recipe.utterances and not (recipe.median and recipe.tasks.keys() == {"va"}):
        yield "utterances needs median = true and the task va alone"
    if recipe.pseudo and not {"va", "expression"} <= recipe.tasks.keys():
        yield "pseudo labels are between valence, arousal and expressions, which tasks must name"
    if recipe.reads == "sound" and recipe.network != "mt-vgg-gru":
        yield f'{recipe.network} is not trained on sound alone; mt-vgg-gru is, with reads = "sound"'

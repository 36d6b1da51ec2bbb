"""Training recipes: TOML files that say what is trained and how; the papers' are in `models/recipes/`."""

import tomllib
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any, Literal

from models.errors import ModelError
from models.inputs import BUILDERS

FOLDER = Path(__file__).parent / "recipes"
TASKS = ("va", "expression", "au")

Score = Literal["va", "expression_2020", "au_2020", "total_2020", "multi_task_2022"]
OPTIMIZERS = ("adam", "sgd")
SCORES = ("va", "expression_2020", "au_2020", "total_2020", "multi_task_2022")


@dataclass(frozen=True)
class Recipe:
    """One run. Numbers are the papers' where a recipe of `models/recipes/` gives them."""

    network: str
    score: Score  # of the validation set; best epoch and early stopping go by it
    tasks: dict[str, float] = field(default_factory=lambda: {"va": 1.0})  # task: weight of its loss
    options: dict[str, Any] = field(default_factory=dict)  # of the network
    annotations: Literal["2020", "2022"] = "2020"
    epochs: int = 25
    batch: int = 32
    accumulate: int = 1  # batches to a step
    optimizer: Literal["adam", "sgd"] = "adam"
    learning_rate: float = 1e-4
    momentum: float = 0.9
    weight_decay: float = 0.0
    milestones: tuple[int, ...] = ()  # epochs at which the rate is divided by ten
    cosine: bool = False  # the rate falls to 0 over the run
    sequence: int = 0  # frames; for networks that read sequences
    stride: int = 1  # frames from one sample of a video to the next
    augment: bool = True
    filter: bool = False  # leave out frames whose annotations contradict each other
    pseudo_valence: bool = False  # from the expression, where valence is not annotated
    pos_weight: tuple[float, ...] = ()  # of each action unit
    class_weight: tuple[float, ...] = ()  # of each expression
    coupling: dict[str, float] = field(default_factory=dict)  # distribution_matching, soft_co_annotation: weight
    fold: tuple[int, ...] = ()  # (i, k): videos of train and validation dealt anew
    initial: dict[str, str] = field(default_factory=dict)  # part of the network (or ""): checkpoint
    patience: int = 0  # epochs without a better score before the run ends; 0: never
    bfloat16: bool = False  # mixed precision
    workers: int = 0  # processes that read
    seed: int = 1

    @property
    def sequences(self) -> bool:
        """Whether the network reads sequences."""
        return BUILDERS[self.network][1]

    def content(self) -> dict[str, Any]:
        """As plain values, to be kept in a checkpoint."""
        return {key: list(value) if isinstance(value, tuple) else value for key, value in asdict(self).items()}


def available() -> tuple[str, ...]:
    """Names of the recipes that come with the project."""
    return tuple(sorted(path.stem for path in FOLDER.glob("*.toml")))


def read(recipe: str) -> Recipe:
    """The recipe of that name, or in that file; raises `ModelError` naming what is wrong with it."""
    path = FOLDER / f"{recipe}.toml"
    if not path.is_file():
        path = Path(recipe)
    if not path.is_file():
        raise ModelError(f"There is no recipe {recipe!r}; give a TOML file or one of: {', '.join(available())}.")
    try:
        content = tomllib.loads(path.read_text())
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ModelError(f"{path} is not TOML: {error}.") from error
    return made(content, str(path))


def made(content: Mapping[str, Any], source: str) -> Recipe:
    """A recipe of plain values; raises `ModelError` for those it cannot have."""
    known = {f.name for f in fields(Recipe)}
    if unknown := content.keys() - known:
        raise ModelError(f"{source}: unknown keys {', '.join(sorted(unknown))}; there are {', '.join(sorted(known))}.")
    if missing := {"network", "score"} - content.keys():
        raise ModelError(f"{source}: {', '.join(sorted(missing))} is missing.")
    values: dict[str, Any] = {key: tuple(v) if isinstance(v, list) else v for key, v in content.items()}
    recipe = Recipe(**values)
    counts = {key: getattr(recipe, key) for key in ("epochs", "batch", "accumulate", "stride")}
    choices = {"network": tuple(BUILDERS), "score": SCORES, "annotations": ("2020", "2022"), "optimizer": OPTIMIZERS}
    for key, allowed in choices.items():
        if getattr(recipe, key) not in allowed:
            raise ModelError(f"{source}: {key} {getattr(recipe, key)!r} is none of {', '.join(allowed)}.")
    if not recipe.tasks or not set(TASKS) >= recipe.tasks.keys():
        raise ModelError(f"{source}: tasks are some of {', '.join(TASKS)}; not {', '.join(recipe.tasks) or 'none'}.")
    for key, value in counts.items():
        if not isinstance(value, int) or value < 1:
            raise ModelError(f"{source}: {key} is a whole number of at least 1, not {value!r}.")
    if not isinstance(recipe.learning_rate, float) or not recipe.learning_rate > 0:
        raise ModelError(f"{source}: learning_rate is a number above 0, not {recipe.learning_rate!r}.")
    if recipe.fold and not (len(recipe.fold) == 2 and 0 <= recipe.fold[0] < recipe.fold[1]):
        raise ModelError(f"{source}: fold is [i, k] with 0 <= i < k, not {list(recipe.fold)}.")
    if recipe.sequences and recipe.sequence < 1:
        raise ModelError(f"{source}: {recipe.network} reads sequences; give their length in frames as sequence.")
    return recipe

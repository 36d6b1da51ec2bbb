"""Train the small recipes of the papers on drawn data, each from nothing, and print the score before and after.

`PYTHONPATH=tests python -m helpers.drawn_recipes FOLDER [RECIPE ...]` draws the data once into FOLDER and prints a row
of docs/papers.md for each recipe as it ends; without names it trains all of them.
"""

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import torch

import models
from models.multiterm import train as boosting
from models.training import predict, recipe, synthetic
from service.datasets.multiterm import prepare_multiterm

DRAWN = {"videos": 6, "seconds": 4, "validation": 2}
SLOW = {"videos": 9, "seconds": 12, "validation": 3, "pace": 0.2}  # boosting reads windows of seconds


def small() -> list[str]:
    """Return the names of the small recipes."""
    return [name for name in (*recipe.available(), *boosting.available()) if name.endswith("-small")]


def data_for(name: str, folder: Path) -> Path:
    """Return the drawn data of a recipe, made if it is not there yet, with the features that the recipe reads."""
    slow = boosting.find(name) is not None
    root = folder / ("slow" if slow else "drawn")
    if not root.exists():
        synthetic.write(root, **(SLOW if slow else DRAWN))  # type: ignore[arg-type]
    if slow:
        prepare_multiterm(root, root)
    elif name.startswith("mimamo"):
        torch.manual_seed(0)
        predict.write_features(root, models.create("ferplus-resnet50"))  # not trained: its weights cannot be had here
    return root


def say(line: str) -> None:
    """Print `line` at once, also into a file."""
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


def main(folder: Path, names: list[str]) -> None:
    """Train the recipes `names` one after the other."""
    torch.set_num_threads(1)
    say("| recipe | untrained | best | epoch | seconds |\n|---|---|---|---|---|")
    for name in names:
        data, began = data_for(name, folder), time.monotonic()
        command = [sys.executable, "-P", "-m", "affectstream", "train", name]
        command += ["--data", str(data), "--out", str(folder / name), "--json"]
        environment = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}  # the tests' folders
        ran = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True, env=environment)
        row = json.loads(ran.stdout)[0]
        seconds = time.monotonic() - began
        say(f"| `{name}` | {row['before']:.2f} | {row['score']:.2f} | {row['epoch']} | {seconds:.0f} |")


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2:] or small())

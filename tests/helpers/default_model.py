"""Inputs of the default model: one face under many lights, and meshes that differ at random from a face at rest."""

from engines.engine import Arrays
from engines.probe import probe
from models.face_mt.points import POINTS


def inputs(count: int) -> Arrays:
    """Return `count` rows, the same at every call."""
    shapes = {"face": (-1, 112, 112, 3), "points": (-1, POINTS, 2)}
    return probe(shapes, {"face": "uint8", "points": "float32"}, count)


def part(given: Arrays, rows: slice) -> Arrays:
    """Return some rows of inputs."""
    return {name: values[rows] for name, values in given.items()}

"""`affectstream evaluate face-mt`: the evidence for a weight file, measured on the file itself, as a page.

Runs the ONNX file in OpenVINO on the prepared test faces of FER+ and of the web faces that people rated, so that what
is measured is what is served. Confidence intervals are 95 % bootstraps over faces.
"""

import os
import platform
import time
from pathlib import Path
from typing import Any

import numpy as np
import openvino as ov

from models.face_mt import confusions, evidence, evidence_units
from models.face_mt.data import TEST, Faces, Sets, recorded, sets
from models.face_mt.evidence import SEVEN, Table
from models.face_mt.points import POINTS
from models.face_mt.scores import Rows
from models.face_mt.served import Outputs, Served
from models.labels import EXPRESSIONS
from models.metrics import confusion

OCCLUDED = 0.5  # the service's limit (service.aggregation.status)
UNCLEAR = 0.22  # the service's limit too
# Blocks of calls that are timed, calls in each, and how many of them come first and do not count: they find the weights
# of another form in the processor's caches, which doubled what was measured.
_BLOCKS, _CALLS, _FIRST = 10, 40, 10


def evaluate(weights: Path, data: Path, out: Path, small: Path | None = None) -> dict[str, Table]:
    """Measure `weights` (an ONNX file) on the prepared sets in `data`, with its folder video if there is one.

    `small`: the 8-bit version, compared with it. Writes `out` (Markdown) and pictures beside it; returns the tables.
    """
    served, found = Served(weights), sets(data)
    fer, web, faces = found.ferplus, found.webva, found.faces
    fer_test, web_test, unseen = (np.flatnonzero(one.split == TEST) for one in (fer, web, faces))
    on_fer, on_web, on_faces = (
        served(one.grey[rows], one.points[rows]) for one, rows in ((fer, fer_test), (web, web_test), (faces, unseen))
    )
    title = "web faces that people rated, test"
    tables = {
        f"{title}: expressions": evidence.expression_rows(on_web, web, web_test),
        f"{title}: valence and arousal": evidence.affect_rows(on_web, web, web_test),
        f"{title}: what the published deviations cover": evidence.deviation_rows(served, on_web, web, web_test),
        f"{title}: calibration of the expressions": evidence.calibration_rows(served, on_web, web, web_test),
        "covered faces": evidence.occlusion_rows(served, on_web, web, web_test, OCCLUDED),
        "FER+ official test": evidence.expression_rows(on_fer, fer, fer_test),
        "web photographs with noisy labels, held out of everything": evidence.expression_rows(on_faces, faces, unseen),
        "action units, web faces, test": evidence_units.teacher_rows(on_web, web, web_test),
        "action units, web photographs that were held out": evidence_units.teacher_rows(on_faces, faces, unseen),
        "action units against what people called the web faces, test": evidence_units.prototype_rows(
            on_web, web, web_test
        ),
        **_on_videos(served, found, data / "video"),
        "pictures without a readable face": evidence.doubt_rows(served, web, web_test, UNCLEAR, OCCLUDED),
        f"robustness, every {evidence.ROBUSTNESS_STRIDE}rd face of FER+ test": evidence.robustness_rows(
            served, fer, fer_test
        ),
        "speed, one face on one core": speed_rows(weights, small),
    }
    if small is not None:
        from models.face_mt.quantize import compare

        tables["8-bit version against float32"] = [
            {"measure": name, "value": value} for name, value in compare(weights, small, found).items()
        ]
    pictures = out.with_suffix("")
    _confusions(on_fer, fer, fer_test, pictures.with_name(pictures.name + "-ferplus.png"))
    _confusions(on_web, web, web_test, pictures.with_name(pictures.name + "-web.png"))
    confusions.reliability(
        on_web.balanced, web.majority[web_test], pictures.with_name(pictures.name + "-calibration.png")
    )
    out.write_text(page(served.version, weights, tables, out.stem), "utf-8")
    return tables


def speed_rows(path: Path, small: Path | None) -> Table:
    """Return milliseconds for one face on one core, of 300 calls one after the other in blocks.

    The blocks of all forms are run in turns, so that noise falls on all alike.
    """
    rng = np.random.default_rng(0)
    crop, points = rng.integers(0, 256, (1, 112, 112, 3), np.uint8), rng.standard_normal((1, POINTS, 2), np.float32)
    forms = {"float32": Served(path), "bfloat16": Served(path, "bf16")}
    if small is not None:
        forms["8 bits"] = Served(small)
    times: dict[str, list[float]] = {name: [] for name in forms}
    for _ in range(_BLOCKS):
        for name, served in forms.items():
            for call in range(_CALLS):
                start = time.perf_counter()
                served.run(crop, points)
                if call >= _FIRST:
                    times[name].append((time.perf_counter() - start) * 1e3)
    return [
        {"precision": name, "median_ms": float(np.median(spent)), "best_ms": min(spent)}
        for name, spent in times.items()
    ]


def _on_videos(served: Served, found: Sets, folder: Path) -> dict[str, Table]:
    """Return what the frames of prepared videos tell; frames of one video are much alike."""
    if not folder.exists():
        return {}
    faces = recorded(folder, found.basis)
    rows = np.arange(len(faces))
    answers = served(faces.grey, faces.points)
    return {
        "valence and arousal, frames of videos": [
            {
                "measure": "r of valence with arousal",
                "faces": len(rows),
                "value": evidence.correlation(answers.va[:, 0], answers.va[:, 1]),
            },
        ],
        "action units, frames of videos (never trained on)": evidence_units.teacher_rows(answers, faces, rows),
    }


def _confusions(out: Outputs, faces: Faces, rows: Rows, path: Path) -> None:
    truth = faces.majority[rows]
    basic = (truth >= 0) & (truth < SEVEN)
    priors = (("FER+ prior", out.trained), ("balanced prior (served)", out.balanced))
    panels = [(title, EXPRESSIONS, confusion(truth[basic], p[basic, :SEVEN].argmax(1), SEVEN)) for title, p in priors]
    confusions.plot(panels, "people's word", path)


def page(version: str, weights: Path, tables: dict[str, Table], stem: str) -> str:
    """Return the Markdown page."""
    lines = [
        f"# {version}: measured",
        "",
        f"`affectstream evaluate face-mt` on {platform.machine()}, {os.cpu_count()} cores, Python "
        f"{platform.python_version()}, OpenVINO {ov.__version__.split('-')[0]}, float32; file {weights.name}. "
        "Intervals are 95 % bootstraps over faces. Valence, arousal and expressions are compared with people's "
        "ratings of faces that were never trained on nor chosen on. Nobody coded action units here: they are compared "
        "with their teachers, and with the expressions that people saw. The data say nothing of age, sex or origin, so "
        "no subgroup of people is reported.",
        "",
        f"![Web faces, test]({stem}-web.png)",
        f"![Calibration, web faces, test]({stem}-calibration.png)",
        f"![FER+ test]({stem}-ferplus.png)",
    ]
    for title, rows in tables.items():
        keys = list(dict.fromkeys(key for row in rows for key in row))
        lines += ["", f"## {title}", "| " + " | ".join(keys) + " |", "|" + "---|" * len(keys)]
        for row in rows:
            lines.append("| " + " | ".join(_cell(row.get(k, "")) for k in keys) + " |")
    return "\n".join(lines) + "\n"


def _cell(value: Any) -> str:
    return f"{value:.3f}" if isinstance(value, float) else str(value)

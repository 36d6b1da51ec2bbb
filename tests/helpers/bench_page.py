"""Measures the dashboard alone: four made-up faces, thirty events and pictures a second, and no model beside it.

`PYTHONPATH=tests python -m helpers.bench_page MINUTES` prints a line for each half minute, or for each half of a
shorter time; in the second half the tab of all faces is shown. `busy` is the share of the time that the page's main
thread worked, and `captured_to_drawn_ms` what the page says of itself: p50 and p95 over its last 300 events, of which
12 ms are the made-up time of the service.
"""

import json
import math
import os
import sys
import threading
import time
from typing import Any

from helpers.affect_events import a_face, an_event
from helpers.bench_dashboard import COUNT_FRAMES, READ_FRAMES
from helpers.browser import chromium
from helpers.live_server import LiveServer, serving

from models.labels import ACTION_UNITS, EXPRESSIONS

RATE = 30.0  # events a second
FACES = 4


def faces(t: float) -> list[dict[str, Any]]:
    """Return four faces at second `t`, of which all that moves moves."""
    made = []
    for track in range(1, FACES + 1):
        waves = [0.5 + 0.5 * math.sin(t * (0.3 + 0.07 * n) + track) for n in range(len(ACTION_UNITS))]
        shares = {name: waves[n] + 0.01 for n, name in enumerate(EXPRESSIONS)}
        total = sum(shares.values())
        shares = {name: share / total for name, share in shares.items()}
        pair = {"valence": 2 * waves[0] - 1, "arousal": 2 * waves[1] - 1}
        mean = {"mean": pair["valence"], "std": 0.1, "range": 0.4, "slope": 0.0}
        window = {"valence": mean, "arousal": mean, "expression": "neutral"}
        made.append(
            a_face(
                track,
                **pair,
                box=[20.0 + 150 * (track - 1) + 10 * waves[2], 60.0, 120.0, 150.0],
                raw=pair,
                std={"valence": 0.2 + 0.2 * waves[3], "arousal": 0.2},
                from_baseline=pair,
                expression={"label": max(shares, key=lambda name: shares[name]), "probabilities": shares},
                aus=dict(zip(ACTION_UNITS, waves, strict=True)),
                windows={"1s": window, "6s": window, "12s": window},
            )
        )
    return made


def send(server: LiveServer, stop: threading.Event) -> None:
    """Publish events and pictures until `stop` is set."""
    session = server.sessions.get("desk")
    began = time.monotonic()
    seq = 0
    while not stop.wait(max(0.0, began + seq / RATE - time.monotonic())):
        session.show(seq / RATE, 640, 360)
        server.live.hub.publish(an_event(seq, *faces(seq / RATE)))
        seq += 1


def metrics_of(tools: Any) -> dict[str, float]:
    """What Chromium counts of the page."""
    return {one["name"]: one["value"] for one in tools.send("Performance.getMetrics")["metrics"]}


def main(minutes: float) -> None:
    """Print a line of JSON for each step."""
    stop = threading.Event()
    with serving() as server, chromium() as browser:
        server.open()
        sender = threading.Thread(target=send, args=(server, stop))
        sender.start()
        try:
            page = browser.new_context(viewport={"width": 1440, "height": 900}).new_page()
            page.goto(f"{server.url}/?session=desk")
            page.wait_for_function("() => document.getElementById('status').textContent.includes('Reading 4')")
            tools = page.context.new_cdp_session(page)
            tools.send("Performance.enable")
            page.evaluate(COUNT_FRAMES)
            steps = max(2, round(2 * minutes))
            worked, seen = metrics_of(tools)["TaskDuration"], time.monotonic()
            for step in range(steps):
                if step == steps // 2:
                    page.get_by_role("tab", name="All faces").click()
                page.wait_for_timeout(60_000 * minutes / steps)
                tools.send("HeapProfiler.collectGarbage")
                metrics, now = metrics_of(tools), time.monotonic()
                line = {
                    "minutes": round(minutes * (step + 1) / steps, 2),
                    "tab": page.inner_text("[role=tab][aria-selected=true]"),
                    **page.evaluate(READ_FRAMES),
                    "captured_to_drawn_ms": page.inner_text("#drawn").removesuffix(" ms"),
                    "busy": round((metrics["TaskDuration"] - worked) / (now - seen), 3),
                    "heap_mb": round(metrics["JSHeapUsedSize"] / 1e6, 2),
                    "nodes": metrics["Nodes"],
                    "load": round(os.getloadavg()[0], 1),
                }
                worked, seen = metrics["TaskDuration"], now
                sys.stdout.write(json.dumps(line) + "\n")
                sys.stdout.flush()
        finally:
            stop.set()
            sender.join()


if __name__ == "__main__":
    main(float(sys.argv[1]))

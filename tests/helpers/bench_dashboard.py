"""Measures the dashboard with four faces from a camera: frames a second by the browser's own clock, memory over time,
and the time from a captured picture to its drawn numbers. In the second half the tab of all faces is shown.

With a service running: `PYTHONPATH=tests python -m helpers.bench_dashboard URL MINUTES`."""

import json
import sys
import tempfile
from pathlib import Path

import numpy as np
from helpers.browser import chromium, write_camera, write_microphone
from helpers.dashboard_page import start_camera
from skimage import data

COUNT_FRAMES = """() => { window.gaps = []; let last = performance.now();
  const frame = (now) => { window.gaps.push(now - last); last = now; requestAnimationFrame(frame); };
  requestAnimationFrame(frame); }"""
READ_FRAMES = """() => { const gaps = window.gaps.slice(2).sort((a, b) => a - b); window.gaps.length = 0;
  const at = (share) => Math.round(10 * gaps[Math.floor(share * (gaps.length - 1))]) / 10;
  return {fps: Math.round(10000 * gaps.length / gaps.reduce((sum, gap) => sum + gap, 0)) / 10,
    gap_ms: {p50: at(0.5), p95: at(0.95), p99: at(0.99)}}; }"""


def main(url: str, minutes: float) -> None:
    face = data.astronaut()[20:290, 60:380]
    four = np.tile(face, (2, 2, 1))
    with tempfile.TemporaryDirectory() as folder:
        camera = write_camera(Path(folder) / "camera.y4m", four, seconds=4)
        with chromium(camera, write_microphone(Path(folder) / "microphone.wav")) as browser:
            page = browser.new_context(viewport={"width": 1440, "height": 900}).new_page()
            page.goto(url)
            start_camera(page)
            page.wait_for_function("() => document.getElementById('status').textContent.includes('Reading 4')")
            tools = page.context.new_cdp_session(page)
            tools.send("Performance.enable")
            page.evaluate(COUNT_FRAMES)
            steps = round(2 * minutes)
            for step in range(steps):
                if step == steps // 2:
                    page.get_by_role("tab", name="All faces").click()
                page.wait_for_timeout(30_000)
                frames = page.evaluate(READ_FRAMES)
                tools.send("HeapProfiler.collectGarbage")
                metrics = {one["name"]: one["value"] for one in tools.send("Performance.getMetrics")["metrics"]}
                line = {
                    "minutes": (step + 1) / 2,
                    "tab": page.inner_text("[role=tab][aria-selected=true]"),
                    **frames,
                    "heap_mb": round(metrics["JSHeapUsedSize"] / 1e6, 2),
                    "nodes": metrics["Nodes"],
                    "events": page.inner_text("#fps"),
                    "service_ms": page.inner_text("#latency"),
                    "captured_to_drawn_ms": page.inner_text("#drawn"),
                    "status": page.inner_text("#status"),
                }
                sys.stdout.write(json.dumps(line, ensure_ascii=False) + "\n")
                sys.stdout.flush()
            page.get_by_role("button", name="Stop").click()
            page.wait_for_timeout(500)


if __name__ == "__main__":
    main(sys.argv[1], float(sys.argv[2]))

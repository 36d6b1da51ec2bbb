"""Sends a grey picture and a tone to a WHIP address with FFmpeg: `python ffmpeg_sender.py URL OPTIONS_AS_JSON PROFILE`.

Stops when its standard input is closed.
"""

import fractions
import json
import sys
import threading
import time

import av
import numpy as np


def send(url: str, options: dict[str, str], profile: str, stop: threading.Event) -> None:
    """H.264 of that profile without B-frames and Opus, in real time, until `stop`."""
    with av.open(url, "w", format="whip", options=options) as container:
        # The fastest preset uses nothing that is beyond the baseline profile.
        preset = "ultrafast" if profile == "baseline" else "veryfast"
        coding = {"profile": profile, "preset": preset, "tune": "zerolatency", "g": "30"}
        video = container.add_stream("libx264", rate=30, options=coding)
        video.width, video.height, video.pix_fmt = 320, 240, "yuv420p"
        sound = container.add_stream("libopus", rate=48_000, options={"b": "64000"})
        sound.layout = "stereo"
        began, pictures, samples = time.monotonic(), 0, 0
        while not stop.is_set():
            while samples <= pictures * 1600:
                tone = np.sin(2 * np.pi * 440 * (samples + np.arange(960)) / 48_000) * 9000
                frame = av.AudioFrame.from_ndarray(tone.astype(np.int16).repeat(2)[None], format="s16", layout="stereo")
                frame.sample_rate, frame.pts, frame.time_base = 48_000, samples, fractions.Fraction(1, 48_000)
                samples += 960
                container.mux(sound.encode(frame))
            picture = av.VideoFrame.from_ndarray(np.full((240, 320, 3), pictures % 200, np.uint8), format="rgb24")
            picture.pts, picture.time_base = pictures, fractions.Fraction(1, 30)
            pictures += 1
            container.mux(video.encode(picture))
            stop.wait(max(0.0, began + pictures / 30 - time.monotonic()))


if __name__ == "__main__":
    told = threading.Event()
    threading.Thread(target=lambda: (sys.stdin.read(), told.set()), daemon=True).start()
    send(sys.argv[1], json.loads(sys.argv[2]), sys.argv[3], told)

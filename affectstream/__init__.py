"""Read live affect (valence, arousal, expressions, action units) in your own program.

    from affectstream import stream

    async for event in stream("http://127.0.0.1:8000", session="desk"):
        for face in event["faces"]:
            print(event["t"], face["valence"], face["arousal"])

`stream` reads a service's WebSocket, `redis_stream` the Redis Streams that it writes; both yield an `Event`, a dict
whose keys are typed. Importing this package changes nothing in the importing program and loads none of the service:
no numpy, OpenVINO, FastAPI or pydantic. `python -m affectstream` is the command line.
"""

from affectstream.client import Refused, redis_stream, stream
from affectstream.event import Event, Face

__all__ = ["Event", "Face", "Refused", "__version__", "redis_stream", "stream"]

__version__ = "0.1.0"  # the only place; pyproject.toml reads it here

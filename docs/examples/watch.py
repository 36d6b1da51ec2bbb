"""Print what one session shows, as it happens: python docs/examples/watch.py [SESSION]"""

import asyncio
import os
import sys

from affectstream import stream


async def main() -> None:
    session = sys.argv[1] if len(sys.argv) > 1 else None
    async for event in stream("http://127.0.0.1:8000", session=session, token=os.environ.get("AFFECTSTREAM_TOKEN")):
        for face in event["faces"]:
            if face["valence"] is not None and face["arousal"] is not None:
                print(f"{event['t']:8.2f} s  face {face['track']}  {face['valence']:+.2f}  {face['arousal']:+.2f}")


asyncio.run(main())

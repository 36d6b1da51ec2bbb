"""Print what one session shows, as it happens: python docs/examples/watch.py [SESSION] [URL]"""

import asyncio
import os
import sys

from affectstream import Refused, stream


async def main() -> None:
    session = sys.argv[1] if len(sys.argv) > 1 else None
    url = sys.argv[2] if len(sys.argv) > 2 else "http://127.0.0.1:8000"
    async for event in stream(url, session=session, token=os.environ.get("AFFECTSTREAM_TOKEN"), wait=False):
        for face in event["faces"]:
            if face["valence"] is not None and face["arousal"] is not None:
                print(f"{event['t']:8.2f} s  face {face['track']}  {face['valence']:+.2f}  {face['arousal']:+.2f}")


try:
    asyncio.run(main())
except Refused as why:
    sys.exit(f"watch: {why}")

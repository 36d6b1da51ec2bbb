"""What fuzzing tests share: how many cases they try, and files damaged by a seeded generator.

`AFFECTSTREAM_FUZZ=20` in the environment tries twenty times as many cases as CI does.
"""

import os
import random
from collections.abc import Iterator

TIMES = float(os.environ.get("AFFECTSTREAM_FUZZ", "1"))


def cases(number: int) -> int:
    """How many cases to try where CI tries `number`."""
    return max(1, round(number * TIMES))


def damaged(data: bytes, seed: int) -> bytes:
    """`data` with bits turned over, parts cut out, doubled, moved or set to extremes; the same for the same seed."""
    chance = random.Random(seed)
    out = bytearray(data)
    for _ in range(chance.choice((1, 1, 2, 4, 16))):
        if not out:
            break
        at = chance.randrange(len(out))
        # Headers are at the beginning, and hold the numbers that matter.
        at = chance.randrange(min(len(out), 512)) if chance.random() < 0.5 else at
        size = chance.choice((1, 2, 4, 4, 8, 64, 1024))
        match chance.randrange(7):
            case 0:
                out[at] ^= 1 << chance.randrange(8)
            case 1:
                del out[at : at + size]
            case 2:
                out[at:at] = out[at : at + size]
            case 3:
                out[at : at + size] = chance.choice((b"\0", b"\xff", b"\x7f", b"\x80")) * size
            case 4:
                out[at : at + size] = chance.randbytes(size)
            case 5:
                del out[at:]
            case 6:
                other = chance.randrange(len(out))
                out[at : at + size] = out[other : other + size]
    return bytes(out)


def damaged_files(seeds: dict[str, bytes], number: int) -> Iterator[tuple[str, bytes]]:
    """`number` damaged files, their kinds in turn: a name with the seed's suffix, and the content."""
    kinds = [*seeds.items()]
    for seed in range(number):
        name, data = kinds[seed % len(kinds)]
        yield f"{seed:05d}-{name}", damaged(data, seed)

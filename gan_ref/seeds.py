"""One seed for each purpose, so that no two parts of a run draw the same random numbers."""

import hashlib


def mix_seed(seed: int, purpose: str, *numbers: int) -> int:
    """A 63-bit seed that depends on every argument: ``mix_seed(seed, "z", 17)``.

    Generators that start from the same seed give the same numbers. Without a purpose in the seed, the first z
    of a run would repeat the numbers that initialised its generator.
    """
    text = " ".join([purpose, str(seed), *map(str, numbers)])
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "big") >> 1

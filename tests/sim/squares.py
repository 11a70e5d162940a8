"""A slow function that worker processes import at once."""

import time


def squared_slowly(number: int) -> int:
    time.sleep(0.05)
    return number**2

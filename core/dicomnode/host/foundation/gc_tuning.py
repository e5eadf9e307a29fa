"""How often a process that receives looks for garbage in cycles."""

from __future__ import annotations

import gc


def tune_gc() -> None:
    """Look for garbage in cycles less often: what waits are many small objects, in no cycle, for long.

    By default every seven hundred new objects are looked at, and a tenth of these times what came before too:
    a tenth of the time that an instance takes, and a pause that grows with the number of images that wait.
    """
    gc.set_threshold(20_000, 20, 20)

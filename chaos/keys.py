"""`python -m chaos.keys DIR` makes keys in a data folder, as `palaver keys create` does, until it is told to stop.

Anything on standard input tells it; it prints how many keys it made.
"""

import asyncio
import sys
from pathlib import Path

from app.core import open_core
from app.settings import load_settings


async def _main(data_dir: Path) -> None:
    core = open_core(load_settings(data_dir=data_dir))
    enough = asyncio.get_running_loop().run_in_executor(None, sys.stdin.readline)
    count = 0
    while not enough.done():
        await core.keys.create(name="third", scopes=["chat"])
        count += 1
        await asyncio.sleep(0.01)
    await core.database.close()
    sys.stdout.write(str(count))


if __name__ == "__main__":
    asyncio.run(_main(Path(sys.argv[1])))

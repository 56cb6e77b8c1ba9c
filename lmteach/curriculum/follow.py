"""What the ranks run that `lmteach fit` starts beside itself: `python -m lmteach.curriculum.follow RUN_FOLDER`."""

from __future__ import annotations

import sys
from pathlib import Path

from lmteach.errors import LmteachError


def main(folder: Path) -> int:
    """Do this rank's part of a run; the first rank speaks for all."""
    from lmteach.curriculum.cycles import run_part
    from lmteach.curriculum.joining import SCRATCH, find_place, joined_ranks
    from lmteach.recipe.load import load_recipe
    from lmteach.tracking.console import Console
    from lmteach.tracking.run_folder import RunFolder

    try:
        recipe = load_recipe(str(folder / "recipe.yaml")).recipe
        place = find_place(recipe.trainer)
        assert place is not None
        with joined_ranks(place, recipe.trainer, folder / SCRATCH) as ranks:
            run_part(recipe, RunFolder(folder), Console(quiet=True), ranks)
    except LmteachError:
        return 1  # the first rank was told, or told us
    except KeyboardInterrupt:
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))

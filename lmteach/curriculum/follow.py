"""What ranks run that `lmteach fit` starts beside itself: `python -m lmteach.curriculum.follow FOLDER [TASK ...]`.

FOLDER holds recipe.yaml. TASK is `annotate`, and the student that makes its shortlists; without one, the run.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

from lmteach.errors import LmteachError


def main(folder: Path, task: Sequence[str] = ()) -> int:
    """Do this rank's part of a run, or of another task; the first rank speaks for all."""
    from lmteach.curriculum.joining import SCRATCH, find_place, joined_ranks
    from lmteach.recipe.load import load_recipe
    from lmteach.tracking.console import Console

    try:
        recipe = load_recipe(str(folder / "recipe.yaml")).recipe
        place = find_place(recipe.trainer)
        assert place is not None
        with joined_ranks(place, recipe.trainer, folder / SCRATCH) as ranks:
            if task:
                from lmteach.curriculum.annotating import annotate_part

                student = Path(task[1]) if len(task) > 1 else None
                annotate_part(recipe, Console(quiet=True), student, ranks)
            else:
                from lmteach.curriculum.cycles import run_part
                from lmteach.tracking.run_folder import RunFolder

                run_part(recipe, RunFolder(folder), Console(quiet=True), ranks)
    except LmteachError:
        return 1  # the first rank was told, or told us
    except KeyboardInterrupt:
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]), sys.argv[2:]))

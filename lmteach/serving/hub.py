"""An exported student on a model hub, where one can be reached."""

from __future__ import annotations

from pathlib import Path

from lmteach.errors import LmteachError


def push(folder: Path, name: str) -> str:
    """Upload a folder as a model repository; return its address.

    Raises:
        LmteachError: no hub can be reached, the token is missing, or the name is refused.
    """
    from huggingface_hub import HfApi

    try:
        api = HfApi()
        api.create_repo(name, exist_ok=True)
        api.upload_folder(repo_id=name, folder_path=str(folder))
        return f"{api.endpoint}/{name}"
    except Exception as error:  # of two libraries; all mean that it did not get there
        said = str(error).strip().splitlines()
        raise LmteachError(
            f"The student could not be pushed to '{name}' "
            f"({type(error).__name__}: {said[0] if said else 'no reason given'}).",
            mend=f"It lies in {folder}. Check the network and the name, and log in with `hf auth login`.",
        ) from error

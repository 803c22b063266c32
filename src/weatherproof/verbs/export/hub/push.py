"""A folder on the Hugging Face hub."""

import re
from pathlib import Path

from weatherproof.encoders.messages import one_line
from weatherproof.errors import InputError, shown
from weatherproof.progress import phase

_NAME = re.compile(r"[A-Za-z0-9][\w.-]{0,95}/[A-Za-z0-9][\w.-]{0,95}", re.ASCII)


def require_hub(name: str) -> None:
    """Raise `InputError` where nothing can be pushed under this name: before any work is done."""
    if not _NAME.fullmatch(name) or ".." in name or "--" in name:
        raise InputError(f"a repository of the hub is called ORG/NAME, got {shown(name)}")
    try:
        from huggingface_hub import get_token
    except ImportError:
        raise InputError("huggingface_hub is not installed: pip install huggingface_hub") from None
    if not get_token():
        raise InputError("--push needs a token of the hub: hf auth login, or HF_TOKEN; nothing was pushed")


def push_folder(folder: Path, name: str) -> str:
    """Upload the folder's files; the repository is made, private, where there is none. Returns its address.

    Raises:
        InputError: the hub refuses, or cannot be reached; the folder stays.
    """
    from huggingface_hub import HfApi

    try:
        with phase(f"pushing to {name}"):
            api = HfApi()
            made = api.create_repo(name, repo_type="model", private=True, exist_ok=True)
            api.upload_folder(repo_id=name, folder_path=str(folder), repo_type="model")
    except Exception as error:  # another library, and a server
        raise InputError(f"{name} was not pushed: {one_line(error)}; the files are in {folder}") from None
    return str(made)

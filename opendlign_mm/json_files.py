"""JSON files that users give: read, or refused with their name."""
import json
from pathlib import Path
from typing import Any


def read_json(path: str | Path) -> Any:
    """Read a JSON file.

    Raises:
        ValueError: The file is not JSON; the message names it.
    """
    try:
        return json.loads(Path(path).read_text(encoding='utf-8'))
    except (ValueError, RecursionError) as error:  # damaged JSON, damaged UTF-8, thousands of nested brackets
        raise ValueError(f'{path} is not JSON: {error}') from error

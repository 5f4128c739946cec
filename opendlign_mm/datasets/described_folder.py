"""Folders of results with one file for each shard and a description of what decides them."""
import json
from pathlib import Path
from typing import ClassVar, TypeVar

from ..atomic_files import atomic_write
from ..source_files import read_json

Folder = TypeVar('Folder', bound='DescribedFolder')


class DescribedFolder:
    """Base of folders of safetensors files, one for each shard, and a JSON file of all that decides their contents.

    Args:
        root: The folder.

    Attributes:
        description: Name of the JSON file.
        maker: A sentence on what makes such a folder, for errors.
        contents: What it has, for errors: it 'has ... ({there}, now {wanted})'.
        remedy_of_others: What to do with a folder of other contents, for errors.
        identity: Contents of the JSON file.

    Raises:
        FileNotFoundError: The folder does not exist.
        ValueError: Its description is damaged.
    """

    description: ClassVar[str]
    maker: ClassVar[str]
    contents: ClassVar[str]
    remedy_of_others: ClassVar[str]

    def __init__(self, root: str | Path) -> None:
        self.root = Path(root)
        self.identity: dict = read_json(self.root / self.description, self.maker)

    @classmethod
    def create(cls: type[Folder], root: str | Path, identity: dict) -> Folder:
        """Start such a folder, or open the existing one.

        Args:
            root: The folder.
            identity: All that decides the contents, in types that JSON knows.

        Raises:
            ValueError: The folder has other contents.
        """
        path, identity = Path(root) / cls.description, json.loads(json.dumps(identity))
        if not path.exists():
            with atomic_write(path) as unfinished:
                unfinished.write_text(json.dumps(identity, sort_keys=True, indent=1))
        folder = cls(root)
        if folder.identity != identity:
            raise ValueError(f'{root} has {cls.contents} ({folder.identity}, now {identity}); {cls.remedy_of_others}')
        return folder

    def path(self, shard: int) -> Path:
        """Return the file of a shard."""
        return self.root / f'{shard:06d}.safetensors'

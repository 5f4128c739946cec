"""A dataset of many files that a broken one does not end."""
from pathlib import Path
from typing import Any, NamedTuple

from torch.utils.data import Dataset


class Unreadable(NamedTuple):
    """In the place of an object that cannot be read: why."""
    problem: str


class ReadableObjects(Dataset):
    """Another dataset, of whose objects those that cannot be read become :class:`Unreadable` instead of an error."""

    def __init__(self, dataset: Dataset) -> None:
        self.dataset = dataset

    def __len__(self) -> int:
        return len(self.dataset)

    def __getattr__(self, name: str) -> Any:
        # 'dataset' is not there yet while a worker unpickles this; '__getitems__' would bypass what this class does.
        if name == 'dataset' or name.startswith('__'):
            raise AttributeError(name)
        return getattr(self.dataset, name)

    def __getitem__(self, index: int) -> Any:
        try:
            return self.dataset[index]
        except (OSError, ValueError, EOFError) as error:
            return Unreadable(self._named(index, str(error) or type(error).__name__))

    def _named(self, index: int, problem: str) -> str:
        """mmdet3d's errors do not say which scene's file they are about."""
        try:
            path = self.dataset.get_data_info(index)['lidar_points']['lidar_path']
        except (AttributeError, KeyError, OSError, TypeError, ValueError):
            return problem
        return problem if Path(path).name in problem else f'{path}: {problem}'

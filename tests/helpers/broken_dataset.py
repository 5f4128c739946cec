"""A dataset with unreadable samples."""
import torch


class Broken(torch.utils.data.Dataset):
    """A dataset with truncated files."""

    def __init__(self, dataset, broken):
        self.dataset, self.broken = dataset, broken

    def __len__(self):
        return len(self.dataset)

    def __getitem__(self, index):
        if index in self.broken:
            raise ValueError(f'file {index} is truncated')
        return self.dataset[index]

"""A dataset with unreadable samples."""
import torch


class Broken(torch.utils.data.Dataset):
    """A dataset some of whose files are cut off."""

    def __init__(self, dataset, broken):
        self.dataset, self.broken = dataset, broken

    def __len__(self):
        return len(self.dataset)

    def __getitem__(self, index):
        if index in self.broken:
            raise ValueError(f'file {index} is cut off')
        return self.dataset[index]

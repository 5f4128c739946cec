"""Which boxes of a source a detector classifies, and the files in which all of them are kept."""
from pathlib import Path

from mmdet3d.structures import Det3DDataSample
from mmengine.structures import InstanceData

from .given_boxes import write_boxes


class ProposalSelection:
    """Choice of the best boxes of a scene; before it, all boxes may be written to a file.

    Args:
        objectness_threshold: Objectness below which boxes are dropped.
        max_proposals: Largest number of boxes per scene, the best by objectness. None keeps all.
        folder: Folder of the files, one for each scene, in the format of ``FileProposals``. None writes nothing.

    Raises:
        ValueError: ``max_proposals`` is below 1.
    """

    def __init__(self, objectness_threshold: float = 0., max_proposals: int | None = None,
                 folder: str | Path | None = None) -> None:
        if max_proposals is not None and max_proposals < 1:
            raise ValueError(f'max_proposals must be None or >= 1, got {max_proposals}')
        self.objectness_threshold, self.max_proposals = objectness_threshold, max_proposals
        self.folder = None if folder is None else Path(folder).expanduser()

    def write(self, proposals: InstanceData, data_sample: Det3DDataSample | None) -> None:
        """Write all boxes of one scene to its file, if there is a folder.

        Args:
            proposals: ``bboxes_3d`` and ``objectness``, in the frame of the scene.
            data_sample: Sample of the scene; its ``lidar_path`` names the file.

        Raises:
            ValueError: Boxes are to be written, but the data sample does not name the scene.
        """
        if self.folder is None:
            return
        name = getattr(data_sample, 'lidar_path', None)
        if not name:
            raise ValueError('save_proposals: the data sample has no lidar_path, which names the file of boxes; run '
                             'tools/test.py on a dataset, whose pipeline has LoadPointsFromFile and Pack3DDetInputs')
        write_boxes(self.folder / f'{Path(name).stem}.npz', proposals)

    def __call__(self, proposals: InstanceData) -> InstanceData:
        """Return the best boxes of one scene, by descending objectness.

        Args:
            proposals: ``bboxes_3d`` and ``objectness``. mmdet3d's boxes are float32 after a choice of them: far from
                the origin, pass them relative to the scene.
        """
        order = proposals.objectness.argsort(descending=True, stable=True)
        order = order[proposals.objectness[order] >= self.objectness_threshold]
        return proposals[order[:self.max_proposals]]

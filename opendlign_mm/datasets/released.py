"""The evaluation set of OpenDlign's authors: depth maps of benchmark objects, made with their own projection."""
from pathlib import Path
from typing import List, Optional, Sequence, Tuple

from mmdet3d.registry import DATASETS

from .shape_dataset import ShapeDataset, spoken
from .source_files import read_json

PUBLISHED_BENCHMARKS = ('ModelNet40', 'ScanObjectNN', 'OmniObject3D')
DEPTH_SUFFIX = '_dm.npy'
RELEASED_DATA = "the authors' released data set (OpenDlign/OpenDlign-Datasets on Hugging Face)"


@DATASETS.register_module()
class ReleasedDepthMaps(ShapeDataset):
    """``<data_root>/<dataset>/depth_map/<id>+<category>_dm.npy``: ten depth views of an object in each file.

    Put ``LoadDepthViews`` first in the pipeline. The classes are those of the file names, in alphabetical order, or
    those of ``labels_file`` in its order.

    Args:
        data_root: Folder of the released data.
        dataset: Its sub-folder: 'modelnet40', 'scanobjectnn' or 'OmniObject3D'.
        labels_file: JSON file ``{dataset: [class names]}`` in ``data_root``, as the release's code has it. It is read
            where it is there, and names also the classes of which there is no object.
        kwargs: See :class:`ShapeDataset`.

    Raises:
        FileNotFoundError: The folder is missing; the message says how to get it.
        ValueError: No depth map in it, a file name without a category, or one that ``labels_file`` does not have.
    """

    def __init__(self, data_root: str, dataset: str, labels_file: str = 'labels.json', **kwargs) -> None:
        self.dataset, self.labels_file = dataset, labels_file
        super().__init__(data_root=data_root, data_prefix=dict(depth=f'{dataset}/depth_map'), **kwargs)

    @property
    def benchmark(self) -> str:
        return {name.lower(): name for name in PUBLISHED_BENCHMARKS}.get(self.dataset.lower(), self.dataset)

    @property
    def remedy(self) -> str:
        return (f'The depth maps of {self.dataset} are part of {RELEASED_DATA}. Unpack them to '
                f'<data_root>/{self.dataset}/depth_map, or say where they are with --cfg-options data_root=DIR.')

    def read_records(self) -> Tuple[Sequence[str], List[dict]]:
        """One record a file."""
        records = []
        for path in sorted(Path(self.data_prefix['depth']).glob(f'*{DEPTH_SUFFIX}')):
            name = path.name[:-len(DEPTH_SUFFIX)]
            identifier, plus, category = name.rpartition('+')
            if not (identifier and category):
                raise ValueError(f'{path} is not named <id>+<category>{DEPTH_SUFFIX}')
            records.append(dict(sample_id=f'{self.dataset}/{name}', category=category, depth_path=str(path)))
        found = sorted({record['category'] for record in records})
        return self._published_names(found) or found, records

    def _published_names(self, found: Sequence[str]) -> Optional[List[str]]:
        """The names of the labels file, if there is one and it has this data set."""
        path = Path(self.data_root) / self.labels_file
        if not self.labels_file or not path.is_file():
            return None
        names = read_json(path, 'Remove it to take the classes of the file names.')
        names = {key.lower(): value for key, value in names.items()}.get(self.dataset.lower())
        absent = sorted({spoken(name) for name in found} - {spoken(name) for name in names or ()})
        if names and absent:
            raise ValueError(f'{path} does not have these classes of {self.dataset}: {", ".join(absent[:8])}')
        return names

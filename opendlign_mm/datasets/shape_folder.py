"""Any folder of shapes, with one sub-folder for each class."""
from collections.abc import Sequence
from pathlib import Path

from mmdet3d.registry import DATASETS

from ..point_files.shape_files import SHAPE_EXTENSIONS
from .shape_dataset import ShapeDataset


@DATASETS.register_module()
class ShapeFolder(ShapeDataset):
    """Files of points or meshes in ``data_root/<class>/``, or in folders below that.

    The classes are the sub-folders, in alphabetical order.

    Args:
        data_root: The folder; sub-folders and files whose names begin with a dot are skipped.
        extensions: Endings of the files to take.
        inside: Folder within each class to take alone, such as 'test' if there is also ``<class>/train``.
        up_axis: 'z' or 'y', the axis that points up in the files. None: y in glTF files (.glb, .gltf), which is their
            standard, and z in all others.
        any_layout: Whether to take all files, wherever they are in the folder, and sub-folders without a file as well;
            the class of a file outside of sub-folders is the name of the folder.
        name: Beginning of each ``sample_id``; the name of the folder by default.
        kwargs: Further arguments of :class:`ShapeDataset`.

    Raises:
        FileNotFoundError: There is no such folder.
        ValueError: The folder has no sub-folder, or classes without a file; the message names them.
    """

    remedy = 'Give a folder with one sub-folder of shape files for each class: --cfg-options data_root=DIR.'

    def __init__(self,
                 data_root: str,
                 extensions: Sequence[str] = SHAPE_EXTENSIONS,
                 inside: str | None = None,
                 up_axis: str | None = None,
                 any_layout: bool = False,
                 name: str | None = None,
                 **kwargs) -> None:
        self.extensions = (extensions, ) if isinstance(extensions, str) else tuple(extensions)
        self.inside, self.up_axis, self.any_layout = inside, up_axis, any_layout
        self.name = name or Path(data_root).resolve().name
        self.benchmark = self.benchmark or self.name
        super().__init__(data_root=data_root, **kwargs)

    def check_files(self, data_root: str, ann_file: str = '', **folders: str) -> None:
        """Also check that there are sub-folders: a flat folder or a single file is refused before a model is built."""
        super().check_files(data_root, ann_file, **folders)
        if self.any_layout:
            if not Path(data_root).is_dir() or not self._files_in(Path(data_root)):
                raise ValueError(f'{data_root} has no file of a shape ({", ".join(self.extensions)})')
        elif not class_folders(data_root):
            raise ValueError(f'{data_root} {"has no sub-folder" if Path(data_root).is_dir() else "is a file"}. '
                             f'{self.remedy}')

    @property
    def guesses_up_axis(self) -> bool:
        """Whether the up axis of files other than glTF is a guess."""
        return self.up_axis is None

    def read_records(self) -> tuple[Sequence[str], list[dict]]:
        """Return one record per file."""
        if self.any_layout:
            root = Path(self.data_root)
            found = [(path.relative_to(root).parts, path) for path in self._files_in(root)]
            records = [self._record(parts[0] if len(parts) > 1 else root.resolve().name, path) for parts, path in found]
            return sorted({record['category'] for record in records}), records
        folders = class_folders(self.data_root)
        records, empty = [], []
        for folder in folders:
            place = folder / self.inside if self.inside else folder
            files = self._files_in(place)
            if not files:
                empty.append(str(place))
            records += [self._record(folder.name, path) for path in files]
        if empty:
            raise ValueError(f'these class folders have no file ({", ".join(self.extensions)}): '
                             f'{", ".join(empty[:5])}{", ..." * (len(empty) > 5)}. Fill or remove them.')
        return [folder.name for folder in folders], records

    def _files_in(self, folder: Path) -> list[Path]:
        return sorted(path for path in folder.rglob('*') if path.suffix.lower() in self.extensions
                      and path.is_file()
                      and not any(part.startswith('.') for part in path.relative_to(folder).parts))

    def _record(self, category: str, path: Path) -> dict:
        up_axis = self.up_axis or ('y' if path.suffix.lower() in ('.glb', '.gltf') else 'z')
        # With its ending: a folder may have both cup.obj and cup.ply.
        return dict(sample_id=f'{self.name}/{path.relative_to(self.data_root).as_posix()}', category=category,
                    points_path=str(path), up_axis=up_axis)


def class_folders(root: str | Path) -> list[Path]:
    """Return the sub-folders of a folder in alphabetical order, without hidden ones; none if ``root`` is a file."""
    entries = Path(root).iterdir() if Path(root).is_dir() else ()
    return sorted(entry for entry in entries if entry.is_dir() and not entry.name.startswith('.'))

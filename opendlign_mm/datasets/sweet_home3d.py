"""CAD models of furniture in the libraries of Sweet Home 3D."""
import re
from collections.abc import Sequence
from pathlib import Path

from mmdet3d.registry import DATASETS

from ..point_files.formats import naming
from ..point_files.furniture_library import read_catalog
from .shape_dataset import ShapeDataset

# The class of a model by its English name, as whole words in lower case: the first rule that is found decides. None
# belongs to no class: look-alikes, parts, and what ScanNet counts as other furniture.
NAME_RULES: tuple[tuple[str | None, str], ...] = (
    (None, r'table tennis|(football|pool|bedside|changing|dressing|technical) table|table fan'),
    (None, r'toilet (brush|paper)|bath ?mat|(sink|tv|television) cabinet|tv stand|(dog|doll) house|air mattress'),
    (None, r'(garage|elevator|shower) door|french window|window (blind|shutter)|opened convertible|ottoman'),
    (None, r'cup ?cake|bread box|piano|remote control|imac 1998|mirror frame'),
    (None, r'(ceiling|pendant|chandelier|hanging|wall|street|outdoor|camping|park|porch) (lamp|light)'),
    ('shower curtain', r'shower curtains?'),
    ('curtain', r'curtains?|drapes?'),
    ('garbage bin', r'((garbage|trash|rubbish|recycling|waste|dust) ?)?bin|(garbage|trash) ?can|waste ?basket'),
    ('refrigerator', r'refrigerator|fridge'),
    ('picture', r'picture|painting|frame|poster'),
    ('bathtub', r'bath( ?tub)?'),
    ('toilet', r'toilets?'),
    ('sink', r'sink|wash ?basin|basin|lavatory'),
    ('counter', r'counter|island'),
    ('cabinet', r'cabinet|cupboard|wardrobe|dresser|locker|chest of drawers'),
    ('bookshelf', r'book ?case|book ?shelf|shelves|shelf'),
    ('sofa', r'sofa|couch|settee'),
    ('bed', r'bed'),
    ('lamp', r'lamp'),
    ('desk', r'desk'),
    ('chair', r'(arm)?chair'),
    ('table', r'table'),
    ('door', r'door'),
    ('window', r'window'),
    ('monitor', r'monitor|tv|imac'),
    ('bottle', r'bottle'),
    ('cup', r'cup|mug'),
)
FURNITURE_CLASSES = tuple(dict.fromkeys(name for name, _ in NAME_RULES if name is not None))


def class_of_name(name: str) -> str | None:
    """Return the class of a model by :data:`NAME_RULES`, or None if it belongs to none of them."""
    return next((category for category, words in NAME_RULES
                 if re.search(rf'\b(?:{words})\b', name.lower())), None)


@DATASETS.register_module()
class SweetHome3D(ShapeDataset):
    """``<library>.sh3f``: textured CAD models with names and sizes, in 22 classes by :data:`NAME_RULES`.

    Models whose name belongs to no class are left out.

    Args:
        data_root: Folder of the libraries.
        libraries: Names of the libraries to take, without their ending; all of the folder by default.
        copies: How often each model is there, under different ``sample_id``, which :class:`VaryShape` deforms
            differently.
        kwargs: Further arguments of :class:`ShapeDataset`.

    Raises:
        FileNotFoundError: The folder or a library is missing.
        ValueError: A library cannot be read, none is named, or one is named twice; ``copies`` is below 1.
    """

    benchmark = 'SweetHome3D'
    remedy = ("Sweet Home 3D's libraries of furniture are the Debian package sweethome3d-furniture: unpack it with "
              'dpkg-deb -x and say where usr/share/sweethome3d/furniture is with --cfg-options data_root=DIR.')

    def __init__(self, data_root: str, libraries: Sequence[str] | str | None = None, copies: int = 1,
                 **kwargs) -> None:
        if copies < 1:
            raise ValueError(f'copies must be >= 1, got {copies}')
        self.copies = copies
        self.libraries = (libraries, ) if isinstance(libraries, str) else libraries
        if libraries is not None and (not libraries or len(set(self.libraries)) < len(self.libraries)):
            raise ValueError(f'libraries must be names without repetition or None, got {libraries!r}')
        super().__init__(data_root=data_root, **kwargs)

    def check_files(self, data_root: str, ann_file: str = '', **folders: str) -> None:
        """Also check that there are libraries, and those that are named."""
        super().check_files(data_root, ann_file, **folders)
        present = sorted(path.stem for path in Path(data_root).glob('*.sh3f'))
        missing = [name for name in self.libraries or () if name not in present]
        if missing or not present:
            raise FileNotFoundError(f'{data_root} has no {", ".join(missing) or "library"} (.sh3f), only '
                                    f'{", ".join(present) or "other files"}. {self.remedy}')

    def read_records(self) -> tuple[Sequence[str], list[dict]]:
        """Return one record per copy of a model of a class, in the order of the catalogs."""
        names = self.libraries or sorted(path.stem for path in Path(self.data_root).glob('*.sh3f'))
        records = []
        for library in names:
            path = Path(self.data_root) / f'{library}.sh3f'
            for furniture in naming(path, lambda path=path: read_catalog(path)):
                category = class_of_name(furniture.name)
                if category is not None:
                    name = f'{library}/{furniture.number:03d}-{furniture.key.rpartition("#")[2]}'
                    records += [dict(sample_id=f'{name}-copy{copy}' if copy else name, category=category,
                                     points_path=str(path), points_index=furniture.number, up_axis='y')
                                for copy in range(self.copies)]
        return FURNITURE_CLASSES, records

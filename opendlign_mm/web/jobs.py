"""What the page does, without its widgets: classify, detect and search for one visitor at a time."""
import json
import os
import tempfile
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ..datasets.procedural import CATEGORIES, sample_shape
from ..datasets.procedural.rooms import make_room
from .visitors import noting, parse_words

if TYPE_CHECKING:
    from PIL import Image

    from ..apis.scene_inferencer import SceneInferencer
    from ..apis.shape_inferencer import ShapeInferencer
    from ..models.color_views import Views
    from ..retrieval import ShapeIndex

EXAMPLES = ('chair', 'table', 'lamp', 'bed', 'toilet')
WORDS = ', '.join(CATEGORIES)
BUILT_IN_SHAPES = 'built-in shapes'
MAX_POINTS, MAX_BYTES = 5_000_000, 200 * 2**20
_SHAPES_PER_CLASS = 4
# Points of a mesh, of which a scene has to have more.
_POINTS_OF_A_SCENE = 200_000


@dataclass
class ShapeResult:
    """Names of a shape, best first, and what was seen.

    Attributes:
        labels, scores: Names and their scores in [0, 1].
        points: float (N, 3), z up.
        views: uint8 (V, H, W), depth views.
        notes: Remarks on the input and the words.
    """
    labels: list[str]
    scores: list[float]
    points: np.ndarray
    views: np.ndarray
    notes: list[str] = field(default_factory=list)


@dataclass
class SceneResult:
    """Objects of a scene, best first.

    Attributes:
        points: float (N, 3) in meters, z up.
        colors: float (N, 3) in [0, 1], or None.
        boxes: float (K, 7) in the frame of ``points``: center, sizes, yaw.
        rows: Of each box, in the frame of the file, as :class:`.SceneInferencer` gives it: ``label``, ``score``,
            ``num_points``, ``bbox_3d`` and, in a scene that is not level, ``rotation``.
        notes: Remarks on the input and the words.
    """
    points: np.ndarray
    colors: np.ndarray | None
    boxes: np.ndarray
    rows: list[dict]
    notes: list[str] = field(default_factory=list)

    def above(self, threshold: float) -> list[int]:
        """Return the indices of the boxes with at least this score."""
        return [index for index, row in enumerate(self.rows) if row['score'] >= threshold]


class Jobs:
    """The models of the page, loaded when they are first needed.

    Args:
        model: Name or config of a model.
        device: Device, by default the GPU if there is one.
        index: Folder of an index of shapes to search besides the built-in ones; made by the same model.
        views: What names shapes and objects: ``'depth'``, ``'color'`` or ``'both'``, see :class:`.OpenDlign`; default:
            what the config says, depth. Shapes are searched by depth views.
    """

    def __init__(self, model: str = 'opendlign-tiny', device: str | None = None, index: str | Path | None = None,
                 views: 'Views | None' = None) -> None:
        self.model, self.device, self.index_folder, self.views = model, device, index, views

    @cached_property
    def shapes(self) -> 'ShapeInferencer':
        """Classifier of shapes."""
        from ..apis.shape_inferencer import ShapeInferencer
        return ShapeInferencer(self.model, device=self.device, show_progress=False, views=self.views)

    @property
    def looks_at(self) -> 'Views':
        """What names shapes and objects; depth views for a model of points, whose pictures they are."""
        return getattr(self.shapes.model, 'views', 'depth')

    @cached_property
    def searched(self) -> 'ShapeInferencer':
        """Model that embeds shapes for the search, by depth views: most have no colors."""
        from ..apis.shape_inferencer import ShapeInferencer
        if self.looks_at != 'color':
            return self.shapes
        return ShapeInferencer(self.model, device=self.device, show_progress=False, views='depth')

    @cached_property
    def scenes(self) -> 'SceneInferencer':
        """Detector of objects in scenes."""
        from ..apis.scene_inferencer import SceneInferencer
        return SceneInferencer(self.model, device=self.device, show_progress=False, views=self.views)

    @cached_property
    def indices(self) -> dict[str, 'ShapeIndex']:
        """Name -> index of shapes.

        Raises:
            ValueError: The index that was given is of another model.
        """
        from ..retrieval import ShapeIndex
        found = {}
        if self.index_folder is not None:
            index = ShapeIndex.load(self.index_folder)
            self._check_model(index)
            found[Path(self.index_folder).resolve().name] = index
        return {**found, BUILT_IN_SHAPES: self._built_in_index()}

    def index_names(self) -> list[str]:
        """Return the names of :attr:`indices`, without making them."""
        given = [] if self.index_folder is None else [Path(self.index_folder).resolve().name]
        return [*given, BUILT_IN_SHAPES]

    def _check_model(self, index: 'ShapeIndex') -> None:
        from ..retrieval.build_index import digest_of_weights
        if index.about.get('weights') != digest_of_weights(self.shapes.model):
            raise ValueError(f'the index {self.index_folder} was not made with {self.model}; start the page with the '
                             'model that made it (--model), or build the index again')

    def _built_in_index(self) -> 'ShapeIndex':
        from ..retrieval import ShapeIndex
        names = [name for name in CATEGORIES for _ in range(_SHAPES_PER_CLASS)]
        clouds = [sample_shape(name, np.random.default_rng([1, number]), 5000).points
                  for number, name in enumerate(names)]
        found = self.searched(clouds, classes=list(CATEGORIES), embed=True, return_views=True)['predictions']
        shapes = [dict(sample_id=f'{name} {number % _SHAPES_PER_CLASS + 1}', category=name)
                  for number, name in enumerate(names)]
        return ShapeIndex(np.array([each['embedding'] for each in found]), shapes,
                          np.stack([_thumbnail(each['views']) for each in found]), {}, self.searched.cfg)

    def classify(self, source: str | np.ndarray, words: str, up: str = 'auto') -> ShapeResult:
        """Name a shape, from a file or an array of points, in the words of the visitor."""
        from ..apis.shape_inferencer import shape_points
        from ..point_files.point_cloud import read_points
        classes = parse_words(words)
        with noting() as notes:
            cloud = read_points(source, max_points=MAX_POINTS)
            notes += getattr(cloud, 'notes', ())
            found = _only(self.shapes([source], classes=classes, top_k=5, up=up, return_views=True))
        return ShapeResult(found['labels'], found['scores'], shape_points(cloud, 10_000, up), found['views'], notes)

    def detect(self, source: str | np.ndarray, words: str, up: str = 'auto', units: str = 'auto') -> SceneResult:
        """Find objects in a scene, from a file or an array of points, in the words of the visitor."""
        from ..point_files.point_cloud import read_points
        from ..point_files.scene_frame import find_frame
        classes = parse_words(words)
        with noting() as notes:
            cloud = read_points(source, max_points=MAX_POINTS, mesh_points=_POINTS_OF_A_SCENE)
            frame = find_frame(cloud, up, units)
            notes += [*cloud.notes, frame.description]
            level = frame.to_level(cloud.points)
            offset = level.min(axis=0).round()  # map coordinates do not fit into float32
            level = level - offset
            scene = level if cloud.colors is None else np.concatenate([level, cloud.colors], axis=1)
            found = _only(self.scenes([scene], classes=classes, up='z', units='m'))['boxes']
        boxes = np.array([box['bbox_3d'] for box in found], dtype=np.float64).reshape(-1, 7)
        in_file = frame.boxes_to_file(boxes + [*offset, 0, 0, 0, 0])
        rows = []
        for number, box in enumerate(found):
            row = dict(label=box['label'], score=box['score'], num_points=box['num_points'], bbox_3d=[
                *in_file.centers[number].tolist(), *in_file.sizes[number].tolist(), float(boxes[number, 6])])
            rows.append(row if in_file.yaws is not None else dict(row, rotation=in_file.rotations[number].tolist()))
        return SceneResult(level, cloud.colors, boxes, rows, notes)

    def search(self, where: str, text: str = '', picture: 'Image.Image | None' = None, shape: str | None = None,
               top: int = 12) -> tuple[list[tuple[np.ndarray, str]], str]:
        """Find shapes by exactly one of a text, a picture and a file of a shape.

        Returns:
            Pictures uint8 (H, W) with their titles, best first, and a line about the search.
        """
        from ..retrieval import embed_query
        given = [name for name, value in (('words', text.strip()), ('a picture', picture), ('a shape', shape))
                 if value is not None and value != '']
        if len(given) != 1:
            raise ValueError('give words, a picture or a shape' + f'; not {" and ".join(given)}' * bool(given))
        if where not in self.index_names():
            raise ValueError(f'{where!r} is not a collection of shapes of this page')
        index = self.indices[where]
        if shape is not None:
            vector = np.array([_only(self.searched([shape], classes=['shape'], embed=True))['embedding']])
        else:
            vector = embed_query(self.searched.model, text.strip() or None, picture)
        (cosines, ), (rows, ) = index.search(vector, top)
        found = []
        for cosine, row in zip(cosines, rows, strict=True):
            about = index.shapes[int(row)]
            name = about.get('sample_id') or about.get('category') or f'shape {row}'
            found.append((np.asarray(index.thumbnails[row]), f'{name}: {cosine:.2f}'))
        return found, index.describe()


def example_shape(name: str) -> np.ndarray:
    """Return the points of an example, float32 (N, 3)."""
    return sample_shape(name, np.random.default_rng(3), 10_000).points


def example_room() -> np.ndarray:
    """Return the points and colors of an example, float32 (N, 6)."""
    room = make_room(np.random.default_rng(3))
    return np.concatenate([room.points, room.colors / np.float32(255)], axis=1)


def save_json(name: str, contents: Any) -> str:
    """Write a file to download into the temporary folder of the page; return its path."""
    folder = tempfile.mkdtemp(dir=os.environ.get('GRADIO_TEMP_DIR'))
    path = Path(folder) / name
    path.write_text(json.dumps(contents, indent=1) + '\n', encoding='utf-8')
    return str(path)


def _only(result: dict) -> dict:
    """Return the only prediction; raise its error."""
    prediction = result['predictions'][0]
    if 'error' in prediction:
        raise ValueError(prediction['error'])
    return prediction


def _thumbnail(views: np.ndarray) -> np.ndarray:
    return views[min(6, len(views) - 1)]

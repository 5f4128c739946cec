"""Search an index by text, by a picture, by a shape, or by several of them together.

  opendlign search my_index "a chair with arms"
  opendlign search my_index photo.jpg --top 10 --out found.png
  opendlign search my_index chair.obj "made of wood"
"""
import argparse
from pathlib import Path

from ..results import add_json_option, note, print_json, print_table, results_alone

PICTURES = ('.png', '.jpg', '.jpeg', '.webp', '.bmp', '.tif', '.tiff', '.gif')


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the options of this sub-command."""
    parser.add_argument('index', type=Path, metavar='INDEX', help='folder that opendlign index wrote')
    parser.add_argument('query', nargs='+', metavar='QUERY', help='words, a picture, or a shape file; of several the '
                        'mean is looked for')
    parser.add_argument('--top', type=int, default=5, help='number of shapes to find (default 5)')
    parser.add_argument('--device', default='cpu', help='cpu, cuda or cuda:1')
    parser.add_argument('--out', type=Path, metavar='PICTURE', help='draw what was found, .png')
    add_json_option(parser)


def run(args: argparse.Namespace) -> int:
    """Search the index, and draw what was found."""
    with results_alone():
        import numpy as np
        from mmengine.registry import init_default_scope

        from ...retrieval import ShapeIndex, model_of_index
        index = ShapeIndex.load(args.index)
        kinds = [kind_of(query) for query in args.query]  # before the model: a wrong file is told at once
        model = model_of_index(index, args.device)
        init_default_scope('mmdet3d')
        vectors = [_embed(model, index, query, kind) for query, kind in zip(args.query, kinds, strict=True)]
        (cosines, ), (rows, ) = index.search(np.mean(vectors, axis=0)[None], args.top)
        found = [dict(index.shapes[row], rank=rank, cosine=float(cosine))
                 for rank, (row, cosine) in enumerate(zip(rows, cosines, strict=True), 1)]
        note(index.describe())
    if args.json:
        print_json(found)
    else:
        print_table(['rank', 'cosine', 'category', 'file'], [
            (each['rank'], f'{each["cosine"]:.3f}', each.get('category'), each.get('points_path')
             or each.get('sample_id')) for each in found])
    if args.out:
        _draw(args, kinds, index.thumbnails[rows], found)
        note(f'drawn: {args.out}')
    return 0


def kind_of(query: str) -> str:
    """Return 'picture', 'shape' or 'text'.

    Raises:
        FileNotFoundError: The query ends as a file does, and there is no such file.
    """
    from ...point_files.shape_files import SHAPE_EXTENSIONS
    suffix = Path(query).suffix.lower()
    if suffix not in PICTURES and suffix not in SHAPE_EXTENSIONS:
        return 'text'
    if not Path(query).is_file():
        raise FileNotFoundError(f'there is no file {query} to search for')
    return 'picture' if suffix in PICTURES else 'shape'


def _embed(model, index, query: str, kind: str):
    """Return the normalized vector (D,) of a query."""
    from ...retrieval import embed_query
    if kind == 'text':
        return embed_query(model, text=query)[0]
    if kind == 'picture':
        return embed_query(model, image=query)[0]
    return _embed_shape(model, index, query)


def _embed_shape(model, index, path: str):
    """Return the vector of a shape file, made as those of the index were.

    Raises:
        ValueError: The index does not say how its shapes were projected.
    """
    from mmengine.dataset import Compose

    from ...datasets.collate import collate_shapes
    from ...retrieval.index_files import check_types
    from .index import shape_pipeline
    projection = index.config.get('projection')
    if projection is None:
        raise ValueError('the index does not say how its shapes were projected, so that none can be searched for; '
                         'build it again with opendlign index')
    check_types(projection)
    up_axis = 'y' if Path(path).suffix.lower() in ('.glb', '.gltf') else 'z'
    record = dict(sample_id=path, points_path=path, up_axis=up_axis, category='', gt_label=0)
    packed = Compose(shape_pipeline(projection.to_dict()))(record)
    batch = model.data_preprocessor(collate_shapes([packed]))
    return model.embed_shapes(batch['inputs']['depth_views'])[0].cpu().numpy()


def _draw(args: argparse.Namespace, kinds: list[str], thumbnails, found: list[dict]) -> None:
    from PIL import Image

    from ...visualization.sheets import draw_gallery
    titles = [f'{each["rank"]}. {each.get("category") or each.get("sample_id", "")}\n{each["cosine"]:.3f}'
              for each in found]
    pictures = [query for query, kind in zip(args.query, kinds, strict=True) if kind == 'picture']
    text = ', '.join(query for query, kind in zip(args.query, kinds, strict=True) if kind != 'picture') or None
    image = None
    if pictures:
        import numpy as np
        with Image.open(pictures[0]) as file:
            image = np.asarray(file.convert('RGB')) / 255
    draw_gallery(thumbnails, titles, args.out, text, image)

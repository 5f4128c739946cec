"""Mesh and PLY files: points on their surfaces, for which materials and textures are not read, and the meshes."""
import re
from collections.abc import Sequence
from pathlib import Path, PurePosixPath
from typing import Any
from urllib.parse import unquote

import numpy as np

from .array_files import MAX_POINTS, RawCloud, colors_as_bytes
from .mesh_references import gltf_header, json_objects

MESH_EXTENSIONS = ('.obj', '.off', '.glb', '.gltf', '.stl')
POINTS_OF_A_MESH = 10_000


def read_ply(path: Path, num_points: int | None, random: np.random.Generator) -> RawCloud:
    """Return points and colors of a PLY file: the vertices, or points on the surface where it has faces.

    Raises:
        ValueError: The file has no vertices, or announces more than it can hold; damaged files raise other errors too.
    """
    from plyfile import PlyData
    _check_ply_header(path)
    file = PlyData.read(str(path))
    if 'face' in file and len(file['face']):
        return sample_mesh(path, num_points, random)
    if 'vertex' not in file:
        raise ValueError("it has no element 'vertex'")
    vertices = file['vertex'].data
    names = vertices.dtype.names
    points = np.stack([vertices[axis] for axis in 'xyz'], axis=1)
    channels = next((channels for channels in (('red', 'green', 'blue'), ('r', 'g', 'b'))
                     if set(channels) <= set(names)), None)
    if channels is None:
        return RawCloud(points)
    colors = np.stack([vertices[channel] for channel in channels], axis=1)
    return RawCloud(points, colors_as_bytes(colors, len(points)))


def sample_mesh(path: Path, num_points: int | None, random: np.random.Generator) -> RawCloud:
    """Return points spread evenly over the surface of all parts of a mesh file; vertices where it has no faces.

    Args:
        path: The file.
        num_points: Number of points on the surface, default 10,000.
        random: Source of the places.

    Raises:
        ValueError: The mesh has no vertices, or faces of other vertices than its own; or the file announces more than
            it can hold. Damaged files raise other errors too.
    """
    return surface_points(load_mesh(path), num_points, random)


def load_mesh(path: Path, materials: bool = False) -> Any:
    """Load a mesh file as trimesh's Trimesh, PointCloud or Scene.

    Args:
        path: The file.
        materials: Whether to read materials and textures, too. They may lie in the folder of the file, in those below
            it and in those beside it, as ShapeNet has them. What is missing has trimesh's default color.

    Raises:
        ValueError: As :func:`sample_mesh`.
    """
    import trimesh
    options: dict[str, Any] = dict(process=False)
    suffix = path.suffix.lower()
    if suffix in ('.glb', '.gltf'):
        _check_gltf(path)
    elif suffix == '.obj':
        _check_obj_faces(path)
    elif suffix == '.ply':
        _check_ply_header(path)
    if suffix in ('.glb', '.gltf', '.obj', '.ply'):
        options.update(skip_materials=not materials, resolver=_files_around(path, beside=materials))
    loaded = trimesh.load(str(path), **options)
    parts = list(loaded.geometry.values()) if isinstance(loaded, trimesh.Scene) else [loaded]
    for part in parts:
        faces = np.asarray(getattr(part, 'faces', ()))
        # NumPy counts negative indices from the end.
        if faces.size and not 0 <= faces.min() <= faces.max() < len(part.vertices):
            raise ValueError(f'it has faces of the vertices {faces.min()} to {faces.max()}, but vertices 0 to '
                             f'{len(part.vertices) - 1}')
    if suffix == '.off':
        _check_number_of_faces(path, sum(len(getattr(part, 'faces', ())) for part in parts))
    return loaded


def surface_points(loaded: Any, num_points: int | None, random: np.random.Generator) -> RawCloud:
    """Return points and colors of trimesh's Trimesh, PointCloud or Scene, as :func:`sample_mesh`.

    Raises:
        ValueError: It has no vertices, or some that are not finite.
    """
    import trimesh
    parts = list(loaded.geometry.values()) if isinstance(loaded, trimesh.Scene) else [loaded]
    mesh = loaded.to_geometry() if isinstance(loaded, trimesh.Scene) else loaded
    if len(getattr(mesh, 'vertices', ())) == 0:
        raise ValueError('it has no vertices')
    if len(getattr(mesh, 'faces', ())) == 0:
        colors = np.asarray(getattr(mesh, 'colors', ()))  # of a trimesh.PointCloud
        return RawCloud(np.asarray(mesh.vertices), colors[:, :3] if len(colors) == len(mesh.vertices) else None)
    if not np.isfinite(mesh.triangles).all():
        raise ValueError('it has vertices that are NaN or infinite')
    count = POINTS_OF_A_MESH if num_points is None else num_points
    points, face_index = trimesh.sample.sample_surface(mesh, count, seed=random)
    # A part without colors would be gray.
    has_colors = all(getattr(getattr(part, 'visual', None), 'kind', None) in ('vertex', 'face') for part in parts)
    return RawCloud(points, mesh.visual.face_colors[face_index, :3] if has_colors else None, is_mesh=True)


def _files_around(path: Path, beside: bool = False) -> Any:
    """Return a resolver that gives trimesh the regular files of the folder of ``path`` and below, and no others.

    These are the buffers of a glTF file; ``beside`` adds the folders beside it, where textures of ShapeNet are. Opening
    a pipe would wait for ever, and a path may lead anywhere.
    """
    from trimesh.resolvers import FilePathResolver

    class FilesNextTo(FilePathResolver):
        def get(self, name: str) -> bytes:
            inside = PurePosixPath(unquote(str(name)).replace('\\', '/'))
            steps = inside.parts[1:] if beside and inside.parts[:1] == ('..', ) else inside.parts
            file = path.parent / inside
            if inside.is_absolute() or '..' in steps or not file.is_file():
                raise ValueError(f'it refers to {str(name)[:80]!r}, which is not a file next to it')
            return file.read_bytes()

    return FilesNextTo(str(path))


def part_colors(parts: Sequence[Any], faces: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Return the colors of points on meshes: of the texture, material, vertices or faces; gray where there are none.

    Args:
        parts: Trimesh objects.
        faces: Index of the face of each point (N,), counted over all parts.
        weights: Barycentric weights of its corners (N, 3).

    Returns:
        uint8 (N, 3), RGB.
    """
    colors = np.full((len(faces), 3), 128, dtype=np.uint8)
    first = 0
    for part in parts:
        own = (faces >= first) & (faces < first + len(part.faces))
        chosen = faces[own] - first
        first += len(part.faces)
        visual = part.visual
        material, uv = getattr(visual, 'material', None), getattr(visual, 'uv', None)
        image = getattr(material, 'image', None) or getattr(material, 'baseColorTexture', None)
        if image is not None and uv is not None and len(uv) == len(part.vertices) and np.isfinite(uv).all():
            pixels = np.asarray(image.convert('RGB'))
            place = np.einsum('nk,nkd->nd', weights[own], np.asarray(uv)[part.faces[chosen]][..., :2])
            height, width = pixels.shape[:2]
            column, row = (place[:, 0] % 1 * width).astype(int), ((1 - place[:, 1]) % 1 * height).astype(int)
            colors[own] = pixels[row.clip(0, height - 1), column.clip(0, width - 1)]
        elif material is not None:
            colors[own] = np.asarray(material.main_color)[:3]
        elif getattr(visual, 'kind', None) == 'vertex':
            corners = visual.vertex_colors[part.faces[chosen], :3].astype(float)
            colors[own] = np.rint(np.einsum('nk,nkd->nd', weights[own], corners)).astype(np.uint8)
        elif getattr(visual, 'kind', None) == 'face':
            colors[own] = visual.face_colors[chosen, :3]
    return colors


def _check_number_of_faces(path: Path, num_triangles: int) -> None:
    """Refuse an OFF file that is truncated within its faces, which would read as a smaller mesh; its header tells."""
    with open(path, errors='replace') as file:
        counts = re.match(r'\s*OFF\s*(?:#.*\s*)*(\d+)\s+(\d+)', file.read(4096))
    if counts and num_triangles < int(counts[2]):
        raise ValueError(f'it has {num_triangles} triangles, its header announces {counts[2]} faces')


def _check_ply_header(path: Path) -> None:
    """Refuse a PLY file with more elements than bytes: memory would be reserved for all of them."""
    size = path.stat().st_size
    with open(path, 'rb') as file:
        header = file.read(65536).partition(b'end_header')[0]
    for name, count in re.findall(rb'^element\s+(\S+)\s+(\d+)', header, re.MULTILINE):
        if int(count) > size:
            kind = name.decode(errors='replace')
            raise ValueError(f'its header announces {int(count)} elements {kind!r}, but it has {size} bytes')


def _check_obj_faces(path: Path) -> None:
    """Refuse indices that count back from the line of a face, which trimesh counts from the end of the file."""
    with open(path, errors='replace') as file:
        for number, line in enumerate(file, 1):
            if line.startswith('f') and re.match(r'f\s.*(?<![\w.+-])-\d', line):
                raise ValueError(f'line {number} has a face with negative indices, which are not supported: export the '
                                 'mesh with absolute ones')


def _check_gltf(path: Path) -> None:
    """Refuse a glTF file that announces more values than it could hold, or repeats its meshes too often."""
    header = gltf_header(path)
    accessors = list(json_objects(header.get('accessors')))
    for accessor in accessors:
        count = accessor.get('count')
        if not isinstance(count, int) or not 0 <= count <= 3 * MAX_POINTS:
            raise ValueError(f'it announces an array of {count} values, and at most {3 * MAX_POINTS} are read')
    # Arrays without bytes of their own are filled with zeros.
    if sum(accessor['count'] for accessor in accessors if 'bufferView' not in accessor) > MAX_POINTS:
        raise ValueError(f'it announces more than {MAX_POINTS} values that it does not hold')
    sizes = [sum(accessors[place]['count'] for primitive in json_objects(mesh.get('primitives'))
                 for place in [primitive.get('attributes', {}).get('POSITION')]
                 if isinstance(place, int) and 0 <= place < len(accessors))
             for mesh in json_objects(header.get('meshes'))]
    used = [node['mesh'] for node in json_objects(header.get('nodes')) if isinstance(node.get('mesh'), int)]
    total = sum(sizes[mesh] for mesh in used if 0 <= mesh < len(sizes))
    if total > MAX_POINTS:
        raise ValueError(f'it shows its meshes so often that they have {total} vertices, and at most {MAX_POINTS} are '
                         'read')

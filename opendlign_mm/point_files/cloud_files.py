"""Points and colors of files of points alone: PCD, LAS, text and raw float32."""
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np

from .array_files import MAX_POINTS, RawCloud, colors_as_bytes

_COLOR_NAMES = (('red', 'green', 'blue'), ('r', 'g', 'b'))


def read_pcd(path: Path) -> RawCloud:
    """Return points and colors of a PCD file in any of its three encodings: ascii, binary, binary_compressed.

    Its ``VIEWPOINT`` is not applied: the points stay in the frame that they are stored in. Colors are its fields
    ``rgb`` or ``rgba``, bytes packed in 32 bits.

    Raises:
        ValueError: The file has no fields x, y and z, fewer points than its header says, or too many of them. Damaged
            files raise other errors too.
    """
    from pypcd4 import MetaData, PointCloud as PcdFile
    header, offset = _pcd_header(path)
    meta = MetaData.parse_header(header)
    lacking = [axis for axis in 'xyz' if axis not in meta.fields]
    if lacking:
        raise ValueError(f'it has no field {", ".join(lacking)}, only {", ".join(meta.fields)}')
    if meta.points > MAX_POINTS:
        raise ValueError(f'it announces {meta.points} points, and at most {MAX_POINTS} are read')
    width, encoding = meta.build_dtype().itemsize, meta.data.value
    with open(path, 'rb') as file:
        file.seek(offset)
        content = file.read(8)
    if encoding.endswith('compressed') and len(content) == 8 and meta.points:
        # The library reserves what the second number says.
        announced = int(np.frombuffer(content, '<u4')[1])
        if announced != meta.points * width:
            raise ValueError(f'it holds {announced} bytes of values, its header announces {meta.points * width}')
    values = PcdFile.from_path(path).pc_data.reshape(-1)
    if len(values) != meta.points:
        raise ValueError(f'it has {len(values)} points, its header announces {meta.points}')
    points = np.stack([values[axis].astype(np.float64) for axis in 'xyz'], axis=1)
    packed = next((values[name] for name in ('rgb', 'rgba') if name in meta.fields), None)
    if packed is None or packed.dtype.itemsize != 4:
        return RawCloud(points)
    bits = np.ascontiguousarray(packed).view(np.uint32)
    return RawCloud(points, np.stack([bits >> shift & 255 for shift in (16, 8, 0)], axis=1).astype(np.uint8))


def _pcd_header(path: Path) -> tuple[list[str], int]:
    """Return the lines of the header up to ``DATA``, and where the values begin."""
    lines = []
    with open(path, 'rb') as file:
        for _ in range(100):
            line = file.readline(4096).decode('utf-8').strip()
            if line and not line.startswith('#'):
                lines.append(line)
            if line.startswith('DATA'):
                return lines, file.tell()
    raise ValueError("it has no line 'DATA'")


def read_las(path: Path) -> RawCloud:
    """Return points and colors of a LAS or LAZ file; points are float64 in the unit of its map, mostly meters.

    Raises:
        ValueError: The package laspy is missing, or the file is damaged or has too many points.
    """
    try:
        import laspy
    except ImportError as error:
        raise ValueError("reading it needs laspy: pip install 'opendlign_mm[scans]'") from error
    with laspy.open(path) as file:
        header = file.header
        if header.point_count > MAX_POINTS:
            raise ValueError(f'it has {header.point_count} points, and at most {MAX_POINTS} are read; reduce them')
        size = header.point_count * header.point_format.size
        if not header.are_points_compressed and size > path.stat().st_size:
            raise ValueError(f'its header announces {size} bytes of points, but it has fewer')
        if header.are_points_compressed:
            _check_chunks(path, header)
        las = file.read()
    if len(las.points) != header.point_count:
        raise ValueError(f'it has {len(las.points)} points, its header announces {header.point_count}')
    points = np.asarray(las.xyz, dtype=np.float64)
    if not {'red', 'green', 'blue'} <= set(las.point_format.dimension_names):
        return RawCloud(points)
    colors = np.stack([np.asarray(las[name]) for name in _COLOR_NAMES[0]], axis=1)
    if not colors.any():  # the format has fields for colors that the scanner did not fill
        return RawCloud(points)
    # The standard has 16 bits; many writers fill in 8 of them.
    return RawCloud(points, (colors // 257 if colors.max() > 255 else colors).astype(np.uint8))


def _check_chunks(path: Path, header: Any) -> None:
    """Refuse a LAZ file whose compressed chunks cannot all be in it.

    The decompressor reserves memory for as many as the file announces, and ends the process where it gets none.

    Raises:
        ValueError: The table of chunks is outside the file, or is of more chunks or bytes than the file has.
    """
    import lazrs
    size, start = path.stat().st_size, header.offset_to_point_data
    with path.open('rb') as file:
        file.seek(start)
        place = int.from_bytes(file.read(8), 'little', signed=True)
        if place == -1:  # a writer that could not go back puts it at the end
            file.seek(max(size - 8, 0))
            place = int.from_bytes(file.read(8), 'little', signed=True)
        if not start < place <= size - 8:
            raise ValueError('its table of chunks is not within the file')
        file.seek(place + 4)
        count = int.from_bytes(file.read(4), 'little')
        # The first point of a chunk is stored as it is.
        if count * header.point_format.size > size:
            raise ValueError(f'it announces {count} chunks of points, more than {size} bytes can hold')
        file.seek(start)
        laszip = header.vlrs[header.vlrs.index('LasZipVlr')]
        stored = sum(chunk[1] for chunk in lazrs.read_chunk_table(file, lazrs.LazVlr(laszip.record_data)))
    if stored > size:
        raise ValueError(f'it announces {stored} bytes of compressed points, but has {size} bytes')


def read_raw(path: Path, dims: int | None) -> RawCloud:
    """Return points and colors of a file of float32 values, as KITTI, nuScenes and mmdetection3d have them.

    Args:
        path: The file.
        dims: Number of values of a point, x, y, z first.

    Raises:
        ValueError: ``dims`` is None or below 3, or the size of the file is not a multiple of it.
    """
    if dims is None:
        raise ValueError('it has no header: say how many float32 values each point has, dims=4 for KITTI, 5 for '
                         'nuScenes, 6 for x, y, z and colors')
    if dims < 3:
        raise ValueError(f'dims must be at least 3 (x, y, z), got {dims}')
    size = path.stat().st_size
    if size % (4 * dims):
        raise ValueError(f'its {size} bytes are not a multiple of {4 * dims}, the size of a point of {dims} float32 '
                         'values: give the right dims')
    return split_columns(np.fromfile(path, dtype='<f4').reshape(-1, dims))


def read_text_cloud(path: Path) -> RawCloud:
    """Return points and colors of a text file with one point a line, separated by commas, semicolons, tabs or blanks.

    A line of names before the first point (x, y, z; red, green, blue or r, g, b), which may be a comment, says which
    columns to take; a line of one number, the number of points in .pts files, and comments (# or //) are skipped.
    Without names x, y and z are first; for colors see :func:`split_columns`.

    Raises:
        ValueError: A line is not made of numbers, or has another number of them.
    """
    with open(path, encoding='utf-8-sig') as file:
        head = [line.strip() for line in islice(file, 100)]
    names: list[str] = []
    for start, line in enumerate(head):
        is_comment = line.startswith(('#', '//'))
        words = _words(line.lstrip('#/ '))
        if not is_comment and len(words) > 1 and all(map(_is_number, words)):
            break
        named = [word.strip('"\' ').lower() for word in words]
        if set('xyz') <= set(named):
            names = named
        elif not is_comment and words and not (len(words) == 1 and words[0].isdigit()):
            raise ValueError(f'its line {start + 1} is neither numbers nor names with x, y and z: {line[:60]!r}')
    else:
        raise ValueError('it has no line with a point')
    if len(names) != len(words):  # a comment in words
        names = []
    group: tuple[str, ...] = next((group for group in _COLOR_NAMES if set(group) <= set(names)), ())
    columns = [names.index(name) for name in (*'xyz', *group)] if names else None
    values = np.loadtxt(path, delimiter=_delimiter(line), dtype=np.float64, ndmin=2, comments=['#', '//'],
                        skiprows=start, usecols=columns, encoding='utf-8-sig')
    if columns is None:
        return split_columns(values)
    return RawCloud(values[:, :3], colors_as_bytes(values[:, 3:], len(values)) if group else None)


def split_columns(values: np.ndarray) -> RawCloud:
    """Split rows x, y, z, ... without names into points and colors.

    Three columns are colors if all their values are whole numbers from 0 to 255, or all are shares from 0 to 1: the
    fourth to sixth, or, after an intensity, the fifth to seventh of seven. Normals, which are partly negative, are not.
    """
    if values.ndim != 2 or values.shape[1] < 3:
        return RawCloud(values)  # refused where all points are checked
    for start in (3, 4) if values.shape[1] == 7 else (3, ):
        colors = values[:, start:start + 3]
        if colors.shape[1] == 3 and colors.dtype.kind in 'iuf' and len(colors) and np.isfinite(colors).all() and (
                colors.min() >= 0) and (colors.max() <= 1 or colors.max() <= 255 and (colors == np.rint(colors)).all()):
            return RawCloud(values[:, :3], colors_as_bytes(colors, len(values)))
    return RawCloud(values[:, :3])


def _delimiter(line: str) -> str | None:
    return next((mark for mark in (';', ',', '\t') if mark in line), None)


def _words(line: str) -> list[str]:
    return [word.strip() for word in line.split(_delimiter(line)) if word.strip()]


def _is_number(word: str) -> bool:
    try:
        float(word)
    except ValueError:
        return False
    return True

"""A small library of furniture in Sweet Home 3D's format."""
import io
import zipfile
from collections.abc import Sequence
from pathlib import Path

from PIL import Image

# Name, other lines of the entry: each is a box of 1 x 2 x 4 (x, y, z) whose side toward +z is red, the others blue.
Entry = tuple[str, str]
BOX = ('mtllib box.mtl\n' + ''.join(f'v {x} {y} {z}\n' for x in (0, 1) for y in (0, 2) for z in (0, 4)) +
       'usemtl blue\nf 1 5 7 3\nf 1 2 6 5\nf 3 7 8 4\nf 1 3 4 2\nf 5 6 8 7\nusemtl red\nf 2 4 8 6\n')
MATERIALS = 'newmtl blue\nKd 0 0 1\nnewmtl red\nKd 1 0 0\n'
# A square in the plane z = 0 with a picture on it: green is its upper left quarter.
SQUARE = ('mtllib square.mtl\nusemtl picture\nv 0 0 0\nv 1 0 0\nv 1 1 0\nv 0 1 0\nvt 0 0\nvt 1 0\nvt 1 1\nvt 0 1\n'
          'f 1/1 2/2 3/3 4/4\n')


def write_library(path: Path, entries: Sequence[Entry], size: tuple[float, float, float] = (40, 30, 80)) -> None:
    """Write a library whose models are boxes, or a square for the name 'Picture'; sizes in centimeters."""
    picture = Image.new('RGB', (8, 8), (0, 0, 255))
    picture.paste((0, 255, 0), (0, 0, 4, 4))
    png = io.BytesIO()
    picture.save(png, 'PNG')
    lines = ['# a library', 'id=Tests']
    for number, (name, more) in enumerate(entries, 1):
        kind = 'square' if name == 'Picture' else 'box'
        lines += [f'id#{number}=Tests#{kind}{number}', f'name#{number}={name}', f'model#{number}=/tests/{kind}.obj',
                  *(f'{side}#{number}={value}' for side, value in zip(('width', 'depth', 'height'), size, strict=True)),
                  *(f'{line.split("=")[0]}#{number}={line.split("=")[1]}' for line in more.splitlines())]
    path.parent.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(path, 'w', zipfile.ZIP_DEFLATED) as archive:
        archive.writestr('PluginFurnitureCatalog.properties', '\r\n'.join(lines).encode('latin-1'))
        for name, content in (('box.obj', BOX), ('box.mtl', MATERIALS), ('square.obj', SQUARE), ('picture.png',
                              png.getvalue()), ('square.mtl', 'newmtl picture\nKd 1 1 1\nmap_Kd picture.png\n')):
            archive.writestr(f'tests/{name}', content)

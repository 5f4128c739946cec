"""Renderings of meshes: the pixels of the depth views, left and near where they should be, and the right colors."""
import numpy as np
import pytest
import torch
import trimesh
from mmdet3d.registry import TRANSFORMS
from PIL import Image

from opendlign_mm.datasets.mesh_rendering import render_views
from opendlign_mm.datasets.procedural import sample_shape
from opendlign_mm.datasets.procedural.catalog import surface_of_shape
from opendlign_mm.point_files.surfaces import Surface, read_surface
from opendlign_mm.projection import ContourAwareProjection

RED, GREEN, BLUE = (200, 0, 0), (0, 200, 0), (0, 0, 200)


def boxes(*parts) -> tuple[Surface, torch.Tensor]:
    """Boxes (center, side, color) as a surface, and its corners as the points."""
    meshes = [trimesh.creation.box([side] * 3, trimesh.transformations.translation_matrix(center))
              for center, side, _ in parts]
    colors = np.repeat(np.array([color for *_, color in parts], np.uint8), 12, axis=0)
    whole = trimesh.util.concatenate(meshes)
    return Surface(np.asarray(whole.triangles), lambda faces, _: colors[faces]), torch.from_numpy(whole.vertices.copy())


def rows_and_columns(image: np.ndarray, channel: int) -> tuple[np.ndarray, np.ndarray]:
    """Where only this channel of an image is bright."""
    others = [other for other in range(3) if other != channel]
    return np.nonzero((image[..., channel] > 60) & (image[..., others] < 30).all(-1))


@pytest.mark.parametrize('category', ['chair', 'desk'])
def test_silhouettes_are_those_of_the_depth_views(category):
    points = torch.from_numpy(sample_shape(category, np.random.default_rng(3), 40_000).points)
    surface = Surface(*surface_of_shape(category, np.random.default_rng(3), 40_000))
    projection = ContourAwareProjection(80, view_angles=(30, 200), densify_kernel=1, smooth_kernel=1)
    depth = projection([points])[0].numpy() < 1
    image = (render_views(surface, points, projection) < 250).any(-1)

    def overlap(other):
        return (depth & other).sum() / (depth | other).sum()

    # A point anywhere in a pixel marks it, the rays miss some of its edges.
    assert overlap(image) > .9 and (image & ~depth).sum() < .01 * depth.sum()
    assert all(overlap(np.roll(image, step, axis)) < overlap(image) - .02 for step in (-1, 1) for axis in (1, 2))
    assert overlap(image[:, :, ::-1]) < overlap(image) - .02


def test_left_is_left_and_up_is_up():
    surface, points = boxes(((-1, 0, -1), .6, RED), ((1, 0, 1), .6, BLUE))
    front, back = render_views(surface, points, ContourAwareProjection(41, view_angles=(0, 180), elevation=0))
    for image, side in ((front, 1), (back, -1)):
        (red_rows, red_columns), (blue_rows, blue_columns) = (rows_and_columns(image, channel) for channel in (0, 2))
        assert np.sign(blue_columns.mean() - red_columns.mean()) == side
        assert blue_rows.max() < 20 < red_rows.min()
    # The longest side, 2.6, fills 32 pixels from the middle of pixel 4: the red box of 0.6 ends at 11.38.
    assert np.unique(rows_and_columns(front, 0)[1]).tolist() == list(range(5, 12))


def test_near_hides_far():
    surface, points = boxes(((0, -1, 0), .8, GREEN), ((0, 1, 0), .8, RED))
    front, back = render_views(surface, points, ContourAwareProjection(31, view_angles=(0, 180), elevation=0))
    assert len(rows_and_columns(front, 1)[0]) and not len(rows_and_columns(front, 0)[0])
    assert len(rows_and_columns(back, 0)[0]) and not len(rows_and_columns(back, 1)[0])


def test_the_light_does_not_depend_on_the_orientation_of_triangles():
    surface, points = boxes(((0, 0, 0), 1, (180, 120, 60)))
    projection = ContourAwareProjection(25, view_angles=(30, ))
    turned = Surface(surface.corners[:, ::-1], surface.paint)
    np.testing.assert_array_equal(render_views(surface, points, projection), render_views(turned, points, projection))


def test_place_and_scale_do_not_matter():
    surface, points = boxes(((0, 0, 0), 1, RED), ((0, 1, 0), .5, BLUE))
    projection = ContourAwareProjection(25, view_angles=(30, 90))
    moved = Surface(surface.corners * 1e3 + 1e6, surface.paint)
    np.testing.assert_allclose(render_views(moved, points.double() * 1e3 + 1e6, projection).astype(int),
                               render_views(surface, points, projection), atol=40)
    same = render_views(moved, points.double() * 1e3 + 1e6, projection) == render_views(surface, points, projection)
    assert same.mean() > .99


# ---------------------------------------------------------------- files
def write_obj(folder, texture: str = 'texture.png'):
    """A square, y up: its left half has a material without texture (green), the right half one (red over blue)."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / 'm.mtl').write_text(f'newmtl plain\nKd 0 0.8 0\nnewmtl picture\nKd 1 1 1\nmap_Kd {texture}\n')
    (folder / 'square.obj').write_text(
        'mtllib m.mtl\n' + ''.join(f'v {x} {y} 0\n' for y in (0, 2) for x in (-1, 0, 1))
        + 'vt 0 0\nvt 1 0\nvt 1 1\nvt 0 1\nusemtl plain\nf 1/1 2/2 5/3\nf 1/1 5/3 4/4\n'
          'usemtl picture\nf 2/1 3/2 6/3\nf 2/1 6/3 5/4\n')
    (folder / texture).parent.mkdir(exist_ok=True)
    Image.fromarray(np.array([[RED], [BLUE]], np.uint8)).save(folder / texture)
    return folder / 'square.obj'


@pytest.mark.parametrize('texture', ['texture.png', '../images/texture.png'])
def test_materials_and_textures(tmp_path, texture):
    """The whole way of a transform, from a file whose y is up."""
    path = write_obj(tmp_path / 'models', texture)
    results = dict(sample_id='s', points_path=str(path), up_axis='y')
    results = TRANSFORMS.build(dict(type='LoadShapePoints', num_points=500))(results)
    view = dict(resolution=41, view_angles=(0, ), elevation=0)
    image, = TRANSFORMS.build(dict(type='RenderImages', projection=view))(results)['images']
    assert image.shape == (41, 41, 3) and image.dtype == np.uint8 and (image[0] == 255).all()
    green, red, blue = (rows_and_columns(image, channel) for channel in (1, 0, 2))
    assert green[1].max() <= 20 < min(red[1].min(), blue[1].min()) + 1
    assert red[0].max() < blue[0].min() and len(green[0]) > 200 < len(red[0]) + len(blue[0])


def test_colors_of_vertices_and_of_parts_in_their_places(tmp_path):
    mesh = trimesh.creation.box()
    mesh.visual.vertex_colors = np.where(mesh.vertices[:, :1] < 0, [RED], [BLUE])
    mesh.export(tmp_path / 'colored.ply')
    surface = read_surface(tmp_path / 'colored.ply')
    middle = surface.corners.mean(axis=1)
    painted = surface.paint(np.arange(12), np.full((12, 3), 1 / 3))
    assert (painted[middle[:, 0] < -.4] == RED).all() and (painted[middle[:, 0] > .4] == BLUE).all()
    scene = trimesh.Scene()
    for place in (-2, 2):  # one mesh, shown twice
        scene.add_geometry(trimesh.creation.box(), geom_name='box',
                           transform=trimesh.transformations.translation_matrix((place, 0, 0)))
    scene.export(tmp_path / 'twice.glb')
    corners = read_surface(tmp_path / 'twice.glb').corners
    assert len(corners) == 24 and set(np.sign(corners.mean(axis=1)[:, 0])) == {-1, 1}


def test_what_cannot_be_rendered_is_said(tmp_path):
    np.savetxt(tmp_path / 'cloud.xyz', np.random.rand(20, 3))
    trimesh.PointCloud(np.random.rand(20, 3)).export(tmp_path / 'cloud.ply')
    render = TRANSFORMS.build(dict(type='RenderImages', projection=dict(resolution=8)))
    assert 'samples=2' in repr(render)
    for name, message in (('cloud.xyz', 'cloud.xyz is not a mesh'), ('cloud.ply', 'cloud.ply .* has no faces'),
                          (None, "has no 'points_path'")):
        about = {} if name is None else dict(points_path=str(tmp_path / name))
        with pytest.raises(ValueError, match=f's: .*{message}'):
            render(dict(about, sample_id='s', points=torch.rand(9, 3)))
    path = write_obj(tmp_path)
    with pytest.raises(ValueError, match='s: the points are not on the mesh'):  # y up, but said to be z up
        render(dict(sample_id='s', points_path=str(path), points=torch.rand(50, 3) * torch.tensor([1, 0, 1])))
    with pytest.raises(FileNotFoundError, match='no mesh file'):
        render(dict(sample_id='s', points_path='nowhere.obj', points=torch.rand(9, 3)))


@pytest.mark.parametrize('options, message', [
    (dict(projection=dict(type='RealisticProjection')), 'needs a ContourAwareProjection'),
    (dict(samples=0), 'samples must be >= 1'), (dict(background=(0, 300, 0)), 'background must be three values')])
def test_wrong_options(options, message):
    with pytest.raises(ValueError, match=message):
        TRANSFORMS.build(dict(type='RenderImages', **options))


@pytest.mark.parametrize('missing', ['m.mtl', 'texture.png'])
def test_missing_materials_and_textures_are_no_error(tmp_path, missing):
    path = write_obj(tmp_path)
    (tmp_path / missing).unlink()
    surface = read_surface(path)
    colors = surface.paint(np.arange(4), np.full((4, 3), 1 / 3))
    assert len(surface.corners) == 4 and (colors.max(1) > 0).all()
    assert missing == 'm.mtl' or (0, 204, 0) in {tuple(color) for color in colors.tolist()}


def test_textures_from_elsewhere_are_not_read(tmp_path):
    path = write_obj(tmp_path / 'a/b')
    Image.fromarray(np.array([[RED], [RED]], np.uint8)).save(tmp_path / 'secret.png')
    (path.parent / 'm.mtl').write_text('newmtl plain\nKd 0 0.8 0\nnewmtl picture\nKd 0 0 1\nmap_Kd ../../secret.png\n')
    colors = read_surface(path).paint(np.arange(4), np.full((4, 3), 1 / 3))
    assert RED not in {tuple(color) for color in colors.tolist()}

"""Published inputs of the paper's tables: where checkpoints and datasets come from, and the authors' prompts."""
from pathlib import Path

# Beginning of the name of a checkpoint -> how to get it. The first that fits counts.
_CHECKPOINTS = {
    'opendlign_': ('`opendlign download {dashed}` fetches it from OpenDlign/OpenDlign-Models on the Hugging Face hub, '
                   'or convert the file with `tools/convert_checkpoint.py opendlign`, or train configs/{name}.py'),
    '3detr_m_scannet': ("convert 3DETR's published scannet_masked_ep1080.pth with `tools/convert_checkpoint.py 3detr "
                        'FILE checkpoints/3detr_m_scannet.pth --config configs/3detr_m_scannet.py`'),
    'clip2point': "convert best_eval.pth of the authors' cloud drive with `tools/convert_checkpoint.py clip2point`",
    'ulip': "convert the file of the dataset SFXX/ulip on the Hugging Face hub with `tools/convert_checkpoint.py ulip`",
    'openshape_pointbert_g14_dlign': '', 'openshape_sparseconv_g14_dlign': '', 'tamm_pointbert_g14_dlign': '',
    'openshape_pointbert': 'OpenShape/openshape-pointbert-shapenet', 'openshape_sparseconv':
    'OpenShape/openshape-spconv-shapenet-only', 'tamm': 'zhihao406/tamm-models'}
_ENSEMBLES = {'openshape_pointbert': 'OpenShape/openshape-pointbert-vitg14-rgb',
              'openshape_sparseconv': 'OpenShape/openshape-spconv-all'}
# Folder below data/ -> how to get what is in it.
_DATA = {
    'opendlign': 'unpack the dataset OpenDlign/OpenDlign-Datasets of the Hugging Face hub',
    'openshape': 'unpack the dataset OpenShape/openshape-training-data of the Hugging Face hub; class features are '
                 'written by `tools/convert_checkpoint.py class_features`',
    'modelnet40_normal_resampled': "unpack PointNet++'s modelnet40_normal_resampled.zip",
    'modelnet40_ply_hdf5_2048': "unpack PointNet's modelnet40_ply_hdf5_2048.zip",
    'ModelNet40': "unpack Princeton's ModelNet40.zip",
    'ScanObjectNN': 'unpack h5_files.zip, which the ScanObjectNN project gives on request',
    'OmniObject3D': "unpack OmniObject3D's point clouds of 4,096 points, <category>/<object>.ply",
    'scannet': 'prepare ScanNet V2 as mmdetection3d describes',
    'scannet20': 'write it from the scans with `tools/make_scannet_infos.py`',
    'shapenet_rendered': 'write it with `tools/render_images.py`',
    'shapenet_features_g14': 'write it with `tools/encode_images.py configs/baselines/clip_bigg14.py`'}


def checkpoint_source(name: str) -> str:
    """Return how to get a checkpoint by its name without its ending, such as 'opendlign_h14'."""
    plain = name.removeprefix('ensemble_')
    folder = 'ensemble/' if plain != name else ''
    start = next((key for key in _CHECKPOINTS if plain.startswith(key)), None)
    if start is None:
        return 'convert a published one with `tools/convert_checkpoint.py`, or train it'
    text = _CHECKPOINTS[start]
    if not text:
        return f'its weights are not published; train configs/baselines/{folder}{plain}.py'
    if '/' in text and ' ' not in text:
        repository = _ENSEMBLES.get(start, text) if folder else text
        kind = 'tamm' if start == 'tamm' else 'openshape'
        return (f'convert the file of {repository} on the Hugging Face hub with `tools/convert_checkpoint.py {kind} '
                f'FILE checkpoints/{name}.pth --config configs/baselines/{folder}{plain}.py`')
    return text.format(name=name, dashed=name.replace('_', '-'))


def data_source(folder: str) -> str:
    """Return how to get the data of a folder below ``data/``, such as 'opendlign'."""
    return _DATA.get(folder, 'say with --data-root in which folder it is')


def prompts_file(templates: Path | None, data_root: Path) -> Path | None:
    """Return the authors' file of templates: ``templates``, or templates.json in the folders of their data, or None.

    Raises:
        FileNotFoundError: ``templates`` does not exist.
    """
    if templates is not None:
        if not templates.is_file():
            raise FileNotFoundError(f'no file of templates at {templates}: --templates takes templates.json of the '
                                    "authors' code")
        return templates
    places = (data_root / 'opendlign/templates.json', data_root / 'templates.json')
    return next((place for place in places if place.is_file()), None)

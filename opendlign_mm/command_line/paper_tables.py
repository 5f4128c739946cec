"""Rows of the paper's tables as runs of this project's commands: config, options and checkpoint of each."""
from dataclasses import dataclass, field
from typing import Literal

TABLES = {
    '1': 'zero-shot classification', '2': 'few-shot classification', '3': 'zero-shot detection, ScanNet, 18 classes',
    '7': 'zero-shot classification, Objaverse-LVIS', '9': "zero-shot detection, ScanNet, OV-3DET's 20 classes"}
PUBLISHED_KEYS = {
    '1': 'table1_zero_shot_classification', '2': 'table2_few_shot_classification',
    '3': 'table3_scannet_zero_shot_detection', '7': 'table7_objaverse_lvis', '9': 'table9_scannet20_ov3det_setting'}
MODELS = {'OpenDlign-B32': 'b32', 'OpenDlign-B16': 'b16', 'OpenDlign-L': 'l14', 'OpenDlign': 'h14'}
BENCHMARKS = {'ModelNet40': 'modelnet40', 'ScanObjectNN': 'scanobjectnn', 'OmniObject3D': 'omniobject3d'}
# Method of table 1 -> config of its test on ModelNet40.
BASELINES = {
    'PointCLIP': 'pointclip_rn50', 'PointCLIP V2': 'pointclip_v2_b16', 'CLIP2Point': 'clip2point_b32',
    'ULIP-PointBERT': 'ulip_pointbert', 'OpenShape-SparseConv': 'openshape_sparseconv_g14',
    'OpenShape-PointBERT': 'openshape_pointbert_g14', 'TAMM-SparseConv': 'tamm_sparseconv_g14',
    'TAMM-PointBERT': 'tamm_pointbert_g14', 'OpenShape-SparseConv (+dlign)': 'openshape_sparseconv_g14_dlign',
    'OpenShape-PointBERT (+dlign)': 'openshape_pointbert_g14_dlign',
    'TAMM-PointBERT (+dlign)': 'tamm_pointbert_g14_dlign'}
WITHOUT_CHECKPOINT = ('PointCLIP', 'PointCLIP V2')
# Rooms of the demonstration of table 3.
ROOMS = 'rooms'


@dataclass(frozen=True)
class Run:
    """One measurement: a test, or a few-shot classification, of one config.

    Attributes:
        column: Name of the benchmark.
        config: Path below ``configs``.
        checkpoint: Name of the checkpoint without its ending; None where the config needs none.
        options: Changes to the config as ``key=value``.
        kind: ``'test'``, or ``'few_shot'``.
        arguments: Further arguments of the tool.
        train: Whether the checkpoint is trained first, by the same config.
        rooms: Whether procedural rooms are made first.
    """
    column: str
    config: str
    checkpoint: str | None = None
    options: tuple[str, ...] = ()
    kind: Literal['test', 'few_shot'] = 'test'
    arguments: tuple[str, ...] = ()
    train: bool = False
    rooms: bool = False


@dataclass(frozen=True)
class Row:
    """One row of a table.

    Attributes:
        method: Name of the method, as published.
        source: Training source, as published; '' where the table has no such column.
        runs: Its measurements.
        note: What a reader must know of it.
    """
    method: str
    source: str = ''
    runs: tuple[Run, ...] = field(default=())
    note: str = ''

    @property
    def name(self) -> str:
        """Name that tells the rows of a table apart."""
        return f'{self.method}, {self.source}' if self.source else self.method


def rows_of(table: str, built_in: bool = False) -> list[Row]:
    """Return the rows of a table.

    Args:
        table: Key of ``TABLES``.
        built_in: Whether to take the demonstration models and built-in data instead of the paper's.

    Raises:
        ValueError: The table is unknown.
    """
    if table not in TABLES:
        raise ValueError(f'table {table} is unknown; the tables are {", ".join(TABLES)}')
    return _built_in(table) if built_in else _published(table)


def _published(table: str) -> list[Row]:
    if table == '1':
        return _table1()
    if table == '7':
        return [Row(method, runs=(Run('Objaverse-LVIS', f'benchmarks/opendlign_{model}_objaverse_lvis.py',
                                      f'opendlign_{model}'), )) for method, model in MODELS.items()]
    if table == '2':
        train = {'ModelNet40': ('--train', 'ann_file=modelnet40_train.txt'), 'OmniObject3D': ('--holdout', ),
                 'ScanObjectNN': ('--train', 'ann_file=h5_files/main_split_nobg/training_objectdataset.h5')}
        return [*_few_shot_baselines(), Row('OpenDlign', runs=tuple(
            Run(column, f'benchmarks/opendlign_h14_{name}_points.py', 'opendlign_h14', kind='few_shot',
                arguments=train[column]) for column, name in BENCHMARKS.items()))]
    if table == '9':
        return [Row('OpenDlign', runs=(Run('ScanNet-20', 'opendlign_h14_scannet20.py', 'opendlign_h14'), ),
                    note="boxes of a 3DETR-m that was trained on ScanNet's train split")]
    detectors = dict(zip(WITHOUT_CHECKPOINT, ('pointclip', 'pointclip_v2'), strict=True))
    return [*(Row(method, runs=(Run('ScanNet', f'baselines/{name}_scannet.py'), ))
              for method, name in detectors.items()),
            Row('OpenDlign', runs=(Run('ScanNet', 'opendlign_h14_scannet.py', 'opendlign_h14'), ))]


def _few_shot_baselines() -> list[Row]:
    rows = []
    for method in ('ULIP-PointBERT', 'OpenShape-PointBERT', 'OpenShape-SparseConv', 'TAMM-PointBERT'):
        # OpenShape's files of ModelNet40 have the test objects alone.
        split = method.startswith('ULIP')
        run = Run('ModelNet40', f'baselines/{BASELINES[method]}.py', BASELINES[method], kind='few_shot',
                  arguments=('--train', 'ann_file=modelnet40_train.txt') if split else ('--holdout', ))
        rows.append(Row(method, runs=(run, ), note='' if split else 'shots are held-out test objects'))
    return rows


def _table1() -> list[Row]:
    rows = [Row(method, '2D inferences' if method in WITHOUT_CHECKPOINT else 'ShapeNet', (
        Run('ModelNet40', f'baselines/{config}.py', None if method in WITHOUT_CHECKPOINT else config), ))
        for method, config in BASELINES.items()]
    rows += [Row(method, 'ShapeNet', tuple(
        Run(column, f'benchmarks/opendlign_{model}_{name}.py', f'opendlign_{model}')
        for column, name in BENCHMARKS.items())) for method, model in MODELS.items()]
    ensemble = [method for method in BASELINES if method.startswith(('OpenShape', 'TAMM'))]
    return rows + [Row(method, 'Ensemble', (
        Run('ModelNet40', f'baselines/ensemble/{BASELINES[method]}.py', f'ensemble_{BASELINES[method]}'), ))
        for method in ensemble]


def _built_in(table: str) -> list[Row]:
    v2 = ('view_projection._delete_=True', 'view_projection.type=RealisticProjection',
          'view_projection.output_resolution=112')
    kinds = {'complete': (), 'scan-like': ('test_dataloader.dataset.scan_like=1.', )}

    def tests(config: str, train: bool = False, options: tuple[str, ...] = (), checkpoint: str | None = None
              ) -> tuple[Run, ...]:
        return tuple(Run(column, config, checkpoint or (config.split('/')[-1][:-3] if train else None),
                         (*options, *extra, 'test_dataloader.dataset.num_per_category=40'), train=train)
                     for column, extra in kinds.items())

    if table == '1':
        return [Row('PointCLIP', runs=tests('baselines/pointclip_tiny.py')),
                Row('PointCLIP V2', runs=tests('baselines/pointclip_tiny.py', options=v2)),
                Row('CLIP2Point', runs=tests('baselines/clip2point_tiny.py', True)),
                Row('OpenShape-PointBERT', runs=tests('baselines/openshape_tiny.py', True), note='a small encoder'),
                Row('OpenShape-PointBERT (+dlign)', runs=tests('baselines/openshape_tiny_dlign.py', True),
                    note='a small encoder'),
                Row('OpenDlign', runs=tests('opendlign_tiny.py', checkpoint='opendlign-tiny'))]
    if table == '2':
        few = ('--seeds', '3')
        options = ('test_dataloader.dataset.num_per_category=20', 'test_dataloader.dataset.scan_like=1.',
                   'train_dataloader.dataset.scan_like=1.')
        configs = {'OpenShape-PointBERT': ('baselines/openshape_tiny.py', 'openshape_tiny', True),
                   'OpenDlign': ('opendlign_tiny.py', 'opendlign-tiny', False)}
        return [Row(method, runs=(Run('scan-like', config, checkpoint, options, 'few_shot', few, train), ))
                for method, (config, checkpoint, train) in configs.items()]
    if table == '3':
        v2 = tuple(option.replace('view_projection', 'model.projection') for option in v2)
        return [Row('PointCLIP', runs=(Run('rooms', 'baselines/pointclip_tiny_rooms.py', rooms=True), )),
                Row('PointCLIP V2', runs=(Run('rooms', 'baselines/pointclip_tiny_rooms.py', options=v2, rooms=True), )),
                Row('OpenDlign', runs=(Run('rooms', 'opendlign_tiny_scannet.py', 'opendlign-tiny', rooms=True), ))]
    return []

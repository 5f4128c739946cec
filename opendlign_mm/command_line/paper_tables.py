"""Rows of the paper's tables 1, 2, 3, 7 and 9 on the published data."""
from .ablation_tables import ABLATIONS
from .table_rows import BENCHMARKS, SHOTS, Row, Run, checked_table

MODELS = {'OpenDlign-B32': 'b32', 'OpenDlign-B16': 'b16', 'OpenDlign-L': 'l14', 'OpenDlign': 'h14'}
# Method of table 1 -> config of its test on ModelNet40.
BASELINES = {
    'PointCLIP': 'pointclip_rn50', 'PointCLIP V2': 'pointclip_v2_b16', 'CLIP2Point': 'clip2point_b32',
    'ULIP-PointBERT': 'ulip_pointbert', 'OpenShape-SparseConv': 'openshape_sparseconv_g14',
    'OpenShape-PointBERT': 'openshape_pointbert_g14', 'TAMM-SparseConv': 'tamm_sparseconv_g14',
    'TAMM-PointBERT': 'tamm_pointbert_g14', 'OpenShape-SparseConv (+dlign)': 'openshape_sparseconv_g14_dlign',
    'OpenShape-PointBERT (+dlign)': 'openshape_pointbert_g14_dlign',
    'TAMM-PointBERT (+dlign)': 'tamm_pointbert_g14_dlign'}
WITHOUT_CHECKPOINT = ('PointCLIP', 'PointCLIP V2')
# Test sets other than that of the configs of the compared systems: type and folder of the dataset.
OTHER_TEST_SETS = {
    'ScanObjectNN': ('ScanObjectNN', 'data/ScanObjectNN'), 'OmniObject3D': ('OmniObject3D', 'data/OmniObject3D'),
    'Objaverse-LVIS': ('ObjaverseLVIS', 'data/openshape')}
# OpenShape publishes the features of ModelNet40's class names; others are encoded by the CLIP itself.
ENCODE_CLASS_NAMES = ('model.class_features=None', 'model.text_encoder._delete_=True', *(
    f'model.text_encoder.{key}={value}' for key, value in dict(
        type='CLIPDepthBackbone', clip='ViT-bigG-14', pretrained='laion2b_s39b_b160k', num_blocks=0, pixel_mean='clip',
        pixel_std='clip').items()))


def rows_of(table: str) -> list[Row]:
    """Return the rows of a table of the paper.

    Args:
        table: Key of ``TABLES``.

    Raises:
        ValueError: The table is unknown.
    """
    return {**ABLATIONS, '1': _table1, '2': _table2, '3': _table3, '7': _table7, '9': _table9}[checked_table(table)]()


def _table1() -> list[Row]:
    rows = [_compared(method, '2D inferences' if method in WITHOUT_CHECKPOINT else 'ShapeNet', f'{config}.py',
                      None if method in WITHOUT_CHECKPOINT else config) for method, config in BASELINES.items()]
    rows += [Row(method, 'ShapeNet', tuple(
        Run(column, f'benchmarks/opendlign_{model}_{name}.py', f'opendlign_{model}', authors_prompts=True)
        for column, name in BENCHMARKS.items())) for method, model in MODELS.items()]
    ensemble = [method for method in BASELINES if method.startswith(('OpenShape', 'TAMM'))]
    return rows + [_compared(method, 'Ensemble', f'ensemble/{BASELINES[method]}.py', f'ensemble_{BASELINES[method]}')
                   for method in ensemble]


def _compared(method: str, source: str, config: str, checkpoint: str | None, columns: tuple[str, ...] = (*BENCHMARKS, )
              ) -> Row:
    """Return the row of a compared system in a table of zero-shot classification."""
    notes = ['no view weights are published for OmniObject3D and Objaverse-LVIS; those of ModelNet40 are used'
             ] if method == 'PointCLIP V2' else []
    if method.startswith(('OpenShape', 'TAMM')):
        notes.append('class names other than those of ModelNet40 are encoded by ViT-bigG-14, a download of 10 GB')
    if method.startswith('OpenShape'):
        notes.append("OpenShape itself tests on all 2,890 objects of ScanObjectNN, here on the 581 of the test split")
    return Row(method, source, tuple(
        Run(column, f'baselines/{config}', checkpoint, test_set_options(method, column)) for column in columns),
        '; '.join(notes))


def test_set_options(method: str, column: str) -> tuple[str, ...]:
    """Return what turns the test set of a compared system's config, ModelNet40, into another one."""
    if column == 'ModelNet40':
        return ()
    kind, folder = OTHER_TEST_SETS[column]
    options = [f'test_dataloader.dataset.type={kind}', f'test_dataloader.dataset.data_root={folder}']
    if column == 'Objaverse-LVIS':
        options.append('test_dataloader.dataset.on_unreadable=skip')
    if method == 'PointCLIP':
        options.append('projection.normalize=True')
    elif method == 'PointCLIP V2' and column == 'ScanObjectNN':
        options.append('model.zero_shot_head.view_weights=scanobjectnn_vit_b16')
    elif method == 'CLIP2Point':
        options.append('projection.yaw=0')
    elif method.startswith(('OpenShape', 'TAMM')):
        options += ENCODE_CLASS_NAMES
    return tuple(options)


def _table2() -> list[Row]:
    rows = []
    for method in ('ULIP-PointBERT', 'OpenShape-PointBERT', 'OpenShape-SparseConv', 'TAMM-PointBERT'):
        # OpenShape's files of ModelNet40 have the test objects alone.
        own_split = method.startswith('ULIP')
        rows.append(Row(method, runs=tuple(
            Run(column, f'baselines/{BASELINES[method]}.py', BASELINES[method], test_set_options(method, column),
                'few_shot', SHOTS[column] if own_split or column != 'ModelNet40' else ('--holdout', ))
            for column in BENCHMARKS), note='' if own_split else 'shots on ModelNet40 are held-out test objects'))
    return [*rows, Row('OpenDlign', runs=tuple(
        Run(column, f'benchmarks/opendlign_h14_{name}_points.py', 'opendlign_h14', kind='few_shot',
            arguments=SHOTS[column]) for column, name in BENCHMARKS.items()))]


def _table3() -> list[Row]:
    configs = {'PointCLIP': 'baselines/pointclip_scannet.py', 'PointCLIP V2': 'baselines/pointclip_v2_scannet.py'}
    return [*(Row(method, runs=(Run('ScanNet', config), )) for method, config in configs.items()),
            Row('OpenDlign', runs=(Run('ScanNet', 'opendlign_h14_scannet.py', 'opendlign_h14'), ),
                note="boxes of a 3DETR-m that was trained on the boxes of ScanNet's training scenes")]


def _table7() -> list[Row]:
    column = 'Objaverse-LVIS'
    compared = [method for method in BASELINES if '+dlign' not in method]
    return [*(_compared(method, '', f'{BASELINES[method]}.py',
                        None if method in WITHOUT_CHECKPOINT else BASELINES[method], (column, ))
              for method in compared),
            *(Row(method, runs=(Run(column, f'benchmarks/opendlign_{model}_objaverse_lvis.py', f'opendlign_{model}',
                                    authors_prompts=True), )) for method, model in MODELS.items())]


def _table9() -> list[Row]:
    return [Row('OpenDlign', runs=(Run('ScanNet-20', 'opendlign_h14_scannet20.py', 'opendlign_h14'), ),
                note="boxes of a 3DETR-m that was trained on the boxes of ScanNet's training scenes")]

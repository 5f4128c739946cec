"""Rows of the demonstration of the paper's tables: small models on built-in objects and rooms, minutes on two cores.

Each row takes the way of the row of the paper that it stands for: the same tool, options and training. Objects, images
and CLIP are toys, and trainings are short.
"""
from collections.abc import Callable
from dataclasses import replace

from .ablation_tables import (
    NUMBERS_OF_VIEWS,
    PART_ROWS,
    SIXTEEN_SHOTS,
    STRATEGY_NOTES,
    part_options,
    parts_name,
    strategies,
    tuning_note,
    tunings,
    view_options,
    views_name,
)
from .table_rows import Row, Run, Training, checked_table

OPENDLIGN = 'opendlign_tiny.py'
# Test objects: ten of each of the 16 categories.
OBJECTS = ('test_dataloader.dataset.num_per_category=10', )
SCAN_LIKE = 'test_dataloader.dataset.scan_like=1.'
KINDS = {'complete': (), 'scan-like': (SCAN_LIKE, )}
SCANS = ('scan-like', )
# The trainings of the tables: 160 objects instead of 640.
FEW_OBJECTS = ('train_dataloader.dataset.num_per_category=10', 'train_dataloader.batch_size=32')
FEW_EPOCHS, MORE_EPOCHS = ('train_cfg.max_epochs=5', ), ('train_cfg.max_epochs=10', )
FEW_SHOT_SCANS = (SCAN_LIKE, 'train_dataloader.dataset.scan_like=1.', 'train_dataloader.dataset.num_per_category=20')
# PointCLIP V2's projection in the size of this CLIP.
REALISTIC = ('_delete_=True', 'type=RealisticProjection', 'output_resolution=112')
# Prompts for photographs, in the words that the demonstration CLIP knows.
PLAIN_PROMPTS = "['a photo of a {}','a picture of a {}','an image of one {}','a realistic {}']"
# The compared systems do not look at the sizes of boxes, either.
VIEWS_ALONE = ('model.size_priors=None', )
# Classes of the rooms that OV-3DET is evaluated on, too.
OV3DET_CLASSES = 'bathtub,bed,bookshelf,cabinet,chair,desk,door,sink,sofa,table,toilet'


def demonstration_of(table: str) -> list[Row]:
    """Return the rows of the demonstration of a table.

    Args:
        table: Key of ``TABLES``.

    Raises:
        ValueError: The table is unknown.
    """
    return _DEMONSTRATIONS[checked_table(table)]()


def _tests(config: str, checkpoint: str | Training | None = None, options: tuple[str, ...] = (),
           columns: tuple[str, ...] = ('complete', 'scan-like')) -> tuple[Run, ...]:
    return tuple(Run(column, config, checkpoint, (*options, *KINDS[column], *OBJECTS)) for column in columns)


def _trained(config: str, epochs: tuple[str, ...] | None = None, options: tuple[str, ...] = ()) -> Training:
    return Training(config, (*FEW_OBJECTS, *(epochs or FEW_EPOCHS), *options))


def _projection(name: str) -> tuple[str, ...]:
    return tuple(f'{name}.{option}' for option in REALISTIC)


def _table1() -> list[Row]:
    openshape = {name: f'baselines/openshape_tiny{name}.py' for name in ('', '_dlign')}
    return [
        Row('PointCLIP', runs=_tests('baselines/pointclip_tiny.py')),
        Row('PointCLIP V2', runs=_tests('baselines/pointclip_tiny.py', options=_projection('view_projection')),
            note='its views, without sentences and view weights'),
        Row('CLIP2Point', runs=_tests('baselines/clip2point_tiny.py', _trained('baselines/clip2point_tiny.py'))),
        *(Row(f'OpenShape-PointBERT{" (+dlign)" if name else ""}', note='a small encoder', runs=_tests(
            config, _trained(config, MORE_EPOCHS))) for name, config in openshape.items()),
        Row('OpenDlign', runs=_tests(OPENDLIGN, 'opendlign-tiny'))]


def _table2() -> list[Row]:
    few = ('--seeds', '3')
    openshape = 'baselines/openshape_tiny.py'
    options = (*FEW_SHOT_SCANS, *OBJECTS)
    return [Row('OpenShape-PointBERT', note='a small encoder', runs=(
                Run('scan-like', openshape, _trained(openshape, MORE_EPOCHS), options, 'few_shot', few), )),
            Row('OpenDlign', runs=(Run('scan-like', OPENDLIGN, 'opendlign-tiny', options, 'few_shot', few), ))]


def _table3() -> list[Row]:
    config = 'baselines/pointclip_tiny_rooms.py'
    return [Row('PointCLIP', runs=(Run('rooms', config, rooms=True), )),
            Row('PointCLIP V2', runs=(Run('rooms', config, options=_projection('model.projection'), rooms=True), )),
            Row('OpenDlign', runs=(Run('rooms', 'opendlign_tiny_scannet.py', 'opendlign-tiny', VIEWS_ALONE,
                                       rooms=True), ))]


def _table4() -> list[Row]:
    return [Row(parts_name(switches), runs=_tests(
        OPENDLIGN, 'opendlign-tiny' if switches[1] else None,
        (*part_options(switches, PLAIN_PROMPTS), *(() if switches[0] else _projection('projection')))),
        note='' if switches[0] else "PointCLIP V2's projection") for switches in PART_ROWS]


def _table5() -> list[Row]:
    def short(training: Training) -> Training:
        return replace(training, options=_trained(training.config).options, clip_file='clip.safetensors',
                       clip=None if training.clip is None else short(training.clip))
    rows = []
    for method, note in STRATEGY_NOTES.items():
        training = strategies('alignment/tiny_').get(method, Training(OPENDLIGN))
        rows.append(Row(method, runs=_tests(training.config, short(training), columns=SCANS), note=note))
    return rows


def _table7() -> list[Row]:
    return [Row('OpenDlign', runs=_tests(OPENDLIGN, 'opendlign-tiny', ('test_dataloader.dataset.seed=1', ),
                                         ('complete', )), note='objects of another seed than in table 1')]


def _table9() -> list[Row]:
    return [Row('OpenDlign', runs=(
        Run('rooms', 'opendlign_tiny_scannet.py', 'opendlign-tiny',
            (*VIEWS_ALONE, f'test_dataloader.dataset.metainfo.classes={OV3DET_CLASSES}'), rooms=True), ),
        note=f'the classes {OV3DET_CLASSES.replace(",", ", ")} alone')]


def _table10() -> list[Row]:
    return [Row(method, reading, _tests(OPENDLIGN, _trained(OPENDLIGN, options=options), options, SCANS),
                tuning_note(method, reading)) for (method, reading), options in tunings().items()]


def _table11() -> list[Row]:
    return [Row(views_name(count), runs=(
        Run('scan-like', OPENDLIGN, 'opendlign-tiny', (*FEW_SHOT_SCANS, *OBJECTS, *view_options(count)), 'few_shot',
            (*SIXTEEN_SHOTS, '--seeds', '3')), ), note='evenly spaced views') for count in NUMBERS_OF_VIEWS]


_DEMONSTRATIONS: dict[str, Callable[[], list[Row]]] = {
    '1': _table1, '2': _table2, '3': _table3, '4': _table4, '5': _table5, '7': _table7, '9': _table9, '10': _table10,
    '11': _table11}

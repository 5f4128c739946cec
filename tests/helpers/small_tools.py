"""Run tools/train.py and tools/test.py inside the tests' process, on a demonstration config that takes a second."""
import json
import sys
from pathlib import Path

from helpers.tiny_clip import tiny_clip
from helpers.tool_modules import REPOSITORY, load_tool

CONFIG = str(REPOSITORY / 'configs/opendlign_tiny.py')


class SmallTools:
    """Runs the commands with a random CLIP and few objects: ``run('train', CONFIG, ...)``."""

    def __init__(self, monkeypatch, folder: Path) -> None:
        self.monkeypatch, self.folder, self.runs = monkeypatch, folder, 0
        self.cache_dir = folder / 'cache'
        clip = folder / 'small_clip.json'
        clip.write_text(json.dumps(tiny_clip(image_size=112, patch_size=56)))
        self.model_options = {'model.backbone.clip': 'small', 'model.backbone.pretrained': None,
                              'model.backbone.model_config': str(clip)}
        loaders = dict(train_dataloader=dict(num_per_category=2, categories='chair,table,bottle,lamp'),
                       test_dataloader=dict(num_per_category=1))
        self.options = {**self.model_options, 'train_cfg.max_epochs': 2, 'default_hooks.logger.interval': 1,
                        'cache_dir': str(self.cache_dir)}
        for name, dataset in loaders.items():
            self.options.update({f'{name}.batch_size': 4, f'{name}.num_workers': 0})
            dataset = dict(dataset, num_points=300)
            self.options.update({f'{name}.dataset.{key}': value for key, value in dataset.items()})

    def run(self, tool: str, *arguments: str, options=()) -> None:
        """Run a tool; ``options`` are further ``key=value`` for --cfg-options."""
        module = load_tool(tool)
        self.runs += 1  # two runs within a second would share a name, and with it a logger
        settings = dict(self.options, experiment_name=f'{self.folder}{self.runs}')
        pairs = [f'{key}={value}' for key, value in settings.items()]
        self.monkeypatch.setattr(sys, 'argv', [f'{tool}.py', *arguments, '--cfg-options', *pairs, *options])
        module.main()

    @staticmethod
    def metrics(work_dir: Path) -> dict:
        """Return the metrics of the last test in ``work_dir``."""
        return json.loads(max(work_dir.glob('*/*.json'), key=lambda path: path.stat().st_mtime_ns).read_text())

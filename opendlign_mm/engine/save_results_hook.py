"""Keep what a test measured where ``tools/report.py`` finds it."""
from typing import Dict, Optional

from mmdet3d.registry import HOOKS
from mmengine.dist import master_only
from mmengine.hooks import Hook
from mmengine.runner import Runner

from ..evaluation.results import RESULTS_NAME, results_folder, save_results


@HOOKS.register_module()
class SaveResultsHook(Hook):
    """Write ``results/results.json`` beside the log file of a test: benchmark, model, CLIP, checkpoint and metrics.

    Args:
        benchmark: Name of the benchmark. Default: ``benchmark`` in the meta information of the test set, or the
            name of its class.
        model: Name of the model. Default: ``OpenDlign`` or what else the config's model is called.
    """

    def __init__(self, benchmark: Optional[str] = None, model: Optional[str] = None) -> None:
        self.benchmark, self.model = benchmark, model

    @master_only
    def after_test_epoch(self, runner: Runner, metrics: Optional[Dict[str, float]] = None) -> None:
        """Write the file; without metrics or log file there is none."""
        folder = results_folder()
        if not metrics or folder is None:
            return
        dataset = runner.test_dataloader.dataset
        about = getattr(dataset, 'metainfo', {})
        clips = [module.clip_name for module in runner.model.modules() if hasattr(module, 'clip_name')]
        path = save_results(
            folder / RESULTS_NAME,
            benchmark=self.benchmark or about.get('benchmark') or type(getattr(dataset, 'dataset', dataset)).__name__,
            model=self.model or type(getattr(runner.model, 'module', runner.model)).__name__,
            clip=clips[0] if clips else None,
            checkpoint=runner._load_from,
            metrics=metrics)
        runner.logger.info(f'Results: {path}')

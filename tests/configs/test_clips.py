"""open_clip's models with a tuned branch are those that the page names."""
import os
import subprocess
import sys

import open_clip
import pytest

from helpers.tool_modules import REPOSITORY, load_tool

PAGE = (REPOSITORY / 'configs/opendlign/clips.md').read_text()
is_of_this_version = pytest.mark.skipif(f'open_clip {open_clip.__version__} have' not in PAGE,
                                        reason='the page is that of another version of open_clip')


# Two of each kind of tower, and one of each reason why there is none.
@is_of_this_version
@pytest.mark.parametrize('name', [
    'ViT-H-14-quickgelu', 'ViT-B-32', 'EVA02-B-16', 'ViT-B-16-SigLIP2', 'PE-Core-B-16', 'RN50', 'convnext_base',
    'coca_ViT-B-32', 'ViTamin-S'])
def test_models_have_the_row_of_the_page(name):
    tool = load_tool('analysis_tools/list_clips')
    row, = (line for line in tool.page([tool.examine(name)]).splitlines() if line.startswith(f'| `{name}` |'))
    assert row in PAGE.splitlines()


@pytest.mark.slow
def test_the_page_of_clips_is_that_of_the_models(tmp_path):
    made = tmp_path / 'clips.md'
    # A process of its own: whether the hub may be asked is decided when its library is imported.
    subprocess.run([sys.executable, REPOSITORY / 'tools/analysis_tools/list_clips.py', '--out', made], check=True,
                   env=dict(os.environ, HF_HUB_OFFLINE='1', HF_HOME=str(tmp_path), PYTHONPATH=str(REPOSITORY)))
    text = made.read_text()
    tuned = [line.split('`')[1] for line in text.split('| CLIP without')[0].splitlines() if line.startswith('| `')]
    assert len(set(tuned)) >= 105 and set(tuned) <= set(open_clip.list_models())
    assert {'ViT-H-14-quickgelu', 'EVA02-L-14', 'PE-Core-L-14-336', 'ViT-SO400M-16-SigLIP2-384', 'RN50'} <= set(tuned)
    assert '| `ViT-H-14-quickgelu` | 6.56 |' in text  # the paper's 6 M parameters
    if f'open_clip {open_clip.__version__} have' in PAGE:
        assert text == PAGE

"""open_clip's models with a tuned branch are those that the page names."""
import os
import subprocess
import sys

import open_clip
import pytest

from helpers.tool_modules import REPOSITORY


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
    written = (REPOSITORY / 'configs/opendlign/clips.md').read_text()
    if f'open_clip {open_clip.__version__} have' in written:
        assert text == written

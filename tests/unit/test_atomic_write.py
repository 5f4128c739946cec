"""Files appear whole or not at all."""
import pytest

from opendlign_mm.atomic_files import atomic_write


def test_a_failure_leaves_the_old_file_and_nothing_else(tmp_path):
    path = tmp_path / 'new' / 'a.json'
    with atomic_write(path) as unfinished:
        assert unfinished.suffix == '.json' and unfinished.parent == path.parent
        unfinished.write_text('old')
    with pytest.raises(RuntimeError), atomic_write(path) as unfinished:
        unfinished.write_text('half')
        raise RuntimeError
    assert [p.name for p in path.parent.iterdir()] == ['a.json'] and path.read_text() == 'old'


def test_a_block_that_writes_nothing_is_an_error(tmp_path):
    with pytest.raises(FileNotFoundError), atomic_write(tmp_path / 'a'):
        pass

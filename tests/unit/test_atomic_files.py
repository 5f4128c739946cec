"""Files and folders appear whole or not at all, whoever else writes to them."""
import errno
import fcntl
import os
import threading

import pytest

from opendlign_mm.atomic_files import atomic_folder, atomic_write, exclusive_lock


def names(folder):
    return sorted(path.name for path in folder.iterdir())


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


@pytest.mark.parametrize('write', [atomic_write, atomic_folder])
def test_equal_process_numbers_of_several_nodes_do_not_collide(tmp_path, monkeypatch, write):
    """On a shared file system two processes write the same path at the same time; each ends well, the last one wins."""
    monkeypatch.setattr(os, 'getpid', lambda: 7)

    def fill(place, text):
        (place / 'file' if write is atomic_folder else place).write_text(text)

    with write(tmp_path / 'a') as first:
        fill(first, 'first')
        with write(tmp_path / 'a') as second:
            assert second != first
            fill(second, 'second')
    assert names(tmp_path) == ['a']
    assert (tmp_path / 'a/file' if write is atomic_folder else tmp_path / 'a').read_text() == 'first'


def test_temporary_names_hold_the_host_and_are_recognized_as_leftovers(tmp_path, monkeypatch):
    monkeypatch.setattr('socket.gethostname', lambda: 'node-17')
    with atomic_write(tmp_path / 'a.json') as file, atomic_folder(tmp_path / 'b') as folder:
        file.write_text('')
        assert 'node-17' in file.name and 'node-17' in folder.name
        assert {file, folder} <= set(tmp_path.glob('.*.part*'))


@pytest.mark.parametrize('name', ['a' * 250 + '.json', '椅' * 83 + '.png', 'a.' + 'b' * 250],
                         ids=['long stem', 'wide characters', 'long suffix'])
def test_names_as_long_as_the_file_system_allows(tmp_path, name):
    with atomic_write(tmp_path / name) as unfinished:
        assert unfinished.suffix in (os.path.splitext(name)[1], '.part')
        unfinished.write_text('whole')
    with atomic_folder(tmp_path / 'folders' / name) as unfinished:
        (unfinished / 'file').write_text('whole')
    assert (tmp_path / name).read_text() == (tmp_path / 'folders' / name / 'file').read_text() == 'whole'


@pytest.mark.parametrize('kind', ['file', 'folder'])
def test_many_threads_write_one_path(tmp_path, kind):
    failures = []

    def write(number):
        try:
            for turn in range(10):
                if kind == 'file':
                    with atomic_write(tmp_path / 'a', durable=False) as unfinished:
                        unfinished.write_text(f'{number} {turn}' * 100)
                else:
                    with atomic_folder(tmp_path / 'a') as unfinished:
                        (unfinished / 'one').write_text(f'{number} {turn}')
                        (unfinished / 'two').write_text(f'{number} {turn}')
        except Exception as error:
            failures.append(error)

    threads = [threading.Thread(target=write, args=(number,)) for number in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failures and names(tmp_path) == ['a']
    if kind == 'file':
        text = (tmp_path / 'a').read_text()
        assert text == text[:3] * 100
    else:
        assert (tmp_path / 'a/one').read_text() == (tmp_path / 'a/two').read_text()


def test_the_file_is_on_the_disk_before_it_appears(tmp_path, monkeypatch):
    events = []
    monkeypatch.setattr(os, 'fsync', lambda descriptor: events.append(os.readlink(f'/proc/self/fd/{descriptor}')))
    replace = os.replace
    monkeypatch.setattr(os, 'replace', lambda *paths: (events.append('rename'), replace(*paths)))
    with atomic_write(tmp_path / 'a') as unfinished:
        unfinished.write_text('whole')
    assert events == [str(unfinished), 'rename', str(tmp_path)]
    events.clear()
    with atomic_write(tmp_path / 'a', durable=False) as unfinished:
        unfinished.write_text('whole')
    assert events == ['rename']


def test_a_disk_that_fails_when_flushing_leaves_the_old_file(tmp_path, monkeypatch):
    (tmp_path / 'a').write_text('old')

    def full(descriptor):
        raise OSError(errno.ENOSPC, 'No space left on device')

    monkeypatch.setattr(os, 'fsync', full)
    with pytest.raises(OSError, match='No space left'), atomic_write(tmp_path / 'a') as unfinished:
        unfinished.write_text('new')
    assert names(tmp_path) == ['a'] and (tmp_path / 'a').read_text() == 'old'


def test_a_folder_that_cannot_be_renamed_leaves_the_old_one(tmp_path, monkeypatch):
    (tmp_path / 'a').mkdir()
    (tmp_path / 'a/file').write_text('old')
    rename = os.rename

    def refuse(source, target):
        if str(source).endswith('.part'):
            raise OSError(errno.EACCES, 'Permission denied')
        rename(source, target)

    monkeypatch.setattr(os, 'rename', refuse)
    with pytest.raises(OSError, match='Permission denied'), atomic_folder(tmp_path / 'a') as unfinished:
        (unfinished / 'file').write_text('new')
    assert names(tmp_path) == ['a'] and (tmp_path / 'a/file').read_text() == 'old'


def test_atomic_folder(tmp_path):
    with pytest.raises(RuntimeError):
        with atomic_folder(tmp_path / 'a') as unfinished:
            (unfinished / 'file').write_text('half')
            raise RuntimeError
    assert not list(tmp_path.iterdir())
    with atomic_folder(tmp_path / 'b/a') as unfinished:
        (unfinished / 'file').write_text('whole')
        assert not (tmp_path / 'b/a').exists()
    assert (tmp_path / 'b/a/file').read_text() == 'whole' and len(list((tmp_path / 'b').iterdir())) == 1
    with atomic_folder(tmp_path / 'b/a') as unfinished:
        (unfinished / 'other').write_text('new')
    assert names(tmp_path / 'b/a') == ['other']


def test_a_lock_is_held_by_one_at_a_time(tmp_path):
    lock = tmp_path / 'new/.lock'
    with exclusive_lock(lock, 'busy'):
        for _ in range(2):
            with pytest.raises(RuntimeError, match='busy'), exclusive_lock(lock, 'busy'):
                raise AssertionError('two hold the lock')
        assert lock.exists()
    assert not lock.exists()
    with pytest.raises(ValueError), exclusive_lock(lock, 'busy'):
        raise ValueError
    with exclusive_lock(lock, 'busy'):
        pass
    assert not lock.exists()


def test_a_lock_whose_file_was_replaced_is_not_taken(tmp_path, monkeypatch):
    lock, flock = tmp_path / '.lock', fcntl.flock

    def replaced(stream, kind):
        lock.unlink()  # its holder ended after this process had opened the file
        lock.touch()
        flock(stream, kind)

    monkeypatch.setattr(fcntl, 'flock', replaced)
    with pytest.raises(RuntimeError, match='busy'), exclusive_lock(lock, 'busy'):
        raise AssertionError('another process may hold the new file')
    assert lock.exists()

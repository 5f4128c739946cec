"""File names for objects of any name."""
import json
import os

import pytest

from opendlign_mm.file_keys import file_key, readable_text, sample_id_of

NAMES = ('chair_1-a', '../../etc/passwd', '..', '.', '', '/absolute', 'a/b.c', 'nul\0byte', 'x' * 250, 'x' * 251,
         'y' * 5000, '椅子' * 60, '椅子' * 61, os.fsdecode(b'caf\xe9'), 'café', 'half \ud83d pair', 'tilde~',
         'per%20cent', 'per cent', 'new\nline', '*?:"<>|')


@pytest.mark.parametrize('name', NAMES)
def test_every_name_gives_one_file_in_its_folder(tmp_path, name):
    path = tmp_path / f'{file_key(name)}_dm.npy'
    path.write_bytes(b'')
    assert [entry.name for entry in tmp_path.iterdir()] == [path.name]
    assert file_key(name).isascii() and '.' not in file_key(name)


def test_no_two_names_share_a_key():
    similar = [*NAMES, *NAMES[-1:], 'x' * 252, 'Chair_1-a', file_key('x' * 300), file_key('../../etc/passwd')]
    assert len({file_key(name) for name in similar}) == len(set(similar))


def test_keys_that_are_not_hashed_are_inverted():
    for name in NAMES:
        key = file_key(name)
        assert sample_id_of(key) == (key if len(name) > 60 or not name else name)
    # The keys of stores written before remain.
    assert file_key('shapes/cup 1.obj') == 'shapes%2Fcup%201%2Eobj'


@pytest.mark.parametrize('name, text', [
    ('plain', 'plain'), ('椅子', '椅子'), (os.fsdecode(b'caf\xe9'), 'caf\\udce9'), ('a\0b', 'a\\x00b'),
    ('half \ud83d pair', 'half \\ud83d pair')])
def test_readable_texts_can_be_stored(name, text):
    assert readable_text(name) == text
    assert json.loads(json.dumps(readable_text(name)).encode()) == text

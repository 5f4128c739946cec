"""Points at addresses: fetched once into a cache, and refused with one message."""
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import SimpleNamespace

import numpy as np
import pytest
from huggingface_hub import constants

from helpers.hub_server import serve
from opendlign_mm.point_files import fetch, list_inputs, read_points

ROWS = b'0 0 0\n1 2 3\n4 5 6\n'


@pytest.fixture
def server(tmp_path, monkeypatch):
    """Serve one file at any path with an ETag, as its attributes say; ``answers`` has the status of each request."""
    monkeypatch.setenv('OPENDLIGN_CACHE', str(tmp_path / 'cache'))
    state = SimpleNamespace(content=ROWS, tag='"1"', length=None, answers=[], cache=tmp_path / 'cache/inputs')

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            status = 404 if 'missing' in self.path else 304 if self.headers['If-None-Match'] == state.tag else 200
            state.answers.append(status)
            self.send_response(status)
            self.send_header('ETag', state.tag)
            if status == 200:
                self.send_header('Content-Length', str(state.length or len(state.content)))
            self.end_headers()
            if status == 200:
                self.wfile.write(state.content)

        def log_message(self, *_):
            pass

    http = ThreadingHTTPServer(('127.0.0.1', 0), Handler)
    threading.Thread(target=http.serve_forever, daemon=True).start()
    state.address = f'http://127.0.0.1:{http.server_port}'
    yield state
    http.shutdown()
    http.server_close()


def test_a_file_is_fetched_once_and_again_when_it_has_changed(server):
    address = f'{server.address}/some/place/a%20scan.xyz?version=2'
    assert list_inputs(address) == [address]
    cloud = read_points(address)
    assert cloud.name == 'a scan.xyz' and cloud.points.tolist() == [[0, 0, 0], [1, 2, 3], [4, 5, 6]]
    read_points(address)
    assert server.answers == [200, 304]
    server.content, server.tag = b'0 0 0\n7 8 9\n', '"2"'
    assert read_points(address).points.tolist() == [[0, 0, 0], [7, 8, 9]]
    assert server.answers == [200, 304, 200]


def test_files_of_one_name_at_two_addresses_are_kept_apart(server):
    first = fetch(f'{server.address}/a/scan.xyz')
    server.content = b'1 1 1\n2 2 2\n'
    second = fetch(f'{server.address}/b/scan.xyz')
    assert first != second and first.name == second.name == 'scan.xyz'
    assert first.read_bytes() == ROWS


def test_an_address_that_nobody_answers_at_gives_one_message(tmp_path, monkeypatch):
    monkeypatch.setenv('OPENDLIGN_CACHE', str(tmp_path))
    with pytest.raises(FileNotFoundError, match='127.0.0.1:9/scan.xyz cannot be fetched.*Check the network'):
        read_points('http://127.0.0.1:9/scan.xyz')


def test_a_copy_is_used_when_the_server_is_gone(server, monkeypatch):
    read_points(f'{server.address}/scan.xyz')

    def refuse(*_, **__):
        raise ConnectionRefusedError('no route')

    monkeypatch.setattr('urllib.request.urlopen', refuse)
    assert len(read_points(f'{server.address}/scan.xyz').points) == 3
    with pytest.raises(FileNotFoundError, match='no route'):
        read_points(f'{server.address}/other.xyz')


def test_what_is_missing_too_large_or_of_no_known_format_is_refused_and_leaves_nothing(server):
    with pytest.raises(FileNotFoundError, match='missing.xyz cannot be fetched: the server answers 404'):
        fetch(f'{server.address}/missing.xyz')
    with pytest.raises(ValueError, match='page.html is of no known format'):
        fetch(f'{server.address}/page.html')
    assert server.answers == [404], 'an unknown ending is not asked for'
    with pytest.raises(ValueError, match='at most 0 MB are fetched'):
        fetch(f'{server.address}/scan.xyz', max_bytes=10)
    server.length = 100
    with pytest.raises(FileNotFoundError, match='scan.xyz cannot be fetched: .*18'):
        fetch(f'{server.address}/scan.xyz')
    with pytest.raises(ValueError, match='must be hf://owner/repository/path'):
        fetch('hf://alone/scan.xyz')
    assert not [path for path in server.cache.rglob('*') if path.is_file()]


def test_a_file_of_a_hub_is_fetched_from_the_endpoint_and_found_again_offline(tmp_path, monkeypatch):
    (tmp_path / 'hub/owner/scans').mkdir(parents=True)
    np.save(tmp_path / 'hub/owner/scans/a.npy', np.arange(9.).reshape(3, 3))
    with serve(tmp_path / 'hub') as (address, requests):
        # What the variables HF_HOME and HF_ENDPOINT set when the library is imported.
        monkeypatch.setattr(constants, 'HF_HUB_CACHE', str(tmp_path / 'hub_cache'))
        monkeypatch.setattr(constants, 'ENDPOINT', address)
        monkeypatch.setattr(constants, 'HUGGINGFACE_CO_URL_TEMPLATE',
                            address + '/{repo_id}/resolve/{revision}/{filename}')
        with pytest.raises(ValueError, match='a.npy has at least 0 MB, and at most 0 MB'):
            fetch('hf://owner/scans/a.npy', max_bytes=10)
        assert not [request for request in requests if request.startswith('GET') and 'a.npy' in request]
        assert read_points('hf://owner/scans/a.npy').points.sum() == 36
        with pytest.raises(FileNotFoundError, match='hf://owner/scans/b.npy cannot be fetched: '):
            read_points('hf://owner/scans/b.npy')
    monkeypatch.setattr(constants, 'HF_HUB_OFFLINE', True)
    assert read_points('hf://owner/scans/a.npy').points.sum() == 36
    with pytest.raises(FileNotFoundError, match='hf://owner/scans/c.npy cannot be fetched: '):
        read_points('hf://owner/scans/c.npy')

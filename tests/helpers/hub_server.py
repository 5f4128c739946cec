"""A small server in the layout of the Hugging Face hub, for tests of downloads."""
import hashlib
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

COMMIT = '0123456789abcdef0123456789abcdef01234567'


@contextmanager
def serve(folder: Path, announced: dict[str, str] | None = None) -> Iterator[tuple[str, list[str]]]:
    """Serve the files of ``folder``, named ``owner/repository/file``; yield the address and the list of requests.

    ``announced`` gives files another hash than their own. Without the layout, ``/plain/file`` serves them as well.
    """
    requests: list[str] = []

    class Hub(BaseHTTPRequestHandler):
        def do_HEAD(self):
            self.answer(with_body=False)

        def do_GET(self):
            self.answer(with_body=True)

        def answer(self, with_body: bool) -> None:
            path = self.path.partition('?')[0]
            requests.append(f'{self.command} {path}')
            if path.startswith('/api/models/'):
                repository = '/'.join(path.split('/')[3:5])
                names = [file.name for file in sorted((folder / repository).glob('*'))]
                if '/tree/' in path:
                    body = json.dumps([dict(type='file', path=name, size=1, oid='0' * 40) for name in names]).encode()
                else:
                    body = json.dumps(dict(id=repository, sha=COMMIT, siblings=[dict(rfilename=name) for name in names],
                                           private=False, downloads=0, tags=[])).encode()
                self.send(200, body, {'Content-Type': 'application/json'}, with_body)
                return
            file = folder / path.lstrip('/').replace('/resolve/main', '').replace(f'/resolve/{COMMIT}', '')
            if not file.is_file():
                self.send(404, b'', {'X-Error-Code': 'EntryNotFound', 'X-Repo-Commit': COMMIT}, with_body)
                return
            content = file.read_bytes()
            digest = (announced or {}).get(file.name) or hashlib.sha256(content).hexdigest()
            self.send(200, content, {'X-Repo-Commit': COMMIT, 'ETag': f'"{digest}"', 'X-Linked-Etag': f'"{digest}"',
                                     'X-Linked-Size': str(len(content))}, with_body)

        def send(self, status: int, body: bytes, headers: dict[str, str], with_body: bool) -> None:
            self.send_response(status)
            for name, value in dict(headers, **{'Content-Length': str(len(body))}).items():
                self.send_header(name, value)
            self.end_headers()
            if with_body:
                self.wfile.write(body)

        def log_message(self, *_) -> None:
            pass

    server = ThreadingHTTPServer(('127.0.0.1', 0), Hub)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f'http://127.0.0.1:{server.server_port}', requests
    finally:
        server.shutdown()
        thread.join()
        server.server_close()

"""The web page in a real browser (headless Chromium): upload, words, result, threshold, download, errors, phone."""
import base64
import json
import shutil
import socket
import time
from urllib.parse import urlparse

import numpy as np
import pytest

from opendlign_mm.datasets.procedural import sample_shape
from opendlign_mm.web import jobs as jobs_module
from opendlign_mm.web.jobs import Jobs, example_shape

BROWSER = next(filter(None, map(shutil.which, ('chromium', 'chromium-browser', 'google-chrome'))), None)
DRIVER = shutil.which('chromedriver')
pytest.importorskip('gradio', reason='the web page needs gradio')
webdriver = pytest.importorskip('selenium.webdriver', reason='the test of the web page needs selenium')
pytestmark = pytest.mark.skipif(BROWSER is None or DRIVER is None, reason='the test of the web page needs Chromium and '
                                'chromedriver: apt-get install chromium chromium-driver')

FLAGS = ('--headless --no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking '
         '--disable-component-update --disable-sync --disable-dev-shm-usage --enable-unsafe-swiftshader')


def counted(job, calls):
    def run(*arguments):
        calls.append(job.__name__)
        return job(*arguments)
    return run


@pytest.fixture(scope='module')
def calls():
    """Names of the jobs that have run."""
    return []


@pytest.fixture(scope='module')
def address(calls):
    """Address of a page with a few shapes to search."""
    from opendlign_mm.web.server import launch
    with pytest.MonkeyPatch.context() as patch, socket.socket() as free:
        for name in ('classify', 'detect', 'search'):
            patch.setattr(Jobs, name, counted(getattr(Jobs, name), calls))
        patch.setattr(jobs_module, '_SHAPES_PER_CLASS', 1)
        patch.setattr(jobs_module, 'CATEGORIES', ('chair', 'lamp', 'bed'))
        free.bind(('127.0.0.1', 0))
        port = free.getsockname()[1]
        free.close()
        page = launch(port=port, device='cpu', block=False)
        yield page.local_url
        page.close()


@pytest.fixture(scope='module')
def browser(tmp_path_factory):
    options = webdriver.ChromeOptions()
    options.binary_location = BROWSER
    for flag in (*FLAGS.split(), f'--user-data-dir={tmp_path_factory.mktemp("profile")}', '--window-size=1280,1000'):
        options.add_argument(flag)
    options.set_capability('goog:loggingPrefs', dict(performance='ALL'))
    driver = webdriver.Chrome(options=options, service=webdriver.ChromeService(DRIVER))
    driver.downloads = tmp_path_factory.mktemp('downloads')
    driver.execute_cdp_cmd('Browser.setDownloadBehavior', dict(behavior='allow', downloadPath=str(driver.downloads)))
    yield driver
    driver.quit()


class Page:
    """The page in the browser, by the CSS selectors of its parts."""

    def __init__(self, driver, address):
        self.driver = driver
        driver.get(address)
        self.wait('#shape-run')

    def all(self, selector):
        return self.driver.find_elements('css selector', selector)

    def wait(self, selector, text='', seconds=60):
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            found = [part for part in self.all(selector) if text in self.driver.execute_script(
                'return arguments[0].innerText || ""', part)]
            if found:
                return found[0]
            time.sleep(.2)
        raise AssertionError(f'{selector} did not show {text!r}; {[part.text for part in self.all(".toast-body")]}')

    def open(self, tab):
        next(part for part in self.all('button[role=tab]') if part.text == tab).click()

    def type(self, selector, text):
        box = self.wait(f'{selector} textarea, {selector} input')
        box.clear()
        box.send_keys(text)

    def upload(self, selector, path):
        self.all(f'{selector} input[type=file]')[0].send_keys(str(path))
        self.wait(selector, path.name[:4])

    def download(self, selector):
        for earlier in self.driver.downloads.iterdir():
            earlier.unlink()
        self.driver.execute_script('arguments[0].click()', self.wait(selector))
        end = time.monotonic() + 20
        while time.monotonic() < end:
            for path in self.driver.downloads.glob('*.json'):
                return json.loads(path.read_text())
            time.sleep(.1)
        raise AssertionError(f'{selector} downloaded nothing')


@pytest.fixture
def page(browser, address):
    return Page(browser, address)


@pytest.fixture(scope='module')
def files(tmp_path_factory):
    """A shape and a scene with a lamp and a bed on a floor."""
    folder = tmp_path_factory.mktemp('files')
    np.save(folder / 'lamp.npy', example_shape('lamp'))
    lamp, bed = (sample_shape(name, np.random.default_rng(0), 3000).points for name in ('lamp', 'bed'))
    floor = np.random.default_rng(0).uniform([-2, -2, 0], [2, 2, .01], (6000, 3))
    np.save(folder / 'scene.npy', np.concatenate([floor, lamp * 2 + [-1, -1, .02], bed + [.8, .8, .02]]))
    (folder / 'broken.ply').write_text('this is no cloud')
    return folder


def test_classify_an_upload(page, files):
    page.upload('#shape-file', files / 'lamp.npy')
    page.type('#shape-words', 'chair, bed, lamp')
    page.wait('#shape-run').click()
    page.wait('#shape-answer', 'lamp')
    page.wait('#shape-plot .js-plotly-plot canvas')
    page.wait('#shape-views img')
    assert len(page.all('#shape-views .grid-container img')) == 10
    saved = page.download('#shape-json')
    assert saved['labels'][0] == 'lamp' and sorted(saved['labels']) == ['bed', 'chair', 'lamp']
    assert abs(sum(saved['scores']) - 1) < 1e-4


def test_detect_and_move_the_threshold_without_another_run(page, files, calls):
    calls.clear()
    page.open('Detect')
    page.upload('#scene-file', files / 'scene.npy')
    page.type('#scene-words', 'bed, lamp')
    page.wait('#scene-run').click()
    page.wait('#scene-note', 'boxes have at least')
    page.wait('#scene-plot .js-plotly-plot canvas')
    before = page.download('#scene-json')
    assert before['lowest_score'] == .3 and {box['label'] for box in before['boxes']} <= {'bed', 'lamp'}
    assert before['boxes'] and all(box['score'] >= .3 and len(box['bbox_3d']) == 7 for box in before['boxes'])
    hover = page.driver.execute_script(
        "return document.querySelector('#scene-plot .js-plotly-plot').data.flatMap(trace => trace.hovertext || [])")
    assert sorted(hover) == sorted(f'{box["label"]}<br>score {box["score"]:.2f}' for box in before['boxes'])
    slider = page.wait('#scene-threshold input[type=range]')
    mouse = webdriver.ActionChains(page.driver)
    mouse.click_and_hold(slider).move_by_offset(slider.size['width'] // 2 + 20, 0).release().perform()
    page.wait('#scene-note', '0 of ')
    assert page.download('#scene-json') == dict(lowest_score=1, boxes=[]) and calls == ['detect']


def test_search_by_words(page):
    page.open('Search')
    page.type('#search-words', 'a lamp')
    page.wait('#search-run').click()
    page.wait('#search-note', 'Exact search among 3 shapes')
    page.wait('#search-gallery .caption-label', 'lamp 1')
    assert [part.text.split(':')[0] for part in page.all('#search-gallery .caption-label')][0] == 'lamp 1'


def test_errors_are_messages_without_paths_and_the_page_goes_on(page, files):
    page.wait('#shape-run').click()
    page.wait('.toast-body', 'upload a file or choose an example')
    page.upload('#shape-file', files / 'broken.ply')
    page.wait('#shape-run').click()
    text = page.wait('.toast-body', 'broken.ply').text
    assert '/tmp' not in text and 'gradio' not in text.lower()
    page.driver.execute_script('document.querySelector("#shape-file [aria-label=Clear], #shape-file button").click()')
    page.wait('#shape-example input[value=chair]').click()
    page.wait('#shape-run').click()
    page.wait('#shape-answer', 'chair')


def test_phone(browser, address, tmp_path):
    screen = dict(width=390, height=800, deviceScaleFactor=1, mobile=True)
    browser.execute_cdp_cmd('Emulation.setDeviceMetricsOverride', screen)
    try:
        page = Page(browser, address)
        for tab in ('Classify', 'Detect', 'Search'):
            page.open(tab)
            time.sleep(.3)
            assert browser.execute_script('return document.documentElement.scrollWidth') <= 390, tab
        picture = base64.b64decode(browser.execute_cdp_cmd('Page.captureScreenshot', {})['data'])
        (tmp_path / 'phone.png').write_bytes(picture)
    finally:
        browser.execute_cdp_cmd('Emulation.clearDeviceMetricsOverride', {})


def test_nothing_is_asked_of_another_machine(page):
    """Of all requests of the tests before."""
    messages = [json.loads(entry['message'])['message'] for entry in page.driver.get_log('performance')]
    asked = {urlparse(message['params']['request']['url']) for message in messages
             if message['method'] == 'Network.requestWillBeSent'}
    assert {address.hostname for address in asked if address.scheme in ('http', 'https', 'ws', 'wss')} == {'127.0.0.1'}

"""The next item is prepared in a thread, in order; errors arrive, no thread is left, streams wait for each other."""
import threading
from contextlib import closing, nullcontext
from types import SimpleNamespace

import pytest
import torch

from opendlign_mm.one_ahead import one_ahead

CPU = torch.device('cpu')


def threads_left():
    return [thread.name for thread in threading.enumerate() if thread.name.startswith('one_ahead')]


@pytest.mark.parametrize('count', [0, 1, 2, 7])
def test_results_come_in_the_order_of_the_items(count):
    assert [value.item() for value in one_ahead(lambda item: torch.tensor(item * 3), range(count), CPU)] == [
        3 * item for item in range(count)]
    assert not threads_left()


def test_the_next_item_and_no_other_is_prepared_while_one_is_used():
    begun = [threading.Event() for _ in range(4)]

    def prepare(item):
        begun[item].set()
        return torch.tensor(item)

    with closing(one_ahead(prepare, range(4), CPU)) as results:
        assert next(results) == 0 and begun[1].wait(10)
        assert not begun[2].wait(.05)
        assert next(results) == 1 and begun[2].wait(10)
        assert not begun[3].wait(.05)


@pytest.mark.parametrize('error', [ValueError('no points'), KeyboardInterrupt()])
def test_an_error_is_raised_in_the_place_of_its_result(error):
    def prepare(item):
        if item == 2:
            raise error
        return torch.tensor(item)

    results = one_ahead(prepare, range(9), CPU)
    assert [next(results), next(results)] == [0, 1]
    with pytest.raises(type(error)) as found:
        next(results)
    assert found.value is error and not threads_left()


@pytest.mark.parametrize('error', [ValueError, KeyboardInterrupt])
def test_a_caller_that_fails_ends_the_thread(error):
    prepared = []

    def use():
        with closing(one_ahead(lambda item: prepared.append(item) or torch.tensor(item), range(100), CPU)) as results:
            for _ in results:
                raise error
    with pytest.raises(error):
        use()
    assert len(prepared) <= 2 and not threads_left()


@pytest.mark.parametrize('mode', [torch.no_grad, torch.inference_mode, nullcontext])
def test_modes_of_the_caller_hold_in_the_thread(mode):
    weight = torch.ones(1, requires_grad=True)
    with mode():
        for value in one_ahead(lambda item: weight * item, range(3), CPU):
            assert value.requires_grad == (mode is nullcontext)
            assert value.is_inference() == (mode is torch.inference_mode)


def test_streams_of_a_gpu_wait_for_each_other(monkeypatch):
    """By recorded calls: the thread's stream for the caller's before its work, the caller's for each result."""
    calls, current = [], threading.local()

    class Stream:
        def __init__(self, name):
            self.name = name

        def wait_stream(self, other):
            calls.append((self.name, 'waits for', other.name))

        def wait_event(self, event):
            calls.append((self.name, 'waits for', event))

        def record_event(self):
            calls.append((self.name, 'made', current.item))
            return current.item

    class Result:
        def record_stream(self, stream):
            calls.append((stream.name, 'uses', self.item))

    main, side, used = Stream('main'), Stream('side'), []

    def prepare(item):
        assert used[-1] is side
        current.item, result = item, Result()
        result.item = item
        return result

    monkeypatch.setattr(torch, 'cuda', SimpleNamespace(
        Stream=lambda device, priority: side, current_stream=lambda device: main, Event=object,
        stream=lambda stream: used.append(stream) or nullcontext()))
    for result in one_ahead(prepare, 'ab', torch.device('cuda')):
        calls.append(('main', 'has', result.item))
    assert calls[0] == ('side', 'waits for', 'main') and calls[-1] == ('main', 'waits for', 'side')
    for item in 'ab':
        places = [calls.index(each) for each in [('side', 'made', item), ('main', 'waits for', item),
                                                 ('main', 'uses', item), ('main', 'has', item)]]
        assert places == sorted(places)


@pytest.mark.skipif(not torch.cuda.is_available(), reason='no CUDA device')
def test_two_streams_do_not_use_memory_of_each_other():
    from opendlign_mm.benchmarks.gpu_checks import check_views_one_ahead
    assert check_views_one_ahead(torch.device('cuda'))['numbers'] == 0

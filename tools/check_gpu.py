#!/usr/bin/env python
"""Check on a machine with a GPU, in eight minutes and without a network, all that other machines cannot check.

    python tools/check_gpu.py                  # check_gpu.json and check_gpu.log
    python tools/check_gpu.py --device cpu     # a dry run: the same checks, CPU against CPU

The checks that the GPU computes what the CPU computes, the tests that need CUDA, a user's commands from training to
boxes on small data, and the benchmark. What fails is noted and the rest goes on.
Exit code 0: all passed; 1: something failed; 2: no CUDA here.
"""
import argparse
import json
import os
import re
import subprocess
import sys
import tempfile
import time
import traceback
from pathlib import Path

import torch

from opendlign_mm.atomic_files import atomic_write
from opendlign_mm.benchmarks.gpu_checks import CHECKS
from opendlign_mm.benchmarks.machine import describe_machine
from opendlign_mm.benchmarks.measuring import named_device
from opendlign_mm.command_line.user_errors import user_errors

ROOT = Path(__file__).resolve().parents[1]
TESTS, COMMANDS, BENCHMARK = 'tests', 'commands', 'benchmark'
# Least and largest seconds of the two longest parts; the benchmark takes what is left.
LEAST, TESTS_AT_MOST = 30, 200


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--device', default='cuda', help='device to check; cpu: a dry run')
    parser.add_argument('--only', nargs='+', choices=[*CHECKS, TESTS, COMMANDS, BENCHMARK], help='default: everything')
    parser.add_argument('--minutes', type=float, default=8., help='time after which parts are ended; default: 8')
    parser.add_argument('--out', type=Path, default=Path('check_gpu.json'), help='JSON file of the results')
    parser.add_argument('--quick', action='store_true', help='the smallest sizes of the benchmark')
    return parser.parse_args()


def check(name: str, device: torch.device) -> dict:
    """Run a check of this process."""
    try:
        return dict(passed=True, differences=CHECKS[name](device))
    except Exception:  # whatever a GPU does wrong, the other checks follow
        return dict(passed=False, error=traceback.format_exc())


def run(command: list[str], seconds: float, log: Path, **variables: str) -> dict:
    """Run a command, end it after some seconds, and append what it prints to the log."""
    environment = dict(os.environ, PYTHONPATH=os.pathsep.join([str(ROOT), os.environ.get('PYTHONPATH', '')]),
                       HF_HUB_OFFLINE='1', **variables)
    with log.open('a') as stream:
        stream.write(f'\n$ {" ".join(command)}\n')
        stream.flush()
        try:
            code = subprocess.run(command, cwd=ROOT, env=environment, stdout=stream, stderr=subprocess.STDOUT,
                                  timeout=seconds).returncode
        except subprocess.TimeoutExpired:
            return dict(passed=False, error=f'ended after {seconds:.0f} s; see {log}')
    return dict(passed=code == 0, **({} if code == 0 else dict(error=f'exit code {code}; see {log}')))


def tests(seconds: float, log: Path) -> dict:
    """Run the tests that need CUDA; without it they are skipped. Files without such tests are not even imported."""
    files = [str(path) for path in sorted((ROOT / 'tests').rglob('test_*.py'))
             if re.search(r'cuda|def test\w*\(.*\bdevice\b', path.read_text())]
    # A file that needs a missing package is an error, but not the end of the others.
    return run([sys.executable, '-m', 'pytest', '-q', '-rfE', '--continue-on-collection-errors', '-k', 'cuda',
                '-p', 'no:cacheprovider', *files], min(seconds, TESTS_AT_MOST), log)


def commands(device: torch.device, seconds: float, log: Path) -> dict:
    """Align on stored tokens, classify and detect by a user's commands, on few built-in objects and a room."""
    end = time.monotonic() + seconds
    with tempfile.TemporaryDirectory() as folder:
        train, test, rooms = (str(ROOT / 'tools' / name) for name in ('train.py', 'test.py', 'make_rooms.py'))
        shapes, scenes = (str(ROOT / 'configs' / name) for name in ('opendlign_tiny.py', 'opendlign_tiny_scannet.py'))
        checkpoint, cache = f'{folder}/run/epoch_1.pth', f'cache_dir={folder}/cache'
        for command in (
                [train, shapes, '--work-dir', f'{folder}/run', '--cfg-options', cache, f'token_dir={folder}/tokens',
                 'train_cfg.max_epochs=1', 'train_dataloader.dataset.num_per_category=4',
                 'train_dataloader.batch_size=16'],
                [test, shapes, checkpoint, '--work-dir', f'{folder}/test', '--cfg-options', cache,
                 'test_dataloader.dataset.num_per_category=2'],
                [rooms, '--out', f'{folder}/rooms', '--num-val', '1'],
                [test, scenes, checkpoint, '--work-dir', f'{folder}/scenes', '--cfg-options',
                 f'data_root={folder}/rooms']):
            result = run([sys.executable, *command], max(end - time.monotonic(), 0), log,
                         **({} if device.type == 'cuda' else dict(CUDA_VISIBLE_DEVICES='')))
            if not result['passed']:
                return dict(result, error=f'{" ".join(command)}: {result["error"]}')
    return dict(passed=True)


def benchmark(args: argparse.Namespace, seconds: float, log: Path) -> dict:
    """Run the benchmark; what it has measured until its time ends is kept."""
    measured = args.out.resolve().with_suffix('.benchmark.json')
    result = run([sys.executable, str(ROOT / 'tools/benchmark.py'), '--device', args.device, '--out', str(measured),
                  *(['--quick'] if args.quick else [])], seconds, log)
    rows = json.loads(measured.read_text())['rows'] if measured.is_file() else []
    measured.unlink(missing_ok=True)
    return dict(result, rows=rows)


def main() -> None:
    args = parse_args()
    with user_errors():
        device = named_device(args.device)
    if device.type == 'cuda' and not torch.cuda.is_available():
        print('there is no CUDA here: nothing was checked. --device cpu is a dry run of the checks', file=sys.stderr)
        sys.exit(2)
    begin, log, parts = time.monotonic(), args.out.resolve().with_suffix('.log'), {}
    log.parent.mkdir(parents=True, exist_ok=True)
    log.write_text('')
    wanted = args.only or [*CHECKS, TESTS, COMMANDS, BENCHMARK]
    machine = describe_machine(device, quick=args.quick)
    for name in wanted:
        start, left = time.monotonic(), 60 * args.minutes - (time.monotonic() - begin)
        if left < LEAST:
            parts[name] = dict(passed=False, error=f'not run: {args.minutes:g} minutes are over')
        elif name == TESTS:
            parts[name] = tests(left - (LEAST if BENCHMARK in wanted else 0), log)
        elif name == COMMANDS:
            parts[name] = commands(device, left, log)
        else:
            parts[name] = benchmark(args, left, log) if name == BENCHMARK else check(name, device)
        parts[name]['seconds'] = round(time.monotonic() - start, 1)
        with log.open('a') as stream:
            stream.write(f'{name}: {json.dumps(parts[name], indent=1)}\n')
        print(f'{"passed" if parts[name]["passed"] else "FAILED"}  {name}  ({parts[name]["seconds"]} s)', flush=True)
        with atomic_write(args.out) as unfinished:  # what is known is kept if the machine is taken away
            unfinished.write_text(json.dumps(dict(machine=machine, parts=parts), indent=1))
    failed = [name for name, part in parts.items() if not part['passed']]
    print(f'{len(parts) - len(failed)} of {len(parts)} passed in {(time.monotonic() - begin) / 60:.1f} minutes; '
          f'{args.out} and {log}')
    sys.exit(1 if failed else 0)


if __name__ == '__main__':
    main()

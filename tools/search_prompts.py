#!/usr/bin/env python
r"""Search the view weights, and one sentence per class, of PointCLIP or PointCLIP V2 on labeled objects.

The objects are those of a validation split: the test dataset with the settings of --val. Without --val they are the
test objects themselves, as in both releases; the accuracy found is then no measure of unseen objects, which the file
says, too.

    python tools/search_prompts.py configs/baselines/pointclip_tiny.py --val split=val --out search.json
    python tools/search_prompts.py configs/baselines/pointclip_v2_b16.py --val ann_file=modelnet40_train.txt \
        --library gpt_sentences.json --fixed 0.75 0.75 0.75 --out search.json
    python tools/test.py CONFIG --cfg-options model.zero_shot_head.view_weights=search.json \
        model.zero_shot_head.sentences=search.json

The library is a JSON file, class name -> list of sentences. Sentences are chosen first, with the view weights of the
config, and then the weights; --no-weights leaves the weights as they are.
"""
import argparse
import json
import sys
from pathlib import Path

import torch
import torch.nn.functional as F
from mmdet3d.registry import DATASETS
from mmengine.config import DictAction

from opendlign_mm.apis import init_model
from opendlign_mm.apis.extract_features import describe_skipped, extract_features
from opendlign_mm.atomic_files import atomic_write
from opendlign_mm.command_line.options import add_common_options, load_config
from opendlign_mm.command_line.required_inputs import require_inputs
from opendlign_mm.command_line.user_errors import user_errors
from opendlign_mm.evaluation.few_shot_objects import check_disjoint, training_set
from opendlign_mm.evaluation.prompt_search import SearchResult, search_sentences, search_view_weights
from opendlign_mm.models.class_sentences import resolve_sentences, spoken_name
from opendlign_mm.models.weighted_view_head import WeightedViewHead

ON_TEST_SET = ('WARNING: the search uses the labels of the TEST set, as the releases do. The accuracy that it finds is '
               'no measure of unseen objects; give a validation split with --val')


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('config', help='config of PointCLIP or PointCLIP V2')
    parser.add_argument('checkpoint', nargs='?', help='checkpoint; default CLIP as it is')
    parser.add_argument('--val', nargs='+', action=DictAction, metavar='KEY=VALUE',
                        help='settings that turn the test dataset into the validation dataset, e.g. split=val')
    parser.add_argument('--library', help='JSON file, class name -> list of sentences')
    parser.add_argument('--passes', type=int, default=2, help='passes over the classes')
    parser.add_argument('--values', type=float, nargs='+', default=[.25, .5, .75, 1.], help='weights to try')
    parser.add_argument('--fixed', type=float, nargs='*', default=[],
                        help='weights of the first views, which are not searched; PointCLIP V2: 0.75 0.75 0.75')
    parser.add_argument('--no-weights', action='store_true', help='do not search view weights')
    parser.add_argument('--out', type=Path, required=True, help='JSON file to write')
    parser.add_argument('--batch-size', type=int, default=32, help='number of objects encoded at a time')
    parser.add_argument('--num-workers', type=int, default=2, help='number of processes that read objects')
    parser.add_argument('--device', default='cuda' if torch.cuda.is_available() else 'cpu')
    add_common_options(parser)
    return parser.parse_args()


def library_of(path: str, classes: tuple[str, ...]) -> list[tuple[str, ...]]:
    """Return the sentences of each class."""
    sentences = resolve_sentences(path)
    absent = [name for name in classes if spoken_name(name) not in sentences]
    if absent:
        raise ValueError(f'{path} has no sentences of {len(absent)} of {len(classes)} classes: '
                         f'{", ".join(absent[:5])}{", ..." * (len(absent) > 5)}')
    return [sentences[spoken_name(name)] for name in classes]


def report(title: str, result: SearchResult) -> dict[str, float]:
    """Print a search and return its accuracies."""
    print(f'{title}: top-1 {result.before:.2f} % -> {result.after:.2f} % after {len(result.improvements)} improvements')
    return dict(before=result.before, after=result.after)


def main() -> None:
    """Encode the objects, search, write the file."""
    args = parse_args()
    with user_errors(args.traceback):
        if args.no_weights and not args.library:
            raise ValueError('there is nothing to search: give --library, or leave out --no-weights')
        cfg = load_config(args)
        require_inputs(cfg, 'test_dataloader')
        dataset = test = DATASETS.build(cfg.test_dataloader.dataset)
        if args.val:
            dataset = training_set(cfg, args.val)
            check_disjoint(dataset, test)
        else:
            print(ON_TEST_SET, file=sys.stderr)
        model = init_model(cfg, args.checkpoint, args.device)
        head = model.zero_shot_head
        if not isinstance(head, WeightedViewHead):
            raise ValueError(f'{args.config} has a {type(head).__name__}, whose views have no weights; give a config '
                             'of PointCLIP')
        classes = tuple(dataset.metainfo['classes'])
        model.set_vocabulary(classes)
        library = library_of(args.library, classes) if args.library else None
        found = extract_features(model, dataset, batch_size=args.batch_size, num_workers=args.num_workers)
        print(describe_skipped(found['skipped']), end='\n' * bool(found['skipped']))
        with torch.no_grad():
            search(args, model, library, found, classes, type(dataset).__name__)


def search(args: argparse.Namespace, model, library: list[tuple[str, ...]] | None, found: dict,
           classes: tuple[str, ...], name: str) -> None:
    """Search on extracted features and write the file."""
    head, labels = model.zero_shot_head, torch.from_numpy(found['labels'])
    features = model.view_features({key: torch.from_numpy(values) for key, values in found['features'].items()})
    text, contents = model.class_features().cpu(), {}
    if library is not None:
        encoded = [F.normalize(model.backbone.encode_text(list(sentences)), dim=-1).cpu() for sentences in library]
        result = search_sentences(features, labels, encoded, text, head.view_weights, args.passes)
        contents['accuracy_sentences'] = report('sentences', result)
        # Where none was better, the sentence or the template of the config stays.
        chosen = {label: sentences[index] for label, sentences, index in
                  zip(classes, library, result.chosen, strict=True) if index >= 0}
        kept = {label: list(head.sentences[spoken_name(label)]) for label in classes
                if label not in chosen and spoken_name(label) in head.sentences}
        contents['sentences'] = {**kept, **chosen}
        for label, index in enumerate(result.chosen):
            text[label] = text[label] if index < 0 else encoded[label][index]
    if not args.no_weights:
        result = search_view_weights(features @ text.t(), labels, args.values, args.fixed, head.view_weights)
        contents['accuracy_view_weights'] = report('view weights', result)
        contents['view_weights'] = result.chosen
    elif head.view_weights is not None:
        contents['view_weights'] = list(head.view_weights)
    contents.update(searched_on='validation split' if args.val else 'test set', dataset=name, objects=len(labels),
                    settings=args.val and {key: str(value) for key, value in args.val.items()})
    with atomic_write(args.out) as unfinished:
        unfinished.write_text(json.dumps(contents, indent=1) + '\n')
    print(f'written to {args.out}')


if __name__ == '__main__':
    main()

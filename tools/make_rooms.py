#!/usr/bin/env python
"""Write procedural rooms in ScanNet's format: ``python tools/make_rooms.py --out data/rooms``."""
import argparse

from opendlign_mm.datasets.procedural.room_writer import write_rooms


def parse_args() -> argparse.Namespace:
    """Return the options of the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.ArgumentDefaultsHelpFormatter)
    parser.add_argument('--out', default='data/rooms', help='folder to write')
    parser.add_argument('--num-train', type=int, default=0, help='number of rooms for training')
    parser.add_argument('--num-val', type=int, default=12, help='number of rooms for testing')
    parser.add_argument('--num-points', type=int, default=40000, help='maximum number of points of a room')
    parser.add_argument('--seed', type=int, default=0, help='seed of all rooms')
    return parser.parse_args()


def main() -> None:
    """Write the rooms."""
    args = parse_args()
    write_rooms(args.out, args.num_train, args.num_val, args.num_points, args.seed)
    print(f'{args.num_train} training and {args.num_val} validation rooms are in {args.out}')


if __name__ == '__main__':
    main()

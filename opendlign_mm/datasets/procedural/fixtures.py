"""Objects built into a house: doors, windows, bathroom ceramics. Meters, z up, front toward +y."""
import numpy as np

from .assembly import Assembly, ceramic, metal, paint, shade, wood


def door(a: Assembly, rng: np.random.Generator) -> None:
    """Add a door: a tall leaf in a frame, with raised panels and a handle."""
    w, h, t = rng.uniform(.7, 1.05), rng.uniform(1.9, 2.2), rng.uniform(.035, .06)
    leaf = wood(rng) if rng.random() < .6 else paint(rng)
    frame = shade(leaf, .8)
    a.box((w, t, h), (0, 0, h / 2), leaf)
    for x in (-1, 1):
        a.box((.07, t + .08, h + .07), (x * (w / 2 + .035), 0, (h + .07) / 2), frame)
    a.box((w + .14, t + .08, .07), (0, 0, h + .035), frame)
    columns, rows = int(rng.integers(1, 3)), int(rng.integers(1, 4))
    for i in range(columns):
        for j in range(rows):
            pw, ph = w / columns * .72, (h - .2) / rows * .8
            x, z = -w / 2 + (i + .5) * w / columns, .1 + (j + .5) * (h - .2) / rows
            for side in (-1, 1):
                a.box((pw, .025, ph), (x, side * (t / 2 + .012), z), shade(leaf, 1.12))
    for side in (-1, 1):
        a.rod((w * .4, side * t / 2, h * .5), (w * .4, side * (t / 2 + .09), h * .5), .02, metal(rng))
        a.rod((w * .4, side * (t / 2 + .08), h * .5), (w * .26, side * (t / 2 + .08), h * .5), .018, metal(rng))


def window(a: Assembly, rng: np.random.Generator) -> None:
    """Add a window: a frame with open panes between mullions and a sill."""
    w, h, t = rng.uniform(.7, 1.9), rng.uniform(.8, 1.6), rng.uniform(.05, .12)
    frame = paint(rng) if rng.random() < .3 else ceramic(rng)
    bar = rng.uniform(.06, .11)
    for x in (-1, 1):
        a.box((bar, t, h), (x * (w - bar) / 2, 0, h / 2), frame)
    for z in (bar / 2, h - bar / 2):
        a.box((w, t, bar), (0, 0, z), frame)
    for k in range(1, int(rng.integers(2, 4))):
        columns = max(int(round(w / .6)), 2)
        if k == 1:
            for i in range(1, columns):
                a.box((bar * .7, t * .7, h), (-w / 2 + w * i / columns, 0, h / 2), frame)
        else:
            a.box((w, t * .7, bar * .7), (0, 0, h * rng.uniform(.4, .65)), frame)
    if rng.random() < .7:
        a.box((w + .14, t + .14, .04), (0, .07, .0), shade(frame, .9))


def bathtub(a: Assembly, rng: np.random.Generator) -> None:
    """Add a bathtub: a long basin with a rim, rounded or boxed, and a tap."""
    w, d, h = rng.uniform(1.35, 1.85), rng.uniform(.65, .9), rng.uniform(.42, .62)
    body = ceramic(rng)
    if rng.random() < .5:
        a.tray((w, d, h), (0, 0, 0), rng.uniform(.05, .1), body)
        a.box((w * .86, d * .8, .04), (0, 0, .1), body)
    else:
        r = d / 2
        outer = [(0, .05), (r * .7, .05), (r * .9, h * .5), (r, h), (r * 1.06, h), (r * 1.06, h - .04),
                 (r * .88, h - .04), (r * .75, h * .4), (r * .55, .12), (0, .12)]
        a.lathe(outer, (0, 0, 0), body, stretch=(w / d, 1))
        for x in (-1, 1):
            for y in (-1, 1):
                a.ellipsoid((.05, .05, .07), (x * w * .28, y * d * .2, .05), metal(rng))
    tap = metal(rng)
    side = rng.choice((-1, 1))
    a.rod((side * w * .46, 0, h), (side * w * .46, 0, h + .18), .02, tap)
    a.rod((side * w * .46, 0, h + .17), (side * w * .36, 0, h + .14), .018, tap)


def toilet(a: Assembly, rng: np.random.Generator) -> None:
    """Add a toilet: a bowl on a foot with a tank behind it, the lid open or closed."""
    body = ceramic(rng)
    h, r = rng.uniform(.36, .44), rng.uniform(.17, .21)
    long = rng.uniform(1.2, 1.45)
    bowl = [(0, 0), (r * .65, 0), (r * .55, h * .35), (r * .95, h * .8), (r, h), (r * .72, h), (r * .55, h * .6),
            (0, h * .5)]
    a.lathe(bowl, (0, .12, 0), body, stretch=(1, long))
    a.ring(r * .88, r * .13, (0, .12, h + .01), shade(body, .95), stretch=(1, long))
    tank_w, tank_h = rng.uniform(.34, .46), rng.uniform(.3, .42)
    y = .12 - r * long - rng.uniform(.06, .1)
    a.box((tank_w, .19, tank_h), (0, y, h + tank_h / 2 - .02), body)
    a.box((tank_w + .03, .22, .04), (0, y, h + tank_h), body)
    a.box((r * 1.3, .2, h * .9), (0, y + .08, h * .45), body)
    if rng.random() < .5:
        a.lathe([(0, 0), (r * .95, 0), (r * .95, .025), (0, .025)], (0, .12, h + .03), body, stretch=(1, long))
    else:
        a.box((r * 1.9, .03, r * 2.2), (0, y + .13, h + r * 1.1), body)


def sink(a: Assembly, rng: np.random.Generator) -> None:
    """Add a sink: a basin with a tap, on a pedestal or on the wall."""
    body, tap = ceramic(rng), metal(rng)
    h = rng.uniform(.78, .92)
    r = rng.uniform(.2, .28)
    stretch = rng.uniform(1., 1.4)
    bowl = [(0, -.16), (r * .5, -.15), (r * .95, -.04), (r, 0), (r * .85, 0), (r * .7, -.06),
            (r * .35, -.11), (0, -.12)]
    a.lathe(bowl, (0, 0, h), body, stretch=(stretch, 1))
    if rng.random() < .65:
        a.lathe([(0, 0), (.14, 0), (.11, .05), (.07, .3), (.1, h - .13), (0, h - .13)], (0, -.02, 0), body)
    else:
        a.rod((0, -.04, h - .15), (0, -.04, h - .38), .03, tap)
        a.rod((0, -.04, h - .36), (0, -r, h - .36), .03, tap)
    a.box((r * 2 * stretch, .1, rng.uniform(.06, .2)), (0, -r * .95, h), body)
    tall = rng.uniform(.12, .25)
    a.rod((0, -r * .85, h), (0, -r * .85, h + tall), .018, tap)
    a.rod((0, -r * .85, h + tall), (0, -r * .2, h + tall * .85), .016, tap)
    for x in (-.1, .1):
        a.rod((x, -r * .85, h), (x, -r * .85, h + .07), .02, tap)

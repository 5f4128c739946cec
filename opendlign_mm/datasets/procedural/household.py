"""Objects of the second edition: picture, counter, curtains, refrigerator, garbage bin. Meters, z up, front to +y."""
import numpy as np

from .assembly import Assembly, ceramic, fabric, metal, paint, shade, wood
from .soft_parts import cloth, pleats, soft_box, taper


def picture(a: Assembly, rng: np.random.Generator) -> None:
    """Add a picture: a canvas in a thin or deep frame, without glass; sometimes with a mat or leaning on a support."""
    h = rng.uniform(.2, 1.1)
    w = h * (rng.uniform(.6, .85) if rng.random() < .45 else rng.uniform(1., 1.8))
    bar, t = rng.uniform(.03, .12) * min(w, h), rng.uniform(.015, .045)
    frame = wood(rng) if rng.random() < .6 else paint(rng)
    a.box((w, t * .4, h), (0, -t * .3, h / 2), paint(rng))
    if rng.random() < .8:
        for side in (-1, 1):
            a.box((bar, t, h), (side * (w - bar) / 2, 0, h / 2), frame)
            a.box((w, t, bar), (0, 0, h / 2 + side * (h - bar) / 2), frame)
    if rng.random() < .4:
        a.box((w * .6, t * .25, h * .6), (0, t * .02, h / 2), paint(rng))
    if rng.random() < .25:
        a.rod((0, -t, h * .6), (0, -h * .35, 0), .02 * h**.5, frame)


def counter(a: Assembly, rng: np.random.Generator) -> None:
    """Add a counter: a long top that overhangs its base; a kitchen run, an island, a bar or an angle."""
    w, d, h = rng.uniform(1.3, 3.2), rng.uniform(.55, .95), rng.uniform(.85, .95)
    body, top = wood(rng) if rng.random() < .5 else paint(rng), paint(rng)
    style = rng.random()
    if style < .25:  # a bar with a foot rail
        h, d = rng.uniform(1., 1.15), rng.uniform(.4, .6)
        a.box((w, d * .5, h), (0, -d * .15, h / 2), body)
        a.rod((-w / 2, d * .3, .2), (w / 2, d * .3, .2), .02, metal(rng))
    elif style < .45:  # an island that is open on one side
        a.box((w * .9, d * .6, h - .1), (0, -d * .15, h / 2 + .03), body)
        a.box((w * .85, d * .5, .1), (0, -d * .15, .05), shade(body, .6))
    else:
        a.box((w, d * .9, h - .12), (0, 0, h / 2 + .05), body)
        a.box((w, d * .75, .1), (0, -d * .05, .05), shade(body, .6))
        _fronts(a, rng, w, d * .45, .13, h - .04, max(int(w / .5), 2), body)
    overhang = rng.uniform(.02, .12)
    a.box((w + overhang, d + overhang, rng.uniform(.03, .06)), (0, 0, h), top)
    if style > .8:  # an angle
        side = rng.choice((-1, 1))
        length = rng.uniform(.5, 1.2)
        a.box((d, length, h), (side * (w - d) / 2, d / 2 + length / 2, h / 2), body)
        a.box((d + overhang, length, .05), (side * (w - d) / 2, d / 2 + length / 2, h), top)
    if rng.random() < .3:
        a.box((w, .02, rng.uniform(.1, .5)), (0, -d / 2, h + .1), top)
    if rng.random() < .3:
        x = rng.uniform(-.3, .3) * w
        a.tray((.5, d * .6, .12), (x, 0, h - .1), .02, metal(rng))
        a.rod((x, -d * .35, h), (x, -d * .35, h + .25), .015, metal(rng))


def curtain(a: Assembly, rng: np.random.Generator) -> None:
    """Add a curtain: pleated cloth on a rod, in one or two parts, sometimes tied."""
    w, h = rng.uniform(.6, 2.4), rng.uniform(1., 2.6)
    color = fabric(rng)
    depth = rng.uniform(.02, .07)
    tied = rng.uniform(.3, .65) if rng.random() < .3 else 0.
    parts = ((-.5, .5),) if rng.random() < .4 else ((-.5, -rng.uniform(.02, .3)), (rng.uniform(.02, .3), .5))
    for left, right in parts:
        waves = max(int((right - left) * w / rng.uniform(.08, .2)), 2)
        cloth(a, pleats((left * w, 0), (right * w, 0), waves, depth), 0, h, color, tied)
    if rng.random() < .75:
        over = rng.uniform(.02, .15)
        a.rod((-w / 2 - over, 0, h + .02), (w / 2 + over, 0, h + .02), rng.uniform(.01, .025), metal(rng))
        for side in (-1, 1):
            a.ellipsoid((.035,) * 3, (side * (w / 2 + over), 0, h + .02), metal(rng))
    elif rng.random() < .6:
        a.box((w * 1.05, depth * 2 + .06, rng.uniform(.1, .3)), (0, 0, h), shade(color, .85))


def shower_curtain(a: Assembly, rng: np.random.Generator) -> None:
    """Add a shower curtain: cloth with shallow folds on rings below a straight, angled or round rail."""
    w, h = rng.uniform(.9, 1.9), rng.uniform(1.65, 2.)
    color = ceramic(rng) if rng.random() < .5 else paint(rng)
    rail = metal(rng)
    style = rng.random()
    if style < .45:
        corners = np.array([(-w / 2, 0), (w / 2, 0)])
    elif style < .75:
        side = rng.uniform(.6, .9)
        corners = np.array([(-w / 2, -side), (-w / 2, 0), (w / 2, 0)])
    else:
        angles = np.linspace(np.pi, rng.uniform(.1, .5) * np.pi, 12)
        corners = np.column_stack([np.cos(angles), np.sin(angles)]) * w * .55
    drop = rng.uniform(.05, .12)
    for start, end in zip(corners[:-1], corners[1:], strict=True):
        a.rod((*start, h + drop), (*end, h + drop), .014, rail)
    lengths = np.r_[0, np.cumsum(np.linalg.norm(np.diff(corners, axis=0), axis=1))]
    share = rng.uniform(.45, 1.)
    along = np.linspace(0, share * lengths[-1], 140)
    path = np.column_stack([np.interp(along, lengths, corners[:, k]) for k in (0, 1)])
    direction = np.gradient(path, axis=0)
    across = np.column_stack([-direction[:, 1], direction[:, 0]])
    across /= np.maximum(np.linalg.norm(across, axis=1, keepdims=True), 1e-9)
    wave = rng.uniform(.015, .045) * np.sin(along * 2 * np.pi / rng.uniform(.12, .22))
    cloth(a, path + wave[:, None] * across, 0, h, color)
    for place in path[::10]:
        a.rod((*place, h), (*place, h + drop), .008, rail)


def refrigerator(a: Assembly, rng: np.random.Generator) -> None:
    """Add a refrigerator: a deep box with one, two or three doors in its front and long handles."""
    w, d, h = rng.uniform(.52, .95), rng.uniform(.55, .78), rng.uniform(1.3, 1.95)
    if rng.random() < .12:
        w, h = rng.uniform(.45, .6), rng.uniform(.6, .95)
    body = metal(rng) if rng.random() < .4 else ceramic(rng) if rng.random() < .7 else paint(rng)
    if rng.random() < .2:
        soft_box(a, (w, d, h), (0, -.02, h / 2), body, .2)
    else:
        a.box((w, d, h), (0, -.02, h / 2), body)
    handle, gap, front = metal(rng), .012, d / 2
    split = h * (rng.uniform(.58, .75) if rng.random() < .6 else rng.uniform(.28, .42))
    columns = 2 if w > .78 and rng.random() < .7 else 1
    bands = ((.05, h),) if columns == 2 and rng.random() < .5 else ((.05, split), (split, h))
    for low, high in bands:
        for k in range(columns):
            x = (k - (columns - 1) / 2) * w / columns
            a.box((w / columns - gap, .05, high - low - gap), (x, front, (low + high) / 2), shade(body, 1.06))
            side = (1 - 2 * k) if columns == 2 else 1
            hx, length = x + side * (w / columns / 2 - .05), min(rng.uniform(.3, .7), (high - low) * .7)
            middle = low + length / 2 + .06 if low > .1 else high - length / 2 - .06
            if rng.random() < .85:
                a.rod((hx, front + .07, middle - length / 2), (hx, front + .07, middle + length / 2), .014, handle)
                for end in (-.45, .45):
                    a.rod((hx, front, middle + end * length), (hx, front + .07, middle + end * length), .012, handle)


def garbage_bin(a: Assembly, rng: np.random.Generator) -> None:
    """Add a garbage bin: an open pail, a pedal bin, a bin with a swing lid, or one on wheels."""
    h = rng.uniform(.25, .75)
    r = h * rng.uniform(.28, .42)
    body = metal(rng) if rng.random() < .35 else paint(rng)
    style = rng.random()
    narrow = rng.uniform(.7, 1.)
    if style < .3:  # an open pail
        a.lathe([(0, 0), (r * narrow, 0), (r, h), (r * 1.06, h), (r * 1.06, h - .02), (r * .96, h - .02),
                 (r * narrow * .95, .02), (0, .02)], (0, 0, 0), body,
                stretch=(1, rng.uniform(.65, 1.) if rng.random() < .4 else 1.))
    elif style < .5:  # with a dome
        lid = rng.uniform(.1, .5) * r
        a.lathe([(0, 0), (r * narrow, 0), (r, h), (r * 1.04, h), (r * 1.04, h + .03), (r * .85, h + .03 + lid * .6),
                 (r * .4, h + .03 + lid), (0, h + .03 + lid)], (0, 0, 0), body)
        if rng.random() < .6:
            a.box((.1, .06, .03), (0, r * narrow + .03, .02), shade(body, .6))
    elif style < .75:  # a box, open or with a lid
        w, d = h * rng.uniform(.45, .75), h * rng.uniform(.35, .6)
        if rng.random() < .45:
            a.tray((w, d, h), (0, 0, 0), .015, body)
        else:
            taper(a, (w * narrow, d * narrow), (w, d), 0, h, body)
            ridge = (w * .8, d * rng.uniform(.1, .9))
            taper(a, (w * 1.06, d * 1.06), ridge, h, h + rng.uniform(.04, .2), shade(body, .8))
    else:  # on wheels
        h = rng.uniform(.85, 1.1)
        w, d = rng.uniform(.45, .6), rng.uniform(.5, .7)
        taper(a, (w * .8, d * .7), (w, d), .08, h, body)
        a.box((w * 1.08, d * 1.1, .05), (0, .02, h + .02), shade(body, .85))
        a.rod((-w * .4, -d * .55, h - .03), (w * .4, -d * .55, h - .03), .018, shade(body, .6))
        for side in (-1, 1):
            a.rod((side * w * .3, -d * .35, .1), (side * w * .48, -d * .35, .1), .1, shade(body, .3))


def _fronts(a: Assembly, rng: np.random.Generator, width: float, y: float, low: float, high: float, columns: int,
            color: tuple[int, int, int]) -> None:
    """Add doors and drawers with handles in front of a body."""
    cell = width / columns
    for k in range(columns):
        x = (k + .5) * cell - width / 2
        rows = int(rng.choice((1, 1, 2, 4)))
        for j in range(rows):
            z, tall = low + (j + .5) * (high - low) / rows, (high - low) / rows
            a.box((cell * .94, .02, tall * .94), (x, y + .01, z), shade(color, 1.1))
            a.box((cell * .4, .03, .02), (x, y + .035, z + tall * .35), metal(rng))

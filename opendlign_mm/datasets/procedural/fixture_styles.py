"""Further styles of fixtures and small objects, for the second edition. Meters, z up, front toward +y."""
import numpy as np

from .assembly import Assembly, ceramic, fabric, metal, paint, shade, wood
from .soft_parts import arch, plate, slab, soft_box, taper


def plain_door(a: Assembly, rng: np.random.Generator) -> None:
    """Add a door: a flush leaf, one with a pane, a pair of leaves or an arched one, with or without a frame."""
    double = rng.random() < .3
    w, h, t = rng.uniform(.65, 1.) * (1.8 if double else 1), rng.uniform(1.9, 2.3), rng.uniform(.03, .08)
    leaf = wood(rng) if rng.random() < .5 else paint(rng) if rng.random() < .6 else ceramic(rng)
    if rng.random() < .12:
        plate(a, arch(w, h, w * rng.uniform(.15, .5)), -t / 2, t / 2, leaf, upright=True)
    else:
        a.box((w, t, h), (0, 0, h / 2), leaf)
    if rng.random() < .5:
        bar, deep = rng.uniform(.04, .12), t + rng.uniform(.02, .15)
        for x in (-1, 1):
            a.box((bar, deep, h), (x * (w + bar) / 2, 0, h / 2), shade(leaf, .85))
        a.box((w + 2 * bar, deep, bar), (0, 0, h + bar / 2), shade(leaf, .85))
    leaves = ((-w / 4, w / 2), (w / 4, w / 2)) if double else ((0., w),)
    style, high = rng.random(), rng.uniform(.25, .8)
    for k, (x, wide) in enumerate(leaves):
        for side in (-1, 1):
            y = side * (t / 2 + .006)
            if double:
                a.box((.02, .02, h), (0, y, h / 2), shade(leaf, .7))
            if style < .35:  # a pane
                z = h * (1 - high / 2) - .12
                for edge in (-1, 1):
                    a.box((.03, .02, h * high), (x + edge * wide * .32, y, z), shade(leaf, 1.1))
                    a.box((wide * .64, .02, .03), (x, y, z + edge * h * high / 2), shade(leaf, 1.1))
            elif style < .6:  # flat panels
                rows = int(rng.integers(1, 5))
                for j in range(rows):
                    a.box((wide * .7, .012, h * .8 / rows), (x, y, h * (.06 + .88 * (j + .5) / rows)), shade(leaf, 1.1))
            edge = wide * .42 * (1 if k == 0 else -1)
            if rng.random() < .7:
                a.rod((x + edge, y, h * .48), (x + edge, side * (t / 2 + .06), h * .48), .014, metal(rng))
                a.rod((x + edge, side * (t / 2 + .06), h * .48), (x + edge * .65, side * (t / 2 + .06), h * .48), .012,
                      metal(rng))
            else:
                a.ellipsoid((.03,) * 3, (x + edge, side * (t / 2 + .05), h * .48), metal(rng))


def glazed_window(a: Assembly, rng: np.random.Generator) -> None:
    """Add a window whose panes are closed: casements, sashes, sliders or an arch, in a deep or flat frame."""
    w, h, t = rng.uniform(.5, 2.2), rng.uniform(.6, 1.8), rng.uniform(.05, .2)
    frame = ceramic(rng) if rng.random() < .5 else wood(rng) if rng.random() < .6 else paint(rng)
    bar, columns = rng.uniform(.04, .1), max(int(round(w / rng.uniform(.4, .9))), 1)
    rows = int(rng.choice((1, 1, 2, 3)))
    pane = t * rng.uniform(-.35, .35)
    if rng.random() < .2:
        rise = min(w / 2, h * .4) * rng.uniform(.4, 1.)
        outline = arch(w, h, rise)
        plate(a, outline * .97 + (0, .01), pane - .004, pane + .004, ceramic(rng), upright=True)
        for start, end in zip(outline, np.roll(outline, -1, axis=0), strict=True):
            middle = np.array([0, h / 2])
            inner = [middle + (point - middle) * .93 for point in (start, end)]
            plate(a, np.stack([start, end, *inner]), -t / 2, t / 2, frame, upright=True)
    else:
        a.box((w, .008, h), (0, pane, h / 2), ceramic(rng))
        for side in (-1, 1):
            a.box((bar, t, h), (side * (w - bar) / 2, 0, h / 2), frame)
            a.box((w, t, bar), (0, 0, h / 2 + side * (h - bar) / 2), frame)
    slim = bar * rng.uniform(.4, .9)
    for i in range(1, columns):
        a.box((slim, t * .6, h * .97), ((i / columns - .5) * w, pane, h * .49), frame)
    for j in range(1, rows):
        a.box((w * .97, t * .5, slim), (0, pane, h * j / rows), frame)
    if rng.random() < .4:
        a.box((w + .12, t + .12, .035), (0, .05, 0), shade(frame, .9))
    if rng.random() < .15:
        for side in (-1, 1):
            a.box((w * .45, .03, h), (side * w * .73, t / 2, h / 2), paint(rng))


def soft_bathtub(a: Assembly, rng: np.random.Generator) -> None:
    """Add a bathtub: built in with an apron, free-standing and oval, or in a corner; the basin is deep and smooth."""
    w, d, h = rng.uniform(1.3, 1.9), rng.uniform(.65, .95), rng.uniform(.4, .65)
    body, style = ceramic(rng), rng.random()
    deep = h * rng.uniform(.65, .85)
    if style < .25:
        w = d = rng.uniform(1.2, 1.5)
    r = d / 2
    basin = [(r * .9, h), (r * .85, h - deep * .4), (r * .7, h - deep * .9), (r * .5, h - deep), (0, h - deep)]
    if style < .6:  # a rim around the basin and an apron below it
        a.lathe(basin, (0, 0, 0), body, stretch=(w / d, 1))
        angles = np.linspace(0, 2 * np.pi, 33)
        inner = np.column_stack([np.cos(angles) * w * .45, np.sin(angles) * d * .45])
        outer = inner / np.maximum(np.abs(inner[:, :1]) / (w / 2), np.abs(inner[:, 1:]) / (d / 2))
        for k in range(32):
            plate(a, np.stack([inner[k], inner[k + 1], outer[k], outer[k + 1]]), h - .03, h, body)
        for side in (-1, 1):
            a.box((w, .02, h), (0, side * d / 2, h / 2), body)
            a.box((.02, d, h), (side * w / 2, 0, h / 2), body)
    else:
        rim = rng.uniform(1.02, 1.12)
        outer = [(0, 0), (r * rng.uniform(.5, .8), 0), (r * .95, h * .6), (r * rim, h), (r * .9, h)]
        a.lathe(outer + basin[1:], (0, 0, 0), body, stretch=(w / d, 1))
    if rng.random() < .7:
        tap, x = metal(rng), rng.choice((-1, 0, 1)) * w * .47
        y = -d * .5 if x == 0 else 0.
        a.rod((x, y, h * .6), (x, y, h + rng.uniform(.1, .3)), .018, tap)
        a.rod((x, y, h + .1), (x * .8, y * .7, h + .08), .015, tap)


def soft_toilet(a: Assembly, rng: np.random.Generator) -> None:
    """Add a toilet of smooth parts: with a tank, without one, or hanging on a plate."""
    body, r = ceramic(rng), rng.uniform(.17, .21)
    h, long = rng.uniform(.36, .45), rng.uniform(1.2, 1.5)
    hang = rng.random() < .2
    bowl = [(0, h * .35 if hang else 0), (r * .6, h * .4 if hang else 0), (r * rng.uniform(.6, .95), h * .5), (r, h),
            (r * .7, h), (r * .5, h * .6), (0, h * .55)]
    a.lathe(bowl, (0, .1, 0), body, stretch=(1, long))
    tall, middle = (h * .5, h * .75) if hang else (h * .98, h * .5)
    soft_box(a, (r * 1.9, r * 1.4, tall), (0, .1 - r * long * .75, middle), body, .3)
    lid = rng.random()
    if lid < .5:
        a.lathe([(0, -.01), (r * 1.02, 0), (r * .98, .03), (0, .04)], (0, .1, h + .01), body, stretch=(1, long))
    else:
        a.ring(r * .85, r * .14, (0, .1, h + .01), body, stretch=(1, long))
        if lid < .85:
            soft_box(a, (r * 1.9, .035, r * 2.3), (0, .1 - r * long * .9, h + r * 1.1), body, .4, -.12)
    back = .1 - r * long - .1
    if not hang:
        tank = rng.uniform(.28, .45)
        soft_box(a, (rng.uniform(.34, .5), rng.uniform(.15, .22), tank), (0, back, h + tank / 2 - .03), body, .2)
        a.box((.05, .03, .02), (0, back, h + tank - .01), metal(rng))
    elif rng.random() < .5:
        a.box((.45, .06, rng.uniform(.8, 1.1)), (0, back - .02, .5), shade(body, .9))


def plain_sink(a: Assembly, rng: np.random.Generator) -> None:
    """Add a sink: a bowl or a trough alone, on a stand, a column or a wall, or a kitchen sink with a drainer."""
    body = ceramic(rng) if rng.random() < .75 else metal(rng)
    tap, style = metal(rng), rng.random()
    w, d, deep = rng.uniform(.4, .75), rng.uniform(.35, .5), rng.uniform(.1, .22)
    h = 0. if rng.random() < .35 else rng.uniform(.75, .9)
    if style < .45:  # round
        r = d / 2
        a.lathe([(0, h), (r * .5, h), (r * .95, h + deep * .7), (r, h + deep), (r * .9, h + deep),
                 (r * .8, h + deep * .6), (r * .4, h + .03), (0, h + .03)], (0, 0, 0), body, stretch=(w / d, 1))
    elif style < .8:  # a trough
        a.tray((w, d, deep), (0, 0, h), .025, body)
        a.box((w, .1, deep), (0, -d / 2 - .04, h + deep / 2), body)
    else:  # a kitchen sink
        w = rng.uniform(.7, 1.2)
        bowls = int(rng.integers(1, 3))
        for k in range(bowls):
            a.tray((w * .42, d * .8, deep), ((k - .5) * w * .45, 0, h), .01, body)
        for k in range(bowls, 2):
            a.box((w * .46, d * .85, .015), ((k - .5) * w * .45, 0, h + deep), body)
        for side in (-1, 1):
            a.box((w, .04, .012), (0, side * d * .44, h + deep), body)
            a.box((.04, d * .9, .012), (side * w / 2, 0, h + deep), body)
    if h:
        below = rng.random()
        if below < .4:
            a.lathe([(0, 0), (.13, 0), (.09, .3), (.1, h), (0, h)], (0, -.03, 0), body)
        elif below < .7:
            for x in (-1, 1):
                for y in (-1, 1):
                    a.rod((x * w * .42, y * d * .4, 0), (x * w * .42, y * d * .4, h), .018, tap)
        else:
            a.rod((0, 0, h), (0, 0, h - .3), .03, tap)
    tall, reach = rng.uniform(.1, .3), rng.uniform(.3, .7) * d
    a.rod((0, -d * .45, h + deep), (0, -d * .45, h + deep + tall), .014, tap)
    a.rod((0, -d * .45, h + deep + tall), (0, -d * .45 + reach, h + deep + tall * rng.uniform(.7, 1.)), .013, tap)


def jointed_lamp(a: Assembly, rng: np.random.Generator) -> None:
    """Add a lamp: on an arm with a joint, in an arc, on three legs, or a shade on a vase."""
    style, pole = rng.integers(4), metal(rng) if rng.random() < .7 else wood(rng)
    cover = fabric(rng) if rng.random() < .6 else ceramic(rng)
    if style == 0:  # a desk lamp
        h, out = rng.uniform(.2, .35), rng.uniform(-.2, .1)
        a.lathe([(0, 0), (.1, 0), (.09, .025), (0, .03)], (0, 0, 0), pole)
        joint, end = (0, out, h), (0, out + rng.uniform(.15, .35), h + rng.uniform(-.05, .2))
        a.rod((0, 0, .02), joint, .012, pole)
        a.rod(joint, end, .012, pole)
        a.lathe([(.02, .05), (.04, .04), (rng.uniform(.07, .12), -.08), (.06, -.07), (.02, .03)], end, cover)
        return
    if style == 1:  # an arc
        h, reach = rng.uniform(1.4, 2.), rng.uniform(.5, 1.1)
        angles = np.linspace(0, rng.uniform(2., 2.9), 10)
        arc = np.column_stack([reach / 2 * (1 - np.cos(angles)), 0 * angles, h * .6 + h * .4 * np.sin(angles)])
        a.lathe([(0, 0), (.17, 0), (.17, .04), (0, .05)], (0, 0, 0), pole)
        for start, end in zip(np.array([(0, 0, 0), *arc[:-1]]), arc, strict=True):
            a.rod(start, end, .014, pole)
        a.lathe([(.03, .08), (.12, .06), (.18, -.07), (.16, -.07), (.03, .06)], arc[-1], cover)
        return
    h = rng.uniform(1.2, 1.7) if style == 2 else rng.uniform(.35, .75)
    low = rng.uniform(.6, .75) * h
    if style == 2:
        for k in range(3):
            angle = 2 * np.pi * k / 3 + .5
            a.rod((.25 * np.cos(angle), .25 * np.sin(angle), 0), (0, 0, low), .015, pole)
    else:
        r = rng.uniform(.06, .16) * h**.5
        profile = [(0, 0), (r * .6, 0)] + [(r * rng.uniform(.4, 1.1), low * k / 5) for k in range(1, 5)] + [
            (.015, low * .95), (0, low)]
        a.lathe(profile, (0, 0, 0), paint(rng))
    wide = rng.uniform(.2, .32) * h**.5
    narrow = wide * rng.uniform(.35, 1.)
    a.rod((0, 0, low * .9), (0, 0, h - .03), .01, pole)
    a.lathe([(wide, low), (narrow, h), (narrow * .97, h), (wide * .97, low), (wide, low)], (0, 0, 0), cover)


def other_bottle(a: Assembly, rng: np.random.Generator) -> None:
    """Add a bottle: slender, squat, square, or with a spray head."""
    h, color, style = rng.uniform(.1, .35), paint(rng), rng.random()
    r = h * rng.uniform(.1, .3)
    neck, shoulder = r * rng.uniform(.25, .8), rng.uniform(.5, .85)
    if style < .7:
        steps = np.linspace(0, 1, 6)
        curve = [(neck + (r - neck) * (1 + np.cos(np.pi * s)) / 2, h * (shoulder + (.95 - shoulder) * s * .8))
                 for s in steps]
        a.lathe([(0, 0), (r * .9, 0), (r, h * .03), *curve, (neck, h * .93), (0, h * .93)], (0, 0, 0), color)
    else:
        taper(a, (2 * r, r * rng.uniform(1., 2.)), (2 * r, r * 1.5), 0, h * shoulder, color)
        taper(a, (2 * r, r * 1.5), (neck * 2, neck * 2), h * shoulder, h * .9, color)
    cap = paint(rng)
    a.lathe([(0, 0), (neck * 1.15, 0), (neck * 1.15, h * .08), (0, h * .08)], (0, 0, h * .92), cap)
    if style > .5 and rng.random() < .5:
        a.box((neck, r * 1.8, h * .06), (0, r * .4, h * 1.03), cap)
        slab(a, (neck * .6, .01, h * .12), (0, r * .7, h * .95), cap, .3)


def other_cup(a: Assembly, rng: np.random.Generator) -> None:
    """Add a cup: a straight mug, a bowl-shaped cup on a saucer, or a beaker without a handle."""
    h, style = rng.uniform(.06, .13), rng.random()
    r = h * rng.uniform(.38, .75)
    color = ceramic(rng) if rng.random() < .5 else paint(rng)
    foot = r * (rng.uniform(.45, .7) if style < .35 else rng.uniform(.7, 1.))
    bulge = r * (rng.uniform(.85, 1.) if style < .35 else (foot / r + 1) / 2)
    wall = rng.uniform(.03, .09) * r
    a.lathe([(0, 0), (foot, 0), (bulge, h * .45), (r, h), (r - wall, h), (bulge - wall, h * .45),
             (foot - wall, wall * 2), (0, wall * 2)], (0, 0, 0), color)
    if style < .75:
        size, angle = h * rng.uniform(.22, .34), rng.uniform(0, 2 * np.pi)
        out = np.array((np.cos(angle), np.sin(angle), 0))
        a.ring(size, size * rng.uniform(.1, .2), out * ((r + bulge) / 2 + size * .5) + (0, 0, h * .52), color,
               normal=(-out[1], out[0], 0))
    if style < .35 and rng.random() < .6:
        a.lathe([(0, 0), (r * 1.2, 0), (r * 1.7, h * .12), (r * 1.7, h * .16), (0, h * .06)], (0, 0, -h * .05), color)


def flat_screen(a: Assembly, rng: np.random.Generator) -> None:
    """Add a monitor: a wide or square screen on a neck, two feet, a bent plate or nothing."""
    w = rng.uniform(.35, 1.3)
    h, t = w * rng.uniform(.52, .8), rng.uniform(.02, .08)
    body, style = metal(rng) if rng.random() < .7 else ceramic(rng), rng.random()
    lift = 0. if style > .85 else rng.uniform(.03, .2) * w**.5
    soft_box(a, (w, t, h), (0, 0, lift + h / 2), body, .06)
    a.box((w * .94, .006, h * .9), (0, t / 2, lift + h / 2), shade(body, .5))
    if rng.random() < .5:
        soft_box(a, (w * .6, t * 1.5, h * .6), (0, -t * .6, lift + h * .5), shade(body, .8), .3)
    if style < .35:
        a.box((w * .12, .03, lift + h * .2), (0, -t * .7, (lift + h * .2) / 2), body)
        soft_box(a, (w * rng.uniform(.3, .6), .22 * w**.5, .02), (0, 0, .01), body, .4)
    elif style < .6:
        for x in (-1, 1):
            a.rod((x * w * .35, .12, .01), (x * w * .33, 0, lift + .02), .012, body)
            a.rod((x * w * .35, -.12, .01), (x * w * .33, 0, lift + .02), .012, body)
    elif style < .85:
        slab(a, (w * .3, .012, lift + h * .35), (0, -t - .04, (lift + h * .35) / 2), body, .15)
        a.box((w * .3, .2, .012), (0, .0, .006), body)

"""Further styles of tables, desks, shelves and cabinets, for the second edition. Meters, z up, front toward +y."""
import numpy as np

from .assembly import Assembly, ceramic, metal, paint, shade, wood
from .soft_parts import plate, soft_box


def plain_table(a: Assembly, rng: np.random.Generator) -> None:
    """Add a table: on panels, trestles, crossed legs, a sled or a column; round, oval or with a shelf below."""
    is_low = rng.random() < .35
    h = rng.uniform(.3, .5) if is_low else rng.uniform(.65, .8) if rng.random() < .85 else rng.uniform(.95, 1.1)
    w, d, thick = rng.uniform(.5, 2.), rng.uniform(.45, 1.1), rng.uniform(.015, .08)
    top = wood(rng) if rng.random() < .7 else paint(rng)
    under = metal(rng) if rng.random() < .4 else top
    if rng.random() < .35:
        angles = np.linspace(0, 2 * np.pi, 28)
        plate(a, np.column_stack([np.cos(angles) * w / 2, np.sin(angles) * d / 2]), h - thick, h, top)
        w, d = w * .72, d * .72
    else:
        a.box((w, d, thick), (0, 0, h - thick / 2), top)
    style, inset, r = rng.integers(5), rng.uniform(.8, .98), rng.uniform(.012, .05)
    for x in (-1, 1):
        place = x * w / 2 * inset
        if style == 0:
            a.box((rng.uniform(.025, .09), d * .92, h), (place, 0, h / 2), under)
        elif style == 1:
            for y in (-1, 1):
                a.rod((place, y * d * .42, 0), (place, y * d * rng.uniform(-.42, .15), h - thick), r, under)
        elif style == 2:
            for y in (-1, 1):
                a.rod((place * 1.03, y * d * .46, 0), (place * .9, y * d * .42, h - thick), r, under)
        elif style == 3:
            a.box((.05, d * .9, .03), (place, 0, .015), under)
            for y in (-1, 1):
                a.box((.05, .04, h), (place, y * d * .42, h / 2), under)
    if style == 4:
        a.rod((0, 0, 0), (0, 0, h), rng.uniform(.03, .12), under)
        if rng.random() < .5:
            a.box((w * .5, d * .5, .04), (0, 0, .02), under)
        else:
            for k in range(4):
                a.rod((0, 0, .1), (.35 * w * np.cos(np.pi / 2 * k), .35 * d * np.sin(np.pi / 2 * k), .02), .03, under)
    elif rng.random() < .25:
        a.box((w * .85, d * .85, .02), (0, 0, h * rng.uniform(.15, .4)), top)
    if rng.random() < .1:
        a.box((w * 1.02, d * 1.02, h * rng.uniform(.2, .6)), (0, 0, h * .8), ceramic(rng))


def plain_desk(a: Assembly, rng: np.random.Generator) -> None:
    """Add a desk: a writing table with drawers under its top, an angle, or a secretary with a hutch."""
    w, d, h = rng.uniform(1., 1.8), rng.uniform(.5, .85), rng.uniform(.7, .78)
    body, leg = wood(rng) if rng.random() < .75 else paint(rng), metal(rng)
    thick = rng.uniform(.02, .05)
    a.box((w, d, thick), (0, 0, h), body)
    style, side = rng.random(), rng.choice((-1, 1))
    hang = rng.uniform(.1, .18)
    if style < .45:  # drawers under the top, thin legs
        a.box((w * .95, d * .85, hang), (0, -d * .05, h - hang / 2), body)
        count = int(rng.integers(1, 4))
        for k in range(count):
            x = ((k + .5) / count - .5) * w * .95
            a.box((w * .9 / count, .02, hang * .8), (x, d * .38, h - hang / 2), shade(body, 1.12))
            a.ellipsoid((.018,) * 3, (x, d * .4, h - hang / 2), leg)
        for x in (-1, 1):
            for y in (-1, 1):
                a.rod((x * w * .47, y * d * .43, 0), (x * w * .46, y * d * .42, h), .022, body)
    else:  # a block of drawers, and a panel or legs
        block = rng.uniform(.32, .5)
        blocks = (-1, 1) if rng.random() < .4 else (side,)
        for x in (-1, 1):
            if x in blocks:
                a.box((block, d * .9, h * .92), (x * (w - block) / 2, 0, h * .5), body)
                rows = int(rng.integers(2, 5))
                for k in range(rows):
                    z = h * (.08 + .86 * (k + .5) / rows)
                    a.box((block * .92, .02, h * .8 / rows), (x * (w - block) / 2, d * .46, z), shade(body, 1.12))
                    a.rod((x * (w - block) / 2 - .06, d * .49, z), (x * (w - block) / 2 + .06, d * .49, z), .008, leg)
            elif rng.random() < .5:
                a.box((.03, d * .9, h), (x * (w / 2 - .02), 0, h / 2), body)
            else:
                for y in (-1, 1):
                    a.rod((x * w * .46, y * d * .42, 0), (x * w * .46, y * d * .42, h), .02, leg)
        if rng.random() < .6:
            a.box((w * .9, .02, h * rng.uniform(.3, .8)), (0, -d * .4, h * .6), body)
    if style > .75:  # an angle
        long = rng.uniform(.5, 1.)
        a.box((d * .8, long, thick), (side * (w / 2 - d * .4), d / 2 + long / 2, h), body)
        a.box((d * .75, .03, h), (side * (w / 2 - d * .4), d / 2 + long - .03, h / 2), body)
    if rng.random() < .3:
        tall = rng.uniform(.2, .9)
        a.box((w, .02, tall), (0, -d * .48, h + tall / 2), body)
        for k in range(int(rng.integers(1, 4))):
            a.box((w, d * .35, .02), (0, -d * .32, h + tall * (k + 1) / 3), body)
        for x in (-1, 1):
            a.box((.02, d * .35, tall), (x * w / 2, -d * .32, h + tall / 2), body)


def open_shelf(a: Assembly, rng: np.random.Generator) -> None:
    """Add a bookshelf: boards between posts, a grid of cells, low or tall, with books, boxes or nothing in it."""
    w, d = rng.uniform(.4, 1.9), rng.uniform(.22, .42)
    h = rng.uniform(.7, 1.3) if rng.random() < .3 else rng.uniform(1.5, 2.3)
    body, thick = wood(rng) if rng.random() < .7 else paint(rng), rng.uniform(.015, .04)
    rows, columns = max(int(h / rng.uniform(.27, .45)), 2), max(int(w / rng.uniform(.35, .9)), 1)
    posts = rng.random() < .25
    for k in range(columns + 1):
        x = (k / columns - .5) * w
        if posts:
            for y in (-1, 1):
                a.rod((x, y * d * .47, 0), (x, y * d * .47, h), .015, metal(rng))
        else:
            a.box((thick, d, h), (x, 0, h / 2), body)
    gap = (h - .06) / rows
    for k in range(rows + 1):
        a.box((w, d, thick), (0, 0, .04 + gap * k), body)
    if rng.random() < .6:
        a.box((w, .01, h), (0, -d / 2, h / 2), body)
    fill = rng.choice((0., .5, 1.))
    for row in range(rows):
        for column in range(columns):
            if rng.random() > fill:
                continue
            cell = w / columns
            x, end = (column / columns - .5) * w + .03, ((column + 1) / columns - .5) * w - .03
            if rng.random() < .2:
                a.box((cell * .8, d * .7, gap * .5), ((x + end) / 2, 0, .05 + gap * (row + .27)), paint(rng))
                continue
            end -= rng.uniform(0, .6) * cell
            while x < end:
                book, tall = rng.uniform(.02, .07), gap * rng.uniform(.55, .9)
                deep = d * rng.uniform(.55, .85)
                a.box((book, deep, tall), (x + book / 2, 0, .05 + gap * row + tall / 2), paint(rng))
                x += book + .002
    if rng.random() < .2:
        a.box((w, d * 1.05, gap), (0, 0, gap / 2 + .03), body)


def plain_cabinet(a: Assembly, rng: np.random.Generator) -> None:
    """Add a cabinet with flat fronts: a wardrobe, a chest of drawers, a wall, base or filing cabinet."""
    style = rng.integers(5)
    w, d, h = ((rng.uniform(.8, 2.4), rng.uniform(.5, .68), rng.uniform(1.8, 2.4)),
               (rng.uniform(.6, 1.6), rng.uniform(.4, .55), rng.uniform(.6, 1.2)),
               (rng.uniform(.3, 1.), rng.uniform(.28, .42), rng.uniform(.35, .95)),
               (rng.uniform(.4, 1.2), rng.uniform(.5, .65), rng.uniform(.75, .95)),
               (rng.uniform(.36, .5), rng.uniform(.4, .65), rng.uniform(.6, 1.4)))[style]
    body = wood(rng) if rng.random() < .6 else ceramic(rng) if rng.random() < .5 else paint(rng)
    foot = 0. if style in (2, 4) else rng.uniform(0, .14)
    if style == 3 and foot > .05:
        a.box((w, d * .85, h - foot), (0, 0, (h + foot) / 2), body)
        a.box((w, d * .75, foot), (0, -.02, foot / 2), shade(body, .6))
        a.box((w + .02, d, .035), (0, .02, h), paint(rng))
    else:
        soft_box(a, (w, d, h - foot), (0, 0, (h + foot) / 2), body, .06)
        for x in (-1, 1):
            for y in (-1, 1):
                a.rod((x * w * .46, y * d * .44, 0), (x * w * .46, y * d * .44, foot + .01), .025, shade(body, .7))
    if rng.random() < .3 and style < 2:
        a.box((w + .06, d + .05, .03), (0, 0, h), shade(body, .85))
    columns = max(int(round(w / rng.uniform(.38, .65))), 1)
    drawers = style in (1, 4) or rng.random() < .2
    rows = int(rng.integers(2, 6)) if drawers else int(rng.choice((1, 1, 1, 2)))
    columns = 1 if style == 4 else min(columns, 2) if drawers else columns
    front, handle = d / 2 * (.85 if style == 3 and foot > .05 else 1), metal(rng)
    relief, grip = rng.uniform(.004, .025), rng.integers(4)
    glass = rng.random() < .15
    for i in range(columns):
        for j in range(rows):
            cw, ch = w / columns, (h - foot) / rows
            x, z = (i + .5) * cw - w / 2, foot + (j + .5) * ch
            a.box((cw * .96, relief, ch * .96), (x, front + relief / 2, z), shade(body, 1.08))
            if rng.random() < .5 or glass:  # a frame on the front
                for side in (-1, 1):
                    a.box((cw * .12, .02, ch * .94), (x + side * cw * .41, front + relief + .01, z), body)
                    a.box((cw * .94, .02, ch * .1), (x, front + relief + .01, z + side * ch * .42), body)
            hx = x if drawers else x + (cw * .38 if i % 2 == 0 else -cw * .38)
            if grip == 0:
                a.ellipsoid((.016, .022, .016), (hx, front + relief + .03, z), handle)
            elif grip == 1:
                size = (min(.14, cw * .4), .012, .012) if drawers else (.012, .012, min(.2, ch * .3))
                a.box(size, (hx, front + relief + .035, z), handle)
            elif grip == 2:
                a.box((cw * .5, .02, .02) if drawers else (.02, .02, ch * .5), (hx, front + relief + .012, z), handle)

"""Further styles of chairs, sofas and beds, for the second edition. Meters, z up, front toward +y."""
import numpy as np

from .assembly import Assembly, fabric, metal, paint, shade, wood
from .soft_parts import slab, soft_box


def armchair(a: Assembly, rng: np.random.Generator) -> None:
    """Add an armchair: a deep cushioned seat for one, with arms and a high or low back."""
    w, d = rng.uniform(.6, 1.), rng.uniform(.6, .95)
    seat, back, arm = rng.uniform(.36, .46), rng.uniform(.7, 1.1), rng.uniform(.5, .68)
    cover, soft = fabric(rng), rng.uniform(.12, .5)
    leg = rng.uniform(.02, .22)
    arm_width, lean = rng.uniform(.07, .2), rng.uniform(0, .25)
    soft_box(a, (w - arm_width, d * .9, seat - leg), (0, 0, (seat + leg) / 2), cover, soft)
    soft_box(a, (w - arm_width, d * .24, back - leg), (0, -d * .4, (back + leg) / 2), cover, soft, -lean)
    closed = rng.random() < .7
    for x in (-1, 1):
        place = x * (w - arm_width) / 2
        if closed:
            soft_box(a, (arm_width, d * .95, arm - leg), (place, 0, (arm + leg) / 2), cover, soft)
        else:
            a.box((.05, d * .9, .04), (place, 0, arm), wood(rng))
            for y in (-.4, .4):
                a.box((.04, .04, arm), (place, y * d, arm / 2), wood(rng))
        for y in (-1, 1):
            a.rod((x * w * .42, y * d * .42, 0), (x * w * .38, y * d * .38, leg + .02), .025, wood(rng))
    if rng.random() < .6:
        soft_box(a, (w - 2 * arm_width, d * .7, .16), (0, d * .08, seat + .05), shade(cover, 1.1), .3)


def simple_chair(a: Assembly, rng: np.random.Generator) -> None:
    """Add a chair on thin legs: a shell, spindles, or a tube frame; also a high one."""
    w, d = rng.uniform(.36, .52), rng.uniform(.36, .5)
    seat = rng.uniform(.6, .82) if rng.random() < .15 else rng.uniform(.4, .5)
    back, lean = rng.uniform(.3, .62), rng.uniform(.05, .3)
    frame = metal(rng) if rng.random() < .5 else wood(rng)
    cover = paint(rng) if rng.random() < .5 else frame
    splay, radius = rng.uniform(0, .08), rng.uniform(.009, .022)
    if rng.random() < .5:
        soft_box(a, (w, d, rng.uniform(.02, .09)), (0, 0, seat), cover, rng.uniform(.1, .4))
    else:
        a.lathe([(0, -.015), (w * .5, -.01), (w * .52, .01), (0, .015)], (0, 0, seat), cover, stretch=(1, d / w))
    style = rng.random()
    if style < .2:  # a cantilever frame
        for x in (-1, 1):
            side = [(x * w / 2, -d * .45, .02), (x * w / 2, d * .48, .02), (x * w / 2, d * .48, seat),
                    (x * w / 2, -d * .45, seat), (x * w / 2, -d * .45 - lean * back, seat + back)]
            for start, end in zip(side[:-1], side[1:], strict=True):
                a.rod(start, end, radius, frame)
    else:
        for x in (-1, 1):
            for y in (-1, 1):
                foot = (x * (w * .42 + splay), y * (d * .42 + splay), 0)
                a.rod(foot, (x * w * .38, y * d * .38, seat), radius, frame)
            if rng.random() < .3:
                a.rod((x * w * .42, -d * .42, seat * .4), (x * w * .42, d * .42, seat * .4), radius * .8, frame)
    y = -d * .45
    if style < .55:  # a closed back
        low = rng.uniform(0, .3) * back
        middle = (low + back) / 2
        soft_box(a, (w * rng.uniform(.8, 1.05), rng.uniform(.02, .06), back - low),
                 (0, y - lean * middle, seat + middle), cover, .3, -lean)
        if low > .05:
            for x in (-1, 1):
                a.rod((x * w * .4, y, seat), (x * w * .4, y - lean * back * .8, seat + back * .8), radius, frame)
    else:  # spindles or a ring
        count = int(rng.integers(2, 9))
        for k in range(count):
            x = (k / max(count - 1, 1) - .5) * w * .85
            a.rod((x, y, seat), (x * 1.05, y - lean * back, seat + back), radius * rng.uniform(.5, 1.), frame)
        slab(a, (w, .025, rng.uniform(.03, .12)), (0, y - lean * back, seat + back), frame, -lean)
    if rng.random() < .25:
        for x in (-1, 1):
            a.rod((x * w / 2, y - lean * .2, seat + .2), (x * w / 2, d * .3, seat + .2), radius, frame)
            a.rod((x * w / 2, d * .3, seat), (x * w / 2, d * .3, seat + .2), radius, frame)


def lounger(a: Assembly, rng: np.random.Generator) -> None:
    """Add a reclining chair: a long sloping seat and back on crossed or straight legs."""
    w, length = rng.uniform(.5, .65), rng.uniform(.55, .8)
    seat, back, lean = rng.uniform(.25, .42), rng.uniform(.6, .85), rng.uniform(.35, .8)
    frame, cover = wood(rng), fabric(rng) if rng.random() < .6 else wood(rng)
    slab(a, (w, length, .03), (0, 0, seat), cover, 0)
    slab(a, (w, .03, back), (0, -length / 2 - np.sin(lean) * back / 2, seat + np.cos(lean) * back / 2), cover, -lean)
    if rng.random() < .4:
        slab(a, (w, .4, .03), (0, length / 2 + .18, seat - .06), cover)
    crossed = rng.random() < .5
    for x in (-1, 1):
        for y in (-1, 1):
            top = -y if crossed else y
            a.rod((x * w / 2, y * length * .5, 0), (x * w / 2, top * length * .42, seat), .02, frame)
        if rng.random() < .7:
            a.box((.05, length, .025), (x * w / 2, 0, seat + .2), frame)
            a.rod((x * w / 2, length * .4, seat), (x * w / 2, length * .4, seat + .2), .02, frame)


def soft_sofa(a: Assembly, rng: np.random.Generator) -> None:
    """Add a sofa of soft cushions: straight or with a corner, low or high arms, on legs or a plinth."""
    w, d = rng.uniform(1.3, 2.6), rng.uniform(.75, 1.05)
    seat, back = rng.uniform(.36, .46), rng.uniform(.65, .98)
    arm = rng.uniform(.42, .68) if rng.random() < .75 else rng.uniform(.7, .95) * back
    cover, soft = fabric(rng), rng.uniform(.1, .45)
    leg, arm_width = rng.uniform(.02, .2), rng.uniform(.06, .3)
    has_arms = rng.random() < .85
    soft_box(a, (w, d * .95, seat - leg - .08), (0, 0, (seat + leg) / 2 - .04), cover, soft * .5)
    soft_box(a, (w, d * .22, back - leg), (0, -d * .4, (back + leg) / 2), cover, soft, -rng.uniform(0, .15))
    for x in (-1, 1):
        if has_arms:
            soft_box(a, (arm_width, d, arm - leg), (x * (w - arm_width) / 2, 0, (arm + leg) / 2), cover, soft)
        for y in (-1, 1):
            a.rod((x * w * .45, y * d * .42, 0), (x * w * .44, y * d * .4, leg + .03), .028, wood(rng))
    inner = w - 2 * arm_width * has_arms
    cushions = int(rng.integers(1, 5))
    for k in range(cushions):
        x = ((k + .5) / cushions - .5) * inner
        soft_box(a, (inner / cushions * .98, d * .72, .17), (x, d * .1, seat), shade(cover, 1.08), soft)
        if rng.random() < .8:
            soft_box(a, (inner / cushions * .95, d * .2, back - seat), (x, -d * .24, (seat + back) / 2 + .05),
                     shade(cover, 1.08), soft, -.15)
    if rng.random() < .3:  # a corner
        side, long = rng.choice((-1, 1)), rng.uniform(.5, 1.2)
        x = side * (w / 2 - d * .45)
        soft_box(a, (d * .9, long, seat - leg), (x, d * .4 + long / 2, (seat + leg) / 2 + .04), cover, soft * .5)
        if rng.random() < .6:
            soft_box(a, (d * .22, long + d, back - leg), (side * w / 2, long / 2, (back + leg) / 2), cover, soft)
    for _ in range(rng.integers(0, 4)):
        soft_box(a, (.42, .13, .38), (rng.uniform(-.4, .4) * inner, -d * .12, seat + .25), fabric(rng), .5, -.3)


def platform_bed(a: Assembly, rng: np.random.Generator) -> None:
    """Add a bed: a mattress on a low base, with or without headboard, blanket, slats or a padded head."""
    w, length = rng.uniform(.85, 2.), rng.uniform(1.85, 2.2)
    base, mattress = rng.uniform(.1, .38), rng.uniform(.1, .32)
    frame, sheet, soft = (wood(rng) if rng.random() < .6 else fabric(rng)), fabric(rng), rng.uniform(.08, .3)
    if rng.random() < .5:
        a.box((w, length, base), (0, 0, base / 2), frame)
    else:
        a.box((w, length, .08), (0, 0, base), frame)
        for x in (-1, 1):
            for y in (-1, 1):
                a.rod((x * w * .45, y * length * .46, 0), (x * w * .45, y * length * .46, base), .03, frame)
    soft_box(a, (w * .97, length * .97, mattress), (0, 0, base + mattress / 2), sheet, soft)
    top, head = base + mattress, rng.uniform(.2, .85)
    style = rng.random()
    if style < .35:
        soft_box(a, (w + .05, .14, top + head), (0, -length / 2, (top + head) / 2), fabric(rng), .2)
    elif style < .75:  # bars
        ends = (-1, 1) if rng.random() < .5 else (-1,)
        for y in ends:
            high = top + head * (1 if y < 0 else rng.uniform(.3, 1.))
            a.rod((-w / 2, y * length / 2, high), (w / 2, y * length / 2, high), .022, frame)
            count = int(rng.integers(2, 9))
            for k in range(count):
                x = (k / (count - 1) - .5) * w
                a.rod((x, y * length / 2, 0), (x, y * length / 2, high), .018, frame)
    pillows = 1 if w < 1.2 else 2
    for k in range(pillows if rng.random() < .85 else 0):
        x = (k - (pillows - 1) / 2) * w * .48
        soft_box(a, (w / pillows * .8, .42, .14), (x, -length / 2 + .32, top + .05), fabric(rng), .5, -.2)
    if rng.random() < .6:
        cover = rng.uniform(.4, .75)
        size = (w * 1.05, length * cover, .12 + base * rng.uniform(0, .8))
        soft_box(a, size, (0, length * (.5 - cover / 2), top - .02), fabric(rng), .12)


def raised_bed(a: Assembly, rng: np.random.Generator) -> None:
    """Add a bunk bed, a loft bed, or a child's bed between rails."""
    w, length = rng.uniform(.6, 1.1), rng.uniform(1.2, 2.1)
    frame, post = wood(rng) if rng.random() < .6 else metal(rng), rng.uniform(.03, .07)
    style = rng.random()
    levels = (rng.uniform(.25, .4), rng.uniform(1.2, 1.5)) if style < .4 else (
        rng.uniform(1.2, 1.6),) if style < .55 else (rng.uniform(.25, .5),)
    high = levels[-1] + rng.uniform(.35, .6)
    for x in (-1, 1):
        for y in (-1, 1):
            a.box((post, post, high), (x * w / 2, y * length / 2, high / 2), frame)
    for level in levels:
        a.box((w, length, .06), (0, 0, level), frame)
        soft_box(a, (w * .95, length * .97, .16), (0, 0, level + .1), fabric(rng), .12)
        soft_box(a, (w * .7, .35, .12), (0, -length * .38, level + .22), fabric(rng), .5)
        rail = level + rng.uniform(.25, .5)
        for x in (-1, 1):
            a.box((.03, length, .05), (x * w / 2, 0, rail), frame)
            for k in range(int(rng.integers(0, 14)) if style >= .55 else 0):
                a.rod((x * w / 2, (k / 13 - .5) * length, level), (x * w / 2, (k / 13 - .5) * length, rail), .01, frame)
        for y in (-1, 1):
            a.box((w, .03, .05), (0, y * length / 2, rail), frame)
    if len(levels) == 2 or levels[0] > 1:
        for k in range(5):
            a.rod((w / 2 + .02, length * .3, .25 * (k + 1)), (w / 2 + .02, length * .45, .25 * (k + 1)), .018, frame)
        for y in (.3, .45):
            a.rod((w / 2 + .02, length * y, 0), (w / 2 + .02, length * y, high), .02, frame)

"""Seats, tables, beds and storage. Meters, z up, front toward +y."""
import numpy as np

from .assembly import Assembly, fabric, metal, paint, shade, wood


def chair(a: Assembly, rng: np.random.Generator) -> None:
    """Add a chair: a seat with a back, on four legs or on a swivel base, with or without arms."""
    w, d = rng.uniform(.38, .58), rng.uniform(.38, .55)
    seat, back = rng.uniform(.38, .52), rng.uniform(.35, .65)
    office = rng.random() < .35
    frame = metal(rng) if office else wood(rng)
    cover = fabric(rng) if office or rng.random() < .5 else frame
    thick = rng.uniform(.03, .1)
    a.box((w, d, thick), (0, 0, seat), cover)
    if office:
        a.rod((0, 0, .08), (0, 0, seat), .03, frame)
        for k in range(5):
            angle = 2 * np.pi * k / 5 + .3
            foot = (.3 * np.cos(angle), .3 * np.sin(angle), .05)
            a.rod((0, 0, .1), foot, .02, frame)
            a.ellipsoid((.035,) * 3, foot, shade(frame, .6))
    else:
        leg = rng.uniform(.03, .055)
        for x in (-1, 1):
            for y in (-1, 1):
                a.box((leg, leg, seat), (x * (w - leg) / 2, y * (d - leg) / 2, seat / 2), frame)
    y_back = -d / 2 + .02
    if rng.random() < .45:  # slats between two posts
        for x in (-1, 1):
            a.box((.04, .04, back), (x * (w / 2 - .02), y_back, seat + back / 2), frame)
        for k in range(rng.integers(2, 5)):
            a.box((w, .025, .05), (0, y_back, seat + back * (.35 + .2 * k)), frame)
    else:
        a.box((w * rng.uniform(.8, 1), rng.uniform(.03, .08), back * .85), (0, y_back, seat + back * .575), cover)
        a.box((w * .3, .03, back * .4), (0, y_back, seat + back * .2), frame)
    if rng.random() < .35:
        for x in (-1, 1):
            a.box((.05, d * .85, .04), (x * w / 2, 0, seat + .22), frame)
            a.box((.04, .04, .22), (x * w / 2, d * .3, seat + .11), frame)


def table(a: Assembly, rng: np.random.Generator) -> None:
    """Add a table: a bare top on legs or a pedestal; dining, round or coffee table."""
    h = rng.uniform(.35, .5) if rng.random() < .3 else rng.uniform(.66, .8)
    top = wood(rng)
    leg_color = metal(rng) if rng.random() < .3 else top
    thick = rng.uniform(.025, .06)
    if rng.random() < .35:
        r = rng.uniform(.35, .65)
        a.lathe([(0, 0), (r, 0), (r, thick), (0, thick)], (0, 0, h - thick), top)
        if rng.random() < .6:
            a.rod((0, 0, 0), (0, 0, h), rng.uniform(.03, .07), leg_color)
            a.lathe([(0, 0), (r * .6, 0), (r * .55, .03), (0, .05)], (0, 0, 0), leg_color)
        else:
            for k in range(4):
                angle = np.pi / 2 * k + .4
                a.rod((r * .75 * np.cos(angle), r * .75 * np.sin(angle), 0),
                      (r * .6 * np.cos(angle), r * .6 * np.sin(angle), h), .025, leg_color)
        return
    w, d = rng.uniform(.8, 2.1), rng.uniform(.55, 1.1)
    leg = rng.uniform(.035, .08)
    a.box((w, d, thick), (0, 0, h - thick / 2), top)
    for x in (-1, 1):
        for y in (-1, 1):
            a.box((leg, leg, h), (x * (w / 2 - leg), y * (d / 2 - leg), h / 2), leg_color)
    if rng.random() < .4:
        for y in (-1, 1):
            a.box((w - 2 * leg, .02, .08), (0, y * (d / 2 - leg), h - thick - .04), leg_color)


def desk(a: Assembly, rng: np.random.Generator) -> None:
    """Add a desk: a board on drawers and a side panel, with a back panel and often a raised shelf."""
    w, d, h = rng.uniform(1.1, 1.8), rng.uniform(.5, .8), rng.uniform(.7, .8)
    body = wood(rng)
    a.box((w, d, .035), (0, 0, h), body)
    side = rng.choice((-1, 1))
    pedestal = rng.uniform(.35, .5)
    pedestals = (-1, 1) if rng.random() < .35 else (side,)
    for s in (-1, 1):
        if s not in pedestals:
            a.box((.04, d * .95, h), (s * (w / 2 - .03), 0, h / 2), body)
            continue
        x = s * (w - pedestal) / 2
        a.box((pedestal, d * .95, h - .05), (x, 0, (h - .05) / 2 + .02), body)
        drawers = rng.integers(2, 5)
        for k in range(drawers):
            z = .08 + (h - .12) * (k + .5) / drawers
            a.box((pedestal * .9, .025, (h - .15) / drawers * .82), (x, d * .475 + .012, z), shade(body, 1.15))
            a.box((.12, .03, .02), (x, d * .475 + .04, z), metal(rng))
    a.box((w * .95, .02, h * .6), (0, -d / 2 + .03, h * .68), body)
    if rng.random() < .5:
        raised = rng.uniform(.25, .5)
        a.box((w, d * .35, .025), (0, -d * .32, h + raised), body)
        for x in (-.49, 0, .49):
            a.box((.025, d * .35, raised), (x * w, -d * .32, h + raised / 2), body)


def bed(a: Assembly, rng: np.random.Generator) -> None:
    """Add a bed: a mattress with pillows and a headboard, sometimes a footboard; long side along y."""
    w, length = rng.uniform(.9, 1.9), rng.uniform(1.85, 2.15)
    base, mattress = rng.uniform(.15, .32), rng.uniform(.15, .3)
    frame, sheet = wood(rng), fabric(rng)
    a.box((w, length, base * .6), (0, 0, base * .7), frame)
    for x in (-1, 1):
        for y in (-1, 1):
            a.box((.07, .07, base), (x * (w / 2 - .05), y * (length / 2 - .05), base / 2), frame)
    a.box((w * .97, length * .97, mattress), (0, 0, base + mattress / 2), sheet)
    top = base + mattress
    head = rng.uniform(.35, .75)
    a.box((w + .05, .07, top + head), (0, -length / 2, (top + head) / 2), frame)
    if rng.random() < .5:
        a.box((w + .05, .06, top + rng.uniform(.0, .25)), (0, length / 2, (top + .1) / 2), frame)
    pillows = 1 if w < 1.25 else 2
    for k in range(pillows):
        x = (k - (pillows - 1) / 2) * w * .48
        a.ellipsoid((w / pillows * .4, .22, .09), (x, -length / 2 + .32, top + .06), fabric(rng))
    if rng.random() < .5:
        a.box((w * 1.02, length * .55, .06), (0, length * .2, top + .02), fabric(rng))


def sofa(a: Assembly, rng: np.random.Generator) -> None:
    """Add a sofa: a long cushioned seat between arms with a back."""
    w, d = rng.uniform(1.3, 2.5), rng.uniform(.75, 1.05)
    seat, back, arm = rng.uniform(.36, .46), rng.uniform(.72, .98), rng.uniform(.5, .7)
    cover = fabric(rng)
    arm_width = rng.uniform(.12, .25)
    a.box((w, d, seat * .6), (0, 0, seat * .3 + .06), cover)
    a.box((w, d * .25, back - .06), (0, -d * .375, back / 2 + .03), cover)
    for x in (-1, 1):
        a.box((arm_width, d, arm - .06), (x * (w - arm_width) / 2, 0, arm / 2 + .03), cover)
        if rng.random() < .4:
            a.rod((x * (w - arm_width) / 2, -d / 2, arm), (x * (w - arm_width) / 2, d / 2, arm), arm_width * .6, cover)
    cushions = int(rng.integers(2, 4)) if w > 1.6 else 2
    inner = w - 2 * arm_width
    for k in range(cushions):
        x = (k + .5) / cushions * inner - inner / 2
        a.box((inner / cushions * .95, d * .68, seat * .35), (x, d * .14, seat), shade(cover, 1.1))
        a.ellipsoid((inner / cushions * .46, .12, (back - seat) * .48), (x, -d * .22, (seat + back) / 2 + .08),
                    shade(cover, 1.1))


def bookshelf(a: Assembly, rng: np.random.Generator) -> None:
    """Add a bookshelf: a tall open case with shelves, partly filled with books."""
    w, d, h = rng.uniform(.6, 1.3), rng.uniform(.25, .4), rng.uniform(1.3, 2.2)
    body = wood(rng)
    shelves = int(rng.integers(4, 7))
    for x in (-1, 1):
        a.box((.03, d, h), (x * (w / 2 - .015), 0, h / 2), body)
    for k in range(shelves + 1):
        a.box((w, d, .03), (0, 0, .05 + (h - .07) * k / shelves), body)
    if rng.random() < .4:
        a.box((w, .015, h), (0, -d / 2, h / 2), body)
    gap = (h - .07) / shelves
    for k in range(shelves):
        x, end = -w / 2 + .05, w / 2 - .05 - rng.uniform(0, .7) * w
        while x < end:
            thick, tall = rng.uniform(.03, .09), gap * rng.uniform(.5, .85)
            a.box((thick, d * .7, tall), (x + thick / 2, 0, .07 + gap * k + tall / 2), paint(rng))
            x += thick + (rng.uniform(.02, .1) if rng.random() < .2 else .003)


def cabinet(a: Assembly, rng: np.random.Generator) -> None:
    """Add a cabinet: a closed body with protruding doors or drawers, knobs, feet and an overhanging top."""
    w, d, h = rng.uniform(.5, 1.3), rng.uniform(.38, .6), rng.uniform(.65, 1.3)
    body = wood(rng) if rng.random() < .7 else paint(rng)
    foot = rng.uniform(.06, .16)
    a.box((w, d, h - foot), (0, 0, (h + foot) / 2), body)
    a.box((w + .1, d + .08, .04), (0, .01, h), shade(body, .8))
    for x in (-1, 1):
        for y in (-1, 1):
            a.box((.06, .06, foot), (x * (w / 2 - .05), y * (d / 2 - .05), foot / 2), shade(body, .7))
    columns = 1 if w < .6 else int(rng.integers(2, 4))
    rows = 1 if rng.random() < .5 else int(rng.integers(2, 5))
    for i in range(columns):
        for j in range(rows):
            cw, ch = w / columns, (h - foot - .04) / rows
            x, z = -w / 2 + (i + .5) * cw, foot + .01 + (j + .5) * ch
            a.box((cw * .88, .035, ch * .86), (x, d / 2 + .017, z), shade(body, 1.15))
            knob_x = x if rows > 1 else x + (cw * .32 if i % 2 == 0 else -cw * .32)
            a.ellipsoid((.03, .035, .03), (knob_x, d / 2 + .06, z), metal(rng))

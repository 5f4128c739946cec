"""Small objects: lamps, bottles, cups, monitors. Meters, z up, front toward +y."""
import numpy as np

from .assembly import Assembly, ceramic, fabric, metal, paint, shade


def lamp(a: Assembly, rng: np.random.Generator) -> None:
    """Add a lamp: a shade on a pole with a foot; table lamp or floor lamp."""
    h = rng.uniform(.35, .7) if rng.random() < .5 else rng.uniform(1.2, 1.8)
    pole = metal(rng) if rng.random() < .6 else paint(rng)
    foot, shade_h = rng.uniform(.16, .24) * h**.5, rng.uniform(.25, .4) * h**.6
    top, low = rng.uniform(.3, .8), rng.uniform(.3, .42) * shade_h + .1 * h**.5
    a.lathe([(0, 0), (foot, 0), (foot * .9, .025), (.03, .05), (0, .05)], (0, 0, 0), pole)
    if rng.random() < .35:
        bulge = rng.uniform(.1, .17) * h**.5
        a.ellipsoid((bulge, bulge, (h - shade_h) * .4), (0, 0, (h - shade_h) * .45), pole)
    a.rod((0, 0, 0), (0, 0, h - shade_h * .4), .018 * h**.5, pole)
    outer = [(low, h - shade_h), (low * top, h), (low * top * .96, h), (low * .96, h - shade_h), (low, h - shade_h)]
    a.lathe(outer, (0, 0, 0), fabric(rng) if rng.random() < .5 else ceramic(rng))
    a.ellipsoid((.05 * h**.5,) * 3, (0, 0, h - shade_h * .5), ceramic(rng))


def bottle(a: Assembly, rng: np.random.Generator) -> None:
    """Add a bottle: a body that narrows to a neck with a cap."""
    h, r = rng.uniform(.2, .34), rng.uniform(.03, .055)
    glass = paint(rng)
    neck = rng.uniform(.28, .45) * r
    shoulder, waist = rng.uniform(.45, .68), rng.uniform(.85, 1.05)
    body = [(0, 0), (r, 0), (r, h * .05), (r * waist, h * shoulder * .5), (r, h * shoulder),
            (neck, h * min(shoulder + rng.uniform(.12, .22), .88)), (neck, h * .95), (0, h * .95)]
    a.lathe(body, (0, 0, 0), glass)
    a.lathe([(0, 0), (neck * 1.25, 0), (neck * 1.25, h * .06), (0, h * .06)], (0, 0, h * .94), paint(rng))
    if rng.random() < .5:
        a.lathe([(r * 1.01, 0), (r * 1.01, h * .25)], (0, 0, h * .12), paint(rng))


def cup(a: Assembly, rng: np.random.Generator) -> None:
    """Add a cup: an open vessel with a handle."""
    h, r = rng.uniform(.07, .13), rng.uniform(.035, .055)
    foot, wall = r * rng.uniform(.6, 1), .004
    color = ceramic(rng) if rng.random() < .4 else paint(rng)
    profile = [(0, 0), (foot, 0), (r, h * rng.uniform(.4, 1)), (r, h), (r - wall, h), (r - wall, h * .5),
               (foot - wall, wall * 2), (0, wall * 2)]
    a.lathe(profile, (0, 0, 0), color)
    size = h * rng.uniform(.26, .34)
    angle = rng.uniform(0, 2 * np.pi)
    out = np.array((np.cos(angle), np.sin(angle), 0))
    a.ring(size, rng.uniform(.1, .2) * size, out * (r + size * .55) + (0, 0, h * .5), color,
           normal=(-out[1], out[0], 0))


def monitor(a: Assembly, rng: np.random.Generator) -> None:
    """Add a monitor: a flat screen on a stand with a foot."""
    w = rng.uniform(.42, .85)
    h, lift = w * rng.uniform(.55, .75), rng.uniform(.1, .22)
    body = metal(rng)
    a.box((w, .035, h), (0, 0, lift + h / 2), body)
    a.box((w * .94, .008, h * .9), (0, .02, lift + h / 2), shade(paint(rng), .7))
    a.box((w * .5, .05, h * .5), (0, -.035, lift + h / 2), shade(body, .8))
    a.box((.06, .03, lift + h * .3), (0, -.06, (lift + h * .3) / 2), body)
    if rng.random() < .5:
        a.box((w * rng.uniform(.35, .55), .2, .015), (0, -.02, .008), body)
    else:
        a.lathe([(0, 0), (w * .22, 0), (w * .2, .015), (0, .02)], (0, -.02, 0), body, stretch=(1.2, .8))

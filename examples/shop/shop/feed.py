"""The supplier's feed: products made up from word lists, the same ones at every import."""

import random
from collections.abc import Iterator
from dataclasses import dataclass


def _split(text: str) -> list[str]:
    return text.split()


_COLOURS = _split(
    "amber black blue bronze cream crimson green grey indigo ivory navy olive red silver teal white yellow"
)
_MATERIALS = _split(
    "aluminium ash bamboo brass canvas copper cork cotton glass hemp leather linen oak steel walnut wool"
)
_THINGS = _split(
    "anchor bag basket bell bench blanket bottle bowl broom bucket candle chair chest cleat clock compass cup desk "
    "fairlead fender flag hammock hook jacket jug kettle knife ladder lamp lantern lens mirror mug oar paddle pan "
    "pillow pulley rope rug sail scarf shackle shelf spoon stool table tarp towel tray vase whistle winch"
)
_TRAITS = _split(
    "adjustable compact durable elegant foldable gentle handmade insulated light lightweight lockable natural patterned "
    "polished portable quiet recycled reinforced reversible rugged seasoned sealed sharp slim smooth soft solid spare "
    "stackable striped sturdy treated ultralight vintage washable waterproof waxed weatherproof wide woven"
)
_PLACES = _split(
    "balcony beach boat cabin camp cellar deck galley garden garage harbour kitchen office studio travel van"
)


@dataclass(frozen=True, slots=True)
class Product:
    """One line of the feed. `stock` is what the shop starts with."""

    id: int
    name: str
    description: str
    price_cents: int
    stock: int


def products(count: int) -> Iterator[Product]:
    """Products 1 to `count`."""
    chance = random.Random(7)
    for number in range(1, count + 1):
        colour, material, thing = chance.choice(_COLOURS), chance.choice(_MATERIALS), chance.choice(_THINGS)
        traits, places = chance.sample(_TRAITS, 6), chance.sample(_PLACES, 3)
        yield Product(
            id=number,
            name=f"{colour.capitalize()} {material} {thing}",
            description=f"A {', '.join(traits[:3])} {thing} in {colour} {material}: {', '.join(traits[3:])}. "
            f"For {places[0]}, {places[1]} and {places[2]}.",
            price_cents=chance.randrange(250, 90_000, 5),
            stock=chance.randrange(20, 200),
        )

"""What the environment decides."""

import os
from dataclasses import dataclass
from pathlib import Path

FOLDER = Path(__file__).resolve().parent.parent


@dataclass(frozen=True, slots=True)
class Settings:
    """`tick`: seconds between two looks for new orders in an event stream."""

    database: Path
    products: int
    tick: float


def from_environment() -> Settings:
    """SHOP_DATABASE, SHOP_PRODUCTS and SHOP_TICK over the defaults; ValueError when a number is none."""
    given = os.environ
    return Settings(
        database=Path(given.get("SHOP_DATABASE") or FOLDER / "shop.db").absolute(),
        products=int(given.get("SHOP_PRODUCTS") or 40_000),
        tick=float(given.get("SHOP_TICK") or 1.0),
    )

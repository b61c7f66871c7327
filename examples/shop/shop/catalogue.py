"""What there is to buy: read from memory, with what is left of it from the database."""

from typing import Annotated

from fastapi import APIRouter, Depends, HTTPException, Query
from fastapi.requests import HTTPConnection
from pydantic import BaseModel, ConfigDict
from sqlalchemy.orm import Session

from shop import feed
from shop.database import SessionDep
from shop.search import Index
from shop.tables import Stock

router = APIRouter(tags=["catalogue"])


class Catalogue:
    """All products by id, and the index over their descriptions."""

    def __init__(self, count: int) -> None:
        self.products = {product.id: product for product in feed.products(count)}
        self.index = Index(self.products.values())

    def get(self, product_id: int) -> feed.Product:
        """The product; HTTP 404 when there is none."""
        product = self.products.get(product_id)
        if product is None:
            raise HTTPException(404, f"no product {product_id}; there are 1 to {len(self.products)}")
        return product


def catalogue(connection: HTTPConnection) -> Catalogue:
    """The running app's catalogue."""
    found: Catalogue = connection.app.state.catalogue
    return found


CatalogueDep = Annotated[Catalogue, Depends(catalogue)]


class ProductLine(BaseModel):
    """A product as lists show it."""

    model_config = ConfigDict(from_attributes=True)

    id: int
    name: str
    price_cents: int


class ProductPage(ProductLine):
    """A product as its own page shows it."""

    description: str
    on_hand: int


def on_hand(session: Session, product: feed.Product) -> int:
    """Pieces left: the database knows the products that were ordered before, the feed the rest."""
    stock = session.get(Stock, product.id)
    return product.stock if stock is None else stock.on_hand


@router.get("/products", response_model=list[ProductLine])
async def list_products(
    products: CatalogueDep, start: Annotated[int, Query(ge=1)] = 1, limit: Annotated[int, Query(ge=1, le=100)] = 20
) -> list[feed.Product]:
    """Products by id."""
    return [products.products[number] for number in range(start, start + limit) if number in products.products]


@router.get("/products/{product_id}")
def read_product(product_id: int, products: CatalogueDep, session: SessionDep) -> ProductPage:
    """One product and what is left of it."""
    product = products.get(product_id)
    return ProductPage(
        id=product.id,
        name=product.name,
        price_cents=product.price_cents,
        description=product.description,
        on_hand=on_hand(session, product),
    )


@router.get("/search", response_model=list[ProductLine])
async def search(
    products: CatalogueDep, q: Annotated[str, Query(min_length=1)], limit: Annotated[int, Query(ge=1, le=100)] = 20
) -> list[feed.Product]:
    """Products whose descriptions have the words of `q`, best first. From memory alone."""
    return [products.products[number] for number in products.index.find(q, limit)]

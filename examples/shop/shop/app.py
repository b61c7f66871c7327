"""Puts the shop together."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from fastapi import FastAPI
from sqlalchemy.orm import sessionmaker

from shop import VERSION, catalogue, events, health, orders, prices, settings, uploads
from shop.database import open_engine


@asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncIterator[None]:
    """Opens the database in the process that uses it: a connection must not be shared across a fork."""
    engine = open_engine(app.state.settings.database)
    app.state.sessions = sessionmaker(engine)
    try:
        yield
    finally:
        engine.dispose()


def create_app(given: settings.Settings | None = None) -> FastAPI:
    """The app, with its catalogue in memory. Without settings the environment decides."""
    app = FastAPI(title="Shop", version=VERSION, lifespan=lifespan)
    app.state.settings = given or settings.from_environment()
    app.state.catalogue = catalogue.Catalogue(app.state.settings.products)
    for part in (catalogue, orders, events, prices, uploads, health):
        app.include_router(part.router)
    return app

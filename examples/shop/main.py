"""The shop: what `fairlead run` finds here. Importing it builds the catalogue, so the workers share that memory."""

from shop.app import create_app

app = create_app()

"""The example shop, in this process: what its own users rely on."""

import asyncio
import hashlib
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import ModuleType

import pytest
from alembic import command
from alembic.config import Config
from fastapi.testclient import TestClient

SHOP = Path(__file__).parents[2] / "examples" / "shop"


@pytest.fixture
def shop(monkeypatch: pytest.MonkeyPatch) -> Iterator[ModuleType]:
    """The shop's `app` module; forgotten again afterwards, so that nothing else finds a `shop` to import."""
    monkeypatch.syspath_prepend(str(SHOP))
    import shop.app

    yield shop.app
    for name in [name for name in sys.modules if name == "shop" or name.startswith("shop.")]:
        del sys.modules[name]


@pytest.fixture
def database(shop: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A migrated database."""
    path = tmp_path / "shop.db"
    monkeypatch.setenv("SHOP_DATABASE", str(path))
    command.upgrade(Config(SHOP / "alembic.ini"), "head")
    return path


@pytest.fixture
def client(shop: ModuleType, database: Path) -> Iterator[TestClient]:
    """A client of a shop with 500 products."""
    with TestClient(shop.create_app(shop.settings.Settings(database=database, products=500, tick=0.01))) as opened:
        yield opened


def test_products_are_the_same_at_every_import(shop: ModuleType) -> None:
    feed = shop.catalogue.feed
    assert list(feed.products(50)) == list(feed.products(50))
    assert [product.id for product in feed.products(3)] == [1, 2, 3]


def test_list_of_products_starts_where_it_is_told(client: TestClient) -> None:
    assert [line["id"] for line in client.get("/products", params={"start": 499, "limit": 5}).json()] == [499, 500]


def test_unknown_product_is_404_and_says_which_exist(client: TestClient) -> None:
    answer = client.get("/products/501")
    assert answer.status_code == 404
    assert "1 to 500" in answer.json()["detail"]


def test_search_puts_the_products_with_most_of_the_words_first(client: TestClient) -> None:
    product = client.get("/products/42").json()
    found = client.get("/search", params={"q": product["description"]}).json()
    assert found[0]["id"] == 42


def test_search_for_words_that_nothing_has_finds_nothing(client: TestClient) -> None:
    assert client.get("/search", params={"q": "submarine"}).json() == []


def test_order_takes_from_stock_and_leaves_a_receipt(client: TestClient) -> None:
    before = client.get("/products/7").json()
    order = client.post("/orders", json={"product_id": 7, "quantity": 3})
    assert order.status_code == 201
    assert order.json()["total_cents"] == 3 * before["price_cents"]
    assert client.get("/products/7").json()["on_hand"] == before["on_hand"] - 3
    receipt = client.get(f"/orders/{order.json()['id']}").json()["receipt"]
    assert receipt.startswith(f"3 × {before['name']}")


def test_order_of_more_than_there_is_changes_nothing(client: TestClient) -> None:
    left = client.get("/products/7").json()["on_hand"]
    assert client.post("/orders", json={"product_id": 7, "quantity": left + 1}).status_code == 409
    assert client.get("/products/7").json()["on_hand"] == left
    assert client.get("/orders/1").status_code == 404


def test_orders_at_the_same_time_never_sell_a_piece_twice(client: TestClient) -> None:
    left = client.get("/products/9").json()["on_hand"]

    def order(_: int) -> int:
        return client.post("/orders", json={"product_id": 9, "quantity": left // 10}).status_code

    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(order, range(14)))
    assert (answers.count(201), set(answers)) == (left // (left // 10), {201, 409})
    assert client.get("/products/9").json()["on_hand"] == left % (left // 10)


def test_upload_is_counted_and_hashed(client: TestClient) -> None:
    content = b"a line\n" * 300_000
    answer = client.post("/uploads", files={"file": ("lines.txt", content)}).json()
    digest = hashlib.sha256(content).hexdigest()
    assert answer == {"name": "lines.txt", "bytes": len(content), "lines": 300_000, "sha256": digest}


def test_websocket_answers_each_question_and_survives_a_bad_one(client: TestClient) -> None:
    price = client.get("/products/3").json()["price_cents"]
    with client.websocket_connect("/prices") as websocket:
        websocket.send_text("what?")
        assert "error" in websocket.receive_json()
        websocket.send_json({"product_id": 3})
        assert websocket.receive_json()["price_cents"] == price


def test_event_stream_tells_of_missed_orders_then_beats_and_ends_with_its_client(
    shop: ModuleType, client: TestClient
) -> None:
    for quantity in (1, 2, 3):
        client.post("/orders", json={"product_id": 5, "quantity": quantity})
    looks = iter([False, False, True])

    async def gone() -> bool:
        return next(looks)

    async def read() -> list[str]:
        return [text async for text in shop.events.order_events(client.app.state.sessions, 1, 0.0, gone)]

    head, *events, heartbeat = asyncio.run(read())
    assert head.startswith("retry: ")
    assert [text.splitlines()[:2] for text in events] == [["id: 2", "event: order"], ["id: 3", "event: order"]]
    assert heartbeat == ": heartbeat\n\n"


def test_event_stream_without_a_last_id_starts_from_now(shop: ModuleType, client: TestClient) -> None:
    client.post("/orders", json={"product_id": 5})
    looks = iter([False, True])

    async def gone() -> bool:
        return next(looks)

    async def read() -> list[str]:
        return [text async for text in shop.events.order_events(client.app.state.sessions, None, 0.0, gone)]

    assert asyncio.run(read())[1:] == [": heartbeat\n\n"]


def test_healthz_is_200_on_a_migrated_database(client: TestClient) -> None:
    answer = client.get("/healthz")
    assert (answer.status_code, answer.json()["status"]) == (200, "ok")


def test_healthz_is_503_and_names_the_way_out_on_an_empty_database(shop: ModuleType, tmp_path: Path) -> None:
    empty = shop.settings.Settings(database=tmp_path / "empty.db", products=10, tick=1.0)
    with TestClient(shop.create_app(empty)) as client:
        answer = client.get("/healthz")
    assert answer.status_code == 503
    assert "alembic upgrade head" in answer.json()["detail"]


def test_models_and_migrations_agree(database: Path) -> None:
    command.check(Config(SHOP / "alembic.ini"))


def test_migrations_go_back_and_forth(database: Path) -> None:
    command.downgrade(Config(SHOP / "alembic.ini"), "base")
    command.upgrade(Config(SHOP / "alembic.ini"), "head")

"""Is it well, and who is answering?"""

import asyncio
import os
from typing import Annotated

from fastapi import APIRouter, HTTPException, Query
from sqlalchemy import text
from sqlalchemy.exc import SQLAlchemyError

from shop import VERSION
from shop.database import SessionDep

router = APIRouter(tags=["health"])


@router.get("/healthz")
def healthz(session: SessionDep) -> dict[str, str]:
    """200 when the database answers and has been migrated; 503 with the cause when not."""
    try:
        revision = session.scalar(text("SELECT version_num FROM alembic_version"))
    except SQLAlchemyError as error:
        raise HTTPException(503, f"cannot use the database: {error.args[0]}; try: alembic upgrade head") from error
    return {"status": "ok", "database": str(revision)}


@router.get("/whoami")
async def whoami() -> dict[str, int | str]:
    """Which version answers, in which process."""
    return {"version": VERSION, "worker": os.getpid()}


@router.get("/slow")
async def slow(seconds: Annotated[float, Query(ge=0, le=60)] = 2.0) -> dict[str, float | int]:
    """Takes its time, as a call to a slow partner would."""
    await asyncio.sleep(seconds)
    return {"seconds": seconds, "worker": os.getpid()}

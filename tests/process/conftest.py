import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

from service import PLAIN_APP, Service, service_in


@pytest.fixture
def service(tmp_path: Path) -> Iterator[Service]:
    """A service with the plain app in place, not started."""
    with service_in(tmp_path) as made:
        made.write(PLAIN_APP)
        yield made

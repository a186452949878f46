"""What all tests share."""

import pytest
from hypothesis import settings

settings.register_profile("pairlock", deadline=None)  # a busy machine is no failure
settings.load_profile("pairlock")


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"

import pytest
from cli_support import serving


@pytest.fixture(scope="module")
def server():
    """One for all tests of a file: each uses keys of its own."""
    with serving() as s:
        yield s


@pytest.fixture
def at(server):
    return ("-s", server.address)

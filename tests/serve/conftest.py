"""A server with the checkpoint that ships; the model by itself, to compare its answers with; and a tab of a browser at its page."""

import pytest

from lauragpt import Laura


@pytest.fixture(scope="session")
def server():
    from servers import serving

    from lauragpt.serve.settings import Settings

    with serving(Settings()) as (address, service):
        yield address, service


@pytest.fixture(scope="session")
def address(server):
    return server[0]


@pytest.fixture(scope="session")
def client(address):
    from openai import OpenAI

    return OpenAI(base_url=f"{address}/v1", api_key="none", max_retries=0)


@pytest.fixture(scope="session")
def laura():
    return Laura.load()


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    from browsing import browsing

    with browsing(tmp_path_factory.mktemp("browser"), "kathleen") as browser:
        yield browser


@pytest.fixture
def visit(browser, address):
    """The page in a tab, which in the end has neither complained nor asked for anything from elsewhere."""
    from browsing import Visit

    visit = Visit(browser, address)
    yield visit
    outside = [url for url in visit.asked if not url.startswith((address, "blob:"))]
    visit.close()
    assert visit.complaints == [] and outside == []

"""A server with the checkpoint that ships; and the model by itself, to compare its answers with."""

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

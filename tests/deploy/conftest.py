"""Fixtures shared by several files of this folder."""

import pytest

from tests.deploy.real_run import Run, real_run


@pytest.fixture(scope="session")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """Return a real run of the daemon."""
    return real_run(tmp_path_factory.mktemp("run"))

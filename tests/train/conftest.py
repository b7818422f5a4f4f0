"""No test of this folder reaches the network or a real cache."""

import pytest


@pytest.fixture(autouse=True)
def no_download(tmp_path_factory, monkeypatch):
    """Give every test an empty cache, no data folder from the environment, and no network."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))
    monkeypatch.delenv("HWOPT_DATA_DIR", raising=False)

    def refuse(*args, **kwargs):
        raise OSError("no network in tests")

    monkeypatch.setattr("torchvision.datasets.utils._urlretrieve", refuse)
    monkeypatch.setattr("torchvision.datasets.utils._get_redirect_url", refuse)

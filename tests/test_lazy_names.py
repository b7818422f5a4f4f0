"""Packages whose names are imported when they are first used."""

from importlib import import_module

import pytest

PACKAGES = ("hwopt", "hwopt.compare", "hwopt.measure", "hwopt.network", "hwopt.predict", "hwopt.train")


@pytest.mark.parametrize("package", PACKAGES)
def test_a_package_lists_what_it_exports(package):
    module = import_module(package)
    assert set(module.__all__) <= set(dir(module))


def test_every_public_name_is_there():
    module = import_module("hwopt")
    assert all(getattr(module, name).__name__ == name for name in module.__all__)


def test_an_unknown_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match="module 'hwopt.predict' has no attribute 'guess'"):
        _ = import_module("hwopt.predict").guess

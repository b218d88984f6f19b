"""The registry's exceptions."""

import inspect

import pytest

from mtdd_router.errors import MTDDError
from tenants import errors


@pytest.mark.parametrize("name", errors.__all__)
def test_each_error_is_an_mtdd_error_whose_docstring_is_its_default_message(name):
    error = getattr(errors, name)
    assert issubclass(error, MTDDError)
    assert str(error()) == inspect.getdoc(error)
    assert str(error("said")) == "said"
    assert name in errors.__doc__


def test_every_error_is_exported():
    own = {
        name
        for name, value in vars(errors).items()
        if inspect.isclass(value) and value.__module__ == errors.__name__
    }
    assert own == set(errors.__all__)

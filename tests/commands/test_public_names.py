"""What users import from ``retracker``."""

import inspect

import pytest

import retracker


def test_every_public_name_is_there():
    for name in retracker.__all__:
        assert callable(getattr(retracker, name))


def test_track_and_match_are_functions_and_stay_so_after_their_commands_were_imported():
    import retracker.commands.match  # noqa: PLC0415 -- importing it must not shadow the function
    import retracker.commands.track  # noqa: PLC0415

    assert inspect.isfunction(retracker.track) and inspect.isfunction(retracker.match)


def test_an_unknown_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match="nothing_of_the_kind"):
        retracker.nothing_of_the_kind  # noqa: B018

"""Registries of functions by name: what they hold, and what they refuse."""

import pytest

from fairseq_bso.registry import Registry


@pytest.fixture
def fruits():
    found = Registry("fruit", "register_fruit", reserved=("none",))
    found.add("pear", 1)
    return found


def test_a_decorator_registers_the_function_and_leaves_it(fruits):
    @fruits.decorator("apple")
    def apple():
        return 2

    assert apple() == 2 and fruits.get("apple") is apple
    assert fruits.names() == ["none", "apple", "pear"]


@pytest.mark.parametrize("taken", ["pear", "none"])
def test_a_name_is_given_once(fruits, taken):
    message = f"a fruit named '{taken}' is already registered: choose a name other than none, pear"
    with pytest.raises(ValueError, match=message):
        fruits.add(taken, 3)
    with pytest.raises(ValueError, match=message):
        fruits.decorator(taken)
    assert fruits.get("pear") == 1


def test_an_unknown_name_lists_the_others(fruits):
    with pytest.raises(ValueError, match="unknown fruit 'plum'; choose from: none, pear"):
        fruits.get("plum")


def test_a_decorator_without_its_name_is_refused(fruits):
    with pytest.raises(TypeError, match="register_fruit needs a name, as in register_fruit"):
        fruits.decorator(len)

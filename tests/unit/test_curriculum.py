"""The training beam: growing beams and mixed beams."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fairseq_bso.bso.curriculum import BeamCurriculum


def test_the_beam_grows_by_one_up_to_the_last():
    curriculum = BeamCurriculum(initial=2, final=4, updates_per_beam=3)
    assert [curriculum.beam(update) for update in range(11)] == [2, 2, 2, 3, 3, 3, 4, 4, 4, 4, 4]


def test_without_a_curriculum_the_beam_is_the_last():
    assert {BeamCurriculum(2, 6, 0).beam(update) for update in range(20)} == {6}


@given(st.integers(2, 6), st.integers(0, 6), st.integers(0, 50))
def test_mixed_beams_come_once_in_every_run(initial, more, run):
    beams = range(initial, initial + more + 1)
    curriculum = BeamCurriculum(initial, beams[-1], 0, mixed=True)
    found = [curriculum.beam(run * len(beams) + place) for place in range(len(beams))]
    assert sorted(found) == list(beams)


def test_mixed_beams_are_shuffled_anew_and_depend_on_the_update_alone():
    def runs():
        return [[BeamCurriculum(2, 10, 0, mixed=True).beam(9 * run + place) for place in range(9)] for run in range(20)]

    assert len({tuple(run) for run in runs()}) == 20
    assert runs() == runs()


@pytest.mark.parametrize(
    "values, message",
    [
        ((2, 1, 0), "the train beam is 1, but must be at least 2"),
        ((2, 6, -1), "updates per beam is -1"),
        ((9, 6, 5), "the initial beam is 9, but must be from 2 to the train beam 6"),
        ((1, 6, 5), "the initial beam is 1, but must be from 2"),
        ((1, 6, 0, True), "the initial beam is 1, but must be from 2"),
        ((7, 6, 0, True), "the initial beam is 7, but must be from 2"),
        ((2, 6, 5, True), "updates per beam is 5, but mixed beams do not grow"),
    ],
)
def test_values_that_make_no_sense(values, message):
    with pytest.raises(ValueError, match=message):
        BeamCurriculum(*values)

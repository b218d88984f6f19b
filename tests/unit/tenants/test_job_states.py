"""The states of a job."""

from tenants.models import JOB_TRANSITIONS, Job

STATE = Job.State


def test_every_state_has_its_transitions():
    assert set(JOB_TRANSITIONS) == set(STATE)


def test_every_state_can_be_reached_and_only_done_is_final():
    reached = {STATE.QUEUED}.union(*JOB_TRANSITIONS.values())
    assert reached == set(STATE)
    assert [state for state, after in JOB_TRANSITIONS.items() if not after] == [STATE.DONE]


def test_what_ended_without_success_can_be_retried_and_nothing_else():
    retried = {state for state in STATE if Job(state=state).can_be_retried}
    assert retried == {STATE.FAILED, STATE.INTERRUPTED}


def test_a_job_is_told_by_its_number_what_it_does_and_to_whom():
    assert str(Job(pk=7, kind="clone", tenant="abc")) == "#7 clone a tenant abc"
    assert str(Job(pk=8, kind="migrate")) == "#8 migrate tenants"

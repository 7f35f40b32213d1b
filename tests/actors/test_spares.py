"""Children ahead of need, with children that only note what is asked of them."""

import pytest

from actors.messages import Limits, Status
from actors.sandbox import ChildFailure
from actors.spares import Spares

LIMITS = Limits()


class FakeChild:
    def __init__(self, limits, fails=False):
        self.calls, self.fails = [], fails

    def wait_ready(self):
        self.calls.append("wait_ready")
        if self.fails:
            raise ChildFailure(Status.EXITED, "start: the process ended by itself with code 1", "no torch")

    def __getattr__(self, name):
        return lambda: self.calls.append(name)


@pytest.mark.parametrize(("cpus", "room"), [(2, 0), (4, 1), (8, 2), (64, 2)])
def test_as_many_import_ahead_as_will_be_taken_and_there_are_cpus_for(cpus, room):
    spares = Spares(FakeChild, cpus)
    for count in (0, 1, 5):
        spares.expect(count, LIMITS)
        assert len(spares.children) == min(count, room)


def test_the_oldest_is_taken_and_the_next_one_begins_while_some_are_still_needed():
    spares = Spares(FakeChild, cpus=8)
    spares.expect(3, LIMITS)
    first, second = spares.children
    assert spares.take(LIMITS) is first
    assert first.calls == ["wait_ready"]
    assert spares.children[0] is second
    assert len(spares.children) == 2
    spares.take(LIMITS)
    spares.take(LIMITS)
    assert spares.children == []


def test_where_there_is_no_room_one_is_started_when_it_is_taken():
    spares = Spares(FakeChild, cpus=2)
    spares.expect(2, LIMITS)
    assert spares.take(LIMITS).calls == ["wait_ready"]


def test_the_first_one_imports_while_its_actor_starts_also_where_there_is_no_room():
    spares = Spares(FakeChild, cpus=2)
    spares.start_first(LIMITS)
    (first,) = spares.children
    spares.expect(2, LIMITS)
    assert spares.take(LIMITS) is first
    assert spares.children == []


def test_they_stand_still_while_a_call_is_timed_and_go_on_however_it_ends():
    spares = Spares(FakeChild, cpus=8)
    spares.expect(2, LIMITS)
    with pytest.raises(ZeroDivisionError), spares.still():
        assert [child.calls for child in spares.children] == [["pause"]] * 2
        raise ZeroDivisionError
    assert [child.calls for child in spares.children] == [["pause", "resume"]] * 2


def test_one_that_does_not_stand_still_is_ended_and_replaced_after_the_call():
    spares = Spares(FakeChild, cpus=8)
    spares.expect(2, LIMITS)
    restless, other = spares.children
    restless.pause = lambda: (_ for _ in ()).throw(ChildFailure(Status.UNSTOPPABLE, "pause: it runs"))
    with spares.still():
        assert (restless.calls, spares.children) == (["end"], [other])
    assert len(spares.children) == 2
    assert restless not in spares.children


def test_a_child_that_cannot_start_is_the_machines_fault():
    children = []

    def start(limits):
        children.append(FakeChild(limits, fails=True))
        return children[-1]

    with pytest.raises(RuntimeError, match="could not start: exited"):
        Spares(start, cpus=4).take(LIMITS)
    assert [child.calls for child in children] == [["wait_ready", "end"]]


def test_a_spare_one_that_a_candidate_kept_from_starting_is_replaced():
    ready = [False, True, True]
    spares = Spares(lambda limits: FakeChild(limits, fails=not ready.pop(0)), cpus=4)
    spares.expect(2, LIMITS)
    (harmed,) = spares.children
    taken = spares.take(LIMITS)
    assert (harmed.calls, taken.calls) == (["wait_ready", "end"], ["wait_ready"])
    assert len(spares.children) == 1
    assert taken not in spares.children


def test_all_end():
    spares = Spares(FakeChild, cpus=8)
    spares.expect(2, LIMITS)
    children = list(spares.children)
    spares.end()
    assert [child.calls for child in children] == [["end"]] * 2
    assert spares.children == []

"""When a self-test of programs that refuse is tried again."""

import pytest

from isotrace.enforce.programs import Programs, Refusing
from isotrace.enforce.tables import RuleTable
from isotrace.errors import KernelError
from isotrace.kernel.facts import facts
from isotrace.trace.target import Target


class Trying(Refusing):
    """Fails ``failing`` times, at each of which the kernel skips its programs ``skipped`` times."""

    def __init__(self, failing: int, skipped: int) -> None:
        super().__init__(Target(pid=1), Programs("", [], {}, [], [], "", RuleTable()), facts())
        self.tried, self._failing, self._skipped = 0, failing, skipped

    def _missed(self, *_programs: str) -> int:
        return self.tried * self._skipped

    def _self_test(self) -> None:
        self.tried += 1
        if self.tried <= self._failing:
            raise KernelError("not denied", "")


def test_a_self_test_in_which_programs_were_skipped_says_nothing():
    tested = Trying(failing=1, skipped=1)
    tested._prove()
    assert tested.tried == 2


def test_a_self_test_that_fails_by_itself_is_not_tried_again():
    tested = Trying(failing=1, skipped=0)
    with pytest.raises(KernelError):
        tested._prove()
    assert tested.tried == 1


def test_a_self_test_that_keeps_failing_is_a_failure():
    tested = Trying(failing=100, skipped=1)
    with pytest.raises(KernelError):
        tested._prove()
    assert 1 < tested.tried < 10

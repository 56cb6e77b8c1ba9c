"""Contract suites that any plugin can run: subclass one in a test file, say how to build, and run pytest.

    from lmteach.testing import TeacherContract

    class TestMyTeacher(TeacherContract):
        def build(self, **keys):
            return MyTeacher(MyTeacher.Config(**keys), self.resources())

        other_keys = ({"temperature": 2.0},)

A suite asks only what the protocol promises. Each test's docstring says what a failure breaks. The suites need no
pytest: `lmteach plugins check NAME` runs them by themselves.
"""

from lmteach.testing.curricula import CurriculumContract
from lmteach.testing.encoders import EncoderContract
from lmteach.testing.heads import HeadContract
from lmteach.testing.losses import ClassLossContract, LossContract, TaggerLossContract
from lmteach.testing.pair_teachers import PairTeacherContract
from lmteach.testing.searchers import SearcherContract
from lmteach.testing.teachers import TeacherContract, check_verdict, no_members
from lmteach.testing.texts import HOSTILE_TEXTS

__all__ = [
    "HOSTILE_TEXTS",
    "ClassLossContract",
    "CurriculumContract",
    "EncoderContract",
    "HeadContract",
    "LossContract",
    "PairTeacherContract",
    "SearcherContract",
    "TaggerLossContract",
    "TeacherContract",
    "check_verdict",
    "no_members",
]

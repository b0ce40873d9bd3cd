"""All subjects of fuzzing, by name."""

from collections.abc import Mapping

from tests.fuzz import media, text, weights
from tests.fuzz.harness import Subject

SUBJECTS: Mapping[str, Subject] = {**media.SUBJECTS, **weights.SUBJECTS, **text.SUBJECTS}

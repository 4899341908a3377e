"""Names the cause of a failure from facts, an error text, or both; pure: nothing here asks the machine."""

from __future__ import annotations

from torchcheck.doctor.codes import Code, all_codes, explain
from torchcheck.doctor.diagnose import diagnose
from torchcheck.doctor.diagnosis import Diagnosis

__all__ = ["Code", "Diagnosis", "all_codes", "diagnose", "explain"]

"""The bundle of evidence: written canonically, re-checked by other arithmetic."""

"""Outcomes of every frame in every stage, in a database."""

from kira.ledger.ledger import Context, Ledger, OutcomeRow, Record, StageRow
from kira.ledger.outcomes import Outcome, Stage

__all__ = ["Context", "Ledger", "Outcome", "OutcomeRow", "Record", "Stage", "StageRow"]

"""Outcomes of every frame in every stage, in a database."""

from kira.ledger.ledger import Ledger
from kira.ledger.outcomes import Outcome, Stage
from kira.ledger.values import Context, OutcomeRow, Rate, Reconciled, Record, StageRow, ToDo, Work

__all__ = ["Context", "Ledger", "Outcome", "OutcomeRow", "Rate", "Reconciled", "Record", "Stage", "StageRow", "ToDo",
           "Work"]  # fmt: skip

"""Experiments: question sets, methods to compare, and figures with error bars.

    router = GlimpRouter.from_pretrained("glimp-tiny-small", "glimp-tiny-large")
    methods = parse("small,large,glimp@0.3,random")
    ledger = run(router, methods, question_set("tiny", n=200), Ledger())
    print(table(summarise(ledger, methods)))

Every method runs on the same two engines with the same sampling, one question at a time. Nothing here is needed to
use Glimp.
"""

from glimp_core.bench.answering import answer
from glimp_core.bench.machine import machine
from glimp_core.bench.matching import Matching
from glimp_core.bench.methods import KINDS, Method, parse
from glimp_core.bench.published import Question
from glimp_core.bench.questions import question_set
from glimp_core.bench.records import Ledger, Record
from glimp_core.bench.report import summarise, table
from glimp_core.bench.runner import run
from glimp_core.bootstrap import Bootstrap

__all__ = [
    "KINDS",
    "Bootstrap",
    "Ledger",
    "Matching",
    "Method",
    "Question",
    "Record",
    "answer",
    "machine",
    "parse",
    "question_set",
    "run",
    "summarise",
    "table",
]

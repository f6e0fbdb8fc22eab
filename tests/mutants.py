"""`make mutants`: breaks one thing at a time in a copy of the tree and demands that its test goes red.

A mutant is (what is broken, file, text, replacement, the tests that must notice). A test that stays green is a defect.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from functools import partial
from pathlib import Path

from pipeline.lab.local.kafka import LocalKafka
from tests.mutants_secured import SECURED
from tests.mutants_watching import WATCHING

ROOT = Path(__file__).parents[1]
ENGINE = "tests/flow/test_engine.py"
LANE = "tests/unit/stages/lane/test_rules.py tests/unit/stages/lane/test_histories.py"
CALENDAR = "tests/unit/domain/test_calendar.py"
LIMITS = "tests/unit/stages/lane/test_limits.py"
MUTANTS = [
    (
        "read uncommitted",
        "pipeline/engine/committed_fetch.py",
        "READ_COMMITTED = 1",
        "READ_COMMITTED = 0",
        f"{ENGINE} -k markers_and_aborted",
    ),
    (
        "the last record tells the end",
        "pipeline/engine/changelog.py",
        "if offset >= ends[tp]]",
        "if offset > ends[tp]]",
        f"{ENGINE} -k markers_and_aborted",
    ),
    (
        "no fence",
        "pipeline/engine/table.py",
        'f"{application}-{name}-{partition}"',
        'f"{application}-{name}-{partition}-{id(self)}"',
        f"{ENGINE} -k fences",
    ),
    (
        "commit around a refused record",
        "pipeline/engine/producer.py",
        "                self._check(tp, appended)\n                if appended.error == NO_ERROR:",
        "                if True:",
        f"{ENGINE} -k refused_inside",
    ),
    (
        "store before commit",
        "pipeline/engine/table.py",
        "        offsets = await self._producer",
        "        self.store.write(rows, 0)\n        offsets = await self._producer",
        f"{ENGINE} -k 'fences or refused_inside'",
    ),
    (
        "trust a store that is ahead",
        "pipeline/engine/store.py",
        "not begin <= known.offset <= end",
        "known.offset < begin",
        f"{ENGINE} -k runs_ahead",
    ),
    (
        "position of the batch, not behind it",
        "pipeline/engine/producer.py",
        "appended.offset + count",
        "appended.offset",
        f"{ENGINE} -k larger_than_one",
    ),
    (
        "input position outside the transaction",
        "pipeline/engine/table.py",
        "if next_offset is not None:",
        "if False:",
        f"{ENGINE} -k killed",
    ),
    (
        "an overtaken fetch is kept",
        "pipeline/engine/consumer_thread.py",
        "if epoch != self._epoch:",
        "if False:",
        "tests/unit/engine/test_consumer_thread.py",
    ),
    (
        "go on from the group's offsets",
        "pipeline/engine/consumer.py",
        "positions = self._ownership.expected()",
        "positions = {tp: o + 50 for tp, o in self._ownership.expected().items()}",
        f"{ENGINE} -k 'killed or rebalance or sigterm'",
    ),
    (
        "a full partition is fetched on, and waited for",
        "pipeline/engine/inbox.py",
        "len(self._records) < INBOX_RECORDS",
        "True",
        "tests/unit/engine/test_partition.py",
    ),
    (
        "the position of a step that ends within a batch goes back",
        "pipeline/engine/inbox.py",
        "max(position, self._ends.popleft()[1])",
        "self._ends.popleft()[1]",
        "tests/unit/engine/test_partition.py",
    ),
    (
        "a full partition rests",
        "pipeline/engine/partition.py",
        "while self._is_running and self._inbox.has_room and not self._is_asked:",
        "while self._is_running and not self._is_asked:",
        "tests/unit/engine/test_partition.py",
    ),
    (
        "an answer waits for the rest to end",
        "pipeline/engine/partition.py",
        "while self._is_running and self._inbox.has_room and not self._is_asked:",
        "while self._is_running and self._inbox.has_room:",
        "tests/unit/engine/test_partition.py",
    ),
    (
        "no drain",
        "pipeline/agents/lane.py",
        "await asyncio.wait(self._under_way, timeout=self._drain_s)",
        "pass",
        "tests/flow/test_worker.py -k under_load",
    ),
    (
        "one shared inbox",
        "pipeline/engine/consumer.py",
        "wanted = ownership.fetchable()",
        "wanted = ownership.fetchable() if len(ownership.fetchable()) == len(ownership.partitions()) else frozenset()",
        f"{ENGINE} -k slow_partition",
    ),
    (
        "claims found open are sent again",
        "pipeline/stages/lane/settle.py",
        "Settlement(claim, after, tuple(LookedUp(work, looked_up_ms) for work in claim.works), facts.breaker)",
        "Settlement(claim, None, tuple(Requeued(work, is_at_head=True) for work in claim.works), facts.breaker)",
        LANE,
    ),
    (
        "asked while the call may still run",
        "pipeline/stages/lane/settle.py",
        "over_ms = max(claim.next_look_ms, facts.config.call_over_ms(claim.lease_until_ms))",
        "over_ms = facts.now_ms",
        LANE,
    ),
    (
        "a successor's own request timeout",
        "pipeline/stages/lane/settle.py",
        "max(claim.next_look_ms, facts.config.call_over_ms(claim.lease_until_ms))",
        "facts.config.call_over_ms(claim.lease_until_ms)",
        LANE,
    ),
    ("no twin rule", "pipeline/stages/lane/claim.py", "if twin_key in twins:", "if False:", LANE),
    (
        "no ledger",
        "pipeline/stages/lane/draft.py",
        "if self.config.by_text and fate.provider_message_id is not None:",
        "if False:",
        LANE,
    ),
    (
        "batches regrouped",
        "pipeline/stages/lane/settle.py",
        "        return _ask_later(claim, answer.error, answer.retry_after_s, facts, CLOSED)\n    return _void",
        "        pass\n    return _void",
        LANE,
    ),
    (
        "one touch stops its lane",
        "pipeline/stages/lane/settle.py",
        "    if _others_are_sent(before, facts):",
        "    if False:",
        f"{LANE} -k 'alone_draws'",
    ),
    (
        "one touch probes for ever",
        "pipeline/stages/lane/settle.py",
        "breaker.outage.tries % PROBES_EACH == 0",
        "False",
        f"{LANE} -k 'alone_draws'",
    ),
    (
        "an outage counts",
        "pipeline/stages/lane/settle.py",
        "return replace(work, last_call_ms=claim.claimed_ms)",
        "return replace(work, last_call_ms=claim.claimed_ms, refusals=work.refusals + 1)",
        LANE,
    ),
    (
        "repeats are sent again",
        "pipeline/stages/lane/intake.py",
        "memory is not None and memory.is_repeat(work)",
        "False",
        LANE,
    ),
    (
        "something follows the end",
        "pipeline/domain/lifecycle.py",
        "**dict.fromkeys(TERMINAL, frozenset()),",
        "**dict.fromkeys(TERMINAL, _ONWARD),",
        "tests/unit/stages/test_dedup.py",
    ),
    ("no window", "pipeline/stages/lane/gate.py", "at = gate(policy.window,", "at = gate(None,", LANE),
    (
        "no limit",
        "pipeline/stages/lane/claim.py",
        "if (held := limits.hold(draft.config, draft.index, draft.now_ms, 1)) is not None:",
        "if (held := limits.hold(draft.config, draft.index, draft.now_ms, 1)) is not None and False:",
        LANE,
    ),
    (
        "a lost batch fails for its replays",
        "pipeline/stages/lane/settle.py",
        "counts and not after.lost:",
        "counts:",
        f"{LANE} -k 'again_and_again'",
    ),
    (
        "a 5xx on a replay never counts",
        "pipeline/stages/lane/settle.py",
        "replace(work, last_call_ms=outcome.started_ms)",
        "work",
        f"{LANE} -k 'again_and_again'",
    ),
    (
        "a warm-up instead of the limit",
        "pipeline/stages/lane/limits.py",
        "    if limit is not None:\n        yield",
        "    if limit is not None and step is None:\n        yield",
        LANE,
    ),
    (
        "a forbidden replay is final",
        "pipeline/channels/email/verdict.py",
        "status == httpx.codes.FORBIDDEN or",
        "",
        "tests/contract/test_senders_email.py",
    ),
    ("no question is left", "pipeline/stages/lane/draft.py", "self._produce([left])", "pass", LANE),
    (
        "a batch's bytes in each question",
        "pipeline/stages/lane/outputs.py",
        'replace(claim.request, body=b"") if config.replays else claim.request',
        "claim.request",
        LANE,
    ),
    (
        "its twin's message is found",
        "pipeline/console/unconfirmed/work.py",
        "known = _ids_told_later(found, left) | await _ids_sent(context, left, complain, progress)",
        "known = frozenset()",
        "tests/flow/test_unconfirmed.py -k twin",
    ),
    (
        "whoever resolves is alone",
        "pipeline/console/unconfirmed/work.py",
        'open_transactional(cluster, "pipeline-unconfirmed", largest',
        'open_transactional(cluster, f"pipeline-unconfirmed-{id(answer)}-{now_ms}", largest',
        "tests/flow/test_unconfirmed.py -k overtaken",
    ),
    (
        "a command says done when lanes have seen its order",
        "pipeline/console/order/work.py",
        "lambda report: report.control_in_force > offset",
        "lambda report: report.control_seen > offset",
        "tests/flow/test_orders.py -k lanes_do_not_obey",
    ),
    (
        "a command says done one order early",
        "pipeline/console/order/work.py",
        "lambda report: report.control_in_force > offset",
        "lambda report: report.control_in_force >= offset",
        "tests/flow/test_orders.py -k lanes_do_not_obey",
    ),
    (
        "an entry is said to be in force when it is seen",
        "pipeline/console/suppressions/work.py",
        "report.suppressions_in_force > offset",
        "report.suppressions_seen > offset",
        "tests/flow/test_suppressions.py -k lane_of_its_scope",
    ),
    (
        "an order under another key is obeyed",
        "pipeline/records/control.py",
        "if key != expected.encode():",
        "if key is None:",
        "tests/unit/records/test_control.py",
    ),
    (
        "an import writes again what is there",
        "pipeline/console/suppressions/work.py",
        "if key in self._known:",
        "if False:",
        "tests/flow/test_suppressions.py -k imported_elsewhere",
    ),
    (
        "another privacy key is taken at the start",
        "pipeline/kafka/control.py",
        "if not is_accepted:",
        "if False:",
        "tests/flow/test_privacy_key.py -k two_keys",
    ),
    (
        "a call that hangs is forgotten",
        "pipeline/stages/lane/calls.py",
        "min(calls, key=lambda number: calls[number][0].end_ms)",
        "min(calls)",
        LIMITS,
    ),
    ("no daily cap", "pipeline/stages/lane/limits.py", "else config.sender.daily_cap", "else None", LIMITS),
    (
        "a cap that forgets what was not taken",
        "pipeline/stages/lane/draft.py",
        "            self._give_back(before)\n",
        "            pass\n",
        LIMITS,
    ),
    (
        "a call counted today may begin tomorrow",
        "pipeline/stages/lane/claim.py",
        "(pick.until_ms, limits.day_bound_ms(draft.config, draft.now_ms))",
        "(pick.until_ms,)",
        LIMITS,
    ),
    ("no gap", "pipeline/stages/lane/limits.py", "config.policy.gap is not None and calls", "False", LIMITS),
    (
        "a gap from the start of the call",
        "pipeline/stages/lane/limits.py",
        "max(call.end_ms for call in calls)",
        "max(call.start_ms for call in calls)",
        LIMITS,
    ),
    (
        "a replay counted today may begin tomorrow",
        "pipeline/stages/lane/resolve.py",
        "[limits.day_bound_ms(draft.config, draft.now_ms)]",
        "[]",
        LIMITS,
    ),
    (
        "a clock that jumps back begins a new day",
        "pipeline/stages/lane/draft.py",
        "if today > self.state.day:",
        "if today != self.state.day:",
        LIMITS,
    ),
    (
        "open until the last close",
        "pipeline/domain/hours.py",
        "min(untils, default=None)",
        "max(untils, default=None)",
        CALENDAR,
    ),
    (
        "the first of many clocks decides",
        "pipeline/domain/hours.py",
        "        if later_ms == at_ms:",
        "        if True:",
        CALENDAR,
    ),
    (
        "what is handed on is forgotten here",
        "pipeline/stages/lane/intake.py",
        "    table.put_forwarded(draft.view, work, origins, draft.now_ms + draft.config.dedup_for_ms)\n",
        "    draft.view.delete(table.ENTRY + table.memory_key(work))\n",
        LANE,
    ),
    (
        "what is handed on is no return",
        "pipeline/stages/lane/intake.py",
        "returns=work.returns + 1))",
        "returns=0))",
        LANE,
    ),
    (
        "a disabled sender claims",
        "pipeline/stages/lane/lane.py",
        "if not self._config.is_retired and not is_stopping:",
        "if self._config.sender is not None and not is_stopping:",
        LANE,
    ),
    (
        "a throttled lane is silent",
        "pipeline/stages/lane/claim.py",
        "            draft.hold = blocked.hold\n",
        "",
        "tests/unit/agents/test_throttle_log.py",
    ),
    (
        "the metric grows only afterwards",
        "pipeline/agents/lane.py",
        "if self._throttle_log.is_open and",
        "if False and",
        "tests/unit/agents/test_throttle_log.py",
    ),
    *SECURED,
    *WATCHING,
]

LEFT_OUT = shutil.ignore_patterns(".git", ".venv", ".data", ".*_cache", "__pycache__", ".hypothesis")
"""Of the copy that a mutant is planted in. A product file left out would have every mutant "caught"."""


def survives(mutant: tuple[str, str, str, str, str], servers: str) -> bool:
    what, file, text, replacement, tests = mutant
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder) / "tree"
        shutil.copytree(ROOT, copy, ignore=LEFT_OUT)
        source = (copy / file).read_text()
        if text not in source:
            raise SystemExit(f"{what}: {file} no longer has {text!r}")
        (copy / file).write_text(source.replace(text, replacement))
        done = subprocess.run(
            f"{sys.executable} -m pytest -x -q -p no:cacheprovider {tests}",
            shell=True,
            cwd=copy,
            check=False,
            capture_output=True,
            text=True,
            env={**os.environ, "PIPELINE_TEST_KAFKA": servers, "PYTHONPATH": str(copy)},
            timeout=300,
        )
        return done.returncode == 0


def main() -> int:
    wanted = sys.argv[1:]
    chosen = [each for each in MUTANTS if not wanted or any(word in each[0] for word in wanted)]
    alive = 0
    with ExitStack() as stack:
        servers = ""
        if any("tests/flow" in each[4] for each in chosen):
            folder = stack.enter_context(tempfile.TemporaryDirectory())
            servers = ",".join(stack.enter_context(LocalKafka(Path(folder))).bootstrap_servers)
        pool = stack.enter_context(ThreadPoolExecutor(os.cpu_count()))
        for mutant, is_alive in zip(chosen, pool.map(partial(survives, servers=servers), chosen), strict=True):
            alive += is_alive
            print(f"{'SURVIVES' if is_alive else 'caught  '}  {mutant[0]}", flush=True)
    print(f"{alive} of {len(chosen)} survive")
    return 1 if alive else 0


if __name__ == "__main__":
    raise SystemExit(main())

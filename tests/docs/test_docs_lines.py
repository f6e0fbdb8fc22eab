"""Every command line that a document shows is in the table below, with the test that looks at its effect."""

from __future__ import annotations

import re
from pathlib import Path

import click
import pytest

from tests.unit.console.test_command_line import PATHS, cli

ROOT = Path(__file__).parents[2]
DOCS = [
    ROOT / "README.md",
    ROOT / "ARCHITECTURE.md",
    ROOT / "CONTRIBUTING.md",
    *sorted(ROOT.glob("docs/*.md")),
    *sorted(ROOT.glob("bench/*.md")),
    *sorted(ROOT.glob("examples/*.*")),
    *sorted(ROOT.glob("docker-compose*.yml")),
    ROOT / "Dockerfile.worker",
]
COMMAND = re.compile(
    r"(?:faust -A pipeline|python -m pipeline|make(?= [a-z])|docker compose|docker build|pip install|kafka-[a-z-]+\.sh|curl) [^`]*"
)
_SHOWN = re.compile(r"`([^`\n]+)`")


def lines_of(text: str) -> set[str]:
    """Return the commands in code blocks, comments of files, and between backticks, without what is said behind them."""
    shown = [
        line
        for line in text.splitlines()
        if line.startswith(("    ", "#")) or re.match(r"(faust|python|make|docker|pip|kafka-|curl)\b", line)
    ]
    shown += _SHOWN.findall(text)
    found = (COMMAND.search(line) for line in shown)
    return {re.split(r"\s{2,}#|\s{3,}", each[0])[0].strip() for each in found if each}


TOLD = "test_status_shows_deliveries_behind_the_records_of_a_touch"
STRANGER = "test_a_stranger_types_readme_s_lines_and_each_does_what_it_says"
LIST = "test_list_filters_by_reason_and_time"
SHOW = "test_show_tells_all_and_raw_gives_the_bytes"
REPLAY = "test_replay_says_what_it_did_and_dry_run_what_it_would_do"
NEW_ID = "test_a_mended_touch_whose_story_has_ended_is_sent_under_a_new_id_only"
ASK = "test_a_provider_that_can_tell_later_is_asked_later_and_nothing_is_sent"
RESEND_ALL = "test_what_the_provider_does_not_have_is_sent_again_once_whatever_its_twin_has"
FORESEEN = "test_a_backlog_is_counted_and_its_end_foreseen_while_the_worker_is_at_work"
SANDBOX = "test_compose_up_is_the_sandbox_as_a_whole_whatever_the_shell_has"
REAL = "test_the_real_workers_get_the_shell_s_accounts_and_nothing_of_a_sandbox"
ACLS = "test_touches_come_and_go_by_every_way_in_with_the_permissions_that_the_docs_list"
FOLDER = "test_the_data_folder_is_the_one_that_was_typed"
AT_ONCE = "test_what_goes_wrong_at_once_is_told_in_a_line_with_its_exit_code"
OPTIONS_OF_WORKER = "test_a_worker_without_kafka_shows_what_quiet_logfile_and_without_web_do"
TOKEN = "test_token_prints_a_new_token_and_the_hash_that_the_configuration_takes"
HASH = "test_hash_prints_the_name_of_an_address_in_records"
ACCEPT = "test_another_key_is_refused_until_it_is_accepted"
PAUSE = "test_a_pause_is_done_when_every_lane_concerned_obeys"
NOT_OBEYED = "test_an_order_that_lanes_do_not_obey_stands_and_ends_with_1"
NO_WAIT = "test_no_wait_ends_at_the_commit_and_a_channel_that_is_off_has_no_lanes"
ORDER_JSON = "test_json_shows_the_whole_order_and_counts_its_touches"
DRY_ORDER = "test_a_dry_run_writes_nothing_and_shows_lanes_and_touches"
RESUME = "test_resume_ends_the_very_pause_and_names_what_still_holds"
RESUME_UNTIL = "test_resume_with_until_lets_the_pause_end_by_itself"
CANCEL = "test_a_cancel_takes_what_comes_for_as_long_as_its_target_says"
ORDERS = "test_the_list_shows_how_far_each_order_has_come"
HELD = "test_status_names_on_standard_error_what_holds_a_touch_that_has_not_ended"
STATUS_OF = "test_status_finds_the_records_of_a_campaign_a_person_and_an_address"
SUPPRESS = "test_an_entry_is_done_when_every_lane_of_its_scope_obeys"
SCOPE = "test_scope_and_reason_have_defaults_by_the_recipient"
SUPPRESSED = "test_list_shows_a_line_per_entry_of_all_or_of_one"
LIFT = "test_remove_takes_what_was_chosen_and_leaves_the_rest"
EXPORT = "test_an_export_is_imported_elsewhere_and_nothing_is_written_twice"
IMPORT = "test_an_import_names_what_it_skips_and_ends_with_1"
ORDER_OPTIONS = {
    "--all": RESUME_UNTIL,
    **dict.fromkeys(["--campaign", "--channel", "--until", "--by"], ORDER_JSON),
    **dict.fromkeys(["--sender", "--lead", "--touch"], CANCEL),
    "--note": PAUSE,
    "--timeout": NOT_OBEYED,
    "--no-wait": NO_WAIT,
    "--dry-run": DRY_ORDER,
}
ENTRY_OPTIONS = {
    **dict.fromkeys(["--address", "--lead", "--note", "--by", "--timeout"], SUPPRESS),
    **dict.fromkeys(["--hash", "--scope", "--reason", "--no-wait"], SCOPE),
}
LISTENERS = "test_a_typed_listener_wins_and_the_public_one_can_be_off"
CALLBACKS_TEST = "test_what_providers_and_recipients_say_is_told_once_and_obeyed"
DISMISS = "test_a_dismissed_opt_out_suppresses_nobody_and_is_taken_off_the_list"
BY_HAND = "by hand"
"""It needs a container engine."""
RULES = "test_the_rules_that_the_docs_show_are_taken_and_do_what_they_say"
CALLED_BACK = "test_the_callback_lines_that_the_docs_show_do_what_they_say"
TARGET = "test_a_make_line_that_is_shown_runs_what_is_there"
"""CI runs the rest of it, or it measures for longer than CI may."""
LINES = {
    "docker compose up --build --scale worker=2": SANDBOX,
    "docker compose --profile watch up": BY_HAND,
    "docker compose -f docker-compose.real.yml up --build": REAL,
    "docker compose -f docker-compose.real.yml up --build --scale worker=2": REAL,
    "docker compose -f docker-compose.real.yml run --rm worker check": REAL,
    "docker build -f Dockerfile.worker --build-arg PYTHON_IMAGE=python:3.11-slim-bookworm@sha256:… .": "test_the_image_runs_as_nobody_in_particular_and_its_base_can_be_pinned",
    "pip install .": "test_an_installed_wheel_has_the_product_and_its_schemas_and_not_the_laboratory",
    "faust -A pipeline check": STRANGER,
    "faust -A pipeline repartition": "test_partitions_are_added_on_purpose_and_what_was_accepted_before_is_recognised",
    "faust -A pipeline worker": STRANGER,
    "faust -A pipeline web --listen 127.0.0.1:6081 --copy-dir /var/lib/touch/copy-2": "test_a_copy_is_one_process_s_own",
    "faust -A pipeline web": CALLBACKS_TEST,
    "faust -A pipeline opt-outs list": CALLBACKS_TEST,
    'faust -A pipeline opt-outs resolve 3EB0C7 --address +12125550001 --note "found in the chat"': CALLBACKS_TEST,
    'faust -A pipeline opt-outs resolve 3EB0C7 --dismiss --note "a test of ours"': DISMISS,
    "faust -A pipeline worker [-l info] [--datadir DIR] [--web-port N]": FOLDER,
    "faust -A pipeline produce": STRANGER,
    "faust -A pipeline produce touches.ndjson": STRANGER,
    "faust -A pipeline status TOUCH_ID": TOLD,
    "faust -A pipeline status t-1": TOLD,
    "faust -A pipeline status --follow t-1": STRANGER,
    "faust -A pipeline forecast": FORESEEN,
    "faust -A pipeline --json forecast": STRANGER,
    "faust -A pipeline dead-letters list": STRANGER,
    "faust -A pipeline --json dead-letters list | jq .error": LIST,
    "faust -A pipeline dead-letters list --reason invalid --reason conflict": LIST,
    "faust -A pipeline dead-letters list --since 1h": LIST,
    "faust -A pipeline dead-letters show 3/17": SHOW,
    "faust -A pipeline dead-letters show --raw 3/17 > value": SHOW,
    "faust -A pipeline dead-letters replay 3/17 3/18": REPLAY,
    "faust -A pipeline dead-letters replay --reason undecodable --since 1h": REPLAY,
    "faust -A pipeline dead-letters replay --reason undecodable --since 1h --dry-run": REPLAY,
    "faust -A pipeline dead-letters replay --reason invalid --since 1h --new-id .again": NEW_ID,
    "faust -A pipeline unconfirmed list": STRANGER,
    "faust -A pipeline unconfirmed list --all": ASK,
    "faust -A pipeline --json unconfirmed list": ASK,
    "faust -A pipeline unconfirmed resolve --ask-provider TOUCH_ID": ASK,
    "kafka-console-consumer.sh --bootstrap-server kafka:9092 --topic touches.status --from-beginning --isolation-level read_committed": STRANGER,
    "kafka-console-producer.sh --bootstrap-server kafka:9092 --topic touches": STRANGER,
    'kafka-console-consumer.sh --bootstrap-server "$KAFKA" --topic touches --partition 8 --offset earliest --timeout-ms 10000 | faust -A pipeline produce -': "test_a_fleet_goes_on_with_the_partitions_it_knows_and_says_what_waits_in_the_others",
    'curl -d \'{"drop": "after", "probability": 0.02, "seed": 1}\' http://127.0.0.1:4010/control/rules': RULES,
    'curl -d \'{"provider": "waha", "answer": "page", "times": 10}\' http://127.0.0.1:4010/control/rules': RULES,
    'curl -d \'{"what": "callback", "provider": "resend", "outcome": "bounced", "to": "bob@example.com"}\' http://127.0.0.1:4010/control/rules': CALLED_BACK,
    'curl -d \'{"what": "callback", "repeat": 5, "within_ms": 3000, "before_answer": true, "probability": 0.5}\' http://127.0.0.1:4010/control/rules': CALLED_BACK,
    'curl -d \'{"provider": "twilio", "from": "+12125550001", "text": "STOP"}\' http://127.0.0.1:4010/control/inbound': CALLED_BACK,
    'faust -A pipeline pause --campaign spring --note "wrong price"': PAUSE,
    'faust -A pipeline pause --channel sms --sender main --until 2h --note "carrier works"': ORDER_JSON,
    'faust -A pipeline pause --all --note "stop everything"': RESUME_UNTIL,
    "faust -A pipeline orders": ORDERS,
    "faust -A pipeline orders --ended": ORDERS,
    "faust -A pipeline --json orders": ORDERS,
    'faust -A pipeline resume --campaign spring --note "price corrected"': RESUME,
    'faust -A pipeline cancel --campaign spring --note "wrong list" --dry-run': DRY_ORDER,
    'faust -A pipeline cancel --campaign spring --note "wrong list"': CANCEL,
    "faust -A pipeline status t-1001": HELD,
    "faust -A pipeline status --campaign spring": STATUS_OF,
    "faust -A pipeline status --lead ann": STATUS_OF,
    "faust -A pipeline status --address +12125550001": STATUS_OF,
    'faust -A pipeline suppressions add --address +12125550001 --reason opt_out --note "said so by phone"': SUPPRESS,
    "faust -A pipeline suppressions add --lead ann": SUPPRESS,
    "faust -A pipeline suppressions list --address +12125550001": SUPPRESSED,
    'faust -A pipeline suppressions remove --address +12125550001 --reason opt_out --note "asked to come back"': LIFT,
    "faust -A pipeline suppressions export > suppressions.ndjson": EXPORT,
    "faust -A pipeline suppressions import optouts.csv": IMPORT,
    'faust -A pipeline suppressions import --by "old system" - < suppressions.ndjson': EXPORT,
    "faust -A pipeline hash +12125550001": HASH,
    "faust -A pipeline hash ann@example.com": HASH,
    "faust -A pipeline hash --accept-key": ACCEPT,
    "faust -A pipeline token": TOKEN,
    'curl -H "Authorization: Bearer $TOKEN" http://127.0.0.1:6080/api/v1/touches/t-1001': "test_roles_and_requests",
    'curl -H "Authorization: Bearer $TOKEN" -H "Content-Type: application/json" -d \'{"action": "pause", "target": {"campaign": "spring"}, "note": "wrong price", "wait": 10}\' http://127.0.0.1:6080/api/v1/orders': "test_roles_and_requests",
    **dict.fromkeys(
        [
            "make setup",
            "make test",
            "make check",
            "make mutants",
            "make simulate SEEDS=300",
            "make chaos",
            "make chaos LONG=1",
            "make lanes",
            "make lanes LONG=1",
            "make simulate",
            "make simulate SEEDS=10000",
            "make bench",
            "make profile",
            "make bench-deferred",
            "make up",
        ],
        TARGET,
    ),
    "curl -i -X POST https://touch.example.com/callbacks/resend/main": "test_what_is_not_authentic_is_403_and_not_taken",
    "make demo": "test_the_demo_shows_all_its_findings_and_leaves_nothing_running",
    "make down": "test_down_tells_of_a_worker_that_had_been_dead_and_where_its_log_is",
}
OPTIONS = {
    "": {
        "--logfile": OPTIONS_OF_WORKER,
        "--loglevel": "test_the_log_level_is_the_one_that_was_typed_and_info_without",
        "--json": STRANGER,
        "--datadir": FOLDER,
        "--workdir": AT_ONCE,
        "--quiet": OPTIONS_OF_WORKER,
        "--app": STRANGER,
        "--version": AT_ONCE,
    },
    "worker": {
        "--datadir": FOLDER,
        "--with-web": OPTIONS_OF_WORKER,
        "--web-port": "test_a_web_port_that_was_asked_for_and_is_taken_is_one_line",
        "--web-bind": "test_the_command_line_wins_over_loopback",
        "--logfile": OPTIONS_OF_WORKER,
        "--loglevel": "test_the_log_level_is_the_one_that_was_typed_and_info_without",
    },
    "web": {"--listen": LISTENERS, "--public-listen": LISTENERS, "--copy-dir": "test_a_copy_is_one_process_s_own"},
    "opt-outs list": {},
    "opt-outs resolve": {"--address": CALLBACKS_TEST, "--dismiss": DISMISS, "--note": CALLBACKS_TEST, "--by": DISMISS},
    "repartition": {},
    "check": {},
    "version": {},
    "hash": {"--accept-key": ACCEPT},
    "token": {},
    "pause": ORDER_OPTIONS,
    "resume": ORDER_OPTIONS | {"--until": RESUME_UNTIL},
    "cancel": ORDER_OPTIONS | {"--until": CANCEL},
    "orders": {"--ended": ORDERS},
    "suppressions add": ENTRY_OPTIONS,
    "suppressions remove": ENTRY_OPTIONS,
    "suppressions list": dict.fromkeys(["--address", "--hash", "--lead"], SUPPRESSED),
    "suppressions export": {},
    "suppressions import": {"--by": IMPORT},
    "produce": {"--format": "test_csv_is_known_by_its_name_or_by_option"},
    "status": {
        **dict.fromkeys(["--campaign", "--lead", "--address"], STATUS_OF),
        "--follow": STRANGER,
        "--timeout": "test_following_ends_with_the_terminal_status_or_with_1_at_the_timeout",
    },
    "forecast": dict.fromkeys(["--channel", "--at-most", "--call-takes"], FORESEEN),
    "dead-letters list": dict.fromkeys(["--reason", "--since", "--until"], LIST),
    "dead-letters show": {"--raw": SHOW},
    "dead-letters replay": {
        **dict.fromkeys(["--reason", "--since", "--until"], LIST),
        "--all": "test_what_is_still_broken_comes_back_and_replaying_all_does_not_double_it",
        "--new-id": NEW_ID,
        "--dry-run": REPLAY,
    },
    "unconfirmed list": {"--all": ASK},
    "unconfirmed resolve": {
        "--ask-provider": ASK,
        "--not-sent": RESEND_ALL,
        "--sent": "test_resend_is_never_asked_because_asking_may_send",
        "--id": "test_resend_is_never_asked_because_asking_may_send",
        "--force": "test_resend_is_never_asked_because_asking_may_send",
    },
}


def known_tests() -> set[str]:
    found = {name for path in ROOT.glob("tests/**/*.py") for name in re.findall(r"def (test_\w+)", path.read_text())}
    return found | {path.stem for path in ROOT.glob("tests/**/test_*.py")} | {BY_HAND}


def shown_in(doc: Path) -> set[str]:
    """Return the lines that a document shows to be typed: of files that programs read only their comments."""
    text = doc.read_text()
    return lines_of(
        text if doc.suffix == ".md" else "\n".join(line for line in text.splitlines() if line.startswith("#"))
    )


def options_of(path: list[str]) -> set[str]:
    command = cli
    for name in path:
        command = command.commands[name]
    return {
        each.opts[0] if each.opts[0].startswith("--") else each.opts[-1]
        for each in command.params
        if isinstance(each, click.Option) and not each.hidden and "--help" not in each.opts
    }


@pytest.mark.parametrize("doc", DOCS, ids=lambda doc: doc.name)
def test_every_command_line_of_a_document_has_a_test_of_its_effect(doc: Path):
    shown = {line for line in shown_in(doc) if not line.startswith("kafka-acls.sh")}  # read from the docs by ACLS
    assert {line for line in shown if line not in LINES} == set()


@pytest.mark.parametrize("path", [[], *PATHS], ids=lambda path: " ".join(path) or "faust")
def test_every_option_that_help_shows_has_a_test_of_its_effect(path: list[str]):
    assert options_of(path) == OPTIONS[" ".join(path)].keys()


def test_the_tests_that_are_named_exist_and_no_line_is_named_in_vain():
    named = {*LINES.values(), ACLS, *(test for each in OPTIONS.values() for test in each.values())}
    assert named - known_tests() == set()
    assert LINES.keys() - {line for doc in DOCS for line in shown_in(doc)} == set()


def test_a_line_is_found_wherever_it_is_shown():
    text = "Type `faust -A pipeline check`.\n\n    make demo    # said\n#   docker compose up  # said\nmake nothing of it\n"
    assert lines_of(text) >= {"faust -A pipeline check", "make demo", "docker compose up"}

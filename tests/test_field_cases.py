"""Each kind of data that plants were seen to send, and the tests that read it. The tests make their own few rows."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parent
GATEWAYS = (
    "onboard/test_recognise_gateways.py::test_a_gateway_is_read_with_its_assets_channels_times_and_values",
    "onboard/test_recognise_gateways.py::test_the_order_of_fields_and_messages_does_not_matter",
)
FOUND = "onboard/test_onboard_finds.py::test_a_fault_is_found_without_an_edit"
HERE = "onboard/test_field_cases.py"
MACHINES = "onboard/test_field_machines.py"
CASES: dict[str, tuple[str, ...]] = {
    "OPC Publisher: nested, flat, an array of readings": GATEWAYS,
    "KEPServerEX: a list of ids, an array, single readings": GATEWAYS,
    "Kafka Connect with its schema; changes of a table": GATEWAYS,
    "flat JSON; the asset in the key, in the topic or a number; ThingsBoard": GATEWAYS,
    "a word or NaN among the values": (
        f"{HERE}::test_a_text_among_the_values_costs_its_value_alone",
        "worker/test_bad_input.py::test_a_sensor_that_dies_as_a_text_does_not_blind_the_machine",
    ),
    "booleans and texts among the values": (f"{HERE}::test_booleans_are_states_and_words_are_left_out",),
    "numbers in texts, with decimal commas": (f"{HERE}::test_numbers_in_texts_are_numbers",),
    "a quality beside the value": (f"{HERE}::test_a_value_of_bad_quality_is_not_measured",),
    "CSV: decimal comma and dd.mm.yyyy": (f"{HERE}::test_german_export",),
    "CSV: preamble and units": (f"{HERE}::test_export_with_a_preamble_and_units",),
    "CSV: date and time apart": (f"{HERE}::test_export_with_date_and_time_apart",),
    "CSV: a row for each value, with tag and quality": (f"{HERE}::test_historian_export_with_a_row_for_each_value",),
    "CSV: Bad in cells": (f"{HERE}::test_export_whose_sensor_says_bad_from_some_time_on",),
    "CSV: local time over the end of summer time": (f"{HERE}::test_export_in_local_time_over_the_end_of_summer_time",),
    "CSV: several machines": (
        f"{HERE}::test_export_of_several_machines",
        f"{HERE}::test_a_table_of_several_machines_gives_the_alerts_of_their_messages",
    ),
    "reports on change": (FOUND, f"{MACHINES}::test_values_sent_on_change"),
    "mixed rates": (FOUND, f"{MACHINES}::test_channels_at_different_rates"),
    "machines in two shifts, off at weekends": (
        "backtest/test_two_shifts.py::test_a_plant_in_two_shifts_is_watched_without_false_alerts",
        f"{MACHINES}::test_machines_in_two_shifts",
        f"{MACHINES}::test_shifts_without_a_condition",
    ),
    "batches by recipes": (
        f"{MACHINES}::test_batches_and_recipes",
        "onboard/test_batches.py::test_machines_that_work_in_batches_get_modes_a_step_and_a_history_of_many_batches",
    ),
    "counters": (
        FOUND,
        "onboard/test_kinds.py::test_counters_are_recognised",
        f"{MACHINES}::test_counters_hide_nothing",
    ),
    "states as numbers": (
        "onboard/test_kinds.py::test_states_and_constants_are_recognised",
        f"{MACHINES}::test_a_state_that_was_not_learned_is_no_explosion",
    ),
    "a machine that falls silent": (f"{MACHINES}::test_a_machine_that_falls_silent",),
    "a topic with the collector's own points": (
        f"{HERE}::test_the_collectors_own_points_are_left_out",
        f"{MACHINES}::test_a_topic_of_telegraf",
    ),
    "points of booleans and texts alone": (f"{HERE}::test_points_of_booleans_and_texts_alone_are_no_dead_letters",),
    "OPC UA by Telegraf, a group for each machine": (f"{HERE}::test_opc_ua_by_telegraf",),
    "Parquet": ("connectors/files/test_parquet.py::test_backtest_train_and_onboard_read_parquet",),
    "CSV that programs and people have spoilt": (
        "connectors/files/test_csv_broken.py::test_a_spoilt_table_is_read_as_the_plain_one",
        "connectors/files/test_csv_broken.py::test_what_would_be_lost_or_mixed_is_refused",
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_every_kind_of_data_has_its_tests(case: str) -> None:
    """Each test that the table names is there."""
    for name in CASES[case]:
        path, _, function = name.partition("::")
        tree = ast.parse((ROOT / path).read_text())
        assert function in {each.name for each in tree.body if isinstance(each, ast.FunctionDef)}, name

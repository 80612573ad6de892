"""What MiniStack's Step Functions and Scheduler lack, added at launch.

The state machines are written for Step Functions and are not bent to the
emulator; where it falls short, the function at fault is replaced here. Each
patch says what was missing. The replaced functions are private to MiniStack,
so :func:`apply` refuses every version but the one they were read in.
"""

from __future__ import annotations

import copy
import random
import threading
from datetime import datetime, timezone
from importlib.metadata import version
from typing import Any

MINISTACK_VERSION = "1.5.33"


class WrongVersion(RuntimeError):
    """The installed MiniStack is not the one these patches were written for."""


def apply() -> None:
    """Patch the imported MiniStack. Raises :class:`WrongVersion` for any other version."""
    found = version("ministack")
    if found != MINISTACK_VERSION:
        raise WrongVersion(
            f"local/patches.py was written for ministack {MINISTACK_VERSION}, but {found} is installed: "
            "run `make clean`, or read the patches again and change the pin in both files"
        )
    from ministack.services import eventbridge, stepfunctions

    _succeed_output(stepfunctions)
    _own_context(stepfunctions)
    _parallel(stepfunctions)
    _distributed_map(stepfunctions)
    _retry_delay(stepfunctions)
    _callback_token(stepfunctions)
    _callback_failure(stepfunctions)
    _scheduled_time(eventbridge)


def _is_jsonata(sfn: Any, state: dict, ctx: Any) -> bool:
    return sfn._state_query_language(state, ctx) == "JSONata"


def _finish(sfn: Any, state: dict, raw_input: Any, ctx: dict, result: Any) -> Any:
    """Output and Assign of a JSONata state whose result is known."""
    output = sfn._apply_jsonata_output(state, raw_input, ctx, result=result, default=result)
    sfn._apply_state_assign(state, raw_input, ctx, result=result)
    return output


def _succeed_output(sfn: Any) -> None:
    """A JSONata Succeed ignores its Output: only the JSONPath fields are looked at."""
    original = sfn._apply_output_path

    def apply_output_path(state: dict, data: Any, ctx: Any = None) -> Any:
        if state.get("Type") == "Succeed" and _is_jsonata(sfn, state, ctx):
            return sfn._apply_jsonata_output(state, data, ctx, default=data)
        return original(state, data, ctx)

    sfn._apply_output_path = apply_output_path


def _own_context(sfn: Any) -> None:
    """The branches of a Parallel share one context, so that State and variables race; and a child of a
    Distributed Map sees its parent's Execution and variables, of which Step Functions gives it neither."""
    original = sfn._run_sub_machine

    def run_sub_machine(states: dict, start_at: str, input_data: Any, execution: dict, ctx: dict) -> Any:
        own = copy.deepcopy(ctx)
        if own["Execution"]["Id"] != execution["executionArn"]:
            own["Execution"] = {
                "Id": execution["executionArn"],
                "Input": copy.deepcopy(input_data),
                "Name": execution["name"],
                "StartTime": execution["startDate"],
            }
            own["variables"] = {}
        return original(states, start_at, input_data, execution, own)

    sfn._run_sub_machine = run_sub_machine


def _parallel(sfn: Any) -> None:
    """A JSONata Parallel ignores Arguments, Output and Assign."""
    original = sfn._run_parallel_branches

    def run_parallel_branches(state: dict, raw_input: Any, execution: dict, ctx: dict) -> Any:
        if not _is_jsonata(sfn, state, ctx):
            return original(state, raw_input, execution, ctx)
        argument = sfn._apply_jsonata_arguments(state, raw_input, ctx)
        results, following = original(state, argument, execution, ctx)
        return _finish(sfn, state, raw_input, ctx, results), following

    sfn._run_parallel_branches = run_parallel_branches


def _distributed_map(sfn: Any) -> None:
    """A JSONata Distributed Map evaluates neither Items nor the ItemReader's Arguments, ItemSelector, limits,
    Output and Assign. They are evaluated here, and MiniStack runs a Map that is left with plain items."""
    original = sfn._run_distributed_map
    limits = ("MaxConcurrency", "ToleratedFailurePercentage", "ToleratedFailureCount")

    def items_of(state: dict, raw_input: Any, ctx: dict) -> Any:
        if "ItemReader" not in state:
            return sfn._jsonata_state_field(state, "Items", "array", raw_input, ctx) if "Items" in state else raw_input
        reader = dict(state["ItemReader"])
        reader["Arguments"] = sfn._apply_jsonata_template(reader.get("Arguments", {}), raw_input, ctx)
        reader["ReaderConfig"] = sfn._apply_jsonata_template(reader.get("ReaderConfig", {}), raw_input, ctx)
        return sfn._read_map_items(reader, raw_input, ctx)

    def select(state: dict, raw_input: Any, ctx: dict, index: int, item: Any) -> Any:
        if "ItemSelector" not in state:
            return item
        seen = {**ctx, "Map": {"Item": {"Index": index, "Value": item}}}
        return sfn._apply_jsonata_template(state["ItemSelector"], raw_input, seen)

    def run_distributed_map(
        state: dict, raw_input: Any, effective: Any, iterator: dict, execution: dict, ctx: dict
    ) -> Any:
        if not _is_jsonata(sfn, state, ctx):
            return original(state, raw_input, effective, iterator, execution, ctx)
        items = [select(state, raw_input, ctx, i, item) for i, item in enumerate(items_of(state, raw_input, ctx))]
        plain = {key: state[key] for key in ("Type", "Label", "Next", "End") if key in state}
        plain.update((key, sfn._apply_jsonata_template(state[key], raw_input, ctx)) for key in limits if key in state)
        results, following = original(plain, items, items, iterator, execution, ctx)
        return _finish(sfn, state, raw_input, ctx, results), following

    sfn._run_distributed_map = run_distributed_map

    # `_run_map_items` looks for JSONPath items before it hands a Distributed Map on, and would refuse or
    # evaluate Items a first time: such a state goes straight to the function above.
    original_items = sfn._run_map_items

    def run_map_items(state: dict, raw_input: Any, execution: dict, ctx: dict) -> Any:
        processor = state.get("ItemProcessor") or state.get("Iterator") or {}
        if _is_jsonata(sfn, state, ctx) and (processor.get("ProcessorConfig") or {}).get("Mode") == "DISTRIBUTED":
            return run_distributed_map(state, raw_input, raw_input, processor, execution, ctx)
        return original_items(state, raw_input, execution, ctx)

    sfn._run_map_items = run_map_items


def _retry_delay(sfn: Any) -> None:
    """MaxDelaySeconds and JitterStrategy of a retrier are ignored."""
    original = sfn._find_matching_retrier

    def find_matching_retrier(retriers: list, error: str, retry_counts: dict) -> Any:
        retrier, index = original(retriers, error, retry_counts)
        if retrier is None:
            return retrier, index
        count = retry_counts.get(index, 0)
        delay = retrier.get("IntervalSeconds", 1) * retrier.get("BackoffRate", 2.0) ** count
        delay = min(delay, retrier.get("MaxDelaySeconds", delay))
        if retrier.get("JitterStrategy") == "FULL":
            delay = random.uniform(0, delay)
        # The caller multiplies interval and rate: this leaves the product alone.
        return {**retrier, "IntervalSeconds": delay, "BackoffRate": 1.0}, index

    sfn._find_matching_retrier = find_matching_retrier


_CALLBACK = ".waitForTaskToken"


def _callback_token(sfn: Any) -> None:
    """All tries of a Task that waits for its token have one token: the answer to a question that timed out, or whose
    function failed, answers the next one."""
    original = sfn._apply_jsonata_arguments

    def apply_jsonata_arguments(state: dict, raw_input: Any, ctx: Any = None) -> Any:
        if _CALLBACK in state.get("Resource", ""):
            ctx["Task"] = {"Token": sfn.new_uuid()}  # evaluated for each try, and read again when it begins
        return original(state, raw_input, ctx)

    sfn._apply_jsonata_arguments = apply_jsonata_arguments


def _callback_failure(sfn: Any) -> None:
    """That the function of a Task that waits for its token has failed is passed over: the Task waits until it times
    out. The failure is put down here as what came back with the token, unless that was answered before."""
    waiting = threading.local()
    original_invoke, original_call = sfn._invoke_with_callback, sfn._call_lambda

    def invoke_with_callback(resource: str, input_data: Any, token: str, state: dict) -> Any:
        waiting.token = token
        try:
            return original_invoke(resource, input_data, token, state)
        finally:
            waiting.token = None

    def call_lambda(function: str, event: Any) -> Any:
        try:
            return original_call(function, event)
        except sfn._ExecutionError as error:
            token = getattr(waiting, "token", None)
            task = sfn._task_tokens.get(token) if token else None
            if task and not task["event"].is_set():
                task["error"] = {"Error": error.error, "Cause": error.cause}
                task["event"].set()
            raise

    sfn._invoke_with_callback, sfn._call_lambda = invoke_with_callback, call_lambda


def _scheduled_time(eventbridge: Any) -> None:
    """The Scheduler hands `<aws.scheduler.scheduled-time>` on as it stands, instead of the time."""
    original = eventbridge._invoke_target
    placeholder = "<aws.scheduler.scheduled-time>"

    def invoke_target(target: dict, event: dict, *rest: Any, **named: Any) -> Any:
        text = target.get("Input")
        if event.get("Source") == "aws.scheduler" and isinstance(text, str) and placeholder in text:
            at = datetime.fromtimestamp(float(event["Time"]), tz=timezone.utc)
            target = {**target, "Input": text.replace(placeholder, at.strftime("%Y-%m-%dT%H:%M:%SZ"))}
        return original(target, event, *rest, **named)

    eventbridge._invoke_target = invoke_target

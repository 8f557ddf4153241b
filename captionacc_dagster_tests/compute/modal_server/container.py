"""One container: reads a pickled call from stdin, runs the deployed function, writes the pickled end to stdout."""

from __future__ import annotations

import importlib
import os
import pickle
import sys
import traceback

from modal._runtime.execution_context import _set_current_context_ids


def main() -> None:
    # Whatever the function prints must not get into the answer.
    answer = os.fdopen(os.dup(sys.stdout.fileno()), "wb")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
    module_name, function_name, call_id = sys.argv[1:]
    _set_current_context_ids([f"in-{call_id}"], [call_id], [""])
    args, kwargs = pickle.loads(sys.stdin.buffer.read())
    try:
        function = getattr(importlib.import_module(module_name), function_name)
        end = ("result", function.local(*args, **kwargs))
    except BaseException as error:  # noqa: BLE001 - a container reports everything
        end = ("error", (error, traceback.format_exc()))
    answer.write(pickle.dumps(end))
    answer.close()


if __name__ == "__main__":
    main()

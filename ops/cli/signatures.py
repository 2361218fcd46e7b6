"""Give a command other options than its function has. Typer reads options from a function's signature."""

import functools
import inspect
from collections.abc import Callable, Iterable

Command = Callable[..., None]


def parameters_of(command: Command) -> dict[str, inspect.Parameter]:
    """The parameters of a command by name, with their types as objects."""
    return dict(inspect.signature(command, eval_str=True).parameters)


def with_parameters(command: Command, run: Command, parameters: Iterable[inspect.Parameter]) -> Command:
    """`run` instead of a command: under its name, with its help, and with these parameters."""
    functools.update_wrapper(run, command)
    taken = list(parameters)
    signature = inspect.Signature(taken, return_annotation=None)
    setattr(run, "__signature__", signature)  # noqa: B010  a function has no such attribute for the type checker
    run.__annotations__ = {one.name: one.annotation for one in taken}
    return run


def option(name: str, annotation: object) -> inspect.Parameter:
    """A parameter for an option that is None where it is not given."""
    return inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=None, annotation=annotation)

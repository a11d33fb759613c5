"""ROS parameters from a pydantic model: one source of truth for names, defaults, ranges and descriptions."""

from __future__ import annotations

from typing import Any, TypeVar, get_args

import pydantic
from annotated_types import Ge, Gt, Le, Lt
from rcl_interfaces.msg import FloatingPointRange, IntegerRange, ParameterDescriptor, SetParametersResult
from rclpy.exceptions import InvalidParameterTypeException, InvalidParameterValueException
from rclpy.node import Node
from rclpy.parameter import Parameter

from dpvp.config import Config, validate
from dpvp.errors import ConfigError

ConfigT = TypeVar("ConfigT", bound=Config)
LARGEST = {float: 1e12, int: 2**53}


def declare(node: Node, model: type[ConfigT]) -> ConfigT:
    """Declare every field of `model` as a parameter of `node` and return what launch files and the command line set.

    Fields must be str, bool, int, float or a list of float. They are read-only unless their `json_schema_extra` holds
    `{"dynamic": True}`; a dynamic one is validated by the model before it is accepted.

    Raises:
        ConfigError: a value does not fit the model; the message names the node and the parameter.
    """
    where = f"parameters of {node.get_name()}"
    values = {}
    for name, field in model.model_fields.items():
        default = _plain(field.get_default(call_default_factory=True))
        try:
            values[name] = _plain(node.declare_parameter(name, default, _descriptor(field)).value)
        except (InvalidParameterTypeException, InvalidParameterValueException) as error:
            raise ConfigError(where, name, error.args[0] if error.args else "?", str(error)) from None
    parameters = validate(model, values, where)
    _check_changes(node, model, values)
    return parameters


def _plain(value: Any) -> Any:
    """ROS knows lists; pydantic and users mean tuples and arrays too."""
    return list(value) if hasattr(value, "tolist") or isinstance(value, tuple) else value


def _descriptor(field: pydantic.fields.FieldInfo) -> ParameterDescriptor:
    extra = field.json_schema_extra if isinstance(field.json_schema_extra, dict) else {}
    # typed by the model: `5` is right where a float is wanted, and an empty list has no type that ROS could infer
    descriptor = ParameterDescriptor(
        description=field.description or "", read_only=not extra.get("dynamic", False), dynamic_typing=True
    )
    kind = next((t for t in (field.annotation, *get_args(field.annotation)) if t in LARGEST), None)
    low = next((m.ge if isinstance(m, Ge) else m.gt for m in field.metadata if isinstance(m, (Ge, Gt))), None)
    high = next((m.le if isinstance(m, Le) else m.lt for m in field.metadata if isinstance(m, (Le, Lt))), None)
    if kind and (low is not None or high is not None):
        low = -LARGEST[kind] if low is None else low
        high = LARGEST[kind] if high is None else high
        if kind is float:
            bounds = FloatingPointRange(from_value=float(low), to_value=float(high))  # type: ignore[arg-type]
            descriptor.floating_point_range = [bounds]
        else:
            descriptor.integer_range = [IntegerRange(from_value=int(low), to_value=int(high))]  # type: ignore[call-overload]
    return descriptor


def _check_changes(node: Node, model: type[Config], values: dict[str, Any]) -> None:
    """Refuse changes that the model refuses, with its reason."""

    def check(changes: list[Parameter]) -> SetParametersResult:
        changed = {p.name: _plain(p.value) for p in changes if p.name in model.model_fields}
        try:
            model.model_validate(values | changed)
        except pydantic.ValidationError as error:
            return SetParametersResult(successful=False, reason=error.errors()[0]["msg"])
        values.update(changed)
        return SetParametersResult(successful=True)

    node.add_on_set_parameters_callback(check)

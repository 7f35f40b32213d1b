"""What is done with dictionaries and tuples: call arguments are often gathered in one."""

from harness.modelfile.state import Mapping, State
from harness.modelfile.values import NONE, UNKNOWN, Arguments, Const, Items, Object, Value


def get_item(base: Value, index: Value, state: State) -> Value:
    """Return `base[index]`."""
    mapping = state.mapping(base)
    match base, index:
        case Items(values), Const(int(position)) if -len(values) <= position < len(values):
            return values[position]
        case Object(), Const(str(key)) if mapping is not None:
            return mapping.entries.get(key, UNKNOWN)
    return UNKNOWN


def set_item(base: Value, index: Value, value: Value, state: State) -> None:
    """Follow `base[index] = value`."""
    mapping = state.mapping(base)
    if mapping is None or not isinstance(base, Object):
        return
    if isinstance(index, Const) and isinstance(index.value, str):
        state.objects[base.number] = mapping.updated({index.value: value})
    else:
        state.objects[base.number] = mapping.updated({}, complete=False)


def make_dict(call: Arguments, state: State) -> Value:
    """Follow `dict(...)`."""
    if not call.positional:
        return state.new(Mapping(call.keywords, call.complete))
    source = state.mapping(call.positional[0]) or Mapping({}, complete=False)
    return state.new(source.updated(call.keywords, call.complete))


def call_dict_method(base: Object, mapping: Mapping, name: str, call: Arguments, state: State) -> Value:
    """Follow `base.name(...)`, which may change the dictionary."""
    match name, call.positional:
        case "copy", ():
            return state.new(mapping)
        case "update", _:
            other = state.mapping(call.get(0)) or Mapping({}, complete=not call.positional)
            changed = mapping.updated(other.entries, other.complete)
            state.objects[base.number] = changed.updated(call.keywords, call.complete)
            return NONE
        case (("get" | "pop" | "setdefault"), (Const(str(key)), *default)):
            value = mapping.entries.get(key, (default[0] if default else NONE) if mapping.complete else UNKNOWN)
            remaining = {other: entry for other, entry in mapping.entries.items() if other != key}
            if name == "pop":
                state.objects[base.number] = Mapping(remaining, mapping.complete)
            elif name == "setdefault":
                state.objects[base.number] = Mapping({**remaining, key: value}, mapping.complete)
            return value
        case (("items" | "keys" | "values" | "get"), _):
            return UNKNOWN
    state.objects[base.number] = Mapping({}, complete=False)
    return UNKNOWN

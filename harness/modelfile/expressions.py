"""Follows the expressions of a source: what each can stand for, and which calls it makes."""

import ast
from abc import ABC, abstractmethod
from pathlib import Path, PurePosixPath

from harness.modelfile.dictionaries import get_item, set_item
from harness.modelfile.frames import Frame, Trace
from harness.modelfile.library import STEPS, call_external, call_method, combine, is_class
from harness.modelfile.state import Mapping, State
from harness.modelfile.values import (
    MAX_TEXT,
    NONE,
    UNKNOWN,
    Arguments,
    Const,
    External,
    Function,
    Instance,
    Items,
    LocalClass,
    Object,
    Partial,
    Value,
    constant,
    external,
    is_none,
    items,
)

# Of statements and expressions; a model file of 300 lines has about 1,000, and some are followed more than once.
MAX_NODES = 50_000


class TooInvolved(Exception):
    """The program branches and calls so much that following it would keep its reader busy."""


class Expressions(ABC):
    """Evaluates expressions in `state` and notes in `trace` what they do."""

    def __init__(self, file: Path) -> None:
        self.state = State()
        self.trace = Trace()
        self.unused_calls: set[ast.expr] = set()
        self._file = file
        self._nodes_left = MAX_NODES

    @abstractmethod
    def enter(self, function: Function, call: Arguments) -> Value:
        """Follow a call of a function of the file."""

    @abstractmethod
    def construct(self, made: LocalClass, call: Arguments) -> Value:
        """Follow a call of a class of the file."""

    def spend(self, nodes: int = 1) -> None:
        """Count the nodes that were followed. Raises TooInvolved."""
        self._nodes_left -= nodes
        if self._nodes_left < 0:
            raise TooInvolved

    def value(self, node: ast.expr, frame: Frame) -> Value:
        """Return what an expression can stand for."""
        self.spend()
        match node:
            case ast.Constant(known):
                return constant(known)
            case ast.Name(name):
                return self._name(name, frame)
            case ast.Attribute(owner, name):
                return self._attribute(self.value(owner, frame), name)
            case ast.Call():
                return self._call(node, frame)
            case ast.Subscript(owner, index):
                return get_item(self.value(owner, frame), self.value(index, frame), self.state)
            case ast.Dict():
                return self._dictionary(node, frame)
            case ast.Tuple(elements):
                return items([self.value(element, frame) for element in elements])
            case ast.JoinedStr(parts):
                return self._formatted(parts, frame)
            case ast.BinOp(left, operation, right):
                name = type(operation).__name__
                return combine(name, self.value(left, frame), self.value(right, frame), self.state)
            case ast.UnaryOp(ast.Not(), operand):
                truth = self.state.truth(self.value(operand, frame))
                return UNKNOWN if truth is None else Const(not truth)
            case ast.BoolOp(operation, operands):
                return self._and_or(isinstance(operation, ast.Or), [self.value(x, frame) for x in operands])
            case ast.Compare(left, [operation], [right]):
                return self._compare(operation, self.value(left, frame), self.value(right, frame))
            case ast.IfExp(test, body, orelse):
                return self._choice(test, body, orelse, frame)
            case ast.NamedExpr(target, expression):
                value = self.value(expression, frame)
                self.assign(target, value, frame)
                return value
            case ast.Lambda(parameters):
                return Function(node, frame.inner_scopes, self.defaults(parameters, frame))
            case ast.ListComp() | ast.SetComp() | ast.GeneratorExp() | ast.DictComp():
                return self._comprehension(node, frame)
            case ast.Await(awaited):
                return self.value(awaited, frame)
        for child in ast.iter_child_nodes(node):
            if isinstance(child, ast.expr):
                self.value(child, frame)
        return UNKNOWN

    def bind(self, name: str, value: Value, frame: Frame) -> None:
        """Let a name stand for a value."""
        self.state.names[frame.redirected.get(name, frame.scopes[0]), name] = value

    def assign(self, target: ast.expr, value: Value, frame: Frame) -> None:
        """Bind what stands left of an assignment."""
        self.spend()
        match target:
            case ast.Name(name):
                self.bind(name, value, frame)
            case ast.Tuple(targets) | ast.List(targets):
                is_matched = isinstance(value, Items) and len(value.values) == len(targets)
                values = value.values if is_matched and isinstance(value, Items) else [UNKNOWN] * len(targets)
                for part, part_value in zip(targets, values, strict=True):
                    self.assign(part, part_value, frame)
            case ast.Starred(inner):
                self.assign(inner, UNKNOWN, frame)
            case ast.Attribute(owner, name):
                base = self.value(owner, frame)
                if isinstance(base, LocalClass):
                    self.state.names[base.scope, name] = value
                elif name == "scheduler":
                    self.state.set_scheduler(base, value)
            case ast.Subscript(owner, index):
                set_item(self.value(owner, frame), self.value(index, frame), value, self.state)

    def call(self, callee: Value, call: Arguments) -> Value:
        """Follow a call of anything but a method of an object."""
        match callee:
            case Function():
                return self.enter(callee, call)
            case Partial(target, arguments):
                return self.call(target, arguments.followed_by(call))
            case LocalClass():
                return self.construct(callee, call)
            case External(path):
                if path != "dict" and not is_class(path.rpartition(".")[2]):
                    self._note_steps(call)
                return self._noted(call_external(path, call, self.state))
        self._note_steps(call, is_pipeline=self.state.pipeline(callee) is not None)
        return UNKNOWN

    def defaults(self, parameters: ast.arguments, frame: Frame) -> dict[str, Value]:
        """Evaluate the default values of parameters."""
        positional = [*parameters.posonlyargs, *parameters.args]
        defaults = {
            parameter.arg: self.value(default, frame)
            for parameter, default in zip(reversed(positional), reversed(parameters.defaults), strict=False)
        }
        for parameter, default in zip(parameters.kwonlyargs, parameters.kw_defaults, strict=True):
            if default is not None:
                defaults[parameter.arg] = self.value(default, frame)
        return defaults

    def _name(self, name: str, frame: Frame) -> Value:
        if name == "__file__":
            return constant(str(self._file))
        for scope in (frame.redirected.get(name), *frame.scopes):
            if scope is not None and (scope, name) in self.state.names:
                return self._noted(self.state.names[scope, name])
        return self._noted(external(name))

    def _attribute(self, base: Value, name: str) -> Value:
        match base:
            case External(path):
                return self._noted(external(f"{path}.{name}"))
            case LocalClass(node, scope):
                found = self.state.names.get((scope, name), external(f"{node.name}.{name}"))
                return UNKNOWN if isinstance(found, Function) else found
            case Const(PurePosixPath() as path) if name in ("parent", "name"):
                return constant(getattr(path, name))
            case Const(PurePosixPath() as path) if name == "parents" and len(path.parts) < 30:
                return items([constant(parent) for parent in path.parents])
            case Object() if name == "scheduler" and (pipe := self.state.pipeline(base)):
                return pipe.scheduler
        return UNKNOWN

    def _call(self, node: ast.Call, frame: Frame) -> Value:
        if isinstance(node.func, ast.Attribute):
            base, name = self.value(node.func.value, frame), node.func.attr
            if not isinstance(base, External | LocalClass):
                return self._call_method(base, name, self._arguments(node, frame))
            callee = self._attribute(base, name)
        else:
            callee = self.value(node.func, frame)
        return self.call(callee, self._arguments(node, frame))

    def _call_method(self, base: Value, name: str, call: Arguments) -> Value:
        self.trace.seen.add(f".{name}")
        for argument in (*call.positional, *call.keywords.values()):
            if isinstance(argument, Const) and isinstance(argument.value, str):
                self.trace.seen.add(f".{name}({argument.value.lower()})")
        if isinstance(base, Instance):
            self.trace.seen.add(f"{base.class_name}.{name}")
        if self.state.mapping(base) is None:
            is_pipeline = self.state.pipeline(base) is not None
            self._note_steps(call, is_pipeline and name in ("__call__", "tgate"))
        return call_method(base, name, call, self.state)

    def _arguments(self, node: ast.Call, frame: Frame) -> Arguments:
        positional: list[Value] = []
        keywords, complete = Mapping({}), True
        for argument in node.args:
            if not isinstance(argument, ast.Starred):
                positional.append(self.value(argument, frame))
                continue
            starred = self.value(argument.value, frame)
            positional += starred.values if isinstance(starred, Items) else ()
            complete = complete and isinstance(starred, Items)
        for keyword in node.keywords:
            value = self.value(keyword.value, frame)
            if keyword.arg is not None:
                keywords = keywords.updated({keyword.arg: value})
            else:
                expanded = self.state.mapping(value) or Mapping({}, complete=False)
                keywords = keywords.updated(expanded.entries, expanded.complete)
        complete = complete and keywords.complete
        return Arguments(tuple(positional), keywords.entries, complete, node not in self.unused_calls)

    def _dictionary(self, node: ast.Dict, frame: Frame) -> Value:
        mapping = Mapping({})
        for key, entry in zip(node.keys, node.values, strict=True):
            value = self.value(entry, frame)
            name = self.value(key, frame) if key is not None else None
            if isinstance(name, Const) and isinstance(name.value, str):
                mapping = mapping.updated({name.value: value})
            else:
                expanded = self.state.mapping(value) if key is None else None
                mapping = mapping.updated(*((expanded.entries, expanded.complete) if expanded else ({}, False)))
        return self.state.new(mapping)

    def _formatted(self, parts: list[ast.expr], frame: Frame) -> Value:
        text: str | None = ""
        for part in parts:
            is_plain = True
            if isinstance(part, ast.FormattedValue):
                is_plain = part.conversion == -1 and part.format_spec is None
                part = part.value
            value = self.value(part, frame)
            is_plain = is_plain and isinstance(value, Const)
            if text is not None and isinstance(value, Const) and is_plain and len(text) <= MAX_TEXT:
                text += str(value.value)
            else:
                text = None  # not known, or longer than any text that is followed
        return UNKNOWN if text is None else constant(text)

    def _and_or(self, is_or: bool, operands: list[Value]) -> Value:
        for operand in operands:
            truth = self.state.truth(operand)
            if truth is None:
                return UNKNOWN
            if truth is is_or:
                return operand
        return operands[-1]

    def _compare(self, operation: ast.cmpop, left: Value, right: Value) -> Value:
        holds: bool | None = None
        match operation:
            case ast.Is() | ast.IsNot() | ast.Eq() | ast.NotEq():
                if right == NONE:
                    holds = is_none(left)
                elif isinstance(left, Const) and isinstance(right, Const):
                    holds = left == right
            case ast.In() | ast.NotIn():
                mapping = self.state.mapping(right)
                if mapping is not None and mapping.complete and isinstance(left, Const):
                    holds = left.value in mapping.entries
        if holds is None:
            return UNKNOWN
        return Const(holds is not isinstance(operation, ast.IsNot | ast.NotEq | ast.NotIn))

    def _choice(self, test: ast.expr, body: ast.expr, orelse: ast.expr, frame: Frame) -> Value:
        known = self.state.truth(self.value(test, frame))
        if known is not None:
            return self.value(body if known else orelse, frame)
        first, second = self.value(body, frame), self.value(orelse, frame)
        return first if first == second else UNKNOWN

    def _comprehension(self, node: ast.ListComp | ast.SetComp | ast.GeneratorExp | ast.DictComp, frame: Frame) -> Value:
        scope = next(self.state.numbers)
        inner = Frame((scope, *frame.scopes), (scope, *frame.inner_scopes), frame.redirected)
        for generator in node.generators:
            self.value(generator.iter, inner)
            self.assign(generator.target, UNKNOWN, inner)
            for test in generator.ifs:
                self.value(test, inner)
        for part in (node.key, node.value) if isinstance(node, ast.DictComp) else (node.elt,):
            self.value(part, inner)
        return UNKNOWN

    def _noted(self, value: Value) -> Value:
        if isinstance(value, External):
            self.trace.seen.add(value.path)
        elif isinstance(value, Instance):
            self.trace.seen.add(f"{value.class_name}()")
        return value

    def _note_steps(self, call: Arguments, is_pipeline: bool = False) -> None:
        # An image that nothing keeps is a warm-up, often of a few steps.
        if call.is_used and (STEPS in call.keywords or is_pipeline):
            self.trace.steps.append(call.keywords.get(STEPS, UNKNOWN))

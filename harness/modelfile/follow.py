"""Follows the statements and functions of a source, in program order, without running any of it."""

import ast
from collections.abc import Sequence
from functools import reduce
from pathlib import Path

from harness.modelfile.expressions import Expressions
from harness.modelfile.frames import Frame
from harness.modelfile.library import call_external
from harness.modelfile.state import Mapping, State, join
from harness.modelfile.values import (
    NONE,
    UNKNOWN,
    Arguments,
    Function,
    LocalClass,
    Value,
    external,
    items,
)

MODULE = 0  # the scope of the module's own names
MAX_DEPTH = 12  # of calls within calls
_RETURNED = "<returned>"


class Follower(Expressions):
    """Follows a module, and then the calls that are asked for."""

    def __init__(self, file: Path) -> None:
        super().__init__(file)
        self.main_guards: list[ast.If] = []
        self._module = Frame((MODULE,), (MODULE,))
        self._entered: list[ast.AST] = []
        self._visited: set[ast.AST] = set()

    def follow_module(self, body: Sequence[ast.stmt]) -> None:
        """Follow statements of the module; `if __name__ == "__main__"` is only put by, in `main_guards`."""
        self._block(body, self._module)

    def global_name(self, name: str) -> Value | None:
        """Return what a global name stands for, or None where the module does not bind it."""
        return self.state.names.get((MODULE, name))

    def enter(self, function: Function, call: Arguments) -> Value:
        """Follow a call of a function of the file, unless it is nested too deeply or calls itself."""
        if len(self._entered) >= MAX_DEPTH or function.node in self._entered:
            return UNKNOWN
        scope = next(self.state.numbers)
        scopes = (scope, *function.scopes)
        frame = Frame(scopes, scopes)
        self._bind(function, call, scope)
        self._entered.append(function.node)
        if isinstance(function.node, ast.Lambda):
            result = self.value(function.node.body, frame)
        else:
            if self._block(function.node.body, frame):
                frame.returns.append((NONE, self.state))
            result = self._returned(frame)
        self._entered.pop()
        return result

    def construct(self, made: LocalClass, call: Arguments) -> Value:
        """Follow the making of an object of a class of the file, and once what its methods could do."""
        if made.node not in self._visited:
            self._visited.add(made.node)
            before = self._copy()
            methods = [value for (scope, _), value in before.names.items() if scope == made.scope]
            for method in methods:
                if isinstance(method, Function):
                    self.enter(method, Arguments(complete=False))
            self.state = before  # when the methods run is not known
        return call_external(made.node.name, call, self.state)

    def _bind(self, function: Function, call: Arguments, scope: int) -> None:
        parameters = function.node.args
        names = [parameter.arg for parameter in (*parameters.posonlyargs, *parameters.args)]
        self.spend(len(names) + len(parameters.kwonlyargs))
        bound: dict[str, Value] = dict(zip(names, call.positional, strict=False))
        rest = dict(call.keywords)
        for name in (*names, *(parameter.arg for parameter in parameters.kwonlyargs)):
            if name not in bound:
                default = function.defaults.get(name, UNKNOWN) if call.complete else UNKNOWN
                bound[name] = rest.pop(name, default)
        if parameters.vararg:
            extra = items(list(call.positional[len(names) :]))
            bound[parameters.vararg.arg] = extra if call.complete else UNKNOWN
        if parameters.kwarg:
            bound[parameters.kwarg.arg] = self.state.new(Mapping(rest, call.complete))
        self.state.names.update({(scope, name): value for name, value in bound.items()})

    def _returned(self, frame: Frame) -> Value:
        """Join the ways out of a function; where it only raises, the state is left as it was."""
        if not frame.returns:
            return UNKNOWN
        key = (frame.scopes[0], _RETURNED)
        for value, state in frame.returns:
            state.names[key] = value
        self.state = reduce(join, (state for _, state in frame.returns))
        return self.state.names[key]

    def _block(self, body: Sequence[ast.stmt], frame: Frame) -> bool:
        """Follow statements; return whether control can come out at their end."""
        return all(self._statement(statement, frame) for statement in body)

    def _statement(self, node: ast.stmt, frame: Frame) -> bool:
        """Follow a statement; return whether control can go on to the next."""
        self.spend()
        match node:
            case ast.If():
                return self._if(node, frame)
            case ast.For() | ast.AsyncFor() | ast.While():
                return self._loop(node, frame)
            case ast.Try() | ast.TryStar():
                return self._try(node, frame)
            case ast.With() | ast.AsyncWith():
                for item in node.items:
                    value = self.value(item.context_expr, frame)
                    if item.optional_vars is not None:
                        self.assign(item.optional_vars, value, frame)
                return self._block(node.body, frame)
            case ast.Match():
                self.value(node.subject, frame)
                return self._branches([case.body for case in node.cases] + [[]], frame)
            case ast.Return():
                value = self.value(node.value, frame) if node.value else NONE
                frame.returns.append((value, self._copy()))
                return False
            case ast.Raise():
                return False
            case ast.Expr(ast.Call(function)) if ends_the_process(function):
                return False
        self._simple(node, frame)
        return True

    def _simple(self, node: ast.stmt, frame: Frame) -> None:
        match node:
            case ast.Expr(expression) | ast.Assign([ast.Name("_")], expression):
                self.unused_calls.add(_without_access(expression))
                self.value(expression, frame)
            case ast.Assign(targets, expression):
                value = self.value(expression, frame)
                for target in targets:
                    self.assign(target, value, frame)
            case ast.AnnAssign(target, _, expression):
                if expression is not None:
                    self.assign(target, self.value(expression, frame), frame)
            case ast.AugAssign(target, operation, expression):
                load = ast.copy_location(ast.BinOp(target, operation, expression), node)
                self.assign(target, self.value(load, frame), frame)
            case ast.Import() | ast.ImportFrom():
                self._import(node, frame)
            case ast.FunctionDef() | ast.AsyncFunctionDef():
                for decorator in node.decorator_list:
                    self.value(decorator, frame)
                function = Function(node, frame.inner_scopes, self.defaults(node.args, frame))
                self.bind(node.name, function, frame)
            case ast.ClassDef():
                scope = next(self.state.numbers)
                self._block(node.body, Frame((scope, *frame.scopes), frame.inner_scopes))
                self.bind(node.name, LocalClass(node, scope), frame)
            case ast.Global(names):
                self.spend(len(names))
                frame.redirected.update(dict.fromkeys(names, MODULE))
            case ast.Nonlocal(names):
                self.spend(len(names))
                for name in names:
                    homes = [scope for scope in frame.scopes[1:] if (scope, name) in self.state.names]
                    frame.redirected[name] = homes[0] if homes else frame.scopes[0]
            case ast.Delete(targets):
                self.spend(len(targets))
                for target in targets:
                    if isinstance(target, ast.Name):
                        scope = frame.redirected.get(target.id, frame.scopes[0])
                        self.state.names.pop((scope, target.id), None)

    def _import(self, node: ast.Import | ast.ImportFrom, frame: Frame) -> None:
        self.spend(len(node.names))
        for alias in node.names:
            if isinstance(node, ast.ImportFrom):
                path = "." * node.level + f"{node.module or ''}.{alias.name}".lstrip(".")
            else:
                path = alias.name if alias.asname else alias.name.partition(".")[0]
            name = alias.asname or path.rpartition(".")[2]
            self.bind(name, external(path), frame)

    def _if(self, node: ast.If, frame: Frame) -> bool:
        if frame is self._module and is_main_guard(node.test):
            self.main_guards.append(node)
            return self._block(node.orelse, frame)
        known = self.state.truth(self.value(node.test, frame))
        if known is not None:
            return self._block(node.body if known else node.orelse, frame)
        return self._branches([node.body, node.orelse], frame)

    def _branches(self, bodies: Sequence[Sequence[ast.stmt]], frame: Frame) -> bool:
        """Follow alternatives from the same state and join those that control comes out of."""
        before = self.state
        ends: list[State] = []
        for body in bodies:
            self.state = before
            self.state = self._copy()
            if self._block(body, frame):
                ends.append(self.state)
        if ends:
            self.state = reduce(join, ends)
        return bool(ends)

    def _loop(self, node: ast.For | ast.AsyncFor | ast.While, frame: Frame) -> bool:
        if isinstance(node, ast.While):
            if self.state.truth(self.value(node.test, frame)) is False:
                return self._block(node.orelse, frame)
        else:
            self.value(node.iter, frame)
            self.assign(node.target, UNKNOWN, frame)
        for _ in range(2):  # the second time with what the first has changed
            before = self._copy()
            self._block(node.body, frame)
            self.state = join(before, self.state)
        return self._block(node.orelse, frame)

    def _try(self, node: ast.Try | ast.TryStar, frame: Frame) -> bool:
        before = self._copy()
        is_through = self._block(node.body, frame)
        interrupted = join(before, self.state)
        is_through = is_through and self._block(node.orelse, frame)
        ends = [self.state] if is_through else []
        self.state = interrupted
        if node.handlers and self._branches([handler.body for handler in node.handlers], frame):
            ends.append(self.state)
        if ends:
            self.state = reduce(join, ends)
        return self._block(node.finalbody, frame) and bool(ends)

    def _copy(self) -> State:
        # A large state takes long to copy and to join.
        self.spend(1 + (len(self.state.names) + len(self.state.objects)) // 50)
        return self.state.copy()


def is_main_guard(test: ast.expr) -> bool:
    """Say whether a condition is `__name__ == "__main__"`."""
    match test:
        case ast.Compare(ast.Name("__name__"), [ast.Eq()], [ast.Constant("__main__")]):
            return True
        case ast.Compare(ast.Constant("__main__"), [ast.Eq()], [ast.Name("__name__")]):
            return True
    return False


def ends_the_process(function: ast.expr) -> bool:
    """Say whether a call of this ends the program, by its name alone: it may be of any size and depth."""
    match function:
        case ast.Name("exit" | "quit"):
            return True
        case ast.Attribute(ast.Name("os"), "_exit" | "abort") | ast.Attribute(ast.Name("sys"), "exit"):
            return True
    return False


def _without_access(node: ast.expr) -> ast.expr:
    """Return what attributes or items are taken of: `call()` of `call().images[0]`."""
    while isinstance(node, ast.Attribute | ast.Subscript):
        node = node.value
    return node

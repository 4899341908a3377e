"""Functions of one's own (torch.autograd.Function): everything that their context offers is heeded, and nested."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ... import trajectory
from ...registry import check

if TYPE_CHECKING:
    from ...context import Context

RULES = "polynomials at integers, by the documented rules of Function"
FLOAT32 = ("float32",)
X, Y, G = [1.0, -2.0, 3.0], [4.0, 5.0, -6.0], [1.0, 2.0, -1.0]


def _make(torch: Any, **methods: Any) -> Any:
    """Make a Function of plain functions."""
    return type("Own", (torch.autograd.Function,), {k: staticmethod(f) for k, f in methods.items()})


@check(oracle=RULES, level="quick", dtypes=FLOAT32)
@trajectory.unthreaded
def marks(context: Context) -> None:
    """mark_dirty, mark_non_differentiable and set_materialize_grads do what they say, with several outputs too."""
    torch = context.torch

    def double(ctx: Any, x: Any) -> Any:
        ctx.mark_dirty(x)
        return x.mul_(2)

    Double = _make(torch, forward=double, backward=lambda _, g: g * 2)  # noqa: N806
    for kind in ("a result", "a view"):
        leaf = context.tensor(X, grad=True)
        base = leaf * 1
        given = base[1:] if kind == "a view" else base
        version = given._version  # noqa: SLF001
        made = Double.apply(given)
        context.exact(made, [2 * v for v in (X[1:] if kind == "a view" else X)], what=f"value in place, {kind}")
        context.true(made is given, what=f"what is dirty comes back itself, {kind}")
        context.true(given._version > version, what=f"version of what is dirty, {kind}")  # noqa: SLF001
        (base * context.tensor(G)).sum().backward()
        right = [k * (1 if kind == "a view" and i == 0 else 2) for i, k in enumerate(G)]
        context.exact(leaf.grad, right, what=f"gradient through what is dirty, {kind}")
    plain = context.tensor(X)
    made = Double.apply(plain)
    context.exact([made is plain, made.requires_grad], [True, False], what="what needs no gradient, in place")
    context.raises(RuntimeError, Double.apply, context.tensor(X, grad=True), what="a leaf in place is refused")
    saved = context.tensor(X, grad=True) * 1
    square = saved * saved
    Double.apply(saved)
    context.raises(RuntimeError, square.sum().backward, what="a saved tensor that became dirty is noticed")

    def both(ctx: Any, x: Any, y: Any) -> tuple[Any, ...]:
        ctx.mark_dirty(x, y)
        return y.add_(1), x.mul_(3)

    Both = _make(torch, forward=both, backward=lambda _, g, h: (h * 3, g))  # noqa: N806
    leaves = [context.tensor(v, grad=True) for v in (X, Y)]
    inner = [leaf * 1 for leaf in leaves]
    Both.apply(*inner)
    (inner[0] + 5 * inner[1]).backward(context.tensor(G))
    context.exact(inner[0], [3 * v for v in X], what="the first of two dirty tensors")
    context.exact(leaves[0].grad, [3 * k for k in G], what="gradient by the first of two")
    context.exact(leaves[1].grad, [5 * k for k in G], what="gradient by the second of two")


@check(oracle=RULES, level="quick", dtypes=FLOAT32)
@trajectory.unthreaded
def outputs(context: Context) -> None:
    """Outputs that are not differentiable stay so, and gradients of unused ones are zeros, or None on demand."""
    torch = context.torch
    seen: list[Any] = []
    for materialize in (None, True, False):

        def split(ctx: Any, x: Any, on: Any = materialize) -> tuple[Any, ...]:
            if on is not None:
                ctx.set_materialize_grads(on)
            place = x.argmax()
            level = x * 0 + 7
            ctx.mark_non_differentiable(place, level)
            return x * 2, place, level, x * 3

        def merge(_: Any, *gs: Any) -> Any:
            seen.append([None if g is None else context.values(g) for g in gs])
            return sum(k * g for k, g in zip((2, 0, 0, 3), gs) if g is not None and g.is_floating_point())

        leaf = context.tensor(X, grad=True)
        twice, place, level, thrice = _make(torch, forward=split, backward=merge).apply(leaf)
        what = f"materialize={materialize}"
        flags = [t.requires_grad for t in (twice, place, level, thrice)]
        context.exact(flags, [True, False, False, True], what=f"what is differentiable, {what}")
        (thrice * context.tensor(G)).sum().backward()
        context.exact(leaf.grad, [3 * k for k in G], what=f"gradient, {what}")
        context.exact([seen[-1][3]], [G], what=f"gradient that comes in, {what}")
        empty = [None] if materialize is False else [[0.0] * 3]
        context.exact([seen[-1][0]], empty, what=f"gradient of an unused output, {what}")


@check(oracle=RULES, level="quick", dtypes=FLOAT32)
@trajectory.unthreaded
def contexts(context: Context) -> None:
    """What is saved comes back in order, of each call its own; needs_input_grad and plain arguments are right."""
    torch = context.torch
    asked: list[Any] = []

    def forward(ctx: Any, x: Any, scale: float, y: Any, *_: Any) -> Any:
        out = scale * x * y
        ctx.save_for_backward(y, None, out, x)
        ctx.scale = scale
        asked.append((torch.is_grad_enabled(), out.requires_grad))
        return out

    def backward(ctx: Any, g: Any) -> tuple[Any, ...]:
        y, nothing, out, x = ctx.saved_tensors
        asked.append((tuple(ctx.needs_input_grad), nothing is None, context.values(out), torch.is_grad_enabled()))
        return g * ctx.scale * y, None, g * ctx.scale * x, None

    Product = _make(torch, forward=forward, backward=backward)  # noqa: N806
    for wants in ((True, True), (True, False), (False, True)):
        x, y = context.tensor(X, grad=wants[0]), context.tensor(Y, grad=wants[1])
        first, second = Product.apply(x, 3.0, y), Product.apply(x, 5.0, y, "word")  # two calls, one class
        context.exact(asked[-2:], [(False, False)] * 2, what=f"mode inside forward, {wants}")
        (second - first).backward(context.tensor(G), retain_graph=True)
        told = {len(t[0]): t for t in asked[-2:]}
        context.exact(told[3][:2], ((wants[0], False, wants[1]), True), what=f"needs_input_grad, {wants}")
        context.exact([told[4][2]], [[5 * a * b for a, b in zip(X, Y)]], what=f"the saved output, {wants}")
        context.true(not told[4][3], what=f"nothing is recorded inside backward, {wants}")
        (second - first).backward(context.tensor(G))
        for leaf, other, wanted in ((x, Y, wants[0]), (y, X, wants[1])):
            got = None if leaf.grad is None else context.values(leaf.grad)
            context.exact(
                [got], [[2 * 2 * o * k for o, k in zip(other, G)] if wanted else None], what=f"twice, {wants}"
            )
        context.raises(RuntimeError, first.sum().backward, what="what was saved is freed")
    with torch.no_grad():
        context.true(not Product.apply(context.tensor(X, grad=True), 2.0, y).requires_grad, what="under no_grad")
    x, y = context.tensor(X, grad=True), context.tensor(Y, grad=True)
    by_x, by_y = torch.autograd.grad(Product.apply(x, 3.0, y).sum(), (x, y), create_graph=True)
    context.true(asked[-1][3], what="backward is recorded under create_graph")
    context.exact(torch.autograd.grad((by_x * by_y).sum(), x)[0], [9 * b for b in Y], what="second derivative")
    changed = context.tensor(X, grad=True) * 1
    out = Product.apply(changed, 2.0, y)
    changed.add_(1)
    context.raises(RuntimeError, out.sum().backward, what="a change of what a Function saved is noticed")
    for what, gives in (
        ("too many gradients", lambda _, g: (g, g)),
        ("a gradient of another shape", lambda _, g: g[:2]),
        ("a gradient that is no tensor", lambda *_: 1.0),
    ):
        wrong = _make(torch, forward=lambda _, t: t * 2, backward=gives).apply(context.tensor(X, grad=True))
        context.raises((RuntimeError, TypeError), wrong.sum().backward, what=f"{what} is refused")
    leaf = context.tensor(X, grad=True)
    given = _make(torch, forward=lambda _, t: t * 2, backward=lambda _, g: g.double() * 2).apply(leaf)
    given.backward(context.tensor(G))
    context.exact([str(leaf.grad.dtype)], ["torch.float32"], what="a gradient is brought to its input's dtype")
    same = _make(torch, forward=lambda _, t: t, backward=lambda _, g: g * 7)
    made = same.apply(leaf)
    (by,) = torch.autograd.grad(made.sum(), leaf)
    context.exact(by, [7.0] * 3, what="gradient of a Function that gives its input back")
    context.true(made is not leaf and leaf.is_leaf, what="which stays a leaf")


@check(oracle=RULES, level="quick", dtypes=FLOAT32)
@trajectory.unthreaded
def nested_functions(context: Context) -> None:
    """once_differentiable stops at the first derivative; Functions work inside Functions, in forward and backward."""
    torch = context.torch
    once = torch.autograd.function.once_differentiable

    def keep(ctx: Any, x: Any) -> Any:
        ctx.save_for_backward(x)
        return x * x

    Once = _make(torch, forward=keep, backward=once(lambda ctx, g: g * 2 * ctx.saved_tensors[0]))  # noqa: N806
    x = context.tensor(X, grad=True)
    (by,) = torch.autograd.grad(Once.apply(x).sum(), x, create_graph=True)
    context.exact(by, [2 * v for v in X], what="a first derivative by once_differentiable")
    context.raises(RuntimeError, by.sum().backward, what="its second derivative is refused")

    def slope(ctx: Any, g: Any, x: Any) -> Any:
        ctx.save_for_backward(g, x)
        return g * 2 * x

    def bend(ctx: Any, h: Any) -> Any:
        g, x = ctx.saved_tensors
        return h * 2 * x, h * 2 * g * 10  # ten times the truth, so that nobody else can have made it

    Slope = _make(torch, forward=slope, backward=bend)  # noqa: N806
    Square = _make(torch, forward=keep, backward=lambda ctx, g: Slope.apply(g, ctx.saved_tensors[0]))  # noqa: N806
    (by,) = torch.autograd.grad(Square.apply(x), x, context.tensor(G), create_graph=True)
    context.exact(by, [2 * v * k for v, k in zip(X, G)], what="a Function inside backward")
    context.exact(torch.autograd.grad(by.sum(), x)[0], [20 * k for k in G], what="and its own backward")

    def inside(ctx: Any, x: Any) -> Any:
        with torch.enable_grad():
            leaf = x.detach().requires_grad_()
            ctx.kept = (leaf, Square.apply(leaf) * 3)
        return ctx.kept[1].detach()

    def through(ctx: Any, g: Any) -> Any:
        leaf, out = ctx.kept
        return torch.autograd.grad(out, leaf, g)[0]

    out = _make(torch, forward=inside, backward=through).apply(x)
    context.exact(out, [3 * v * v for v in X], what="a graph inside forward")
    context.exact(torch.autograd.grad(out.sum(), x)[0], [6 * v for v in X], what="gradient by the graph inside")


@check(oracle=RULES, dtypes=FLOAT32, needs=("torch.func.vmap",))
@trajectory.unthreaded
def transformed_functions(context: Context) -> None:
    """setup_context, jvp, vmap and generate_vmap_rule of a Function are used by torch.func and by forward mode."""
    torch, func = context.torch, context.torch.func

    def setup(ctx: Any, inputs: Any, _: Any) -> None:
        x, y, ctx.scale = inputs
        ctx.save_for_backward(x, y)
        ctx.save_for_forward(x, y)

    def backward(ctx: Any, g: Any) -> tuple[Any, ...]:
        x, y = ctx.saved_tensors
        return g * ctx.scale * y, g * ctx.scale * x, None

    def jvp(ctx: Any, s: Any, t: Any, _: Any) -> Any:
        x, y = ctx.saved_tensors
        return ctx.scale * (0 if s is None else s * y) + ctx.scale * (0 if t is None else x * t)

    rules = {"forward": lambda x, y, k: k * x * y, "setup_context": setup, "backward": backward, "jvp": jvp}
    Product = _make(torch, **rules)  # noqa: N806
    x, y, v, w = (context.tensor(t) for t in (X, Y, G, [2.0, -3.0, 1.0]))
    leaves = [t.clone().requires_grad_() for t in (x, y)]
    Product.apply(*leaves, 3.0).backward(v)
    context.exact(leaves[0].grad, [3 * b * k for b, k in zip(Y, G)], what="gradient with setup_context, by the first")
    context.exact(leaves[1].grad, [3 * a * k for a, k in zip(X, G)], what="gradient with setup_context, by the second")
    got = func.grad(lambda a, b: Product.apply(a, b, 3.0).sum(), argnums=(0, 1))(x, y)
    context.exact(got[0], [3 * b for b in Y], what="func.grad by the first")
    context.exact(got[1], [3 * a for a in X], what="func.grad by the second")
    tangents = [[3 * k * b for k, b in zip(G, Y)], [3 * a * u for a, u in zip(X, (2, -3, 1))]]
    ahead = torch.autograd.forward_ad
    for name, s, t in (("both", v, w), ("the first", v, None), ("the second", None, w)):
        right = [p * (s is not None) + q * (t is not None) for p, q in zip(*tangents)]
        with ahead.dual_level():
            duals = [p if d is None else ahead.make_dual(p, d) for p, d in ((x, s), (y, t))]
            context.exact(ahead.unpack_dual(Product.apply(*duals, 3.0)).tangent, right, what=f"tangent of {name}")
    got = func.jvp(lambda a, b: Product.apply(a, b, 3.0), (x, y), (v, w))[1]
    context.exact(got, [p + q for p, q in zip(*tangents)], what="func.jvp")

    def batched(info: Any, in_dims: Any, a: Any, b: Any, k: float) -> tuple[Any, int]:
        a, b = (t if d is None else t.movedim(d, 0) for t, d in ((a, in_dims[0]), (b, in_dims[1])))
        return k * a * b + 1000 * info.batch_size, 0  # a thousand each, so that nobody else can have made it

    rows = torch.stack((x, y, v))
    Own = _make(torch, **rules, vmap=batched)  # noqa: N806
    right = [3 * p * q + 3000 for row in (X, Y, G) for p, q in zip(row, Y)]
    context.exact(func.vmap(lambda a: Own.apply(a, y, 3.0))(rows), right, what="a vmap rule of one's own")
    context.exact(func.vmap(lambda a: Own.apply(a, y, 3.0), in_dims=1)(rows.t()), right, what="of columns")
    made = _make(torch, **rules)
    made.generate_vmap_rule = True
    right = [3 * p * q for row in (X, Y, G) for p, q in zip(row, Y)]
    context.exact(func.vmap(lambda a: made.apply(a, y, 3.0))(rows), right, what="generate_vmap_rule")
    slopes = func.vmap(func.grad(lambda a, b: (made.apply(a, b, 3.0) * a).sum(), argnums=1), (0, None))(rows, y)
    context.exact(slopes, [3 * p * p for row in (X, Y, G) for p in row], what="per-sample gradients of a Function")

"""Inference and the training step, ours in turns with PyTorch's. Standard library only."""

import images
import kernels
import statistic
from program import MODEL, PRECISIONS, Failed, Missing
from turns import Entrant, Match

SIZES = ("256x256", "510x339")
BATCH, PATCHES = 32, (64, 160)
TRAINED_IN = ("bf16", "tf32", "f32")
# How our inference is measured: which kernels, and how they are started. Eager launches tell something about launches, and once is enough.
OURS = ((kernels.FIXED, "graph"), (kernels.FIXED, "eager"), (kernels.FASTEST, "graph"))
SEED = 2022
# How PyTorch runs inference, and with which form of the branches it trains: the variants that need no compiler first.
INFERENCE_MODES = ("eager", "channels_last", "graph", "compile", "compile_reduce_overhead", "compile_max_autotune")
TRAINING_MODES = (
    ("eager", "expanded"),
    ("channels_last", "expanded"),
    ("channels_last", "folded"),
    ("graph", "folded"),
    ("compile", "folded"),
    ("compile", "expanded"),
    ("compile_max_autotune", "folded"),
)
# How far an SR image of random weights may be from strict f32's, in levels of 8 bits. They only tell results from nonsense: on a CPU
# PyTorch's bf16 was 2 levels away. How exact the kernels are is for part `correct` to say.
MOST_LEVELS = {"f32": 1, "tf32": 2, "f16": 2, "bf16": 6}
# How far the first two losses may be from strict f32's, relative. On a CPU bf16 was 2e-4 away.
MOST_LOSS_GAP = {"f32": 1e-4, "tf32": 1e-3, "bf16": 2e-3}
# Of a part's time, this is kept for the rounds; who has not begun by then is left out by name.
KEPT_FOR_ROUNDS = 0.45
STEP_LIMIT_S = 150


def infer_names():
    return [f"infer:{size}:{precision}" for size in SIZES for precision in PRECISIONS]


def train_names():
    return [f"train:{BATCH}x{patch}:{precision}" for patch in PATCHES for precision in TRAINED_IN]


def peer_turn(peer, seconds, limit_s):
    """A turn of a peer, judged as our program judges its own."""
    taken = peer.ask({"do": "measure", "seconds": seconds}, limit_s)
    spread = statistic.relative_iqr(taken["samples_ms"])
    return {**taken, "relative_iqr": spread, "validity": "valid" if spread is None or spread <= statistic.NOISY else "noisy"}


class _Peers:
    """Makes entrants of peers."""

    def __init__(self, ctx):
        self.ctx, self.prepared_for = ctx, {}

    def entrant(self, mode, name, command, check=None, key=None):
        """With a `key` the entrant has a process of its own, which ends when it is out."""

        def prepare():
            peer = self.ctx.peers.get(mode, key)
            answer = peer.ask({"do": "prepare", **command}, self.ctx.left(STEP_LIMIT_S))
            self.prepared_for[key or mode] = peer
            return answer

        def measure():
            # A process that ended has been replaced by one that knows nothing.
            if self.prepared_for.get(key or mode) is not self.ctx.peers.get(mode, key):
                prepare()
            return peer_turn(self.ctx.peers.get(mode, key), self.ctx.budget_s, self.ctx.left(STEP_LIMIT_S))

        return Entrant(name, False, prepare, measure, check, key and (lambda: self.ctx.peers.end(key)))


def match(ctx, entrants):
    """Everybody once, then rounds of the best."""
    played = Match(ctx.watch, ctx.deadline - KEPT_FOR_ROUNDS * ctx.left(), ctx.say)
    for entrant in entrants:
        played.enter(entrant)
    played.deadline = ctx.deadline
    return played.run(ctx.rounds)


class Reference:
    """The SR image that strict f32 in plain PyTorch makes; who is too far from it does not count."""

    def __init__(self, ctx, command, precision):
        self.ctx, self.limit, self.bytes, self.why = ctx, MOST_LEVELS[precision], None, None
        try:
            ctx.peers.get("eager").ask({"do": "prepare", **command, "precision": "f32"}, ctx.left(STEP_LIMIT_S))
            self.bytes = self.of_peer("eager")
        except (Failed, Missing) as error:
            self.why = str(error)

    def of_peer(self, mode):
        file = self.ctx.scratch / "peer.rgb"
        self.ctx.peers.get(mode).ask({"do": "save", "file": str(file)}, self.ctx.left(60))
        return file.read_bytes()

    def judge(self, found):
        if self.bytes is None:
            return {"not_compared": self.why}, True
        difference = images.difference(found, self.bytes)
        return {**difference, "limit_levels": self.limit}, difference["max_levels"] <= self.limit


def infer(ctx, size, precision):
    """One forward pass of one image."""
    width, height = map(int, size.split("x"))
    command = {"work": "infer", "weights": str(ctx.weights), "width": width, "height": height, "seed": SEED}
    reference = Reference(ctx, command, precision)
    image, folder = ctx.scratch / f"{size}.png", ctx.scratch / "sr"
    image.write_bytes(images.png(width, height, images.pixels(width, height, SEED)))
    folder.mkdir(exist_ok=True)
    judged = {}

    def check_ours(selection):
        # The SR image does not depend on how kernels are launched.
        if selection not in judged:
            written = ctx.esr.upscale(ctx.weights, image, folder, precision, ctx.left(60), selection)
            judged[selection] = reference.judge(images.decode(written.read_bytes())[2])
        return judged[selection]

    def ours(selection, launches):
        def measure():
            out = ctx.scratch / "measured" / f"{size}-{precision}-{selection}-{launches}"
            limit, budget = ctx.left(STEP_LIMIT_S), ctx.budget_s
            return ctx.esr.measure(ctx.weights, precision, launches, limit, size=size, budget_s=budget, out=out, selection=selection)

        return Entrant(f"esr {selection} {launches}", True, lambda: None, measure, lambda: check_ours(selection), kernels=selection)

    theirs = _Peers(ctx)
    peers = [
        theirs.entrant(
            mode,
            f"PyTorch {mode}",
            {**command, "precision": precision},
            lambda mode=mode: reference.judge(reference.of_peer(mode)),
        )
        for mode in INFERENCE_MODES
    ]
    return {"model": MODEL, "size": size, "precision": precision, **match(ctx, [*(ours(*how) for how in OURS), *peers])}


def loss_gap(one, other):
    """
    >>> loss_gap([2.0, 1.0], [2.0, 1.5])
    0.5
    """
    return max(abs(a - b) / abs(a) for a, b in zip(one, other, strict=True))


def train(ctx, what, precision):
    """One training step: forward, L1 loss, backward, Adam."""
    batch, patch = map(int, what.split("x"))
    command = {"work": "train", "batch": batch, "patch": patch, "seed": SEED, "precision": precision}
    losses, why = None, None
    keys = [f"{mode}, {form}" for mode, form in TRAINING_MODES]
    try:
        # The first variant makes the losses that the others are held against, before its own turn.
        plain = {"do": "prepare", **command, "precision": "f32", "form": "expanded"}
        losses = ctx.peers.get("eager", keys[0]).ask(plain, ctx.left(STEP_LIMIT_S)).get("losses")
    except (Failed, Missing) as error:
        why = str(error)

    def ours(selection):
        def measure():
            out = ctx.scratch / "measured" / f"step-{what}-{precision}-{selection}"
            limit, budget = ctx.left(STEP_LIMIT_S), ctx.budget_s
            return ctx.esr.measure_step(batch, patch, precision, limit, budget_s=budget, out=out, selection=selection)

        return Entrant(f"esr {selection}", True, lambda: None, measure, kernels=selection)

    theirs, peers = _Peers(ctx), []
    for (mode, form), key in zip(TRAINING_MODES, keys, strict=True):
        entrant = theirs.entrant(mode, f"PyTorch {key}", {**command, "form": form}, key=key)

        def check(entrant=entrant):
            found = entrant.prepared.get("losses")
            if not losses or not found:
                return {"not_compared": why or "a captured graph's first steps are its warm-up"}, True
            gap = loss_gap(losses, found)
            return {"loss_gap": gap, "limit": MOST_LOSS_GAP[precision]}, gap <= MOST_LOSS_GAP[precision]

        entrant.check = check
        peers.append(entrant)
    try:
        return {"batch": batch, "patch": patch, "precision": precision, **match(ctx, [*map(ours, kernels.SELECTIONS), *peers])}
    finally:
        for key in keys:
            ctx.peers.end(key)

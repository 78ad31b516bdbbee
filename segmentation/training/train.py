"""The trainer of either net: ``python -m segmentation.training.train localise --cache CACHE --minutes 95``.

The learning rate follows a cosine over *elapsed training time*, so that a busy machine shortens the training but never
breaks its annealing. Checkpoints are plain dictionaries of tensors, written every 50 iterations; starting again goes on
from the last one, with ``--minutes`` counted from the very first start unless ``--fresh-schedule`` begins a new cosine.
"""

from __future__ import annotations

import argparse
import logging
import math
import os
import time
from pathlib import Path

import numpy as np
import torch

from segmentation.training.contract import INSTANCE, SPECS, NetSpec, centre_heat
from segmentation.training.export import weights_of
from segmentation.training.generate import Ring
from segmentation.training.nets import build, segmentation_loss

__all__ = ["Trainer"]

logger = logging.getLogger(__name__)

EMA_DECAY = 0.996


class Trainer:
    """One net, its optimiser, its averaged weights and its place in the schedule.

    Parameters
    ----------
    spec : NetSpec
        Which net.
    cache : Path
        Holds the ring buffer and the checkpoint ``<name>.pt``.
    minutes : float
        Length of the whole schedule, minutes of training time.
    rate : float
        Peak learning rate.
    seed : int
        Seed of the initial weights and of the order of patches.
    device : str
        "cpu" or "cuda".
    """

    def __init__(self, spec: NetSpec, cache: Path, minutes: float, rate: float, seed: int, device: str) -> None:
        torch.manual_seed(seed)
        self.spec, self.device, self.rate = spec, device, rate
        self.seconds = minutes * 60.0
        self.ring = Ring(cache, spec)
        self.path = Path(cache) / f"{spec.name}.pt"
        self.net = build(spec).to(device, memory_format=torch.channels_last_3d)
        self.optimiser = torch.optim.AdamW(self.net.parameters(), rate, weight_decay=1e-3)
        self.average = {k: v.detach().clone() for k, v in self.net.state_dict().items()}
        self.weights = torch.tensor(spec.class_weights, device=device)
        self.iterations, self.elapsed = 0, 0.0
        self.seed = seed
        heat = centre_heat(spec) if spec.name == INSTANCE.name else None
        self.heat = None if heat is None else torch.from_numpy(heat)

    def resume(self, *, fresh_schedule: bool) -> None:
        """Load the checkpoint if there is one."""
        if not self.path.exists():
            return
        state = torch.load(self.path, map_location=self.device, weights_only=True)
        self.net.load_state_dict(state["net"])
        self.optimiser.load_state_dict(state["optimiser"])
        self.average = {k: v.to(self.device) for k, v in state["average"].items()}
        self.iterations = int(state["iterations"])
        self.elapsed = 0.0 if fresh_schedule else float(state["elapsed"])
        logger.info("resumed %s at iteration %d", self.spec.name, self.iterations)

    def start_from(self, path: Path) -> None:
        """Take the weights of an exported net in place of random ones."""
        self.net.load_state_dict({name: torch.from_numpy(value) for name, value in weights_of(path).items()})
        self.average = {k: v.detach().clone() for k, v in self.net.state_dict().items()}
        logger.info("started from %s", path)

    def save(self) -> None:
        """Write the checkpoint; the old one stays whole until the new one is complete."""
        state = {
            "net": self.net.state_dict(),
            "optimiser": self.optimiser.state_dict(),
            "average": self.average,
            "iterations": self.iterations,
            "elapsed": self.elapsed,
        }
        partial = self.path.with_suffix(".partial")
        torch.save(state, partial)
        os.replace(partial, self.path)

    def learning_rate(self) -> float:
        """Warm-up over 40 iterations, then half a cosine over the elapsed share of the time."""
        progress = min(1.0, self.elapsed / self.seconds)
        warm = min(1.0, (self.iterations + 1) / 40.0)
        return self.rate * warm * (0.01 + 0.99 * 0.5 * (1.0 + math.cos(math.pi * progress)))

    def step(self, rng: np.random.Generator) -> float:
        """One iteration on one patch; returns the loss."""
        image, labels = self.ring.draw(rng)
        tensor = torch.from_numpy(image)[None, None]
        if self.heat is not None:
            tensor = torch.cat([tensor, self.heat[None, None]], dim=1)
        tensor = tensor.to(self.device, memory_format=torch.channels_last_3d)
        target = torch.from_numpy(labels.astype(np.int64))[None].to(self.device)
        for group in self.optimiser.param_groups:
            group["lr"] = self.learning_rate()
        self.optimiser.zero_grad(set_to_none=True)
        with torch.autocast(self.device, torch.bfloat16):
            logits = self.net(tensor)
        loss = segmentation_loss(logits, target, self.weights)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self.net.parameters(), 5.0)
        self.optimiser.step()
        self.iterations += 1
        decay = min(EMA_DECAY, (1 + self.iterations) / (10 + self.iterations))
        with torch.no_grad():
            for key, value in self.net.state_dict().items():
                self.average[key].lerp_(value, 1.0 - decay)
        return float(loss.detach())

    def run(self) -> None:
        """Train until the time is spent."""
        rng = np.random.default_rng((self.seed, self.iterations))
        losses: list[float] = []
        while self.elapsed < self.seconds:
            start = time.monotonic()
            losses.append(self.step(rng))
            self.elapsed += time.monotonic() - start
            if self.iterations % 50 == 0:
                self.save()
                logger.info(
                    "%s it %d loss %.4f lr %.2e elapsed %.0f s",
                    self.spec.name,
                    self.iterations,
                    np.mean(losses),
                    self.learning_rate(),
                    self.elapsed,
                )
                losses.clear()
        self.save()


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("net", choices=sorted(SPECS))
    parser.add_argument("--cache", type=Path, required=True)
    parser.add_argument("--minutes", type=float, required=True)
    parser.add_argument("--rate", type=float, default=2e-3)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--fresh-schedule", action="store_true")
    parser.add_argument("--from-onnx", type=Path, help="an exported net to start from; a checkpoint comes first")
    args = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    torch.set_num_threads(args.threads)
    trainer = Trainer(SPECS[args.net], args.cache, args.minutes, args.rate, args.seed, args.device)
    if args.from_onnx is not None:
        trainer.start_from(args.from_onnx)
    trainer.resume(fresh_schedule=args.fresh_schedule)
    trainer.run()


if __name__ == "__main__":
    main()

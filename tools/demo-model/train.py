"""Trains the demo model from generated conversations.

Runs in the foreground with a progress bar; kill it at any time and start it
again with the same arguments to go on from the last checkpoint. `--steps` may
change between runs: the learning rate falls to zero over the last part. Each
worker is a process with one thread that takes its own batches, and the workers
average their weights every few steps: threads that meet at every operation of
so small a model would mostly wait for each other on a busy machine.
"""

import argparse
import json
import tempfile
import time
from collections import defaultdict
from pathlib import Path

import torch
from safetensors.torch import load_file
from torch import distributed, multiprocessing
from tokenizers import Tokenizer
from torch.nn import functional as F
from tqdm import tqdm

import chat_tokenizer
from batches import IGNORED, padded, training_batches
from held_out import held_out_items
from model import Llama, ModelConfig
from optimizer import Optimizers
from chat_tokenizer import encode_last

HERE = Path(__file__).parent
WARM_UP_STEPS = 50
AVERAGE_EVERY = 10
SAVE_EVERY = 30


def arguments():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", type=int, default=6000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--tokens-per-batch", type=int, default=1536, help="of one worker")
    parser.add_argument("--decay-share", type=float, default=0.35, help="share of the steps over which the rate falls")
    parser.add_argument("--rate", type=float, default=1.0, help="factor of the learning rates")
    parser.add_argument("--from", dest="start", type=Path, help="model folder whose weights a new run starts from")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--measure-every", type=int, default=250)
    parser.add_argument("--folder", type=Path, default=HERE / "checkpoints" / "demo")
    return parser.parse_args()


def rate_factor(step, steps, decay_share):
    warm_up = min(1.0, (step + 1) / WARM_UP_STEPS)
    return min(warm_up, (steps - step) / max(1, steps * decay_share), 1.0)


def training_step(model, optimizers, inputs, targets, factor):
    select = targets != IGNORED
    loss = F.cross_entropy(model(inputs, select), targets[select])
    loss.backward()
    torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
    optimizers.step(factor)
    return loss.item()


@torch.no_grad()
def average_weights(model):
    weights = list(model.parameters())
    flat = torch.cat([weight.flatten() for weight in weights])
    distributed.all_reduce(flat)
    flat /= distributed.get_world_size()
    for weight, averaged in zip(weights, flat.split([weight.numel() for weight in weights])):
        weight.copy_(averaged.view_as(weight))


@torch.no_grad()
def exact_share(model, tokenizer, items, batch_size=32):
    """Share of items, per category, whose whole reference answer is the greedy one.

    Greedy decoding produces the reference exactly when every reference token
    is the most likely one after the reference tokens before it, so that one
    forward pass tells, without decoding.
    """
    right, total = defaultdict(int), defaultdict(int)
    examples = [(item.category, encode_last(tokenizer, item.parts)) for item in items]
    examples.sort(key=lambda entry: len(entry[1][0]))
    for start in range(0, len(examples), batch_size):
        chunk = examples[start:start + batch_size]
        inputs, targets = padded(tokenizer, [example for _, example in chunk])
        hits = ((model(inputs).argmax(-1) == targets) | (targets == IGNORED)).all(dim=1)
        for (category, _), hit in zip(chunk, hits.tolist()):
            right[category] += hit
            total[category] += 1
    shares = {category: right[category] / total[category] for category in total}
    return sum(right.values()) / sum(total.values()), shares


@torch.no_grad()
def start_from(model, weights):
    """Takes over weights. Tokens that they lack start near the mean of the others."""
    own, given = model.model.embed_tokens.weight, weights.pop("model.embed_tokens.weight")
    model.load_state_dict(weights, strict=False)
    own.mul_(0.5).add_(given.mean(dim=0))
    own[:len(given)] = given


class Run:
    """A training run and its folder: model, optimizers, position and learning curve."""

    def __init__(self, options, rank):
        self.options, self.rank = options, rank
        options.folder.mkdir(parents=True, exist_ok=True)
        torch.manual_seed(options.seed)
        self.tokenizer = self.vocabulary()
        self.model = Llama(ModelConfig(vocab_size=self.tokenizer.get_vocab_size()))
        self.optimizers = Optimizers(self.model)
        self.progress = {"step": 0, "examples": 0, "tokens": 0, "seconds": 0.0}
        self.curve = []
        self.checkpoint = options.folder / "checkpoint.pt"
        if self.checkpoint.exists():
            self.restore()
        elif options.start:
            start_from(self.model, load_file(options.start / "model.safetensors"))

    def vocabulary(self):
        """Built once per run: a later change of the curriculum must not renumber the tokens."""
        path = self.options.folder / "tokenizer.json"
        if path.exists():
            return Tokenizer.from_file(str(path))
        start, seed = self.options.start, self.options.seed
        if start:
            tokenizer = chat_tokenizer.extended(Tokenizer.from_file(str(start / "tokenizer.json")), seed)
        else:
            tokenizer = chat_tokenizer.build(seed)
        if self.rank == 0:
            tokenizer.save(str(path))
        return tokenizer

    def restore(self):
        saved = torch.load(self.checkpoint, weights_only=True)
        self.model.load_state_dict(saved["model"])
        self.optimizers.load_state_dict(saved["optimizers"])
        self.progress, self.curve = saved["progress"], saved["curve"]

    def save(self):
        """Writes beside the old checkpoint first, so that a kill never leaves half a file."""
        unfinished = self.checkpoint.with_suffix(".tmp")
        torch.save({"model": self.model.state_dict(), "optimizers": self.optimizers.state_dict(),
                    "progress": self.progress, "curve": self.curve}, unfinished)
        unfinished.replace(self.checkpoint)
        (self.options.folder / "curve.json").write_text(json.dumps(self.curve, indent=1))

    def measure(self, items, loss):
        overall, shares = exact_share(self.model, self.tokenizer, items)
        self.curve.append({**self.progress, "loss": loss, "exact": overall, "categories": shares})
        tqdm.write(f"step {self.progress['step']}: loss {loss:.4f}, exact {overall:.3f}  "
                   + "  ".join(f"{name} {share:.2f}" for name, share in shares.items()))
        self.save()

    def train(self):
        options, progress = self.options, self.progress
        items = held_out_items(options.seed, share=0.25)
        batches = training_batches(self.tokenizer, (options.seed, "training", self.rank),
                                   progress["step"], options.tokens_per_batch)
        bar = tqdm(total=options.steps, initial=progress["step"], unit="step", mininterval=5, disable=self.rank > 0)
        smooth_loss = None
        while progress["step"] < options.steps:
            began = time.time()
            inputs, targets = next(batches)
            factor = options.rate * rate_factor(progress["step"], options.steps, options.decay_share)
            loss = training_step(self.model, self.optimizers, inputs, targets, factor)
            smooth_loss = loss if smooth_loss is None else 0.95 * smooth_loss + 0.05 * loss
            self.count(inputs, time.time() - began)
            bar.set_postfix(loss=f"{smooth_loss:.3f}", refresh=False,
                            examples=f"{progress['examples'] / progress['seconds']:.0f}/s")
            bar.update()
            is_last = progress["step"] == options.steps
            if progress["step"] % AVERAGE_EVERY == 0 or is_last:
                average_weights(self.model)
            if self.rank == 0 and (progress["step"] % options.measure_every == 0 or is_last):
                self.measure(items, smooth_loss)
            elif self.rank == 0 and progress["step"] % SAVE_EVERY == 0:
                self.save()

    def count(self, inputs, seconds):
        self.progress["step"] += 1
        self.progress["examples"] += len(inputs) * self.options.workers
        self.progress["tokens"] += inputs.numel() * self.options.workers
        self.progress["seconds"] += seconds


def work(rank, options, meeting_point):
    torch.set_num_threads(1)
    distributed.init_process_group("gloo", init_method=f"file://{meeting_point}", rank=rank, world_size=options.workers)
    Run(options, rank).train()


if __name__ == "__main__":
    chosen = arguments()
    with tempfile.TemporaryDirectory() as folder:
        multiprocessing.spawn(work, (chosen, f"{folder}/meeting-point"), nprocs=chosen.workers)

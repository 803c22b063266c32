"""The measurements as a page, made from the JSON alone."""

from collections.abc import Mapping, Sequence
from statistics import median
from typing import Any

TITLES = {
    "steps": "A hardening step",
    "adapters": "Adapters and the gate",
    "one_gpu": "Hardening a vision transformer on one GPU, or none",
    "accumulation": "Accumulation with cached gradients",
    "operators": "Operators and augmentations",
    "views": "Views",
    "pretraining": "Pretraining",
    "distributed": "Several processes",
    "sharding": "Weights shared out",
    "corruptions": "Common corruptions",
    "augmix": "AugMix",
    "feature_contrast": "Feature contrastive learning",
    "attacks": "Attacks",
    "finetuning": "Fine-tuning and regularization",
    "gauge": "The gauge",
    "embedding": "Embedding a folder",
    "export": "ONNX Runtime against PyTorch",
    "memory": "Peak memory of an audit",
    "shards": "Shards",
    "startup": "Starting",
    "loading": "Loading by name",
}
EXPLAINED = {
    "export": (
        "The exported file in ONNX Runtime against the encoder in PyTorch, each on one thread, in turn, on the same "
        "images; preprocessing is inside both. Of encoders whose weights lie in WEATHERPROOF_DATA."
    ),
    "steps": (
        "One step of the training loop as `harden` runs it (batch from memory, operator, teacher and student forward, "
        "objective, backward, optimiser, log) against bare PyTorch: the same forward and backward passes and the same "
        "optimiser on a fixed batch, without any view or operator. The two alternate step by step. "
        "Processor time is what the process used of the cores; other work on the machine disturbs it less."
    ),
    "adapters": (
        "A hardening with an adapter against one that trains everything: a step (operator, teacher and student "
        "forward, objective, backward, Adam), and by how much three of them raise the peak of a process's memory above "
        "what loading the encoder took. The gate on a batch of images, with the original and a LoRA(16) behind it, "
        "against one forward pass of the plain encoder; the gauge's own look is in it. Where half of the images are "
        "damaged it runs two passes of half the batch, where all are between clean and damaged two of the whole."
    ),
    "one_gpu": (
        "A step of a hardening (operator, teacher and student forward, objective, backward, Adam) in float32, and by "
        "how much they raise the peak of a process's memory above what loading the encoder took, against the plain "
        "step on the same batch, each in a process of its own: with blocks computed twice, with micro-batches whose "
        "negatives are those of the whole batch, with LoRA, and with all of them. What a GPU needs is counted here, "
        "tensor by tensor: what does not depend on the batch, and what each image adds; with micro-batches each image "
        "of these. What fits into 24 GB leaves 1 GiB to the driver and the allocator. Images a second there are the "
        "counted operations at the part of the card's peak that `doctor` assumes. It is a count, not a measurement on "
        "a GPU."
    ),
    "accumulation": (
        "A hardening step whose images go through the network in parts, with the loss and the negatives of the whole "
        "batch (`--micro-batch`): the embeddings first, without a graph, then each part once more with the gradients "
        "that the loss has for it. Against the same step at once, which gives the same gradients; each in a process of "
        "its own, in float32. Memory is by how much the steps raise the process's peak above what loading the encoder "
        "took."
    ),
    "sharding": (
        "A hardening by two processes on the CPU with `--strategy fsdp` against `ddp`, as the second process sees it. "
        "What it holds is counted from its own parts: weights of both networks, and for the student's a gradient and "
        "Adam's two moments. Resident memory is what the system says of the whole process, read every 5 ms."
    ),
    "distributed": (
        "A hardening step with two processes, each with half of the batch, against one process with the whole batch, "
        "one thread each; the negatives are those of the whole batch. A checkpoint as `harden` writes it (weights, "
        "Adam's two moments), on the disk when the time is over, against `torch.save` into a file that need not be."
    ),
    "operators": "One call on a batch, against one `torch.randn` of the same shape on one generator.",
    "views": (
        "Milliseconds a view, two of each image, from 8-bit images in memory to float tensors, against pipelines of "
        "the same settings that take one image at a time: torchvision on tensors and on Pillow images, and lightly, "
        "where it is installed. On a GPU: both views of a batch against a training step of ResNet-50 on them."
    ),
    "pretraining": (
        "NT-Xent against plain cross-entropy over the matrix of all pairs. A step of the training loop as `pretrain` "
        "runs it (batch from memory, views, passes, loss, backward, optimiser, moving average, queue, log) against "
        "bare PyTorch: the same forward and backward passes and the same optimiser on a fixed batch, without views, "
        "permutation, split batch norm or moving average; on given views, and with the method's own. Two processes "
        "on the same whole batches as one, by an encoder without batch norm: how far apart the losses are, and the "
        "time of a step."
    ),
    "corruptions": (
        "Severity 3, milliseconds an image. Against the rival, one image at a time: the public imagecorruptions where "
        "it still runs, else the tests' per-image oracle. To its floor: against reading and writing every image once "
        "and drawing its random numbers. Both sides may use as many threads as the row says; what the rival does by "
        "OpenCV uses them, what it does by NumPy cannot, so that the rows with one thread are the stricter ones. The "
        "oracle's glass blur, by array operations, takes far less time than the public one, which fails on "
        "today's scikit-image. The last rows time the whole `common-15` suite of ResNet-20 against as many "
        "bare forward passes."
    ),
    "augmix": (
        "Severity 3, three chains of one to three operations, from 8-bit images in memory, without crop and flip. "
        "Against one image at a time: torchvision's `v2.AugMix` on tensors and on Pillow images, and a loop over "
        "Pillow's operations as the authors' code has it. On a GPU: both views of a batch, in the time of a training "
        "step of ResNet-50 on them."
    ),
    "feature_contrast": (
        "One step of the training loop as `train fcl` runs it, against its bare passes (3 forward, 4 backward to the "
        "inputs, 3 to the weights), against plain cross-entropy, and against algorithm 1 written down line by line, "
        "each on a fixed batch. Line by line it is 4 forward, 4 backward to the inputs and 4 to the weights: of 12 "
        "passes against 10 the most to be gained is 1.2 times, so that 1.4 times is out of reach in one memory format. "
        "Memory is that of whole processes."
    ),
    "attacks": (
        "A whole attack against as many bare input-gradient passes on the same batch: forward pass, cross-entropy and "
        "backward pass to the pixels, without gradients of the weights. Keeping the best iterate takes one forward "
        "pass more. Until fooled: images leave the batch as soon as one iterate is misclassified. torchattacks and "
        "foolbox, where they are installed, run the same attack and keep the last iterate. The log-barrier attack is "
        "timed for a sixth of its iterations, its start included."
    ),
    "finetuning": (
        "One step of the training loop with a regularizer, against bare PyTorch on a fixed batch: the plain step, and "
        "for similarity regularization the plain step and one forward pass of a frozen copy. Tikhonov regularization "
        "in its three ways against the plain step, and the quickest against double backward. Adversarial training with "
        "PGD-7 needs 9 forward passes, 8 backward to the inputs and one to the weights."
    ),
    "gauge": (
        "What `encoder.gauge(images)` takes, beside the forward pass of the same images. A look at one image is a "
        "hundred calls of the framework on next to nothing: there the ratio says what these cost, not what the gauge "
        "computes."
    ),
    "embedding": (
        "The whole of `embed` (listing the folder, decoding, the network, parts on the disk, the file) against a bare "
        "loop over a DataLoader with the same decoder, size, batches, workers and network, which keeps the embeddings "
        "in memory and writes nothing. JPEG files of 500 × 375 pixels; weights do not matter for the speed. Batches of "
        "`embed` come channels-last from its decoder, in which convolutions on a CPU are quicker; those of the loop, "
        "stacked by PyTorch, do not. Processor time is that of the process and its workers; other work on the machine "
        "disturbs it less."
    ),
    "memory": (
        "The largest resident memory of a process (and its loader workers) that audits a folder of image files, at N "
        "and at 8N files (by a suite: 3N), decoded on demand (a set that fits the memory budget is held in memory)."
    ),
    "shards": (
        "The same images as files in class folders and in tar shards with their index: whole passes in one process, "
        "from finding the bytes to float batches, in turn; against webdataset's own loop, where it is installed, "
        "decoded by Pillow as its documentation has it. Opening is `load_images` in a process of its own, without the "
        "imports. Peak memory is that of a process that opens shards and reads 4,096 images of them in any order."
    ),
    "startup": "Whole processes, started in turn.",
    "loading": (
        "`load_encoder` by name, from the cache, in turn with the library's own pretrained loading from that cache. "
        "Ours looks at every number. The first time it computes the file's hash, too, which is kept for as long as the "
        "file stays as it is. open_clip builds the text's tower as well."
    ),
}


def render(rooms: Mapping[str, Mapping[str, Any]]) -> str:
    """Markdown: one section per room, with its own machine, since rooms may have been measured apart."""
    lines = [
        "# Benchmarks",
        "",
        "Ours and its floor were measured in turn and compared pair by pair: median (lowest to highest). The single",
        "measurements are in the JSON file of the same name. Written by `make bench`; nothing here is typed by hand.",
    ]
    for room, found in rooms.items():
        lines += ["", f"## {TITLES[room]}", "", EXPLAINED[room], "", *_table(found["rows"]), "", _measured(found)]
    return "\n".join(lines) + "\n"


def _measured(found: Mapping[str, Any]) -> str:
    where = found["machine"]
    versions = ", ".join(f"{name} {number}" for name, number in where["versions"].items())
    load = "" if where["load"] is None else f" Load before: {where['load']:.1f}"
    if load:
        load += ", more than there are cores: the machine was busy." if where["load"] > where["cores"] else "."
    return (
        f"`{found['command']}`, {where['date']}, {where['device']}: {where['processor']}, {where['cores']} cores, "
        f"{where['threads']} thread{'s'[: where['threads'] != 1]}; {where['system']}, {versions}.{load}"
    )


def _table(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    head = ["what", "ours", "floor", "compared (lowest to highest)", "limit", ""]
    body = [[r["what"], _each(r, "ours"), _each(r, "floor"), _compared(r), _limit(r), _verdict(r)] for r in rows]
    return ["| " + " | ".join(cells) + " |" for cells in [head, ["---"] * len(head), *body]]


def _each(row: Mapping[str, Any], side: str) -> str:
    if not row[side]:
        return ""
    middle = median(row[side])
    text = f"{middle:.3g} {row['unit']}" if middle < 1000 else f"{middle:,.0f} {row['unit']}"
    if row["images"]:
        per_second = row["images"] / middle * (1e3 if row["unit"] == "ms" else 1)
        text += f", {per_second:,.0f} images/s" if per_second >= 10 else f", {per_second:.2g} images/s"
    return text if side == "ours" else f"{row['against']}: {text}"


def _compared(row: Mapping[str, Any]) -> str:
    match row["by"]:
        case "ratio":
            sign, end = "", "×"
        case "difference":
            sign, end = "+", f" {row['unit']}"
        case "gap":
            sign, end = "", " apart"
        case _:
            sign, end = "", f" {row['unit']}"
    digits = ".1e" if row["by"] == "gap" else ".2f"
    middle, lowest, highest = (f"{row[name]:{sign}{digits}}" for name in ("median", "lowest", "highest"))
    return f"{middle}{end} ({lowest} to {highest}, n={row['repeats']})"


def _limit(row: Mapping[str, Any]) -> str:
    return "" if row["limit"] is None else f"≤ {row['limit']:g}"


def _verdict(row: Mapping[str, Any]) -> str:
    return {None: "", True: "kept", False: "**missed**"}[row["within_limit"]]

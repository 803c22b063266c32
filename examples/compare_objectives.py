"""Harden one teacher with three objectives: the pieces under `wp.harden`, used one by one.

    python examples/compare_objectives.py

A few epochs on small digits say little about which objective is better in general: the script shows how to ask. The
table goes to OUT/objectives.md.
"""

import argparse
from pathlib import Path

import weatherproof as wp
from weatherproof.evaluation import evaluate_embeddings
from weatherproof.reports import markdown_table
from weatherproof.training import Plan, harden_encoder, train_classifier

OBJECTIVES = ("StudentTeacher(temperature=0.2)", "NTXent(temperature=0.2)", "MSE()")


def main(out: Path) -> None:
    """One teacher, one hardened copy for each objective, and how close each comes to the teacher's clean embedding."""
    train, test = wp.load_images("digits", "train"), wp.load_images("digits", "test")
    damage = wp.operators.RandomMask(0.75)

    start = wp.load_encoder("small", seed=0)  # random weights, hence the warning
    plan = Plan(epochs=5, batch_size=64, lr=3e-3, device="cpu")
    teacher, _ = train_classifier(start, train, plan=plan, progress=False)

    records = []
    for text in OBJECTIVES:
        student = harden_encoder(
            teacher, train, operator=damage, objective=wp.objectives.parse(text),
            plan=Plan(epochs=5, batch_size=128, lr=6e-3, device="cpu"), progress=False,
        )  # fmt: skip
        # "cosine" to the clean embedding, "recall@k" of the damaged image in an index of clean ones
        records += evaluate_embeddings({text: student}, teacher, test, operator=damage, realizations=3)
    for record in records:
        if record.metric == "recall@1":
            print(f"{record.model:<32} finds the right image first for {record.value:.1%} of the damaged digits")

    out.mkdir(parents=True, exist_ok=True)
    (out / "objectives.md").write_text(markdown_table(records), encoding="utf-8")
    print(f"table: {out / 'objectives.md'}")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("runs/examples/objectives"), help="where the table goes")
    main(parser.parse_args().out)

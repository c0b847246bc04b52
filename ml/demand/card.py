"""The demand model's card: what it is, how it did, what it must not be used for."""

from __future__ import annotations

from typing import Any

from ml.demand.response import LEAST_MOVEMENT


def model_card(metrics: dict[str, float], gate: dict[str, Any], notes: dict[str, Any], *, with_text: bool) -> str:
    """Markdown of one page from a backtest's metrics, the gate's verdict and the fit's notes."""
    response = notes["response"]
    lines = [
        "# Demand model",
        "",
        "Units that customers will want of a SKU in a region over a flash sale, as quantiles p10, p50 and p90: a ridge",
        "core with LightGBM quantile heads on log(demand / baseline), conformal corrections from the newest sales, and",
        f"price elasticities learnt apart. Text features: {'yes' if with_text else 'no'}.",
        f"Fitted on {notes['rows']} past offers.",
        "",
        "| on held-out later sales | WAPE | bias | coverage of p10 to p90 |",
        "|---|---|---|---|",
    ]
    for name in ("model", "model_without_text", "linear", "last_sale", "proportional"):
        cells = [metrics.get(f"{metric}_{name}") for metric in ("wape", "bias", "coverage")]
        shown = " | ".join("-" if cell is None else f"{cell:.3f}" for cell in cells)
        lines.append(f"| {name.replace('_', ' ')} | {shown} |")
    refused = ", refused" if response["refused"] else ""
    rivals = notes["substitution"]
    prior = ", refused: the prior stands" if rivals["refused"] else ""
    slopes = ", ".join(f"{name} {value:.2f}" for name, value in sorted(response["by_category"].items()))
    lines += [
        "",
        f"Gate: {'passed' if gate['passed'] else 'not passed: ' + '; '.join(gate['reasons'])}.",
        "",
        f"Elasticities: pooled {response['pooled']:.2f} (standard error {response['pooled_se']:.2f}); by category: "
        f"{slopes or 'none'}. Price movement that no feature explains: {response['first_stage_f']:.0f} sales' worth "
        f"(under {LEAST_MOVEMENT:.0f} no slope is trusted){refused}.",
        *_evidence(response),
        "",
        f"Offers of a category as substitutes (nested logit, 0 to 1): {rivals['sigma']:.2f} (standard error "
        f"{rivals['sigma_se']:.2f}, first stage F {rivals['first_stage_f']:.0f}{prior}).",
        "",
        "## Know before you use it",
        "",
        "- The target is itself an estimate where a cell sold out (pooled demand curves).",
        "- p50 is a median: plans use the whole distribution, whose mean lies above it.",
        "- Where neither costs nor lots moved prices, elasticities control for what the features know alone. A manager",
        "  who knew more biases them towards zero: on the simulated shop to about three quarters of the planted ones.",
        "- A SKU without history, a new category or a price outside past discounts is an extrapolation.",
    ]
    return "\n".join(lines) + "\n"


def _evidence(response: dict[str, Any]) -> list[str]:
    """What else than past offers as they were made has a say in the pooled elasticity; none for older models."""
    found = response.get("evidence") or {}
    words = [
        f"{name} {e['slope']:.2f} (standard error {e['se']:.2f}, {e['offers']:.0f} SKUs of sales)"
        for name, e in sorted(found.items())
    ]
    return (
        [f"Pooled from past offers as they were made {response['observational']:.2f}, {', '.join(words)}."]
        if words
        else []
    )

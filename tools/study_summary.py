"""What study.py's runs say: means and intervals over seeds, the best rate of each method, how soon it
comes near the teacher, the claims that the study tests, and one page of it all.

Intervals are Student's t at 95% over the seeds' results; with one seed there is none.
"""
import html

import matplotlib.pyplot as plt
import report

# Student's t at 0.975 by degrees of freedom, from 1; beyond the list the normal's.
STUDENT = [12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262, 2.228, 2.201, 2.179, 2.160,
           2.145, 2.131, 2.120, 2.110, 2.101, 2.093, 2.086, 2.080, 2.074, 2.069, 2.064, 2.060, 2.056,
           2.052, 2.048, 2.045, 2.042]
GOAL = "exact"
# name in the metrics, title, digits after the point
COLUMNS = [("exact", "exact figures", 3), ("greedy/exact", "exact, greedy", 3),
           ("forbidden", "forbidden term", 3), ("response_length", "tokens", 1),
           ("kl/token", "KL from SFT / token", 3), ("reward/token", "token reward", 4)]
NEAR_TEACHER, NEAR_BEST = 0.9, 0.9


def interval(values):
    """{value, low, high, count} of the mean of some numbers."""
    n = len(values)
    mean = sum(values) / n
    if n < 2:
        return {"value": mean, "low": None, "high": None, "count": n}
    deviation = (sum((v - mean)**2 for v in values) / (n - 1))**0.5
    half = (STUDENT[n - 2] if n - 2 < len(STUDENT) else 1.96) * deviation / n**0.5
    return {"value": mean, "low": mean - half, "high": mean + half, "count": n}


def intervals(all_metrics):
    """{metric: interval} of the metrics that all of some evaluations have."""
    names = set.intersection(*(set(metrics) for metrics in all_metrics))
    return {name: interval([m[name]["value"] for m in all_metrics]) for name in sorted(names)}


# --- of a method ---------------------------------------------------------------------------------


def cost_before(method, seconds):
    """Processor seconds that a method needs behind DPO, before it trains."""
    settings = method["settings"]
    if method["command"] != "distill":
        return 0.0
    before = seconds["score"] if settings["distill.mode"] == "off-policy" else 0.0
    own = settings.get("teacher.contrast") == "reference" or \
        settings.get("teacher.extrapolation") == "none"
    return before + (0.0 if own else seconds["reverse"])


def of_rate(method, runs, seconds):
    """Points of a method at one rate, over its seeds."""
    points = []
    for same in zip(*(run["points"] for run in runs)):
        spent = [p["cpu_seconds"] + cost_before(method, seconds[run["seed"]])
                 for p, run in zip(same, runs)]
        points.append({"step": same[0]["step"], "cpu_seconds": interval(spent),
                       "metrics": intervals([p["metrics"] for p in same])})
    return points


def final(points):
    return points[-1]["metrics"][GOAL]["value"]


def arrival(points, level):
    """The first point from which on the goal's mean stays at `level` or above; None: none."""
    below = [i for i, p in enumerate(points) if p["metrics"][GOAL]["value"] < level]
    first = below[-1] + 1 if below else 0
    return points[first] if first < len(points) else None


def of_method(method, by_rate, level):
    best = max(by_rate, key=lambda rate: final(by_rate[rate]))
    good = [rate for rate in by_rate if final(by_rate[rate]) >= NEAR_BEST * final(by_rate[best])]
    there = None if level is None else arrival(by_rate[best], level)
    return {**method, "rates": by_rate, "best_rate": best, "good_rates": sorted(good),
            "at_edge": len(by_rate) > 1 and best in (min(by_rate), max(by_rate)),
            "steps_to_level": there and there["step"],
            "cpu_seconds_to_level": there and there["cpu_seconds"]["value"]}


# --- claims --------------------------------------------------------------------------------------


def stands(gap, digits):
    """How a difference stands to 0, in words, with its interval."""
    if gap["low"] is None:
        return f"{gap['value']:+.{digits}f} (one seed: no interval)"
    words = "not told apart" if gap["low"] <= 0 <= gap["high"] else \
        "above" if gap["value"] > 0 else "below"
    return f"{gap['value']:+.{digits}f} [{gap['low']:+.{digits}f}, {gap['high']:+.{digits}f}]: {words}"


def paired(results, one, other, metric=GOAL):
    """Interval over seeds of the difference of two methods, each at its best rate, at the end."""
    ends = [{run["seed"]: run["points"][-1]["metrics"][metric]["value"] for run in results["runs"]
             if run["method"] == name and run["rate"] == results["methods"][name]["best_rate"]}
            for name in (one, other)]
    return interval([ends[0][seed] - ends[1][seed] for seed in ends[0]])


def claim_rewards(results, bases):
    gaps = [b["stages"]["dpo"]["reward_accuracy/pair"]["value"]
            - b["stages"]["dpo"]["reward_accuracy/dpo"]["value"] for b in bases]
    return "Reward accuracy of DPO against reverse DPO less that of DPO against SFT: " + \
        stands(interval(gaps), 3)


def claim_adaptive(results, bases):
    kl = paired(results, "off-policy", "constant", "kl/token")
    return "Exact figures, adaptive strength less constant at the same KL of the teacher: " + \
        stands(paired(results, "off-policy", "constant"), 3) + \
        f"; the students' KL from SFT: {stands(kl, 3)}"


def claim_scalars(results, bases):
    said = []
    for name in ("distribution", "token-scalars", "sequence-scalars"):
        step = results["methods"][name]["steps_to_level"]
        said.append(f"{name} " + ("doesn't get there" if step is None else f"from step {step} on"))
    gaps = [f"{name} {stands(paired(results, 'distribution', name), 3)}"
            for name in ("token-scalars", "sequence-scalars")]
    return f"Within {1 - NEAR_TEACHER:.0%} of the teacher: " + ", ".join(said) + \
        "; exact figures at the end, distribution less " + ", less ".join(gaps)


def claim_steady(results, bases):
    many = len(next(iter(results["methods"].values()))["rates"])
    return f"Rates within {1 - NEAR_BEST:.0%} of the method's best, of {many}: " + ", ".join(
        f"{name} {len(m['good_rates'])}" for name, m in results["methods"].items())


CLAIMS = [  # what is said of results, and the methods that it needs
    (claim_rewards, []), (claim_adaptive, ["off-policy", "constant"]),
    (claim_scalars, ["distribution", "token-scalars", "sequence-scalars"]), (claim_steady, []),
]


def summarise(header, bases, runs):
    """study.json from the seeds' records and the runs' ones (see study.py)."""
    stages = set.intersection(*(set(base["stages"]) for base in bases))
    results = {**header, "runs": runs, "stages": {
        name: intervals([base["stages"][name] for base in bases]) for name in sorted(stages)}}
    results["cpu_seconds"] = {name: interval([base["cpu_seconds"][name] for base in bases])
                              for name in bases[0]["cpu_seconds"]}
    teacher = results["stages"].get("teacher")
    level = NEAR_TEACHER * teacher[GOAL]["value"] if teacher and teacher[GOAL]["value"] > 0 else None
    seconds = {base["seed"]: base["cpu_seconds"] for base in bases}
    methods = {}
    for name, method in header["methods"].items():
        by_rate = {rate: of_rate(method, [r for r in runs if (r["method"], r["rate"]) == (name, rate)],
                                 seconds) for rate in header["rates"]}
        methods[name] = of_method(method, by_rate, level)
    results.update({"methods": methods, "level": level})
    results["claims"] = [claim(results, bases) for claim, needed in CLAIMS
                         if all(name in methods for name in needed)]
    return results


# --- tables and the page -------------------------------------------------------------------------


def rows_of(results):
    """Cells of the table: stages, then methods at their best rate."""
    rows = [["method", "rate", *(title for _, title, _ in COLUMNS), "CPU s", "steps to level",
             "good rates"]]
    for name in (s for s in ("sft", "dpo", "teacher") if s in results["stages"]):
        metrics = results["stages"][name]
        rows.append([name, "", *(report.with_interval(metrics, m, d) for m, _, d in COLUMNS), "", "",
                     ""])
    for name, method in results["methods"].items():
        end = method["rates"][method["best_rate"]][-1]
        rows.append([name, f"{method['best_rate']:g}" + (" (edge)" if method["at_edge"] else ""),
                     *(report.with_interval(end["metrics"], m, d) for m, _, d in COLUMNS),
                     f"{end['cpu_seconds']['value']:.0f}",
                     "never" if method["steps_to_level"] is None else str(method["steps_to_level"]),
                     f"{method['good_rates'][0]:g} to {method['good_rates'][-1]:g}"])
    return rows


def table(results):
    """The table as Markdown, and the claims."""
    rows = rows_of(results)
    lines = ["| " + " | ".join(row) + " |" for row in rows]
    lines.insert(1, "|" + "---|" * len(rows[0]))
    return "\n".join([*lines, "", *results["claims"]])


def curves(results):
    """What the pictures are drawn from, as cells: a row for each method, rate and step, means over the
    seeds with their intervals."""
    rows = [["method", "rate", "step", "cpu_seconds",
             *(name + part for name, _, _ in COLUMNS for part in ("", "_low", "_high"))]]
    for name, method in results["methods"].items():
        for rate, points in method["rates"].items():
            for point in points:
                cells = [name, f"{rate:g}", str(point["step"]),
                         f"{point['cpu_seconds']['value']:.1f}"]
                for metric, _, digits in COLUMNS:
                    value = point["metrics"].get(metric, {})
                    cells += ["" if value.get(part) is None else f"{value[part]:.{digits}f}"
                              for part in ("value", "low", "high")]
                rows.append(cells)
    return rows


def draw(results):
    """The goal against steps, processor seconds and KL at the best rates, and against the rate."""
    figure, axes = plt.subplots(2, 2, figsize=(13, 9))
    colours = plt.get_cmap("tab20")
    for i, (name, method) in enumerate(results["methods"].items()):
        points, style = method["rates"][method["best_rate"]], {
            "color": colours(i % 20), "marker": "o" if method["command"] == "distill" else "s", "ms": 4}
        goal = [p["metrics"][GOAL]["value"] for p in points]
        start = results["stages"]["dpo"]
        axes[0, 0].plot([0, *(p["step"] for p in points)], [start[GOAL]["value"], *goal], label=name,
                        **style)
        axes[0, 1].plot([p["cpu_seconds"]["value"] for p in points], goal, **style)
        axes[1, 0].plot([start["kl/token"]["value"], *(p["metrics"]["kl/token"]["value"]
                                                       for p in points)],
                        [start[GOAL]["value"], *goal], **style)
        rates = sorted(method["rates"])
        axes[1, 1].plot(rates, [final(method["rates"][rate]) for rate in rates], **style)
    if results["level"] is not None:
        for axis in axes.flat:
            axis.axhline(results["level"] / NEAR_TEACHER, color="grey", ls="--")
    axes[1, 1].set_xscale("log")
    for axis, title in zip(axes.flat, ("steps after DPO", "processor seconds after DPO",
                                       "KL from SFT, nats per token", "learning rate")):
        axis.set_xlabel(title)
        axis.set_ylabel("exact figures")
        axis.grid(alpha=0.3)
    axes[0, 0].legend(fontsize=7)
    figure.tight_layout()
    return report.picture(figure)


def page(results):
    rows = rows_of(results)
    head = "".join(f"<th>{html.escape(cell)}" for cell in rows[0])
    out = ['<!doctype html><meta charset="utf-8"><title>aligndistil: study</title>',
           f"<style>{report.STYLE}</style><h1>Study: the order desk of {results['task']}</h1>",
           f"<p>{len(results['seeds'])} seeds, {len(results['rates'])} rates, {results['steps']} steps "
           f"from the DPO model, {results['rows']} held-out orders; each method at its best rate by "
           "exact figures. Brackets: 95% by Student's t over seeds. CPU seconds are those after DPO, "
           "with scoring and the reverse model where the method needs them. Level: "
           f"{NEAR_TEACHER:.0%} of the teacher's exact figures, from that step on. Good rates end "
           f"within {1 - NEAR_BEST:.0%} of the best one. Dashed: the teacher.",
           f"<table><tr>{head}"]
    out += ["<tr>" + "".join(f"<td>{html.escape(cell)}" for cell in row) for row in rows[1:]]
    out += ["</table><h2>Claims</h2><ul>", *(f"<li>{html.escape(c)}" for c in results["claims"]),
            "</ul><h2>Pictures</h2>", draw(results), "<h2>Methods</h2><table><tr><th>method<th>what"
            "<th>command<th>settings"]
    for name, method in results["methods"].items():
        sets = " ".join(f"{k}={v}" for k, v in method["settings"].items())
        cells = (name, method["what"], method["command"], sets)
        out.append("<tr>" + "".join(f"<td>{html.escape(cell)}" for cell in cells))
    shared = ", ".join(f"{name} {value['value']:.0f}" for name, value in
                       results["cpu_seconds"].items())
    out.append(f"</table><p>Processor seconds of what a seed's runs share: {shared}.")
    return "\n".join(out) + "\n"

#!/usr/bin/python3
"""Shows a teacher shard: a summary, one row token by token, or plots of it.

Needs h5py and NumPy, and matplotlib for --plot. alpha = r TVD + epsilon (or r, or 1, where the
shard's configuration says extrapolation "constant" or "none"), of the response's mean TVD where it
says granularity "response"; the reward of a token is beta (log pi_dpo - log pi_c). r, epsilon and
beta are the configuration's unless given. Token texts
need --tokenizer. Columns have the names that `aligndistil inspect --row` and `eval --show` give them.
"""
import argparse
import hashlib
import json
import os
import re
import sys

import h5py
import numpy as np

import aligndistil_shards
import terminal

FORMAT = "aligndistil-shard"
# Of keys that a configuration doesn't say, as the program has them.
DEFAULTS = {"teacher.strength": "20.0", "teacher.epsilon": "1e-3", "teacher.beta": "0.1",
            "teacher.extrapolation": "adaptive", "teacher.temperature": "1.0",
            "teacher.plausibility": "0.0", "distill.granularity": "token",
            "distill.token_weight": "beta"}
# In the order of the table of columns in src/tokens/table.c; those of text, and those of --json alone.
BRIEF = ("policy", "teacher", "dpo", "contrast", "reward", "tvd", "alpha", "weight")
COLUMNS = BRIEF[:4] + ("reference",) + BRIEF[4:] + ("entropy_teacher", "entropy_dpo")
ALTERNATIVES = 5
# What libconfig's syntax is made of: blanks and comments, texts, words and numbers, signs.
TOKEN = re.compile(r'\s+|#[^\n]*|//[^\n]*|/\*.*?\*/|"(?:\\.|[^"\\])*"|[-+.\w]+|.', re.S)


class Unusable(Exception):
    """The shard cannot be read as one; carries the line for the user."""


# --- reading -----------------------------------------------------------------------------------


def text_of(value):
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value)


def settings(config):
    """{"group.key": text of the value} of the scalars in a configuration's text."""
    found, groups, name, named = {}, [], "", False
    for token in TOKEN.findall(config):
        if token.isspace() or token.startswith(("#", "//", "/*")):
            continue
        if token in ("{", "(", "["):
            groups.append(name)
        elif token in ("}", ")", "]"):
            del groups[-1:]
        elif named:
            found[".".join([*groups, name])] = token.strip('"')
        elif token not in ("=", ":"):
            name = token
        named = token in ("=", ":")
    return found


class Shard:
    def __init__(self, path, options):
        self.path = path
        self.file = h5py.File(path, "r")
        self.attributes = {k: v.item() if isinstance(v, np.generic) else v
                           for k, v in self.file.attrs.items()}
        if text_of(self.attributes.get("format", "")) != FORMAT:
            raise Unusable(f"{path}: attribute format of /: expected {FORMAT}")
        self.response_start = self.numbers("/sequence/response_start")
        self.token_start = self.numbers("/sequence/token_start")
        self.count = len(self.response_start) - 1
        self.tvd = self.numbers("/response/tvd")
        self.ratio = (self.numbers("/response/logprob_dpo")
                      - self.numbers("/response/logprob_reverse"))
        self.check_starts(self.response_start, len(self.tvd), "/sequence/response_start")
        self.check_starts(self.token_start, len(self.dataset("/token/id")),
                          "/sequence/token_start")
        self.set_teacher(options)

    def set_teacher(self, options):
        said = {**DEFAULTS, **settings(text_of(self.attributes.get("config", "")))}
        for name in ("strength", "epsilon", "beta"):
            given = getattr(options, name)
            setattr(self, name, float(said["teacher." + name]) if given is None else given)
        self.said = said
        kind, granularity = said["teacher.extrapolation"], said["distill.granularity"]
        mean = granularity != "token"
        if kind not in ("adaptive", "constant", "none"):
            raise Unusable(f"{self.path}: attribute config: teacher.extrapolation: expected "
                           f"adaptive, constant or none, found {kind}")
        self.rule = {"adaptive": f"r {'mean ' if mean and granularity != 'auto' else ''}TVD + epsilon, r {self.strength:g}, "
                                 f"epsilon {self.epsilon:g}",
                     "constant": f"r {self.strength:g}", "none": kind}[kind]
        self.alpha = {"adaptive": self.strength * (self.mean_tvd(granularity) if mean else self.tvd)
                      + self.epsilon,
                      "constant": np.full_like(self.tvd, self.strength),
                      "none": np.ones_like(self.tvd)}[kind]
        self.reward = self.beta * self.ratio

    def mean_tvd(self, granularity):
        """[R], the same at all positions of a response; with "auto" unless the TVD is concentrated in
        few of them, (sum)^2 / (R sum of squares) < 1/2."""
        out = np.zeros_like(self.tvd)
        for row in range(self.count):
            mine = self.row_range(row)
            tvd = self.tvd[mine]
            own = granularity == "auto" and tvd.sum() ** 2 < 0.5 * len(tvd) * (tvd ** 2).sum()
            if mine.stop > mine.start:
                out[mine] = tvd if own else tvd.mean()
        return out

    def check_starts(self, starts, end, path):
        if len(starts) < 1 or starts[0] != 0 or starts[-1] != end or (np.diff(starts) < 0).any():
            raise Unusable(f"{self.path}: {path}: expected rising offsets from 0 to {end}")

    def dataset(self, path):
        if not isinstance(self.file.get(path), h5py.Dataset):
            raise Unusable(f"{self.path}: {path}: no such dataset")
        return self.file[path]

    def numbers(self, path):
        data = self.dataset(path)[...]
        return data.astype(np.float64) if data.dtype.kind == "f" else data

    def sources(self):
        """The name of each sequence's source."""
        data = self.dataset("/sequence/source")
        names = {v: k for k, v in (h5py.check_enum_dtype(data.dtype) or {}).items()}
        return [names.get(int(v), str(v)) for v in data[...]]

    def text(self, name, row):
        return text_of(self.dataset(f"/sequence/{name}")[row])

    def row_range(self, row):
        return slice(self.response_start[row], self.response_start[row + 1])


def steps_of(json_step, key):
    """A component of tokenizer.json as the list of its steps."""
    if not json_step:
        return []
    if json_step["type"] == "Sequence":
        return [one for step in json_step[key] for one in steps_of(step, key)]
    return [json_step]


def replaced(step, text):
    """A step Replace; its pattern is a string, or an expression."""
    pattern = step["pattern"]
    if "String" in pattern:
        return text.replace(pattern["String"], step["content"])
    return re.sub(pattern["Regex"], lambda _: step["content"], text)


class Vocabulary:
    """Bytes of token ids as they stand within a text, by the decoder of tokenizer.json; `directory` None:
    the bare ids. `sha256`: the digest that the file must have, "" for any."""

    def __init__(self, directory, path="", sha256=""):
        self.texts = None
        if directory:
            with open(os.path.join(directory, "tokenizer.json"), "rb") as file:
                data = file.read()
            here = hashlib.sha256(data).hexdigest()
            if sha256 not in ("", here):
                raise Unusable(f"{path} was made with another tokenizer (sha256 {sha256[:12]}...) than that of "
                               f"{directory} ({here[:12]}...)")
            tokenizer = json.loads(data)
            self.bytes = self.byte_table()
            self.steps = steps_of(tokenizer.get("decoder"), "decoders")
            self.texts = {i: self.decode(t) for t, i in tokenizer["model"]["vocab"].items()}
            self.texts.update({t["id"]: self.added(t, tokenizer) for t in tokenizer.get("added_tokens") or []})

    @staticmethod
    def byte_table():
        """Symbol to byte: printable Latin-1 is itself, the rest counts up from U+0100."""
        kept = [*range(33, 127), *range(161, 173), *range(174, 256)]
        moved = [b for b in range(256) if b not in kept]
        return {**{chr(b): b for b in kept}, **{chr(256 + i): b for i, b in enumerate(moved)}}

    def added(self, token, tokenizer):
        """An added token is looked for in normalised text where it says so, and then written so."""
        text = token["content"]
        for step in steps_of(tokenizer.get("normalizer"), "normalizers") if token.get("normalized") else ():
            if step["type"] == "Prepend" and text:
                text = step["prepend"] + text
            elif step["type"] == "Replace":
                text = replaced(step, text)
        plain = [step["type"] for step in self.steps] == ["ByteLevel"]
        return text.encode() if plain else self.decode(text)

    def decode(self, token):
        """A Strip behind a step that makes one token of all is left out: it is of the whole text's ends.
        Without a decoder a space parts the tokens of a text."""
        if not self.steps:
            return b" " + token.encode()
        text, fused = token.encode(), False
        for step in self.steps:
            if not (step["type"] == "Strip" and fused):
                text = self.run_step(step, text)
            fused = fused or step["type"] in ("Fuse", "ByteLevel")
        return text

    def run_step(self, step, text):
        kind, word = step["type"], text.decode("utf-8", "replace")
        if kind == "ByteLevel" and all(c in self.bytes for c in word):
            return bytes(self.bytes[c] for c in word)
        if kind == "ByteFallback" and re.fullmatch("<0x[0-9A-Fa-f]{2}>", word):
            return bytes([int(word[3:5], 16)])
        if kind == "Replace" and word.encode() == text:
            return replaced(step, word).encode()
        if kind == "Metaspace":
            return word.replace(step.get("replacement", "\u2581"), " ").encode()
        if kind == "Strip":
            sign = step["content"].encode()
            for _ in range(step["start"]):
                text = text.removeprefix(sign)
            for _ in range(step["stop"]):
                text = text.removesuffix(sign)
        return text

    def text(self, number):
        if self.texts is None:
            return ""
        text = self.texts.get(int(number), b"?").decode("utf-8", "backslashreplace")
        return json.dumps(text, ensure_ascii=False)

    def members(self, number):
        """What a line of JSON says of a token: "bytes" of one that is a part of characters."""
        text = {} if self.texts is None else {"token": self.texts.get(int(number), b"")}
        if text and "\ufffd" in text["token"].decode("utf-8", "replace"):
            text["bytes"] = text["token"].hex()
        if text:
            text["token"] = text["token"].decode("utf-8", "replace")
        return {"id": int(number), **text}


# --- the summary -------------------------------------------------------------------------------


def spread(values):
    """mean, then the 5%, 50% and 95% points and the extremes."""
    values = np.asarray(values, np.float64)
    values = values[np.isfinite(values)]
    if not len(values):
        return "none"
    points = np.percentile(values, [0, 5, 50, 95, 100])
    names = ("min", "5%", "50%", "95%", "max")
    return f"mean {values.mean():9.4g}  " + "  ".join(
        f"{n} {p:9.4g}" for n, p in zip(names, points))


def print_attributes(shard):
    for name in sorted(shard.attributes):
        value = text_of(shard.attributes[name])
        if name == "config":
            value = f"{len(value.splitlines())} lines (--config prints them)"
        print(f"  {name:18} {terminal.line(value)}")


def print_sources(shard):
    sources = np.array(shard.sources())
    responses, tokens = np.diff(shard.response_start), np.diff(shard.token_start)
    for source in sorted(set(sources)):
        mine = sources == source
        print(f"  {source:9} {mine.sum():6} sequences; response length {spread(responses[mine])}")
    print(f"  prompt    {len(sources):6} sequences; prompt length   {spread(tokens - responses)}")


def print_teacher(shard):
    found = []
    shard.file["/teacher"].visititems(
        lambda name, item: found.append((name, item)) if isinstance(item, h5py.Dataset) else None)
    for name, data in found:
        size = data.id.get_storage_size() / 2**20
        print(f"  /teacher/{name:16} {str(data.shape):16} {data.dtype}  {size:.2f} MiB"
              f"{'' if data.fletcher32 else '  no checksum'}")


def print_summary(shard):
    print(f"{shard.path}: {shard.count} sequences, {shard.token_start[-1]} tokens, "
          f"{shard.response_start[-1]} response positions, "
          f"{os.path.getsize(shard.path) / 2**20:.2f} MiB")
    print_attributes(shard)
    print_sources(shard)
    if isinstance(shard.file.get("/teacher"), h5py.Group):
        print_teacher(shard)
    print(f"  TVD     {spread(shard.tvd)}")
    print(f"  alpha   {spread(shard.alpha)}   ({shard.rule})")
    print(f"  reward  {spread(shard.reward)}   (of the token there; beta {shard.beta:g})")
    policy = shard.numbers("/response/logprob_policy")
    print(f"  sampled {np.isfinite(policy).sum()} positions; log p of the policy {spread(policy)}")


# --- one row -----------------------------------------------------------------------------------


def entropy(logprob):
    p = np.exp(logprob)
    return -np.where(p > 0, p * logprob, 0.0).sum(axis=1)


def best(logprob, ids=None):
    """([R, 5] ids, their log-probabilities), the likeliest first, the lower id first among equals."""
    ids = np.broadcast_to(np.arange(logprob.shape[1]), logprob.shape) if ids is None else ids
    order = np.stack([np.lexsort((i, -l)) for i, l in zip(ids, logprob)])[:, :ALTERNATIVES]
    return np.take_along_axis(ids, order, axis=1), np.take_along_axis(logprob, order, axis=1)


def shares(teacher, position):
    """(id, log share) of the tokens that were drawn at a position, the likeliest first."""
    ids, weights = teacher.ids[position], np.exp(teacher.logprob[position])
    found = {int(i): np.float32(np.log(weights[ids == i].sum())) for i in np.unique(ids)}
    return sorted(found.items(), key=lambda pair: (-pair[1], pair[0]))[:ALTERNATIVES]


def add_teacher(shard, row, heads, out, said):
    """Columns and alternatives that need the teacher's distribution, where the encoding has one."""
    file = aligndistil_shards.Shard(shard.path)
    sequence, kind, ids = file[row], file.encoding, file[row].response_ids
    if kind in ("hidden", "hidden32") and heads is None:
        return
    teacher = sequence.teacher(
        shard.strength, shard.epsilon, shard.said["teacher.extrapolation"],
        shard.said["distill.granularity"], float(shard.said["teacher.temperature"]), heads,
        plausibility=float(shard.said["teacher.plausibility"]) if kind != "sampled" else 0.0)
    if kind == "sampled":
        said["teacher"] = [shares(teacher, t) for t in range(len(ids))]
        return
    if teacher.ids is None:
        dpo, at, stored = sequence.log_pair(heads)[0], ids[:, None], None
        out["teacher"] = np.take_along_axis(teacher.logprob, at, axis=1)[:, 0]
        out["entropy_teacher"], out["entropy_dpo"] = entropy(teacher.logprob), entropy(dpo)
    else:
        dpo, stored = sequence.encoded("logprob_dpo").astype(np.float64), teacher.ids
        here = stored == ids[:, None]
        out["teacher"] = np.where(here.any(axis=1), np.where(here, teacher.logprob, 0).sum(axis=1), np.nan)
    for name, values in (("teacher", teacher.logprob), ("dpo", dpo)):
        said[name] = [list(zip(*pair)) for pair in zip(*best(values, stored))]


def columns_of(shard, row, heads=None):
    """({column: [R]}, {voice: [R] lists of (id, log-probability)}) of a row, as far as the shard has them."""
    mine = shard.row_range(row)
    response = shard.file["response"]
    out, said = {}, {}
    for name, stored in (("policy", "logprob_policy"), ("dpo", "logprob_dpo"), ("contrast", "logprob_reverse"),
                         ("reference", "logprob_reference"), ("tvd", "tvd")):
        if stored in response:
            out[name] = shard.numbers("/response/" + stored)[mine]
    if not np.isfinite(out["policy"]).any():
        del out["policy"]
    out["alpha"], out["reward"] = shard.alpha[mine], shard.reward[mine]
    uniform = shard.said["distill.token_weight"] == "uniform"
    out["weight"] = np.ones_like(out["alpha"]) if uniform else shard.beta / out["alpha"]
    if "encoding" in shard.attributes:
        add_teacher(shard, row, heads, out, said)
    return {name: out[name] for name in COLUMNS if name in out}, said


def print_lines(shard, row, vocabulary, heads):
    """A line of JSON for each token, as `aligndistil inspect --row N --format jsonl` has it."""
    columns, said = columns_of(shard, row, heads)
    head = {"row": row, "dataset_row": int(shard.dataset("/sequence/id")[row]), "response": shard.sources()[row]}
    for t, token in enumerate(shard.dataset("/response/id")[shard.row_range(row)]):
        line = {**head, "position": t, **vocabulary.members(token)}
        line.update({name: float(values[t]) for name, values in columns.items() if np.isfinite(values[t])})
        others = {name: [{**vocabulary.members(i), "logprob": float(logprob)} for i, logprob in lists[t]]
                  for name, lists in said.items()}
        text = json.dumps({**line, **({"alternatives": others} if others else {})})
        print(text.replace("\x7f", "\\u007f"))  # the one control that json leaves


def print_row(shard, row, vocabulary, heads):
    mine = shard.row_range(row)
    tokens = shard.dataset("/token/id")[shard.token_start[row]:shard.token_start[row + 1]]
    response = shard.dataset("/response/id")[mine]
    prompt = tokens[:len(tokens) - len(response)]
    print(f"{shard.path}, row {row}: dataset row {shard.dataset('/sequence/id')[row]}, "
          f"{shard.sources()[row]}, {len(prompt)} + {len(response)} tokens, "
          f"reward {shard.reward[mine].sum():.4f}")
    print("prompt: " + shard.text("prompt", row))
    print("response: " + shard.text("response", row))
    print("prompt tokens: " + " ".join(vocabulary.text(t) or str(t) for t in prompt))
    columns, said = columns_of(shard, row, heads)
    names = [name for name in BRIEF if name in columns]
    print(f"{'t':>5} {'id':>7} " + " ".join(f"{name:>9}" for name in names) + "  token")
    for t, token in enumerate(response):
        numbers = " ".join(f"{columns[name][t]:9.4f}" if np.isfinite(columns[name][t]) else f"{'-':>9}"
                           for name in names)
        first = {name: lists[t][0] for name, lists in said.items() if lists[t] and lists[t][0][0] != token}
        others = "".join(f"  {name}: {vocabulary.text(i) or int(i)} {np.exp(logprob):.2f}"
                         for name, (i, logprob) in first.items())
        print(f"{t:5} {token:7} {numbers}  {vocabulary.text(token)}{others}")


# --- plots -------------------------------------------------------------------------------------


def plot_row(axes, shard, row, vocabulary):
    mine = shard.row_range(row)
    ids = shard.dataset("/response/id")[mine]
    for axis, values, name in zip(axes, (shard.alpha, shard.reward), ("alpha", "token reward")):
        axis.bar(np.arange(len(ids)), values[mine], width=0.8)
        axis.set_ylabel(name)
        axis.axhline(0, color="black", linewidth=0.5)
    if len(ids) <= 120:
        axes[1].set_xticks(np.arange(len(ids)))
        axes[1].set_xticklabels([(vocabulary.text(i) or str(i)).replace("$", r"\$") for i in ids],
                                rotation=90, fontsize=7)
    axes[0].set_title(f"row {row}")


def plot_histograms(axes, shard):
    for axis, values, name in zip(axes, (shard.alpha, shard.reward), ("alpha", "token reward")):
        axis.hist(values[np.isfinite(values)], bins=60)
        axis.set_yscale("log")
        axis.set_xlabel(name)
        axis.set_ylabel("positions")


def plot(shard, row, vocabulary, path):
    import matplotlib
    matplotlib.use("Agg")
    from matplotlib import pyplot
    width = 8 if row is None else min(24, max(8, 0.18 * (shard.row_range(row).stop
                                                         - shard.row_range(row).start)))
    figure, axes = pyplot.subplots(2, 1, figsize=(width, 6), sharex=row is not None)
    if row is None:
        plot_histograms(axes, shard)
    else:
        plot_row(axes, shard, row, vocabulary)
    figure.tight_layout()
    figure.savefig(path, dpi=110)


# --- command line ------------------------------------------------------------------------------


def parse(argv):
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    add("file", metavar="FILE", help="shard-NNNNNN.h5")
    add("--row", type=int, metavar="N", help="print sequence N (from 0) token by token")
    add("--plot", metavar="OUT.png", help="alpha and token reward: along --row, or histograms")
    add("--tokenizer", metavar="DIR", help="folder of the tokenizer.json, for the token texts")
    add("--json", action="store_true", help="--row as lines of JSON, one a token, with all columns")
    add("--heads", nargs=2, metavar=("DPO", "CONTRAST"),
        help="model directories, for the teacher of a shard that holds hidden states")
    add("--config", action="store_true", help="print the configuration that made the shard")
    add("--strength", type=float, metavar="R", help="r (the shard's, else 20)")
    add("--epsilon", type=float, metavar="E", help="epsilon (the shard's, else 0.001)")
    add("--beta", type=float, metavar="B", help="beta (the shard's, else 0.1)")
    return parser.parse_args(argv)


def show(options):
    shard = Shard(options.file, options)
    if options.row is not None and not 0 <= options.row < shard.count:
        raise Unusable(f"{options.file}: row {options.row}: expected 0 to {shard.count - 1}")
    vocabulary = Vocabulary(options.tokenizer, options.file, text_of(shard.attributes.get("sha256_tokenizer", "")))
    heads = options.heads and aligndistil_shards.Heads(
        options.heads[0], **{text_of(shard.attributes["contrast"]): options.heads[1]})
    if options.plot:
        plot(shard, options.row, vocabulary, options.plot)
    if options.config:
        print(text_of(shard.attributes.get("config", "")))
    elif options.row is not None:
        (print_lines if options.json else print_row)(shard, options.row, vocabulary, heads)
    else:
        print_summary(shard)


def main(argv):
    options = parse(argv)
    try:
        show(options)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    except (Unusable, OSError, KeyError, ValueError, re.error) as error:
        line = str(error) if isinstance(error, Unusable) else f"{options.file}: {error}"
        print(f"inspect_shard: {terminal.line(line)}", file=sys.stderr)
        return 3
    return 0


if __name__ == "__main__":
    terminal.run(main, sys.argv[1:])

"""Reads teacher shards: sequences, texts, tokens, and the teacher distribution at any strength.

One file to copy or import; needs NumPy and h5py alone. The format is src/shard/README.md.

>>> shards = open_folder(folder)
>>> for shard in shards:
...     print(shard.encoding, len(shard), "sequences")
full 10 sequences
>>> sequence = shards[0][2]
>>> sequence.source, len(sequence.response_ids) == len(sequence.tvd)
('chosen', True)
>>> isinstance(sequence.response, str) and sequence.prompt_ids.dtype.name
'int32'

The teacher at any r, epsilon and temperature, without scoring anew; alpha = r TVD + epsilon:

>>> teacher = sequence.teacher(strength=20.0, epsilon=1e-3)
>>> teacher.logprob.shape == (len(sequence.response_ids), shards[0].vocab_size)
True
>>> bool(np.allclose(np.exp(teacher.logprob).sum(axis=1), 1, atol=1e-5))
True
>>> bool((teacher.alpha == 20.0 * sequence.tvd + 1e-3).all())
True

A shard of encoding "hidden" needs the output matrices of its teachers' directories:

>>> shard = open_folder(hidden_folder)[0]
>>> heads = Heads(dpo, reverse)
>>> teacher = shard[2].teacher(strength=20.0, heads=heads)
>>> teacher.logprob.shape == (len(shard[2].response_ids), shard.vocab_size)
True

A shard scored with `shards.with_reference` also gives the teacher of contrast "reference", which
is extrapolated from the reference (by its TVD); "reverse" is what is taken without a word:

>>> shard = open_folder(both_folder)[0]
>>> shard.contrasts
('reverse', 'reference')
>>> teacher = shard[2].teacher(strength=20.0, contrast="reference")
>>> bool((teacher.alpha == 20.0 * shard[2].tvd_reference + 1e-3).all())
True

In a shard of encoding "topk" the distribution is that of the stored tokens and of one bucket for
all others: `ids` [R, K], `logprob` [R, K] and `tail` [R]. In one of "sampled" it is that of the
draws, `ids` [R, K] with repeats, and the logs of their weights.
"""
import glob
import json
import os
import re
from dataclasses import dataclass

import h5py
import numpy as np

FORMATS, SCHEMA = ("aligndistil-shard", "aligndistil-index"), 2
ENCODINGS = ("full", "hidden", "hidden32", "topk", "sampled")
RESPONSE = ("logprob_dpo", "logprob_reverse", "logprob_policy", "tvd", "logprob_reference",
            "tvd_reference")


class DamagedShard(ValueError):
    """The file is not a shard, or not one that this reader knows; says file and place."""


def log_softmax(z):
    z = z - z.max(axis=-1, keepdims=True)
    return z - np.log(np.exp(z).sum(axis=-1, keepdims=True))


def plausible(change, dpo, plausibility, top=None):
    """The change of log pi_dpo [R, V], where tokens below `plausibility` times the likeliest one's
    probability are lowered at most."""
    if plausibility <= 0:
        return change
    top = dpo.max(axis=1) if top is None else top
    return np.where(dpo < top[:, None] + np.log(plausibility), np.minimum(change, 0), change)


def from_bfloat16(bits):
    return (np.asarray(bits).astype(np.uint32) << 16).view(np.float32)


@dataclass
class Teacher:
    """log softmax(z* / tau) of each response position."""
    alpha: np.ndarray    # [R]
    logprob: np.ndarray  # [R, V], or [R, K] of the tokens `ids`
    ids: np.ndarray      # [R, K]; None: the whole vocabulary
    tail: np.ndarray     # [R] log of the mass of all other tokens; None where there are none


class Heads:
    """The teachers' output matrices, float32 [V, H], from their model directories; that of the
    contrast that is asked for must be there."""

    def __init__(self, dpo, reverse=None, reference=None):
        self.dpo = output_matrix(dpo)
        self.reverse, self.reference = (None if directory is None else output_matrix(directory)
                                        for directory in (reverse, reference))


def output_matrix(directory):
    """lm_head.weight, or the embedding where it is tied."""
    with open(os.path.join(directory, "config.json"), encoding="utf-8") as file:
        tied = json.load(file).get("tie_word_embeddings", False)
    name = "model.embed_tokens.weight" if tied else "lm_head.weight"
    for path in sorted(glob.glob(os.path.join(directory, "*.safetensors"))):
        matrix = read_tensor(path, name)
        if matrix is not None:
            return matrix
    raise FileNotFoundError(f"{directory}: no {name} in its safetensors files")


def read_tensor(path, name):
    """A tensor of a safetensors file as float32; None where the file lacks it."""
    with open(path, "rb") as file:
        size = int.from_bytes(file.read(8), "little")
        entry = json.loads(file.read(size)).get(name)
        if entry is None:
            return None
        first, last = entry["data_offsets"]
        file.seek(8 + size + first)
        data = file.read(last - first)
    kinds = {"F32": "<f4", "F16": "<f2", "BF16": "<u2"}
    values = np.frombuffer(data, kinds[entry["dtype"]]).reshape(entry["shape"])
    return from_bfloat16(values) if entry["dtype"] == "BF16" else values.astype(np.float32)


class Sequence:
    """One scored sequence; arrays are read when asked for. R response positions."""

    def __init__(self, shard, index):
        self.shard, self.index = shard, index
        self.id = int(shard.file["sequence/id"][index])
        self.source = shard.sources[int(shard.file["sequence/source"][index])]
        self._tokens = slice(*map(int, shard.token_start[index:index + 2]))
        self._rows = slice(*map(int, shard.response_start[index:index + 2]))

    @property
    def prompt(self):
        return self.shard.text("sequence/prompt", self.index)

    @property
    def response(self):
        return self.shard.text("sequence/response", self.index)

    @property
    def response_ids(self):
        return self.shard.file["response/id"][self._rows]

    @property
    def prompt_ids(self):
        ids = self.shard.file["token/id"][self._tokens]
        return ids[:len(ids) - (self._rows.stop - self._rows.start)]

    def __getattr__(self, name):
        """logprob_dpo, logprob_reverse, logprob_policy, tvd: float64 [R]; NaN: not sampled. With a
        reference also logprob_reference and tvd_reference."""
        if name not in RESPONSE or "response/" + name not in self.shard.file:
            raise AttributeError(name)
        return self.shard.file["response/" + name][self._rows].astype(np.float64)

    def encoded(self, name):
        """Rows of a dataset of /teacher, as stored."""
        return self.shard.file["teacher/" + name][self._rows]

    def alpha(self, strength=20.0, epsilon=1e-3, extrapolation="adaptive", granularity="token",
              contrast=None):
        """[R]: r TVD + epsilon ("adaptive"), r ("constant"), 1 ("none"). The TVD is that to the
        contrast's model; None: the shard's own contrast."""
        tvd = self.tvd if self.shard.is_own(contrast) else self.tvd_reference
        if granularity not in ("token", "response", "sequence", "auto"):
            raise ValueError(f"granularity {granularity}: expected token, response or auto")
        by_token = granularity == "token" or granularity == "auto" and self.spread(contrast) < 0.5
        if extrapolation != "adaptive":
            return np.full_like(tvd, strength if extrapolation == "constant" else 1.0)
        return strength * (tvd if by_token else np.full_like(tvd, tvd.mean())) + epsilon

    def spread(self, contrast=None):
        """The share of the positions that the TVD is spread over, (sum)^2 / (R sum of squares): with
        granularity "auto" alpha is that of each token below 1/2, of the mean TVD from there on."""
        tvd = self.tvd if self.shard.is_own(contrast) else self.tvd_reference
        squares = len(tvd) * (tvd ** 2).sum()
        return tvd.sum() ** 2 / squares if squares > 0 else 1.0

    def factor(self, alpha, extrapolation, contrast):
        """[R] of log pi_dpo - log pi_contrast in the teacher's logits, beside log pi_dpo."""
        if extrapolation == "none":
            return np.zeros_like(alpha)
        return alpha - 1 if (contrast or self.shard.contrast) == "reference" else alpha

    def log_ratio(self, contrast):
        """log pi_dpo - log pi_contrast as stored, float64."""
        own = self.shard.is_own(contrast)
        return self.encoded("log_ratio" if own else "log_ratio_reference").astype(np.float64)

    def log_pair(self, heads=None, contrast=None):
        """(log pi_dpo, log pi_contrast) over the vocabulary, float64 [R, V]; not of "topk" and "sampled"."""
        kind = self.shard.encoding
        if kind == "full":
            dpo = self.encoded("logprob_dpo").astype(np.float64)
            return dpo, dpo - self.log_ratio(contrast)
        if kind not in ("hidden", "hidden32"):
            raise ValueError(f"{self.shard.path}: encoding {kind} has no distribution over the "
                             "whole vocabulary")
        name = contrast or self.shard.contrast
        head = None if heads is None else getattr(heads, name)
        if head is None:
            raise ValueError(f"{self.shard.path}: encoding {kind}, contrast {name}: needs "
                             f"heads=Heads(dpo, {name}={name})")
        stored = "hidden_reverse" if self.shard.is_own(contrast) else "hidden_reference"
        pair = ((self.encoded("hidden_dpo"), heads.dpo), (self.encoded(stored), head))
        V = self.shard.vocab_size
        wide = from_bfloat16 if kind == "hidden" else np.asarray
        return tuple(log_softmax(wide(hidden).astype(np.float64) @ matrix[:V].T.astype(np.float64))
                     for hidden, matrix in pair)

    def teacher(self, strength=20.0, epsilon=1e-3, extrapolation="adaptive", granularity="token",
                temperature=1.0, heads=None, contrast=None, plausibility=0.0):
        """The distribution that distillation trains towards: equations 11, 14 and 16. contrast:
        "reverse" or "reference", one of the shard's `contrasts`; None: the first of them.
        plausibility: tokens below this share of pi_dpo's likeliest are never raised."""
        alpha = self.alpha(strength, epsilon, extrapolation, granularity, contrast)
        factor = self.factor(alpha, extrapolation, contrast)
        if self.shard.encoding == "sampled":
            if plausibility > 0:
                raise ValueError(f"{self.shard.path}: draws don't show the likeliest token, by which "
                                 "others are implausible")
            return self.sampled_teacher(alpha, factor, temperature)
        if self.shard.encoding != "topk":
            dpo, contrasted = self.log_pair(heads, contrast)
            z = dpo + plausible(factor[:, None] * (dpo - contrasted), dpo, plausibility)
            return Teacher(alpha, log_softmax(z / temperature), None, None)
        dpo, ratio = self.encoded("logprob_dpo").astype(np.float64), self.log_ratio(contrast)
        tails = "tail_dpo", "tail_reverse" if self.shard.is_own(contrast) else "tail_reference"
        tail, contrasted = (self.encoded(name).astype(np.float64) for name in tails)
        with np.errstate(invalid="ignore"):  # -inf - -inf: no mass outside
            rest = np.where(np.isneginf(tail), 0.0, factor * (tail - contrasted))
        change = np.column_stack([factor[:, None] * ratio, rest])  # the bucket counts as one token
        dpo = np.column_stack([dpo, tail])
        z = dpo + plausible(change, dpo, plausibility, dpo[:, :-1].max(axis=1))
        logprob = log_softmax(z / temperature)
        return Teacher(alpha, logprob[:, :-1], self.encoded("token_id"), logprob[:, -1])

    def sampled_teacher(self, alpha, factor, temperature):
        """The estimate by the draws: `ids` [R, K], a token as often as it was drawn, and the log of
        each draw's weight. At the settings of the scoring all weights are the same."""
        dpo, ratio = (self.encoded(n).astype(np.float64) for n in ("logprob_dpo", "log_ratio"))
        a, tau = (self.encoded("proposal_" + n).astype(np.float64)[:, None]
                  for n in ("factor", "temperature"))
        # The strengths as the program has them, float32: at those of the scoring all weights are 0.
        factor = factor.astype(np.float32).astype(np.float64)[:, None]
        weights = (dpo + factor * ratio) / temperature - (dpo + a * ratio) / tau
        return Teacher(alpha, log_softmax(weights), self.encoded("token_id"), None)

    def error(self, strength=20.0, epsilon=1e-3, extrapolation="adaptive", granularity="token",
              temperature=1.0, student=None, contrast=None):
        """Upper bounds [R] of what "topk" may be off by: the total variation between teacher() and
        the teacher over the whole vocabulary, however the tail's mass is spread; and, for a student's
        log-probabilities [R, V], of the difference of KL(student || teacher) (else None). The
        derivation is in src/shard/README.md."""
        alpha = self.alpha(strength, epsilon, extrapolation, granularity, contrast)
        a = self.factor(alpha, extrapolation, contrast)
        own = self.shard.is_own(contrast)
        names = ["log_ratio", "alpha_max", "tail_mass", "tail_least", "tail_ratio_min", "tail_ratio_max"]
        names = ["logprob_dpo", names[0], "tail_dpo", "tail_reverse" if own else "tail", *names[1:]]
        columns = [self.encoded(name if own or name.endswith("_dpo") else name + "_reference")
                   .astype(np.float64) for name in names]
        ids, outside = self.encoded("token_id"), self.shard.vocab_size - self.encoded("token_id").shape[1]
        bounds = [position_error(a[r], temperature, outside, *(c[r] for c in columns), ids[r],
                                 None if student is None else student[r]) for r in range(len(a))]
        variation, reverse = zip(*bounds) if bounds else ((), ())
        return np.array(variation), None if student is None else np.array(reverse)


def tail_bounds(a, largest, values, low, high, concave):
    """An interval around F(a) (convex) or G(a) (concave) from the values at 0, A/2, A."""
    at = np.array([0.0, largest / 2, largest])
    margin = 2.0 ** -22 * (128 + np.abs(values) + at * max(abs(low), abs(high)))
    below, above = values - margin, values + margin

    def from_knot(j):
        ends = sorted(((a - at[j]) * low, (a - at[j]) * high))
        return below[j] + ends[0], above[j] + ends[1]

    def lengthened(j, k, one, two):
        """The line through knots j and k, at a; -inf where they are the same."""
        return one[j] + (two[k] - one[j]) * (a - at[j]) / (at[k] - at[j]) if largest > 0 else -np.inf
    reach = [from_knot(j) for j in range(3)]
    if a < 0:
        return reach[0]
    if a > largest or largest == 0:
        past = -np.inf if concave else lengthened(1, 2, above, below)
        return max(reach[2][0], past), reach[2][1]
    bounds = [np.interp(a, at, below), np.interp(a, at, above)]  # the chords
    if concave:
        return bounds[0], min(r[1] for r in reach)
    left = a <= largest / 2  # the other two knots' line, lengthened, is below F
    past = lengthened(1, 2, below, above) if left else lengthened(0, 1, above, below)
    return max(past, *(r[0] for r in reach)), bounds[1]


def position_error(a, tau, outside, dpo, ratio, tail, contrasted, largest, mass, least, low, high, ids,
                   student):
    """(bound of the variation, bound of the reverse KL's error or None) of one position."""
    half = lambda x: 2.0 ** -11 * np.abs(x) + 2.0 ** -25
    x, delta = (dpo + a * ratio) / tau, (half(dpo) + abs(a) * half(ratio)) / tau
    known = np.isfinite(tail) and np.isfinite(contrasted)
    bucket = (tail + a * (tail - contrasted)) / tau if known else -np.inf
    rest, floor = (-np.inf, -np.inf), 0.0
    if outside > 0:
        shift = (1 - 1 / tau) * np.log(outside)
        rest = tail_bounds(a, largest, mass, low, high, False)
        rest = rest[0] / tau + min(shift, 0), rest[1] / tau + max(shift, 0)
        floor = tail_bounds(a, largest, least, low, high, True)[0] / tau
    top = max(x.max(), bucket, rest[1])
    made, lower, upper = np.exp(x - top), np.exp(x - top - delta), np.exp(x - top + delta)
    Z = made.sum() + np.exp(bucket - top)
    Z_low, Z_high = (e.sum() + np.exp(r - top) for e, r in zip((lower, upper), rest))
    q_high = upper / (Z_low + upper - lower)
    q_low = lower / (Z_high + lower - upper)
    tail_high = np.exp(rest[1] - top) / (lower.sum() + np.exp(rest[1] - top))
    variation = np.maximum(q_high - made / Z, made / Z - q_low).sum() + tail_high + np.exp(bucket - top) / Z
    if student is None:
        return min(variation / 2, 1.0), None
    p = np.exp(student)
    spread = (p[ids] * delta).sum()
    left = np.delete(student, ids)
    P, H = np.exp(left).sum(), (np.exp(left) * left).sum()
    up, down = spread + np.log(Z_high / Z), spread - np.log(Z_low / Z)
    if len(left) and np.isfinite(bucket):
        up += H - P * np.log(P) + P * (bucket - floor)
        down += P * (rest[1] - bucket)
    elif len(left):
        up += H + P * (top + np.log(Z) - floor)
        down += P * (rest[1] - top - np.log(P) - np.log(Z))
    return min(variation / 2, 1.0), max(up, down, 0.0)


class Shard:
    """An open shard, or an index.h5 over many: len(), [i], iteration give its sequences."""

    def __init__(self, path):
        self.path = path
        self.file = h5py.File(path, "r")
        self.attributes = dict(self.file.attrs)
        if self.attributes.get("format") not in FORMATS:
            raise DamagedShard(f"{path}: attribute format of /: expected {' or '.join(FORMATS)}")
        if self.attributes.get("schema_version", 0) > SCHEMA:
            raise DamagedShard(f"{path}: schema version {self.attributes['schema_version']}: "
                               f"expected up to {SCHEMA}")
        self.encoding = self.attributes["encoding"]
        if self.encoding not in ENCODINGS:
            raise DamagedShard(f"{path}: encoding {self.encoding}: expected one of "
                               f"{', '.join(ENCODINGS)}")
        self.contrast = self.attributes["contrast"]
        beside = ("reference",) if "sha256_reference" in self.attributes else ()
        self.contrasts = (self.contrast, *beside)
        self.vocab_size = int(self.attributes["vocab_size"])
        self.token_start = self.file["sequence/token_start"][...]
        self.response_start = self.file["sequence/response_start"][...]
        names = h5py.check_enum_dtype(self.file["sequence/source"].dtype)
        self.sources = {value: name for name, value in names.items()}

    def __len__(self):
        return len(self.token_start) - 1

    def __getitem__(self, index):
        if not -len(self) <= index < len(self):
            raise IndexError(index)
        return Sequence(self, index % len(self))

    def is_own(self, contrast):
        """Whether the shard was scored for this contrast; else it is the reference beside that one."""
        if contrast is not None and contrast not in self.contrasts:
            raise ValueError(f"{self.path}: contrast {contrast}: expected "
                             f"{' or '.join(self.contrasts)}, which this shard holds")
        return contrast in (None, self.contrast)

    def text(self, dataset, index):
        return self.file[dataset].asstr(errors="replace")[index]


def open_folder(folder):
    """All shards of a folder, in the order of their numbers."""
    paths = [path for path in glob.glob(os.path.join(folder, "shard-*.h5"))
             if re.fullmatch(r"shard-\d+\.h5", os.path.basename(path))]
    if not paths:
        raise FileNotFoundError(f"{folder}: no shard-NNNNNN.h5 in this folder")
    return [Shard(path) for path in sorted(paths, key=lambda p: (len(p), p))]


def sequences(folder):
    """Every sequence of a folder."""
    for shard in open_folder(folder):
        yield from shard

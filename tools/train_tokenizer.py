#!/usr/bin/python3
"""Trains a byte-level BPE on JSONL and writes tokenizer.json and tokenizer_config.json (ChatML).

Every digit is a token of its own, so that a small model can copy figures. The 256 byte symbols
are always in the vocabulary: any text can be encoded.
"""
import argparse
import collections
import json
import os
import re
import sys
import unicodedata

import terminal

SPECIAL = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
SPLIT = r" ?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+|\s*[\r\n]+|\s+(?!\S)|\s+"
# The same over classes of characters (Python's re has no \p): L letter, N number, O other,
# R end of line, S other space, and the space itself.
SPLIT_CLASSES = re.compile(r" ?L+|N| ?O+|[ SR]*R+|[ SR]+(?![LNO])|[ SR]+")
CHAT_TEMPLATE = ("{% for message in messages %}{{ '<|im_start|>' + message['role'] + '\\n' + "
                 "message['content'] + '<|im_end|>\\n' }}{% endfor %}"
                 "{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}")


def byte_symbols():
    """GPT-2's alphabet: printable Latin-1 stands for itself, other bytes for U+0100 and on."""
    plain = [b for b in range(256) if 33 <= b <= 126 or 161 <= b <= 172 or 174 <= b <= 255]
    rest = [b for b in range(256) if b not in plain]
    table = {b: chr(b) for b in plain}
    table.update({b: chr(256 + i) for i, b in enumerate(rest)})
    return [table[b] for b in range(256)]


SYMBOLS = byte_symbols()


def char_class(char):
    if char == " ":
        return " "
    if char in "\r\n":
        return "R"
    if char.isalpha():
        return "L"
    if unicodedata.category(char)[0] == "N":
        return "N"
    return "S" if char.isspace() and not "\x1c" <= char <= "\x1f" else "O"


def split(text):
    classes = "".join(map(char_class, text))
    return [text[m.start():m.end()] for m in SPLIT_CLASSES.finditer(classes)]


def to_symbols(word):
    return tuple(SYMBOLS[b] for b in word.encode("utf-8"))


# --- training ----------------------------------------------------------------------------------


class Pairs:
    """How often each pair of neighbours occurs in the words, kept up to date under merges."""

    def __init__(self, word_counts):
        self.words = [list(to_symbols(word)) for word in word_counts]
        self.weights = list(word_counts.values())
        self.counts = collections.Counter()
        self.where = collections.defaultdict(set)
        for index in range(len(self.words)):
            self.count(index, 1)

    def count(self, index, sign):
        word = self.words[index]
        for pair in zip(word, word[1:]):
            self.counts[pair] += sign * self.weights[index]
            self.where[pair].add(index)
            if not self.counts[pair]:
                del self.counts[pair]

    def best(self):
        """The most frequent pair, the first in order of symbols among equals; or None."""
        pair = min(self.counts, key=lambda p: (-self.counts[p], p), default=None)
        return pair if pair and self.counts[pair] > 1 else None

    def merge(self, pair):
        for index in self.where.pop(pair):
            self.count(index, -1)
            self.words[index] = merge_pair(self.words[index], pair)
            self.count(index, 1)


def merge_pair(word, pair):
    merged, i = [], 0
    while i < len(word):
        if i + 1 < len(word) and (word[i], word[i + 1]) == pair:
            merged.append(word[i] + word[i + 1])
            i += 2
        else:
            merged.append(word[i])
            i += 1
    return merged


def learn_merges(word_counts, limit):
    pairs, merges = Pairs(word_counts), []
    known = set(SYMBOLS)
    while len(merges) < limit:
        pair = pairs.best()
        if pair is None:
            break
        pairs.merge(pair)
        merges.append(pair)
        known.add(pair[0] + pair[1])
    assert len(known) == 256 + len(merges), "two merges made one symbol"
    return merges


# --- encoding ----------------------------------------------------------------------------------


class Encoder:
    def __init__(self, tokenizer):
        model = tokenizer["model"]
        self.vocab = model["vocab"]
        self.ranks = {tuple(m.split(" ")): i for i, m in enumerate(model["merges"])}
        self.cache = {}

    def encode_word(self, word):
        if word not in self.cache:
            parts = list(to_symbols(word))
            while len(parts) > 1:
                pair = min(zip(parts, parts[1:]),
                           key=lambda p: self.ranks.get(p, len(self.ranks)))
                if pair not in self.ranks:
                    break
                parts = merge_pair(parts, pair)
            self.cache[word] = [self.vocab[p] for p in parts]
        return self.cache[word]

    def encode(self, text):
        """Ids of plain text; special tokens in it are not looked for."""
        return [i for word in split(text) for i in self.encode_word(word)]


# --- files -------------------------------------------------------------------------------------


def texts_of(row):
    """The texts of prompt, chosen and rejected: strings, or lists of messages."""
    for key in ("prompt", "chosen", "rejected"):
        value = row.get(key, "")
        if isinstance(value, str):
            yield value
        else:
            yield from (message["content"] for message in value)


def read_texts(path):
    with open(path, encoding="utf-8") as file:
        for number, line in enumerate(file, 1):
            try:
                yield list(texts_of(json.loads(line)))
            except (ValueError, TypeError, KeyError, AttributeError) as error:
                sys.exit(f"{path}:{number}: expected an object with prompt, chosen and rejected "
                         f"as strings or lists of messages ({error})")


def count_words(rows):
    counts = collections.Counter()
    for texts in rows:
        counts.update(("user", "assistant", "system"))
        for text in texts:
            counts.update(split(text))
    return counts


def tokenizer_json(merges, entries=0):
    """With entries that no text gives up to so many, for benchmarks of wide vocabularies."""
    names = SPECIAL + sorted(SYMBOLS) + [a + b for a, b in merges]
    names += [f"<unused{i}>" for i in range(len(names), entries)]
    byte_level = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": False,
                  "use_regex": False}
    isolated = {"type": "Split", "pattern": {"Regex": SPLIT}, "behavior": "Isolated",
                "invert": False}
    return {
        "version": "1.0", "truncation": None, "padding": None,
        "added_tokens": [dict(added_token(name), id=i) for i, name in enumerate(SPECIAL)],
        "normalizer": None,
        "pre_tokenizer": {"type": "Sequence", "pretokenizers": [isolated, byte_level]},
        "post_processor": None,
        "decoder": byte_level,
        "model": {"type": "BPE", "dropout": None, "unk_token": None,
                  "continuing_subword_prefix": None, "end_of_word_suffix": None,
                  "fuse_unk": False, "byte_fallback": False, "ignore_merges": False,
                  "vocab": {name: i for i, name in enumerate(names)},
                  "merges": [f"{a} {b}" for a, b in merges]},
    }


def added_token(name):
    return {"content": name, "single_word": False, "lstrip": False, "rstrip": False,
            "normalized": False, "special": True}


def tokenizer_config():
    return {
        "added_tokens_decoder": {str(i): added_token(name) for i, name in enumerate(SPECIAL)},
        "additional_special_tokens": ["<|im_start|>", "<|im_end|>"],
        "add_bos_token": False, "add_prefix_space": False, "bos_token": None,
        "eos_token": "<|im_end|>", "pad_token": "<|endoftext|>", "unk_token": None,
        "chat_template": CHAT_TEMPLATE, "clean_up_tokenization_spaces": False,
        "model_max_length": 2048, "tokenizer_class": "PreTrainedTokenizerFast",
    }


def write_json(path, value):
    with open(path + ".tmp", "w", encoding="utf-8") as file:
        json.dump(value, file, ensure_ascii=False, indent=2)
        file.write("\n")
    os.replace(path + ".tmp", path)


def main(argv):
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--text", nargs="+", required=True, metavar="FILE.jsonl",
                        help="rows with prompt, chosen and rejected")
    parser.add_argument("--vocab-size", type=int, default=1024,
                        help="entries at most, special tokens included (1024)")
    parser.add_argument("--fill", type=int, default=0, metavar="N",
                        help="add entries that no text gives until there are N")
    parser.add_argument("--output", required=True, metavar="DIR", help="folder for the files")
    options = parser.parse_args(argv)
    smallest = len(SPECIAL) + 256
    if options.vocab_size < smallest:
        parser.error(f"--vocab-size must be at least {smallest}: the bytes and special tokens")
    counts = count_words(row for path in options.text for row in read_texts(path))
    merges = learn_merges(counts, options.vocab_size - smallest)
    tokenizer = tokenizer_json(merges, options.fill)
    os.makedirs(options.output, exist_ok=True)
    write_json(os.path.join(options.output, "tokenizer.json"), tokenizer)
    write_json(os.path.join(options.output, "tokenizer_config.json"), tokenizer_config())
    encoder = Encoder(tokenizer)
    tokens = sum(len(encoder.encode_word(word)) * n for word, n in counts.items())
    size = sum(len(word.encode("utf-8")) * n for word, n in counts.items())
    print(f"{options.output}: {len(tokenizer['model']['vocab'])} entries, {len(merges)} merges, "
          f"{size / max(tokens, 1):.2f} bytes a token")
    return 0


if __name__ == "__main__":
    terminal.run(main, sys.argv[1:])

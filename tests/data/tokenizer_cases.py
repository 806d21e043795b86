"""Small tokenizers of ours, one or more for each component, and texts to try them on."""
import json

META = "\u2581"
WORDS = ["he", "ll", "hell", "hello", "wo", "rl", "ld", "world", META + "h", META + "hello",
         META + META, META + META + META + META, "th", "the", META + "the", "12", "..", "aa",
         "aaaa", "e\u0301", "\u65e5\u672c"]
LETTERS = list("abcdefghijklmnopqrstuvwxyzHIW0123456789.,'!-<>|") + [META, " ", "\u00e9",
                                                                     "\u0301", "\u65e5", "\u672c"]
MERGES = [("h", "e"), ("l", "l"), ("he", "ll"), ("hell", "o"), ("w", "o"), ("r", "l"), ("l", "d"),
          (META, "h"), (META + "h", "ello"), (META, "hello"), (META, META),
          (META + META, META + META), ("t", "h"), ("th", "e"), (META, "the"), ("1", "2"),
          (".", "."), ("a", "a"), ("aa", "aa"), ("e", "\u0301"), ("\u65e5", "\u672c")]
TEXTS = ["", " ", "hello", " hello", "hello world", "  hello   the world  ", "Hello WORLD",
         "aaaaaaaaaaa", "a\tb\nc\r\n d", "12 345, 6.7..8", "\u00bd \u00b2 \u0663 \u2167",
         "caf\u00e9 cafe\u0301", "\u65e5\u672c\u8a9e \u3042", "\U0001f469\u200d\U0001f467 hello",
         "don't -- stop!!", "\u00a0hello\u3000the\u2003end\u00a0", META + "hello " + META + " x",
         "\u0130I\u03a3\u03c2\u01c5\u1e9e", "\ufb01 \u2460 \uff21\uff42", "\uac00 \u1100\u1161",
         "hello<s>hello", "<s> hello </s>", "<w>the<w> a<w> <w>", "a <l> <r> b<l><r>  c",
         "x <n> <N> Hello", "<unk><0x41>", "q\u00e7z\u00e7\u00e7z\u00e7 \u00e7", "~hello~~hello"]


def vocabulary(words=(), letters=LETTERS, bytes_of=range(0)):
    names = ["<unk>", "<s>", "</s>", *(f"<0x{b:02X}>" for b in bytes_of), *letters, *words]
    return {name: i for i, name in enumerate(dict.fromkeys(names))}


def added(vocab, extra=()):
    flags = {"single_word": False, "lstrip": False, "rstrip": False, "normalized": False,
             "special": True}
    tokens = [{"id": vocab[name], "content": name, **flags} for name in ("<unk>", "<s>", "</s>")]
    return tokens + [{"id": vocab.get(name, len(vocab) + i), "content": name, **flags, **some}
                     for i, (name, some) in enumerate(extra)]


def make(normalizer=None, pre=None, decoder=None, extra=(), bytes_of=range(0), letters=LETTERS,
         merges=MERGES, **model):
    have = set(letters)
    kept = []
    for a, b in merges:
        if a in have and b in have:
            kept.append([a, b])
            have.add(a + b)
    vocab = vocabulary([a + b for a, b in kept] + [w for w in WORDS if w not in have],
                       letters, bytes_of)
    return {"version": "1.0", "truncation": None, "padding": None,
            "added_tokens": added(vocab, extra), "normalizer": normalizer, "pre_tokenizer": pre,
            "post_processor": None, "decoder": decoder,
            "model": {"type": "BPE", "dropout": None, "unk_token": None,
                      "continuing_subword_prefix": None, "end_of_word_suffix": None,
                      "fuse_unk": False, "byte_fallback": False, **model, "vocab": vocab,
                      "merges": kept}}


def sequence(kind, *parts):
    return {"type": "Sequence", kind: list(parts)}


def replace(pattern, content):
    return {"type": "Replace", "pattern": pattern, "content": content}


def metaspace(**options):
    return {"type": "Metaspace", "replacement": META, **options}


def split(pattern, behavior, invert=False):
    return {"type": "Split", "pattern": pattern, "behavior": behavior, "invert": invert}


SPACES = {"String": " "}
FALLBACK = sequence("decoders", replace({"String": META}, " "), {"type": "ByteFallback"},
                    {"type": "Fuse"},
                    {"type": "Strip", "content": " ", "start": 1, "stop": 0})
UNKNOWN = {"unk_token": "<unk>"}
BEHAVIORS = ["Removed", "Isolated", "MergedWithPrevious", "MergedWithNext", "Contiguous"]
LEVEL = {"type": "ByteLevel", "add_prefix_space": True, "trim_offsets": True, "use_regex": True}
ALL = {
    "llama2": make(sequence("normalizers", {"type": "Prepend", "prepend": META},
                            replace(SPACES, META)), None, FALLBACK, bytes_of=range(256),
                   byte_fallback=True, fuse_unk=True, extra=[("<n>", {"normalized": True})],
                   **UNKNOWN),
    "mistral": make(None, metaspace(prepend_scheme="first", split=False), FALLBACK,
                    bytes_of=range(256), byte_fallback=True, fuse_unk=True, **UNKNOWN),
    "gemma": make(replace(SPACES, META), split(SPACES, "MergedWithPrevious"),
                  sequence("decoders", replace({"String": META}, " "), {"type": "ByteFallback"},
                           {"type": "Fuse"}), bytes_of=range(256), byte_fallback=True,
                  fuse_unk=True, extra=[("<w>", {"special": False}), ("<n>", {}),
                                        (META * 2, {"special": False})], **UNKNOWN),
    "metaspace": make(None, metaspace(), metaspace(), **UNKNOWN),
    "metaspace old": make(None, metaspace(add_prefix_space=True, str_rep=META),
                          metaspace(add_prefix_space=True), fuse_unk=True, **UNKNOWN),
    "metaspace first": make(None, sequence("pretokenizers", {"type": "Punctuation"},
                                           metaspace(prepend_scheme="first")),
                            metaspace(prepend_scheme="first"), **UNKNOWN),
    "metaspace never": make(None, metaspace(prepend_scheme="never"),
                            metaspace(prepend_scheme="never"), **UNKNOWN),
    "metaspace off": make(None, metaspace(add_prefix_space=False, prepend_scheme="never"),
                          metaspace(add_prefix_space=False, prepend_scheme="never")),
    "whitespace": make(None, {"type": "Whitespace"}, None, **UNKNOWN),
    "whitespace split": make(None, {"type": "WhitespaceSplit"}, {"type": "Fuse"}, fuse_unk=True,
                             **UNKNOWN),
    "digits": make(None, sequence("pretokenizers", {"type": "Digits", "individual_digits": False},
                                  {"type": "WhitespaceSplit"}), None, **UNKNOWN),
    "left out": make(None, None, {"type": "Fuse"}),
    "unknown": make(None, None, {"type": "Fuse"}, **UNKNOWN),
    "fused": make(None, None, {"type": "Fuse"}, fuse_unk=True, **UNKNOWN),
    "some bytes": make(None, None, sequence("decoders", {"type": "ByteFallback"}),
                       bytes_of=range(0xC0), byte_fallback=True, fuse_unk=True, **UNKNOWN),
    "more bytes": make(None, None, {"type": "ByteFallback"}, bytes_of=range(0xF0),
                       byte_fallback=True, **UNKNOWN),
    "whole words": make(None, {"type": "WhitespaceSplit"}, None, merges=MERGES[:1],
                        ignore_merges=True, **UNKNOWN),
    "nfd": make(sequence("normalizers", {"type": "NFD"}, {"type": "Lowercase"},
                         {"type": "Strip", "strip_left": True, "strip_right": True}), None,
                {"type": "Fuse"}, bytes_of=range(256), byte_fallback=True),
    "nfc": make({"type": "NFC"}, None, {"type": "Fuse"}, bytes_of=range(256), byte_fallback=True),
    "nfkc": make({"type": "NFKC"}, None, {"type": "Fuse"}, bytes_of=range(256),
                 byte_fallback=True),
    "nfkd": make(sequence("normalizers", {"type": "NFKD"},
                          {"type": "Strip", "strip_left": False, "strip_right": True}), None,
                 {"type": "Fuse"}, bytes_of=range(256), byte_fallback=True),
    "replace": make(sequence("normalizers", replace({"Regex": "\\s+"}, META),
                             replace({"Regex": "(l+)"}, "$1!"), replace({"String": "."}, "")),
                    None, sequence("decoders", replace({"Regex": META + "+"}, "-"),
                                   {"type": "Strip", "content": "h", "start": 2, "stop": 1}),
                    bytes_of=range(256), byte_fallback=True),
    "added": make({"type": "Lowercase"}, None, {"type": "Fuse"}, **UNKNOWN,
                  extra=[("<w>", {"single_word": True}), ("<l>", {"lstrip": True}),
                         ("<r>", {"rstrip": True}), ("<N>", {"normalized": True}),
                         ("~hello", {"special": False, "normalized": True}),
                         ("~hello~", {"special": False, "normalized": True})]),
    "byte level": make(None, sequence("pretokenizers",
                                      {"type": "Digits", "individual_digits": True}, LEVEL),
                       LEVEL, letters=LETTERS + ["\u0120", "\u00c3", "\u00a9", "\u010a"],
                       **UNKNOWN),
    "byte level, left out": make(None, LEVEL, LEVEL, letters=LETTERS + ["\u0120"]),
}
for behavior in BEHAVIORS:
    ALL[f"punctuation {behavior}"] = make(None, {"type": "Punctuation", "behavior": behavior},
                                          None, **UNKNOWN)
    for invert in (False, True):
        name = behavior + (" inverted" if invert else "")
        ALL[f"split {name}"] = make(None, split({"Regex": "l+|\\s"}, behavior, invert), None,
                                    **UNKNOWN)
        ALL[f"split text {name}"] = make(None, split({"String": "l"}, behavior, invert), None,
                                         **UNKNOWN)

if __name__ == "__main__":
    print(json.dumps({"texts": TEXTS, "tokenizers": ALL}))
